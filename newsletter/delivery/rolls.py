"""The recipients of a mailing before a worker comes to them: a thousand names in one row.

On PostgreSQL a launch writes rolls, and who claims a batch writes out the messages of its range. A row
of a message costs 6 to 7 µs, of which its two indexes are half; its place on a roll costs 2. So the call
that launches a campaign to a million takes a third of the time (ADR 54), and the rest is done by
all workers, side by side, as the mail goes out. A mailing of up to `AT_ONCE` is written out by its launch.

A roll is there or its messages are, never both: `write_out` is one statement. So whoever looks for
messages looks at the rolls first, and whoever reads both does so in one statement.

SQLite has none: there a million messages take a second, and a launch writes them itself.
"""

from collections.abc import Collection, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    String,
    Uuid,
    and_,
    column,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    text,
    true,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from newsletter.delivery.models import Mailing, Message, Outcome, Roll

LENGTH = 1_000
"""Names on a roll. A roll may reach into several batches: it is written out with the first of them."""
AT_ONCE = 20_000
"""Messages that a launch writes out itself, in 0.1 s: its workers then begin with the mail."""


async def freeze(
    session: AsyncSession, mailing_id: UUID, recipients: Select[*tuple[Any, ...]], *, megabytes: int
) -> int:
    """One statement: the audience of this moment, numbered 1, 2, 3 … in order of address, once per
    address. Returns how many they are.

    ``recipients`` yields (subscriber id, address, address key). ``megabytes`` are for the database to
    gather them in; with less than they need, it uses its disk.
    """
    memory = {"size": f"{megabytes}MB"}
    await session.execute(text("SELECT set_config('work_mem', :size, true)"), memory)
    subscriber_id, address, address_key = recipients.subquery().c
    once = (
        select(subscriber_id, address, address_key).ext(distinct_on(address_key)).order_by(address_key)
    ).subquery()
    numbered = select(func.row_number().over().label("seq"), *once.c).subquery()
    seq, *names = numbered.c
    rolled = select(
        literal(mailing_id, Roll.mailing_id.type),
        func.min(seq),
        func.max(seq),
        *(func.array_agg(each) for each in names),
    ).group_by((seq - 1) // LENGTH)
    await session.execute(insert(Roll).from_select([each.key for each in Roll.__table__.columns], rolled))
    last = select(func.coalesce(func.max(Roll.last_seq), 0)).where(Roll.mailing_id == mailing_id)
    count = (await session.execute(last)).scalar_one()
    if count <= AT_ONCE:
        await write_out(session, mailing_id, 1, count)
    return count


_WRITE_OUT = text(f"""
WITH taken AS (
    DELETE FROM mailing_rolls
    WHERE mailing_id = :mailing_id AND first_seq <= :last AND last_seq >= :first RETURNING *
)
INSERT INTO messages (mailing_id, seq, subscriber_id, address, address_key, outcome, attempts)
SELECT mailing_id, first_seq + place - 1, subscriber_id, address, address_key, '{Outcome.pending}', 0
FROM taken, unnest(subscriber_ids, addresses, address_keys)
    WITH ORDINALITY AS each (subscriber_id, address, address_key, place)
""")  # noqa: S608 - built from words of the code, at import


async def write_out(session: AsyncSession, mailing_id: UUID, first_seq: int, last_seq: int) -> None:
    """Makes messages of what rolls there are for this range. Of two that do so at one moment, the
    second waits for the first, and finds its messages."""
    values = {"mailing_id": mailing_id, "first": first_seq, "last": last_seq}
    await session.execute(_WRITE_OUT, values)


def as_messages(rolls: Select[Roll]) -> type[Message]:
    """What is on these rolls, to be asked like `Message`: all of it is ``pending``, and untried."""
    roll = aliased(Roll, rolls.subquery())
    names = (column("subscriber_id", Uuid()), column("address", String()), column("address_key", String()))
    each = (
        func.unnest(roll.subscriber_ids, roll.addresses, roll.address_keys)
        .table_valued(*names, with_ordinality="place", name="each", joins_implicitly=True)
        .render_derived()
    )
    known: dict[str, ColumnElement[Any]] = {
        "mailing_id": roll.mailing_id.expression,
        "seq": sql_cast(roll.first_seq + each.c.place - 1, Integer()),
        **{name.name: each.c[name.name] for name in names},
        "outcome": literal(Outcome.pending, Message.outcome.type),
        "attempts": literal(0),
    }
    columns = Message.__table__.columns
    rows = select(*(known.get(one.key, sql_cast(null(), one.type)).label(one.key) for one in columns))
    found = rows.select_from(roll).join(each, true()).subquery()
    return cast(type[Message], aliased(Message, found, adapt_on_names=True))


def holding(keys: Collection[tuple[UUID, int]]) -> Select[Roll]:
    """The rolls with these messages, by mailing and number; others may be among them."""
    seqs: dict[UUID, list[int]] = {}
    for mailing_id, seq in keys:
        seqs.setdefault(mailing_id, []).append(seq)
    ranges = [
        (Roll.mailing_id == mailing_id) & (Roll.first_seq <= max(some)) & (Roll.last_seq >= min(some))
        for mailing_id, some in seqs.items()
    ]
    return select(Roll).where(or_(*ranges))


async def listed(
    session: AsyncSession,
    conditions: Sequence[ColumnElement[bool]],
    address_key: str | None,
    behind: tuple[UUID, int] | None,
    limit: int,
) -> list[tuple[UUID, int]]:
    """Mailings and numbers of what is on the rolls of mailings with these ``conditions``: the newest
    mailing first, in it the last number first, as they come ``behind`` a message. All of them, or those of
    one address."""
    some = select(Roll).join(Mailing, Mailing.id == Roll.mailing_id).where(*conditions)
    if address_key is not None:
        some = some.where(Roll.address_keys.contains([address_key]))
    if behind is not None:
        some = some.where(is_behind(Roll.mailing_id, Roll.first_seq, behind))
    # Each has one name at least. Of the first, the page before may have shown all but one.
    some = some.order_by(Roll.mailing_id.desc(), Roll.first_seq.desc()).limit(limit + 1)
    roll = aliased(Roll, some.subquery())
    seq: ColumnElement[int]
    if address_key is not None:
        seq = roll.first_seq + func.array_position(roll.address_keys, address_key) - 1
    else:
        seq = func.generate_series(roll.first_seq, roll.last_seq).column_valued("seq", joins_implicitly=True)
    keys = select(roll.mailing_id, seq)
    if behind is not None:
        keys = keys.where(is_behind(roll.mailing_id, seq, behind))
    rows = await session.execute(keys.order_by(roll.mailing_id.desc(), seq.desc()).limit(limit))
    return [(mailing_id, number) for mailing_id, number in rows]


def is_behind(mailing_id: Any, seq: Any, key: tuple[UUID, int]) -> ColumnElement[bool]:
    """Whether what these columns name comes behind this message in a list that has the newest first."""
    return or_(mailing_id < key[0], and_(mailing_id == key[0], seq < key[1]))


_FORGET = text("""
UPDATE mailing_rolls
SET subscriber_ids[array_position(address_keys, :address_key)] = NULL,
    addresses[array_position(address_keys, :address_key)] = :replacement,
    address_keys[array_position(address_keys, :address_key)] = :replacement
WHERE address_keys @> CAST(ARRAY[:address_key] AS varchar[])
    AND mailing_id IN (SELECT id FROM mailings WHERE project_id = :project_id)
""")


async def forget(session: AsyncSession, project_id: UUID, address_key: str, replacement: str) -> None:
    """Replaces an address on all rolls of a project. Reads them all: there are some only while a large
    mailing has batches that nobody began."""
    values = {"project_id": project_id, "address_key": address_key, "replacement": replacement}
    await session.execute(_FORGET, values)
