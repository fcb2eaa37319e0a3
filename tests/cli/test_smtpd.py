"""The listener of returned mail as part of a process."""

import json
import signal
import smtplib
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from newsletter.cli import main
from newsletter.settings import SMTPDSettings
from tests.cli.processes import started
from tests.conftest import SIZE


def test_the_process_of_each_size_that_should_listen_does(tmp_path: Path, variables: dict[str, str]) -> None:
    env = variables | {
        "NEWSLETTER_SMTPD_LISTEN": "lmtp://127.0.0.1:0",
        "NEWSLETTER_RETURN_PATH_DOMAIN": "bounces.example.com",
    }
    command = ("smtpd",) if SIZE == "distributed" else ("serve", "--port", "0")
    with started(tmp_path, *command, env=env) as process:
        told = json.loads(process.wait_for('"event": "takes returned mail"'))
        with smtplib.LMTP("127.0.0.1", told["port"], local_hostname="mx.example.net", timeout=20) as client:
            client.ehlo_or_helo_if_needed()
            assert client.mail("<>")[0] == 250
            assert client.rcpt("<postmaster@bounces.example.com>")[0] == 550
        assert process.end(signal.SIGTERM, 10) == 0
        assert "Traceback" not in process.output


def test_the_command_says_what_it_needs(variables: dict[str, str]) -> None:
    told = CliRunner(env=variables).invoke(main, ["smtpd"])
    assert (told.exit_code, "NEWSLETTER_SMTPD_LISTEN" in told.output) == (1, True)
    with pytest.raises(ValidationError, match="must look like lmtp://"):
        SMTPDSettings(listen="127.0.0.1:25")
