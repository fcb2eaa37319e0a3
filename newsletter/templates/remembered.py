"""Mails that were compiled lately: a product sends the same text in the same template again and again.

A call with one of the starters took 55 to 70 ms of a processor for it (a busy machine). What is
remembered is known by all that went into it, so a changed template, brand or field is another mail, and
nothing has to be forgotten.
"""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import fields

from newsletter.templates.compile import Compiled, Content, compile_content

MOST = 64
"""Mails of one process. What was not used for the longest time goes."""
LARGEST = 100_000
"""Characters of template and body up to which a mail is remembered: with `MOST`, some 20 MB."""


class Remembered:
    """Safe to use from several threads, which may compile one mail twice at first."""

    def __init__(self) -> None:
        self._mails: OrderedDict[bytes, Compiled] = OrderedDict()
        self._lock = threading.Lock()

    def compiled(self, content: Content) -> Compiled:
        """As `compile_content`, errors as well, which are found anew each time."""
        if len(content.layout) + len(content.body) > LARGEST:
            return compile_content(content)
        key = _digest(content)
        with self._lock:
            found = self._mails.get(key)
            if found is not None:
                self._mails.move_to_end(key)
                return found
        made = compile_content(content)
        with self._lock:
            self._mails[key] = made
            if len(self._mails) > MOST:
                self._mails.popitem(last=False)
        return made


def _digest(content: Content) -> bytes:
    """Of every field; the order in which a set is kept is no part of it."""
    values = (getattr(content, each.name) for each in fields(content))
    told = repr([sorted(each) if isinstance(each, frozenset) else each for each in values])
    return hashlib.sha256(told.encode(errors="surrogatepass")).digest()
