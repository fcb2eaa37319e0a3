"""What writing one mail costs: processor time beside `EmailMessage`, and beside a bare signature."""

import time
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key

from bench.table import Goal, Measured, Row, row
from newsletter.audience.models import Status
from newsletter.audience.queries import MergeRow
from newsletter.delivery.letter import Copy, Letter
from newsletter.delivery.links import Links, MessageRef
from newsletter.delivery.models import Mailing, MailingKind
from newsletter.delivery.return_path import ReturnPaths
from newsletter.domains.dkim import Algorithm, SelectedKey, Signature, generate
from newsletter.kit.memory import settle_in
from newsletter.kit.tokens import Signer
from newsletter.templates.branding import Branding
from newsletter.templates.compile import Content, compile_content

BLOCK = 64
ROUNDS = 9
LINKS = 56
BODY = "<h1>News for {{ first_name | default: 'you' }}</h1>" + "".join(
    f'<p>{"A sentence of plain words. " * 4}<a href="https://www.example.org/news/{number}">More</a></p>'
    for number in range(LINKS)
)
LAYOUT = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>{{ content }}</mj-text>"
    "</mj-column></mj-section></mj-body></mjml>"
)
MAILING = UUID(int=7 << 90 | 5)


def letter_rows() -> list[Row]:
    return [
        row(Goal(f"Writing a mail with {LINKS} tracked links / EmailMessage", 100, 400), _unsigned),
        row(Goal("Writing and signing it, RSA-2048 / the bare signature", 1.6, 1.2, is_limit=True), _signed),
    ]


def _unsigned() -> Measured:
    letter, copies = _letter(None), _copies()
    size = len(letter.write(copies[0]).content)
    merged = letter.render(copies[0].ref, copies[0].address, copies[0].person)

    def theirs(copy: Copy) -> bytes:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "news@example.com", copy.address, merged.subject
        message.set_content(merged.text)
        message.add_alternative(merged.html, subtype="html")
        return message.as_bytes()

    ours, reference = _microseconds(
        lambda block: letter.write_block(block), lambda block: [theirs(copy) for copy in block[:4]]
    )
    reference *= BLOCK / 4
    return Measured(
        f"{ours:.1f} µs for {size / 1000:.0f} kB", f"{reference:,.0f} µs, not tracked", reference / ours
    )


def _signed() -> Measured:
    private = generate(Algorithm.rsa)
    letter = _letter(Signature("example.com", [SelectedKey("nl1", private)]))
    key = load_der_private_key(private, password=None)
    assert isinstance(key, RSAPrivateKey)
    ours, reference = _microseconds(
        lambda block: letter.write_block(block),
        lambda block: [key.sign(copy.address.encode(), PKCS1v15(), SHA256()) for copy in block],
    )
    return Measured(f"{ours:.0f} µs", f"{reference:.0f} µs", ours / reference)


def _letter(signature: Signature | None) -> Letter:
    content = Content(
        subject="News for {{ first_name }}",
        preheader="What happened",
        body=BODY,
        layout=LAYOUT,
        branding=Branding(brand_name="Example", postal_address="1 Main Street"),
    )
    mailing = Mailing(
        id=MAILING,
        project_id=UUID(int=1),
        kind=MailingKind.campaign,
        source_id=UUID(int=2),
        list_id=UUID(int=3),
        content=compile_content(content).to_json(),
        sender={"from_email": "news@example.com", "from_name": "Example", "reply_to": None, "list_name": "N"},
        track_opens=True,
        track_clicks=True,
    )
    signer = Signer(["k" * 32])
    links = Links(signer, "https://news.example.com", "https://t.example.com")
    return Letter(mailing, links, ReturnPaths(signer, "bounces.example.com"), signature)


def _copies() -> list[Copy]:
    return [
        Copy(
            MessageRef(MAILING, seq, UUID(int=seq)),
            f"reader{seq}@example.org",
            MergeRow(Status.active, f"reader{seq}@example.org", f"Reader{seq}", None, {}),
            1,
        )
        for seq in range(1, 20 * BLOCK + 1)
    ]


def _microseconds(*sides: Callable[[Sequence[Copy]], object]) -> list[float]:
    """Processor time for each mail, the least of some rounds in turn: a busy machine only adds."""
    copies, least = _copies(), [float("inf")] * len(sides)
    kept: list[object] = [None] * len(sides)
    settle_in()  # As in a worker.
    for _ in range(ROUNDS):
        for place, write in enumerate(sides):
            started = time.process_time()
            for start in range(0, len(copies), BLOCK):
                # As in a worker, one block is on its way while the next is written.
                kept[place] = write(copies[start : start + BLOCK])
            least[place] = min(least[place], (time.process_time() - started) / len(copies) * 1e6)
    return least
