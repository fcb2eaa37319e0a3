"""One process and a file: killed, asked to end, and out of disk."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from newsletter.delivery.models import Outcome
from tests.conftest import SIZE
from tests.faults.campaign import wait_for
from tests.faults.conftest import TWO_BLOCKS, World

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(300),
    pytest.mark.skipif(SIZE != "embedded", reason="is about the embedded size (SQLite, one process)"),
]


async def test_the_one_process_is_killed_and_carries_on_by_itself(world: World) -> None:
    world.set(delivery_lease=30)  # Its own leases do not hold it up: at the start they are freed.
    api, _ = await world.start()
    campaign = world.campaign(2_000)
    await campaign.start(api.url)
    campaign.times = 2
    for number in range(1, campaign.times + 1):
        await campaign.received(600 * number)
        api.kill()
        api.start()
        await campaign.goes_on()
    verdict = await campaign.end(25)
    assert verdict.sent + verdict.unknown == 2_000
    assert verdict.unknown <= campaign.times * TWO_BLOCKS


async def test_the_one_process_is_asked_to_end_and_leaves_nothing_unknown(world: World) -> None:
    api, _ = await world.start()
    campaign = world.campaign(2_000)
    await campaign.start(api.url)
    await campaign.received(500)
    status, seconds = api.terminate()
    assert status == 0
    assert seconds < 10
    assert await campaign.count(Outcome.sending) == 0
    api.start()
    verdict = await campaign.end(25)
    assert (verdict.sent, verdict.unknown) == (2_000, 0)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own for this folder."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("needs root and mount, for a disk that can be filled")
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    made = subprocess.run([mount, *options], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"this machine does not let us mount: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            return


async def test_a_full_disk_stops_the_mail_before_it_begins_and_the_api_says_so(
    world: World, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, megabytes=40):
        api, campaign = await world.move_to(disk)
        world.sink.faults.delay = 0.005
        await campaign.start(api.url)
        await campaign.received(200)
        fill(disk / "ballast")
        await wait_for(lambda: "the database is away" in api.new_log(), 30, "the worker notices")
        begun = len(world.sink.mails)
        async with campaign.http(api.url) as client:
            answer = await client.post("/lists", json={"name": "One more"})
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert "disk is full" in answer.json()["error"]["message"]
            assert (await client.get(f"/campaigns/{campaign.id}")).status_code == 200
        assert len(world.sink.mails) - begun <= TWO_BLOCKS
        (disk / "ballast").unlink()
        await campaign.goes_on()
        verdict = await campaign.end()
        assert (verdict.sent, verdict.unknown) == (2_000, 0)
        async with campaign.http(api.url) as client:
            assert (await client.post("/lists", json={"name": "One more"})).status_code == 201
        api.terminate()
        await campaign.db.close()
