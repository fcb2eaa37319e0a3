"""People who are all new to their list: one statement, and nothing to read before it.

Most calls that come a hundred times a second bring somebody new, and then there is little to decide. One
statement asks whether that is so, takes their places of the plan and writes them, or writes nothing at all;
then `straight` reads, decides and writes, as for everybody else, in four round trips. It decides nothing
by itself: what becomes of newcomers is what `upsert.carry_out` says of a list on which nobody is known.
"""

import math
from collections.abc import Sequence

from asyncpg import UniqueViolationError
from sqlalchemy.exc import DBAPIError

from newsletter.audience import columns, straight
from newsletter.audience.announce import described
from newsletter.audience.upsert import Entry, Result, Target, Work, carry_out
from newsletter.events import listening
from newsletter.events import service as events
from newsletter.events.service import Recording
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, jobs
from newsletter.kit.bulk import Unfoldable, fold, unfolded
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.suppressions import queries as suppressed

_LIMIT, _PROJECT, _LIST, _SPELLED, _FIELDS = (
    f"${straight.OWN + len(columns.NEW) + place}" for place in range(1, 6)
)
_HELD = suppressed.against_joining_sql(of_project=_PROJECT, of_list=_LIST, spelled=unfolded(_SPELLED, "text"))
_SEIZE = plans.seize_sql(owner="$8", resource=Resource.subscribers)
_TAKE = plans.use_sql(units="$7::int", owner="$8", resource=Resource.subscribers)
_HEARD = listening.hears_sql("wanted ->> 3", EventType.subscriber_created, project="$1")
_TOLD = f"""
SELECT json_agg(wanted)::text FROM counted, json_array_elements($6::text::json) AS wanted WHERE {_HEARD}
"""  # noqa: S608 - built from words of the code, at import
_RECORDED = events.record_sql(
    EventType.subscriber_created,
    project="$1",
    now="$4",
    rows="(SELECT $5::text FROM counted)",
    wanted=f"({_TOLD})",
)
_ADD_ALL = f"""
WITH {straight.NEW_SQL},
-- With the lock nobody else changes what this statement sees; `is_seen` says that nobody did before it.
held AS MATERIALIZED ({_SEIZE}),
counted AS (
    {_TAKE}
    AND EXISTS (
        SELECT FROM held WHERE is_seen AND ({_LIMIT}::int IS NULL OR taken + $7::int <= {_LIMIT}::int)
    )
    AND EXISTS (SELECT FROM lists WHERE project_id = $1 AND id = $2)
    AND NOT EXISTS (SELECT FROM new CROSS JOIN LATERAL ({straight.known_sql("new.address_key")}) AS known)
    AND ({_HELD}) IS NULL
    AND NOT EXISTS (
        SELECT FROM unnest({_FIELDS}::text[]) AS given (name)
        WHERE NOT EXISTS (SELECT FROM custom_fields AS f WHERE f.project_id = $1 AND f.name = given.name)
    )
    RETURNING true
),
{straight.added_sql(gate="WHERE EXISTS (SELECT FROM counted)")},
{_RECORDED}
SELECT EXISTS (SELECT FROM counted), ARRAY(SELECT id FROM told)
"""  # noqa: S608 - as above


async def subscribe_all(
    db: Database, vault: Vault, target: Target, entries: Sequence[Entry]
) -> list[Result] | None:
    """As `straight.subscribe_all`, and on disk when it returns. None, and nothing is written, where somebody
    is known already, or anything else is not plain."""
    if db.direct is None or not db.direct.keeps_settings:
        return None
    project = target.project
    # As if nobody were known, nobody suppressed, and the plan had room: the statement sees to that.
    work = Work(known={}, standing=suppressed.NOTHING, places=math.inf, now=clock.now())
    results = [each for each in carry_out(work, target, entries) if each is not None]
    if straight.is_rare(work):
        return None
    told = [described(each.row) for each in results if each.is_new]
    recording = Recording.of(told, listeners=listening.JOBS)
    spelled = suppressed.spellings(vault, project.id, list(work.new))
    try:
        is_done, heard = await db.direct.row_by_keys(
            _ADD_ALL,
            *(project.id, target.list_id, target.key_id, work.now, recording.rows, recording.jobs),
            *(work.counted, project.quota_owner_id),
            *columns.of_new(list(work.new.values()), work.consents),
            *(target.limit, suppressed.project_scope(project.id), suppressed.list_scope(target.list_id)),
            *(fold(list(spelled)), sorted(straight.fields_of(entries))),
        )
    except Unfoldable:
        return None
    except DBAPIError as error:
        if isinstance(error.orig, UniqueViolationError):
            return None  # Somebody else added one of them at this very moment.
        raise
    if not is_done:
        return None
    jobs.ring(db, [ring for ring in recording.rings if ring.job_id in heard])
    return results
