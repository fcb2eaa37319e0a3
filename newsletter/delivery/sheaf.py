"""The letters of a mailing whose messages do not all say the same: single mails, and steps of automations
with variables."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.letter import Copy, Enclosed, Letter
from newsletter.delivery.mime import File
from newsletter.delivery.models import Attachment, Content, MailingKind, MessagePart
from newsletter.kit import clock
from newsletter.providers.base import Envelope

KINDS = frozenset({MailingKind.transactional, MailingKind.automation})
"""Mailings whose messages may have a `Part`."""
SHARED = 0
"""Stands for a `Content`'s number where the mailing's own content is said."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one message has for itself."""

    content: int
    name: str | None
    variables: Mapping[str, str]


class Sheaf:
    """Which letter each recipient gets, and with which variables. Written in one thread at a time."""

    is_quick = False

    def __init__(
        self, make: Callable[[Enclosed], Letter], contents: Mapping[int, Enclosed], parts: Mapping[int, Part]
    ) -> None:
        self._make, self._contents, self._parts = make, contents, parts
        self._letters: dict[int, Letter] = {}

    def write_block(self, copies: Sequence[Copy]) -> list[Envelope]:
        if not copies:
            return []
        at = clock.now()
        drafts = []
        for copy in copies:
            part = self._parts[copy.ref.seq]
            own = copy._replace(name=part.name, variables=part.variables)
            drafts.append(self._letter(part.content).draft_plainly(own, at))
        # All letters of a mailing have one sender, and so one signature.
        return next(iter(self._letters.values())).finish_block(drafts)

    def _letter(self, number: int) -> Letter:
        # Made when it is needed: what was said to somebody who was erased since is not there.
        letter = self._letters.get(number) or self._make(self._contents[number])
        self._letters[number] = letter
        return letter


class Filled:
    """One letter for all recipients, each with variables of their own."""

    def __init__(self, letter: Letter, parts: Mapping[int, Part]) -> None:
        self._letter, self._parts = letter, parts

    @property
    def is_quick(self) -> bool:
        return self._letter.is_quick

    def write_block(self, copies: Sequence[Copy]) -> list[Envelope]:
        return self._letter.write_block(
            [copy._replace(variables=self._parts[copy.ref.seq].variables) for copy in copies]
        )


async def parts(session: AsyncSession, mailing_id: UUID, first_seq: int, last_seq: int) -> dict[int, Part]:
    """Of the messages in this range, by their number."""
    statement = select(MessagePart.seq, MessagePart.content, MessagePart.name, MessagePart.variables).where(
        MessagePart.mailing_id == mailing_id, MessagePart.seq.between(first_seq, last_seq)
    )
    return {seq: Part(*rest) for seq, *rest in await session.execute(statement)}


async def enclosed(session: AsyncSession, mailing_id: UUID, numbers: Collection[int]) -> dict[int, Enclosed]:
    """These contents of a mailing, with their files."""
    files: dict[int, list[File]] = {}
    attached = select(Attachment).where(Attachment.mailing_id == mailing_id, Attachment.content.in_(numbers))
    for row in await session.scalars(attached.order_by(Attachment.position)):
        file = File(row.filename, row.content_type, row.data, row.content_id)
        files.setdefault(row.content, []).append(file)
    contents = select(Content).where(Content.mailing_id == mailing_id, Content.number.in_(numbers))
    return {
        row.number: Enclosed(
            row.compiled,
            row.head["reply_to"],
            _pairs(row.head["headers"]),
            _pairs(row.head.get("to", ())),
            _pairs(row.head.get("cc", ())),
            tuple(files.get(row.number, ())),
        )
        for row in await session.scalars(contents)
    }


def _pairs(value: Any) -> tuple[Any, ...]:
    return tuple((first, second) for first, second in value)
