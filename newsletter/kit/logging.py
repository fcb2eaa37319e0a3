"""Structured logs on standard error: JSON lines, or coloured ones on a terminal.

At info level a line never holds a key, an address or a body; ids of request, project and
campaign come from the context.
"""

import logging
import sys
from typing import Literal

import structlog


def configure(level: str, style: Literal["auto", "json", "console"]) -> None:
    is_console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        # Rich tracebacks print local variables, which are people's addresses.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        # First of all: a line that is not logged costs nothing then, and there is one per request.
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    finish: list[structlog.types.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not is_console:
        finish.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*finish, renderer])
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # These write addresses, URLs with keys, or a line per request at info level.
    for noisy in ("uvicorn.access", "httpx", "httpx2", "httpcore", "openai", "alembic", "aiosmtplib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Each of our workers adds the same middleware to the one broker, which is as it should be.
    logging.getLogger("dramatiq.broker").setLevel(logging.ERROR)
    # A broker that is away is several errors with tracebacks there; `kit.broker` says it in one line.
    for noisy in ("pika", "dramatiq.broker.RabbitmqBroker"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    for noisy in ("premailer", "cssutils", "CSSUTILS"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
