"""Who acts, and on what: the values that calls carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from newsletter.accounts.models import Resubscribe
from newsletter.kit.errors import Forbidden
from newsletter.plans.catalogue import Plan


@dataclass(frozen=True, slots=True)
class Project:
    """The tenant. Every query takes one and stays inside it."""

    id: UUID
    account_id: UUID
    is_test: bool

    @property
    def quota_owner_id(self) -> UUID:
        """Live projects share their account's counters; a test project has its own."""
        return self.id if self.is_test else self.account_id


@dataclass(frozen=True, slots=True)
class Profile:
    """A project's settings as other slices read them."""

    name: str
    is_test: bool
    from_email: str | None
    from_name: str | None
    reply_to: str | None
    website_url: str | None
    postal_address: str | None
    branding: Mapping[str, Any]
    time_zone: str
    locale: str
    resubscribe: Resubscribe
    track_opens: bool
    track_clicks: bool
    utm: Mapping[str, str]
    default_template_id: UUID | None

    @property
    def brand_name(self) -> str:
        """What readers know the project by."""
        return self.from_name or self.name


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated API key: its project, its plan, and what it may do."""

    project: Project
    plan: Plan
    key_id: UUID
    scopes: frozenset[str]
    list_ids: frozenset[UUID]
    from_domains: frozenset[str]
    resubscribe: Resubscribe
    """What the project says of those who come back."""
    is_use_due: bool = field(compare=False)
    """Whether the key's last use was noted too long ago."""

    def has_scope(self, scope: str) -> bool:
        return "*" in self.scopes or scope in self.scopes

    def may_use_list(self, list_id: UUID) -> bool:
        return not self.list_ids or list_id in self.list_ids

    @property
    def bounds(self) -> bytes:
        """Equal for keys that are restricted to the same lists and domains; of a key without restrictions,
        nothing."""
        lists, domains = sorted(str(each) for each in self.list_ids), sorted(self.from_domains)
        return "\n".join(lists + domains).encode()

    def require_every_list(self) -> None:
        """Raises `Forbidden` for a key of some lists: this concerns the whole project."""
        if refusal := self.refusal_of_all():
            raise refusal

    def refusal_of_all(self) -> Forbidden | None:
        """What `require_every_list` raises."""
        if not self.list_ids:
            return None
        return Forbidden("This key is restricted to lists, and this concerns the whole project.")

    def may_send_from(self, domain: str) -> bool:
        return not self.from_domains or domain.lower() in self.from_domains
