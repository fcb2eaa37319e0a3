"""The OpenAPI 3.1 document."""

from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from newsletter import __version__

CONFIG = OpenAPIConfig(
    title="Newsletter API",
    version=__version__,
    description="A topic goes in, newsletters arrive.",
    path="/api",
    components=Components(
        security_schemes={
            "bearer": SecurityScheme(
                type="http", scheme="bearer", description="`Authorization: Bearer nl_live_…`"
            ),
            "header": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
        }
    ),
    use_handler_docstrings=True,
)
