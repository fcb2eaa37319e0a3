"""Sending through a real server: what arrives, over which connections, and what is left open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.providers.base import (
    Envelope,
    Permanent,
    Provider,
    Receipt,
    Result,
    ServerDown,
    Temporary,
    Unknown,
    never,
)
from newsletter.providers.smtp import Limits, SMTPProvider, SMTPServer, Timeouts, pool
from newsletter.providers.smtp.call import Call
from newsletter.providers.smtp.session import Session
from newsletter.providers.smtp.wire import Wire
from newsletter.settings import SMTPSettings
from tests.providers.scripted_server import HANG, ScriptedServer, scripted
from tests.smtp_sink import Sink

CONTENT = b"Message-ID: <msg_1@example.com>\r\nSubject: hi\r\n\r\nHello\r\n"


def envelope(recipient: str = "alice@example.com", **changes: str | bytes) -> Envelope:
    fields = {"message_id": "msg_1", "return_path": "news@example.com", "content": CONTENT} | changes
    return Envelope(recipient=recipient, **fields)  # type: ignore[arg-type]


def many(count: int) -> list[Envelope]:
    return [envelope(f"reader{number}@example.com") for number in range(count)]


@asynccontextmanager
async def provider(port: int, connections: int = 1) -> AsyncIterator[SMTPProvider]:
    smtp = SMTPProvider(
        SMTPServer.from_url(f"smtp+plain://127.0.0.1:{port}"),
        limits=Limits(connections=connections),
        timeouts=Timeouts(connect=5, command=5, data=5, final=5),
    )
    try:
        yield smtp
    finally:
        await smtp.aclose()


async def send(smtp: Provider, *envelopes: Envelope) -> list[Result]:
    results = [item async for item in smtp.send_many(envelopes)]
    assert sorted(index for index, _ in results) == list(range(len(envelopes)))
    return [result for _, result in sorted(results, key=lambda item: item[0])]


async def test_a_message_arrives_byte_for_byte(smtp_sink: Sink) -> None:
    content = b"Message-ID: <msg_1@example.com>\r\n\r\n.\r\n..\r\n.dot\r\n\r\n.\r\nend .\r\n"
    async with provider(smtp_sink.port) as smtp:
        (result,) = await send(smtp, envelope(content=content))
        assert result == Receipt("250 2.0.0 Queued")
        await send(smtp, envelope(content=b".\r\n"), envelope(return_path=""))
    first, second, third = smtp_sink.received
    assert (first.recipient, first.sender) == ("alice@example.com", "news@example.com")
    assert first.message_id == "<msg_1@example.com>"
    assert first.raw == content
    assert second.raw == b".\r\n"
    assert third.sender == ""


async def test_many_messages_share_few_connections(smtp_sink: Sink) -> None:
    async with provider(smtp_sink.port, connections=3) as smtp:
        results = await send(smtp, *many(60))
        assert {type(result) for result in results} == {Receipt}
        await send(smtp, *many(60))
    assert smtp_sink.connections <= 3
    assert len(smtp_sink.received) == 120
    assert len(set(smtp_sink.recipients)) == 60


async def test_concurrent_calls_share_the_connections(smtp_sink: Sink) -> None:
    async with provider(smtp_sink.port, connections=2) as smtp:
        await asyncio.gather(*(send(smtp, *many(20)) for _ in range(5)))
    assert smtp_sink.connections <= 2
    assert len(smtp_sink.received) == 100


async def test_no_connection_is_made_before_there_is_a_message(smtp_sink: Sink) -> None:
    async with provider(smtp_sink.port) as smtp:
        assert await send(smtp) == []
    assert smtp_sink.connections == 0


async def test_each_recipient_has_its_own_result(smtp_sink: Sink) -> None:
    smtp_sink.refuse("bob@example.com", "550 5.1.1 No such user")
    smtp_sink.refuse("carol@example.com", "451 4.7.1 Greylisted", times=1)
    smtp_sink.refuse("dave@example.com", "554 5.7.1 Spam", at="data")
    everyone = [envelope(f"{name}@example.com") for name in ("alice", "bob", "carol", "dave", "erin")]
    async with provider(smtp_sink.port) as smtp:
        results = await send(smtp, *everyone)
        assert [type(result) for result in results] == [Receipt, Permanent, Temporary, Permanent, Receipt]
        bob, dave = results[1], results[3]
        assert isinstance(bob, Permanent)
        assert isinstance(dave, Permanent)
        assert (bob.is_bad_address, dave.is_bad_address) == (True, False)
        assert [type(result) for result in await send(smtp, everyone[2])] == [Receipt]
    assert smtp_sink.recipients == ["alice@example.com", "carol@example.com", "erin@example.com"]
    assert smtp_sink.connections == 1


async def test_results_come_as_messages_end() -> None:
    async with (
        scripted({"DOT": ["250 2.0.0 queued", HANG]}) as server,
        provider(server.port) as smtp,
        aclosing(smtp.send_many(many(3))) as results,
    ):
        assert await asyncio.wait_for(anext(results), 30) == (0, Receipt("250 2.0.0 queued"))


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.com\r\nRCPT TO:<mallory@example.com>",
        "alice@example.com> SIZE=1",
        "alice@exam ple.com",
        "alice@example.com\0",
        "alice\n@example.com",
        "alice@example.com\x85",
        "<alice@example.com>",
        '"a"> b"@example.com',
        "alice",
        "@example.com",
        "",
        "alice@\ud800.example.com",
        "alice\ud800@example.com",
        "alice@-bücher-.example",
    ],
)
async def test_what_is_no_address_never_leaves(address: str) -> None:
    async with scripted() as server, provider(server.port) as smtp:
        bad, good = await send(smtp, envelope(address), envelope())
        assert isinstance(bad, Permanent)
        assert bad.is_bad_address
        assert type(good) is Receipt
        if address:
            (from_bad,) = await send(smtp, envelope(return_path=address))
            assert isinstance(from_bad, Permanent)
            assert not from_bad.is_bad_address
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_quoted_local_parts_pass() -> None:
    async with scripted() as server, provider(server.port) as smtp:
        (result,) = await send(smtp, envelope('"a <b>\\" c"@example.com'))
    assert type(result) is Receipt
    assert server.commands[2] == 'RCPT TO:<"a <b>\\" c"@example.com>'


async def test_international_addresses(smtp_sink: Sink) -> None:
    async with provider(smtp_sink.port) as smtp:
        results = await send(smtp, envelope("zoë@bücher.example"), envelope("alice@Bücher.example"))
    assert [type(result) for result in results] == [Receipt, Receipt]
    assert smtp_sink.recipients == ["alice@xn--bcher-kva.example", "zoë@xn--bcher-kva.example"]


async def test_an_international_local_part_needs_a_server_that_takes_it() -> None:
    with Sink(smtputf8=False) as sink:
        async with provider(sink.port) as smtp:
            results = await send(smtp, envelope("zoë@example.com"), envelope("alice@bücher.example"))
    assert isinstance(results[0], Permanent)
    assert results[0].enhanced == "5.6.7"
    assert not results[0].is_bad_address
    assert sink.recipients == ["alice@xn--bcher-kva.example"]


async def test_extensions_are_used_where_they_are_announced() -> None:
    async with (
        scripted({"EHLO": "250-x\r\n250-SIZE\r\n250 SMTPUTF8"}) as server,
        provider(server.port) as smtp,
    ):
        await send(smtp, envelope("zoë@example.com"), envelope())
    mails = [command for command in server.commands if command.startswith("MAIL")]
    size = len(CONTENT)
    assert mails == [
        f"MAIL FROM:<news@example.com> SIZE={size} SMTPUTF8",
        f"MAIL FROM:<news@example.com> SIZE={size}",
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Subject: a\r\n\r\nno end",
        b"Subject: a\r\n\r\nbare\nfeed\r\n",
        b"Subject: a\r\n\r\nbare\rreturn\r\n",
        b"Subject: a\r\n\r\n\n.\r\nMAIL FROM:<x@example.com>\r\n",
        b"Subject: a\r\n\r\n\r.\r\r\n",
        b"Subject: a\n\r\r\n",
    ],
)
async def test_a_message_with_bare_line_ends_never_leaves(content: bytes) -> None:
    async with scripted() as server, provider(server.port) as smtp:
        (result,) = await send(smtp, envelope(content=content))
    assert isinstance(result, Permanent)
    assert not result.is_bad_address
    assert server.verbs() == ["EHLO", "QUIT"]


async def test_a_connection_is_replaced_after_its_messages(smtp_sink: Sink) -> None:
    smtp = SMTPProvider(
        SMTPServer.from_url(f"smtp+plain://127.0.0.1:{smtp_sink.port}"),
        limits=Limits(connections=1, messages=10),
    )
    await send(smtp, *many(25))
    await smtp.aclose()
    assert [sum(one.connection == number for one in smtp_sink.received) for number in (1, 2, 3)] == [
        10,
        10,
        5,
    ]


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.1)
    async with scripted() as server, provider(server.port, connections=2) as smtp:
        await send(smtp, *many(2))
        await all_closed(server)
        assert server.verbs().count("QUIT") == server.connections
        assert type((await send(smtp, envelope()))[0]) is Receipt


async def test_closing_says_goodbye_and_leaves_nothing_open() -> None:
    async with scripted() as server:
        async with provider(server.port, connections=3) as smtp:
            await send(smtp, *many(9))
        await all_closed(server)
        assert server.verbs().count("QUIT") == server.connections


async def test_a_server_that_never_says_goodbye_does_not_hold_us() -> None:
    async with scripted({"QUIT": HANG}) as server:
        async with asyncio.timeout(60):  # The server hangs for an hour.
            async with provider(server.port) as smtp:
                await send(smtp, envelope())


@pytest.mark.parametrize("step", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "DOT", "RSET"])
async def test_cancelling_at_any_step_leaves_nothing_open(step: str) -> None:
    script = {step: HANG} | ({"RCPT": "550 5.1.1 no"} if step == "RSET" else {})
    async with scripted(script) as server, provider(server.port, connections=2) as smtp:
        call = asyncio.create_task(send(smtp, *many(5)))
        reached = {"GREETING": 0, "EHLO": 1, "MAIL": 2, "RCPT": 3, "DATA": 4, "DOT": 4, "RSET": 4}[step]
        async with asyncio.timeout(60):
            while server.connections == 0 or len(server.commands) < reached:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        server.script_for = lambda _: {}
        await all_closed(server)
        # The slots are free again.
        results = await send(smtp, *many(4))
        assert {type(result) for result in results} == {Receipt}


async def test_told_to_stop_it_begins_no_further_message(smtp_sink: Sink) -> None:
    def should_stop() -> bool:
        return len(smtp_sink.received) >= 3

    async with provider(smtp_sink.port, connections=2) as smtp:
        results = [item async for item in smtp.send_many(many(20), should_stop)]
    assert sorted(index for index, _ in results) == list(range(20))
    kinds = [type(result) for _, result in results]
    assert 3 <= kinds.count(Receipt) == len(smtp_sink.received) <= 6
    assert kinds.count(ServerDown) == 20 - kinds.count(Receipt)


async def test_leaving_the_results_early_leaves_nothing_open() -> None:
    async with scripted() as server, provider(server.port, connections=2) as smtp:
        async with aclosing(smtp.send_many(many(50))) as results:
            await anext(results)
        was = len(server.messages)
        await asyncio.sleep(0.05)
        assert len(server.messages) <= was + 2 < 50
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "smtp"]


async def test_a_call_that_is_left_disturbs_no_other(smtp_sink: Sink) -> None:
    async with provider(smtp_sink.port, connections=2) as smtp:
        async with aclosing(smtp.send_many(many(50))) as results:
            other = asyncio.create_task(send(smtp, *[envelope("other@example.com")] * 20))
            await anext(results)
        assert {type(result) for result in await other} == {Receipt}
    assert smtp_sink.recipients.count("other@example.com") == 20


async def test_the_error_of_one_caller_reaches_no_other(smtp_sink: Sink) -> None:
    def should_stop() -> bool:
        raise RuntimeError("the caller's own")

    async with provider(smtp_sink.port, connections=2) as smtp:
        other = asyncio.create_task(send(smtp, *many(20)))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="the caller's own"):
            await anext(smtp.send_many(many(3), should_stop))
        assert {type(result) for result in await other} == {Receipt}
    assert len(smtp_sink.received) == 20


async def test_a_lost_process_of_the_server_settles_every_message(smtp_sink: Sink) -> None:
    smtp_sink.delay = 0.05
    async with provider(smtp_sink.port, connections=2) as smtp:
        results = []
        async for index, result in smtp.send_many(many(20)):
            results.append((index, result))
            if len(results) == 4:
                smtp_sink.delay = 60  # However long it takes to stop it: it takes no more mails.
                await asyncio.to_thread(smtp_sink.stop)
    assert sorted(index for index, _ in results) == list(range(20))
    kinds = [type(result) for _, result in results]
    assert kinds.count(Receipt) >= 4
    assert kinds.count(Unknown) + kinds.count(Temporary) <= 2
    assert kinds.count(ServerDown) >= 10


async def test_a_server_that_comes_back_is_used_again(smtp_sink: Sink) -> None:
    async with provider(smtp_sink.port) as smtp:
        assert type((await send(smtp, envelope()))[0]) is Receipt
        await asyncio.to_thread(smtp_sink.stop)
        assert type((await send(smtp, envelope()))[0]) is ServerDown
        smtp_sink.start()
        assert type((await send(smtp, envelope()))[0]) is Receipt


async def test_the_provider_is_made_from_the_settings(smtp_sink: Sink) -> None:
    settings = SMTPSettings(url=smtp_sink.url, connections=2, final_timeout=7)
    smtp: Provider = SMTPProvider.from_settings(settings)
    assert type((await send(smtp, envelope()))[0]) is Receipt
    await smtp.aclose()
    with pytest.raises(ValueError, match="no sending server"):
        SMTPProvider.from_settings(SMTPSettings(url=None))


async def all_closed(server: ScriptedServer) -> None:
    async with asyncio.timeout(60):
        while server.open:
            await asyncio.sleep(0.01)


ADDRESSES = st.one_of(
    st.emails(),
    st.sampled_from(
        [
            "",
            "reader@example.com",
            "läser@example.com",
            "reader@exämple.com",
            '"a b"@example.com',
            "no address",
        ]
    ),
)


@given(ADDRESSES, ADDRESSES, st.booleans())
async def test_commands_that_are_written_at_once_are_those_of_any_address(
    sender: str, recipient: str, takes_size: bool
) -> None:
    one = Envelope("msg_1", sender, recipient, b"Hello\r\n")

    def commands() -> bytes | str:
        session = Session(SMTPServer("mail.example.com", 25), Wire(), Timeouts(), Limits())
        session._offers(("SIZE",) if takes_size else ())
        try:
            return session.prepare(Call([one], never), 0, one).commands
        except Permanent as refusal:
            return f"{refusal.enhanced} {refusal.text}"

    at_once = commands()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("newsletter.providers.smtp.session.is_plain", lambda address: None)
        assert at_once == commands()
