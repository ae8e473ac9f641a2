"""Keys of tool calls: two replies have the same key if a program would do the same with their calls.

The key is the multiset of function names and arguments. Defaults of the schema are filled in, numbers compare by
value, lists compare as sets if the schema says `uniqueItems`, and a free string of several words compares without
case, repeated white space and outer punctuation. Any other string is an id, a code, a path or a choice, and compares
exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emerge_core.answers.forms import json_keys
from emerge_core.answers.json_schema import compiled
from emerge_core.types import AnswerKey, ChatRequest, ToolCall

MAX_CALLS = 128  # in one reply: OpenAI takes no more in one message, so they could not be sent back
MAX_DEPTH = 100  # levels of arguments
_MAX_SCHEMA_DEPTH = 20  # levels of a schema that are followed; deeper strings compare exactly

# Two or more words of letters, with sentence marks at their ends, and apostrophes or hyphens inside: what follows a
# mark directly, as in `os.path` or `-v`, belongs to code.
_SENTENCE_WORD = r"[\"'“”‘’(]?[^\W\d_]+(?:['’-][^\W\d_]+)*[\"'“”‘’)]?[.,;:!?…]{0,3}"
_SENTENCE = re.compile(rf"\s*{_SENTENCE_WORD}(?:\s+{_SENTENCE_WORD})+\s*")
_OUTER = " \t\r\n.,;:!?…\"'“”‘’"
# Properties whose strings a program reads character by character, whatever they look like.
_EXACT_NAME = re.compile(
    r"(?:^|_)(?:ids?|codes?|cmd|commands?|scripts?|source|sql|regex|patterns?|expr|expressions?|paths?|files?|filenames?|"
    r"dirs?|director(?:y|ies)|urls?|uris?|keys?|tokens?|passwords?|passphrase|secrets?|hash|shell|snippet|html|xml|"
    r"json|yaml|bytes|data|seed|salt|old|new|find|replace|replacement|delimiter|separator)(?:$|_)"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Tools:
    """The tools that a request offers, and what it demands of the reply."""

    def __init__(self, request: ChatRequest) -> None:
        self.schemas: dict[str, Mapping[str, Any]] = {}
        for tool in request.tools if request.offers_tools else ():
            function = tool.get("function")
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                parameters = function.get("parameters")
                self.schemas[function["name"]] = parameters if isinstance(parameters, Mapping) else {}
        choice = request.tool_choice
        self.named: str | None = None
        if isinstance(choice, Mapping):
            function = choice.get("function")
            name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
            self.named = name if isinstance(name, str) else None
        self.demanded = request.offers_tools and (choice == "required" or self.named is not None)
        self.parallel = request.parallel_tool_calls is not False

    def fault(self, calls: Sequence[ToolCall]) -> str | None:
        """What is wrong with the calls, or None."""
        if not self.schemas:
            return "no tools were offered"
        if len(calls) > MAX_CALLS:
            return f"{len(calls)} calls at once, and at most {MAX_CALLS} are taken"
        if len(calls) > 1 and not self.parallel:
            return "several calls at once, which the request forbids"
        for call in calls:
            if call.name not in self.schemas:
                return f"{call.name[:64]!r} is not one of the offered tools"
            if self.named is not None and call.name != self.named:
                return f"{call.name[:64]!r} was called, {self.named!r} was demanded"
            arguments = json_keys.parse(call.arguments or "{}")
            if json_keys.exceeds_values(call.arguments):
                return f"the arguments of {call.name!r} have more than {json_keys.MAX_VALUES:,} parts"
            if arguments is None or not isinstance(arguments[0], dict):
                return f"the arguments of {call.name!r} are not a JSON object"
            if _deeper_than(arguments[0], MAX_DEPTH):
                return f"the arguments of {call.name!r} are nested more than {MAX_DEPTH} levels deep"
            if wrong := compiled(self.schemas[call.name]).fault(arguments[0]):
                return f"{call.name}: {wrong}"
        return None

    def key(self, calls: Sequence[ToolCall]) -> AnswerKey | None:
        """The key of the calls, or None if the arguments of one cannot be read."""
        if len(calls) > MAX_CALLS:
            return None
        found = []
        for call in calls:
            arguments = json_keys.parse(call.arguments or "{}")
            if arguments is None or _deeper_than(arguments[0], MAX_DEPTH):
                return None
            schema = self.schemas.get(call.name, {})
            found.append(json_keys.spelled([call.name, _Meaning(schema).of(arguments[0], schema)]))
        return AnswerKey("tools", "[" + ",".join(sorted(found)) + "]")


def names_key(calls: Sequence[ToolCall]) -> AnswerKey:
    """The names alone: what is voted on when no majority agrees on the arguments."""
    return AnswerKey("names", json_keys.canonical(sorted(call.name for call in calls)))


class _Meaning:
    """Arguments in the form in which equal ones compare equal, according to the schema of the function."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def of(self, value: Any, schema: Any, name: str = "", depth: int = 0) -> Any:
        schemas = list(self._alternatives(schema, depth))
        if isinstance(value, dict):
            return self._object(value, schemas, depth)
        if isinstance(value, list):
            return self._list(value, schemas, name, depth)
        if isinstance(value, str):
            return _folded(value) if _is_free(schemas) and not _is_exact_name(name) else value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value

    def _object(self, value: dict[str, Any], schemas: list[Mapping[str, Any]], depth: int) -> dict[str, Any]:
        properties: dict[str, list[Any]] = {}
        for schema in schemas:
            named = schema.get("properties")
            for name, part in named.items() if isinstance(named, Mapping) else ():
                properties.setdefault(name, []).append(part)
        only = schemas[0] if len(schemas) == 1 else {}
        others = only.get("additionalProperties") if "patternProperties" not in only else None
        found = {
            name: self.of(item, _one_of(properties.get(name, [others])), name, depth + 1)
            for name, item in value.items()
        }
        for name, parts in properties.items():
            part = parts[0]
            if len(schemas) == 1 and name not in found and isinstance(part, Mapping) and "default" in part:
                found[name] = self.of(part["default"], part, name, depth + 1)
        return found

    def _list(self, value: list[Any], schemas: list[Mapping[str, Any]], name: str, depth: int) -> list[Any]:
        items = [schema.get("items") for schema in schemas if "prefixItems" not in schema]
        found = [self.of(item, _one_of(items), name, depth + 1) for item in value]
        if schemas and all(schema.get("uniqueItems") is True for schema in schemas):
            return sorted({json_keys.spelled(item): item for item in found}.values(), key=json_keys.spelled)
        return found

    def _alternatives(self, schema: Any, depth: int) -> Iterator[Mapping[str, Any]]:
        """The schemas that a value may follow. An empty schema stands for one that is not understood."""
        if not isinstance(schema, Mapping) or depth > _MAX_SCHEMA_DEPTH:
            yield {}
            return
        if isinstance(reference := schema.get("$ref"), str):
            target = json_keys.at_path(self._root, reference[1:]) if reference.startswith("#/") else None
            yield from self._alternatives(target if isinstance(target, Mapping) else None, depth + 1)
            return
        combined = [part for key in ("anyOf", "oneOf") for part in schema.get(key) or () if isinstance(part, Mapping)]
        if combined or "allOf" in schema or "if" in schema:
            known = [part for part in combined if part.get("type") != "null"]
            if "allOf" in schema or "if" in schema or not known or len(combined) > _MAX_SCHEMA_DEPTH:
                yield {}
            for part in known[:_MAX_SCHEMA_DEPTH]:
                yield from self._alternatives(part, depth + 1 if len(known) == 1 else depth + _MAX_SCHEMA_DEPTH // 2)
            return
        yield schema


def _one_of(schemas: Sequence[Any]) -> Any:
    return schemas[0] if len(schemas) == 1 else {"anyOf": [*schemas]} if schemas else None


def _is_free(schemas: list[Mapping[str, Any]]) -> bool:
    """Whether the schemas leave a string to the model: no choice, no pattern, no format."""
    return bool(schemas) and all(
        _allows_strings(schema.get("type")) and schema.keys().isdisjoint(("enum", "const", "pattern", "format"))
        for schema in schemas
    )


def _allows_strings(kind: Any) -> bool:
    return kind == "string" or (isinstance(kind, list) and "string" in kind)


def _is_exact_name(name: str) -> bool:
    return _EXACT_NAME.search(_CAMEL.sub("_", name).lower()) is not None


def _folded(text: str) -> str:
    """A text of several words without case, repeated white space and outer punctuation; any other text as it is."""
    if len(text) > json_keys.SHORT * 100 or not _SENTENCE.fullmatch(text):
        return text
    return " ".join(text.strip(_OUTER).casefold().split())


def _deeper_than(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return any(isinstance(node, (dict, list)) for node in level)
