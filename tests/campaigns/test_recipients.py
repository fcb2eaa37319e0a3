"""What became of each recipient: pages, filters, the CSV, and who may see it."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.accounts.project import Project
from newsletter.campaigns import export
from newsletter.kit import ids, sheets
from newsletter.runtime import Runtime
from tests.campaigns.conftest import Make, make_list
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due

HOSTILE = '=HYPERLINK("http://evil.example.com")'


@pytest.fixture
async def sent(client: Client, runtime: Runtime) -> Any:
    """A campaign to three readers, of whom one bounced; with a formula for an address."""
    listed = await client.data("POST", "/lists", 201, json={"name": "Newsletter"})
    for email in ("ada@example.com", "bounce@sandbox.test", "+tag@example.com"):
        await client.data("POST", "/subscribers", 201, json={"list_id": listed["id"], "email": email})
    body = {"list_id": listed["id"], "subject": "Hi", "html": "<p>Hello</p>", "send": True}
    campaign = await client.data("POST", "/campaigns", 201, json=body)
    await run_due(runtime)
    return campaign


async def pages(client: Client, path: str, **params: Any) -> list[Any]:
    rows: list[Any] = []
    cursor = None
    while True:
        given = params | ({"cursor": cursor} if cursor else {})
        page = (await client.request("GET", path, params=given)).json()
        rows += page["data"]
        cursor = page["meta"]["next_cursor"]
        if cursor is None:
            return rows


async def test_each_recipient_is_shown_once_with_what_became_of_it(client: Client, sent: Any) -> None:
    path = f"/campaigns/{sent['id']}/recipients"
    rows = await pages(client, path, per_page=1)
    assert sorted(row["address"] for row in rows) == [
        "+tag@example.com",
        "ada@example.com",
        "bounce@sandbox.test",
    ]
    assert {row["outcome"] for row in rows} == {"sent"}
    [ada] = [row for row in rows if row["address"] == "ada@example.com"]
    assert ada["id"].startswith("msg_")
    assert ada["subscriber_id"].startswith("sub_")
    assert (ada["attempts"], ada["reason"], ada["feedback"]) == (1, None, None)
    assert ada["decided_at"] is not None
    # The id is that of the mail itself.
    [mail] = await client.data("GET", "/sandbox/messages", params={"to": "ada@example.com"})
    assert ada["id"] in str(mail)


async def test_recipients_are_filtered(client: Client, sent: Any) -> None:
    path = f"/campaigns/{sent['id']}/recipients"
    for params, addresses in (
        ({"feedback": "bounced"}, ["bounce@sandbox.test"]),
        ({"outcome": "failed"}, []),
        ({"search": "ADA@"}, ["ada@example.com"]),
        ({"search": "%"}, []),
    ):
        assert [row["address"] for row in await pages(client, path, **params)] == addresses, params


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"outcome": "lost"}, "outcome"),
        ({"feedback": "angry"}, "feedback"),
        ({"cursor": "x"}, "cursor"),
        ({"per_page": 101}, "per_page"),
        ({"search": "x" * 201}, "search"),
    ],
)
async def test_a_bad_parameter_is_named(
    client: Client, sent: Any, params: dict[str, Any], field: str
) -> None:
    path = f"/campaigns/{sent['id']}/recipients"
    error = await client.expect_error("GET", path, 422, "validation_failed", params=params)
    assert list(error["errors"]) == [field]


async def test_a_cursor_of_another_campaign_is_refused(client: Client, draft: Make, sent: Any) -> None:
    other = await draft(send=True)
    first = await client.request("GET", f"/campaigns/{sent['id']}/recipients", params={"per_page": 1})
    cursor = first.json()["meta"]["next_cursor"]
    path = f"/campaigns/{other['id']}/recipients"
    await client.expect_error("GET", path, 422, "validation_failed", params={"cursor": cursor})


async def test_a_draft_has_no_recipients_yet(client: Client, draft: Make) -> None:
    path = f"/campaigns/{(await draft())['id']}/recipients"
    assert await client.data("GET", path) == []
    assert (await client.request("GET", f"{path}.csv")).text == ",".join(export.COLUMNS) + "\r\n"


async def test_the_csv_says_the_same_and_is_harmless_in_a_spreadsheet(client: Client, sent: Any) -> None:
    path = f"/campaigns/{sent['id']}/recipients"
    response = await client.request("GET", f"{path}.csv")
    assert response.headers["content-type"] == "text/csv; header=present; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="{sent["id"]}.csv"'
    rows = list(csv.DictReader(io.StringIO(response.text)))
    shown = await client.data("GET", path)
    assert [row["id"] for row in rows] == [row["id"] for row in shown]
    assert "'+tag@example.com" in [row["address"] for row in rows]
    raw = (await client.request("GET", f"{path}.csv", params={"raw": "true"})).text
    assert [row["address"] for row in csv.DictReader(io.StringIO(raw))] == [row["address"] for row in shown]
    only = (await client.request("GET", f"{path}.csv", params={"feedback": "bounced"})).text
    assert [row["address"] for row in csv.DictReader(io.StringIO(only))] == ["bounce@sandbox.test"]


async def test_the_csv_is_read_in_pages(client: Client, sent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/campaigns/{sent['id']}/recipients.csv"
    whole = (await client.request("GET", path)).text
    monkeypatch.setattr(export, "ROWS_PER_READ", 1)
    assert (await client.request("GET", path)).text == whole
    assert whole.count("\r\n") == 4


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_no_cell_begins_a_formula_and_raw_cells_come_back(cells: list[str]) -> None:
    safe = sheets.encoded([cells], is_raw=False).decode()
    [row] = list(csv.reader(io.StringIO(safe, newline=""))) if cells else [[]]
    assert not [cell for cell in row if cell.startswith(sheets.FORMULA)]
    raw = sheets.encoded([cells], is_raw=True).decode()
    if cells:
        assert list(csv.reader(io.StringIO(raw, newline=""))) == [cells]


@pytest.mark.parametrize("start", sheets.FORMULA)
def test_each_beginning_of_a_formula_is_defused(start: str) -> None:
    assert sheets.harmless(start + HOSTILE) == "'" + start + HOSTILE
    assert sheets.harmless("a" + start) == "a" + start


@pytest.mark.parametrize("suffix", ["recipients", "recipients.csv"])
async def test_addresses_are_shown_only_to_a_key_that_may_read_them(
    client: Client,
    project: Project,
    sent: Any,
    suffix: str,
    make_client: MakeClient,
    make_project: MakeProject,
) -> None:
    path = f"/campaigns/{sent['id']}/{suffix}"
    blind = await make_client(project, scopes=("campaigns:read",))
    elsewhere = await make_client(project, list_ids=(ids.private("lst", await make_list(client)),))
    for key in (blind, elsewhere):
        await key.expect_error("GET", path, 403, "forbidden")
    stranger = await make_client(await make_project())
    await stranger.expect_error("GET", path, 404, "not_found")
    own = await make_client(project, list_ids=(ids.private("lst", sent["list_id"]),))
    assert (await own.request("GET", path)).status_code == 200


async def test_who_was_erased_has_no_address_any_more(client: Client, sent: Any, runtime: Runtime) -> None:
    [ada] = await client.data("GET", "/subscribers", params={"search": "ada"})
    await client.data("POST", f"/subscribers/{ada['id']}/erase", 200)
    await run_due(runtime)
    rows = await client.data("GET", f"/campaigns/{sent['id']}/recipients")
    assert sorted(str(row["address"]) for row in rows) == ["+tag@example.com", "None", "bounce@sandbox.test"]
