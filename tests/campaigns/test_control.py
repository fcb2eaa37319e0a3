"""Pause, resume and cancel as calls: what they answer, and to whom."""

import pytest

from newsletter.runtime import Runtime
from tests.campaigns.conftest import Make
from tests.client import Client
from tests.jobs import run_due


async def test_pausing_and_resuming_twice_is_the_same_as_once(client: Client, draft: Make) -> None:
    path = f"/campaigns/{(await draft(send=True))['id']}"
    for verb, status in (("pause", "paused"), ("resume", "sending"), ("cancel", "cancelled")):
        first = await client.data("POST", f"{path}/{verb}", 200)
        assert first["status"] == status
        assert await client.data("POST", f"{path}/{verb}", 200) == first


async def test_only_what_is_being_sent_is_paused_and_only_what_is_paused_resumed(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    path = f"/campaigns/{(await draft())['id']}"
    for verb in ("pause", "resume", "cancel"):
        await client.expect_error("POST", f"{path}/{verb}", 409, f"cannot_{verb}")
    await client.data("POST", f"{path}/send", 200)
    await run_due(runtime)
    for verb in ("pause", "resume", "cancel"):
        await client.expect_error("POST", f"{path}/{verb}", 409, f"cannot_{verb}")


async def test_a_campaign_whose_last_mail_has_gone_out_is_not_paused_any_more(
    client: Client, draft: Make, runtime: Runtime
) -> None:
    """Its mailing has closed, and the job that tells the campaign waits."""
    path = f"/campaigns/{(await draft(send=True))['id']}"
    await run_due(runtime, but="campaigns.on_mailing_closed")
    assert (await client.data("GET", path))["status"] == "sending"
    await client.expect_error("POST", f"{path}/pause", 409, "cannot_pause")
    await client.expect_error("POST", f"{path}/cancel", 409, "cannot_cancel")
    await run_due(runtime)
    assert (await client.data("GET", path))["status"] == "sent"


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
async def test_a_change_of_another_version_is_refused(client: Client, draft: Make, verb: str) -> None:
    campaign = await draft(send=True)
    path = f"/campaigns/{campaign['id']}"
    if verb == "resume":
        campaign = await client.data("POST", f"{path}/pause", 200)
    stale = {"If-Match": f'"{campaign["version"] - 1}"'}
    await client.expect_error("POST", f"{path}/{verb}", 409, "version_conflict", headers=stale)
    seen = {"If-Match": f'"{campaign["version"]}"'}
    changed = await client.data("POST", f"{path}/{verb}", 200, headers=seen)
    assert changed["version"] == campaign["version"] + 1
    # A repeated call asks for what already is so: its version is no conflict.
    assert await client.data("POST", f"{path}/{verb}", 200, headers=seen) == changed


async def test_a_paused_campaign_is_neither_changed_nor_sent_again(client: Client, draft: Make) -> None:
    path = f"/campaigns/{(await draft(send=True))['id']}"
    await client.data("POST", f"{path}/pause", 200)
    await client.expect_error("PATCH", path, 409, "cannot_change", json={"subject": "x"})
    await client.expect_error("POST", f"{path}/send", 409, "already_sent", json={})
    await client.expect_error("DELETE", path, 409, "cannot_delete")
