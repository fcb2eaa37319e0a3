"""Sends over SMTP (RFC 5321) through a small pool of kept connections."""

from newsletter.providers.smtp.config import SMTPServer, Timeouts
from newsletter.providers.smtp.provider import SMTPProvider

__all__ = ["SMTPProvider", "SMTPServer", "Timeouts"]
