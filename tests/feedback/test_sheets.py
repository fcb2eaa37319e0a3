"""Suppressions as CSV: what goes out comes in, and no cell is a formula."""

import csv
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.accounts.audit import queries as audit
from newsletter.accounts.audit.chain import CALL, Entry
from newsletter.accounts.project import Project
from newsletter.kit import ids, sheets
from newsletter.runtime import Runtime
from newsletter.settings import LimitSettings, Settings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.mailbox import subscribed_list

CSV = {"Content-Type": "text/csv"}
ROWS = 6


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"limits": LimitSettings(import_rows=ROWS)})


async def take_in(client: Client, text: str | bytes, status: int = 200) -> Any:
    response = await client.post("/suppressions/import", content=text, headers=CSV)
    assert response.status_code == status, response.text
    return response.json().get("data", response.json())


async def exported(client: Client, **params: Any) -> list[list[str]]:
    response = await client.get("/suppressions.csv", params=params)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/csv")
    return list(csv.reader(response.text.splitlines()))


async def test_a_sheet_that_went_out_comes_in_elsewhere(
    client: Client, make_project: MakeProject, make_client: MakeClient
) -> None:
    for body in (
        {"email": "ada@example.com", "reason": "complaint", "source": "support"},
        {"email": "grace@example.com", "level": "domain", "domain": "acme.example.com"},
        {"email": "joan@example.com", "source": "=cmd|' /C calc'!A0"},
    ):
        await client.data("POST", "/suppressions", 201, json=body)
    header, *rows = await exported(client)
    assert header == ["email", "reason", "level", "list_id", "domain", "source", "created_at"]
    assert [row[0] for row in rows] == ["joan@example.com", "grace@example.com", "ada@example.com"]
    assert rows[0][5] == "'=cmd|' /C calc'!A0"
    assert (await exported(client, raw=True))[1][5] == "=cmd|' /C calc'!A0"
    assert len(await exported(client, reason="complaint")) == 2

    other = await make_client(await make_project(name="Other"))
    sheet = (await client.get("/suppressions.csv")).content
    assert await exported(other) == [header]
    done = await take_in(other, sheet)
    assert (done["received"], done["created"], done["invalid"]) == (3, 3, 0)
    assert sorted(row[:6] for row in (await exported(other))[1:]) == sorted(row[:6] for row in rows)
    assert (await take_in(other, sheet))["known"] == 3


async def test_bad_rows_are_counted_and_fail_no_other(client: Client) -> None:
    list_id = await subscribed_list(client, "Ada")
    sheet = "\r\n".join(
        [
            "Reason,EMAIL,list_id,level",
            f"unsubscribe,ada@example.com,{list_id},list",
            'manual,"no\u2028address",,',
            "erased,joan@example.com,,",
            "",
            "manual,ken@example.com,,list",
            'manual,"grace@example.com",,',
        ]
    )
    done = await take_in(client, "\N{ZERO WIDTH NO-BREAK SPACE}" + sheet)
    assert (done["received"], done["created"], done["invalid"]) == (5, 2, 3)
    [ada] = await client.data("GET", "/subscribers", params={"search": "ada"})
    assert ada["status"] == "unsubscribed"


async def test_a_row_with_more_cells_than_columns_is_refused_and_no_other(client: Client) -> None:
    sheet = (
        "email,reason\nada@example.com,manual,once,more\nken@example.com,manual,\njoan@example.com,manual\n"
    )
    done = await take_in(client, sheet)
    assert (done["received"], done["created"], done["invalid"]) == (3, 1, 2)
    assert [json.loads(row)["cells without a column"] for row in done["invalid_examples"]] == [
        "once,more",
        ",",
    ]
    assert [row[0] for row in (await exported(client))[1:]] == ["joan@example.com"]


@pytest.mark.parametrize(
    "sheet",
    [
        b"",
        b"email\n",
        b"reason\nmanual\n",
        b"email,colour\na@example.com,red\n",
        b"email\n\xff\xfe\n",
        b"email\na@example.com\0\n",
        b'email\n"a@example.com',
        b"email,email\na@example.com,b@example.com\n",
        b"email\n" + b"a@example.com\n" * (ROWS + 1),
    ],
)
async def test_what_is_no_such_sheet_is_refused_as_a_whole(client: Client, sheet: bytes) -> None:
    error = (await take_in(client, sheet, 422))["error"]
    assert (error["code"], list(error["errors"])) == ("validation_failed", ["body"])
    assert len(await exported(client)) == 1


async def test_a_line_that_is_no_csv_is_named(client: Client) -> None:
    error = (await take_in(client, b'email\na@example.com\n"b"c@example.com\n', 422))["error"]
    assert "line 3" in error["errors"]["body"][0]


@given(st.text(alphabet="'=+-@\t\ra1"))
def test_what_is_made_harmless_comes_back_as_it_was(cell: str) -> None:
    made = sheets.harmless(cell)
    assert sheets.plain(str(made)) == cell
    assert not str(made).startswith(sheets.FORMULA)


async def audited(runtime: Runtime, project: Project) -> Sequence[Entry]:
    """The acts, without the making of keys."""
    async with runtime.db.read() as session:
        found = await audit.linked(session, project.id, 0, 100)
    return [entry for entry in found if entry.action not in (CALL, "key.created")]


async def test_who_lifts_a_suppression_stands_in_the_audit_log(
    client: Client, runtime: Runtime, project: Project
) -> None:
    made = await client.data("POST", "/suppressions", 201, json={"email": "ada@example.com"})
    left = await client.data("POST", "/unsubscribes", 201, json={"email": "joan@example.com"})
    assert await audited(runtime, project) == []
    assert (await client.delete(f"/suppressions/{made['id']}")).status_code == 204
    assert (await client.delete(f"/unsubscribes/{left['id']}")).status_code == 204
    first, second = await audited(runtime, project)
    assert (first.action, first.subject, first.project_id) == ("suppression.removed", made["id"], project.id)
    assert first.details == {"reason": "manual", "level": "project", "source": "api"}
    assert first.key_id is not None
    assert first.ip is not None
    assert (second.subject, second.details["reason"]) == (left["id"], "unsubscribe")
    assert "ada@" not in str(first)


async def test_who_rotates_a_secret_stands_in_the_audit_log(
    client: Client, runtime: Runtime, project: Project
) -> None:
    made = await client.data("POST", "/webhooks", 201, json={"url": "https://app.example.com/"})
    await client.data("POST", f"/webhooks/{made['id']}/rotate-secret", json={"overlap_hours": 1})
    [entry] = await audited(runtime, project)
    assert entry.subject is not None
    assert (entry.action, ids.private("whe", entry.subject).version) == ("webhook.secret_rotated", 7)
    assert entry.details == {"overlap_hours": 1}


async def test_a_sheet_does_what_its_rows_do_one_by_one(
    client: Client, make_project: MakeProject, make_client: MakeClient
) -> None:
    by_row = await make_client(await make_project(name="Row by row"))

    async def after(who: Client, is_sheet: bool) -> tuple[list[list[str]], list[tuple[str, str]], list[str]]:
        names = ("Ada", "Grace", "Joan", "Ken", "Lin")
        one, other = await subscribed_list(who, *names), await subscribed_list(who, *names)
        rows = [
            {"email": "ada@example.com", "reason": "unsubscribe", "level": "list", "list_id": one},
            {"email": "ADA@example.com", "reason": "unsubscribe", "source": "letter"},
            {"email": "grace@example.com", "reason": "hard_bounce"},
            {"email": "grace@example.com", "reason": "complaint", "source": "call"},
            {"email": "joan@example.com", "reason": "manual", "source": "first"},
            {"email": "joan@example.com", "reason": "manual", "source": "second"},
            {"email": "ken@example.com", "reason": "unsubscribe", "level": "list", "list_id": other},
            {"email": "nobody@example.com", "reason": "hard_bounce"},
            {"email": "lin@example.com", "level": "domain", "domain": "acme.example.com"},
            {"email": "lin@example.com", "level": "list", "list_id": ids.public("lst", ids.uuid7())},
        ]
        if is_sheet:
            body = {"suppressions": rows}
            done = await who.data("POST", "/suppressions/batch", json=body)
            assert (done["received"], done["created"], done["known"], done["invalid"]) == (10, 7, 2, 1)
            again = await who.data("POST", "/suppressions/batch", json=body)
            assert (again["created"], again["known"], again["invalid"]) == (0, 9, 1)
        else:
            statuses = [(await who.post("/suppressions", json=row)).status_code for row in rows]
            assert (statuses.count(201), statuses.count(200), statuses.count(422)) == (7, 2, 1)
        places = {one: "one", other: "other"}
        held = [[places.get(cell, cell) for cell in row[:6]] for row in (await exported(who))[1:]]
        people = await who.data("GET", "/subscribers", params={"per_page": 100})
        wishes = [
            f"{person['email']} {places[person['list_id']]} {each['action']} {each['source']}"
            for person in people
            for each in await who.data("GET", f"/subscribers/{person['id']}/consents")
        ]
        return sorted(held), sorted((each["email"], each["status"]) for each in people), sorted(wishes)

    assert await after(client, is_sheet=True) == await after(by_row, is_sheet=False)
