"""Reads the mails that come back: bounces, complaints, automatic replies. No database, no network.

`read` takes a mail as it came and says what it is:

    message/delivery-status   `dsn`      RFC 3464, in whatever multipart it came
    message/feedback-report   `arf`      RFC 5965, and the complaints of services that write none
    Auto-Submitted and kin    `replies`  RFC 3834: never a bounce, whatever it says
    everything else           `notices`  the bounces that are no DSN, told by who wrote them

The words of a server's answer decide over its status code where they are plain (`causes`):
5.2.1, 5.7.1 and 5.0.0 come with "user unknown" as well as with "blocked".
"""

from newsletter.feedback.reports.read import MAX_BYTES, read, taken_apart
from newsletter.feedback.reports.report import Asks, Kind, Report

__all__ = ["MAX_BYTES", "Asks", "Kind", "Report", "read", "taken_apart"]
