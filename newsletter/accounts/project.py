"""Who acts, and on what: the two values that every call carries."""

from dataclasses import dataclass
from uuid import UUID

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
class Principal:
    """An authenticated API key: its project, its plan, and what it may do."""

    project: Project
    plan: Plan
    key_id: UUID
    scopes: frozenset[str]
    list_ids: frozenset[UUID]
    from_domains: frozenset[str]
    is_use_due: bool
    """Whether the key's last use was noted too long ago."""

    def has_scope(self, scope: str) -> bool:
        return "*" in self.scopes or scope in self.scopes

    def may_use_list(self, list_id: UUID) -> bool:
        return not self.list_ids or list_id in self.list_ids

    def may_send_from(self, domain: str) -> bool:
        return not self.from_domains or domain.lower() in self.from_domains
