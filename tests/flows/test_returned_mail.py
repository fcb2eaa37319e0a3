"""A mail goes out, another server cannot deliver it, and its report comes back to the listener."""

import asyncio
import smtplib
from email.utils import parseaddr

import pytest
from pydantic import SecretStr

from newsletter.runtime import Runtime
from newsletter.serving import listen
from newsletter.settings import ReturnPathSettings, Settings, SMTPDSettings, SMTPSettings
from newsletter.smtpd.listener import MailListener
from newsletter.smtpd.mailroom import Mailroom
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.feedback.reports.samples import mail
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list
from tests.smtp_sink import Received, Sink, smtp_sink

__all__ = ["smtp_sink"]


@pytest.fixture
async def live_client(make_client: MakeClient, make_project: MakeProject) -> Client:
    project = await make_project(is_test=False)
    client = await make_client(project)
    await client.data("PATCH", "/project", json={"postal_address": "1 Main Street"})
    return client


@pytest.fixture
def settings(settings: Settings, smtp_sink: Sink) -> Settings:
    return settings.model_copy(
        update={
            "smtp": SMTPSettings(url=SecretStr(smtp_sink.url)),
            "return_path": ReturnPathSettings(domain="Bounces.Example.com"),
            "smtpd": SMTPDSettings(listen="lmtp://127.0.0.1:1"),
        }
    )


def returned(received: Received) -> bytes:
    """A report that quotes the whole mail, as another server writes it."""
    head = """
From: Mail Delivery System <MAILER-DAEMON@mx.example.net>
To: sender
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="b"
"""
    status = (
        "Reporting-MTA: dns; mx.example.net\n\n"
        f"Final-Recipient: rfc822; {received.recipient}\nAction: failed\nStatus: 5.1.1\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\n"
    )
    parts = (
        ("text/plain", "It could not be delivered.\n"),
        ("message/delivery-status", status),
        ("message/rfc822", received.raw.decode().replace("\r\n", "\n")),
    )
    body = "".join(f"--b\nContent-Type: {kind}\n\n{text}\n" for kind, text in parts)
    return mail(head, f"{body}--b--\n")


async def test_a_hard_bounce_comes_back_by_lmtp_and_suppresses_its_reader(
    live_client: Client, runtime: Runtime, smtp_sink: Sink
) -> None:
    list_id = await subscribed_list(live_client, "Ada", "Grace")
    await send_campaign(live_client, runtime, list_id)
    received = {each.recipient: each for each in smtp_sink.received}
    ada, grace = received["ada@example.com"], received["grace@example.com"]
    assert ada.sender != grace.sender
    for each in (ada, grace):
        local, _, domain = each.sender.partition("@")
        assert (domain, len(local), local) == ("bounces.example.com", 60, local.lower())
        # What the reader sees is the sender, not the return path.
        assert parseaddr(str(each.parsed["From"]))[1] == "news@acme.example.com"
        name = str(each.parsed["Message-ID"]).partition("@")[0].removeprefix("<")
        assert f":{name}:" in str(each.parsed["Feedback-ID"])

    mailroom = Mailroom(runtime.db, runtime.return_paths, runtime.settings.return_path)
    with listen("127.0.0.1", 0) as socket:
        async with MailListener(socket, mailroom, runtime.settings.smtpd):
            port = socket.getsockname()[1]

            def deliver() -> None:
                with smtplib.LMTP("127.0.0.1", port, local_hostname="mx.example.net") as client:
                    client.sendmail("", [ada.sender], returned(ada))

            await asyncio.to_thread(deliver)
    assert "feedback.read_mail" in await run_due(runtime)
    people = await live_client.data("GET", "/subscribers", params={"list_id": list_id})
    assert {each["email"]: each["status"] for each in people} == {
        "ada@example.com": "bounced",
        "grace@example.com": "active",
    }
    await send_campaign(live_client, runtime, list_id)
    assert [each.recipient for each in smtp_sink.received][2:] == ["grace@example.com"]


async def test_without_a_return_path_domain_the_sender_is_the_return_path(
    live_client: Client, runtime: Runtime, smtp_sink: Sink
) -> None:
    runtime.__dict__["return_paths"] = type(runtime.return_paths)(runtime.signer, None)
    await send_campaign(live_client, runtime, await subscribed_list(live_client, "Ada"))
    (received,) = smtp_sink.received
    assert received.sender == "news@acme.example.com"
    response = await live_client.post(
        "/inbound/mail", content=returned(received), headers={"Content-Type": "message/rfc822"}
    )
    assert response.json() == {"data": {"status": "accepted"}}
    await run_due(runtime)
    (ada,) = await live_client.data("GET", "/subscribers")
    assert ada["status"] == "bounced"
