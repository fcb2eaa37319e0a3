"""`X-Project-Id` beside a key: it may name the key's own project, and no other."""

from tests.client import Client
from tests.conftest import MakeClient, MakeProject


async def test_a_key_may_name_its_own_project(client: Client) -> None:
    own = (await client.data("GET", "/project"))["id"]
    for spelled in (own, f" {own}\t"):  # White space around a value is none of it (RFC 9110 §5.5).
        assert (await client.get("/lists", headers={"X-Project-Id": spelled})).status_code == 200


async def test_a_call_that_names_another_project_is_refused_whether_it_exists_or_not(
    client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    stranger = await make_client(await make_project())
    own, theirs = [(await each.data("GET", "/project"))["id"] for each in (client, stranger)]
    answers = []
    for named in (theirs, "prj_01k9x3v7m8e5tbn2c4r6p0qzaw", "", "prj_", own.upper(), "Acme"):
        headers = {"X-Project-Id": named, "X-Request-Id": "one-and-the-same"}
        answers.append(await client.post("/lists", json={"name": "News"}, headers=headers))
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["error"]["code"] == "forbidden"
    twice = [("X-Project-Id", own), ("X-Project-Id", theirs)]
    assert (await client.post("/lists", json={"name": "News"}, headers=twice)).status_code == 403
    for each in (client, stranger):
        assert await each.data("GET", "/lists") == []


async def test_without_a_key_nothing_is_said_of_projects(client: Client) -> None:
    headers = {"Authorization": "Bearer nl_test_x", "X-Project-Id": "prj_x"}
    await client.expect_error("GET", "/lists", 401, "unauthenticated", headers=headers)
