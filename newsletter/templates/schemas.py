"""Templates as the API takes and shows them."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, field_validator

from newsletter.kit.address import EmailAddress
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Line, Schema, Switch, Time
from newsletter.templates.branding import LAYOUT_NAMES
from newsletter.templates.layouts import CONTENT
from newsletter.templates.merge import BUILT_IN_FIELDS

TemplateId = Annotated[UUID, IdField("tpl")]
Name = Annotated[Line, Field(min_length=1, max_length=200, examples=["Monthly digest"])]
Category = Annotated[Line, Field(min_length=1, max_length=50, examples=["newsletter"])]
Description = Annotated[Line, Field(max_length=2000)]
MJML = Annotated[str, Field(min_length=1)]
FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$", examples=["issue_title"])]
Value = Annotated[Line, Field(max_length=1000)]

_TAKEN = BUILT_IN_FIELDS | LAYOUT_NAMES | {CONTENT}


class Variable(Body):
    """A merge tag of the template's own, or of an automation's: there each run may have its value."""

    name: FieldName
    default: Value = ""
    """Its value where the sender gives none."""
    description: Annotated[Line, Field(max_length=500)] = ""

    @field_validator("name")
    @classmethod
    def _own(cls, name: str) -> str:
        if name in _TAKEN:
            raise ValueError(f"'{name}' has a meaning already; choose another name")
        return name


def each_once(variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    names = [variable.name for variable in variables]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"declared more than once: {', '.join(repeated)}")
    return variables


class TemplateCreate(Body):
    name: Name
    category: Category = "newsletter"
    description: Description = ""
    mjml: MJML
    """MJML with ``{{ content }}`` where the body goes."""
    variables: Annotated[tuple[Variable, ...], Field(max_length=50)] = ()
    is_default: Switch = False
    """Whether campaigns without ``template_id`` use it from now on."""

    _names = field_validator("variables")(each_once)


class TemplateUpdate(Body):
    """Fields that are left out stay as they are. Of a system template only ``is_default`` can change."""

    name: Name = ""
    category: Category = ""
    description: Description = ""
    mjml: MJML = ""
    variables: Annotated[tuple[Variable, ...], Field(max_length=50)] = ()
    is_default: Switch = False

    _names = field_validator("variables")(each_once)


class VariableOut(Schema):
    name: str
    default: str
    description: str


class TemplateSummary(Schema):
    id: TemplateId
    name: str
    category: str
    description: str
    is_system: bool
    """Comes with the service and cannot be changed."""
    is_default: bool
    """The one that a campaign without ``template_id`` uses."""
    variables: tuple[VariableOut, ...]
    created_at: Time | None
    """None for system templates."""
    updated_at: Time | None


class TemplateOut(TemplateSummary):
    mjml: str


class SampleSubscriber(Body):
    """The reader that a preview is for; what is left out is missing."""

    email: EmailAddress = "reader@example.com"
    first_name: Value | None = None
    last_name: Value | None = None
    custom_fields: dict[FieldName, Value | int | float | bool | None] = Field(
        default_factory=dict, max_length=100
    )


class TemplateRender(Body):
    """Everything may be left out: then the template is shown with sample copy."""

    html: Annotated[str, Field(min_length=1)] | None = None
    """The body."""
    subject: Annotated[Line, Field(min_length=1, max_length=300)] | None = None
    preheader: Annotated[Line, Field(max_length=150)] | None = None
    variables: dict[FieldName, Value] = Field(default_factory=dict, max_length=50)
    """Values of declared variables, in the place of their defaults."""
    subscriber: SampleSubscriber = Field(default_factory=SampleSubscriber)


class Rendered(Schema):
    subject: str | None
    """None where the call gave none."""
    html: str
    text: str


FileName = Annotated[Line, Field(min_length=1, max_length=200, examples=["invoice.pdf"])]


class ContentScoreCreate(Body):
    """A mail as its readers get it: `GET /campaigns/{id}/preview` and `POST /templates/{id}/render` show that
    of a campaign or template."""

    subject: Annotated[Line, Field(min_length=1, max_length=300, examples=["Three things that changed"])]
    html: Annotated[str, Field(min_length=1, examples=["<p>Hello</p>"])] | None = None
    text: Annotated[str, Field(min_length=1)] | None = None
    """Looked at where there is no HTML."""
    attachments: Annotated[list[FileName], Field(max_length=100)] = []  # noqa: RUF012 - pydantic copies it.
    """The names of its files."""


class FindingOut(Schema):
    check: str
    """A word for the check, such as ``link_mismatch``."""
    points: int
    """Lost by it."""
    reason: str
    advice: str
    examples: tuple[str, ...]
    """Where it was seen, up to five."""


class ContentScoreOut(Schema):
    score: int
    """0 to 100: 100 less the points of the findings."""
    findings: tuple[FindingOut, ...]
    """The heaviest first."""
