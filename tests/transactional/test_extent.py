"""How much HTML single mails may hold: what costs a processor, not what costs a wire."""

import pytest

from newsletter.settings import LimitSettings, Settings
from tests.client import Client

GOOD = {"to": "alice@example.com", "subject": "Hi"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    limits = LimitSettings(html_elements=200, bulk_elements=450)
    return settings.model_copy(update={"limits": limits})


def html(elements: int, text: str = "x") -> str:
    return f"<p>{text}</p>" * elements


async def test_a_mail_may_have_so_many_elements_and_no_more(client: Client) -> None:
    await client.data("POST", "/send", 202, json=GOOD | {"html": html(200)})
    error = await client.expect_error(
        "POST", "/send", 422, "validation_failed", json=GOOD | {"html": html(201)}
    )
    assert error["errors"] == {"html": ["must have at most 200 HTML elements"]}


async def test_every_limit_that_a_text_is_beyond_is_named(client: Client) -> None:
    body = GOOD | {"html": html(201, "x" * 3_000)}
    error = await client.expect_error("POST", "/send", 422, "validation_failed", json=body)
    assert error["errors"] == {
        "html": ["must have at most 500,000 bytes", "must have at most 200 HTML elements"]
    }


async def test_the_different_texts_of_a_bulk_have_a_limit_together(client: Client) -> None:
    items = [GOOD | {"html": html(200, text)} for text in ("a", "b", "a", "c", "b")]
    bulk = await client.data("POST", "/send/bulk", 202, json={"messages": items})
    failed = {each["index"]: each["error"]["errors"] for each in bulk["results"] if each.get("error")}
    assert failed.keys() == {3}, "equal texts are read once"
    assert failed[3]["html"][0].startswith("a call may hold at most 450 HTML elements")
