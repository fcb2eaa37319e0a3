"""``/send``: one mail now, or up to a thousand of them; ``/messages``: what became of each."""

from collections.abc import Mapping, Sequence

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.exceptions import SerializationException
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.serialization import decode_json
from pydantic import ValidationError

from newsletter.accounts.project import Principal
from newsletter.delivery import cancelling, history
from newsletter.delivery.history import Wanted
from newsletter.delivery.posting import Item, Posted
from newsletter.delivery.statuses import MessageStatus
from newsletter.kit import address, ids, paging
from newsletter.kit.db import Database
from newsletter.kit.errors import NewsletterError, ValidationFailed
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import CursorMeta, CursorPage, Data, bad_fields, instant, without_nul
from newsletter.plans.catalogue import CallClass
from newsletter.settings import Settings
from newsletter.transactional import explaining, service, tracing
from newsletter.transactional.answers import (
    BulkOut,
    ItemError,
    ItemOut,
    MessageExplained,
    MessageOut,
    MessageSummary,
    Sent,
)
from newsletter.transactional.postbox import Postbox
from newsletter.transactional.schemas import Bulk, Send
from newsletter.transactional.service import Office, Ready


class SendController(Controller):
    path = "/send"
    tags = ("Single mails",)

    @post(operation_id="send_mail", summary="Send one mail", opt={"scope": "send"}, status_code=202)
    async def create(
        self,
        principal: NamedDependency[Principal],
        postbox: NamedDependency[Postbox],
        once: NamedDependency[Once],
        data: JSONBody[Send],
    ) -> Data[Sent]:
        """Takes it, and answers before it is on its way: `GET /messages/{id}` says what became of it. A
        recipient who must not be mailed gets a message with the status `suppressed`, and no mail."""
        return await postbox.send(principal, data, once)

    @post(
        "/bulk",
        operation_id="send_mails",
        summary="Send up to 1,000 mails",
        opt={"scope": "send", "calls": CallClass.batches},
        status_code=202,
    )
    async def bulk(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        office: NamedDependency[Office],
        once: NamedDependency[Once],
        data: JSONBody[Bulk],
    ) -> Data[BulkOut]:
        """A bad item fails alone and says why; the others are taken together, or none of them when the
        plan has fewer mails left than they need."""
        limit = office.settings.limits.bulk_items
        if not 1 <= len(data.messages) <= limit:
            raise ValidationFailed.of("messages", f"must have 1 to {limit:,} items")
        prepared = await _prepared(db, principal, office, data.messages)
        items = [each for each in prepared if isinstance(each, Item)]
        async with db.unit_of_work() as session:
            posted = iter(await service.post(session, principal, items, office.settings))
            results = [
                _failed(index, each) if isinstance(each, NewsletterError) else _taken(index, next(posted))
                for index, each in enumerate(prepared)
            ]
            out = Data[BulkOut](data=_summed(results))
            await once.keep(session, 202, out)
        return out


class PlainSend:
    """`SendController.create` for a body that is valid, past the framework (`api.short`)."""

    def __init__(self, postbox: Postbox) -> None:
        self._postbox = postbox

    async def __call__(
        self, principal: Principal, path: Mapping[str, str], body: bytes, once: Once
    ) -> tuple[int, bytes] | None:
        """Status and body; None for a body in which something is wrong."""
        try:
            data = Send.model_validate(decode_json(body), strict=False)
        except (SerializationException, ValueError, RecursionError):
            return None
        sent = await self._postbox.send(principal, data, once)
        return 202, sent.model_dump_json().encode()


class MessageController(Controller):
    path = "/messages"
    tags = ("Single mails",)

    @get(operation_id="list_messages", summary="List messages", opt={"scope": "messages:read"})
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        status: FromQuery[MessageStatus | None] = None,
        tag: FromQuery[str | None] = None,
        email: FromQuery[str | None] = None,
        campaign_id: FromQuery[str | None] = None,
        since: FromQuery[str | None] = None,
        until: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
    ) -> CursorPage[MessageSummary]:
        """Of campaigns and of calls, the newest first."""
        paging.check(1, per_page)
        wanted = Wanted(
            status=status,
            tag=without_nul("tag", tag),
            address_key=address.key_in_query("email", email),
            campaign_id=ids.in_query("cmp", "campaign_id", campaign_id),
            since=instant("since", since),
            until=instant("until", until),
            list_ids=principal.list_ids,
        )
        async with db.read() as session:
            found = await history.listed(session, principal.project, wanted, after=cursor, limit=per_page)
            shown = await tracing.shown(session, found)
        more = shown[-1].id if len(shown) == per_page else None
        return CursorPage(data=shown, meta=CursorMeta(per_page=per_page, next_cursor=more))

    @get(
        "/{message_id:str}",
        operation_id="get_message",
        summary="Read a message with its history",
        opt={"scope": "messages:read"},
    )
    async def read(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        message_id: FromPath[str],
    ) -> Data[MessageOut]:
        return await _message(db, principal, message_id)

    @post(
        "/{message_id:str}/cancel",
        operation_id="cancel_message",
        summary="Cancel a message that is still scheduled",
        opt={"scope": "send"},
        status_code=200,
    )
    async def cancel(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        office: NamedDependency[Office],
        once: NamedDependency[Once],
        message_id: FromPath[str],
    ) -> Data[MessageOut]:
        """Of a single mail, for all its recipients: nobody gets a mail that names another who did not.
        Its mails go back to your plan."""
        async with db.unit_of_work() as session:
            entry = await history.one(session, principal.project, message_id, principal.list_ids)
            await cancelling.cancel(session, entry, office.settings.delivery.lease)
            out = Data[MessageOut](data=await tracing.traced(session, principal, message_id))
            await once.keep(session, 200, out)
        return out

    @get(
        "/{message_id:str}/explain",
        operation_id="explain_message",
        summary="Say why this person did or did not get this mail",
        opt={"scope": "messages:read"},
    )
    async def explain(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        message_id: FromPath[str],
    ) -> Data[MessageExplained]:
        has_default = settings.smtp.url is not None
        async with db.read() as session:
            found = await explaining.explained(session, principal, message_id, has_default=has_default)
        return Data(data=found)


class PlainMessage:
    """`MessageController.read` past the framework (`api.short`)."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def __call__(
        self, principal: Principal, path: Mapping[str, str], body: bytes, once: Once
    ) -> tuple[int, bytes] | None:
        out = await _message(self._db, principal, path["message_id"])
        return 200, out.model_dump_json(by_alias=True).encode()


async def _message(db: Database, principal: Principal, message_id: str) -> Data[MessageOut]:
    async with db.read() as session:
        return Data(data=await tracing.traced(session, principal, message_id))


async def _prepared(db: Database, principal: Principal, office: Office, raw: Sequence[object]) -> list[Ready]:
    read = [_read(each) for each in raw]
    bodies = [each for each in read if isinstance(each, Send)]
    prepared = iter(await service.prepare(db, principal, office, [bodies]))
    return [next(prepared) if isinstance(each, Send) else each for each in read]


def _read(raw: object) -> Send | ValidationFailed:
    try:
        return Send.model_validate(raw)
    except ValidationError as error:
        return ValidationFailed(errors=bad_fields(error))


def _taken(index: int, posted: Sequence[Posted]) -> ItemOut:
    sent = Sent.of(posted)
    return ItemOut(index=index, id=sent.id, status=sent.status, messages=sent.messages)


def _failed(index: int, error: NewsletterError) -> ItemOut:
    shown = ItemError(code=error.code, message=error.message, errors=error.errors or None)
    return ItemOut(index=index, error=shown)


def _summed(results: Sequence[ItemOut]) -> BulkOut:
    failed = sum(each.error is not None for each in results)
    return BulkOut(
        total=len(results),
        accepted=len(results) - failed,
        suppressed=sum(each.status is MessageStatus.suppressed for each in results),
        failed=failed,
        results=list(results),
    )
