"""A mail from parts that were compiled once says what its plain twin says, to two parsers."""

import html
import re
from collections.abc import Iterator, Mapping
from email import message_from_bytes, policy
from typing import Any
from uuid import UUID

import dkim
import pytest
import structlog
import time_machine
from fast_mail_parser import parse_email
from hypothesis import example, given, settings
from hypothesis import strategies as st

from newsletter.audience.models import Status
from newsletter.audience.queries import MergeRow
from newsletter.delivery.letter import Copy, Letter
from newsletter.delivery.links import Links, MessageRef
from newsletter.delivery.models import Mailing, MailingKind
from newsletter.delivery.queries import public_id, public_ids
from newsletter.delivery.return_path import ReturnPaths
from newsletter.delivery.signers import Signers
from newsletter.domains.dkim import Algorithm, SelectedKey, Signature, generate, record
from newsletter.kit.tokens import Signer
from newsletter.providers.base import Envelope
from newsletter.providers.smtp.addresses import checked, dot_stuffed
from newsletter.templates.branding import Branding
from newsletter.templates.compile import Content, compile_content

SIGNER = Signer(["k" * 32])
LINKS = Links(SIGNER, "https://news.example.com", "https://t.example.com")
RETURN_PATHS = ReturnPaths(SIGNER, "bounces.example.com")
MAILING = UUID(int=7 << 90 | 5)
LAYOUT = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>{{ content }}</mj-text>"
    "</mj-column></mj-section></mj-body></mjml>"
)
KEYS = {algorithm: generate(algorithm) for algorithm in Algorithm}
DNS = {
    b"nl1._domainkey.example.com.": record(KEYS[Algorithm.rsa]).encode(),
    b"nl1e._domainkey.example.com.": record(KEYS[Algorithm.ed25519]).encode(),
}
RSA = Signature("example.com", [SelectedKey("nl1", KEYS[Algorithm.rsa])])
BOTH = Signature(
    "example.com",
    [SelectedKey("nl1", KEYS[Algorithm.rsa]), SelectedKey("nl1e", KEYS[Algorithm.ed25519])],
)


@pytest.fixture(autouse=True)
def _at_one_moment() -> Iterator[None]:
    with time_machine.travel("2026-11-21T09:30:00Z", tick=False):
        yield


def letter_of(
    body: str, signature: Signature | None = None, signers: Signers | None = None, **given: Any
) -> Letter:
    content = Content(
        subject=given.pop("subject", "News for {{ first_name }}"),
        preheader=given.pop("preheader", "Read on, {{ first_name | default: 'you' }}"),
        body=body,
        layout=LAYOUT,
        branding=Branding(brand_name="Example", postal_address="1 Main Street"),
        fields=frozenset({"company", "page"}),
    )
    sender = {"from_email": "news@example.com", "from_name": None, "reply_to": None, "list_name": "Weekly"}
    mailing = Mailing(
        id=MAILING,
        project_id=UUID(int=1),
        kind=MailingKind.campaign,
        source_id=UUID(int=2),
        list_id=UUID(int=3),
        content=compile_content(content).to_json(),
        sender=sender | given.pop("sender", {}),
        track_opens=given.pop("track_opens", True),
        track_clicks=given.pop("track_clicks", True),
    )
    links = given.pop("links", LINKS)
    assert not given
    return Letter(mailing, links, RETURN_PATHS, signature, signers)


def copy_for(
    fields: Mapping[str, Any] | None = None, *, name: str | None = "Ada", address: str = "ada@example.org"
) -> Copy:
    person = MergeRow(Status.active, address, name, "Lovelace", fields or {})
    return Copy(MessageRef(MAILING, 12, UUID(int=99)), address, person, attempt=2)


def page_of(envelope: Envelope) -> str:
    part = message_from_bytes(envelope.content, policy=policy.default).get_body(("html",))
    assert part is not None
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def links_of(envelope: Envelope) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'<a [^>]*?href="([^"]*)"', page_of(envelope))]


def by_the_standard_library(content: bytes) -> dict[str, Any]:
    message = message_from_bytes(content, policy=policy.default)
    assert not message.defects
    parts = [part.get_payload(decode=True) for part in message.iter_parts()]
    fields = [(name, str(value)) for name, value in message.items() if name not in _CHANGING]
    return {"fields": fields, "type": message.get_content_type(), "parts": parts}


def by_another_parser(content: bytes) -> dict[str, Any]:
    mail = parse_email(content, strict=True)
    fields = {name: values for name, values in mail.headers.items() if name not in _CHANGING}
    return {"fields": fields, "subject": mail.subject, "text": mail.text_plain, "html": mail.text_html}


# The boundary is the mailing's here and the message's there; the signature is over it.
_CHANGING = {"Content-Type", "DKIM-Signature"}


def assert_same_mail(letter: Letter, copy: Copy) -> Envelope:
    fast, plain = letter.write(copy), letter.write_plainly(copy)
    assert (fast.message_id, fast.return_path, fast.recipient, fast.attempt) == (
        plain.message_id,
        plain.return_path,
        plain.recipient,
        plain.attempt,
    )
    assert by_the_standard_library(fast.content) == by_the_standard_library(plain.content)
    assert by_another_parser(fast.content) == by_another_parser(plain.content)
    for content in (fast.content, plain.content):
        header, _, body = content.partition(b"\r\n\r\n")
        assert content.isascii()
        assert content.endswith(b"\r\n")
        assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
        assert max(map(len, header.split(b"\r\n"))) <= 998
        assert max(map(len, body.split(b"\r\n"))) <= 76
        assert b"\n." not in content
        assert dot_stuffed(checked(content)) == content
    assert fast.is_wire_ready
    assert plain.is_wire_ready
    return fast


WORDS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("\r\n\0\t\u202e\u200f\u2028 =?_.,:;<>&@\"'\\(){}[]%#"),
        st.sampled_from("日本語العربيةעברית😀é."),
    ),
    max_size=60,
)
URLS = st.sampled_from(
    [
        "https://www.example.org/",
        "https://www.example.org/a?b=1&amp;c=2#d",
        "https://www.example.org/?who={{ first_name }}&amp;page={{ page }}",
        "https://www.example.org/{{ company | default: 'nobody' }}",
        "{{ page }}",
        "{{ page | default: 'https://www.example.org/' }}",
        "{{ unsubscribe_url }}",
        "{{ view_in_browser_url }}",
        "https://www.example.org/?back={{ unsubscribe_url }}",
        "mailto:sales@example.org?subject=Hi",
        "tel:+4930123456",
        "#top",
        "http://example.org/caf%C3%A9/日本",
    ]
)
BLOCKS = st.lists(
    st.one_of(
        WORDS.map(lambda text: f"<p>{html.escape(re.sub('[{}]', '', text))}</p>"),
        WORDS.map(lambda text: f"<p>{{{{ first_name }}}} {html.escape(re.sub('[{}]', '', text))}</p>"),
        URLS.map(lambda url: f'<p>Go <a href="{url}">there, {{{{ first_name }}}}</a>.</p>'),
        st.sampled_from(
            [
                "<p>{{ company }}</p>",
                "<p>.</p>",
                "<p>..." + "x" * 90 + "</p>",
                "<ul><li>{{ company }}</li><li>{{ page }}</li></ul>",
                "<p>{{ last_name | upper }} {{ email }}</p>",
                "<p>" + "wide " * 40 + "{{ last_name }}</p>",
                "<p>" + "w" * 300 + "</p>",
            ]
        ),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=80)
@given(
    blocks=BLOCKS,
    name=st.none() | WORDS,
    company=WORDS,
    page=st.one_of(
        WORDS, st.sampled_from(["https://example.org/?a=1&b=2", "javascript:alert(1)", "MAILTO:x@y"])
    ),
    sender=st.none() | WORDS,
    track=st.booleans(),
)
@example(["<p>{{ company }}</p>", "<p>{{ company }}</p>"], None, "", "", None, True)
@example(["<p>{{ first_name }}</p>"], "..", ".", ".", "Example, Inc.", True)
@example(["<p>{{ first_name | default: 'you' }}</p>"], "Mary  Ann, Jr", " a b ", "a-b. c", None, True)
@example(["<p>{{ company }} {{ page | upper }}</p>"], "O'Hara", "a b\n", "ä b", None, False)
@example(["<p>{{ first_name }}</p>"], "a" * 300, "=" * 90, "", "x" * 90, False)
def test_a_letter_says_what_its_plain_twin_says(
    blocks: list[str], name: str | None, company: str, page: str, sender: str | None, track: bool
) -> None:
    letter = letter_of(
        "".join(["<h1>x</h1>", *blocks]), sender={"from_name": sender}, track_clicks=track, track_opens=track
    )
    assert_same_mail(letter, copy_for({"company": company, "page": page}, name=name))


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.org",
        "ada+news@xn--bcher-kva.example",
        "ada@bücher.example",
        "o'hara/x=y@example.org",
        "日本@example.org",
        "a" * 64 + "@" + "b" * 60 + ".example",
    ],
)
def test_any_address_is_written_as_the_plain_twin_writes_it(address: str) -> None:
    assert_same_mail(letter_of("<p>Hello</p>"), copy_for(address=address))


@settings(max_examples=25)
@given(name=WORDS, company=WORDS, sender=WORDS, reply=st.booleans())
@example(name="x" * 200, company="." * 90, sender="Jürgen, 日本", reply=True)
def test_another_implementation_verifies_each_signature(
    name: str, company: str, sender: str, reply: bool
) -> None:
    letter = letter_of(
        '<p>Hi {{ first_name }}, <a href="https://example.org/">{{ company }}</a></p>',
        BOTH,
        sender={"from_name": sender, "reply_to": "desk@example.com" if reply else None},
    )
    content = assert_same_mail(letter, copy_for({"company": company}, name=name)).content
    assert content.count(b"DKIM-Signature: ") == 2
    for number in range(2):
        assert dkim.DKIM(content).verify(number, dnsfunc=lambda name, timeout=5: DNS[name])


def test_the_signature_covers_what_must_not_be_added_or_changed() -> None:
    content = letter_of("<p>Hello</p>", RSA).write(copy_for()).content
    header, _, _ = content.partition(b"\r\n\r\n")
    assert max(map(len, header.split(b"\r\n"))) <= 150
    tags = dict(
        tag.split("=", 1)
        for tag in re.sub(r"\s", "", str(message_from_bytes(content)["DKIM-Signature"])).split(";")
    )
    assert tags["a"] == "rsa-sha256"
    assert tags["c"] == "relaxed/simple"
    assert "l" not in tags
    signed = tags["h"].split(":")
    for name in ("from", "to", "subject", "date", "content-type"):
        assert signed.count(name) == 2
    for name in ("message-id", "mime-version", "list-id", "list-unsubscribe", "list-unsubscribe-post"):
        assert signed.count(name) == 1
    assert signed.count("reply-to") == signed.count("cc") == 1  # Absent: nobody may add them.
    assert not {"return-path", "received"} & set(signed)

    def verifies(changed: bytes) -> bool:
        return bool(dkim.verify(changed, dnsfunc=lambda name, timeout=5: DNS[name]))

    assert verifies(content)
    for added in (b"Subject: Another\r\n", b"Reply-To: eve@example.net\r\n", b"Cc: eve@example.net\r\n"):
        assert not verifies(added + content)
    assert not verifies(content.replace(b"Hello", b"Jello"))
    assert not verifies(content.replace(b"List-Unsubscribe: <https", b"List-Unsubscribe: <http"))
    assert verifies(b"Received: from a by b; Sat, 21 Nov 2026 09:30:01 +0000\r\n" + content)


def test_a_block_signed_side_by_side_keeps_its_order() -> None:
    signers = Signers(3)
    letter = letter_of("<p>Hello {{ first_name }}</p>", RSA, signers)
    copies = [copy_for(name=f"Reader{number}", address=f"r{number}@example.org") for number in range(10)]
    written = letter.write_block(copies)
    signers.close()
    assert [each.recipient for each in written] == [copy.address for copy in copies]
    for number, each in enumerate(written):
        assert f"Hello Reader{number}" in page_of(each)
        assert dkim.verify(each.content, dnsfunc=lambda name, timeout=5: DNS[name])


def test_each_link_to_the_web_is_tracked_and_no_other() -> None:
    body = (
        '<p><a href="https://www.example.org/?a=1&amp;b=2">one</a> <a href="{{ page }}">two</a> '
        '<a href="https://www.example.org/{{ company }}">three</a> <a href="mailto:me@example.org">four</a> '
        '<a href="tel:+49">five</a> <a href="{{ unsubscribe_url }}">six</a></p>'
    )
    letter = letter_of(body)
    written = assert_same_mail(letter, copy_for({"page": "https://example.org/x", "company": "A & B"}))
    found = links_of(written)
    clicks = [
        LINKS.read_click(*link.rsplit("/", 2)[1:])
        for link in found
        if link.startswith("https://t.example.com/c/")
    ]
    assert [click.url for click in clicks] == [
        "https://www.example.org/?a=1&b=2",
        "https://example.org/x",
        "https://www.example.org/A%20%26%20B",
    ]
    assert {click.packed for click in clicks} == {copy_for().ref.pack()}
    rest = [link for link in found if not link.startswith("https://t.example.com/")]
    assert rest[:2] == ["mailto:me@example.org", "tel:+49"]
    assert all(link.startswith("https://news.example.com/") for link in rest[2:])
    assert len(rest) == 5  # The footer has an unsubscribe and a view-in-browser link of its own.
    text = parse_email(written.content).text_plain[0]
    assert "https://www.example.org/?a=1&b=2" in text
    assert "https://t.example.com/" not in text


def test_the_pixel_is_there_once_where_opens_are_tracked() -> None:
    pixel = re.compile(r'<img src="https://t\.example\.com/o/([^"]+)" width="1" height="1" alt=""')
    tokens = pixel.findall(page_of(letter_of("<p>Hello</p>").write(copy_for())))
    assert [LINKS.read_opened(token) for token in tokens] == [copy_for().ref.pack()]


def test_a_mailing_that_is_not_tracked_holds_no_trace() -> None:
    letter = letter_of('<p><a href="https://example.org/">x</a></p>', track_opens=False, track_clicks=False)
    page = page_of(letter.write(copy_for()))
    assert "https://t.example.com/" not in page
    assert 'href="https://example.org/"' in page


def test_the_page_in_a_browser_is_not_tracked() -> None:
    copy = copy_for()
    page = letter_of('<p><a href="https://example.org/">x</a></p>').render(
        copy.ref, copy.address, copy.person
    )
    assert "https://t.example.com/" not in page.html


def test_a_mailing_with_conditions_is_written_whole_and_says_so_once() -> None:
    body = (
        '{% if company %}<p>Dear {{ company }}, <a href="https://example.org/a">a</a></p>{% else %}'
        '<p>Dear {{ first_name }}, <a href="https://example.org/b">b</a></p>{% endif %}'
    )
    letter = letter_of(body, RSA, subject="{% if company %}{{ company }}{% else %}you{% endif %}")
    with structlog.testing.capture_logs() as logs:
        firm = assert_same_mail(letter, copy_for({"company": "Acme"}))
        person = assert_same_mail(letter, copy_for())
    assert len(logs) == 1
    assert (parse_email(firm.content).subject, parse_email(person.content).subject) == ("Acme", "you")
    for envelope, url in ((firm, "https://example.org/a"), (person, "https://example.org/b")):
        (link,) = [link for link in links_of(envelope) if "/c/" in link]
        assert LINKS.read_click(*link.rsplit("/", 2)[1:]).url == url
        assert dkim.verify(envelope.content, dnsfunc=lambda name, timeout=5: DNS[name])


def test_no_braces_and_no_script_reach_a_reader() -> None:
    letter = letter_of('<p>{{ first_name }} <a href="{{ page }}">x</a></p>')
    copy = copy_for({"page": "javascript:alert(1)"}, name="<script>{{ 7 * 7 }}{% if %}</script>")
    page = page_of(assert_same_mail(letter, copy))
    assert "<script>" not in page
    assert "javascript:" not in page
    assert "{{" not in page
    assert "{%" not in page


@given(seq=st.integers(0, 2**32 - 1), mailing=st.binary(min_size=16, max_size=16))
@example(seq=2**30 - 1, mailing=b"\xff" * 16)
@example(seq=2**30, mailing=b"\0" * 16)
def test_the_quick_way_to_a_public_id_gives_the_same_one(seq: int, mailing: bytes) -> None:
    assert public_ids(UUID(bytes=mailing))(seq) == public_id(UUID(bytes=mailing), seq)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]:8000", "xn--mnchen-3ya.example"])
def test_an_installation_is_reached_at_any_host(host: str) -> None:
    letter = letter_of("<p>x</p>", links=Links(SIGNER, f"http://{host}", f"http://{host}"))
    parsed = message_from_bytes(letter.write(copy_for()).content, policy=policy.default)
    assert not parsed.defects
    assert parsed["List-Unsubscribe"].startswith(f"<http://{host}/u/")
    assert re.fullmatch(r"Weekly <lst-[0-9a-z]+\.[0-9a-z.-]+>", parsed["List-Id"])
