"""What each fault at each step of a transaction means: may the message be tried again?"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from newsletter.providers.base import (
    Envelope,
    Permanent,
    Receipt,
    Refusal,
    Result,
    ServerDown,
    Temporary,
    Unknown,
)
from newsletter.providers.smtp import Limits, SMTPProvider, SMTPServer, Timeouts
from newsletter.providers.smtp.wire import Wire
from tests.providers.scripted_server import (
    CUT,
    DEFAULTS,
    HANG,
    OFFERS,
    RESET,
    Script,
    ScriptedServer,
    scripted,
)
from tests.tls import server_context

SMALL = b"Subject: hi\r\n\r\nHello\r\n"
LARGE = b"Subject: hi\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 300_000
"""More than the kernel's buffers hold, so that its end stays here while the server reads nothing."""


@pytest.fixture(params=OFFERS, autouse=True)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each fault means the same in each mode of sending, but where a test says otherwise."""
    monkeypatch.setitem(DEFAULTS, "EHLO", OFFERS[request.param])
    return str(request.param)


def steps(*names: str) -> list[tuple[str, str]]:
    """Each mode with each of its steps; there is no DATA where messages go in chunks."""
    return [(mode, name) for mode in OFFERS for name in names if (mode, name) != ("chunks", "DATA")]


def at(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("mode", "step"), steps(*names), indirect=["mode"])


def only(*modes: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("mode", modes, indirect=True)


def envelope(number: int = 1, content: bytes = SMALL) -> Envelope:
    return Envelope(f"msg_{number}", "news@example.com", f"reader{number}@example.com", content)


@asynccontextmanager
async def provider(
    server: ScriptedServer, *, connections: int = 1, **timeouts: float
) -> AsyncIterator[SMTPProvider]:
    made = SMTPProvider(
        SMTPServer.from_url(f"smtp+plain://127.0.0.1:{server.port}"),
        limits=Limits(connections=connections),
        timeouts=Timeouts(**({"connect": 5, "command": 5, "data": 5, "final": 5} | timeouts)),
    )
    try:
        yield made
    finally:
        await made.aclose()


async def send(to: SMTPProvider, *envelopes: Envelope) -> list[Result]:
    """The results in the order of the envelopes; each must come exactly once."""
    results = [item async for item in to.send_many(envelopes)]
    assert sorted(index for index, _ in results) == list(range(len(envelopes)))
    return [result for _, result in sorted(results, key=lambda item: item[0])]


async def send_one(script: Script, content: bytes = SMALL, **timeouts: float) -> Result:
    async with scripted(script) as server, provider(server, connections=1, **timeouts) as smtp:
        (result,) = await send(smtp, envelope(content=content))
    return result


@pytest.mark.parametrize("fault", [CUT, RESET])
@at("MAIL", "RCPT", "DATA")
async def test_a_connection_lost_before_the_message_leaves_it_untaken(step: str, fault: str) -> None:
    assert type(await send_one({step: fault})) is Temporary


@at("MAIL", "RCPT")
async def test_a_server_that_falls_silent_before_the_message_leaves_it_untaken(step: str) -> None:
    result = await send_one({step: HANG}, command=0.2)
    assert type(result) is Temporary
    assert step in result.text
    assert "0.2 s" in result.text


@only("lock-step", "pipeline")
async def test_a_server_that_never_answers_data_leaves_the_message_untaken() -> None:
    assert type(await send_one({"DATA": HANG}, data=0.2)) is Temporary


@pytest.mark.parametrize("fault", [CUT, RESET])
async def test_a_connection_lost_while_the_message_is_on_its_way_leaves_it_untaken(fault: str) -> None:
    assert type(await send_one({"BODY": fault}, LARGE)) is Temporary


@pytest.mark.parametrize("tls", [True, False])
async def test_the_last_bytes_that_did_not_leave_decide(
    tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small buffers in both kernels: 60 kB do not fit into them, but would fit into the one that
    # an asyncio transport fills before it says anything. Under TLS the server has 256 kB more.
    size = 400_000 if tls else 60_000
    made = Wire.connection_made

    def connection_made(wire: Wire, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(wire, transport)

    monkeypatch.setattr(Wire, "connection_made", connection_made)
    context = server_context(tmp_path, "127.0.0.1") if tls else None
    async with scripted({"BODY": HANG}, tls=context, implicit=tls, receive_buffer=4096) as server:
        scheme = "smtps" if tls else "smtp+plain"
        smtp = SMTPProvider(
            SMTPServer.from_url(f"{scheme}://127.0.0.1:{server.port}?ca={tmp_path / 'ca.pem'}"),
            timeouts=Timeouts(connect=5, command=5, data=0.3, final=0.3),
        )
        (result,) = await send(smtp, envelope(content=LARGE[:size] + b"\r\n"))
        await smtp.aclose()
    assert type(result) is Temporary


async def test_a_server_that_stops_reading_the_message_leaves_it_untaken() -> None:
    result = await send_one({"BODY": HANG}, LARGE, data=0.3)
    assert type(result) is Temporary
    assert "took nothing" in result.text


async def test_a_refusal_in_the_middle_of_a_message_counts_and_ends_the_connection() -> None:
    scripts: list[Script] = [{"BODY": "552 5.3.4 too big"}, {}]
    async with scripted(lambda number: scripts[number - 1]) as server, provider(server, command=60) as smtp:
        async with asyncio.timeout(10):
            refused, taken = await send(smtp, envelope(content=LARGE), envelope())
    assert isinstance(refused, Permanent)
    assert (refused.code, refused.enhanced) == (552, "5.3.4")
    # The rest of the first message must not be read as commands.
    assert type(taken) is Receipt
    assert server.connections == 2


@pytest.mark.parametrize("fault", [CUT, RESET])
async def test_a_connection_lost_after_the_final_dot_leaves_doubt(fault: str) -> None:
    assert type(await send_one({"DOT": fault})) is Unknown


async def test_a_server_that_falls_silent_after_the_final_dot_leaves_doubt() -> None:
    assert type(await send_one({"DOT": HANG}, final=0.2)) is Unknown
    assert type(await send_one({"DOT": HANG}, LARGE[:500_000] + b"\r\n", final=0.5)) is Unknown


@pytest.mark.parametrize("reply", ["354 what", "nonsense", "99 x", "150 wait"])
async def test_nonsense_after_the_final_dot_leaves_doubt(reply: str) -> None:
    assert type(await send_one({"DOT": reply})) is Unknown


@at("MAIL", "RCPT", "DATA", "DOT")
@pytest.mark.parametrize(
    ("reply", "kind", "code", "enhanced"),
    [
        ("450 4.2.0 greylisted", Temporary, 450, "4.2.0"),
        ("451 try later", Temporary, 451, None),
        ("452 4.2.2 full", Temporary, 452, "4.2.2"),
        ("421 4.3.2 shutting down", Temporary, 421, "4.3.2"),
        ("550 5.1.1 no such user", Permanent, 550, "5.1.1"),
        ("554 no", Permanent, 554, None),
        ("550-5.7.26 not authenticated\r\n550 5.7.26 see https://example.com", Permanent, 550, "5.7.26"),
        ("550-See our site\r\n550 #5.1.0 Address rejected", Permanent, 550, "5.1.0"),
        ("550 4.4.7 says two things", Permanent, 550, None),
        ("550 5.1.1.1 is no status", Permanent, 550, None),
        ("550", Permanent, 550, None),
    ],
)
async def test_a_refusal_is_read_by_its_code(
    step: str, reply: str, kind: type[Refusal], code: int, enhanced: str | None
) -> None:
    result = await send_one({step: reply})
    assert type(result) is kind
    assert (result.code, result.enhanced) == (code, enhanced)
    assert "\n" not in result.text
    assert result.text.startswith(str(code))
    assert result.is_bad_address == (enhanced in ("5.1.1", "5.1.0"))


async def test_a_552_to_rcpt_is_temporary_and_elsewhere_permanent() -> None:
    assert type(await send_one({"RCPT": "552 5.2.2 mailbox full"})) is Temporary
    assert type(await send_one({"MAIL": "552 5.3.4 too big"})) is Permanent
    assert type(await send_one({"DOT": "552 5.2.2 mailbox full"})) is Permanent


@at("MAIL", "RCPT", "DATA")
@pytest.mark.parametrize("reply", ["354 what", "nonsense", "150 wait"])
async def test_nonsense_before_the_message_leaves_it_untaken(step: str, reply: str) -> None:
    if (step, reply) == ("DATA", "354 what"):
        reply = "250 what"
    assert type(await send_one({step: reply})) is Temporary


async def test_an_endless_reply_ends_the_connection() -> None:
    assert type(await send_one({"MAIL": "250-x\r\n" * 40_000 + "250-x"})) is Temporary


async def test_replies_keep_no_control_characters_and_at_most_500_characters() -> None:
    result = await send_one({"DOT": "250 queued\0\x1b[31m as \x85" + "é" * 600})
    assert isinstance(result, Receipt)
    assert result.response.startswith("250 queued [31m as é")
    assert len(result.response) == 500
    assert result.response.isprintable()


@at("RCPT", "DATA", "DOT", "MAIL")
async def test_after_a_refusal_the_next_message_uses_the_same_connection(mode: str, step: str) -> None:
    async with scripted({step: ["550 5.7.1 no", DEFAULTS[step]]}) as server, provider(server) as smtp:
        refused, taken = await send(smtp, envelope(1), envelope(2))
    assert type(refused) is Permanent
    assert type(taken) is Receipt
    assert server.connections == 1
    # A transaction that had begun is ended before the next one.
    assert ("RSET" in server.verbs()) == (step in ("RCPT", "DATA") or (mode, step) == ("chunks", "DOT"))
    assert len(server.messages) == 1


@pytest.mark.parametrize("answer", ["500 what", "421 4.3.2 bye", CUT])
async def test_a_failed_reset_costs_the_connection_and_nothing_else(answer: str) -> None:
    scripts: list[Script] = [{"RCPT": "550 5.1.1 no", "RSET": answer}, {}]
    async with scripted(lambda number: scripts[number - 1]) as server, provider(server) as smtp:
        refused, taken = await send(smtp, envelope(1), envelope(2))
        assert type(refused) is Permanent
        assert type(taken) is Receipt
        assert server.connections == 2


@at("MAIL", "RCPT", "DATA")
async def test_after_a_421_the_connection_is_not_used_again(step: str) -> None:
    scripts: list[Script] = [{step: "421 4.3.2 bye"}, {}]
    async with scripted(lambda number: scripts[number - 1]) as server, provider(server) as smtp:
        refused, taken = await send(smtp, envelope(1), envelope(2))
        assert type(refused) is Temporary
        assert type(taken) is Receipt
        assert server.connections == 2


STALE = [
    {"MAIL": [DEFAULTS["MAIL"], CUT]},
    {"MAIL": [DEFAULTS["MAIL"], RESET]},
    {"MAIL": [DEFAULTS["MAIL"], "421 4.4.2 idle for too long"]},
    {"IDLE": "421 4.4.2 idle for too long"},
    {"IDLE": CUT},
    {"IDLE": RESET},
]


@pytest.mark.parametrize("script", STALE)
async def test_a_message_that_meets_a_stale_connection_is_sent_on_a_fresh_one(script: Script) -> None:
    scripts: list[Script] = [script, {}]
    async with scripted(lambda number: scripts[number - 1]) as server, provider(server) as smtp:
        (first,) = await send(smtp, envelope(1))
        (second,) = await send(smtp, envelope(2))
    assert type(first) is type(second) is Receipt
    assert server.connections == 2
    assert len(server.messages) == 2


@only("lock-step", "pipeline")
@pytest.mark.parametrize("script", STALE)
async def test_a_connection_that_ends_between_two_messages_costs_neither(script: Script) -> None:
    scripts: list[Script] = [script, {}]
    async with scripted(lambda number: scripts[number - 1]) as server, provider(server) as smtp:
        first, second = await send(smtp, envelope(1), envelope(2))
    assert type(first) is type(second) is Receipt
    assert server.connections == 2
    assert len(server.messages) == 2


async def test_a_reply_too_many_never_passes_for_the_acceptance_of_a_message(mode: str) -> None:
    async with scripted({"IDLE": "250 spoken out of turn"}) as server, provider(server) as smtp:
        results = await send(smtp, *map(envelope, range(6)))
    # Where it came before the next command, the connection is replaced; else it shifts the
    # replies by one, which shows at DATA. In chunks all answers are alike but for the status; by
    # the time that shows, several messages are on the way.
    taken = sum(type(result) is Receipt for result in results)
    if mode == "chunks":
        assert {type(result) for result in results} <= {Receipt, Unknown}
        assert 1 <= taken <= len(server.messages)
    else:
        assert {type(result) for result in results} <= {Receipt, Temporary}
        assert len(server.messages) == taken >= 3


async def test_a_message_is_given_a_fresh_connection_once() -> None:
    scripts: list[Script] = [{"MAIL": [DEFAULTS["MAIL"], CUT]}, {"MAIL": CUT}, {}]
    async with scripted(lambda number: scripts[number - 1]) as server, provider(server) as smtp:
        first, second, third = [(await send(smtp, envelope(number)))[0] for number in range(3)]
    assert [type(first), type(second), type(third)] == [Receipt, Temporary, Receipt]
    assert server.connections == 3


async def test_all_kept_connections_are_dropped_when_one_was_stale() -> None:
    scripts: list[Script] = [*[{"MAIL": [DEFAULTS["MAIL"], CUT]}] * 3, {}]
    async with (
        scripted(lambda number: scripts[min(number, 4) - 1]) as server,
        provider(server, connections=3) as smtp,
    ):
        await asyncio.gather(*(send(smtp, envelope(number)) for number in range(3)))
        was = server.connections
        mails = server.verbs().count("MAIL")
        (result,) = await send(smtp, envelope(9))
    assert type(result) is Receipt
    assert server.connections == was + 1
    assert server.verbs().count("MAIL") == mails + 2


async def test_a_connection_that_dies_later_in_a_transaction_is_not_a_stale_one() -> None:
    async with scripted({"RCPT": [DEFAULTS["RCPT"], CUT]}) as server, provider(server) as smtp:
        first, second = [(await send(smtp, envelope(number)))[0] for number in range(2)]
    assert [type(first), type(second)] == [Receipt, Temporary]
    assert server.connections == 1


NOT_SIGNED_IN = ["530 5.7.0 Authentication required", "530 5.7.0 Must issue a STARTTLS command first"]


@pytest.mark.parametrize("reply", NOT_SIGNED_IN)
async def test_a_server_that_wants_a_sign_in_fails_no_message(reply: str) -> None:
    async with scripted({"MAIL": reply}) as server, provider(server) as smtp:
        results = await send(smtp, *map(envelope, range(5)))
    assert [type(result) for result in results] == [ServerDown] * 5
    assert {result.code for result in results if isinstance(result, ServerDown)} == {530}
    assert server.verbs().count("MAIL") == 1


async def test_a_server_that_goes_away_leaves_what_was_not_tried() -> None:
    scripts: list[Script] = [{"DOT": [DEFAULTS["DOT"], "421 4.3.2 bye"]}, {"GREETING": "421 4.3.2 no"}]
    async with scripted(lambda number: scripts[min(number, 2) - 1]) as server, provider(server) as smtp:
        results = await send(smtp, *map(envelope, range(5)))
    assert [type(result) for result in results] == [Receipt, Temporary, *[ServerDown] * 3]


async def test_a_server_that_takes_one_connection_only_still_takes_every_message() -> None:
    async with (
        scripted(lambda number: {} if number == 1 else {"GREETING": "421 4.7.0 too many"}) as server,
        provider(server, connections=4) as smtp,
    ):
        results = await send(smtp, *map(envelope, range(20)))
    assert {type(result) for result in results} == {Receipt}
    assert len(server.messages) == 20
