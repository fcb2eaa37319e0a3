"""``newsletter demo`` as a newcomer runs it. It is embedded whatever the suite's size is."""

import re
import shlex
import signal
import socket
from pathlib import Path

import httpx

from newsletter.demo import story
from tests.cli.processes import newsletter, started
from tests.fake_model import busy, fails, fake_model, well


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def flat(text: str) -> str:
    return " ".join(text.split())


def test_a_topic_becomes_a_campaign_and_the_writer_is_named(tmp_path: Path) -> None:
    run = newsletter(tmp_path, "demo", "--once", "--port", "0")
    output = flat(run.stdout)
    assert "Sending ━━━━━━━━━━━━━━━━━━━━ 25/25" in output
    assert "the sandbox writer, which is no language model" in output
    assert "Set OPENAI_API_KEY or OPENAI_BASE_URL" in output
    assert "Subject" in output
    assert "Hello Ingrid," in output
    assert "25 mails" in output
    assert "The service ends here." in output
    assert run.stderr == ""


def test_the_demo_leaves_the_real_installation_alone(tmp_path: Path) -> None:
    newsletter(tmp_path, "accounts", "create", "--name", "A", "--email", "a@example.com")
    before = {path: path.read_bytes() for path in (tmp_path / "data").iterdir() if path.is_file()}

    newsletter(
        tmp_path,
        *("demo", "--once", "--port", "0"),
        env={
            "NEWSLETTER_DATABASE_URL": "postgresql://127.0.0.1:1/production",
            "NEWSLETTER_REDIS_URL": "redis://127.0.0.1:1",
            "NEWSLETTER_SECRET_KEY": "the-key-of-the-real-installation-0123456789",
            "NEWSLETTER_PUBLIC_URL": "https://news.example.com",
            "NEWSLETTER_SMTP_URL": "smtp://127.0.0.1:1",
        },
    )

    after = {path: path.read_bytes() for path in (tmp_path / "data").iterdir() if path.is_file()}
    assert after == before
    assert {path.name for path in (tmp_path / "data").iterdir()} - {path.name for path in before} == {"demo"}


def test_the_service_stays_up_the_printed_calls_work_and_a_signal_ends_it_well(tmp_path: Path) -> None:
    with started(tmp_path, "demo", "--port", free_port()) as demo:
        demo.wait_for("The service stays up")
        commands = re.findall(r"^curl .*?(?=\n\n)", demo.output, re.MULTILINE | re.DOTALL)
        answers = [curl(command) for command in commands]
        assert [answer.status_code for answer in answers] == [201, 201, 200]
        assert answers[1].json()["data"]["recipient_count"] == 26
        assert answers[2].json()["data"]["emails_sent"] == 25
        assert all(len(line) <= 80 for command in commands for line in command.splitlines())

        inbox = httpx.get(re.findall(r"http://\S+/inbox/\S+", demo.output)[0])
        assert inbox.status_code == 200
        assert "ingrid.solberg@example.com" in inbox.text
        assert demo.end(signal.SIGINT, 10) == 0
        assert "Traceback" not in demo.output


def curl(command: str) -> httpx.Response:
    """What curl does with these words."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "curl"
    headers = {}
    body = None
    for option, value in zip(words[2::2], words[3::2], strict=True):
        if option == "-H":
            name, _, text = value.partition(": ")
            headers[name] = text
        else:
            assert option == "-d"
            body = value
    return httpx.request("GET" if body is None else "POST", words[1], headers=headers, content=body)


def test_a_second_run_works_too_and_a_taken_port_is_said_and_another_one_chosen(tmp_path: Path) -> None:
    newsletter(tmp_path, "demo", "--once", "--port", "0")
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = str(squatter.getsockname()[1])
        run = newsletter(tmp_path, "demo", "--once", "--port", port)
    assert "25/25" in run.stdout
    assert f"Cannot listen on 127.0.0.1, port {port}: Address already in use. Taking " in flat(run.stdout)
    assert f"127.0.0.1:{port}/" not in run.stdout


def test_a_model_that_is_configured_writes_and_is_named(tmp_path: Path) -> None:
    with fake_model(well(subject="Apricots in winter")) as model:
        run = newsletter(
            tmp_path,
            *("demo", "--once", "--port", "0"),
            env={"OPENAI_BASE_URL": model.base_url, "NEWSLETTER_AI_MODEL": "storyteller-1"},
        )
    assert "Writing, by storyteller-1" in run.stdout
    assert "Apricots in winter" in run.stdout
    assert "Written by fake-1" in flat(run.stdout)
    assert "sandbox writer" not in run.stdout
    assert str(story.VOICE["about"]) in model.requests[0].prompt


def test_a_model_that_fails_ends_the_demo_with_a_line_and_a_status(tmp_path: Path) -> None:
    with fake_model(fails(401, "no such key"), busy()) as model:
        variables = {"OPENAI_BASE_URL": model.base_url}
        run = newsletter(tmp_path, "demo", "--once", "--port", "0", check=False, env=variables)
    assert run.returncode == 1
    error = run.stderr.strip().splitlines()[-1]
    assert error.startswith("Error: POST /campaigns answered 502 ai_failed: ")
    assert "Traceback" not in run.stderr


def test_a_demo_that_is_interrupted_before_the_send_does_not_claim_success(tmp_path: Path) -> None:
    with fake_model(fails(503), busy(30)) as model:
        variables = {"OPENAI_BASE_URL": model.base_url, "PYTHONUNBUFFERED": "1"}
        with started(tmp_path, "demo", "--once", "--port", "0", env=variables) as demo:
            demo.wait_for("newsletter demo")
            assert demo.end(signal.SIGTERM, 10) == 1
            assert "Error: Stopped before the campaign was sent." in demo.output


def test_every_address_of_the_demo_is_reserved_for_examples() -> None:
    emails = [str(person["email"]) for person in story.SUBSCRIBERS]
    assert len(set(emails)) == len(emails) == 25
    assert all(re.fullmatch(r"[a-z.]+@example\.(com|org)", email) for email in emails)
