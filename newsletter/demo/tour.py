"""What a client of the service does, from a brand voice to a campaign that was sent: by the API alone."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from rich.progress import Progress, TaskID

from newsletter.demo import story

POLL_SECONDS = 0.25
SEND_SECONDS = 120.0
"""What sending to the demo's few subscribers may take at most."""


class DemoFailed(Exception):
    """What went wrong, as one sentence."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The campaign in the end, and what was seen of it on the way."""

    list_id: str
    campaign: dict[str, Any]
    preview: dict[str, Any]
    """The campaign as one of its readers got it."""
    reader: str
    inbox_url: str
    mails: int
    """How many mails the inbox holds."""


class Tour:
    def __init__(self, client: httpx.AsyncClient, progress: Progress, writer: str) -> None:
        """``client`` carries the address of the API and a key of a new test project."""
        self._client, self._progress, self._writer = client, progress, writer

    async def run(self) -> Sent:
        """Raises `DemoFailed`."""
        with self._step("Setting up the project and its voice"):
            await self._call("PATCH", "/project", {"branding": story.BRANDING})
            await self._call("PUT", "/brand-voice", story.VOICE)
        list_id = await self._fill_list()
        with self._step(f"Writing, by {self._writer}"):
            topic = {"list_id": list_id, "ai": {"prompt": story.TOPIC}}
            draft = await self._call("POST", "/campaigns", topic)
        campaign = await self._send(draft["id"])
        return await self._read(list_id, campaign)

    async def _fill_list(self) -> str:
        people = story.SUBSCRIBERS
        with self._step("Adding a list of subscribers", total=len(people)) as step:
            made = await self._call("POST", "/lists", {"name": story.LIST})
            added = await self._call(
                "POST", "/subscribers/batch", {"list_id": made["id"], "subscribers": people}
            )
            self._count(step, added["created"], len(people))
        return str(made["id"])

    async def _send(self, campaign_id: str) -> dict[str, Any]:
        campaign: dict[str, Any] = await self._call("POST", f"/campaigns/{campaign_id}/send", {})
        total = campaign["recipient_count"]
        with self._step("Sending", total=total) as step:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    while campaign["status"] == "sending":
                        self._count(step, campaign["emails_sent"], total)
                        await asyncio.sleep(POLL_SECONDS)
                        campaign = await self._call("GET", f"/campaigns/{campaign_id}")
            except TimeoutError:
                raise DemoFailed(f"The campaign was not over after {SEND_SECONDS:.0f} seconds.") from None
            if campaign["status"] != "sent" or campaign["emails_sent"] != total:
                reason = (campaign["status_reason"] or {}).get("message", "")
                raise DemoFailed(
                    f"The campaign ended as '{campaign['status']}', with {campaign['emails_sent']} "
                    f"of {total} mails sent. {reason}".rstrip()
                )
            self._count(step, total, total)
        return campaign

    async def _read(self, list_id: str, campaign: dict[str, Any]) -> Sent:
        email = story.SUBSCRIBERS[0]["email"]
        found = await self._call("GET", f"/subscribers?list_id={list_id}&search={email}")
        preview = f"/campaigns/{campaign['id']}/preview?subscriber_id={found[0]['id']}"
        project = await self._call("GET", "/project")
        mails = await self._call("GET", "/sandbox/messages?per_page=100")
        return Sent(
            list_id=list_id,
            campaign=campaign,
            preview=await self._call("GET", preview),
            reader=str(email),
            inbox_url=project["inbox_url"],
            mails=len(mails),
        )

    def _count(self, step: TaskID, done: int, total: int) -> None:
        self._progress.update(step, completed=done, count=f"{done}/{total}")

    @contextmanager
    def _step(self, description: str, total: int | None = None) -> Iterator[TaskID]:
        step = self._progress.add_task(description, total=total, count="")
        yield step
        self._progress.update(step, total=total or 1, completed=total or 1)

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise DemoFailed(f"{method} {path} got no answer: {reason}") from error
        if response.is_error:
            refusal = response.json()["error"]
            raise DemoFailed(
                f"{method} {path} answered {response.status_code} {refusal['code']}: {refusal['message']}"
            )
        return response.json()["data"]
