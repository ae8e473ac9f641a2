"""The tables of this room's README, made from the schema, the tables of parts and the environment variables.

`python -m emerge_core.config.reference` rewrites the page; a test fails while it differs.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from emerge_core.aggregators.registry import AGGREGATORS
from emerge_core.config import schema
from emerge_core.config.schema import NamedIn, Section
from emerge_core.config.variables import VARIABLES
from emerge_core.provider_kinds import KINDS
from emerge_core.strategies.registry import STRATEGIES

PAGE = Path(__file__).parent / "README.md"

SECTIONS: dict[str, type[Section]] = {
    "config": schema.Config,
    "provider": schema.ProviderConfig,
    "breaker": schema.BreakerConfig,
    "guardrail": schema.GuardrailConfig,
    "model": schema.ModelConfig,
    "price": schema.PriceConfig,
    "supports": schema.Supports,
    "embedder": schema.EmbedderConfig,
    "ensemble": schema.EnsembleConfig,
    "member": schema.MemberConfig,
    "strategy": schema.StrategyConfig,
    "aggregator": schema.AggregatorConfig,
    "escalate": schema.EscalateConfig,
    "stragglers": schema.StragglersConfig,
}


def page(text: str) -> str:
    """`text` with the tables between its markers `<!-- NAME -->` and `<!-- end -->` made anew."""
    tables = {"settings": settings, "parts": parts, "variables": variables}

    def made(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n" + "\n".join(tables[found[1]]()) + "\n<!-- end -->"

    return re.sub(r"<!-- (settings|parts|variables) -->\n.*?<!-- end -->", made, text, flags=re.S)


def settings() -> Iterator[str]:
    """A table of every section of a config."""
    for name, section in SECTIONS.items():
        yield from (f"### {name}", "", _sentence(inspect.getdoc(section) or ""), "")
        yield from ("| setting | values | default | what it does |", "|---|---|---|---|")
        texts = field_texts(section)
        for key, info in section.model_fields.items():
            default = "**required**" if info.is_required() else _default(info.get_default(call_default_factory=True))
            yield _row(f"`{key}`", _values(info), default, texts[key])
        yield ""


def parts() -> Iterator[str]:
    """Tables of the kinds of providers, the strategies and the aggregators."""
    yield from ("| kind | its own address | key | embeddings | token probabilities |", "|---|---|---|---|---|")
    for name, kind in KINDS.items():
        address = (
            "none: it answers in this process" if kind.in_process else f"`{kind.base_url}`" if kind.base_url else "-"
        )
        yield _row(f"`{name}`", address, kind.key, _yes(kind.embeddings), _yes(kind.logprobs))
    yield from ("", "| strategy | asks | options | `escalate` | `aggregator` |", "|---|---|---|---|---|")
    for name, strategy in STRATEGIES.items():
        uses = _yes(strategy.escalates), _yes(strategy.aggregates)
        yield _row(f"`{name}`", strategy.asks.removeprefix("asks "), _names(strategy.options), *uses)
    yield from ("", "| aggregator | options | requires | can decide early |", "|---|---|---|---|")
    for name, aggregator in AGGREGATORS.items():
        required = ", ".join(f"`{option}`, the model that {does}" for option, does in aggregator.needs.items()) or "-"
        yield _row(f"`{name}`", _names(aggregator.options), required, _yes(aggregator.decides_early is not None))
    yield ""


def variables() -> Iterator[str]:
    yield from ("| variable | read by | meaning | default |", "|---|---|---|---|")
    for name, variable in VARIABLES.items():
        yield _row(f"`{name}`", variable.where, variable.meaning, variable.default)


def field_texts(section: type[Section]) -> dict[str, str]:
    """The text below each field of a section, from its source: a program that serves never needs it."""
    (body,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


def _values(info: FieldInfo) -> str:
    return _shown(info.annotation, info.metadata)


def _shown(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _shown(
            arguments[0], [part for each in arguments[1:] for part in getattr(each, "metadata", None) or [each]]
        )
    if origin in (Union, UnionType):
        return _shown(next(option for option in arguments if option is not NoneType), metadata)
    if origin is Literal:
        return ", ".join(f"`{option}`" for option in arguments)
    for each in metadata:
        if isinstance(each, NamedIn):
            return ", ".join(f"`{name}`" for name in each.table)
    if origin is dict:
        return "mapping"
    if origin is tuple:
        return "list"
    if annotation is bool:
        return "`true`, `false`"
    if annotation in (int, float):
        return ("number" if annotation is float else "whole number") + _bounds(metadata)
    return "mapping" if isinstance(annotation, type) and issubclass(annotation, Section) else "text"


def _bounds(metadata: list[Any] | tuple[Any, ...]) -> str:
    low = next((each.ge for each in metadata if isinstance(each, annotated_types.Ge)), None)
    high = next((each.le for each in metadata if isinstance(each, annotated_types.Le)), None)
    above = next((each.gt for each in metadata if isinstance(each, annotated_types.Gt)), None)
    if low is not None and high is not None:
        return f", {low} to {high}"
    parts = [f"from {low}"] if low is not None else [f"above {above}"] if above is not None else []
    return "".join(f", {part}" for part in [*parts, *([f"up to {high}"] if high is not None else [])])


def _default(value: Any) -> str:
    if value is None or value == () or value == {} or isinstance(value, Section):
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, (int, float)) else f"`{value}`"


def _sentence(text: str) -> str:
    return " ".join(text.split())


def _names(options: tuple[str, ...]) -> str:
    return ", ".join(f"`{option}`" for option in options) or "-"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
