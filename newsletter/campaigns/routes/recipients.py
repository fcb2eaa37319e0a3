"""``/campaigns/{id}/recipients``: what became of each recipient, as pages and as CSV."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from newsletter.accounts.project import Principal
from newsletter.audience.access import search_text
from newsletter.campaigns import export, queries
from newsletter.campaigns.access import allow_addresses, campaign_of_path
from newsletter.campaigns.schemas import RecipientOut
from newsletter.delivery import queries as delivery
from newsletter.delivery.models import Feedback, Outcome
from newsletter.delivery.queries import Filters
from newsletter.kit import paging
from newsletter.kit.db import Database
from newsletter.kit.schema import CursorMeta, CursorPage


class RecipientController(Controller):
    path = "/campaigns"
    tags = ("Campaigns",)

    @get(
        "/{campaign_id:str}/recipients",
        operation_id="list_campaign_recipients",
        summary="What became of each recipient",
        opt={"scope": "campaigns:read"},
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        campaign_id: FromPath[str],
        outcome: FromQuery[Outcome | None] = None,
        feedback: FromQuery[Feedback | None] = None,
        search: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
    ) -> CursorPage[RecipientOut]:
        """In the order in which they are mailed. As it shows addresses, the key needs the scope
        ``subscribers:read``, too."""
        paging.check(1, per_page)
        filters = Filters(outcome, feedback, search_text("search", search))
        allow_addresses(principal)
        async with db.read() as session:
            campaign = await campaign_of_path(session, principal, campaign_id)
            shown: list[RecipientOut] = []
            if campaign.mailing_id is not None:
                after = delivery.read_cursor(campaign.mailing_id, cursor)
                rows = await delivery.recipients(
                    session, campaign.mailing_id, filters, after=after, limit=per_page
                )
                shown = await queries.recipients_shown(session, rows)
        more = shown[-1].id if len(shown) == per_page else None
        return CursorPage(data=shown, meta=CursorMeta(per_page=per_page, next_cursor=more))

    @get(
        "/{campaign_id:str}/recipients.csv",
        operation_id="export_campaign_recipients",
        summary="The same as a CSV file",
        opt={"scope": "campaigns:read", "media": "text/csv"},
    )
    async def download(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        campaign_id: FromPath[str],
        outcome: FromQuery[Outcome | None] = None,
        feedback: FromQuery[Feedback | None] = None,
        search: FromQuery[str | None] = None,
        raw: FromQuery[bool] = False,
    ) -> Stream:
        """All that match, in UTF-8 with a line of names. Cells that a spreadsheet would take for a
        formula begin with an apostrophe, unless ``raw`` is true."""
        filters = Filters(outcome, feedback, search_text("search", search))
        allow_addresses(principal)
        async with db.read() as session:
            campaign = await campaign_of_path(session, principal, campaign_id)
        return Stream(
            export.lines(db, campaign.mailing_id, filters, is_raw=raw),
            media_type="text/csv; header=present",
            headers={"Content-Disposition": f'attachment; filename="{campaign_id}.csv"'},
        )
