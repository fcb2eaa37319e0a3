"""Sending one step at a time, pipelined, and in chunks: the same answers mean the same."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from newsletter.providers.base import Envelope, Permanent, Receipt, Result, ServerDown, Temporary, Unknown
from newsletter.providers.smtp import Limits, SMTPProvider, SMTPServer, Timeouts
from tests.providers.scripted_server import (
    CUT,
    DEFAULTS,
    GOES_ON,
    HANG,
    OFFERS,
    RESET,
    Script,
    ScriptedServer,
    scripted,
)

OK = DEFAULTS["DOT"]
LARGE = b"Subject: hi\r\n\r\n" + (b"y" * 70 + b"\r\n") * 300_000
"""More than the kernel's buffers hold."""
WINDOW = 4


def envelope(number: int, content: bytes | None = None) -> Envelope:
    """Its content says which one it is."""
    return Envelope(
        f"msg_{number}",
        "news@example.com",
        f"reader{number}@example.com",
        content or b"Subject: %d\r\n\r\nHello\r\n" % number,
    )


def provider(server: ScriptedServer, connections: int = 1, **timeouts: float) -> SMTPProvider:
    return SMTPProvider(
        SMTPServer.from_url(f"smtp+plain://127.0.0.1:{server.port}"),
        limits=Limits(connections=connections, window=WINDOW),
        timeouts=Timeouts(**({"connect": 5, "command": 5, "data": 5, "final": 5} | timeouts)),
    )


async def send(to: SMTPProvider, envelopes: Sequence[Envelope]) -> list[Result]:
    """The results in the order of the envelopes; each must come exactly once."""
    try:
        results = [item async for item in to.send_many(envelopes)]
    finally:
        await to.aclose()
    assert sorted(index for index, _ in results) == list(range(len(envelopes)))
    return [result for _, result in sorted(results, key=lambda item: item[0])]


async def play(mode: str, scripts: Sequence[Script], count: int) -> tuple[list[Result], ScriptedServer]:
    """Sends to a server whose connections follow the scripts, the later ones the last."""
    offer: Script = {"EHLO": OFFERS[mode]}
    async with scripted(lambda number: {**offer, **scripts[min(number, len(scripts)) - 1]}) as server:
        results = await send(provider(server), [envelope(number) for number in range(count)])
    assert max(Counter(server.messages).values(), default=0) <= 1, "a message was taken twice"
    return results, server


def kinds(results: Sequence[Result]) -> list[type[Result]]:
    return [type(result) for result in results]


VERDICTS = st.sampled_from(
    [
        *[("DOT", OK)] * 3,
        *[(step, "451 4.7.1 later") for step in ("MAIL", "RCPT", "DOT")],
        *[(step, "550 5.7.1 never") for step in ("MAIL", "RCPT", "DOT")],
        *[(step, "421 4.3.2 closing") for step in ("RCPT", "DOT")],
    ]
)


def script_of(verdicts: Sequence[tuple[str, str]]) -> Script:
    """What each step of each message is answered, as lists that are used up one by one.

    A step that is not reached takes nothing off its list.
    """
    script: dict[str, list[str]] = {step: [] for step in ("MAIL", "RCPT", "DOT")}
    for step, answer in verdicts:
        for each in script:
            if each == step:
                script[each].append(answer)
                break
            script[each].append(DEFAULTS[each])
    return {step: [*answers, DEFAULTS[step]] for step, answers in script.items()}


def split_at_421(verdicts: Sequence[tuple[str, str]]) -> list[Script]:
    """One script for each connection: a 421 ends one."""
    parts: list[list[tuple[str, str]]] = [[]]
    for verdict in verdicts:
        parts[-1].append(verdict)
        if verdict[1].startswith("421"):
            parts.append([])
    return [script_of(part) for part in parts]


def meaning(answer: str) -> type[Result]:
    return {"2": Receipt, "4": Temporary, "5": Permanent}[answer[0]]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(VERDICTS, max_size=12))
async def test_each_mode_gives_each_message_what_the_server_says(verdicts: list[tuple[str, str]]) -> None:
    for mode in OFFERS:
        results, server = await play(mode, split_at_421(verdicts), len(verdicts))
        assert kinds(results) == [meaning(answer) for _, answer in verdicts], mode
        # Who was refused got nothing, and nobody got another's mail.
        taken = [number for number, (_, answer) in enumerate(verdicts) if answer == OK]
        assert server.messages == [envelope(number).content for number in taken], mode


async def test_data_that_is_let_through_after_a_refusal_is_ended_by_a_lone_dot() -> None:
    script = {"RCPT": ["550 5.1.1 no", DEFAULTS["RCPT"]], "DATA!": "354 go on"}
    results, server = await play("pipeline", [script], 3)
    assert kinds(results) == [Permanent, Receipt, Receipt]
    assert server.connections == 1
    assert len(server.messages) == 2


async def test_where_even_a_lone_dot_would_be_a_mail_the_connection_is_left() -> None:
    script = {"MAIL": "550 5.7.1 no", "RCPT!": "250 ok", "DATA": "354 go on"}
    results, server = await play("pipeline", [script, {}], 2)
    assert kinds(results) == [Permanent, Receipt]
    assert server.connections == 2
    assert server.messages == [envelope(1).content]


async def test_a_message_behind_a_refused_one_has_recipients_of_its_own() -> None:
    refused = "550 5.1.1 no such user"
    script = {"RCPT": [DEFAULTS["RCPT"], refused, DEFAULTS["RCPT"], refused, DEFAULTS["RCPT"]]}
    results, server = await play("chunks", [script], 6)
    assert kinds(results) == [Receipt, Permanent, Receipt, Permanent, Receipt, Receipt]
    assert server.connections == 1
    # Each that was begun while the fate of the last was open began with RSET.
    assert server.verbs().count("RSET") >= 4


async def test_a_refused_chunk_is_cleared_before_the_next_message() -> None:
    results, server = await play("chunks", [{"DOT": ["554 5.7.1 spam", OK]}], 2)
    assert kinds(results) == [Permanent, Receipt]
    bdat = [number for number, verb in enumerate(server.verbs()) if verb == "BDAT"]
    assert "RSET" in server.verbs()[bdat[0] : bdat[1]]


async def test_one_chunk_that_is_taken_after_a_refusal_is_in_doubt() -> None:
    script = {"RCPT": [DEFAULTS["RCPT"], "550 5.1.1 no"], "DOT!": "250 2.0.0 queued"}
    results, _ = await play("chunks", [script, {}], 6)
    assert kinds(results)[:2] == [Receipt, Unknown]


@pytest.mark.parametrize("step", ["RSET", "MAIL", "RCPT", "DOT"])
async def test_what_stood_behind_a_421_was_not_read_and_goes_to_the_next_connection(step: str) -> None:
    at_the_first_time = step == "RSET"
    answers = ["421 4.7.0 enough"] if at_the_first_time else [DEFAULTS[step], "421 4.7.0 enough"]
    results, server = await play("chunks", [{step: answers}, {}], 8)
    ended = Temporary if step in ("RCPT", "DOT") else Receipt
    assert kinds(results) == [Receipt, ended, *[Receipt] * 6]
    assert server.connections == 2


async def test_a_server_that_goes_on_after_a_421_leaves_doubt() -> None:
    script = {"DOT": [OK, "421 4.7.0 enough" + GOES_ON, OK]}
    results, server = await play("chunks", [script, {}], 8)
    assert kinds(results) == [Receipt, Temporary, *[Unknown] * (WINDOW - 1), *[Receipt] * 3]
    # It did take them.
    assert len(server.messages) >= 4


@pytest.mark.parametrize("fault", [CUT, RESET])
async def test_a_cut_in_mid_window_leaves_doubt_about_what_was_sent_whole(fault: str) -> None:
    results, server = await play("chunks", [{"DOT": [OK, OK, fault]}, {}], 9)
    doubtful = kinds(results).count(Unknown)
    assert kinds(results) == [Receipt] * 2 + [Unknown] * doubtful + [Receipt] * (7 - doubtful)
    assert 1 <= doubtful <= WINDOW
    assert server.connections == 2


@pytest.mark.parametrize("fault", [CUT, RESET])
async def test_a_cut_after_the_dot_leaves_doubt_about_one_message_alone(fault: str) -> None:
    results, _ = await play("pipeline", [{"DOT": [OK, OK, fault]}, {}], 6)
    assert kinds(results) == [Receipt, Receipt, Unknown, Receipt, Receipt, Receipt]


@pytest.mark.parametrize("mode", OFFERS)
@pytest.mark.parametrize("fault", [CUT, RESET])
async def test_a_cut_before_the_last_byte_left_is_temporary(mode: str, fault: str) -> None:
    offer = {"EHLO": OFFERS[mode]}
    async with scripted(lambda number: offer if number > 1 else {**offer, "BODY": ["", fault]}) as server:
        results = await send(provider(server), [envelope(0), envelope(1, LARGE), envelope(2)])
    assert kinds(results) == [Receipt, Temporary, Receipt]


@pytest.mark.parametrize("mode", OFFERS)
async def test_a_server_that_takes_messages_and_falls_silent_leaves_doubt(mode: str) -> None:
    offer = {"EHLO": OFFERS[mode]}
    async with scripted(lambda number: offer if number > 1 else {**offer, "DOT": [OK, HANG]}) as server:
        results = await send(provider(server, final=0.5), [envelope(number) for number in range(7)])
    doubtful = WINDOW if mode == "chunks" else 1
    assert kinds(results) == [Receipt, *[Unknown] * doubtful, *[Receipt] * (6 - doubtful)]


@pytest.mark.parametrize("mode", OFFERS)
async def test_a_server_may_take_its_time_for_each_answer(mode: str) -> None:
    async with scripted({"EHLO": OFFERS[mode]}) as server:
        server.delay = 0.05
        smtp = provider(server, command=1.5, data=1.5, final=1.5)
        # All answers together take longer than any of them may.
        results = await send(smtp, [envelope(number) for number in range(12)])
    assert kinds(results) == [Receipt] * 12


@pytest.mark.parametrize("mode", OFFERS)
async def test_what_smuggles_leaves_in_no_mode(mode: str) -> None:
    contents = [
        b"Subject: a\r\n\r\nbare\nfeed\r\n",
        b"a\r\n.\nMAIL FROM:<x@example.com>\r\n",
        b"a\r\n\r\nb\rc\r\n",
    ]
    async with scripted({"EHLO": OFFERS[mode]}) as server:
        results = await send(provider(server), [envelope(n, content) for n, content in enumerate(contents)])
    assert kinds(results) == [Permanent] * 3
    assert "MAIL" not in server.verbs()


@pytest.mark.parametrize("mode", OFFERS)
@pytest.mark.parametrize("is_ready", [True, False])
async def test_what_arrives_is_what_was_given(mode: str, is_ready: bool) -> None:
    content = b"Subject: dots\r\n\r\n" + (b"no dot" if is_ready else b".\r\n..\r\n.dot\r\n\r\n.") + b"\r\n"
    async with scripted({"EHLO": OFFERS[mode]}) as server:
        one = Envelope("msg_1", "news@example.com", "a@example.com", content, is_wire_ready=is_ready)
        results = await send(provider(server), [one, one])
    assert kinds(results) == [Receipt] * 2
    unstuffed = [
        b"\r\n".join(_unstuffed(line, mode) for line in each.split(b"\r\n")) for each in server.messages
    ]
    assert unstuffed == [content] * 2


def _unstuffed(line: bytes, mode: str) -> bytes:
    return line[1:] if mode != "chunks" and line.startswith(b".") else line


async def test_a_window_of_nothing_means_data() -> None:
    async with scripted({"EHLO": OFFERS["chunks"]}) as server:
        smtp = SMTPProvider(
            SMTPServer.from_url(f"smtp+plain://127.0.0.1:{server.port}"), limits=Limits(window=0)
        )
        await send(smtp, [envelope(number) for number in range(3)])
    assert "BDAT" not in server.verbs()
    assert server.verbs().count("DATA") == 3


async def test_a_sign_in_that_lapses_in_mid_window_fails_no_message() -> None:
    script = {"MAIL": [DEFAULTS["MAIL"], DEFAULTS["MAIL"], "530 5.7.0 sign in first"]}
    results, _ = await play("chunks", [script], 8)
    assert kinds(results) == [Receipt, Receipt, *[ServerDown] * 6]


async def test_an_error_of_the_caller_reaches_the_caller() -> None:
    calls = 0

    def should_stop() -> bool:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise RuntimeError("the caller's own")
        return False

    async with scripted({"EHLO": OFFERS["pipeline"]}) as server:
        smtp = provider(server)
        with pytest.raises(RuntimeError, match="the caller's own"):
            async for _ in smtp.send_many([envelope(number) for number in range(9)], should_stop):
                pass
        await smtp.aclose()
        async with asyncio.timeout(60):
            while server.open:
                await asyncio.sleep(0.01)
