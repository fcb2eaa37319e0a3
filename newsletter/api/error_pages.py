"""The error envelope's counterpart for people, on the routes that answer with pages."""

from litestar import MediaType, Response

from newsletter.kit.errors import NewsletterError
from newsletter.kit.pages import HEADERS, Pages

_PAGES = Pages()
_HEADINGS = {
    404: "This link does not work",
    405: "This link does not work like that",
    410: "This mail is gone",
    429: "Too many requests",
}


def error_page(error: NewsletterError, request_id: str) -> Response[str]:
    """The same status and message; the heading says what it means to who clicked a link."""
    heading = _HEADINGS.get(error.status, "Please try again later" if error.status >= 500 else "That failed")
    note = f"Request {request_id}" if error.status >= 500 else None
    html = _PAGES.notice(heading, error.message, note=note)
    return Response(html, status_code=error.status, media_type=MediaType.HTML, headers=dict(HEADERS))
