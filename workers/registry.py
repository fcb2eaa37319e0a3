"""Every job of the service, by name."""

from newsletter.kit.jobs import Handler
from newsletter.runtime import Runtime


def handlers(runtime: Runtime) -> dict[str, Handler]:
    """What each job does, as closures over the runtime of the workers' loop."""
    return {}
