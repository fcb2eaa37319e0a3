"""Sending servers and routing rules as the API takes and shows them."""

from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StrictInt

from newsletter.kit.address import DomainName, EmailAddress
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Line, Schema, Switch, Time
from newsletter.providers.base import Purpose
from newsletter.providers.registry import ServerType
from newsletter.routing.explain import Verdict

ServerId = Annotated[UUID, IdField("srv")]
RuleId = Annotated[UUID, IdField("rul")]
ListId = Annotated[UUID, IdField("lst")]

Name = Annotated[Line, Field(min_length=1, max_length=200)]
Quota = Annotated[StrictInt, Field(ge=1, le=2_000_000_000)]
Rate = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]
Connections = Annotated[StrictInt, Field(ge=1, le=100)]
PerConnection = Annotated[StrictInt, Field(ge=1, le=100_000)]
Priority = Annotated[StrictInt, Field(ge=0, le=1_000)]
Weight = Annotated[StrictInt, Field(ge=1, le=1_000)]
Config = Annotated[dict[str, Any], Field(max_length=20)]


def _each_once(domains: list[str]) -> list[str]:
    return list(dict.fromkeys(domains))


FromDomains = Annotated[list[DomainName], Field(max_length=100), AfterValidator(_each_once)]


class Ramp(Body):
    """A warm-up: little on the first day, more on each that follows, until the ramp ends."""

    begins_on: date | None = None
    """The first day (UTC); default: today."""
    start: Quota = 200
    """Mails on the first day."""
    factor: Annotated[float, Field(gt=1, le=10, allow_inf_nan=False)] = 1.5
    """Each day has so many times the mails of the day before."""
    until: Quota = 50_000
    """The ramp ends on the day that would have so many."""
    steps: Annotated[list[Quota], Field(max_length=365)] = Field(default_factory=list)
    """The mails of each day, written out; then ``start``, ``factor`` and ``until`` mean nothing."""


class RampOut(Schema):
    begins_on: date
    start: int
    factor: float
    until: int
    steps: list[int]


class ServerCreate(Body):
    """A new sending server. The fields of ``config`` depend on the type."""

    name: Name
    type: ServerType
    config: Config = Field(default_factory=dict)
    """Secrets in it are stored encrypted and never shown again."""
    is_active: Switch = True
    max_connections: Connections = 4
    """Connections that each worker process may hold."""
    messages_per_connection: PerConnection = 500
    """Mails after which a connection is replaced."""
    quota_per_hour: Quota | None = None
    """Mails in an hour of the clock (UTC), over all workers; null: no limit."""
    quota_per_day: Quota | None = None
    quota_per_month: Quota | None = None
    rate_per_second: Rate | None = None
    """Mails a second over all workers, in the long run; a second's worth may come at once."""
    warm_up: Ramp | None = None
    from_domains: FromDomains = Field(default_factory=list)
    """Sender domains that it may send for; empty: all."""


class ServerUpdate(Body):
    """Fields that are left out stay as they are; so do those of ``config``. Null clears."""

    name: Name = ""
    config: Config = Field(default_factory=dict)
    is_active: Switch = True
    max_connections: Connections = 4
    messages_per_connection: PerConnection = 500
    quota_per_hour: Quota | None = None
    quota_per_day: Quota | None = None
    quota_per_month: Quota | None = None
    rate_per_second: Rate | None = None
    warm_up: Ramp | None = None
    from_domains: FromDomains = Field(default_factory=list)


class UsedOut(Schema):
    """Mails of the running hour, day and month (UTC). What is on its way counts."""

    hour: int
    day: int
    month: int


class BreakerOut(Schema):
    """``open``: the server failed and is left alone until ``open_until``; ``half_open``: one worker
    tries whether it works again."""

    state: Literal["closed", "open", "half_open"]
    open_until: Time | None
    reason: str | None


class ServerOut(Schema):
    id: ServerId
    name: str
    type: ServerType
    config: dict[str, Any]
    """All but the secrets."""
    secrets: dict[str, Literal["set", "unset"]]
    """Which secrets there are; their values are never shown."""
    reports_url: str | None
    """Where its provider reports what became of mails: enter it there. Null for a sandbox."""
    is_active: bool
    max_connections: int
    messages_per_connection: int
    quota_per_hour: int | None
    quota_per_day: int | None
    quota_per_month: int | None
    rate_per_second: float | None
    warm_up: RampOut | None
    from_domains: list[str]
    used: UsedOut
    breaker: BreakerOut
    created_at: Time
    updated_at: Time


class ServerTested(Schema):
    """The server was reached and signed in to; nothing was sent."""

    found: str
    elapsed_ms: int


class RuleCreate(Body):
    """Mail that fits all that is set goes to the server; what is null fits any mail."""

    server_id: ServerId
    priority: Priority = 10
    """The lowest number is tried first, as with MX records."""
    weight: Weight = 1
    """The share among rules of one priority: 3 gets three times as many mails as 1."""
    purpose: Purpose | None = None
    from_domain: DomainName | None = None
    """The domain of the sender's address."""
    list_id: ListId | None = None
    is_active: Switch = True


class RuleUpdate(Body):
    """Fields that are left out stay as they are; null fits any mail."""

    server_id: ServerId = UUID(int=0)
    priority: Priority = 10
    weight: Weight = 1
    purpose: Purpose | None = None
    from_domain: DomainName | None = None
    list_id: ListId | None = None
    is_active: Switch = True


class RuleOut(Schema):
    id: RuleId
    server_id: ServerId
    priority: int
    weight: int
    purpose: Purpose | None
    from_domain: str | None
    list_id: ListId | None
    is_active: bool
    created_at: Time
    updated_at: Time


class Explain(Body):
    """A mail that might be sent now."""

    from_: Annotated[EmailAddress, Field(alias="from")]
    to: EmailAddress
    purpose: Purpose = Purpose.marketing
    list_id: ListId | None = None
    message_id: Annotated[str, Field(max_length=100, pattern=r"^msg_[0-9a-z]+$")] | None = None
    """Explains for this very message: where servers are equals, each message has an order of its
    own. Default: an order made from ``to``."""


class ConsideredOut(Schema):
    """One server or rule, and what stands for or against it."""

    server_id: ServerId | None
    """Null for the installation's own server."""
    server_name: str
    rule_id: RuleId | None
    verdict: Verdict
    text: str


class Explained(Schema):
    """Which server takes the mail now, by which rule, and why each other does not."""

    server_id: ServerId | None
    """Null where it is the installation's own, or none; ``server_name`` tells which."""
    server_name: str | None
    """Null: nothing takes the mail now."""
    rule_id: RuleId | None
    """Null: no rule fits, or no server takes it."""
    text: str
    retry_after: int | None
    """Seconds until it is worth another look, where nothing takes the mail now."""
    considered: list[ConsideredOut]
