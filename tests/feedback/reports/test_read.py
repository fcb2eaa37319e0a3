"""What kinds of returned mail there are, and which words and codes make them."""

import json
import quopri
from base64 import encodebytes

import pytest

from newsletter.feedback.reports import Asks, Kind, read
from newsletter.feedback.reports.causes import Cause
from tests.feedback.reports import samples
from tests.feedback.reports.samples import OURS, dsn


def test_a_dsn_names_recipient_status_cause_and_the_message_it_is_about() -> None:
    report = read(dsn())
    assert (report.kind, report.status, report.recipient) == (Kind.hard, "5.1.1", "reader@example.org")
    assert report.cause is Cause.no_mailbox
    assert report.diagnostic == "550 5.1.1 <reader@example.org>: no such user here"
    assert (report.message_id, report.return_path) == ("<msg_1@example.com>", "<news@example.com>")


@pytest.mark.parametrize(
    ("status", "answer", "kind", "cause"),
    [
        ("5.0.0", "550 Unknown user", Kind.hard, Cause.no_mailbox),
        ("5.2.1", "550 5.2.1 The user you are trying to reach does not exist", Kind.hard, Cause.no_mailbox),
        ("5.1.1", "550 5.1.1 refused", Kind.hard, Cause.no_mailbox),
        ("5.1.2", "Host or domain name not found", Kind.hard, Cause.no_domain),
        ("5.1.10", "556 5.1.10 no mail here", Kind.hard, Cause.no_mail),
        ("5.1.6", "551 5.1.6 this user has moved", Kind.hard, Cause.moved),
        ("5.2.2", "552 5.2.2 mailbox is full", Kind.soft, Cause.mailbox_full),
        ("5.1.1", "550 5.1.1 mailbox for user is full", Kind.soft, Cause.mailbox_full),
        ("5.2.1", "550 5.2.1 account is disabled", Kind.soft, Cause.disabled),
        ("5.7.26", "550 5.7.26 this mail has no DKIM signature", Kind.soft, Cause.unauthenticated),
        ("5.7.1", "554 5.7.1 blocked using bl.example.net", Kind.soft, Cause.blocked),
        ("5.7.25", "550 5.7.25 no PTR record", Kind.soft, Cause.blocked),
        ("5.1.8", "550 5.1.8 no such domain", Kind.soft, Cause.sender_refused),
        ("5.7.27", "550 5.7.27 host does not accept mail", Kind.soft, Cause.sender_refused),
        ("5.3.4", "552 5.3.4 message size exceeds fixed limit", Kind.soft, Cause.too_large),
        ("5.7.1", "550 5.7.1 relaying denied", Kind.soft, Cause.relaying),
        ("5.4.7", "delivery time expired", Kind.soft, Cause.expired),
        ("4.1.1", "450 4.1.1 user unknown, greylisted", Kind.soft, Cause.blocked),
        ("4.1.1", "450 4.1.1 user unknown", Kind.soft, Cause.no_mailbox),
        ("5.0.0", "550", Kind.soft, Cause.unclear),
        ("5.0.0", "450 no such user here", Kind.soft, Cause.no_mailbox),
        ("5.7.1", "550 5.7.1 User unknown", Kind.soft, Cause.not_allowed),
        ("5.7.1", "550 5.7.1 User unknown (in reply to RCPT TO command)", Kind.hard, Cause.no_mailbox),
        ("5.7.27", "550 host does not accept mail", Kind.hard, Cause.no_mail),
        ("5.0.0", "550: : User unknown", Kind.soft, Cause.not_allowed),
        ("5.1.1", "procmail: Couldn't create /var/mail/x: No such user", Kind.soft, Cause.system),
    ],
)
def test_words_decide_over_codes_and_only_an_address_makes_it_hard(
    status: str, answer: str, kind: Kind, cause: Cause
) -> None:
    report = read(dsn(status, f"smtp; {answer}"))
    assert (report.kind, report.cause) == (kind, cause)


def test_a_server_that_took_the_address_and_refused_the_message_lacks_no_mailbox() -> None:
    text = "<reader@example.org>: host mx said: 550 Unknown user (in reply to end of DATA command)"
    report = read(dsn("5.0.0", "smtp; 550 Unknown user", text=text))
    assert (report.kind, report.cause) == (Kind.soft, Cause.after_data)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Your message to <reader> was automatically rejected:\nNot enough disk space", Cause.mailbox_full),
        ("The user(s) account is temporarily limited.\n\n<reader@example.org>: 550 no such", Cause.disabled),
    ],
)
def test_a_mailbox_that_explains_itself_knows_better_than_the_code_beside_it(text: str, cause: Cause) -> None:
    report = read(dsn("5.1.1", "smtp; 550 5.1.1 User unknown", text=text))
    assert (report.kind, report.cause) == (Kind.soft, cause)


def test_a_report_of_a_delay_is_no_final_word() -> None:
    assert not read(dsn("4.4.1", "smtp; connection timed out", action="delayed")).is_final
    assert read(dsn("4.4.7", "smtp; expired", action="failed")).is_final


def test_a_refusal_of_mail_from_is_about_the_sender() -> None:
    report = read(samples.EXIM)
    assert (report.kind, report.cause, report.recipient) == (
        Kind.soft,
        Cause.sender_refused,
        "reader@example.org",
    )


def test_a_gateways_guess_gives_way_to_what_the_server_said() -> None:
    answer = "smtp; 5.1.0 - Unknown address error 550-'5.7.1 listed in a blocklist'"
    assert read(dsn("5.0.0", answer)).cause is Cause.blocked


def test_a_dsn_in_any_multipart_is_one() -> None:
    assert read(dsn(subtype="mixed")).kind is Kind.hard


def test_of_several_recipients_the_one_to_suppress_is_told() -> None:
    more = (
        "\nFinal-Recipient: rfc822; gone@example.org\nAction: failed\nStatus: 5.1.1\n"
        "Diagnostic-Code: smtp; 550 5.1.1 user unknown\n"
    )
    report = read(dsn("5.2.2", "smtp; 552 5.2.2 mailbox full", more=more))
    assert (report.kind, report.recipient) == (Kind.hard, "gone@example.org")


@pytest.mark.parametrize("action", ["delivered", "relayed", "expanded"])
def test_a_report_of_success_is_no_bounce(action: str) -> None:
    assert read(dsn("2.0.0", "smtp; 250 OK", action)).kind is Kind.other


def test_a_message_that_is_still_tried_is_soft_whatever_was_said() -> None:
    assert read(dsn("4.0.0", "smtp; unknown host", "delayed")).kind is Kind.soft
    assert read(samples.DELAYED).kind is Kind.soft


@pytest.mark.parametrize(
    ("kind", "asks"),
    [
        ("abuse", Asks.no_more_mail),
        ("fraud", Asks.no_more_mail),
        ("Virus", Asks.no_more_mail),
        ("other", Asks.no_more_mail),
        ("opt-out", Asks.unsubscribe),
        ("opt-out-list", Asks.unsubscribe),
        ("auth-failure", Asks.attention),
    ],
)
def test_a_feedback_report_is_a_complaint_that_says_what_it_asks_for(kind: str, asks: Asks) -> None:
    report = read(samples.arf(kind))
    assert (report.kind, report.asks) == (Kind.complaint, asks)
    assert (report.recipient, report.message_id) == ("reader@example.org", "<msg_1@example.com>")


@pytest.mark.parametrize("kind", ["not-spam", "dmarc", "x-hello"])
def test_a_report_that_objects_to_nothing_is_no_complaint(kind: str) -> None:
    assert read(samples.arf(kind)).kind is Kind.other


def test_notices_of_other_mail_systems_are_bounces() -> None:
    report = read(samples.QMAIL)
    assert (report.kind, report.status, report.recipient) == (Kind.hard, "5.1.1", "reader@example.org")
    assert report.message_id == "<msg_1@example.com>"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("550 no such user here", Kind.soft),
        ("554 5.0.0 no such user here", Kind.soft),
        ("550 5.1.1 no such user here", Kind.hard),
        ("550 no such user here (in reply to RCPT TO command)", Kind.hard),
        ("The recipient does not exist.\n550 no such user here", Kind.hard),
    ],
)
def test_a_relay_that_only_quotes_a_missing_user_ends_no_address(said: str, kind: Kind) -> None:
    text = f"Your message to <reader@example.org> could not be delivered.\n\nThe server said:\n{said}\n"
    report = read(samples.mail("From: MAILER-DAEMON@mx.example.net\nSubject: Delivery failure", text))
    assert report.kind is kind


def test_a_program_that_acknowledges_a_mail_of_ours_is_an_automatic_reply() -> None:
    headers = "From: help@example.org\nAuto-Submitted: auto-generated\nIn-Reply-To: <msg_1@example.com>"
    assert read(samples.mail(headers, "We got your request.")).kind is Kind.auto_reply
    on_a_list = f"{headers}\nList-ID: <all.example.org>"
    assert read(samples.mail(on_a_list, "We got your request.")).kind is Kind.other


def test_a_notification_of_ses_that_came_by_mail_is_read() -> None:
    report = read(samples.SNS)
    assert (report.kind, report.status, report.recipient) == (Kind.hard, "5.1.1", "reader@example.org")


@pytest.mark.parametrize(("feedback_type", "kind"), [("abuse", Kind.complaint), ("not-spam", Kind.other)])
def test_a_complaint_that_ses_sent_by_mail_is_of_its_type(feedback_type: str, kind: Kind) -> None:
    told = {
        "notificationType": "Complaint",
        "complaint": {
            "complainedRecipients": [{"emailAddress": "reader@example.org"}],
            "complaintFeedbackType": feedback_type,
        },
    }
    headers = "From: no-reply@notifications.example.net\nSubject: AWS Notification Message"
    report = read(samples.mail(headers, json.dumps(told)))
    assert (report.kind, report.recipient) == (kind, "reader@example.org")


def test_an_automatic_reply_is_no_bounce_whatever_it_says() -> None:
    assert read(samples.VACATION).kind is Kind.auto_reply


@pytest.mark.parametrize("letter", [samples.LETTER, samples.POSTMASTER, samples.OURS.encode()])
def test_people_who_write_about_bounces_are_ordinary_mail(letter: bytes) -> None:
    assert read(letter).kind is Kind.other


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_a_returned_mail_that_was_encoded_against_the_rules_is_named(encoding: str) -> None:
    # RFC 2046 §5.2.1 forbids it, and gateways do it.
    encode = encodebytes if encoding == "base64" else quopri.encodestring
    part = b"message/rfc822\r\nContent-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n"
    plain = b"message/rfc822\r\n\r\n" + OURS.replace("\n", "\r\n").encode()
    raw = dsn().replace(plain, part + encode(OURS.encode()).replace(b"\n", b"\r\n"))
    assert plain not in raw
    assert read(raw).message_id == "<msg_1@example.com>"


def test_the_words_of_the_returned_newsletter_do_not_count() -> None:
    # Ours says "mailbox is full" and "user is unknown"; the server says neither.
    report = read(dsn("5.7.1", "smtp; 554 5.7.1 relaying denied"))
    assert report.cause is Cause.relaying
