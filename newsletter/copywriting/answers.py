"""Reads a model's answer: JSON if it is a good day, JSON somewhere in prose if not."""

import json
import re

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from newsletter.copywriting.checks import MAX_BODY_CHARS, Unusable

_MAX_STARTS = 50


class Newsletter(BaseModel):
    """What the model should answer. The limits of the task are judged later and mended;
    these only stop what is no newsletter at all. Other fields are nothing to us: there is
    no field by which a model could choose recipients or send."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)

    subject: str = Field(max_length=1_000)
    preheader: str = Field(max_length=2_000)
    body_html: str = Field(min_length=1, max_length=MAX_BODY_CHARS)


def read(text: str) -> Newsletter:
    """Raises `Unusable` with the validator's words for the repair round."""
    try:
        fields = _object_in(text)
        return Newsletter.model_validate({name: _encodable(value) for name, value in fields.items()})
    except ValidationError as error:
        raise Unusable(
            *(
                f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}."
                for problem in error.errors(include_url=False, include_context=False, include_input=False)
            )
        ) from error


def _encodable(value: object) -> object:
    """JSON can hold half of a surrogate pair, which is no character and no UTF-8."""
    return value.encode("utf-8", "ignore").decode() if isinstance(value, str) else value


def _object_in(text: str) -> dict[str, object]:
    """The first JSON object that looks like an answer, without the thoughts, fences and
    greetings that some models put around it."""
    text = re.sub(r"^\s*<think>.*?</think>", "", text.removeprefix("\ufeff"), count=1, flags=re.DOTALL)
    # Some servers let raw control characters through inside strings, hence not strict.
    decoder = json.JSONDecoder(strict=False)
    problem = "The answer holds no JSON object."
    start = text.find("{")
    for _ in range(_MAX_STARTS):
        if start < 0:
            break
        try:
            value, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            problem = f"The answer is not valid JSON: {error.msg} at character {error.pos}."
            end = start + 1
        except (ValueError, RecursionError):
            problem, end = "The answer is not valid JSON.", start + 1
        else:
            if isinstance(value, dict) and value.keys() & Newsletter.model_fields.keys():
                return value
            if isinstance(value, dict):
                problem = "The JSON object has none of the fields subject, preheader, body_html."
        start = text.find("{", end)
    raise Unusable(problem)
