"""``/c/…`` and ``/o/…``: readers are led on at once, and the log has it in the end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.api.tracking import PIXEL
from newsletter.delivery.links import MessageRef
from newsletter.delivery.models import Message
from newsletter.events.models import Event
from newsletter.feedback import engagement
from newsletter.feedback.sightings import Sighting, Sightings, network_of
from newsletter.kit import ids
from newsletter.kit.db import Database
from newsletter.kit.spool import Spool
from newsletter.runtime import Runtime
from newsletter.settings import EventSettings
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpora" / "open-redirects.txt"
SHOP = "https://shop.example.org/lamps?a=1&b=2#top"
TRICKS = (
    "//evil.test",
    "///evil.test/%2f..",
    "https:evil.test",
    "/\\evil.test",
    "http://shop.example.org@evil.test/",
    "//evil%E3%80%82test",
    "javascript:alert(1)",
    "%0d%0aLocation:%20https://evil.test",
    "/%09/evil.test",
    "https://evil.test/../c/",
)

Logged = Callable[[], Awaitable[list[tuple[str, Any]]]]


@pytest.fixture
async def ref(client: Client, runtime: Runtime, db: Database) -> MessageRef:
    """The message that Ada got."""
    list_id = await subscribed_list(client, "Ada", "Grace")
    await send_campaign(client, runtime, list_id, html="<p>Hello</p>")
    async with db.read() as session:
        statement = select(Message).where(Message.address_key == "ada@example.com")
        found = (await session.scalars(statement)).one()
        return MessageRef(found.mailing_id, found.seq, found.subscriber_id)


@pytest.fixture
def logged(runtime: Runtime, db: Database, project: Project) -> Logged:
    """What the log holds of opens and clicks, after all that was noted is written."""

    async def read() -> list[tuple[str, Any]]:
        await runtime.sightings.flush()
        async with db.read() as session:
            statement = select(Event).where(
                Event.project_id == project.id, Event.type.in_(["message.opened", "message.clicked"])
            )
            found = await session.scalars(statement.order_by(Event.id))
            return [(row.type, row.data) for row in found]

    return read


def click(runtime: Runtime, ref: MessageRef, url: str = SHOP) -> str:
    """The path of a tracked link."""
    return runtime.links.tracked(ref, url).removeprefix("http://news.test")


def pixel(runtime: Runtime, ref: MessageRef) -> str:
    return runtime.links.opened(ref).removeprefix("http://news.test")


async def get(client: Client, path: str, method: str = "GET", **headers: str) -> Any:
    return await client.request(method, f"http://news.test{path}", headers={"Authorization": "", **headers})


async def test_a_click_leads_on_and_is_in_the_log(
    client: Client, runtime: Runtime, ref: MessageRef, logged: Logged
) -> None:
    answer = await get(
        client, click(runtime, ref), **{"User-Agent": "Mail/1.0", "Sec-Purpose": "prefetch;prerender"}
    )

    assert answer.status_code == 302
    assert answer.headers["location"] == SHOP
    assert answer.headers["cache-control"] == "no-store, private"
    [(kind, data)] = await logged()
    assert kind == "message.clicked"
    assert data["message"]["subscriber_id"] == ids.public("sub", ref.subscriber_id or UUID(int=0))
    assert data["message"]["campaign_id"].startswith("cmp_")
    assert data["click"] == {
        "by": "machine",
        "reason": "prefetch",
        "user_agent": "Mail/1.0",
        "network": "127.0.0.0/24",
        "url": SHOP,
    }


async def test_a_pixel_is_a_picture_and_an_open(
    client: Client, runtime: Runtime, ref: MessageRef, logged: Logged
) -> None:
    answer = await get(client, pixel(runtime, ref))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.content == PIXEL
    [(kind, data)] = await logged()
    assert kind == "message.opened"
    assert "url" not in data["open"]


async def test_a_look_at_the_head_is_noted_as_one(
    client: Client, runtime: Runtime, ref: MessageRef, logged: Logged
) -> None:
    first = await get(client, click(runtime, ref), "HEAD")
    second = await get(client, pixel(runtime, ref), "HEAD")

    assert (first.status_code, first.headers["location"], first.content) == (302, SHOP, b"")
    assert (second.status_code, second.content) == (200, b"")
    click_, open_ = [data.get("click") or data["open"] for _, data in await logged()]
    assert (click_["by"], click_["reason"]) == (open_["by"], open_["reason"]) == ("machine", "head")


@pytest.mark.parametrize("token", ["", "x", "AAAA", "é", "a/b/c", "%00", "." * 5000])
async def test_a_broken_pixel_is_a_picture_all_the_same(client: Client, token: str, logged: Logged) -> None:
    answer = await get(client, f"/o/{token}")

    assert (answer.status_code, answer.content) == (200, PIXEL)
    assert await logged() == []


async def test_no_letter_of_a_link_may_change(
    client: Client, runtime: Runtime, ref: MessageRef, logged: Logged
) -> None:
    path = click(runtime, ref)
    for place in range(len(path)):
        changed = chr(ord(path[place]) ^ 1)
        answer = await get(client, path[:place] + changed + path[place + 1 :])
        assert answer.status_code == 404, (place, changed)
        assert "location" not in answer.headers
    for cut in (path[:-1], path + "A", path + "/", path.rpartition("/")[0]):
        assert (await get(client, cut)).status_code == 404, cut
    assert await logged() == []


async def test_a_broken_link_gets_a_page_for_people(client: Client) -> None:
    answer = await get(client, "/c/some/thing")

    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "The link is not complete" in answer.text


async def test_a_link_of_one_mailing_is_none_of_another(
    client: Client, runtime: Runtime, ref: MessageRef
) -> None:
    other = click(runtime, MessageRef(ids.uuid7(), 1, None)).rpartition("/")[2]
    recipient = click(runtime, ref).split("/")[2]

    assert (await get(client, f"/c/{recipient}/{other}")).status_code == 404


async def _lead_nowhere(client: Client, recipient: str, tricks: Sequence[str]) -> None:
    for trick in tricks:
        for path in (f"/c/{recipient}/{trick}", f"/c/{trick}", f"/c/{recipient}?url={trick}", f"/o/{trick}"):
            answer = await get(client, path.replace("#", "%23"))
            assert "location" not in answer.headers, path
            assert answer.status_code in (200, 404), path


async def test_no_link_leads_where_no_mail_did(client: Client, runtime: Runtime, ref: MessageRef) -> None:
    await _lead_nowhere(client, click(runtime, ref).split("/")[2], TRICKS)


async def test_public_redirect_tricks_lead_nowhere(client: Client, runtime: Runtime, ref: MessageRef) -> None:
    if not CORPUS.exists():
        pytest.skip("the corpora are not at ../shared/corpora")
    tricks = [line for line in CORPUS.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(tricks) > 300
    await _lead_nowhere(client, click(runtime, ref).split("/")[2], tricks)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:aaaa:bbbb::1", "2001:db8:aaaa::/48"),
        ("testclient", None),
    ],
)
def test_of_an_address_the_network_is_kept(address: str, network: str | None) -> None:
    assert network_of(address) == network


async def test_a_mail_of_nobody_we_know_is_not_in_the_log(
    client: Client, runtime: Runtime, ref: MessageRef, logged: Logged
) -> None:
    strangers = [MessageRef(ids.uuid7(), 1, None), MessageRef(ref.mailing_id, 999, ref.subscriber_id)]
    for stranger in strangers:
        assert (await get(client, click(runtime, stranger))).status_code == 302

    assert await logged() == []


async def test_an_erased_person_leaves_no_trace(
    client: Client, runtime: Runtime, ref: MessageRef, logged: Logged
) -> None:
    await get(client, click(runtime, ref))
    assert len(await logged()) == 1
    await client.data("POST", f"/subscribers/{ids.public('sub', ref.subscriber_id or UUID(int=0))}/erase")
    await run_due(runtime)
    await get(client, click(runtime, ref))

    for _, data in await logged():
        assert data["message"]["subscriber_id"] is None
        assert (data["click"]["user_agent"], data["click"]["network"], data["click"]["url"]) == (None,) * 3
        assert data["click"]["by"] == "machine"


# What happens to a block while the database is away.


class Away:
    """Has a `Sightings` find the database away for as long as ``is_away``."""

    is_away = True

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._record = engagement.record
        monkeypatch.setattr(engagement, "record", self)

    async def __call__(self, session: AsyncSession, block: Sequence[Any], **options: Any) -> None:
        if self.is_away:
            raise OperationalError("INSERT", {}, Exception("the database is away"))
        await self._record(session, block, **options)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    return Away(monkeypatch)


def listed(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def files(runtime: Runtime) -> list[Path]:
    """Those of the spool."""
    return listed(runtime.settings.data_dir / "tracking")


async def test_an_outage_is_nothing_that_a_reader_notices_and_loses_no_click(
    client: Client, runtime: Runtime, ref: MessageRef, logged: Logged, away: Away
) -> None:
    for number in range(5):
        answer = await get(client, click(runtime, ref, f"{SHOP}{number}"))
        assert answer.status_code == 302
    assert await logged() == []
    assert len(files(runtime)) == 1

    away.is_away = False
    for _ in range(2):
        await runtime.sightings.replay()

    assert [data["click"]["url"] for _, data in await logged()] == [f"{SHOP}{number}" for number in range(5)]
    assert files(runtime) == []


async def test_the_next_process_writes_what_the_last_one_kept(
    client: Client, runtime: Runtime, ref: MessageRef, logged: Logged, away: Away
) -> None:
    await get(client, click(runtime, ref))
    await runtime.sightings.aclose()
    assert len(files(runtime)) == 1

    away.is_away = False
    spool = Spool(runtime.settings.data_dir / "tracking", 1_000_000)
    await Sightings(runtime.db, EventSettings(), spool).replay()

    assert len(await logged()) == 1
    assert files(runtime) == []


async def test_a_block_whose_commit_was_not_heard_of_is_written_once(
    client: Client, runtime: Runtime, ref: MessageRef, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = engagement.record

    async def written_and_lost(session: AsyncSession, block: Sequence[Any], **options: Any) -> None:
        await record(session, block, **options)
        await session.commit()
        raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

    monkeypatch.setattr(engagement, "record", written_and_lost)
    await get(client, click(runtime, ref))
    await runtime.sightings.flush()
    monkeypatch.setattr(engagement, "record", record)

    await runtime.sightings.replay()

    assert len(await logged()) == 1


async def test_a_spool_that_another_process_writes_to_is_left_alone(tmp_path: Path) -> None:
    theirs, ours = Spool(tmp_path, 10_000), Spool(tmp_path, 10_000)
    await theirs.append([{"n": 1}])

    assert [block async for block in ours.blocks(10)] == []
    await theirs.aclose()
    assert [block async for block in ours.blocks(10)] == [[{"n": 1}]]


async def test_half_a_line_of_a_spool_is_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000)
    await spool.append([{"n": 1}, {"n": 2}])
    await spool.aclose()
    [path] = listed(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"n": 3, "u')

    assert [block async for block in Spool(tmp_path, 10_000).blocks(1)] == [[{"n": 1}], [{"n": 2}]]
    assert listed(tmp_path) == []


async def test_neither_memory_nor_disk_grows_without_end(
    runtime: Runtime, ref: MessageRef, away: Away, tmp_path: Path
) -> None:
    settings = EventSettings(buffer=3, block=2, flush_seconds=60)
    kept = Sightings(runtime.db, settings, Spool(tmp_path / "small", 500))
    for number in range(9):
        kept.note(Sighting(0.0, ref.pack(), "GET", f"{SHOP}{number}", None, None, None))
        assert len(kept._buffer) <= 3
    await kept.aclose()

    lines = [line for path in (tmp_path / "small").iterdir() for line in path.read_bytes().splitlines()]
    assert 0 < len(lines) <= 3
    assert sum(len(line) + 1 for line in lines) <= 500


async def test_a_block_is_written_without_anybody_asking(
    client: Client, runtime: Runtime, ref: MessageRef, db: Database
) -> None:
    await get(client, click(runtime, ref))

    clicks: list[Event] = []
    while not clicks:  # Nobody asks for it here, and the half second that it waits is not ours.
        await asyncio.sleep(0.05)
        async with db.read() as session:
            clicks = list(await session.scalars(select(Event).where(Event.type == "message.clicked")))
    assert [event.data["click"]["url"] for event in clicks] == [SHOP]
