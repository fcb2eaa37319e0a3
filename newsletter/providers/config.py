"""What a customer writes down about a sending server: plain fields, checked, some of them secret.

One subclass of `ServerConfig` for each type of server. The fields of type `Secret` are kept
apart, so that who stores a configuration can encrypt exactly these and show the rest.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, get_args

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, StringConstraints

from newsletter.kit.db import JSONValue
from newsletter.kit.schema import Body


def _visible(secret: SecretStr) -> SecretStr:
    """Secrets travel in header fields, where a line end would begin another one."""
    text = secret.get_secret_value()
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("must be visible ASCII characters")
    return secret


Secret = Annotated[SecretStr, Field(min_length=1, max_length=2_000), AfterValidator(_visible)]
"""A field that is encrypted at rest and never shown again."""
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=200)]
"""A name that may stand in a path or a tag as it is."""


class ServerConfig(Body):
    """The configuration of one sending server."""

    model_config = ConfigDict(frozen=True)

    example: ClassVar[Mapping[str, JSONValue]] = {}
    """A configuration that is valid, for the documentation."""

    @classmethod
    def secret_names(cls) -> frozenset[str]:
        """The fields to encrypt."""
        return frozenset(
            name for name, field in cls.model_fields.items() if _holds_a_secret(field.annotation)
        )

    def open_part(self) -> dict[str, JSONValue]:
        """All that is set and no secret, as JSON. `secret_part` has the rest; both together
        are what the configuration can be read from again."""
        return self.model_dump(mode="json", exclude=set(self.secret_names()), exclude_none=True)

    def secret_part(self) -> dict[str, str]:
        """The secrets that are set, in the clear: to be encrypted, never logged or answered."""
        values = {name: getattr(self, name) for name in sorted(self.secret_names())}
        return {name: value.get_secret_value() for name, value in values.items() if value is not None}


def _holds_a_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(_holds_a_secret(part) for part in get_args(annotation))
