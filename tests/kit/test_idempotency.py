"""Keys that are claimed at the same time: each by one call."""

import asyncio
from collections import Counter

import pytest

from newsletter import serving
from newsletter.accounts.project import Project
from newsletter.kit import idempotency
from newsletter.kit.idempotency import Call, Claim, Claims, InProgress, KeyReused, Stored
from newsletter.runtime import Runtime


def call(project: Project, key: str, body: bytes = b"") -> Call:
    return Call(project.id, key, idempotency.fingerprint("POST", "/", body))


async def test_of_callers_in_two_processes_each_key_goes_to_one(runtime: Runtime, project: Project) -> None:
    """The second has its own engine, and claims the same keys in another order."""
    other = Runtime(runtime.settings, lambda rings: None)
    keys = [f"k{number}" for number in range(20)]
    both = Claims(runtime.db, runtime.vault), Claims(other.db, other.vault)
    try:
        claims = [
            each.begin(call(project, key))
            for each, order in zip(both, (keys, keys[::-1]), strict=True)
            for key in order * 2
        ]
        told = await asyncio.gather(*claims, return_exceptions=True)
    finally:
        await other.aclose()
    assert Counter(type(each) for each in told) == {Claim: 20, InProgress: 60}
    assert {each.key for each in told if isinstance(each, Claim)} == set(keys)


async def test_a_claimed_key_tells_its_answer_and_refuses_another_call(
    runtime: Runtime, project: Project
) -> None:
    claims = Claims(runtime.db, runtime.vault)
    claim = await claims.begin(call(project, "k", b"body"))
    assert isinstance(claim, Claim)
    with pytest.raises(KeyReused):
        await claims.begin(call(project, "k", b"other"))
    async with runtime.db.unit_of_work() as session:
        await idempotency.answer(session, runtime.vault, claim, 201, b"{}")
    assert await claims.begin(call(project, "k", b"body")) == Stored(201, b"{}")
    # A key that was freed by an error, which an answer of an earlier claim no longer fits.
    lost = await claims.begin(call(project, "freed"))
    assert isinstance(lost, Claim)
    await idempotency.free(runtime.db, lost)
    with pytest.raises(InProgress):
        async with runtime.db.unit_of_work() as session:
            await idempotency.answer(session, runtime.vault, lost, 201, b"{}")


async def test_a_process_that_is_alone_frees_at_its_start_what_the_one_before_did_not_end(
    runtime: Runtime, project: Project
) -> None:
    claims = Claims(runtime.db, runtime.vault)
    begun, ended = await claims.begin(call(project, "begun")), await claims.begin(call(project, "ended"))
    assert isinstance(begun, Claim)
    assert isinstance(ended, Claim)
    async with runtime.db.unit_of_work() as session:
        await idempotency.answer(session, runtime.vault, ended, 201, b"{}")
    await serving.prepare(runtime.settings)
    with pytest.raises(InProgress):
        await claims.begin(call(project, "begun"))
    await serving.prepare(runtime.settings, is_alone=True)
    assert isinstance(await claims.begin(call(project, "begun")), Claim)
    assert await claims.begin(call(project, "ended")) == Stored(201, b"{}")
