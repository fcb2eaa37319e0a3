"""The tree of errors that a client may see, and the catalogue of their codes.

    NewsletterError
    ├── MalformedJSON        400  malformed_json
    ├── Unauthenticated      401  unauthenticated
    ├── Forbidden            403  forbidden
    ├── NotFound             404  not_found
    ├── MethodNotAllowed     405  method_not_allowed
    ├── Conflict             409  (a code of its own in each slice)
    ├── TooLarge             413  payload_too_large
    ├── UnsupportedMedia     415  unsupported_media_type
    ├── ValidationFailed     422  validation_failed
    ├── RateLimited          429  rate_limited
    ├── InternalError        500  internal_error
    ├── UnknownCoding        501  unknown_transfer_coding
    └── Unavailable          503  unavailable

Slices add their own leaves beside the code that raises them. A class registers itself
when it is defined, so the catalogue in the documentation cannot miss one.
Translation to HTTP happens in ``newsletter.api.errors`` alone.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

_registry: dict[str, type["NewsletterError"]] = {}


class NewsletterError(Exception):
    """An error with a code that is contract, a status, and a message that says what to do."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    summary: ClassVar[str] = "Something failed on our side."
    """One sentence for the catalogue; also the message where the raiser gives none."""

    def __init__(
        self,
        message: str | None = None,
        *,
        errors: Mapping[str, Sequence[str]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.message = message or self.summary
        self.errors = {field: list(texts) for field, texts in (errors or {}).items()}
        self.retry_after = retry_after
        """Seconds after which the same call may succeed; sent as ``Retry-After``."""
        super().__init__(self.message)

    def __init_subclass__(cls) -> None:
        known = _registry.setdefault(cls.code, cls)
        if known is not cls and not issubclass(cls, known) and known.status != cls.status:
            raise TypeError(f"error code {cls.code!r} has two statuses")


class MalformedJSON(NewsletterError):
    code, status = "malformed_json", 400
    summary = "The body is not valid JSON. Send one JSON object in UTF-8."


class Unauthenticated(NewsletterError):
    code, status = "unauthenticated", 401
    summary = "Send a valid API key as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'."


class Forbidden(NewsletterError):
    code, status = "forbidden", 403
    summary = "This key may not do that."


class NotFound(NewsletterError):
    code, status = "not_found", 404
    summary = "There is no such resource in this project."


class MethodNotAllowed(NewsletterError):
    code, status = "method_not_allowed", 405
    summary = "This path does not take that method."


class Conflict(NewsletterError):
    code, status = "conflict", 409
    summary = "The resource is in a state that does not allow this."


class VersionConflict(Conflict):
    code, status = "version_conflict", 409
    summary = "It has changed since you read it. Read it again."


class TooLarge(NewsletterError):
    code, status = "payload_too_large", 413
    summary = "The body is larger than this server takes."


class UnsupportedMedia(NewsletterError):
    code, status = "unsupported_media_type", 415
    summary = "Send the body as 'Content-Type: application/json', and uncompressed."


class ValidationFailed(NewsletterError):
    code, status = "validation_failed", 422
    summary = "One or more fields are invalid."

    @classmethod
    def of(cls, field: str, text: str) -> "ValidationFailed":
        """The common case of one bad field; nested fields are written ``ai.prompt``."""
        return cls(errors={field: [text]})


class RateLimited(NewsletterError):
    code, status = "rate_limited", 429
    summary = "Too many calls in the last 60 seconds. Wait for Retry-After."


class InternalError(NewsletterError):
    code, status = "internal_error", 500
    summary = "Something failed on our side; it is logged under this request id."


class UnknownCoding(NewsletterError):
    code, status = "unknown_transfer_coding", 501
    summary = "This server reads no Transfer-Encoding but 'chunked'. Send the body as it is."


class Unavailable(NewsletterError):
    code, status = "unavailable", 503
    summary = "The service cannot take this call now. Try again after Retry-After."


def catalogue() -> list[type[NewsletterError]]:
    """Every error class a client may meet, one per code, in the order of status and code."""
    return sorted(_registry.values(), key=lambda error: (error.status, error.code))
