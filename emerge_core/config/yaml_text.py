"""YAML, read strictly: a key given twice is an error, and words stay words.

YAML 1.1 turns `no`, `on` and `12:30` into booleans and numbers, which mangles names of models. Only
`true`, `false`, `null` and numbers in decimal are anything but text here, and keys are always text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import yaml

from emerge_core.errors import ConfigError

try:
    from yaml import CSafeLoader as BaseLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as BaseLoader  # type: ignore[assignment]

FAULTS = {
    yaml.reader.ReaderError: "a character that YAML does not allow",
    UnicodeEncodeError: "a character that is no Unicode",
    RecursionError: "nested too deeply",
}
# The others are what its constructors fail with where a tag does not fit its value.
FAULTY = (yaml.YAMLError, ValueError, RecursionError, TypeError, LookupError, AttributeError)
MAX_CHARACTERS = 1_000_000
MAX_BRACKETS = 2_000  # open at once: the parser's time grows with the square of their depth
MAX_VALUES = 100_000  # with every alias written out
MERGE_TAG = "tag:yaml.org,2002:merge"


class StrictLoader(BaseLoader):
    """Resolves YAML 1.2's core schema, and refuses duplicate keys, of which one would be lost silently."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own name)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key.start_mark)
            if key.tag == MERGE_TAG:
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key `{shown_key(key.value)}` is there twice (first in line {seen[key.value]})",
                    key.start_mark,
                )  # fmt: skip
            seen[key.value] = key.start_mark.line + 1
            key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value)


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", [*"tTfF"]),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", [*"-+0123456789"]),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", [*"-+.0123456789"]),
    ("merge", r"^<<$", ["<"]),
):
    StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
StrictLoader.add_constructor("tag:yaml.org,2002:int", _int)
StrictLoader.add_constructor("tag:yaml.org,2002:float", _float)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its value, and where in the text each part of it stands."""

    value: Any
    root: yaml.Node | None

    def line(self, place: tuple[str | int, ...]) -> int | None:
        """The line of the value at `place` (of its key, in a mapping), or of the nearest part above it."""
        node, line = self.root, None
        for step in place:
            if isinstance(node, yaml.MappingNode):
                found = next(((k, v) for k, v in node.value if k.value == str(step)), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
        return line


def read_yaml(text: str, *, source: str) -> Document:
    """Raises ConfigError with the line number but without the line's text, which may hold a secret."""
    if len(text) > MAX_CHARACTERS or _open_brackets(text) > MAX_BRACKETS:
        raise ConfigError(f"{source}: is too large for a config")
    try:
        loader = StrictLoader(text)
        root = loader.get_single_node()
        if _values(root, {}) > MAX_VALUES:
            raise ConfigError(f"{source}: its aliases stand for more than {MAX_VALUES} values")
        return Document(loader.construct_document(root) if root is not None else None, root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1})" if mark else ""
        raise ConfigError(f"{source}: not valid YAML{where}: {_unquoted(error.problem or error.context)}") from None
    except FAULTY as error:
        raise ConfigError(
            f"{source}: not valid YAML: {FAULTS.get(type(error), 'a value that cannot be read')}"
        ) from None


def _open_brackets(text: str) -> int:
    """The deepest nesting of brackets. Quoted ones count too: no config quotes that many."""
    depths = accumulate(1 if bracket in "[{" else -1 for bracket in re.findall(r"[\[\]{}]", text))
    return max(depths, default=0)


def _values(node: yaml.Node | None, known: dict[int, int]) -> int:
    """The number of values in a node; those behind an alias count at each use."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0  # should it contain itself
        children = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_values(child, known) for child in children)
    return known[id(node)]


def _unquoted(problem: str | None) -> str:
    """PyYAML's message without its quotations of the text."""
    return re.sub(r"'.*'|\".*\"", "…", problem or "it cannot be read", flags=re.S)


def shown_key(key: str) -> str:
    """A key that is safe to show. Without the space, `api_key:sk-…` is one long key to YAML."""
    name = key.split(":", 1)[0]
    return (name if name != key else key)[:64]
