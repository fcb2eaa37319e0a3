"""What a broken, slow or lying server may and may not make us believe, for every HTTP provider."""

import asyncio
from contextlib import aclosing

import pytest

from newsletter.providers.base import Permanent, Receipt, Refusal, ServerDown, Temporary, Throttled, Unknown
from newsletter.providers.registry import ServerType
from tests.providers.http_server import Fault, Reply, Request, http_server
from tests.providers.mails import connected, content, envelope, many, send

HTTP = [
    ServerType.ses,
    ServerType.mailgun,
    ServerType.sendgrid,
    ServerType.resend,
    ServerType.postmark,
]
TAKEN = Reply(
    200, {"id": "1", "MessageId": "1", "MessageID": "1", "ErrorCode": 0}, headers={"X-Message-Id": "1"}
)
"""What each of them reads as a receipt."""


PAIR = [ServerType.mailgun, ServerType.resend]
"""One that knows no repeated calls, and the one that does."""


def lost(kind: ServerType) -> type[Refusal]:
    """What a call is whose answer was lost: Resend knows a repeated one, the others do not."""
    return Temporary if kind is ServerType.resend else Unknown


@pytest.mark.parametrize("kind", HTTP)
async def test_many_messages_share_few_connections(kind: ServerType) -> None:
    async with http_server(TAKEN) as server:
        provider = connected(kind, server.url)
        results = await send(provider, *many(40))
        assert results == [Receipt("200 1")] * 40
        assert len(server.requests) == 40
        assert server.connections <= 4
        await provider.aclose()


@pytest.mark.parametrize("kind", PAIR)
@pytest.mark.parametrize("fault", [Fault.CUT, Fault.HANG, Fault.HALF, Fault.ENDLESS])
async def test_a_call_whose_answer_was_lost_is_unknown_where_the_provider_knows_no_repeated_calls(
    kind: ServerType, fault: Fault
) -> None:
    async with http_server(fault) as server:
        provider = connected(kind, server.url, timeout=1)
        (result,) = await send(provider, envelope())
        assert type(result) is lost(kind)
        assert len(server.requests) == 1
        await provider.aclose()


@pytest.mark.parametrize("kind", PAIR)
async def test_a_call_that_was_cut_while_it_was_written_is_tried_again(kind: ServerType) -> None:
    big = envelope(content=content(html=f"<p>{'x' * 70}</p>\n" * 40_000))
    async with http_server(Fault.CUT_EARLY) as server:
        provider = connected(kind, server.url)
        (result,) = await send(provider, big)
        assert type(result) is Temporary
        assert server.requests == []
        await provider.aclose()


@pytest.mark.parametrize("kind", HTTP)
async def test_nothing_was_tried_where_no_connection_could_be_made(kind: ServerType) -> None:
    async with http_server(TAKEN) as server:
        url = server.url
    provider = connected(kind, url)
    results = await send(provider, *many(6))
    assert {type(result) for result in results} == {ServerDown}
    with pytest.raises(ServerDown):
        await provider.check()
    await provider.aclose()


@pytest.mark.parametrize("kind", HTTP)
async def test_refused_credentials_hold_for_every_message_and_are_not_quoted(kind: ServerType) -> None:
    body = {"message": "bad key k-secret-123", "errors": [{"message": "bad key k-secret-123"}]}
    async with http_server(Reply(401, body)) as server:
        provider = connected(kind, server.url)
        results = await send(provider, *many(20))
        assert {type(result) for result in results} == {ServerDown}
        assert len(server.requests) <= 4
        assert all(isinstance(result, Refusal) and "secret" not in result.text for result in results)
        await provider.aclose()


@pytest.mark.parametrize("kind", HTTP)
@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (301, ServerDown),
        (400, Permanent),
        (403, ServerDown),
        (404, ServerDown),
        (408, Temporary),
        (413, Permanent),
        (422, Permanent),
        (429, Throttled),
        (500, Temporary),
        (502, Temporary),
        (503, Temporary),
    ],
)
async def test_a_status_that_nothing_explains_means_the_same_everywhere(
    kind: ServerType, status: int, refusal: type[Refusal]
) -> None:
    reply = Reply(status, b"<html>", headers={"Location": "http://127.0.0.1:1/elsewhere"})
    async with http_server(reply) as server:
        provider = connected(kind, server.url)
        (result,) = await send(provider, envelope())
        assert type(result) is refusal
        assert isinstance(result, Refusal)
        assert result.code == (None if refusal is Throttled else status)
        assert len(server.requests) == 1
        await provider.aclose()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("7", 7), ("0", 0), ("86400", 600), ("soon", 10), (None, 10), ("-5", 0), ("nan", 10), ("inf", 10)],
)
async def test_a_throttle_says_when_to_come_again(given: str | None, seconds: float) -> None:
    headers = {} if given is None else {"Retry-After": given}
    async with http_server(Reply(429, {}, headers)) as server:
        provider = connected(ServerType.resend, server.url)
        (result,) = await send(provider, envelope())
        assert isinstance(result, Throttled)
        assert result.retry_after == seconds
        await provider.aclose()


@pytest.mark.parametrize("kind", HTTP)
async def test_a_gateway_that_gave_up_waiting_tells_nothing(kind: ServerType) -> None:
    async with http_server(Reply(504)) as server:
        provider = connected(kind, server.url)
        (result,) = await send(provider, envelope())
        assert type(result) is lost(kind)
        await provider.aclose()


@pytest.mark.parametrize("kind", HTTP)
@pytest.mark.parametrize("body", [b"<html>Sign in to the hotel's network</html>", b"[]", b"", b"[" * 50_000])
async def test_a_success_that_names_no_message_is_no_receipt(kind: ServerType, body: bytes) -> None:
    async with http_server(Reply(200, body)) as server:
        provider = connected(kind, server.url)
        (result,) = await send(provider, envelope())
        assert type(result) is lost(kind)
        await provider.aclose()


@pytest.mark.parametrize("kind", HTTP)
async def test_what_was_not_begun_when_we_must_stop_was_not_tried(kind: ServerType) -> None:
    async with http_server(TAKEN) as server:
        provider = connected(kind, server.url)
        results = [item async for item in provider.send_many(many(30), lambda: len(server.requests) >= 5)]
        assert sorted(index for index, _ in results) == list(range(30))
        sent = [result for _, result in results if isinstance(result, Receipt)]
        assert len(sent) == len(server.requests) < 12
        assert all(isinstance(result, Receipt | ServerDown) for _, result in results)
        await provider.aclose()


@pytest.mark.parametrize("kind", PAIR)
async def test_a_cancelled_call_leaves_no_request_behind(kind: ServerType) -> None:
    async with http_server(Fault.HANG) as server:
        provider = connected(kind, server.url, timeout=60)

        async def consume() -> None:
            async with aclosing(provider.send_many(many(8))) as results:  # type: ignore[type-var]
                async for _ in results:
                    pass

        task = asyncio.create_task(consume())
        while len(server.requests) < 4:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while server.open:
            await asyncio.sleep(0.01)
        await provider.aclose()


@pytest.mark.parametrize("kind", HTTP)
@pytest.mark.parametrize(
    "recipient", ["", "no-at-sign", "a b@example.com", "a\r\nb@example.com", "ü@example.com"]
)
async def test_what_is_no_ascii_address_is_refused_here(kind: ServerType, recipient: str) -> None:
    async with http_server(TAKEN) as server:
        provider = connected(kind, server.url)
        refused, sent = await send(
            provider, envelope(recipient, content=content()), envelope("a@bücher.example")
        )
        assert type(refused) is Permanent
        assert refused.enhanced in ("5.1.3", "5.6.7")
        assert refused.is_bad_address is (refused.enhanced == "5.1.3")
        assert isinstance(sent, Receipt)
        (request,) = server.requests
        assert b"xn--bcher-kva.example" in request.body
        await provider.aclose()


async def test_requests_in_flight_stay_below_the_limit_over_concurrent_calls() -> None:
    slow: list[Request] = []

    def answer(request: Request) -> Reply:
        slow.append(request)
        return TAKEN

    async with http_server(answer) as server:
        provider = connected(ServerType.resend, server.url)
        await asyncio.gather(*(send(provider, *many(20)) for _ in range(3)))
        assert len(slow) == 60
        assert server.most_open <= 4
        await provider.aclose()
