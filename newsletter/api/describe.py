"""Says of each operation what its code does not: scope, rate class, errors, examples.

The framework knows paths and parameters. The schemas are pydantic's own, because the
framework's lose limits, patterns and the form of our ids.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Final, TypeAlias, get_args, get_origin, get_type_hints
from uuid import UUID

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from newsletter.api import examples, raises
from newsletter.kit.errors import NewsletterError, RateLimited, ValidationFailed
from newsletter.kit.idempotency import MAX_KEY_LENGTH
from newsletter.kit.ids import IdField
from newsletter.kit.paging import MAX_PAGE, MAX_PER_PAGE
from newsletter.plans.catalogue import CallClass

JSON: TypeAlias = dict[str, Any]

UPSERTS: Final = frozenset(
    {
        "create_subscriber",
        "add_subscriber_to_list",
        "upsert_subscriber",
        "create_suppression",
        "create_unsubscribe",
    }
)
"""Operations that answer 201 for a new resource and 200 for a known one."""

_TEXTS: Final = {200: "Done.", 201: "Created.", 202: "Accepted for later.", 204: "Done; no content."}
_REF: Final = "#/components/schemas/{model}"
_PREFIXES: Final = {
    "campaign_id": "cmp",
    "automation_id": "aut",
    "run_id": "run",
    "list_id": "lst",
    "segment_id": "seg",
    "template_id": "tpl",
    "subscriber_id": "sub",
    "message_id": "msg",
    "credential_id": "key",
    "delivery_id": "whd",
    "webhooks/{id}": "whe",
    "suppressions/{id}": "sup",
    "unsubscribes/{id}": "sup",
    "servers/{id}": "srv",
    "rules/{id}": "rul",
    "domains/{id}": "dom",
    "messages/{id}": "sbx",
    "subscriber": "sub",
}
_PARAMETERS: Final = {
    "page": "The page, from 1.",
    "per_page": "Rows on a page, 1 to 100.",
    "cursor": "The `meta.next_cursor` of the page before.",
    "list_id": "Only what belongs to this list.",
    "segment_id": "Only who is in this segment.",
    "since": "Not before this: a day of the project's time zone in summaries, else a moment (RFC 3339).",
    "until": "Up to this day, and with it, in summaries; else before this moment (RFC 3339).",
    "event_type": "Only deliveries of events of this type.",
    "campaign_id": "Only what belongs to this campaign.",
    "type": "Only events of this type; several times for several.",
    "message_id": "Only what is about this message.",
    "days": "Of so many days, today among them, 1 to 365.",
    "group_by": "What each row is of.",
    "domain": "Only mail whose From address has this domain.",
    "sending_server_id": "Only mail by this sending server (`srv_…`); `default` is the operator's own.",
    "status": "Only those with this status.",
    "tag": "Only what has this tag.",
    "search": "A part of an e-mail address or a name, in any case.",
    "category": "Only templates of this category.",
    "is_system": "Only templates that come with the service, or only your own.",
    "subscriber_id": "Render for this subscriber; without it, for a made-up one.",
    "outcome": "Only those with this outcome.",
    "feedback": "Only those from whom this came back.",
    "recipient": "The address that the mail was sent to (its envelope's), where you know it.",
    "raw": "`true`: cells as they are, formulas of a spreadsheet included.",
    "to": "Only mails to this whole address, in any case.",
    "format": "`raw`: the mail itself (RFC 5322).",
    "email": "Only this address, in any spelling.",
    "level": "Only suppressions of this reach.",
    "reason": "Only those for this reason.",
    "action": "Only entries of this action, such as `webhook.secret_rotated`.",
    "subject": "Only what was done to this, by its id.",
    "key_id": "Only what this key did (`key_…`).",
    "account_id": "Only what keys of this account did (`acc_…`).",
    "project_id": "Only what was done in this project (`prj_…`), which must be that of your key.",
    "method": "Only calls with this method, such as `POST`; `SMTP` for mails that were handed over so.",
    "route": "Only calls of this pattern, such as `/api/v1/lists/{list_id}`.",
    "ip": "Only what came from this address.",
    "node": "Only what this machine answered.",
    "request_id": "Only the call whose answer had this `X-Request-Id`.",
    "after_seq": "Only entries behind this number, such as the last one of the export before.",
    "version": "The number of a version.",
    "If-Match": "The `version` that you read; 409 `version_conflict` when it has changed since.",
}

_LIMITS: Final = {"page": MAX_PAGE, "per_page": MAX_PER_PAGE}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route, as its code declares it."""

    id: str
    method: str
    path: str
    scope: str
    calls: CallClass
    status: int
    body: Any
    """The type of the JSON body, or None."""
    is_body_optional: bool
    accepts: str | None
    """The media type of a body that is not JSON."""
    answer: Any
    """The type of the JSON answer, or None."""
    is_also_mail: bool
    media: str | None
    """The media type of an answer that is not JSON."""

    @property
    def has_body(self) -> bool:
        return self.body is not None or self.accepts is not None

    @property
    def statuses(self) -> list[int]:
        return [200, 201] if self.id in UPSERTS else [self.status]


def operation(handler: HTTPRouteHandler, path: str) -> Operation:
    hints = get_type_hints(handler.fn)
    body = hints.get("data")
    choices = [choice for choice in get_args(body) if choice is not NoneType]
    is_optional = NoneType in get_args(body)
    answers = _answers(hints["return"])
    return Operation(
        id=str(handler.operation_id),
        method=next(iter(handler.http_methods - {"OPTIONS"})),
        path=path,
        scope=str(handler.opt["scope"]),
        calls=CallClass(handler.opt.get("calls", CallClass.default)),
        status=handler.status_code,
        body=choices[0] if is_optional else body,
        is_body_optional=is_optional,
        accepts=handler.opt.get("accepts"),
        answer=next((answer for answer in answers if answer not in (NoneType, bytes, Stream)), None),
        is_also_mail=bytes in answers and "media" not in handler.opt,
        media=handler.opt.get("media"),
    )


def _answers(hint: Any) -> list[Any]:
    """The types inside ``Response[…]``, inside a union, or alone."""
    if get_origin(hint) is Response:
        return [get_args(hint)[0]]
    # A generic pydantic model is a class, so what has arguments here is a union.
    return [answer for part in get_args(hint) for answer in _answers(part)] or [hint]


def describe(document: JSON, operations: Sequence[Operation]) -> JSON:
    """The framework's document, made whole. Changes it in place and returns it."""
    known = document["components"].pop("schemas", {})
    schemas, definitions = _schemas(operations)
    components = document["components"] | {
        "schemas": definitions | _error_schemas(operations),
        "parameters": {"IdempotencyKey": _IDEMPOTENCY_KEY},
        "headers": _HEADERS,
        "responses": {"unexpected": _unexpected()},
        "examples": {error.code: _error_example(error) for error in _errors(operations)},
    }
    for each in operations:
        item = document["paths"][each.path][each.method.lower()]
        item["parameters"] = list(_parameters(each, item.get("parameters", ()), known))
        item["description"] = _description(each, item.get("description", ""))
        item["security"] = _security(each)
        item["x-scope"] = each.scope
        item["x-rate-class"] = each.calls.value
        item.pop("deprecated", None)
        if each.accepts is not None:
            content: JSON = {each.accepts: {"schema": {"type": "string", "format": "binary"}}}
            item["requestBody"] = {"required": True, "content": content}
        elif each.body is not None:
            item["requestBody"] = _request(each, schemas)
        item["responses"] = _success(each, schemas) | _failures(each, components["responses"])
    document["components"] = components
    document["paths"] = {path: _ordered(document["paths"][path]) for path in sorted(document["paths"])}
    return document


def _ordered(item: JSON) -> JSON:
    """The methods of a path in the order in which people look for them."""
    known = ("parameters", "get", "post", "put", "patch", "delete")
    return {key: item[key] for key in known if key in item}


def _schemas(operations: Iterable[Operation]) -> tuple[dict[tuple[Any, str], JSON], JSON]:
    wanted: dict[tuple[Any, JsonSchemaMode], TypeAdapter[Any]] = {}
    for each in operations:
        if each.body is not None:
            wanted[each.body, "validation"] = TypeAdapter(each.body)
        if each.answer is not None:
            wanted[each.answer, "serialization"] = TypeAdapter(each.answer)
    inputs = [(kind, mode, adapter) for (kind, mode), adapter in wanted.items()]
    made, rest = TypeAdapter.json_schemas(inputs, ref_template=_REF)
    definitions: JSON = _plain(rest.get("$defs", {}))
    changes = [each.body.__name__ for each in operations if each.body and each.method in ("PATCH", "PUT")]
    for name in changes:
        # What is left out stays as it is: the model's default only says that it may be left out.
        for field in definitions.get(name, {}).get("properties", {}).values():
            field.pop("default", None)
    return {key: _plain(schema) for key, schema in made.items()}, definitions


def _plain(value: Any) -> Any:
    """Without pydantic's titles, which repeat names, and with docstrings as Markdown."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("title"), str):
        value = {key: part for key, part in value.items() if key != "title"}
    return {
        key: _markdown(part) if key == "description" and isinstance(part, str) else _plain(part)
        for key, part in value.items()
    }


def _markdown(text: str) -> str:
    """Docstrings mark code as reStructuredText does; OpenAPI speaks Markdown."""
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def _description(each: Operation, text: str) -> str:
    facts = f"Scope `{each.scope}` · rate class `{each.calls.value}`"
    text = _markdown(text)
    return f"{text}\n\n{facts}" if text else facts


def _security(each: Operation) -> list[JSON]:
    schemes = ["bearer", "header", *(["query"] if each.method == "GET" else [])]
    # OpenAPI 3.1 lets any scheme name the roles that a call needs.
    return [{scheme: [each.scope]} for scheme in schemes]


def _parameters(each: Operation, given: Iterable[JSON], known: JSON) -> Iterable[JSON]:
    for parameter in given:
        name, place = parameter["name"], parameter["in"]
        schema = _narrow(parameter["schema"], known)
        prefix = _prefix(each, name)
        if prefix is not None:
            schema = TypeAdapter(Annotated[UUID, IdField(prefix)]).json_schema()
        if name in _LIMITS:
            schema |= {"minimum": 1, "maximum": _LIMITS[name]}
        if name in ("since", "until"):
            # Moments come as text (`newsletter.kit.schema.instant`), days as what they are.
            schema.setdefault("format", "date-time")
        text = _PARAMETERS.get(name, "")
        if place == "path" and prefix is not None:
            text = f"An id that begins with `{prefix}_`."
        elif name == "subscriber":
            text = "The e-mail address, URL-encoded."
        yield {"name": name, "in": place, "required": place == "path", "description": text, "schema": schema}
    if each.method == "POST":
        yield {"$ref": "#/components/parameters/IdempotencyKey"}


def _prefix(each: Operation, name: str) -> str | None:
    if name == "subscriber" and each.method == "DELETE":
        return None
    segment = re.search(r"(\w+/\{id\})", each.path)
    return _PREFIXES.get(segment.group(1) if name == "id" and segment else name)


def _narrow(schema: JSON, known: JSON) -> JSON:
    """A parameter is left out rather than null; enumerations stand where they are used."""
    choices = [choice for choice in schema.get("oneOf", ()) if choice.get("type") != "null"]
    schema = dict(choices[0]) if choices else dict(schema)
    if "$ref" in schema:
        schema = dict(known[schema["$ref"].rpartition("/")[2]])
    schema.pop("title", None)
    schema.pop("description", None)
    return schema


def _request(each: Operation, schemas: Mapping[tuple[Any, str], JSON]) -> JSON:
    content: JSON = {"schema": schemas[each.body, "validation"]}
    if each.id in examples.REQUESTS:
        content["examples"] = examples.REQUESTS[each.id]
    return {"required": not each.is_body_optional, "content": {"application/json": content}}


def _success(each: Operation, schemas: Mapping[tuple[Any, str], JSON]) -> JSON:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _ON_EVERY_ANSWER}
    if each.method == "POST":
        headers["Idempotent-Replayed"] = {"$ref": "#/components/headers/Idempotent-Replayed"}
    found: JSON = {}
    for status in each.statuses:
        text = _TEXTS[status]
        if each.id in UPSERTS:
            text = "It was new." if status == 201 else "It was known, and is updated."
        found[str(status)] = {"description": text, "headers": headers}
        if each.answer is not None:
            content: JSON = {"schema": schemas[each.answer, "serialization"]}
            if each.id in examples.ANSWERS:
                content["example"] = examples.ANSWERS[each.id]
            found[str(status)]["content"] = {"application/json": content}
        if each.media is not None:
            found[str(status)]["content"] = {each.media: {"schema": {"type": "string"}}}
        if each.is_also_mail:
            found[str(status)]["content"]["message/rfc822"] = {}
    return found


def _failures(each: Operation, responses: JSON) -> JSON:
    """References to shared responses: one for each set of codes that operations answer with."""
    by_status: dict[int, list[type[NewsletterError]]] = {}
    for error in errors_of(each):
        by_status.setdefault(error.status, []).append(error)
    found: JSON = {}
    for status, errors in by_status.items():
        name = ".".join([str(status), *(error.code for error in errors)])
        responses.setdefault(name, _failure(errors))
        found[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return found | {"default": {"$ref": "#/components/responses/unexpected"}}


def errors_of(each: Operation) -> raises.Errors:
    return raises.of(each.id, each.method, has_id="{" in each.path, has_body=each.has_body)


def _errors(operations: Iterable[Operation]) -> raises.Errors:
    found = {error: None for each in operations for error in errors_of(each)}
    return tuple(sorted(found, key=lambda error: (error.status, error.code)))


def _failure(errors: Sequence[type[NewsletterError]]) -> JSON:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    if errors[0].status == RateLimited.status:
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    return {
        "description": "\n".join(f"- `{error.code}`: {error.summary}" for error in errors),
        "headers": headers,
        "content": {
            "application/json": {
                "schema": {"$ref": _REF.format(model="Error")},
                "examples": {error.code: {"$ref": f"#/components/examples/{error.code}"} for error in errors},
            }
        },
    }


def _unexpected() -> JSON:
    return {
        "description": "Any other error, such as 500 `internal_error`.",
        "content": {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}},
    }


def _error_example(error: type[NewsletterError]) -> JSON:
    body: JSON = {"code": error.code, "message": error.summary, "request_id": examples.REQUEST_ID}
    if issubclass(error, ValidationFailed) and error is ValidationFailed:
        body["errors"] = {"list_id": ["must be an id that begins with 'lst_'"]}
    return {"summary": error.summary, "value": {"error": body}}


def _error_schemas(operations: Iterable[Operation]) -> JSON:
    codes = [error.code for error in _errors(operations)]
    fields: JSON = {
        "code": {"type": "string", "examples": codes, "description": "Stable: decide by it."},
        "message": {"type": "string", "description": "For people; it may be worded anew."},
        "request_id": {"type": "string", "description": "As `X-Request-Id`: name it when you ask for help."},
        "errors": {
            "type": "object",
            "description": "On 422: each bad field, nested ones as `ai.prompt`, with what is wrong.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    }
    inner = {"type": "object", "properties": fields, "required": ["code", "message", "request_id"]}
    outer = {"error": {"$ref": _REF.format(model="ErrorBody")}}
    return {"ErrorBody": inner, "Error": {"type": "object", "properties": outer, "required": ["error"]}}


_IDEMPOTENCY_KEY: Final[JSON] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes the call safe to repeat for 24 hours: the same key and body get the same answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
}
_ON_EVERY_ANSWER: Final = ("X-Request-Id", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_HEADERS: Final[JSON] = {
    "X-Request-Id": {"description": "Names this call.", "schema": {"type": "string"}},
    "RateLimit-Limit": {
        "description": "Calls that this key has in 60 seconds, for this class.",
        "schema": {"type": "integer"},
    },
    "RateLimit-Remaining": {"description": "Those that are left.", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "Seconds until there are more.", "schema": {"type": "integer"}},
    "Retry-After": {
        "description": "Seconds after which the same call may succeed.",
        "schema": {"type": "integer"},
    },
    "Idempotent-Replayed": {
        "description": "`true` when this is the stored answer of an earlier call.",
        "schema": {"type": "string", "const": "true"},
    },
}
