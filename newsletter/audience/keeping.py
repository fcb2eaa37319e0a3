"""What conditions must be like to be kept, in a segment or in an automation."""

from collections.abc import Iterable, Iterator
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience.conditions import Condition
from newsletter.audience.models import MailingList
from newsletter.kit.bulk import among
from newsletter.kit.errors import ValidationFailed


def excess(place: str, condition: Condition, *, depth: int, parts: int) -> dict[str, list[str]]:
    """That it is deeper or has more conditions, itself included, than it may."""
    if condition.depth > depth:
        return {place: [f"must be at most {depth} levels deep"]}
    if sum(1 for _ in condition.each("")) > parts:
        return {place: [f"must be at most {parts} conditions"]}
    return {}


def addresses(place: str, condition: Condition) -> dict[str, list[str]]:
    """What is wrong with each text in it that looks like a person's address, by where it stands: it would
    outlive the person's erasure."""
    return {
        f"{below}.{name}": ["must be no person's address; give them a tag of another name"]
        for below, part in condition.each(place)
        for name, text in _texts(part)
        if _is_address(text)
    }


def asks_for(condition: Condition, list_id: UUID) -> bool:
    """Whether it asks who is on that list."""
    return any(part.list_id == list_id for _, part in condition.each(""))


async def hold_lists(
    session: AsyncSession, project: Project, list_id: UUID, conditions: Iterable[Condition]
) -> None:
    """Has the lists that conditions of list ``list_id`` ask for stay until the transaction ends in which the
    conditions are kept; from then on these hold them (`lists.delete_list`). Not their own: they go with it,
    and who deletes it would lock both the other way round.

    Raises `ValidationFailed` where one is gone meanwhile.
    """
    parts = [part for each in conditions for _, part in each.each("")]
    named = {part.list_id for part in parts if part.list_id not in (None, list_id)}
    if not named:
        return
    there = select(MailingList.id).where(
        MailingList.project_id == project.id, among(session, MailingList.id, named)
    )
    in_order = there.order_by(MailingList.id).with_for_update(read=True, key_share=True)
    if set((await session.scalars(in_order)).all()) != named:
        raise ValidationFailed.of("conditions", "ask for a list that was deleted meanwhile")


def _texts(part: Condition) -> Iterator[tuple[str, str]]:
    """What somebody may be named by in it, and below which name each stands."""
    if part.tag is not None:
        yield "tag", part.tag
    for name, text in part.field.texts if part.field is not None else ():
        yield f"field.{name}", text


def _is_address(text: str) -> bool:
    """Whether it looks like one. To parse each of the thousands of texts that conditions have room for would
    keep everybody else waiting for seconds."""
    local, _, domain = text.strip().partition("@")
    is_one_word = len(text.split()) == 1 and "@" not in domain
    # Between the labels of a domain may stand full stops of other scripts (UTS 46).
    return bool(local) and is_one_word and any(dot in domain for dot in ".\u3002\uff0e\uff61")
