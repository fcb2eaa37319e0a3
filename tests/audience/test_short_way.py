"""The short way of a call answers as the long one does."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from newsletter.api.short import MOST_BYTES
from newsletter.audience.models import Status
from newsletter.audience.routes.subscribing import PlainCreate
from newsletter.audience.rows import Row
from newsletter.audience.schemas import shown, written
from newsletter.kit import ids
from tests.client import Client

DIFFERENT = {"id", "created_at", "updated_at", "subscribed_at"}
HEADERS = {"x-request-id", "ratelimit-remaining", "ratelimit-reset", "content-length"}
FULL = {
    "first_name": "Zoë \U0001f98a",
    "last_name": None,
    "tags": ["a", "b", "a"],
    "custom_fields": {"size": 3, "height": 1.5, "is_old": True, "colour": 'r"e\\d'},
    "locale": "de-CH",
    "timezone": "Europe/Zurich",
    "consent": {"source": "form", "at": "2020-01-01T00:00:00Z"},
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The status of each call that was looked at by the short way; None where it went on."""
    taken: list[int | None] = []
    carry_out = PlainCreate.__call__

    async def noted(self: PlainCreate, *call: Any) -> Any:
        answer = await carry_out(self, *call)
        taken.append(None if answer is None else answer[0])
        return answer

    monkeypatch.setattr(PlainCreate, "__call__", noted)
    return taken


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body whose length is not said, which goes the long way."""
    yield body


async def _both(client: Client, bodies: dict[str, bytes]) -> list[Any]:
    kind = {"content-type": "application/json"}
    answers = [
        await client.post("/subscribers", content=bodies["short"], headers=kind),
        await client.post("/subscribers", content=_in_pieces(bodies["long"]), headers=kind),
    ]
    return [
        (
            answer.status_code,
            {name: value for name, value in answer.headers.items() if name not in HEADERS},
            set(answer.headers),
            _told(answer.json()),
        )
        for answer in answers
    ]


def _told(body: dict[str, Any]) -> Any:
    if "error" in body:
        return {name: value for name, value in body["error"].items() if name != "request_id"}
    told = body["data"]
    return {name: (type(value) if name in DIFFERENT else value) for name, value in told.items()} | {
        "email": ""
    }


def _json(**body: Any) -> bytes:
    return json.dumps(body).encode()


async def test_a_new_subscriber_and_a_known_one(
    client: Client, list_id: str, short: list[int | None]
) -> None:
    for fields in ({}, FULL):
        for _ in range(2):
            bodies = {
                way: _json(list_id=list_id, email=f"{way}{len(fields)}@example.com", **fields)
                for way in ("short", "long")
            }
            one, other = await _both(client, bodies)
            assert one == other
    assert short == [201, 200, 201, 200]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"email": "\xff"}',
        b"[" * 5000,
        b'{"email": NaN}',
        b'{"email": "x", "list_id": "lst_1", "unheard_of": 1, "tags": [1, ""]}',
        b'{"email": "x@example.com", "list_id": "lst_01k9x3v7m8e5tbn2c4r6p0qzaw"}',
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
async def test_what_is_wrong_is_said_alike(client: Client, short: list[int | None], body: bytes) -> None:
    one, other = await _both(client, {"short": body, "long": body})

    assert one == other
    assert one[0] >= 400
    assert short in ([None], [])


async def test_a_full_plan_and_a_foreign_list_are_said_alike(
    client: Client, make_client: Any, make_project: Any, make_list: Any, list_id: str
) -> None:
    stranger = await make_client(await make_project())
    bodies = {way: _json(list_id=list_id, email=f"{way}@example.com") for way in ("short", "long")}

    one, other = await _both(stranger, bodies)

    assert one == other
    assert one[0] == 422


async def test_a_large_body_and_a_call_with_a_key_go_the_long_way(
    client: Client, list_id: str, short: list[int | None]
) -> None:
    text = "\u00e9" * 900  # Six letters each, as it is escaped.
    large = _json(
        list_id=list_id, email="l@example.com", custom_fields={f"f{number}": text for number in range(30)}
    )
    answer = await client.post("/subscribers", content=large, headers={"Content-Type": "application/json"})
    assert (len(large) > MOST_BYTES, answer.status_code) == (True, 201)
    for _ in range(2):
        answer = await client.post(
            "/subscribers",
            json={"list_id": list_id, "email": "k@example.com"},
            headers={"Idempotency-Key": "one"},
        )
        assert answer.status_code == 201
    assert short == [None]


@pytest.mark.parametrize("left_at", [None, datetime(2026, 11, 2, 9, 30, 0, 250, tzinfo=UTC)])
def test_a_subscriber_is_written_letter_by_letter_as_it_is_shown(left_at: datetime | None) -> None:
    now = datetime(2026, 11, 1, 9, 30, tzinfo=timezone(timedelta(hours=2)))
    fields = {"f": 1.5, "n": None, "s": 'é\u2028<"\\\n', "b": True, "e": 1e16, "i": 10**30}
    row = Row(
        id=ids.uuid7(),
        project_id=ids.uuid7(),
        list_id=ids.uuid7(),
        email="Zoë@example.com",
        address_key="zoë@example.com",
        first_name="Zoë \U0001f98a",
        last_name=None,
        tags=["ü", 'a"'],
        custom_fields=fields,
        locale="de-CH",
        timezone=None,
        status=Status.unsubscribed,
        subscribed_at=now,
        unsubscribed_at=left_at,
        created_at=now,
        updated_at=now,
    )
    assert written(row).decode() == shown(row).model_dump_json()
