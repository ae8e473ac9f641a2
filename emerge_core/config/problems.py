"""What is wrong with a config, in messages that say how to fix it.

A problem is a place and a fault. A message repeats names of keys, models and ensembles, but never a value:
one of them may be a secret that was pasted where its name belongs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import ValidationError

from emerge_core.config.schema import Config, Section
from emerge_core.config.yaml_text import Document, shown_key
from emerge_core.errors import ConfigError
from emerge_core.provider_kinds import KINDS

Place = tuple[str | int, ...]


class Problem(NamedTuple):
    place: Place
    fault: str


def config_error(problems: Iterable[Problem], *, source: str, document: Document) -> ConfigError:
    lines = []
    for at, fault in problems:
        place = _as_written(at, document.value)
        line = document.line(place)
        where = shown_place(place) + (f" (line {line})" if line else "")
        lines.append(f"  {where}: {fault}" if where else f"  {fault}")
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return ConfigError("\n".join([f"{source}: {count}", *lines]))


def _as_written(place: Place, raw: Any) -> Place:
    """The place without the index of an only entry that stands there by itself, such as `escalate: {to: …}`."""
    written: list[str | int] = []
    for step in place:
        if step == 0 and isinstance(raw, dict):
            continue
        written.append(step)
        try:
            raw = raw[step]
        except (KeyError, IndexError, TypeError):
            raw = None
    return tuple(written)


def shown_place(place: Place) -> str:
    """`ensembles.emerge.members[1].weight`; names that would confuse it are quoted."""
    shown = ""
    for step in place:
        if isinstance(step, int):
            shown += f"[{step}]"
        elif "." in step or " " in step:
            shown += f'["{step}"]'
        else:
            shown += f".{step}" if shown else step
    return shown


def nearest(word: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    match = nearest(word, known) if isinstance(word, str) else None
    return f", did you mean `{match}`?" if match else ""


def schema_problems(error: ValidationError, raw: Any) -> list[Problem]:
    """Pydantic's findings in our words. A list that is too short is no finding if one of its entries is at fault,
    because pydantic counts only the valid ones."""
    found = error.errors(include_url=False)
    places = [detail["loc"] for detail in found]
    return [
        _problem(detail["type"], place, detail, raw)
        for detail, place in zip(found, places, strict=True)
        if detail["type"] != "too_short" or not any(len(p) > len(place) and p[: len(place)] == place for p in places)
    ]


def _problem(kind: str, place: Place, detail: Mapping[str, Any], raw: Any) -> Problem:
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if place and place[-1] == "[key]":
        return Problem((*place[:-2], shown_key(str(place[-2]))), NAME_RULE)
    if kind == "missing":
        return Problem(place, "is missing" + _choices(place))
    if place and isinstance(_value(raw, place[:-1]), str):
        place = place[:-1]  # `aggregator: vot` was read as {name: vot}
    fault = FAULTS.get(kind)
    if kind == "literal_error":
        options = _options(tuple(detail["loc"]))
        fault = f"must be one of {', '.join(options)}" + did_you_mean(detail["input"], options)
    elif kind == "unknown_name":
        known = detail["ctx"]["known"].split(", ")
        fault = detail["msg"] + did_you_mean(detail["input"], known)
    elif kind == "string_pattern_mismatch":
        fault = PATTERN_FAULTS.get(str(detail["loc"][-1]), NAME_RULE)
        if "answer_key" in place:
            fault = PATTERN_FAULTS["answer_key"]
    elif kind in ("model_type", "model_attributes_type"):
        fault = "must be a mapping" + _known_keys(_annotation(place))
    elif kind == "string_type" and place and place[-1] == "api_key":
        fault = PATTERN_FAULTS["api_key"]
    return Problem(place, fault or detail["msg"].removeprefix("Value error, ").replace("Input should", "must"))


NAME_RULE = "names start with a letter or digit and go on with letters, digits and . _ : / - (128 at most)"

PATTERN_FAULTS = {
    "api_key": "write env:NAME (the name of the environment variable that holds the key), ssm:/path, "
    "secret:NAME_OR_ARN or secret:NAME_OR_ARN#field (a field of a JSON secret), and never the key itself",
    "answer_key": 'must be a JSON pointer, such as "/label"',
}

FAULTS = {
    "string_type": "must be text: put it in quotes",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "finite_number": "must be a finite number",
    "too_short": "must have at least one entry",
}


def _unknown_key(place: Place) -> Problem:
    key = str(place[-1])
    section = _annotation(place[:-1])
    known = list(section.model_fields) if _is_section(section) else []
    shown = shown_key(key)
    if shown != key:
        return Problem((*place[:-1], shown), "a space is missing after the colon")
    return Problem(place, f"unknown key{did_you_mean(key, known)}" + _known_keys(section))


def _known_keys(section: Any) -> str:
    return f" (known here: {', '.join(section.model_fields)})" if _is_section(section) else ""


def _choices(place: Place) -> str:
    options = _options(place)
    return f" (one of {', '.join(options)})" if options else ""


def _options(place: Place) -> list[str]:
    """The values that the schema allows at a place; empty if it lists none."""
    if place[:1] == ("providers",) and place[-1] == "kind":
        return list(KINDS)
    annotation = _annotation(place)
    return [str(option) for option in get_args(annotation)] if get_origin(annotation) is Literal else []


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _annotation(place: Place) -> Any:
    """The type that the schema wants at a place; None where it knows no such place."""
    annotation: Any = Config
    for step in place:
        if _is_section(annotation):
            field = annotation.model_fields.get(str(step))
            annotation = field.annotation if field else None
        else:
            arguments = get_args(annotation)
            annotation = arguments[1 if get_origin(annotation) is dict else 0] if arguments else None
        annotation = _bare(annotation)
    return annotation


def _bare(annotation: Any) -> Any:
    """Without Annotated[…] and `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType):
            annotation = next(option for option in get_args(annotation) if option is not NoneType)
        else:
            return annotation


def _value(raw: Any, place: Place) -> Any:
    for step in place:
        try:
            raw = raw[step]
        except (KeyError, IndexError, TypeError):
            return None
    return raw
