"""What looks like a tracked link and is none: a page for people."""

from litestar import HttpMethod, route
from litestar.params import FromPath

from newsletter.kit.errors import NotFound


@route(
    "/c/{recipient:str}/{link:str}",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    include_in_schema=False,
    opt={"answers": "page"},
)
async def broken_link(recipient: FromPath[str], link: FromPath[str]) -> None:
    """What looks like a tracked link; those that are stop at `newsletter.api.tracking`."""
    raise NotFound(
        "The link is not complete, perhaps because it was cut at the end of a line. "
        "Open the mail again and use the link there."
    )
