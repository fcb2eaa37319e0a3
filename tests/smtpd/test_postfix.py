"""A real Postfix in front of the listener, with the lines of docs/inbound.md as they stand there."""

import asyncio
import os
import re
import shutil
import smtplib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from newsletter.feedback.models import ReturnedMail
from newsletter.runtime import Runtime
from newsletter.serving import listen
from newsletter.settings import ReturnPathSettings, Settings, SMTPDSettings
from newsletter.smtpd.listener import MailListener
from newsletter.smtpd.mailroom import Mailroom
from tests.client import Client
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list

POSTFIX = shutil.which("postfix", path="/usr/sbin:/usr/local/sbin")
DOMAIN = "bounces.example.com"
DOCS = Path(__file__).parents[2] / "docs" / "inbound.md"
SECONDS = 120
"""What a busy machine gets for a mail on its way; it takes a moment."""

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mx.example.net
# Taken without a look, so that it is Postfix itself which returns the mail.
mydestination = example.org
local_recipient_maps =
alias_maps =
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
local unix - n n - - local
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def documented(folder: Path, port: int) -> dict[str, str]:
    """The files of docs/inbound.md by their names, moved to ``folder``, with the listener's port."""
    (block,) = re.findall(r"### Behind Postfix\n.*?\n\n((?:    .*\n|\n)+)", DOCS.read_text(), re.DOTALL)
    parts = re.split(r"^    # /etc/postfix/([\w.]+).*\n", block, flags=re.MULTILINE)[1:]
    return {
        name: re.sub("^    ", "", text, flags=re.MULTILINE)
        .replace("/etc/postfix", str(folder))
        .replace(":2424", f":{port}")
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def postfix(listener: int) -> Iterator[int]:
    """The port of an instance of its own, which touches nothing of the machine's."""
    if POSTFIX is None or os.geteuid() != 0:
        pytest.skip("needs Postfix, and root to start one (Debian: apt-get install postfix)")
    # Not pytest's own folder: Postfix drops root's rights and must still get in.
    folder, port = Path(tempfile.mkdtemp(prefix="postfix-", dir="/tmp")).resolve(), free_port()
    folder.chmod(0o755)
    (folder / "queue").mkdir()
    (folder / "data").mkdir()
    shutil.chown(folder / "data", "postfix")
    files = documented(folder, listener)
    files["main.cf"] += _MAIN.format(folder=folder)
    files["master.cf"] = _MASTER.format(port=port)
    for name, text in files.items():
        (folder / name).write_text(text)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": str(folder)}

    def run(*command: str) -> None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, f"{done.stderr} {done.stdout}"

    try:
        run("/usr/sbin/postmap", str(folder / "transport"))
        run(POSTFIX, "-c", str(folder), "start")
        try:
            yield port
        finally:
            run(POSTFIX, "-c", str(folder), "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"return_path": ReturnPathSettings(domain=DOMAIN)})


def hand_over(port: int, sender: str, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="app.example.com", timeout=SECONDS) as client:
        client.sendmail(sender, [recipient], b"From: news@example.com\r\nSubject: Hello\r\n\r\nHello\r\n")


async def test_a_mail_that_postfix_returns_suppresses_its_reader(client: Client, runtime: Runtime) -> None:
    list_id = await subscribed_list(client, "Ada")
    await send_campaign(client, runtime, list_id)
    [sent] = await client.data("GET", "/sandbox/messages")
    path = runtime.return_paths.of("news@acme.example.com")(sent["message_id"]).return_path
    mailroom = Mailroom(runtime.db, runtime.return_paths, runtime.settings.return_path)
    lmtp = SMTPDSettings(listen="lmtp://127.0.0.1:1")

    async def arrived() -> None:
        while True:
            async with runtime.db.read() as session:
                if (await session.execute(select(ReturnedMail.id))).first() is not None:
                    return
            await asyncio.sleep(0.2)

    with listen("127.0.0.1", 0) as taking, postfix(int(taking.getsockname()[1])) as port:
        async with MailListener(taking, mailroom, lmtp), asyncio.timeout(SECONDS):
            # What is no address of ours is refused by Postfix itself, and never asks us.
            with pytest.raises(smtplib.SMTPRecipientsRefused, match="User unknown in relay recipient table"):
                await asyncio.to_thread(hand_over, port, "", f"guessed@{DOMAIN}")
            await asyncio.to_thread(hand_over, port, path, "nobody-of-this-name@example.org")
            await arrived()
    await run_due(runtime)
    [ada] = await client.data("GET", "/subscribers")
    assert ada["status"] == "bounced"
    [held] = await client.data("GET", "/suppressions", params={"email": "ada@example.com"})
    assert (held["reason"], held["source"]) == ("hard_bounce", "returned mail")
    [told] = [
        event["data"]["bounce"]
        for event in (await client.data("GET", f"/messages/{sent['message_id']}"))["events"]
        if event["type"] == "message.bounced"
    ]
    assert (told["kind"], told["enhanced_status"]) == ("hard", "5.1.1")
    assert "nobody-of-this-name" in told["reason"]
