"""How sending servers are written down, and what of it is secret."""

import pytest
from pydantic import ValidationError

from newsletter.providers.http import HTTPProvider
from newsletter.providers.registry import CONFIGS, SandboxConfig, ServerType, SMTPConfig, make
from newsletter.providers.smtp import SMTPProvider
from newsletter.settings import Settings

SETTINGS = Settings(secret_key="k" * 32)
SENDING = [kind for kind in ServerType if kind is not ServerType.sandbox]
SECRET = {
    ServerType.smtp: {"password", "webhook_secret"},
    ServerType.ses: {"secret_access_key", "session_token"},
    ServerType.mailgun: {"api_key", "webhook_signing_key"},
    ServerType.sendgrid: {"api_key"},
    ServerType.resend: {"api_key", "webhook_secret"},
    ServerType.postmark: {"server_token", "webhook_password"},
    ServerType.sandbox: set(),
}


@pytest.mark.parametrize("kind", ServerType)
def test_the_example_of_each_type_is_valid_and_survives_being_stored_in_two_parts(kind: ServerType) -> None:
    config = CONFIGS[kind].model_validate(CONFIGS[kind].example)
    assert CONFIGS[kind].secret_names() == SECRET[kind]
    open_part, secret_part = config.open_part(), config.secret_part()
    assert not set(open_part) & SECRET[kind]
    assert set(secret_part) <= SECRET[kind]
    assert CONFIGS[kind].model_validate({**open_part, **secret_part}) == config


@pytest.mark.parametrize("kind", SENDING)
async def test_each_type_makes_a_provider_that_connects_to_nothing_yet(kind: ServerType) -> None:
    provider = make(CONFIGS[kind].model_validate(CONFIGS[kind].example), SETTINGS)
    assert isinstance(provider, SMTPProvider if kind is ServerType.smtp else HTTPProvider)
    assert provider.name == kind
    await provider.aclose()


def test_the_sandbox_is_made_where_the_database_is() -> None:
    with pytest.raises(TypeError):
        make(SandboxConfig(), SETTINGS)


@pytest.mark.parametrize("kind", SENDING)
def test_no_secret_shows_in_the_words_for_a_configuration(kind: ServerType) -> None:
    config = CONFIGS[kind].model_validate(CONFIGS[kind].example)
    for secret in config.secret_part().values():
        assert secret not in repr(config)
        assert secret not in config.model_dump_json()


@pytest.mark.parametrize("kind", SENDING)
def test_unknown_fields_are_named_and_no_value_is_repeated(kind: ServerType) -> None:
    with pytest.raises(ValidationError) as caught:
        CONFIGS[kind].model_validate({**CONFIGS[kind].example, "colour": "hidden-value"})
    assert [problem["loc"] for problem in caught.value.errors()] == [("colour",)]
    assert "hidden-value" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "a\r\nX-Evil: 1", "ключ", " padded ", "a\x00b"])
def test_a_secret_cannot_end_the_header_it_travels_in(secret: str) -> None:
    for kind, name in ((ServerType.mailgun, "api_key"), (ServerType.resend, "api_key")):
        with pytest.raises(ValidationError) as caught:
            CONFIGS[kind].model_validate({**CONFIGS[kind].example, name: secret})
        assert [problem["loc"] for problem in caught.value.errors()] == [(name,)]


@pytest.mark.parametrize("domain", ["", "../v3/other", "example.com/x", "exa mple.com", "a?b", "-a-"])
def test_a_domain_stays_inside_its_part_of_the_path(domain: str) -> None:
    with pytest.raises(ValidationError):
        CONFIGS[ServerType.mailgun].model_validate({**CONFIGS[ServerType.mailgun].example, "domain": domain})


@pytest.mark.parametrize("region", ["", "evil.example.com/", "eu-west-1.evil", "EU-WEST-1"])
def test_a_region_cannot_name_another_host(region: str) -> None:
    with pytest.raises(ValidationError):
        CONFIGS[ServerType.ses].model_validate({**CONFIGS[ServerType.ses].example, "region": region})


def test_a_mail_server_has_a_username_and_password_or_neither() -> None:
    assert SMTPConfig.model_validate({"host": "mail.example.com"}).port == 587
    for half in ({"username": "u"}, {"password": "p"}):
        with pytest.raises(ValidationError):
            SMTPConfig.model_validate({"host": "mail.example.com", **half})


async def test_an_operator_may_name_a_stand_in_for_a_provider() -> None:
    settings = SETTINGS.model_copy(
        update={"providers": SETTINGS.providers.model_validate({"endpoints": {"ses": "http://127.0.0.1:9/"}})}
    )
    provider = make(CONFIGS[ServerType.ses].model_validate(CONFIGS[ServerType.ses].example), settings)
    assert isinstance(provider, HTTPProvider)
    assert provider.base_url == "http://127.0.0.1:9"
    await provider.aclose()
