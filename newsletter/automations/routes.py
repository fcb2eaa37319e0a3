"""``/automations``: what they do, whom they let in, and how their runs went."""

from typing import Any
from uuid import UUID

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.audience import queries as audience
from newsletter.automations import checking, queries, service, starting
from newsletter.automations.models import Automation, AutomationStatus, RunStatus
from newsletter.automations.schemas import (
    AutomationCreate,
    AutomationOut,
    AutomationUpdate,
    RunOut,
    RunSummary,
    Trigger,
    each,
)
from newsletter.campaigns import drafting
from newsletter.campaigns.drafting import Studio
from newsletter.campaigns.routes import IfMatch
from newsletter.kit import address, ids, paging, versions
from newsletter.kit.db import Database
from newsletter.kit.errors import Forbidden, ValidationFailed
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import CursorMeta, CursorPage, Data, Page
from newsletter.plans.catalogue import CallClass


class AutomationController(Controller):
    path = "/automations"
    tags = ("Automations",)

    @post(
        operation_id="create_automation", summary="Create an automation", opt={"scope": "automations:write"}
    )
    async def create(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        once: NamedDependency[Once],
        data: JSONBody[AutomationCreate],
    ) -> Data[AutomationOut]:
        """A draft, whose mails compile; activate it to let subscribers in."""
        await checking.check(
            db, principal, studio, data.list_id, data.start, data.steps, data.reentry, data.variables
        )
        async with db.unit_of_work() as session:
            row = await service.create(session, principal.project, data, studio.settings)
            out = await _shown(session, row)
            await once.keep(session, 201, out)
        return out

    @get(operation_id="list_automations", summary="List automations", opt={"scope": "automations:read"})
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        status: FromQuery[AutomationStatus | None] = None,
        list_id: FromQuery[str | None] = None,
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[AutomationOut]:
        """The newest first; archived ones only with ``status=archived``."""
        chosen = queries.listed(principal, status, ids.in_query("lst", "list_id", list_id))
        async with db.read() as session:
            rows, meta = await paging.numbered(session, chosen, page, per_page)
            return Page(data=await queries.shown(session, rows), meta=meta)

    @get(
        "/{automation_id:str}",
        operation_id="get_automation",
        summary="Read an automation",
        opt={"scope": "automations:read"},
    )
    async def read(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        automation_id: FromPath[str],
    ) -> Data[AutomationOut]:
        async with db.read() as session:
            return await _shown(session, await _of_path(session, principal, automation_id))

    @patch(
        "/{automation_id:str}",
        operation_id="update_automation",
        summary="Change an automation",
        opt={"scope": "automations:write"},
    )
    async def update(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        automation_id: FromPath[str],
        data: JSONBody[AutomationUpdate],
        if_match: IfMatch = None,
    ) -> Data[AutomationOut]:
        """Its steps are replaced as a whole. Runs go on by the id of their next step; one whose step is gone
        ends as ``step_removed``."""
        seen = versions.read(if_match)
        # Not `model_dump`, which writes ids as callers see them.
        changes: dict[str, Any] = {name: getattr(data, name) for name in data.model_fields_set}
        if "list_id" in changes and changes["list_id"] is None:
            raise ValidationFailed.of("list_id", "must not be null")
        async with db.read() as session:
            row = await _of_path(session, principal, automation_id)
        versions.check(row.version, seen)
        if changes.keys() - {"name"}:
            merged = {
                "list_id": row.list_id,
                "start": service.start_of(row),
                "steps": service.steps_of(row),
                "reentry": row.reentry,
                "variables": service.variables_of(row),
                **{name: value for name, value in changes.items() if name != "name"},
            }
            await checking.check(db, principal, studio, **merged)
        async with db.unit_of_work() as session:
            row = await service.change(session, principal.project, row.id, changes, row.version, seen=seen)
            return await _shown(session, row)

    @delete(
        "/{automation_id:str}",
        operation_id="delete_automation",
        summary="Delete a draft, or archive an automation",
        opt={"scope": "automations:write"},
    )
    async def remove(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        automation_id: FromPath[str],
        if_match: IfMatch = None,
    ) -> None:
        """Runs that are open end as ``automation_archived``; all of its runs can still be read."""
        seen = versions.read(if_match)
        async with db.unit_of_work() as session:
            row = await _of_path(session, principal, automation_id)
            await service.remove(session, principal.project, row.id, seen=seen)

    @post(
        "/{automation_id:str}/activate",
        operation_id="activate_automation",
        summary="Let it run",
        opt={"scope": "send", "calls": CallClass.sends},
        status_code=200,
    )
    async def activate(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        once: NamedDependency[Once],
        automation_id: FromPath[str],
    ) -> Data[AutomationOut]:
        """Subscribers start from now on, and runs that a pause held go on."""
        async with db.unit_of_work() as session:
            row = await _of_path(session, principal, automation_id)
            await _check_senders(session, principal, row)
            row = await service.activate(session, principal.project, row.id, studio.settings)
            out = await _shown(session, row)
            await once.keep(session, 200, out)
        return out

    @post(
        "/{automation_id:str}/pause",
        operation_id="pause_automation",
        summary="Let it rest",
        opt={"scope": "automations:write"},
        status_code=200,
    )
    async def pause(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        automation_id: FromPath[str],
    ) -> Data[AutomationOut]:
        """When this is answered no step is taken any more. Runs stay where they are, their waits go on."""
        async with db.unit_of_work() as session:
            row = await _of_path(session, principal, automation_id)
            row = await service.pause(session, principal.project, row.id)
            out = await _shown(session, row)
            await once.keep(session, 200, out)
        return out

    @post(
        "/{automation_id:str}/trigger",
        operation_id="trigger_automation",
        summary="Start it for one subscriber",
        opt={"scope": "send"},
        status_code=202,
    )
    async def trigger(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        once: NamedDependency[Once],
        automation_id: FromPath[str],
        data: JSONBody[Trigger],
    ) -> Data[RunSummary]:
        """Whatever else starts it. The steps are taken by workers."""
        async with db.unit_of_work() as session:
            row = await _of_path(session, principal, automation_id, share=True)
            await _check_senders(session, principal, row)
            subscriber_id = await _named(session, principal, row, data)
            settings = studio.settings.automations
            run = await starting.trigger(
                session, principal.project, row, subscriber_id, data.variables, settings
            )
            out = Data[RunSummary](data=queries.summary(run))
            await once.keep(session, 202, out)
        return out

    @get(
        "/{automation_id:str}/runs",
        operation_id="list_automation_runs",
        summary="List its runs",
        opt={"scope": "automations:read"},
    )
    async def runs(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        automation_id: FromPath[str],
        status: FromQuery[RunStatus | None] = None,
        cursor: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
    ) -> CursorPage[RunSummary]:
        """The newest first."""
        paging.check(1, per_page)
        before = paging.read_cursor(cursor)
        async with db.read() as session:
            row = await _of_path(session, principal, automation_id)
            found = await queries.runs(session, row, status, before=before, limit=per_page)
            return CursorPage(
                data=[queries.summary(run) for run in found],
                meta=CursorMeta(
                    per_page=per_page, next_cursor=paging.next_cursor([run.id for run in found], per_page)
                ),
            )

    @get(
        "/{automation_id:str}/runs/{run_id:str}",
        operation_id="get_automation_run",
        summary="Read a run, step by step",
        opt={"scope": "automations:read"},
    )
    async def run(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        automation_id: FromPath[str],
        run_id: FromPath[str],
    ) -> Data[RunOut]:
        async with db.read() as session:
            row = await _of_path(session, principal, automation_id)
            return Data(data=await queries.run_shown(session, row, ids.in_path("run", run_id)))


async def _of_path(
    session: AsyncSession, principal: Principal, automation_id: str, *, share: bool = False
) -> Automation:
    """Raises `NotFound`, or `Forbidden` for a list outside the key's."""
    key = ids.in_path("aut", automation_id)
    row = await queries.one(session, principal.project, key)
    if not principal.may_use_list(row.list_id):
        raise Forbidden("This key may not use that automation's list.")
    if share:
        await queries.find(session, row.id, share=True)
    return row


async def _check_senders(session: AsyncSession, principal: Principal, row: Automation) -> None:
    """Another key may have written its mails. Raises `Forbidden` for a sender outside the key's domains."""
    for from_email in {step.send.from_email for _, _, step in each(service.steps_of(row)) if step.send}:
        await drafting.check_from(session, principal, from_email)


async def _named(session: AsyncSession, principal: Principal, row: Automation, data: Trigger) -> UUID:
    """The subscriber of the automation's list that a call names. One of another list or tenant is as unknown
    as one that never was."""
    field = "email" if data.subscriber_id is None else "subscriber_id"
    email = None if data.email is None else address.parse(data.email)
    found = await audience.on_list(
        session, principal.project, row.list_id, subscriber_id=data.subscriber_id, email=email
    )
    if found is None:
        raise ValidationFailed.of(field, "is not a subscriber of the automation's list")
    return found


async def _shown(session: AsyncSession, row: Automation) -> Data[AutomationOut]:
    [out] = await queries.shown(session, [row])
    return Data(data=out)
