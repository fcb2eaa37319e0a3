"""A campaign that is read without the session's help is the one that the session knows."""

from sqlalchemy import event

from newsletter.accounts.project import Project
from newsletter.campaigns import queries
from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.campaigns.conftest import Make

_NAMES = [column.key for column in Campaign.__table__.columns]


def _written(campaign: Campaign) -> dict[str, object]:
    return {name: getattr(campaign, name) for name in _NAMES}


async def test_both_ways_read_the_same_of_each_column(
    runtime: Runtime, project: Project, draft: Make
) -> None:
    made = await draft(utm={"source": "news", "term": None}, scheduled_at="2030-01-02T03:04:05.678901+01:00")
    async with runtime.db.unit_of_work() as session:
        campaign = await queries.one(session, project, ids.private("cmp", made["id"]))
        campaign.status_reason = {"code": "bounce_rate", "message": "Zoë's \\ list"}
        campaign.status = CampaignStatus.paused
        # What the transaction has not written yet is read, too.
        short = await queries.one_to_read(session, project, campaign.id)
        assert _written(short) == _written(campaign)
        assert short not in session
    async with runtime.db.read() as session:
        known = await queries.one(session, project, campaign.id)
        short = await queries.one_to_read(session, project, campaign.id)
    assert _written(short) == _written(known)
    assert isinstance(short.status, CampaignStatus)


async def test_a_read_that_is_prepared_takes_no_connection_of_the_engine(
    runtime: Runtime, project: Project, draft: Make
) -> None:
    made = await draft()
    taken: list[object] = []
    event.listen(runtime.db.engine.sync_engine, "checkout", lambda connection, *_: taken.append(connection))
    async with runtime.db.read() as session:
        campaign = await queries.one_to_read(session, project, ids.private("cmp", made["id"]))
        await queries.shown(session, campaign)
    assert bool(taken) is runtime.db.is_sqlite
