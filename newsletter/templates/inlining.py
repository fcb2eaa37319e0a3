"""Writes a mail's style sheets into ``style`` attributes, for the readers that drop them."""

import logging
from functools import cache
from typing import Any

from lxml import etree


@cache
def _offline() -> Any:
    """Premailer that cannot reach the network.

    ``allow_network=False`` keeps it from linked style sheets only; its CSS parser would
    still fetch an ``@import``.
    """
    # Here, because with its CSS parser and an HTTP client it is a twentieth of what a process loads at its
    # start, and most processes compile nothing for a long time.
    from premailer import Premailer
    from premailer.premailer import cssutils  # The parser that premailer itself uses.

    class Offline(Premailer):  # type: ignore[misc]  # premailer ships no types
        def _parse_css_string(self, css_body: str, validate: bool = True) -> object:
            parser = cssutils.CSSParser(fetcher=lambda url: (None, b""), validate=validate)
            return parser.parseString(css_body)

    return Offline


def inline(document: etree._Element) -> None:
    """Changes ``document`` in place; the style sheets stay too, for media queries."""
    _offline()(
        document,
        allow_network=False,
        keep_style_tags=True,
        strip_important=False,
        disable_validation=True,
        disable_leftover_css=True,
        cssutils_logging_level=logging.CRITICAL,
    ).transform()
