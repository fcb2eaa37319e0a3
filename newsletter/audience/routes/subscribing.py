"""How subscribers come in: one by one, put, or many at a time."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from uuid import UUID

from litestar import Controller, Response, post, put
from litestar.di import NamedDependency
from litestar.exceptions import SerializationException
from litestar.params import FromPath, JSONBody
from litestar.serialization import decode_json

from newsletter.accounts.project import Principal
from newsletter.audience import service
from newsletter.audience.access import (
    allow,
    allow_status,
    list_of_path,
)
from newsletter.audience.batch import BatchResult
from newsletter.audience.intake import Intake
from newsletter.audience.schemas import (
    BatchAnswer,
    BatchIn,
    BatchMeta,
    BatchOut,
    ListSubscriberCreate,
    SubscriberCreate,
    SubscriberOut,
    SubscriberPut,
    shown,
    written,
)
from newsletter.audience.service import Target
from newsletter.audience.upsert import Result
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data
from newsletter.plans.catalogue import CallClass, Resource
from newsletter.settings import LimitSettings, Settings

_WRITE = {"scope": "subscribers:write"}


class ListSubscribingController(Controller):
    path = "/lists/{list_id:str}/subscribers"
    tags = ("Lists",)

    @post(
        operation_id="add_subscriber_to_list",
        summary="Add or update a subscriber of the list",
        description="As `POST /subscribers`. Many at once: `POST /subscribers/batch`.",
        opt=_WRITE,
    )
    async def subscribe(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        intake: NamedDependency[Intake],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        list_id: FromPath[str],
        data: JSONBody[ListSubscriberCreate],
    ) -> Response[Data[SubscriberOut]]:
        wanted = list_of_path(principal, list_id)
        async with db.read() as session:
            await service.get_list(session, principal.project, wanted)
        return await _subscribe(db, vault, intake, settings.limits, _target(principal, wanted), once, data)


class SubscribingController(Controller):
    path = "/subscribers"
    tags = ("Subscribers",)

    @post(
        operation_id="create_subscriber",
        summary="Add a subscriber to a list",
        description="201 for a new subscriber, 200 for a known one, which is updated; who had unsubscribed "
        "is brought back, where the project requires it with a `consent`. Who left all lists before "
        "ever being on this one comes with a `consent` only, and is `unsubscribed` until then. Who bounced "
        "or complained is not brought back.",
        opt=_WRITE,
    )
    async def create(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        intake: NamedDependency[Intake],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[SubscriberCreate],
    ) -> Response[Data[SubscriberOut]]:
        target = _target(principal, data.list_id)
        return await _subscribe(db, vault, intake, settings.limits, target, once, data)

    @put(
        operation_id="upsert_subscriber",
        summary="Add a subscriber, or update a known one without a change of status",
        description="201 for a new subscriber, 200 for a known one. A status changes only where it is sent.",
        status_code=201,
        opt=_WRITE,
    )
    async def upsert(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        intake: NamedDependency[Intake],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        data: JSONBody[SubscriberPut],
    ) -> Response[Data[SubscriberOut]]:
        target = _target(principal, data.list_id)
        allow_status(principal, data.status)
        if data.sent("status"):
            async with db.unit_of_work() as session:
                made = await service.put(session, vault, target, data, settings.limits)
        else:
            target = replace(target, reactivates=False)
            made = await intake.subscribe(target, service.asked(target, data, settings.limits))
        return _answered(made)

    @post(
        "/batch",
        operation_id="batch_subscribers",
        summary="Add or update up to 1,000 subscribers of one list",
        description="Each row follows the rules of `POST /subscribers`; a bad row is skipped and counted. "
        "The same address twice is one subscriber. No events are sent.",
        status_code=200,
        opt={**_WRITE, "calls": CallClass.batches},
    )
    async def batch(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        intake: NamedDependency[Intake],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[BatchIn],
    ) -> BatchAnswer:
        target = _target(principal, data.list_id)
        sheet = service.read_batch(target, data.subscribers, settings.limits)
        if not once.is_wanted:
            return _counted(data.list_id, await intake.import_batch(target, sheet))
        async with db.unit_of_work() as session:
            done = await service.import_batch(session, vault, target, sheet, settings.limits)
            out = _counted(data.list_id, done)
            await once.keep(session, 200, out)
        return out


class PlainCreate:
    """`SubscribingController.create` for a body that is valid, past the framework (`api.short`)."""

    def __init__(self, intake: Intake, limits: LimitSettings) -> None:
        self._intake, self._limits = intake, limits

    async def __call__(
        self, principal: Principal, path: Mapping[str, str], body: bytes, once: Once
    ) -> tuple[int, bytes] | None:
        """Status and body; None for a body in which something is wrong, and for a call with a key, which
        has a transaction of its own."""
        if once.is_wanted:
            return None
        try:
            data = SubscriberCreate.model_validate(decode_json(body), strict=False)
        except (SerializationException, ValueError, RecursionError):
            return None
        target = _target(principal, data.list_id)
        made = await self._intake.subscribe(target, service.asked(target, data, self._limits))
        return 201 if made.is_new else 200, written(made.row)


def _target(principal: Principal, list_id: UUID) -> Target:
    allow(principal, list_id)
    return Target(
        project=principal.project,
        list_id=list_id,
        limit=principal.plan.limits[Resource.subscribers],
        key_id=principal.key_id,
        policy=principal.resubscribe,
    )


async def _subscribe(
    db: Database,
    vault: Vault,
    intake: Intake,
    limits: LimitSettings,
    target: Target,
    once: Once,
    body: ListSubscriberCreate,
) -> Response[Data[SubscriberOut]]:
    if not once.is_wanted:
        return _answered(await intake.subscribe(target, service.asked(target, body, limits)))
    # The answer is kept in the transaction of the effect, which is therefore the call's own.
    async with db.unit_of_work() as session:
        made = await service.subscribe(session, vault, target, body, limits)
        answer = _answered(made)
        await once.keep(session, answer.status_code or 200, answer.content)
    return answer


def _answered(made: Result) -> Response[Data[SubscriberOut]]:
    return Response(shown(made.row), status_code=201 if made.is_new else 200)


def _counted(list_id: UUID, done: BatchResult) -> BatchAnswer:
    return BatchAnswer(
        data=BatchOut.model_validate({"list_id": list_id, **asdict(done)}),
        meta=BatchMeta(received=done.received, processed=done.created + done.updated),
    )
