"""Writes a mail's style sheets into ``style`` attributes, for the readers that drop them."""

import logging

from lxml import etree
from premailer import Premailer


def inline(document: etree._Element) -> None:
    """Changes ``document`` in place; the style sheets stay too, for media queries.

    Never uses the network: premailer would fetch linked style sheets by default.
    """
    Premailer(
        document,
        allow_network=False,
        keep_style_tags=True,
        strip_important=False,
        disable_validation=True,
        disable_leftover_css=True,
        cache_css_parsing=False,
        cssutils_logging_level=logging.CRITICAL,
    ).transform()
