"""Sizes that protect the service from its callers."""

from pydantic import Field
from pydantic_settings import BaseSettings

from newsletter.settings.base import config


class LimitSettings(BaseSettings):
    """Sizes that protect the service from its callers."""

    model_config = config("MAX_")

    body_bytes: int = Field(5_000_000, ge=1_000)
    """The largest body of a request; 413 above it."""
    head_bytes: int = Field(65_536, ge=8_000)
    """The largest head of a request: its URL and headers. 400 above it."""
    arrival_seconds: float = Field(30, gt=0, le=600)
    """Seconds in which the head of a request, and each part of its body, must have arrived."""
    html_bytes: int = Field(500_000, ge=1_000)
    """The largest ``html`` of a campaign or template."""
    batch_rows: int = Field(1_000, ge=1, le=10_000)
    """The most rows in one ``/subscribers/batch``."""
    import_rows: int = Field(10_000, ge=1, le=100_000)
    """The most rows of one CSV file of ``/suppressions/import``, which is one transaction."""
    custom_fields: int = Field(100, ge=0)
    """The most custom fields of one project."""
    tags: int = Field(50, ge=0)
    """The most tags of one subscriber."""
    segments: int = Field(200, ge=1)
    """The most segments of one project."""
    segment_depth: int = Field(5, ge=1, le=10)
    """How deep ``all``, ``any`` and ``none`` may stand inside each other in a segment's conditions, what they
    hold included."""
    segment_conditions: int = Field(50, ge=1, le=500)
    """The most conditions of one segment, ``all``, ``any`` and ``none`` included: the database takes them all
    as one expression, which it asks of each subscriber of the list."""
    segment_seconds: float = Field(20, gt=0, le=600)
    """The longest that the database may take to find who is in a segment, for a count, a page or a launch;
    503 `segment_too_slow` above it."""
    segment_calls: int = Field(4, ge=1, le=100)
    """The most counts, pages and previews of segments, and launches to them, that one account has in the
    database at a time, in one process. More of them wait, for no longer than ``segment_seconds``. All
    accounts together have half of ``NEWSLETTER_DATABASE_POOL``."""
    webhook_endpoints: int = Field(20, ge=1)
    """The most webhook endpoints of one project."""
    sending_servers: int = Field(50, ge=1)
    """The most sending servers of one project."""
    sending_domains: int = Field(100, ge=1)
    """The most sending domains of one project."""
    smtp_credentials: int = Field(100, ge=1)
    """The most SMTP credentials of one project that are in force, besides those that are being replaced."""
    tls_questions: int = Field(600, ge=1)
    """The most questions of a minute at ``/tls/ask``, of all askers together."""
    routing_rules: int = Field(200, ge=1)
    """The most routing rules of one project."""
    sandbox_messages: int = Field(20_000, ge=1)
    """The most mails that the inbox of a test project keeps; the oldest go first."""
    recipients: int = Field(50, ge=1, le=1_000)
    """The most addresses of one single mail, ``to``, ``cc`` and ``bcc`` together."""
    bulk_items: int = Field(1_000, ge=1, le=10_000)
    """The most mails in one ``/send/bulk``."""
    bulk_designs: int = Field(100, ge=1)
    """The most different texts in templates that one ``/send/bulk`` may have compiled."""
    html_elements: int = Field(20_000, ge=100)
    """The most HTML elements of one single mail; a processor reads some 70,000 of them in a second."""
    bulk_elements: int = Field(500_000, ge=100)
    """The most of them in the different texts of one ``/send/bulk``."""
    attachments: int = Field(20, ge=0)
    """The most files of one single mail."""
    attachment_bytes: int = Field(10_000_000, ge=0)
    """The largest sum of a mail's files; the body of a ``/send`` may be as much larger as base64 makes it."""
    summary_days: int = Field(400, ge=31)
    """The most days of one summary of what was sent and read."""
    summary_rows: int = Field(1_000, ge=100)
    """The most periods of one summary; of campaigns, tags, domains and servers, the ones most sent."""

    @property
    def mail_body_bytes(self) -> int:
        """The largest body of a call that may hold a mail's files, in base64."""
        return self.body_bytes + self.attachment_bytes * 4 // 3
