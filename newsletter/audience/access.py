"""What a call names in its path and query, and whether its key may touch that."""

from collections.abc import Collection
from uuid import UUID

from newsletter.accounts.project import Principal
from newsletter.audience.models import Status
from newsletter.kit import ids
from newsletter.kit.errors import Forbidden, ValidationFailed

MAX_SEARCH = 200


def list_of_path(principal: Principal, text: str) -> UUID:
    """Raises `NotFound` for what is no list's id, `Forbidden` for a list outside the key's."""
    list_id = ids.in_path("lst", text)
    allow(principal, list_id)
    return list_id


def list_of_query(principal: Principal, text: str | None) -> UUID | None:
    """Raises `ValidationFailed` for what is no list's id, `Forbidden` for a list outside the key's."""
    list_id = ids.in_query("lst", "list_id", text)
    if list_id is not None:
        allow(principal, list_id)
    return list_id


def search_text(field: str, text: str | None) -> str | None:
    """Raises `ValidationFailed` for what no database should be asked."""
    if text is not None and (len(text) > MAX_SEARCH or "\0" in text):
        raise ValidationFailed.of(field, f"must have at most {MAX_SEARCH} characters and no NUL")
    return text


def allow(principal: Principal, list_id: UUID) -> None:
    """Raises `Forbidden` for a list outside the key's, whether it exists or not."""
    if not principal.may_use_list(list_id):
        raise Forbidden("This key is restricted to other lists.")


def allow_status(principal: Principal, status: str) -> None:
    """Raises `Forbidden` for a restricted key and a status that holds for the address on all lists."""
    if status in (Status.bounced, Status.complained):
        principal.require_every_list()


def chosen_lists(principal: Principal, list_id: UUID | None) -> Collection[UUID] | None:
    """The one that the call names, else those of the key; None: all of the project."""
    if list_id is not None:
        return [list_id]
    return principal.list_ids or None
