"""The listeners of mail as part of a process."""

import json
import signal
import smtplib
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from newsletter.cli import main
from newsletter.runtime import Runtime
from newsletter.serving import CannotStart, mail_intake
from newsletter.settings import SMTPDSettings, SubmissionSettings
from tests.cli.processes import started
from tests.conftest import SIZE


def test_the_process_of_each_size_that_should_listen_does(tmp_path: Path, variables: dict[str, str]) -> None:
    env = variables | {
        "NEWSLETTER_SMTPD_LISTEN": "lmtp://127.0.0.1:0",
        "NEWSLETTER_RETURN_PATH_DOMAIN": "bounces.example.com",
        "NEWSLETTER_SUBMISSION_LISTEN": "smtp://127.0.0.1:0",
    }
    command = ("smtpd",) if SIZE == "distributed" else ("serve", "--port", "0")
    with started(tmp_path, *command, env=env) as process:
        told = json.loads(process.wait_for('"event": "takes returned mail"'))
        with smtplib.LMTP("127.0.0.1", told["port"], local_hostname="mx.example.net", timeout=20) as client:
            client.ehlo_or_helo_if_needed()
            assert client.mail("<>")[0] == 250
            assert client.rcpt("<postmaster@bounces.example.com>")[0] == 550
        told = json.loads(process.wait_for('"event": "takes mail to send"'))
        with smtplib.SMTP("127.0.0.1", told["port"], local_hostname="app.example.net", timeout=20) as sender:
            with pytest.raises(smtplib.SMTPAuthenticationError):
                sender.login("prj_x", "nl_live_x")
            assert sender.mail("news@example.com")[0] == 530
        assert process.end(signal.SIGTERM, 10) == 0
        assert "Traceback" not in process.output


async def test_a_certificate_that_cannot_be_read_is_named(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    for name in ("cert.pem", "missing.pem"):
        own = SubmissionSettings(listen="smtp://127.0.0.1:0", tls_certificate=tmp_path / name)
        settings = runtime.settings.model_copy(update={"submission": own})
        with pytest.raises(CannotStart, match="NEWSLETTER_SUBMISSION_TLS_CERTIFICATE"):
            async with mail_intake(Runtime(settings, runtime.bell)):
                raise AssertionError("it listens")


@pytest.mark.parametrize(
    "listen", ["smtp://0.0.0.0:587", "smtps://127.0.0.1:465", "lmtp://127.0.0.1:1", "587"]
)
def test_a_place_where_nobody_could_sign_in_is_refused(listen: str) -> None:
    with pytest.raises(ValidationError, match=r"TLS_CERTIFICATE is missing|must look like smtp://"):
        SubmissionSettings(listen=listen)


def test_the_command_says_what_it_needs(variables: dict[str, str]) -> None:
    told = CliRunner(env=variables).invoke(main, ["smtpd"])
    assert (told.exit_code, "NEWSLETTER_SMTPD_LISTEN" in told.output) == (1, True)
    with pytest.raises(ValidationError, match="must look like lmtp://"):
        SMTPDSettings(listen="127.0.0.1:25")
