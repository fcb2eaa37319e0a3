"""Project settings, account and usage as the API shows them."""

import re
from functools import cache
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

from newsletter.accounts.models import Resubscribe
from newsletter.kit.address import DomainName, SenderAddress
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Line, Schema, Switch, Time

AccountId = Annotated[UUID, IdField("acc")]
ProjectId = Annotated[UUID, IdField("prj")]
TemplateId = Annotated[UUID, IdField("tpl")]
AuditEntryId = Annotated[UUID, IdField("aud")]
KeyId = Annotated[UUID, IdField("key")]


def _web_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("must be a full https:// address") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("must be a full https:// address")
    if parts.username or parts.password or any(letter <= " " for letter in text):
        raise ValueError("must be a plain address without user name or spaces")
    if "\ufffe" in text or "\uffff" in text:
        raise ValueError("must not contain what is no character (U+FFFE, U+FFFF)")  # Nor may any XML.
    return text


@cache
def _time_zones() -> frozenset[str]:
    """The names of IANA, without those that mean another zone, or none, on each machine."""
    return frozenset(available_timezones()) - {"localtime", "Factory"}


def _time_zone(text: str) -> str:
    if text not in _time_zones():
        raise ValueError("must be the name of a time zone, such as Europe/Berlin")
    return text


def _locale(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", text):
        raise ValueError("must be a language tag, such as en or pt-BR (BCP 47)")
    return text


def _colour(text: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError("must be a colour such as #1a73e8")
    return text.lower()


def _without_tags(text: str) -> str:
    if "{{" in text or "{%" in text:
        raise ValueError("is not personalised; merge tags work in subject, preheader and body")
    return text


WebURL = Annotated[Line, Field(max_length=2000), AfterValidator(_web_url)]
TimeZone = Annotated[str, Field(max_length=64), AfterValidator(_time_zone)]
Locale = Annotated[str, Field(max_length=35), AfterValidator(_locale)]
Colour = Annotated[str, AfterValidator(_colour)]
Name = Annotated[Line, Field(min_length=1, max_length=200)]
ShownName = Annotated[Line, Field(max_length=200), AfterValidator(_without_tags)]
"""A name that readers see in their mail program."""


UTM_TOKENS = ("campaign_id", "campaign_name", "list_name")
"""What a UTM value may name, as in ``{{campaign_name}}``; empty in single mails."""
UTM_TOKEN = re.compile(r"\{\{\s*(" + "|".join(UTM_TOKENS) + r")\s*\}\}")


def _utm_value(text: str) -> str:
    if "{{" in (rest := UTM_TOKEN.sub("", text)) or "}}" in rest or "{%" in rest:
        raise ValueError(f"may only name {', '.join(f'{{{{{name}}}}}' for name in UTM_TOKENS)}")
    return text


UTMValue = Annotated[Line, Field(min_length=1, max_length=200), AfterValidator(_utm_value)]


class UTM(Body):
    """What is added to the links of a mail, for the statistics of the site that they lead to. A value may
    hold ``{{campaign_name}}``, ``{{campaign_id}}`` and ``{{list_name}}``."""

    source: Annotated[UTMValue, Field(examples=["newsletter"])] | None = None
    """``utm_source``."""
    medium: Annotated[UTMValue, Field(examples=["email"])] | None = None
    """``utm_medium``."""
    campaign: Annotated[UTMValue, Field(examples=["{{campaign_name}}"])] | None = None
    """``utm_campaign``."""
    term: UTMValue | None = None
    """``utm_term``."""
    content: UTMValue | None = None
    """``utm_content``."""

    def given(self) -> dict[str, str | None]:
        """What the caller wrote: a member that is null takes a parameter away, one that is left out
        does not."""
        return self.model_dump(exclude_unset=True)


class Branding(Body):
    """How mails of the project look."""

    logo_url: WebURL | None = None
    primary_colour: Colour | None = None
    background_colour: Colour | None = None
    text_colour: Colour | None = None
    social_links: Annotated[
        dict[Annotated[Line, Field(min_length=1, max_length=30)], WebURL], Field(max_length=10)
    ] = Field(default_factory=dict)
    """A name such as ``mastodon`` or ``LinkedIn``, and the address of the profile."""


class ProjectUpdate(Body):
    """Fields that are left out stay as they are; null clears what may be empty."""

    name: Name = ""
    from_email: SenderAddress | None = None
    from_name: ShownName | None = None
    reply_to: SenderAddress | None = None
    website_url: WebURL | None = None
    postal_address: Annotated[Line, Field(max_length=500)] | None = None
    branding: Branding | None = None
    time_zone: TimeZone = "UTC"
    locale: Locale = "en"
    resubscribe: Resubscribe = Resubscribe.allow
    track_opens: Switch = False
    track_clicks: Switch = False
    utm: UTM | None = None
    """Of all mails, unless a campaign or a single mail says otherwise. Members that are left out stay."""


class ProjectOut(Schema):
    id: ProjectId
    account_id: AccountId
    name: str
    is_test: bool
    from_email: str | None
    from_name: str | None
    reply_to: str | None
    website_url: str | None
    postal_address: str | None
    branding: Branding
    time_zone: str
    locale: str
    resubscribe: Resubscribe
    track_opens: bool
    track_clicks: bool
    utm: UTM
    default_template_id: TemplateId | None
    """None: the packaged default. `PATCH /templates/{id}` with ``is_default`` sets it."""
    inbox_url: str | None = None
    """Of a test project: the page where people read its mails. Who has the link may read them."""
    created_at: Time
    updated_at: Time


class UsageOut(Schema):
    used: int
    reserved: int
    limit: int | None
    """None: no limit."""
    period: str | None
    """The month in UTC, ``2026-11``, for monthly quotas."""


class AccountOut(Schema):
    id: AccountId
    name: str
    email: str
    plan: str
    created_at: Time


class AccountUsage(Schema):
    """What the key's project may use: live projects share these numbers, a test project has its own."""

    plan: str
    subscribers: UsageOut
    campaigns: UsageOut
    generations: UsageOut
    mails: UsageOut


class SMTPCredentialCreate(Body):
    name: Annotated[Name, Field(examples=["shop server"])]
    """What it is for: one for each program makes each easy to replace."""
    from_domains: Annotated[list[DomainName], Field(max_length=100)] = []  # noqa: RUF012 - pydantic copies it.
    """Sender domains that it is restricted to; empty: those of the caller's key."""


class SMTPCredentialRotate(Body):
    overlap_hours: Annotated[int, Field(ge=0, le=720)] = 24
    """Hours for which the former password is taken besides the new one; 0: it ends now."""


class SMTPCredentialOut(Schema):
    id: KeyId
    name: str
    username: str
    """The project's id."""
    prefix: str
    """How the password begins."""
    from_domains: list[str]
    created_at: Time
    last_used_at: Time | None
    """To the minute."""
    expires_at: Time | None
    """When it ends, as it is being replaced; null: not by itself."""


class SMTPCredentialCreated(SMTPCredentialOut):
    password: str
    """Shown this once."""
