"""What the tests of the mail adapters share."""

from tests.smtp_sink import smtp_sink

__all__ = ["smtp_sink"]
