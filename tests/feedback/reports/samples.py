"""Returned mails in the forms that mail systems write, in words of our own."""

OURS = """\
Return-Path: <news@example.com>
Received: from app.example.com by mx.example.com; Mon, 2 Nov 2026 09:00:00 +0000
Message-ID: <msg_1@example.com>
From: News <news@example.com>
To: reader@example.org
Subject: Delivery of your order failed? We can help.

If your mailbox is full or the user is unknown, tell us.
"""


def mail(headers: str, body: str) -> bytes:
    return f"{headers.strip()}\n\n{body}".replace("\n", "\r\n").encode()


def dsn(
    status: str = "5.1.1",
    diagnostic: str = "smtp; 550 5.1.1 <reader@example.org>: no such user here",
    action: str = "failed",
    text: str = "Your message could not be delivered.",
    subtype: str = "report; report-type=delivery-status",
    more: str = "",
) -> bytes:
    """RFC 3464 in RFC 6522's wrapping; ``more`` is further groups of recipients."""
    headers = f"""
Return-Path: <>
From: Mail Delivery System <MAILER-DAEMON@mx.example.net>
To: news@example.com
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/{subtype}; boundary="b1"
"""
    body = f"""\
--b1
Content-Type: text/plain; charset=us-ascii

{text}

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; reader@example.org
Action: {action}
Status: {status}
Diagnostic-Code: {diagnostic}
{more}
--b1
Content-Type: message/rfc822

{OURS}
--b1--
"""
    return mail(headers, body)


def arf(feedback_type: str) -> bytes:
    headers = """
Return-Path: <>
From: feedback@isp.example.net
To: abuse@example.com
Subject: Email Feedback Report
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b2"
"""
    body = f"""\
--b2
Content-Type: text/plain

This is a report about a message received from 192.0.2.1.

--b2
Content-Type: message/feedback-report

Feedback-Type: {feedback_type}
User-Agent: ExampleFeedback/1.0
Version: 1
Original-Rcpt-To: <reader@example.org>

--b2
Content-Type: message/rfc822

{OURS}
--b2--
"""
    return mail(headers, body)


QMAIL = mail(
    """
From: MAILER-DAEMON@mx.example.net
To: news@example.com
Subject: failure notice
""",
    f"""\
Hi. This is the mail program at mx.example.net. I wasn't able to deliver your message.

<reader@example.org>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

{OURS}""",
)

EXIM = mail(
    """
Return-path: <>
X-Failed-Recipients: reader@example.org
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mx.example.net>
To: news@example.com
Subject: Mail delivery failed: returning message to sender
""",
    f"""\
A message that you sent could not be delivered to one or more of its recipients.
The following address(es) failed:

  reader@example.org
    SMTP error from remote mail server after MAIL FROM:<news@example.com> SIZE=1022:
    550 <news@example.com>: no such user

------ This is a copy of the message, including all the headers. ------

{OURS}""",
)

DELAYED = mail(
    """
Return-Path: <>
From: Mail Delivery Subsystem <mailer-daemon@mx.example.net>
To: news@example.com
Subject: Delivery Status Notification (Delay)
""",
    """\
THIS IS A WARNING MESSAGE ONLY. YOU DO NOT NEED TO RESEND YOUR MESSAGE.

Delivery to the following recipient has been delayed:

     reader@example.org

450 unknown user, try again later
""",
)

VACATION = mail(
    """
Return-Path: <>
From: Reader <reader@example.org>
To: news@example.com
Subject: Out of office: your order
Auto-Submitted: auto-replied (vacation)
""",
    """\
I am away. Mail to my old address user@example.net is undeliverable and returned: 550 5.1.1 user unknown.
""",
)

SNS = mail(
    """
From: SES bounces <no-reply@notifications.example.net>
To: news@example.com
Subject: AWS Notification Message
""",
    """\
{
  "Type" : "Notification",
  "Message" : "{\\"notificationType\\":\\"Bounce\\",\\"bounce\\":{\\"bouncedRecipients\\":
 [{\\"emailAddress\\":\\"reader@example.org\\",\\"status\\":\\"5.1.1\\",
 \\"diagnosticCode\\":\\"smtp; 550 5.1.1 user unknown\\"}]}}"
}
""",
)

LETTER = mail(
    """
Return-Path: <person@example.org>
From: A Person <person@example.org>
To: support@example.com
Subject: Mail delivery failed?
""",
    """\
Hello, I got this from MAILER-DAEMON: 550 5.1.1 user unknown, your message could not be delivered.
What does it mean?
""",
)

POSTMASTER = mail(
    """
Return-Path: <postmaster@example.org>
From: Postmaster <postmaster@example.org>
To: support@example.com
Subject: Your DMARC record
""",
    "Good morning, your domain publishes p=none. Would you like to talk about it next week?\n",
)
