"""Every job of the service, by name."""

from newsletter.kit.jobs import Handler
from newsletter.runtime import Runtime
from workers import analytics, automations, campaigns, delivery, domains, feedback, webhooks


def handlers(runtime: Runtime) -> dict[str, Handler]:
    """What each job does, as closures over the runtime of the workers' loop."""
    return {
        **analytics.handlers(runtime),
        **automations.handlers(runtime),
        **campaigns.handlers(runtime),
        **delivery.handlers(runtime),
        **domains.handlers(runtime),
        **feedback.handlers(runtime),
        **webhooks.handlers(runtime),
    }
