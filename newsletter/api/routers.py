"""Every route of the service, in one place to read."""

from litestar import Controller, Router
from litestar.handlers import HTTPRouteHandler

from newsletter.accounts.audit.routes import AuditController
from newsletter.accounts.keys import SCOPES
from newsletter.accounts.routes import (
    AccountController,
    ProjectController,
    SMTPCredentialController,
)
from newsletter.analytics.routes import (
    AnalyticsController,
    HealthController,
    ReportController,
    StatsController,
)
from newsletter.api.docs import docs, static
from newsletter.api.health import expose, healthz, readyz
from newsletter.audience.routes.lists import ListController
from newsletter.audience.routes.subscribers import ListSubscriberController, SubscriberController
from newsletter.audience.routes.subscribing import ListSubscribingController, SubscribingController
from newsletter.audience.segments.routes import SegmentController
from newsletter.automations.routes import AutomationController
from newsletter.campaigns.routes.campaigns import CampaignController
from newsletter.campaigns.routes.recipients import RecipientController
from newsletter.campaigns.routes.sending import SendingController
from newsletter.copywriting.routes import BrandVoiceController
from newsletter.delivery.routes import ViewController
from newsletter.domains.routes import SendingDomainController, tls_ask
from newsletter.feedback.routes.inbound import InboundController, IntakeController
from newsletter.feedback.routes.links import broken_link
from newsletter.feedback.routes.suppressions import SuppressionController, SuppressionSheetController
from newsletter.feedback.routes.unsubscribe import UnsubscribeController
from newsletter.feedback.routes.unsubscribes import UnsubscribeResourceController
from newsletter.privacy.routes import PersonController
from newsletter.routing.routes import RoutingController, SendingServerController
from newsletter.sandbox.routes import SandboxController
from newsletter.templates.routes import ContentScoreController, TemplateController
from newsletter.transactional.routes import MessageController, SendController
from newsletter.webhooks.routes import WebhookController

V1: tuple[type[Controller], ...] = (
    ProjectController,
    AccountController,
    AuditController,
    ListController,
    ListSubscribingController,
    ListSubscriberController,
    SubscribingController,
    SubscriberController,
    SegmentController,
    PersonController,
    TemplateController,
    ContentScoreController,
    BrandVoiceController,
    CampaignController,
    SendingController,
    RecipientController,
    AutomationController,
    ReportController,
    AnalyticsController,
    StatsController,
    HealthController,
    SendingDomainController,
    SendingServerController,
    RoutingController,
    MessageController,
    SMTPCredentialController,
    SuppressionController,
    SuppressionSheetController,
    UnsubscribeResourceController,
    IntakeController,
    WebhookController,
    SandboxController,
)
"""Controllers under ``/api/v1``: behind the gate, with idempotency."""

WITH_FILES: tuple[type[Controller], ...] = (SendController,)
"""Those under ``/api/v1`` whose bodies may hold the files of a mail, and be as large."""

PUBLIC: tuple[type[Controller] | HTTPRouteHandler, ...] = (
    UnsubscribeController,
    InboundController,
    broken_link,
    ViewController,
    tls_ask,
    healthz,
    readyz,
    expose,
    docs,
    static,
)
"""What is reached without a key: links of mails, probes, documentation."""


def check(router: Router) -> None:
    """Raises `TypeError` for a route under the gate that names no known scope or no operation id."""
    for route in router.routes:
        for handler in getattr(route, "route_handlers", ()):
            if handler.http_methods == {"OPTIONS"}:
                continue  # Litestar's own, which says which methods there are.
            if handler.opt.get("scope") not in SCOPES or not handler.operation_id:
                raise TypeError(f"{handler} must name a scope and an operation id")
