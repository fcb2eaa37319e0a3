"""The reviewed prompts in ``prompts/``, as tasks that can be rendered for a brief."""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Self

from jinja2 import Environment, StrictUndefined, Template
from pydantic import BaseModel, ConfigDict, Field

from newsletter.copywriting.draft import Brief
from newsletter.kit.resources import Resources
from newsletter.llm import Message

_ENVIRONMENT = Environment(
    autoescape=False,  # noqa: S701 - a prompt is plain text; what is put into it is never a template
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=False,
)


@lru_cache(maxsize=16)
def _compiled(text: str) -> Template:
    """Compiling one takes some 5 ms, and a process makes a task for each of its event loops."""
    return _ENVIRONMENT.from_string(text)


class Limits(BaseModel):
    """The most characters of each part of the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: int = Field(gt=0)
    preheader: int = Field(gt=0, le=150)
    body_html: int = Field(gt=0)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    version: int
    temperature: float | None = Field(None, ge=0, le=2)
    limits: Limits


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that a model is asked to do."""

    name: str
    version: int
    hash: str
    """SHA-256 over the names and bytes of all its files, as hex."""
    temperature: float | None
    limits: Limits
    system: Template
    user: Template
    repair: Template

    @classmethod
    def load(cls, resources: Resources, name: str = "newsletter") -> Self:
        """Reads ``<name>/task.toml``, ``system.md``, ``user.md`` and ``repair.md``.

        Raises FileNotFoundError, `pydantic.ValidationError` or `jinja2.TemplateSyntaxError`
        for a folder that is not a task: at start, not at the first generation.
        """
        files = {
            file: resources.text(f"{name}/{file}")
            for file in ("repair.md", "system.md", "task.toml", "user.md")
        }
        digest = hashlib.sha256()
        for file, text in files.items():
            digest.update(f"{file}\0{len(text)}\0{text}".encode())
        header = _Header.model_validate(tomllib.loads(files["task.toml"]))
        return cls(
            name=header.name,
            version=header.version,
            hash=digest.hexdigest(),
            temperature=header.temperature,
            limits=header.limits,
            system=_compiled(files["system.md"]),
            user=_compiled(files["user.md"]),
            repair=_compiled(files["repair.md"]),
        )

    @property
    def schema(self) -> Mapping[str, object]:
        """The answer's JSON schema, in the strict form: every field required, no others."""
        sizes = self.limits.model_dump()
        return {
            "type": "object",
            "properties": {field: {"type": "string", "maxLength": size} for field, size in sizes.items()},
            "required": list(sizes),
            "additionalProperties": False,
        }

    def messages(self, brief: Brief, links: Iterable[str], today: date) -> list[Message]:
        """The conversation that begins a generation."""
        values: dict[str, object] = {
            "brand_name": brief.brand_name,
            "website_url": brief.website_url,
            "locale": brief.language,
            "voice": brief.voice,
            "fields": sorted(brief.fields),
            "links": list(links),
            "prompt": brief.prompt,
            "subject": brief.subject,
            "preheader": brief.preheader,
            "limits": self.limits,
            "today": today.isoformat(),
        }
        # The marks around foreign text are a hash of that text: it cannot contain them, so it
        # cannot close its own block and go on as if it were us.
        values["mark"] = hashlib.sha256(repr(values).encode("utf-8", "replace")).hexdigest()[:12]
        return [
            Message("system", self.system.render(values)),
            Message("user", self.user.render(values)),
        ]

    def repair_message(self, problems: Sequence[str]) -> Message:
        """The question after an answer that could not be used."""
        return Message("user", self.repair.render(problems=[" ".join(text.split()) for text in problems]))
