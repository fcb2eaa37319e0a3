"""The newsletter that every row sends: 56 tracked links, about 36 kB on the wire."""

import email
import json
import tempfile
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import default
from functools import cache
from pathlib import Path
from typing import cast

from bench.service import answer, fill_list, service
from tests.smtp_sink import Sink

LINKS = 56
SUBJECT = "News for {{ first_name }}"
BODY = "<h1>News for {{ first_name }}</h1>" + "".join(
    f"<p><b>Item {number}</b> A sentence of plain words. "
    f'<a href="https://example.com/articles/{number}">Read more</a></p>'
    for number in range(LINKS)
)

CAMPAIGN = {"subject": SUBJECT, "html": BODY, "track_opens": True, "track_clicks": True}
"""A project tracks nobody unless it is told to."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One mail as the product sends it, for those that only have to push bytes or to build it."""

    raw: bytes
    file: Path
    """The same bytes, dot-stuffed, in a file."""
    parts: Path
    """Subject, HTML and text as JSON."""


@cache
def sample() -> Sample:
    """Sends one through the product and takes it apart."""
    folder = Path(tempfile.mkdtemp(prefix="newsletter-bench-"))
    with Sink() as sink, service(folder, sink.port, distributed=False) as running, running.client() as client:
        list_id = fill_list(client, 1)
        answer(client.post("/campaigns", json={**CAMPAIGN, "list_id": list_id, "send": True}))
        (received,) = sink.wait_for(1, seconds=60)
    parsed = email.message_from_bytes(received.raw, policy=default)
    html, text = (cast(EmailMessage, parsed.get_body((kind,))).get_content() for kind in ("html", "plain"))
    assert html.count("/c/") == LINKS, "not all links are tracked"
    file, parts = folder / "mail", folder / "parts.json"
    file.write_bytes(received.raw.replace(b"\r\n.", b"\r\n.."))
    parts.write_text(json.dumps({"subject": str(parsed["Subject"]), "html": html, "text": text}))
    return Sample(received.raw, file, parts)
