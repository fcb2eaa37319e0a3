"""Mail to send that programs hand over by SMTP: whether the listener answers, and its certificate."""

import asyncio
import smtplib
import ssl
from datetime import datetime, timedelta

from cryptography import x509

from newsletter.doctor.finding import Finding, broken, off, ok, warning
from newsletter.kit import clock
from newsletter.settings import Settings, SubmissionSettings
from newsletter.smtpd.certificate import end_of

SECONDS = 5.0
"""What the listener gets for each answer."""
SOON = timedelta(days=14)
"""Before a certificate ends it should have been renewed: the usual programs do so 30 days before."""
NAME = "SMTP submission"


async def submission(settings: Settings) -> list[Finding]:
    """Signs in nowhere, and sends nothing."""
    own = settings.submission
    if own.listen is None:
        mend = "docs/smtp-submission.md: NEWSLETTER_SUBMISSION_LISTEN, for programs that know no API."
        return [off(NAME, "no mail to send is taken by SMTP", mend)]
    return [await asyncio.to_thread(_reached, settings), *_certificate(own)]


def _reached(settings: Settings) -> Finding:
    own = settings.submission
    host, port = own.place
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound.
    process = "smtpd" if settings.is_distributed else "serve"
    try:
        served = _served(own, host, port)
    except (OSError, smtplib.SMTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        mend = f"Is 'newsletter {process}' running on this machine? Its log says what it waits for."
        return warning(NAME, f"nobody answers at {own.listen}: {reason}", mend)
    if served is not None and not _is_the_files(own, served):
        text = f"{own.listen} answers with another certificate than the file's, which ends {served:%Y-%m-%d}"
        return warning(
            NAME, text, f"Start 'newsletter {process}' again: its log says why it did not read it."
        )
    return ok(NAME, f"{own.listen} answers")


def _served(own: SubmissionSettings, host: str, port: int) -> datetime | None:
    """When the certificate ends that the listener shows; None where it has none. Whether it is to be trusted
    is asked of the file."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = (
        smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=context)
        if own.is_implicit
        else smtplib.SMTP(host, port, timeout=SECONDS)
    )
    with client:
        client.ehlo("localhost")
        if client.has_extn("starttls"):
            client.starttls(context=context)
        shown = client.sock.getpeercert(binary_form=True) if isinstance(client.sock, ssl.SSLSocket) else None
    return None if shown is None else x509.load_der_x509_certificate(shown).not_valid_after_utc


def _is_the_files(own: SubmissionSettings, served: datetime) -> bool:
    """True also where the file cannot be read, of which `_certificate` tells."""
    try:
        return own.tls_certificate is None or end_of(own.tls_certificate) == served
    except OSError:
        return True


def _certificate(own: SubmissionSettings) -> list[Finding]:
    name, path = "SMTP certificate", own.tls_certificate
    if path is None:
        mend = "Set NEWSLETTER_SUBMISSION_TLS_CERTIFICATE and …_TLS_KEY."
        return [warning(name, "none: nobody signs in but from this machine", mend)]
    renew = "Renew it; the running service reads the new file by itself."
    try:
        ends = end_of(path)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, own.tls_key)
    except OSError as error:
        mend = (
            "Are NEWSLETTER_SUBMISSION_TLS_CERTIFICATE and …_TLS_KEY a pair of PEM files this user may read?"
        )
        return [broken(name, f"{path}: {' '.join(str(error).split())}", mend)]
    left = ends - clock.now()
    if left <= timedelta():
        return [broken(name, f"{path} ended on {ends:%Y-%m-%d}: clients refuse it", renew)]
    if left < SOON:
        return [warning(name, f"{path} ends on {ends:%Y-%m-%d}, in {left.days} days", renew)]
    return [ok(name, f"{path} is good until {ends:%Y-%m-%d}")]
