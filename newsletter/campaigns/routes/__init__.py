"""HTTP of the campaigns."""

from typing import Annotated, TypeAlias

from litestar.params import HeaderParameter

IfMatch: TypeAlias = Annotated[str | None, HeaderParameter(name="If-Match")]
"""The version that a caller read; `newsletter.kit.versions.read` reads it."""
