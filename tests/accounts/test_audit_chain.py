"""The chains of the audit log: whatever is done to one beside the service is found and named."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.audit import queries, retention, service, verifying
from newsletter.accounts.audit.calls import Call, Calls
from newsletter.accounts.audit.chain import INSTALLATION, Entry, digest
from newsletter.accounts.audit.models import AuditChain, AuditEntry
from newsletter.accounts.audit.notary import Notary
from newsletter.accounts.audit.verifying import Kept
from newsletter.accounts.models import Resubscribe
from newsletter.accounts.project import Principal, Project
from newsletter.kit import bulk, clock, ids
from newsletter.kit.spool import Spool
from newsletter.runtime import Runtime
from newsletter.settings import AuditSettings
from tests.client import Client
from tests.conftest import Rings

MANY = 2_500
"""More than two pages of who verifies."""
SCRIPT = re.search(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/audit.md").read_text(), re.DOTALL
)


def call(project: Project, runtime: Runtime, number: int = 0, key_id: UUID | None = None) -> Call:
    principal = Principal(
        project=project,
        plan=runtime.plans["enterprise"],
        key_id=key_id or ids.uuid7(),
        scopes=frozenset({"*"}),
        list_ids=frozenset(),
        from_domains=frozenset(),
        resubscribe=Resubscribe.allow,
        is_use_due=False,
    )
    at = clock.now().timestamp() + number / 1000
    return Call(at, principal, "GET", "/api/v1/lists", {}, 200, "192.0.2.1", f"request-{number}", 0.001)


async def filled(runtime: Runtime, project: Project, count: int = MANY) -> None:
    """A chain of so many calls."""
    key_id = ids.uuid7()
    for number in range(count):
        runtime.calls.note(call(project, runtime, number, key_id))
    await runtime.calls.flush()


async def findings(runtime: Runtime, chain_id: UUID, *kept: Kept) -> list[str]:
    return (await verifying.examine(runtime.db, runtime.notary, chain_id, kept)).findings


async def of(session: AsyncSession, seq: int) -> Entry:
    row = (await session.execute(select(*AuditEntry.__table__.columns).where(AuditEntry.seq == seq))).one()
    return Entry._make(row)


def at(seq: int) -> Any:
    return update(AuditEntry).where(AuditEntry.seq == seq)


async def edited(session: AsyncSession) -> None:
    await session.execute(at(1_700).values(status=404))


async def edited_and_hashed(session: AsyncSession) -> None:
    entry = (await of(session, 1_700))._replace(ip="192.0.2.66")
    await session.execute(at(1_700).values(ip=entry.ip, hash=digest(entry.content())))


async def rewritten_to_the_end(session: AsyncSession) -> None:
    prev_hash, rows = "", []
    for seq in range(1_700, MANY + 1):
        entry = await of(session, seq)
        entry = entry._replace(key_id=ids.uuid7(), prev_hash=prev_hash or entry.prev_hash)
        prev_hash = digest(entry.content())
        rows.append(entry._replace(hash=prev_hash)._asdict())
    await session.execute(delete(AuditEntry).where(AuditEntry.seq >= 1_700))
    await bulk.insert_rows(session, AuditEntry, rows)


async def taken_out(session: AsyncSession) -> None:
    await session.execute(delete(AuditEntry).where(AuditEntry.seq.between(1_700, 1_702)))


async def taken_out_and_numbered_anew(session: AsyncSession) -> None:
    await session.execute(delete(AuditEntry).where(AuditEntry.seq == 1_700))
    await session.execute(update(AuditEntry).where(AuditEntry.seq > 1_700).values(seq=-AuditEntry.seq))
    await session.execute(update(AuditEntry).where(AuditEntry.seq < 0).values(seq=-AuditEntry.seq - 1))


async def exchanged(session: AsyncSession) -> None:
    for old, new in ((1_700, -1), (1_800, 1_700), (-1, 1_800)):
        await session.execute(at(old).values(seq=new))


async def cut_off(session: AsyncSession) -> None:
    await session.execute(delete(AuditEntry).where(AuditEntry.seq > MANY - 3))


async def cut_off_with_its_head(session: AsyncSession) -> None:
    await cut_off(session)
    last = await of(session, MANY - 3)
    await session.execute(update(AuditChain).values(seq=last.seq, hash=last.hash))


async def cut_at_the_beginning(session: AsyncSession) -> None:
    await session.execute(delete(AuditEntry).where(AuditEntry.seq <= 5))


async def without_its_head(session: AsyncSession) -> None:
    await session.execute(delete(AuditChain))


async def added_to(session: AsyncSession) -> None:
    entry = (await of(session, MANY))._replace(seq=MANY + 1)
    await bulk.insert_rows(session, AuditEntry, [entry._asdict()])


async def put_before(session: AsyncSession) -> None:
    entry = (await of(session, 1))._replace(seq=-5, key_id=ids.uuid7())
    await bulk.insert_rows(session, AuditEntry, [entry._replace(hash=digest(entry.content()))._asdict()])


UNSIGNED = "its head has no signature that is good under a key of this installation"


@pytest.mark.parametrize(
    ("done", "named"),
    [
        (edited, ["entry 1700 was altered"]),
        (edited_and_hashed, ["entry 1701 does not follow entry 1700 as it is now"]),
        (rewritten_to_the_end, [f"the signed head does not have the hash of entry {MANY}: it was rewritten"]),
        (taken_out, ["entries 1700 to 1702 are missing"]),
        (cut_off, [f"entries {MANY - 2} to {MANY} are missing: the end was cut off"]),
        (cut_off_with_its_head, [UNSIGNED]),
        (cut_at_the_beginning, ["entries 1 to 5 are missing"]),
        (without_its_head, ["its head is missing"]),
        (added_to, [f"entry {MANY + 1} is behind the signed head"]),
        (put_before, ["entry -5 stands before the chain, which begins behind 0"]),
    ],
)
async def test_what_was_done_to_a_chain_is_named(
    runtime: Runtime,
    project: Project,
    done: Callable[[AsyncSession], Awaitable[None]],
    named: list[str],
) -> None:
    await filled(runtime, project)
    assert await findings(runtime, project.id) == []
    async with runtime.db.unit_of_work() as session:
        await done(session)
    assert await findings(runtime, project.id) == named


@pytest.mark.parametrize("done", [exchanged, taken_out_and_numbered_anew])
async def test_entries_that_changed_their_places_are_named(
    runtime: Runtime, project: Project, done: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    await filled(runtime, project)
    async with runtime.db.unit_of_work() as session:
        await done(session)
    found = await findings(runtime, project.id)
    assert "entry 1700 was altered" in found
    assert len(found) > 2


async def test_a_head_that_was_cut_off_is_never_signed_again_by_itself(
    runtime: Runtime, project: Project
) -> None:
    await filled(runtime, project)
    async with runtime.db.unit_of_work() as session:
        await cut_off_with_its_head(session)
    for _ in range(2):
        await filled(runtime, project, 2)
    assert await findings(runtime, project.id) == [UNSIGNED]
    assert not await retention.drop_entries(runtime.db, clock.now() + timedelta(days=1))

    async with runtime.db.unit_of_work() as session:
        assert not await service.sign(session, project.id)
    assert await findings(runtime, project.id) == []
    async with runtime.db.read() as session:
        *_, last = await queries.linked(session, project.id, MANY, 100)
    assert (last.action, last.details) == ("audit.signed", {"seq": MANY + 1})


async def test_who_has_only_the_database_can_sign_nothing(runtime: Runtime, project: Project) -> None:
    await filled(runtime, project, 3)
    async with runtime.db.unit_of_work() as session:
        head = await queries.head(session, project.id)
        assert head is not None
        other = Notary(["another-secret-key-for-tests-0123456789abcdef"], "n")
        await service.write_heads(session, [other.signed(replace(head, seq=2))])
    assert UNSIGNED in await findings(runtime, project.id)


async def test_a_chain_of_somebody_else_is_not_signed_because_it_ends_with_the_number_0(
    runtime: Runtime, project: Project
) -> None:
    await filled(runtime, project, 3)
    async with runtime.db.unit_of_work() as session:
        entry = (await of(session, 1))._replace(seq=0, ip="192.0.2.66")
        entry = entry._replace(hash=digest(entry.content()))
        await session.execute(delete(AuditEntry))
        await bulk.insert_rows(session, AuditEntry, [entry._asdict()])
        await session.execute(update(AuditChain).values(seq=0, hash=entry.hash, pruned_seq=-1))
    await filled(runtime, project, 2)
    assert await findings(runtime, project.id) == [UNSIGNED]


async def test_a_head_that_was_kept_elsewhere_shows_a_whole_chain_that_was_put_back(
    runtime: Runtime, project: Project
) -> None:
    await filled(runtime, project, 20)
    async with runtime.db.read() as session:
        entries = await queries.linked(session, project.id, 0, 20)
    kept = [Kept(project.id, entry.seq, entry.hash) for entry in (entries[9], entries[19])]
    assert await findings(runtime, project.id, *kept) == []

    async with runtime.db.unit_of_work() as session:  # The service itself could not tell this from a new one.
        await session.execute(delete(AuditEntry))
        await session.execute(delete(AuditChain))
    await filled(runtime, project, 15)
    assert await findings(runtime, project.id) == []
    assert await findings(runtime, project.id, *kept) == [
        "entry 10 is another one than when its head was kept",
        "entries 16 to 20 are missing: a head that was kept knows of them",
    ]


async def test_processes_that_write_at_the_same_time_make_one_chain(
    runtime: Runtime, project: Project
) -> None:
    others = [Runtime(runtime.settings, Rings()) for _ in range(4)]

    async def work(of: Runtime) -> None:
        for number in range(20):
            await filled(of, project, 10)
            async with of.db.unit_of_work() as session:
                await service.note(session, project.id, "key.created", f"key_{number}")

    await asyncio.gather(*(work(each) for each in others))
    seen = await verifying.examine(runtime.db, runtime.notary, project.id)
    assert (seen.findings, seen.entries) == ([], 4 * 20 * 11)
    for each in others:
        await each.aclose()


async def test_what_is_old_goes_and_the_rest_can_still_be_verified(
    runtime: Runtime, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ENTRIES_AT_ONCE", 4)
    await filled(runtime, project, 6)
    border = clock.now() + timedelta(seconds=1)
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(AuditEntry).where(AuditEntry.seq > 5).values(created_at=border))
    assert [await retention.drop_entries(runtime.db, border) for _ in range(3)] == [True, True, False]
    assert await findings(runtime, project.id) == ["entry 6 was altered"]  # As this test did.
    async with runtime.db.read() as session:
        head = await queries.head(session, project.id)
    assert head is not None
    assert (head.pruned_seq, head.seq) == (5, 6)
    async with runtime.db.unit_of_work() as session:
        await session.execute(delete(AuditEntry))
    assert await findings(runtime, project.id) == ["entry 6 is missing: the end was cut off"]


async def test_an_act_that_is_rolled_back_leaves_no_gap(runtime: Runtime, project: Project) -> None:
    async def noted_and_given_up() -> None:
        async with runtime.db.unit_of_work() as session:
            await service.note(session, project.id, "key.created", "key_1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await noted_and_given_up()
    await filled(runtime, project, 2)
    assert (await verifying.examine(runtime.db, runtime.notary, project.id)).entries == 2
    assert await findings(runtime, project.id) == []


async def test_what_was_done_to_the_installation_has_a_chain_of_its_own(runtime: Runtime) -> None:
    async with runtime.db.unit_of_work() as session:
        await service.note(session, None, "global_suppressions.added", "global")
    assert (await verifying.examine(runtime.db, runtime.notary, INSTALLATION)).entries == 1


async def test_heads_of_a_former_secret_are_good_until_it_is_forgotten(
    runtime: Runtime, project: Project
) -> None:
    await filled(runtime, project, 2)
    former, newest = "former-secret-key-for-tests-0123456789abcdef", runtime.settings.secret_key
    assert newest is not None
    renewed = Runtime(
        runtime.settings.model_copy(update={"secret_key": SecretStr(former), "secret_keys_old": (newest,)}),
        Rings(),
    )
    assert await findings(renewed, project.id) == []
    async with renewed.db.unit_of_work() as session:
        assert await service.sign(session, project.id)
    await renewed.aclose()
    assert await findings(runtime, project.id) == [UNSIGNED]  # It does not know the new one.


async def test_calls_that_the_database_could_not_take_are_written_once_when_it_is_back(
    runtime: Runtime, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = service.append

    async def written_and_lost(session: AsyncSession, noted: Any) -> None:
        await append(session, noted)
        await session.commit()
        raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

    async def refused(session: AsyncSession, noted: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("the connection was lost"))

    for outage in (written_and_lost, refused):
        monkeypatch.setattr(service, "append", outage)
        await filled(runtime, project, 5)
    monkeypatch.setattr(service, "append", append)
    await runtime.calls.aclose()

    spool = Spool(runtime.settings.data_dir / "audit", 1_000_000)
    next_process = Calls(runtime.db, AuditSettings(), spool, "n")
    for _ in range(2):
        await next_process.replay()
    seen = await verifying.examine(runtime.db, runtime.notary, project.id)
    assert (seen.entries, seen.findings) == (10, [])
    async with runtime.db.read() as session:
        assert (await session.scalar(select(func.count(AuditEntry.id.distinct())))) == 10


@pytest.mark.parametrize("microsecond", [0, 5_000])
@pytest.mark.parametrize("text", [None, "", 'a "b" \\ / é \u2028 \t \x7f ☕', "🦉"])
def test_the_form_that_is_spelled_out_is_the_canonical_one(text: str | None, microsecond: int) -> None:
    entry = service.Noted(
        chain_id=ids.uuid7() if text else INSTALLATION,
        id=ids.uuid7(),
        account_id=ids.uuid7() if text else None,
        key_id=ids.uuid7() if text else None,
        action=text or "call",
        method=text,
        route=text,
        status=200 if text else None,
        subject=text,
        details={"b": {"z": [text], "a": None}, "a": 1} if text else {},
        ip=text,
        node=text,
        request_id=text,
        duration_ms=3 if text else None,
        created_at=clock.now().replace(microsecond=microsecond),
    ).linked(7, "0" * 64)
    assert entry.digest() == digest(entry.content())


async def test_an_export_is_verified_by_the_script_of_the_guide(client: Client, tmp_path: Path) -> None:
    assert SCRIPT is not None
    for name in ("Readers", "Lésende", "Another"):
        await client.data("POST", "/lists", 201, json={"name": name})
    (tmp_path / "verify.py").write_text(SCRIPT.group(1))
    head = await client.get("/audit-log/head")
    exported = await client.get("/audit-log.jsonl")

    def verify(lines: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "audit-log.jsonl").write_text(lines, encoding="utf-8")
        (tmp_path / "head.json").write_text(head.text, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "verify.py", "audit-log.jsonl", "head.json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    good = await asyncio.to_thread(verify, exported.text)
    assert (good.returncode, good.stdout.split()[0]) == (0, "verified"), good.stderr
    lines = exported.text.splitlines(keepends=True)
    wrong = {
        "altered": [lines[0], lines[1].replace('"status":201', '"status":404'), *lines[2:]],
        "taken out": [lines[0], *lines[2:]],
        "exchanged": [lines[1], lines[0], *lines[2:]],
        "cut off": lines[:2],
    }
    for what, bad in wrong.items():
        run = await asyncio.to_thread(verify, "".join(bad))
        assert run.returncode == 1, what
