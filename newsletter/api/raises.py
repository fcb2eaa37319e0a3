"""Which errors an operation may answer with, beside those that every operation shares.

The document and the error pages are made from this. A test walks the catalogue, so that an
error which no operation names here is noticed.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from newsletter.accounts.smtp_credentials import SMTPCredentialLimitReached
from newsletter.analytics.history import EventHistoryNotAvailable
from newsletter.audience.lists import ListInUse
from newsletter.audience.quota import SubscriberLimitReached
from newsletter.audience.segments.queries import SegmentTooSlow
from newsletter.audience.segments.service import SegmentInUse, SegmentLimitReached
from newsletter.automations import errors as automations
from newsletter.campaigns import errors as campaigns
from newsletter.copywriting.service import AINotAvailable, AIQuotaExceeded
from newsletter.copywriting.writer import AIFailed, AINotConfigured
from newsletter.delivery import senders
from newsletter.delivery.cancelling import NotScheduled
from newsletter.delivery.service import QuotaExceeded
from newsletter.domains.service import DomainKnown, DomainLimitReached
from newsletter.domains.tracking import TrackingHostNotProven, TrackingHostTaken
from newsletter.feedback.pushing import SuppressionPermanent
from newsletter.kit.errors import (
    Conflict,
    Forbidden,
    MalformedJSON,
    NewsletterError,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    ValidationFailed,
    VersionConflict,
)
from newsletter.kit.idempotency import InProgress, KeyReused
from newsletter.routing.rules import RuleLimitReached
from newsletter.routing.service import ServerInUse, ServerLimitReached, ServerTestFailed
from newsletter.sandbox.service import NotATestProject
from newsletter.templates.service import TemplateIsSystem, TemplateMissing
from newsletter.webhooks.replaying import DeliveryPending, EndpointInactive
from newsletter.webhooks.service import EndpointLimitReached

Errors: TypeAlias = tuple[type[NewsletterError], ...]

ALWAYS: Final[Errors] = (Unauthenticated, Forbidden, ValidationFailed, RateLimited, Unavailable)
"""What is invalid may be a name in the query, which an operation without any other input has, too."""
WITH_ID: Final[Errors] = (NotFound,)
"""Operations with an id in their path."""
WITH_BODY: Final[Errors] = (MalformedJSON, TooLarge, UnsupportedMedia)
ON_POST: Final[Errors] = (InProgress, KeyReused, TooLarge, UnsupportedMedia)
"""Of the header ``Idempotency-Key``, which covers a body that the operation does not ask for, too."""

_LACKING: Final[Errors] = (
    senders.SenderMissing,
    senders.PostalAddressMissing,
    senders.SendingServerMissing,
    senders.DomainNotVerified,
)
_SENDER: Final[Errors] = (*_LACKING, QuotaExceeded)
_CAMPAIGN: Final[Errors] = (*_SENDER, campaigns.SubjectMissing)
_SEND: Final[Errors] = (
    *_CAMPAIGN,
    campaigns.AlreadySent,
    campaigns.CampaignCancelled,
    campaigns.ListGone,
    campaigns.SegmentGone,
    SegmentTooSlow,
    VersionConflict,
    TemplateMissing,
)

OWN: Final[Mapping[str, Errors]] = {
    "list_events": (EventHistoryNotAvailable,),
    "export_events": (EventHistoryNotAvailable,),
    "export_event_lines": (EventHistoryNotAvailable,),
    "delete_list": (ListInUse,),
    "add_subscriber_to_list": (SubscriberLimitReached,),
    "create_subscriber": (SubscriberLimitReached,),
    "upsert_subscriber": (SubscriberLimitReached,),
    "update_subscriber": (SubscriberLimitReached,),
    "list_subscribers": (SegmentTooSlow,),
    "create_segment": (SegmentLimitReached,),
    "preview_segment": (SegmentTooSlow,),
    "count_segment": (SegmentTooSlow,),
    "list_segment_subscribers": (SegmentTooSlow,),
    "update_segment": (VersionConflict,),
    "delete_segment": (SegmentInUse,),
    "delete_suppression": (SuppressionPermanent,),
    "update_template": (TemplateIsSystem, Conflict),
    "delete_template": (TemplateIsSystem,),
    "create_campaign": (
        campaigns.CampaignLimitReached,
        SegmentTooSlow,
        AINotAvailable,
        AIQuotaExceeded,
        AIFailed,
        AINotConfigured,
        *_CAMPAIGN,
    ),
    "update_campaign": (campaigns.CannotChange, VersionConflict),
    "delete_campaign": (campaigns.CannotDelete, VersionConflict),
    "send_campaign": _SEND,
    "launch_campaign": _SEND,
    "pause_campaign": (campaigns.CannotPause, VersionConflict),
    "resume_campaign": (campaigns.CannotResume, VersionConflict),
    "resend_unknown": (
        campaigns.CannotResend,
        campaigns.NothingUnknown,
        VersionConflict,
        QuotaExceeded,
    ),
    "cancel_campaign": (campaigns.CannotCancel, VersionConflict),
    "test_campaign": (*_CAMPAIGN, TemplateMissing),
    "preview_campaign": (TemplateMissing,),
    "send_mail": _SENDER,
    "cancel_message": (NotScheduled,),
    "send_mails": (QuotaExceeded,),
    "create_sending_server": (ServerLimitReached,),
    "delete_sending_server": (ServerInUse,),
    "test_sending_server": (ServerTestFailed,),
    "create_sending_domain": (DomainKnown, DomainLimitReached),
    "update_sending_domain": (TrackingHostTaken, TrackingHostNotProven),
    "create_routing_rule": (RuleLimitReached,),
    "create_smtp_credential": (SMTPCredentialLimitReached,),
    "rotate_smtp_credential": (SMTPCredentialLimitReached,),
    "create_webhook": (EndpointLimitReached,),
    "replay_webhook_delivery": (DeliveryPending, EndpointInactive),
    "replay_webhook_deliveries": (EndpointInactive,),
    "create_automation": (automations.AutomationLimitReached,),
    "update_automation": (
        automations.AutomationActive,
        automations.AutomationArchived,
        automations.AutomationChanged,
        VersionConflict,
    ),
    "delete_automation": (VersionConflict,),
    "activate_automation": (
        automations.AutomationArchived,
        automations.StartIsPast,
        campaigns.ListGone,
        *_LACKING,
    ),
    "pause_automation": (automations.AutomationNotActive,),
    "trigger_automation": (
        automations.AutomationNotActive,
        automations.SubscriberNotActive,
        automations.RunOpen,
        automations.AlreadyRan,
    ),
    "list_sandbox_messages": (NotATestProject,),
    "get_sandbox_message": (NotATestProject,),
    "clear_sandbox": (NotATestProject,),
}
"""By operation id."""


def of(operation_id: str, method: str, *, has_id: bool, has_body: bool) -> Errors:
    """Every error of an operation once, in the order of status and code."""
    found = [*ALWAYS, *OWN.get(operation_id, ())]
    found += WITH_ID if has_id else ()
    found += WITH_BODY if has_body else ()
    found += ON_POST if method == "POST" else ()
    return tuple(sorted(dict.fromkeys(found), key=lambda error: (error.status, error.code)))
