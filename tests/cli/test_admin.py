"""``accounts`` and ``keys``, on the database of the suite's size."""

import pytest

from tests.cli.operator import Operator


def open_account(operator: Operator, *options: str) -> dict[str, str]:
    made: dict[str, str] = operator.gets(
        "accounts", "create", "--name", "Acme", "--email", "News@Example.com", *options
    )
    return made


def test_an_account_comes_with_a_project_and_a_key(operator: Operator) -> None:
    made = open_account(operator, "--postal-address", "1 Main Street", "--plan", "starter")
    assert [value[:8] for value in made.values()][2] == "nl_live_"
    shown = operator.types("accounts", "create", "--name", "Two", "--email", "two@example.com").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["account_id", "project_id", "api_key"]


def test_a_test_account_has_a_test_key(operator: Operator) -> None:
    assert open_account(operator, "--test")["api_key"].startswith("nl_test_")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--email", "news@"), "is not a valid e-mail address"),
        (("--email", "a@example.com", "--name", ""), "--name: must have at least 1 character"),
        (("--email", "a@example.com", "--name", "A\r\nBcc: b@example.com"), "--name: must be one line"),
        (("--email", "a@example.com", "--postal-address", "1 Way\nOslo"), "--postal-address: must be one"),
        (("--email", "a@example.com", "--plan", "gold"), "must be one of: free, starter, professional"),
    ],
)
def test_a_wrong_option_gets_a_sentence(operator: Operator, options: tuple[str, ...], complaint: str) -> None:
    run = operator.types("accounts", "create", "--name", "Acme", *options)
    assert run.exit_code != 0
    assert complaint in " ".join(run.output.split())


def test_an_account_moves_to_another_plan(operator: Operator) -> None:
    account = open_account(operator)["account_id"]
    assert operator.types("accounts", "plan", account, "enterprise").exit_code == 0
    assert "must be one of" in operator.types("accounts", "plan", account, "gold").output
    assert "There is no such account." in operator.types("accounts", "plan", "acc_" + "0" * 26, "free").output
    assert operator.types("accounts", "plan", "prj_123", "free").exit_code == 2


def test_keys_are_listed_by_prefix_and_end_when_revoked(operator: Operator) -> None:
    project = open_account(operator)["project_id"]
    made = operator.gets("keys", "create", "--project", project, "--name", "worker", "--scope", "lists:read")

    run = operator.types("keys", "list", "--project", project)
    assert made["api_key"] not in run.output
    rows = operator.gets("keys", "list", "--project", project)
    assert [(row["name"], row["scopes"], row["status"]) for row in rows] == [
        ("first key", "*", "active"),
        ("worker", "lists:read", "active"),
    ]
    assert made["api_key"].startswith(rows[1]["prefix"])

    assert operator.types("keys", "revoke", made["key_id"]).exit_code == 0
    assert operator.gets("keys", "list", "--project", project)[1]["status"] == "revoked"
    again = operator.types("keys", "revoke", made["key_id"])
    assert again.exit_code == 1
    assert again.output == f"Error: There is no active key {made['key_id']}.\n"


def test_a_key_with_an_unknown_scope_is_not_made(operator: Operator) -> None:
    project = open_account(operator)["project_id"]
    run = operator.types("keys", "create", "--project", project, "--name", "x", "--scope", "everything")
    assert run.exit_code == 1
    assert "unknown: everything. Known scopes: *, account:read" in run.output


def test_a_key_of_an_unknown_project_is_not_made(operator: Operator) -> None:
    run = operator.types("keys", "create", "--project", "prj_" + "0" * 26, "--name", "x")
    assert run.exit_code == 1
    assert "There is no project prj_" in run.output


def test_upgrading_twice_changes_nothing(operator: Operator) -> None:
    first, second = operator.types("db", "upgrade"), operator.types("db", "upgrade")
    assert first.output == second.output
    assert first.output.startswith("The database is at revision ")


def test_a_database_that_is_away_gets_a_sentence(operator: Operator) -> None:
    away = Operator({"NEWSLETTER_DATABASE_URL": "postgresql://nobody:hush@127.0.0.1:1/x"})
    run = away.types("db", "upgrade")
    assert run.exit_code == 1
    assert "newsletter doctor" in run.output
    assert "hush" not in run.output
    assert "Traceback" not in run.output
