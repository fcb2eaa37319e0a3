"""What the doctor says of mail that comes back, by a name server of our own."""

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from newsletter.doctor import returning
from newsletter.doctor.examine import examine
from newsletter.doctor.finding import Finding, Level
from newsletter.domains.resolver import Resolver
from newsletter.settings import IMAPSettings, ReturnPathSettings, Settings, SMTPDSettings
from tests.dns_server import NameServer

NAME = "bounces.example.com"


def test_who_reads_returned_mail_is_said_and_no_password_with_it(settings: Settings) -> None:
    def told(**fields: BaseSettings) -> Finding:
        return returning.returned_mail(settings.model_copy(update=fields))

    domain = ReturnPathSettings(domain=NAME)
    listener = SMTPDSettings(listen="lmtp://127.0.0.1:2424")
    mailbox = IMAPSettings(url=SecretStr("imaps://news:hush-hush@mail.example.com/INBOX"))
    assert told().level is Level.off
    assert told(smtpd=listener).level is Level.warning
    both = told(return_path=domain, smtpd=listener, imap=mailbox)
    assert both.level is Level.ok
    assert both.text == (
        "to bounces.example.com, taken in at lmtp://127.0.0.1:2424, "
        "from the mailbox news@mail.example.com:993/INBOX"
    )
    assert told(return_path=domain).text.endswith("by the API alone")


@pytest.fixture
def installed(settings: Settings, name_server: NameServer) -> Settings:
    """With a return path, and a listener as its MX."""
    return settings.model_copy(
        update={
            "dns": name_server.settings,
            "return_path": ReturnPathSettings(domain=NAME),
            "smtpd": SMTPDSettings(listen="smtp://0.0.0.0:2525"),
        }
    )


async def led(installed: Settings) -> Finding:
    [finding] = await returning.return_path(Resolver(installed.dns), installed)
    return finding


async def test_the_way_of_returned_mail_is_named_with_each_address(
    installed: Settings, name_server: NameServer
) -> None:
    name_server.zone[NAME, "MX"] = [["20 spare.example.com."], ["10 MX.example.com."]]
    name_server.zone["mx.example.com", "A"] = [["192.0.2.10"]]
    name_server.zone["mx.example.com", "AAAA"] = [["2001:db8::10"]]
    name_server.zone["spare.example.com", "A"] = [["192.0.2.20"]]
    [finding] = [found for found in await examine(installed) if found.name == "return path"]
    assert (finding.level, finding.mend) == (Level.ok, "")
    assert finding.text == (
        "mail to bounces.example.com goes to "
        "mx.example.com (192.0.2.10, 2001:db8::10), spare.example.com (192.0.2.20)"
    )


async def test_a_domain_without_an_mx_is_broken_and_the_record_to_publish_is_named(
    installed: Settings,
) -> None:
    finding = await led(installed)
    assert finding.level is Level.broken
    assert finding.text.startswith("bounces.example.com has no MX")
    assert finding.mend.startswith("Publish 'bounces.example.com. MX 10 …'")
    assert "smtp://0.0.0.0:2525" in finding.mend


async def test_the_domains_own_address_stands_in_for_an_mx_but_is_warned_of(
    installed: Settings, name_server: NameServer
) -> None:
    name_server.zone[NAME, "A"] = [["192.0.2.10"]]
    finding = await led(installed)
    assert finding.level is Level.warning
    assert "its own address, 192.0.2.10," in finding.text
    assert "Publish" in finding.mend


async def test_a_domain_that_takes_no_mail_is_broken(installed: Settings, name_server: NameServer) -> None:
    name_server.zone[NAME, "MX"] = [["0 ."]]
    finding = await led(installed)
    assert finding.level is Level.broken
    assert "null MX" in finding.text


@pytest.mark.parametrize("address", [None, "127.0.0.1", "0.0.0.0", "169.254.1.1", "::1", "::ffff:127.0.0.1"])
async def test_an_mx_that_leads_nowhere_is_broken(
    installed: Settings, name_server: NameServer, address: str | None
) -> None:
    name_server.zone[NAME, "MX"] = [["10 mx.example.com."]]
    if address:
        name_server.zone["mx.example.com", "AAAA" if ":" in address else "A"] = [[address]]
    finding = await led(installed)
    assert finding.level is Level.broken
    assert f"mx.example.com ({address or 'no address'}), where no other server reaches it" in finding.text


async def test_of_several_hosts_those_without_an_address_are_warned_of(
    installed: Settings, name_server: NameServer
) -> None:
    name_server.zone[NAME, "MX"] = [["10 gone.example.com."], ["20 mx.example.com."]]
    name_server.zone["mx.example.com", "AAAA"] = [["2001:db8::10"]]
    finding = await led(installed)
    assert finding.level is Level.warning
    assert "gone.example.com (no address)" in finding.text
    assert finding.mend.startswith("Give gone.example.com a public address")


async def test_a_dns_that_fails_or_is_silent_is_not_taken_for_a_missing_record(
    installed: Settings, name_server: NameServer
) -> None:
    name_server.broken.add(NAME)
    failed = await led(installed)
    assert failed.level is Level.warning
    assert "could not be looked up: its name servers" in failed.text
    name_server.broken.clear()
    name_server.silent.add(NAME)
    hasty = name_server.settings.model_copy(update={"timeout": 0.1, "lifetime": 0.2})
    silent = await led(installed.model_copy(update={"dns": hasty}))
    assert silent.level is Level.warning
    assert "no answer in time" in silent.text


async def test_a_zone_of_many_mail_servers_is_read_to_a_limit(
    installed: Settings, name_server: NameServer
) -> None:
    name_server.zone[NAME, "MX"] = [[f"{number} mx{number}.example.com."] for number in range(50)]
    await led(installed)
    asked = {name for _, name, kind in name_server.asked if kind == "A"}
    assert asked == {f"mx{number}.example.com" for number in range(returning.HOSTS)}


async def test_without_a_return_path_nothing_is_asked(installed: Settings, name_server: NameServer) -> None:
    without = installed.model_copy(update={"return_path": ReturnPathSettings()})
    assert await returning.return_path(Resolver(installed.dns), without) == []
    assert name_server.asked == []
