"""Checks values against JSON schemas that strangers wrote, and bounds the work that such a schema can cause.

A few lines of schema can ask for any amount of it: patterns that backtrack for ever, references that branch at
every step, unique items compared in pairs. So patterns run in RE2, in time linear in the text (those with what
it does not have, look-around and back references, fault nothing); every step of a check is counted; references
are looked up in the schema and in JSON Schema's own dialects, and nothing is ever fetched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

MAX_STEPS = 50_000  # of checking one reply; one that takes more counts as valid, the rest is the upstreams' to hold
MAX_SCHEMA_STEPS = 5_000_000  # of checking a schema itself, whose size is bounded elsewhere
_KEPT = 512  # schemas, by content: agents send the same ones at every turn
_RE2_MEMORY = 1 << 20  # bytes of one compiled pattern

Keyword = Callable[[Any, Any, Any, Any], Any]


class _SpentError(Exception):
    """The steps are used up."""


class _Steps:
    """What is left to spend on one value. A step costs more on a large value: a fault there spells it out."""

    def __init__(self, value: Any, steps: int) -> None:
        self.left = steps
        self._sizes: dict[int, int] = {}
        self._measure(value)

    def spend(self, instance: Any) -> None:
        size = len(instance) if isinstance(instance, str) else self._sizes.get(id(instance), 0)
        self.left -= 1 + (size >> 6)
        if self.left < 0:
            raise _SpentError

    def _measure(self, value: Any) -> int:
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, (dict, list)):
            return 1
        size = 1 + sum(map(self._measure, value.values() if isinstance(value, dict) else value))
        self._sizes[id(value)] = size
        return size


_steps: ContextVar[_Steps] = ContextVar("steps")


def schema_fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    """`<path>: <what>` for a fault of a value against a JSON schema, or None.

    A schema that is itself broken, or that points outside itself, faults nothing: it is the
    upstreams' to refuse.
    """
    if not schema:
        return None
    try:
        validator = _validator(text_of(schema))
        return _first_fault(validator, value, MAX_STEPS) if validator else None
    except ImportError:  # a broken installation must not pass for a valid answer
        raise
    except Exception:  # too much work, an unresolvable reference: the referencing library has its own family
        return None


def text_of(schema: Mapping[str, Any]) -> str:
    """One spelling per schema, under which what is known of it is kept."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=_KEPT)
def schema_error(text: str) -> str | None:
    """The fault of a JSON schema, given as its text, by the rules of its dialect; None for a valid one."""
    schema = json.loads(text)
    dialect = _dialect(schema)
    validator = _bounded(dialect)(dialect.META_SCHEMA, registry=_registry())
    try:
        return _first_fault(validator, schema, MAX_SCHEMA_STEPS)
    except RecursionError:
        return "it is nested too deeply"
    except _SpentError:
        return "it takes too long to check"


@lru_cache(maxsize=4096)
def pattern(text: str) -> Callable[[str], bool] | None:
    """A search for the pattern, or None where RE2 does not have what it is made of."""
    import re2

    options = re2.Options()
    options.log_errors, options.max_mem = False, _RE2_MEMORY
    try:
        compiled = re2.compile(text, options)
    except (re2.error, ValueError):
        return None

    def found(subject: str) -> bool:
        return compiled.search(subject.encode("utf-8", "replace").decode()) is not None

    return found


def _first_fault(validator: Any, value: Any, steps: int) -> str | None:
    token = _steps.set(_Steps(value, steps))
    try:
        error = next(validator.iter_errors(value), None)
    finally:
        _steps.reset(token)
    if error is None:
        return None
    path = "".join(f"/{part}" for part in error.absolute_path) or "/"
    return f"{path}: {error.message[:200]}"


@lru_cache(maxsize=_KEPT)
def _validator(text: str) -> Any:
    """The schema's validator; None for a schema that is broken."""
    if schema_error(text) is not None:
        return None
    schema = json.loads(text)
    return _bounded(_dialect(schema), '"patternProperties"' in text)(schema, registry=_registry())


def _registry() -> Any:
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY  # knows the dialects, and retrieves nothing else


def _dialect(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator  # heavy: only when there is a schema
    from jsonschema.validators import validator_for

    return validator_for(dict(schema), default=Draft202012Validator)


@lru_cache(maxsize=32)
def _bounded(dialect: Any, loose: bool = False) -> Any:
    """The dialect with every keyword counted, and those that may take long in forms that do not. Beside
    `patternProperties` the library's "unevaluated" would run patterns by itself: it is left out."""
    from jsonschema.validators import extend

    own: dict[str, Keyword] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {name: own.get(name, keyword) for name, keyword in dialect.VALIDATORS.items()}
    if loose:
        keywords["unevaluatedProperties"] = _nothing
    bounded: Any = extend(  # type: ignore[no-untyped-call]
        dialect, {name: _counted(keyword) for name, keyword in keywords.items()}
    )
    bounded.evolve = _evolve
    return bounded


def _evolve(validator: Any, **changes: Any) -> Any:
    """The library's own would take up its own, uncounted dialect at every `$schema` inside a schema."""
    import attrs

    return attrs.evolve(validator, **changes)


def _counted(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        _steps.get().spend(instance)
        return keyword(validator, value, instance, schema)

    return check


def _nothing(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    return iter(())


def _pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and (found := pattern(value)) and not found(instance):
        yield ValidationError(f"{instance[:100]!r} does not match {value!r}")


def _pattern_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for text, part in value.items():
            if found := pattern(text):
                for name in filter(found, instance):
                    yield from validator.descend(instance[name], part, path=name, schema_path=text)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if not isinstance(instance, dict):
        return
    finders = [pattern(text) for text in schema.get("patternProperties", ())]
    if None in finders:
        return  # which properties are additional cannot be told
    known = schema.get("properties", {})
    extras = [name for name in instance if name not in known and not any(found(name) for found in finders if found)]
    if isinstance(value, dict):
        for name in extras:
            yield from validator.descend(instance[name], value, path=name)
    elif not value and extras:
        shown = ", ".join(repr(name) for name in sorted(extras)[:20])
        yield ValidationError(f"Additional properties are not allowed ({shown} unexpected)")


def _unique_items(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    from emerge_core.answers.forms.json_keys import canonical

    if value and isinstance(instance, list) and len({canonical(item) for item in instance}) < len(instance):
        yield ValidationError("the items are not unique")
