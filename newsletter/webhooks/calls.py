"""One signed call of an endpoint: what is sent, and how it ended."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self
from uuid import UUID

from newsletter.accounts.project import Project
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids
from newsletter.kit.crypto import Undecryptable, Vault
from newsletter.kit.db import Database, JSONObject
from newsletter.kit.http import EgressFailed, EgressRefused, EgressTimedOut, GuardedClient
from newsletter.webhooks import queries, samples, schedule, service, signing
from newsletter.webhooks.models import Endpoint, SignatureStyle

GONE = 410


@dataclass(frozen=True, slots=True)
class Target:
    """What is needed of an endpoint to call it, with no transaction open."""

    endpoint_id: UUID
    url: str
    style: SignatureStyle
    sealed_secrets: tuple[bytes, ...]
    """Those that are valid now, the newest first."""
    is_grouped: bool
    """Whether it wants even one event as a group."""

    @classmethod
    def of(cls, row: Endpoint) -> Self:
        is_rotating = row.previous_secret_until is not None and row.previous_secret_until > clock.now()
        older = (row.previous_secret,) if is_rotating and row.previous_secret is not None else ()
        return cls(row.id, row.url, row.signature_style, (row.secret, *older), row.group_size > 1)


@dataclass(frozen=True, slots=True)
class Notice:
    """An event as an endpoint gets it. The same notice gives the same bytes each time."""

    event_id: UUID
    delivery_id: UUID
    project_id: UUID
    event_type: str
    created_at: datetime
    data: JSONObject


@dataclass(frozen=True, slots=True)
class Call:
    """How a call ended. ``status_code`` is None when there was no answer."""

    at: datetime
    elapsed_ms: int
    status_code: int | None = None
    error: str | None = None
    retry_after: float | None = None
    """Seconds that the endpoint asked us to wait."""
    headers: JSONObject = field(default_factory=dict)
    """What the call was made with, besides what every HTTP client sends."""
    answer: str | None = None
    """The first bytes of what it said; None from a private network."""
    is_unanswered: bool = False
    """The endpoint said nothing in all the time that it had."""

    @property
    def is_acknowledged(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True)
class TestedCall:
    """A test call: the made-up event and how the call ended."""

    event_id: UUID
    event_type: EventType
    call: Call


async def call(
    egress: GuardedClient, vault: Vault, target: Target, notices: Sequence[Notice], kept_bytes: int
) -> Call:
    """Signs and posts; the client's guard, time limit and size limit apply. Never raises for
    what the endpoint does. Several notices go in one body, where the endpoint wants that."""
    at, started = clock.now(), time.perf_counter()
    headers: dict[str, str] = {}

    def failed(error: str, *, is_unanswered: bool = False) -> Call:
        elapsed_ms = round((time.perf_counter() - started) * 1000)
        return Call(at, elapsed_ms, error=error[:500], headers=headers, is_unanswered=is_unanswered)

    body = content(target, notices)
    try:
        secrets = [service.open_secret(vault, target.endpoint_id, each) for each in target.sealed_secrets]
    except Undecryptable:
        return failed("The endpoint's secret cannot be read with the keys of this installation.")
    lead = notices[0]
    is_group = _is_group(target, notices)
    headers |= signing.sign(
        target.style,
        secrets,
        _call_id(lead) if is_group else ids.public("evt", lead.event_id),
        ids.public("whd", lead.delivery_id),
        signing.GROUP if is_group else lead.event_type,
        int(at.timestamp()),
        body,
    )
    try:
        answer = await egress.post(target.url, content=body, headers=headers)
    except (EgressRefused, EgressFailed) as error:
        return failed(str(error), is_unanswered=isinstance(error, EgressTimedOut))
    is_shown = answer.is_public and kept_bytes > 0
    return Call(
        at,
        answer.elapsed_ms,
        answer.status,
        _complaint(answer.status),
        schedule.read_retry_after(answer.headers.get("retry-after"), clock.now()),
        headers,
        # PostgreSQL's text holds no NUL, and an answer may.
        answer.body[:kept_bytes].decode(errors="replace").replace("\0", "") if is_shown else None,
    )


def content(target: Target, notices: Sequence[Notice]) -> bytes:
    """The body of the call: the same for the same notices."""
    bodies = [
        signing.event(
            event_id=ids.public("evt", each.event_id),
            event_type=each.event_type,
            created_at=each.created_at,
            project_id=ids.public("prj", each.project_id),
            data=each.data,
        )
        for each in notices
    ]
    if not _is_group(target, notices):
        return signing.payload(bodies[0])
    project_id = ids.public("prj", notices[0].project_id)
    return signing.payload(signing.group(_call_id(notices[0]), project_id, bodies))


def _is_group(target: Target, notices: Sequence[Notice]) -> bool:
    """A group stays one when it is called again, whatever the endpoint wants by now."""
    return target.is_grouped or len(notices) > 1


def _call_id(lead: Notice) -> str:
    """Of a call with several events: the same in each attempt."""
    return ids.public("whg", lead.delivery_id)


async def test(
    db: Database,
    egress: GuardedClient,
    vault: Vault,
    project: Project,
    endpoint_id: UUID,
    kind: EventType | None,
    kept_bytes: int,
) -> TestedCall:
    """Calls the endpoint now with a made-up event; nothing is recorded, retried or counted."""
    async with db.read() as session:
        endpoint = await queries.endpoint(session, project, endpoint_id)
        target, first = Target.of(endpoint), next(iter(endpoint.events), EventType.campaign_sent)
    kind = kind or EventType(first)
    notice = Notice(ids.uuid7(), ids.uuid7(), project.id, kind.value, clock.now(), samples.data(kind))
    return TestedCall(notice.event_id, kind, await call(egress, vault, target, [notice], kept_bytes))


def _complaint(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"The endpoint answered {status}; redirects are not followed."
    return f"The endpoint answered {status}."
