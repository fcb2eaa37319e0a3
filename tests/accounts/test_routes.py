"""Project settings, account and usage over HTTP."""

from tests.client import Client


async def test_project_settings_start_with_the_account_and_can_be_changed(client: Client) -> None:
    before = await client.data("GET", "/project")
    assert before["from_email"] == "news@acme.example.com"
    assert before["id"].startswith("prj_")
    after = await client.data(
        "PATCH", "/project", json={"from_name": "Acme News", "time_zone": "Europe/Berlin"}
    )
    assert (after["from_name"], after["time_zone"]) == ("Acme News", "Europe/Berlin")
    assert after["postal_address"] == before["postal_address"]


async def test_every_bad_field_is_named_at_once(client: Client) -> None:
    error = await client.expect_error(
        "PATCH",
        "/project",
        422,
        "validation_failed",
        json={"time_zone": "Mars/Base", "from_email": "nope", "colour": 1, "branding": {"logo_url": "x"}},
    )
    assert set(error["errors"]) == {"time_zone", "from_email", "colour", "branding.logo_url"}


async def test_an_address_that_no_mail_could_show_is_refused(client: Client) -> None:
    for sign in ("\ufffe", "\uffff"):
        url = f"https://acme.example.com/{sign}.png"
        changes = {"website_url": url, "branding": {"logo_url": url, "social_links": {"x": url}}}
        error = await client.expect_error("PATCH", "/project", 422, "validation_failed", json=changes)
        assert set(error["errors"]) == {"website_url", "branding.logo_url", "branding.social_links.x"}


async def test_a_call_without_a_key_is_refused(client: Client) -> None:
    await client.expect_error(
        "GET", "/project", 401, "unauthenticated", headers={"Authorization": "Bearer nl_test_x"}
    )


async def test_usage_starts_at_zero(client: Client) -> None:
    usage = await client.data("GET", "/account/usage")
    assert usage["plan"] == "enterprise"
    assert usage["generations"] | {"period": None} == {
        "used": 0,
        "reserved": 0,
        "limit": 5000,
        "period": None,
    }
