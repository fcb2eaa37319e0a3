"""The last checks before a document becomes a compiled text."""

import socket

import lxml.html
import pytest

from newsletter.templates.document import place_markers
from newsletter.templates.inlining import inline
from newsletter.templates.layouts import LayoutInvalid
from newsletter.templates.markers import Markers


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<iframe src='https://example.com'></iframe>",
        "<form action='https://example.com'></form>",
        "<link rel='stylesheet' href='https://example.com/x.css'>",
        "<p onclick='x()'>a</p>",
        "<a href='javascript:alert(1)'>a</a>",
        "<td background='data:image/png;base64,x'>a</td>",
    ],
)
def test_what_runs_or_loads_is_refused_even_if_every_earlier_check_let_it_pass(html: str) -> None:
    document = lxml.html.document_fromstring(f"<html><body>{html}</body></html>")
    with pytest.raises(LayoutInvalid):
        place_markers(document, Markers())


def test_inlining_never_uses_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        document = lxml.html.document_fromstring(
            f'<html><head><link rel="stylesheet" href="http://127.0.0.1:{port}/x.css">'
            f"<style>@import url(http://127.0.0.1:{port}/y.css); p {{ color: red }}</style></head>"
            "<body><p>x</p></body></html>"
        )
        inline(document)
        with pytest.raises(TimeoutError):
            server.accept()
    assert document.findall(".//p")[0].get("style") == "color:red"
