"""Steps of lists, suppressions and mails; `tests.planner.world` says what is asked of them."""

from uuid import uuid4

from newsletter.audience import batch, leaving
from newsletter.audience import queries as audience
from newsletter.delivery import announcing, batches, reading, returns, rounds
from newsletter.delivery import queries as delivery
from newsletter.delivery.ledger import Decision
from newsletter.delivery.models import Feedback, Outcome
from newsletter.settings import Settings
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason
from tests.planner.world import FEW, KEYS, SENDER_DOMAIN, Step, Watched, World, read_too_much


async def batch_straight(world: World) -> None:
    await _batch(world, is_straight=True)


async def batch_by_a_session(world: World) -> None:
    await _batch(world, is_straight=False)


async def _batch(world: World, *, is_straight: bool) -> None:
    known = await world.addresses(KEYS // 2)
    new = [f"{uuid4().hex}@example.com" for _ in known]
    rows = [{"email": email, "first_name": f"N{world.turn}"} for email in [*known, *new]]
    sheet = batch.read(world.target, rows, world.runtime.settings.limits)
    if is_straight:
        done = await world.runtime.intake.import_batch(world.target, sheet)
    else:
        async with world.db.unit_of_work() as session:
            limits = world.runtime.settings.limits
            done = await batch.import_batch(session, world.runtime.vault, world.target, sheet, limits)
    assert (done.created, done.updated) == (len(new), len(known))


async def leaving_one_by_one(world: World) -> None:
    one, other = await world.addresses(2)
    async with world.db.unit_of_work() as session:
        assert await leaving.unsubscribe(session, world.project, source="test", address_key=one) == 1
        assert await leaving.mark_bounced(session, world.project, other, source="test") == 1


async def suppressing(world: World) -> None:
    keys = await world.addresses(KEYS)
    scope = suppressed.list_scope(world.list_id)
    async with world.db.unit_of_work() as session:
        for _ in range(2):
            await suppressions.suppress(
                session,
                project_id=world.project.id,
                scope=scope,
                address_keys=keys,
                reason=Reason.manual,
                source="test",
            )
        found = await suppressed.reasons(
            session, world.project.id, world.list_id, SENDER_DOMAIN, keys, is_marketing=True
        )
        joining = await suppressed.against_joining(
            session, world.runtime.vault, world.project.id, world.list_id, keys
        )
        assert set(found) == set(keys)
        assert joining == suppressed.NOTHING
        reasons = [Reason.manual]
        await suppressions.lift(
            session, project_id=world.project.id, scope=scope, address_keys=keys, reasons=reasons
        )
        assert not await audience.left_everything(session, world.project, keys)


async def sending_a_batch(world: World) -> None:
    claim = await world.claimed()
    found = await reading.due(world.db, claim, claim.first_seq - 1)
    seqs = [each.seq for each in found]
    sent = [Decision(seq, Outcome.sent, attempt=1) for seq in seqs]
    opened = await rounds.write(world.db, claim.books, world.gate(), [], seqs)
    assert opened.opened == set(seqs)
    await rounds.write(world.db, claim.books, world.gate(), sent, [])
    async with world.db.unit_of_work() as session:
        assert await batches.seconds_to_next(session, claim) is None
        await batches.finish(session, claim.books)


async def sending_step_by_step(world: World) -> None:
    claim = await world.claimed()
    seqs = list(range(claim.first_seq, claim.last_seq + 1))
    sent = [Decision(seq, Outcome.sent, attempt=1) for seq in seqs]
    async with world.db.unit_of_work() as session:
        await rounds._step_by_step(session, claim.books, world.gate(), [], seqs)
        await rounds._step_by_step(session, claim.books, world.gate(), sent, [])
        changed = await returns.apply_deliveries(session, world.project.id, world.mailing_id, seqs[1:])
        assert len(changed) == len(seqs) - 1
        assert await returns.apply_feedback(session, world.mailing_id, seqs[0], Feedback.bounced)


async def looking_up_messages(world: World) -> None:
    """Of several mailings, with other numbers in each."""
    mailings = [*world.mailings, world.mailing_id]
    keys = [(mailings[number % len(mailings)], 1 + number % FEW) for number in range(KEYS)]
    async with world.db.read() as session:
        assert len(await delivery.tracked(session, keys)) == len(set(keys))
        assert len(await announcing.described(session, keys)) == len(set(keys))
        public = [delivery.public_id(*key) for key in keys]
        assert len(await delivery.by_public_ids(session, public)) == len(set(keys))
        assert await delivery.by_key(session, *keys[0]) is not None


STEPS: tuple[Step, ...] = (
    sending_a_batch,
    sending_step_by_step,
    looking_up_messages,
    batch_straight,
    batch_by_a_session,
    suppressing,
    leaving_one_by_one,
)


async def test_a_step_reads_its_own_rows_whatever_the_statistics_say(
    watched: Watched, settings: Settings
) -> None:
    wrong = await read_too_much(watched, settings, World, STEPS)
    assert not wrong, "\n".join(wrong)
