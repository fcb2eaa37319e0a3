"""One signed call of an endpoint: what is sent, and how it ended."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from newsletter.accounts.project import Project
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids
from newsletter.kit.crypto import Undecryptable, Vault
from newsletter.kit.db import Database, JSONObject
from newsletter.kit.http import EgressFailed, EgressRefused, GuardedClient
from newsletter.webhooks import queries, samples, schedule, service, signing
from newsletter.webhooks.models import Endpoint, SignatureStyle

GONE = 410


@dataclass(frozen=True, slots=True)
class Target:
    """What is needed of an endpoint to call it, with no transaction open."""

    endpoint_id: UUID
    url: str
    style: SignatureStyle
    sealed_secret: bytes

    @classmethod
    def of(cls, row: Endpoint) -> Self:
        return cls(row.id, row.url, row.signature_style, row.secret)


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

    @property
    def is_acknowledged(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True)
class TestedCall:
    """A test call: the made-up event and how the call ended."""

    event_id: UUID
    event_type: EventType
    call: Call


async def call(egress: GuardedClient, vault: Vault, target: Target, notice: Notice) -> Call:
    """Signs and posts; the client's guard, time limit and size limit apply. Never raises for
    what the endpoint does."""
    at, started = clock.now(), time.perf_counter()

    def failed(error: str) -> Call:
        return Call(at, round((time.perf_counter() - started) * 1000), error=error[:500])

    body = signing.payload(
        event_id=ids.public("evt", notice.event_id),
        event_type=notice.event_type,
        created_at=notice.created_at,
        project_id=ids.public("prj", notice.project_id),
        data=notice.data,
    )
    try:
        secret = service.open_secret(vault, target.endpoint_id, target.sealed_secret)
    except Undecryptable:
        return failed("The endpoint's secret cannot be read with the keys of this installation.")
    headers = signing.sign(
        target.style,
        [secret],
        ids.public("evt", notice.event_id),
        ids.public("whd", notice.delivery_id),
        notice.event_type,
        int(at.timestamp()),
        body,
    )
    try:
        answer = await egress.post(target.url, content=body, headers=headers)
    except (EgressRefused, EgressFailed) as error:
        return failed(str(error))
    return Call(
        at,
        answer.elapsed_ms,
        answer.status,
        _complaint(answer.status),
        schedule.read_retry_after(answer.headers.get("retry-after"), clock.now()),
    )


async def test(
    db: Database,
    egress: GuardedClient,
    vault: Vault,
    project: Project,
    endpoint_id: UUID,
    kind: EventType | None,
) -> TestedCall:
    """Calls the endpoint now with a made-up event; nothing is recorded, retried or counted."""
    async with db.read() as session:
        endpoint = await queries.endpoint(session, project, endpoint_id)
        target, first = Target.of(endpoint), next(iter(endpoint.events), EventType.campaign_sent)
    kind = kind or EventType(first)
    notice = Notice(ids.uuid7(), ids.uuid7(), project.id, kind.value, clock.now(), samples.data(kind))
    return TestedCall(notice.event_id, kind, await call(egress, vault, target, notice))


def _complaint(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"The endpoint answered {status}; redirects are not followed."
    return f"The endpoint answered {status}."
