"""Sends over SMTP (RFC 5321) through a small pool of kept connections."""

from newsletter.providers.smtp.config import Limits, SMTPServer, Timeouts
from newsletter.providers.smtp.provider import SMTPProvider

__all__ = ["Limits", "SMTPProvider", "SMTPServer", "Timeouts"]
