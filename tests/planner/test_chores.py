"""What every process looks for again and again, beside a backlog of jobs and a history of what is over."""

from typing import Any

from sqlalchemy import text

from newsletter.settings import Settings
from tests.planner.world import Step, Watched, World, read_too_much
from workers.sweeper import Sweeper

TIMES = 5
CHORES = {
    "ring due jobs",
    "fold counts",
    "let runs go on",
    "close forgotten mailings",
    "release lapsed generations",
    "prune idempotency keys",
    "score the health of projects",
}


class History(World):
    """With single mails that were sent, of which each is a mailing with a batch, and its call's key; and with
    jobs that wait for a worker, of which the broker knows."""

    async def grow(self, count: int) -> None:
        await super().grow(count)
        values = {"mailing": self.mailing_id, "project": self.project.id, "count": TIMES * count}
        async with self.db.unit_of_work() as session:
            for statement in (_MAILINGS, _BATCHES, _KEYS, _JOBS, _NO_OTHERS):
                await session.execute(text(statement), values)


_MAILINGS = """
INSERT INTO mailings SELECT (jsonb_populate_record(mine,
    jsonb_build_object('id', gen_random_uuid(), 'source_id', gen_random_uuid(), 'status', 'closed'))).*
FROM mailings AS mine, generate_series(1, :count) AS n WHERE mine.id = :mailing
"""
_BATCHES = """
INSERT INTO batches SELECT (jsonb_populate_record(mine,
    jsonb_build_object('id', gen_random_uuid(), 'mailing_id', one.id, 'status', 'done'))).*
FROM batches AS mine
JOIN mailings AS one ON one.status = 'closed' AND NOT EXISTS (SELECT FROM batches WHERE mailing_id = one.id)
WHERE mine.id = (SELECT id FROM batches WHERE mailing_id = :mailing LIMIT 1)
"""
_KEYS = """
INSERT INTO idempotency_keys (project_id, key, fingerprint, state, token, lease_until, created_at)
SELECT :project, gen_random_uuid(), '', 'answered', 1, now(), now() FROM generate_series(1, :count) AS n
"""
_JOBS = """
INSERT INTO jobs (id, name, payload, status, run_at, rung_at, attempts, token, created_at)
SELECT gen_random_uuid(), kind, '{}', 'queued', now(), now() + interval '1 hour', 0, 0, now()
FROM generate_series(1, :count) AS n, unnest(ARRAY['tests.one', 'tests.other']) AS kind
"""
_NO_OTHERS = "DELETE FROM jobs WHERE rung_at IS NULL"


async def sweeping(world: Any) -> None:
    chores = [each for each in Sweeper(world.runtime)._chores if each.name in CHORES]
    assert len(chores) == len(CHORES)
    for chore in chores:
        await chore.run()


STEPS: tuple[Step, ...] = (sweeping,)


async def test_a_chore_reads_what_is_not_over_whatever_the_statistics_say(
    watched: Watched, settings: Settings
) -> None:
    wrong = await read_too_much(watched, settings, History, STEPS)
    assert not wrong, "\n".join(wrong)
