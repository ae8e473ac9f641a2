"""Checks values against JSON schemas that clients send, with a bound on the work that any schema can cause.

A few lines of schema can ask for an unlimited amount of it: patterns that backtrack, references that branch at every
step, unique items compared in pairs. Therefore patterns run in RE2, in time linear in the text, and nothing else ever
compiles them; every step of a check is counted; references are resolved in the schema and in JSON Schema's own
dialects, and nothing is fetched. What RE2 does not support (look-around, back references, very large patterns) is
not checked: `unchecked_patterns` lists it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from emerge_core.answers.bounded_cache import BoundedCache
from emerge_core.errors import EmergeError
from emerge_core.types import ChatRequest

MAX_STEPS = 30_000  # of checking one reply, about 0.01 ms each; a reply that needs more counts as valid
MAX_VALUES = 100_000  # in one reply; a reply with more counts as valid
MAX_SCHEMA_STEPS = 5_000_000  # of checking a schema itself, whose size is bounded elsewhere
MAX_PATTERN = 1_000  # characters of a pattern that is compiled
MAX_COMPILING = 10_000  # the cost of all patterns of a request that are compiled before a reply is there
MAX_PROPERTY_CLASSES = 8  # `\\p{…}` in a pattern: RE2 takes 0.1 ms to compile each
_RE2_MEMORY = 1 << 18  # bytes of one compiled pattern, its states included
_DICT_BYTES = 24  # of memory per character of JSON text, at most: "{}," becomes an empty dict

Keyword = Callable[[Any, Any, Any, Any], Any]
Search = Callable[[str], bool]


class _SpentError(Exception):
    """No steps are left."""


class _Steps:
    """The steps left for one check. A step costs more on a large value, because an error message spells it out."""

    def __init__(self, value: Any, steps: int) -> None:
        self.left = steps
        self._sizes: dict[int, int] = {}
        self._values = 0
        self._measure(value)

    def spend(self, instance: Any) -> None:
        self.spend_steps(1 + (self._size(instance) >> 6))

    def spend_comparisons(self, instance: Any, others: int) -> None:
        """Charge for comparing a value with others, part by part."""
        self.spend_steps(others * (1 + self._size(instance)) >> 4)

    def spend_steps(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _SpentError

    def _size(self, instance: Any) -> int:
        return len(instance) if isinstance(instance, str) else self._sizes.get(id(instance), 0)

    def _measure(self, value: Any) -> int:
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, (dict, list)):
            return 1
        self._values += len(value)
        if self._values > MAX_VALUES:
            raise _SpentError
        size = 1 + sum(map(self._measure, value.values() if isinstance(value, dict) else value))
        self._sizes[id(value)] = size
        return size


_steps: ContextVar[_Steps] = ContextVar("steps")


def check_installation() -> None:
    """Raises EmergeError if the linear-time engine for patterns cannot be imported."""
    try:
        import re2  # noqa: F401
    except ImportError as error:
        raise EmergeError(
            f"google-re2 cannot be imported ({error}): install it with `pip install google-re2`."
        ) from None


class CompiledSchema:
    """A schema that values are checked against. A schema that is itself broken, or that refers outside itself,
    accepts every value: it is up to the providers to refuse it."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def fault(self, value: Any) -> str | None:
        """`<path>: <message>` for the first fault of a value, or None."""
        if self._validator is None:
            return None
        try:
            return _first_fault(self._validator, value, MAX_STEPS)
        except ImportError:  # a broken installation must not pass for a valid answer
            raise
        except Exception:  # too much work, an unresolvable reference: the referencing library has its own family
            return None


_ANYTHING = CompiledSchema(None)
_schemas: BoundedCache[CompiledSchema] = BoundedCache(32 << 20)
_errors: BoundedCache[str | None] = BoundedCache(1 << 20)


def compiled(schema: Mapping[str, Any]) -> CompiledSchema:
    """The schema, compiled; kept by content, because agents send the same schemas at every turn."""
    if not schema:
        return _ANYTHING
    text = schema_text(schema)
    if kept := _schemas.get(text):
        return kept[0]
    made = _ANYTHING
    if schema_error(text) is None:
        parsed = json.loads(text)
        loose = '"patternProperties"' in text
        made = CompiledSchema(_bounded(_dialect(parsed), loose)(parsed, registry=_registry()))
    _schemas.put(text, made, _DICT_BYTES * len(text))
    return made


def schema_fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    """`<path>: <message>` for the first fault of a value against a JSON schema, or None. See `CompiledSchema`."""
    return compiled(schema).fault(value)


def schema_text(schema: Mapping[str, Any]) -> str:
    """The canonical spelling of a schema."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


def schema_error(text: str) -> str | None:
    """The first error of a JSON schema, given as its text, by the rules of its dialect; None for a valid one."""
    if kept := _errors.get(text):
        return kept[0]
    error = _schema_error(json.loads(text))
    _errors.put(text, error, len(error or ""))
    return error


def _schema_error(schema: Any) -> str | None:
    dialect = _dialect(schema)
    validator = _bounded(dialect)(_metaschema(dialect), registry=_registry())
    try:
        return _first_fault(validator, schema, MAX_SCHEMA_STEPS)
    except RecursionError:
        return "it is nested too deeply"
    except _SpentError:
        return "it takes too long to check"


@lru_cache(maxsize=32)
def _metaschema(dialect: Any) -> Any:
    """The metaschema of a dialect in one piece. Since 2019 the dialects are put together from vocabularies by dynamic
    references, which take eight times as long to follow as plain ones, and mean the same if no dialect extends them."""
    whole = dialect.META_SCHEMA
    if "allOf" not in whole:
        return whole
    resolver = _registry().resolver(whole["$id"])
    properties: dict[str, Any] = dict(whole["properties"])
    definitions: dict[str, Any] = {}
    for part in whole["allOf"]:
        vocabulary = resolver.lookup(part["$ref"]).contents
        properties = {**vocabulary.get("properties", {}), **properties}
        definitions |= vocabulary.get("$defs", {})
    return _plain_references({"type": whole["type"], "properties": properties, "$defs": definitions})


def _plain_references(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {name: _plain_references(item) for name, item in node.items()}
    for name in ("$dynamicRef", "$recursiveRef"):
        if isinstance(node.get(name), str):
            del plain[name]
            plain["$ref"] = "#"
    if isinstance(reference := node.get("$ref"), str):
        plain["$ref"] = "#" + reference.partition("#")[2]  # the definitions of all vocabularies stand in one place
    return plain


class Pattern(NamedTuple):
    """A pattern of a schema: how to search for it, or why it is not searched for.

    `error` is set if it is not a regular expression at all. With neither, RE2 does not support it.
    """

    search: Search | None
    error: str | None = None


_patterns: BoundedCache[Pattern] = BoundedCache(128 * _RE2_MEMORY)
# How RE2 begins the messages about patterns that no other engine would compile either.
_BROKEN = ("missing ", "unexpected ", "no argument for repetition operator", "trailing \\")


def pattern(text: str) -> Pattern:
    """A compiled pattern."""
    if kept := _patterns.get(text):
        return kept[0]
    if len(text) > MAX_PATTERN or text.count("\\p") + text.count("\\P") > MAX_PROPERTY_CLASSES:
        return Pattern(None)
    if steps := _steps.get(None):
        steps.spend_steps(2 * compile_cost(text))
    made = _compile(text)
    _patterns.put(text, made, _RE2_MEMORY if made.search else len(made.error or ""))
    return made


def compile_cost(text: str) -> int:
    """The cost of compiling a pattern. Short ones may repeat themselves many times, so each has a base cost."""
    return 100 + len(text)


def _compile(text: str) -> Pattern:
    import re2

    options = re2.Options()
    options.log_errors, options.max_mem = False, _RE2_MEMORY
    try:
        expression = re2.compile(text, options)
    except re2.error as error:
        message = (error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error))[:100]
        return Pattern(None, message if message.startswith(_BROKEN) else None)
    except ValueError:
        return Pattern(None)
    finally:
        re2.purge()  # its own cache counts patterns, not bytes

    def search(subject: str) -> bool:
        return expression.search(subject.encode("utf-8", "replace").decode()) is not None

    return Pattern(search)


def unchecked_patterns(request: ChatRequest) -> list[str]:
    """The patterns of the request's schemas that replies are not checked against, each once. Of very many patterns,
    those whose cost exceeds `MAX_COMPILING` are listed without compiling them to find out."""
    schemas = [request.json_schema, *(tool.get("function") for tool in request.tools if request.offers_tools)]
    found = dict.fromkeys(text for schema in schemas if schema for text in patterns_in(schema))
    costs = accumulate(map(compile_cost, found))
    return [text for text, cost in zip(found, costs, strict=True) if cost > MAX_COMPILING or not pattern(text).search]


def patterns_in(schema: Any) -> list[str]:
    """Every pattern in a schema, in order; also those where a pattern has no effect."""
    found: list[str] = []
    nodes = [schema]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Mapping):
            if isinstance(text := node.get("pattern"), str):
                found.append(text)
            if isinstance(named := node.get("patternProperties"), Mapping):
                found.extend(text for text in named if isinstance(text, str))
            nodes.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            nodes.extend(reversed(node))
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


def _registry() -> Any:
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY  # contains the dialects, and retrieves nothing else


def _dialect(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator  # heavy: only when there is a schema
    from jsonschema.validators import validator_for

    return validator_for(dict(schema), default=Draft202012Validator)


@lru_cache(maxsize=32)
def _bounded(dialect: Any, loose: bool = False) -> Any:
    """The dialect with every keyword counted, and with bounded versions of those that may take long.

    If `loose`, `unevaluatedProperties` is left out: beside `patternProperties` the library would run the patterns
    in Python's engine.
    """
    from jsonschema.validators import extend

    own: dict[str, Keyword] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {name: own.get(name, keyword) for name, keyword in dialect.VALIDATORS.items()}
    for name in keywords.keys() & {"const", "enum"}:
        keywords[name] = _counted_comparison(keywords[name], several=name == "enum")
    if loose:
        keywords["unevaluatedProperties"] = _nothing
    bounded: Any = extend(  # type: ignore[no-untyped-call]
        dialect, {name: _counted(keyword) for name, keyword in keywords.items()}
    )
    bounded.evolve = _evolve
    return bounded


def _evolve(validator: Any, **changes: Any) -> Any:
    """Keeps the dialect: the library would switch to an unbounded one at every `$schema` inside a schema."""
    import attrs

    return attrs.evolve(validator, **changes)


def _counted(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        _steps.get().spend(instance)
        return keyword(validator, value, instance, schema)

    return check


def _counted_comparison(keyword: Keyword, *, several: bool) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        _steps.get().spend_comparisons(instance, len(value) if several and isinstance(value, list) else 1)
        return keyword(validator, value, instance, schema)

    return check


def _nothing(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    return iter(())


def _pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and (search := pattern(value).search) and not search(instance):
        yield ValidationError(f"{instance[:100]!r} does not match {value!r}")


def _pattern_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for text, part in value.items():
            if search := pattern(text).search:
                for name in filter(search, instance):
                    yield from validator.descend(instance[name], part, path=name, schema_path=text)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if not isinstance(instance, dict):
        return
    finders = [pattern(text).search for text in schema.get("patternProperties", ())]
    if None in finders:
        return  # it is unknown which properties are additional
    known = schema.get("properties", {})
    extras = [name for name in instance if name not in known and not any(search(name) for search in finders if search)]
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
