"""The models of a config as a recording knows them: their names, tiers and temperatures.

The tier says what a search may do with a model: small ones are members of panels, frontier ones are asked if a panel
disagrees.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from emerge_core.config.schema import Config
from emerge_core.errors import EmergeError
from emerge_core.pricing import list_price

MEMBER, FRONTIER = "small", "frontier"


def models_of(config: Config, names: Sequence[str] | None) -> tuple[str, ...]:
    """The models to record: those named, or all. Answers are kept by the upstream's name of a model."""
    unknown = [name for name in names or () if name not in config.models]
    if unknown:
        raise EmergeError(f"no model {unknown[0]!r} in the config; its models are: {', '.join(config.models)}")
    chosen = tuple(dict.fromkeys(names or config.models))
    by_upstream: dict[str, str] = {}
    for name in chosen:
        other = by_upstream.setdefault(config.models[name].model, name)
        if other != name:
            raise EmergeError(
                f"{other} and {name} are both {config.models[name].model!r} upstream, and answers are kept by that "
                "name: record one of them (--models)"
            )
    return chosen


def tiers_of(config: Config) -> dict[str, str]:
    """By the model's place in the config: members are small; models that ensembles only escalate to, or have as
    judge or merger, are frontier. A model in no ensemble has no tier."""
    found: dict[str, str] = {}
    for each in config.ensembles.values():
        asked = (*each.targets, each.aggregator.judge, each.aggregator.merger)
        found = {name: FRONTIER for name in asked if name} | found | {member.model: MEMBER for member in each.members}
    return found


def model_rows(config: Config, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of `models.json`."""
    tiers = tiers_of(config)
    rows = []
    for name in names:
        model = config.models[name]
        row: dict[str, Any] = {"model": model.model, "provider": model.provider}
        if model.family:
            row["family"] = model.family
        if name in tiers:
            row["tier"] = tiers[name]
        if price := list_price(model, config.providers[model.provider]):
            row["price"] = {"input": price.input, "output": price.output}
        rows.append(row)
    return rows


def upstream_names(config: Config, names: Sequence[str], among: Collection[str]) -> set[str]:
    """Raises EmergeError for a name that is not `among` the models to record."""
    for name in names:
        if name not in among:
            raise EmergeError(f"--frontier: {name!r} is not one of the models to record: {', '.join(among)}")
    return {config.models[name].model for name in names}


def temperature_of(config: Config, name: str) -> float | None:
    """The temperature at which the ensembles ask a member. Raises EmergeError if they differ."""
    found = {
        member.temperature
        for each in config.ensembles.values()
        for member in each.members
        if member.model == name and member.temperature is not None
    }
    if len(found) > 1:
        each = " and ".join(f"{value:g}" for value in sorted(found))
        raise EmergeError(f"ensembles ask {name} at the temperatures {each}: choose one by --temperature")
    return found.pop() if found else None
