"""What comes back: where it is taken in, and what follows."""

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from newsletter.kit.address import domain_name
from newsletter.settings.base import config


class ReturnPathSettings(BaseSettings):
    """Where other mail servers return mail to."""

    model_config = config("RETURN_PATH_")

    domain: str | None = None
    """A domain whose mail comes back to this service: each mail then has a signed return path of its
    own there. Without one, reports go to the sender's address, and are known by the Message-ID of
    the mail that they return."""

    @field_validator("domain")
    @classmethod
    def _known_form(cls, domain: str | None) -> str | None:
        return domain_name(domain) if domain else None


class BounceSettings(BaseSettings):
    """When soft bounces add up to a hard one."""

    model_config = config("BOUNCE_")

    soft_limit: int = Field(5, ge=1)
    """Soft bounces of an address in one project, with no mail that is known to have arrived in
    between, after which it is suppressed like one that does not exist."""
    soft_days: float = Field(30, gt=0)
    """Days within which they must come; after that the count begins anew."""
