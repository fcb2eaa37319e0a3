"""Who may hand mail over by SMTP, and how it gets into the books: as a call of `POST /send`."""

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from newsletter.accounts import smtp_credentials
from newsletter.accounts.audit import calls as audit
from newsletter.accounts.audit.calls import Calls
from newsletter.accounts.keys import KeyRing
from newsletter.accounts.project import Principal
from newsletter.delivery.senders import DomainNotVerified
from newsletter.delivery.service import QuotaExceeded
from newsletter.kit import address, idempotency
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database, is_outage
from newsletter.kit.errors import Forbidden, NewsletterError, RateLimited
from newsletter.kit.idempotency import Call, Claims, InProgress, Once, Stored
from newsletter.kit.ratelimit import Limiter
from newsletter.plans.catalogue import CallClass
from newsletter.settings import Settings, SubmissionSettings
from newsletter.smtpd import written
from newsletter.smtpd.counts import REVOKED, TAKEN, UNAVAILABLE, Counts
from newsletter.smtpd.room import Room
from newsletter.transactional.postbox import Postbox
from newsletter.transactional.schemas import Send

log = structlog.get_logger(__name__)

_LONGEST_REASON = 400
"""Characters of an answer; a line of one has at most 512 octets (RFC 5321 §4.5.3.1.5)."""
_LATER = "451 4.3.0 not now, try again later"


@dataclass(frozen=True, slots=True)
class Submissions:
    """What the dialogues of one process share."""

    db: Database
    vault: Vault
    keys: KeyRing
    limiter: Limiter
    postbox: Postbox
    claims: Claims
    calls: Calls
    settings: Settings
    room: Room
    counts: Counts

    async def sign_in(self, username: str, password: str) -> Principal | None:
        """None for what is no credential of this project."""
        principal = await self.keys.principal(password)
        if principal is None or not smtp_credentials.may_sign_in(principal, username):
            return None
        return principal

    async def may_fail_again(self, client: str) -> bool:
        """Counts a failed sign-in of this address."""
        caller, limit = self.settings.callers.of(client), self.settings.submission.auth_failures
        return (await self.limiter.hit(f"smtp-sign-in:{caller}", limit)).is_allowed

    async def take(
        self, username: str, password: str, recipients: Sequence[str], raw: bytes, client: str
    ) -> str:
        """The answer to a mail: 250 once it is in the books and on disk. The password is looked at anew, as
        with each call of the API: one that was revoked since takes no mail any more."""
        started = time.perf_counter()
        principal, message_id = None, ""
        try:
            principal = await self.sign_in(username, password)
            if principal is None:
                self.counts.mail(REVOKED)
                return "535 5.7.8 the credential is not in force any more"
            message_id = await self._send(principal, recipients, raw)
            answer = f"250 2.0.0 {message_id}"
            self.counts.mail(TAKEN)
        except NewsletterError as error:
            self.counts.mail(error.code)
            log.info("a mail was refused", code=error.code)
            answer = refusal(error)
        except Exception as error:
            self.counts.mail(UNAVAILABLE)
            if not is_outage(error):
                log.exception("a mail could not be taken")
            answer = _LATER
        if principal is not None:
            self._record(principal, answer, message_id, client, time.perf_counter() - started)
        return answer

    def _record(
        self, principal: Principal, answer: str, message_id: str, client: str, seconds: float
    ) -> None:
        """In the audit log, where the calls of the API are, too."""
        path, status = {"message_id": message_id}, int(answer[:3])
        self.calls.note(
            audit.Call(time.time(), principal, "SMTP", "DATA", path, status, client, None, seconds)
        )
        if message_id:
            log.info(
                "a mail was handed over",
                message_id=message_id,
                project_id=str(principal.project.id),
                key_id=str(principal.key_id),
            )

    async def _send(self, principal: Principal, recipients: Sequence[str], raw: bytes) -> str:
        calls = principal.plan.calls[CallClass.default]
        key = f"key:{principal.key_id}:{CallClass.default.value}"
        verdict = await self.limiter.hit(key, calls)
        if not verdict.is_allowed:
            raise RateLimited(retry_after=verdict.reset)
        mail = await asyncio.to_thread(_read, raw, recipients, self.settings.submission)
        claim = await self._claim(principal, mail, recipients)
        if isinstance(claim, Stored):
            await self.db.on_disk()
            return str(json.loads(claim.body)["data"]["id"])
        once = Once(self.vault, claim)
        try:
            sent = await self.postbox.send(principal, mail.body, once)
            return str(sent.model_dump(mode="json")["data"]["id"])
        except BaseException:
            if claim is not None:
                await idempotency.free(self.db, claim)
            raise

    async def _claim(
        self, principal: Principal, mail: "_Mail", recipients: Sequence[str]
    ) -> idempotency.Claim | Stored | None:
        """A mail with the same Message-ID to the same recipients is the same call: a client that lost our
        answer sends it again. None for a mail without one, which nothing tells from another."""
        if mail.message_id is None:
            return None
        people = sorted(address.parse(each).key for each in recipients)
        named = hashlib.sha256("\0".join([mail.message_id, *people]).encode()).hexdigest()
        return await self.claims.begin(Call(principal.project.id, f"smtp:{named}", mail.print))


@dataclass(frozen=True, slots=True)
class _Mail:
    message_id: str | None
    body: Send
    print: bytes
    """Of what it says, and not of its octets: a program that tries again may choose other boundaries."""


def _read(raw: bytes, recipients: Sequence[str], limits: SubmissionSettings) -> _Mail:
    message = written.parse(raw, limits)
    body = written.read(message, recipients)
    files = hashlib.sha256(b"".join(hashlib.sha256(each.content).digest() for each in body.attachments))
    said = repr(body.model_copy(update={"attachments": []})).encode(errors="replace") + files.digest()
    return _Mail(written.message_id(message), body, idempotency.fingerprint("SMTP", "", said))


def refusal(error: NewsletterError) -> str:
    """What an error of `POST /send` is in SMTP: 4yz where the same mail may be taken later."""
    if isinstance(error, RateLimited):
        return _answer("450 4.7.0", error)
    if isinstance(error, QuotaExceeded):
        return _answer("452 4.7.0", error)
    if isinstance(error, InProgress) or error.status >= 500:
        return _LATER
    if isinstance(error, Forbidden | DomainNotVerified) or error.errors.keys() == {"from"}:
        return _answer("550 5.7.1", error)
    return _answer("550 5.6.0", error)


def _answer(codes: str, error: NewsletterError) -> str:
    said = "; ".join(f"{field}: {texts[0]}" for field, texts in error.errors.items()) or error.message
    return f"{codes} {' '.join(said.split())[:_LONGEST_REASON]}"
