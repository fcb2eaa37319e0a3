"""From a registered domain to a mail on the wire that another implementation verifies."""

import re

import dkim

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.delivery.letters import Letters
from newsletter.delivery.links import MessageRef
from newsletter.delivery.models import Outcome
from newsletter.kit.address import domain_of
from newsletter.kit.crypto import Vault
from newsletter.runtime import Runtime
from tests.client import Client
from tests.delivery.conftest import Launch
from tests.jobs import make_due, run_due
from tests.smtp_sink import Received, Sink


async def register(client: Client, runtime: Runtime, live: Project, **body: str) -> dict[bytes, bytes]:
    """The project's domain, registered; its DNS as dkimpy asks for it."""
    async with runtime.db.read() as session:
        from_email = (await accounts.profile(session, live)).from_email
    body = {"domain": domain_of(str(from_email)), **body}
    made = await client.data("POST", "/sending-domains", 201, json=body)
    return {
        f"{each['name']}.".encode(): each["value"].encode()
        for each in made["records"]
        if each["purpose"] == "dkim"
    }


def verified(received: Received, dns: dict[bytes, bytes]) -> bool:
    return bool(dkim.verify(received.raw, dnsfunc=lambda name, timeout=5: dns.get(name)))


async def test_mail_from_a_registered_domain_is_signed(
    live: Project, live_client: Client, launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    dns = await register(live_client, runtime, live)
    await launch(12, html="<p>Hello {{ first_name }}</p><p>.</p>")
    await run_due(runtime)
    assert len(smtp_sink.received) == 12
    assert all(verified(received, dns) for received in smtp_sink.received)


async def test_a_domain_signs_for_itself_alone(
    live: Project, live_client: Client, launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    await register(live_client, runtime, live, domain="another.example.com")
    await launch(1)
    await run_due(runtime)
    assert b"DKIM-Signature" not in smtp_sink.received[0].raw


async def test_in_relay_mode_nothing_is_signed_here(
    live: Project, live_client: Client, launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    await register(live_client, runtime, live, mode="relay")
    await launch(1)
    await run_due(runtime)
    assert b"DKIM-Signature" not in smtp_sink.received[0].raw


async def test_mail_waits_for_the_secret_that_opens_its_key(
    live: Project, live_client: Client, launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    dns = await register(live_client, runtime, live)
    sent = await launch(2)
    right = runtime.letters
    vault = Vault(["another-secret-of-32-characters!"])
    runtime.__dict__["letters"] = Letters(
        runtime.db, vault, runtime.links, runtime.return_paths, runtime.signers
    )
    await run_due(runtime)
    assert smtp_sink.received == []
    assert set((await sent.outcomes()).values()) == {Outcome.pending}

    runtime.__dict__["letters"] = right
    await make_due(runtime)
    await run_due(runtime)
    assert [verified(received, dns) for received in smtp_sink.received] == [True, True]


async def test_a_campaign_keeps_the_tracking_that_it_started_with(
    live_client: Client, launch: Launch, runtime: Runtime, smtp_sink: Sink
) -> None:
    html = '<p>Hello {{ first_name }}, <a href="https://www.example.org/a">read</a></p>'
    await live_client.data("PATCH", "/project", json={"track_opens": True, "track_clicks": True})
    sent = await launch(2, html=html)
    await live_client.data("PATCH", "/project", json={"track_opens": False, "track_clicks": False})
    await run_due(runtime)
    mailing = await sent.mailing()
    for received in smtp_sink.received:
        body = received.parsed.get_body(("html",))
        assert body is not None
        page = body.get_content()
        (click,) = re.findall(r'href="http://news\.test/c/([^"/]+)/([^"/]+)"', page)
        (opened,) = re.findall(r'src="http://news\.test/o/([^"/]+)"', page)
        assert runtime.links.read_click(*click).url == "https://www.example.org/a"
        assert runtime.links.read_click(*click).packed == runtime.links.read_opened(opened)
        assert MessageRef.unpack(runtime.links.read_opened(opened)).mailing_id == mailing.id

    smtp_sink.clear()
    await launch(1, html=html)
    await run_due(runtime)
    assert b"/c/" not in smtp_sink.received[0].raw
    assert b"/o/" not in smtp_sink.received[0].raw
