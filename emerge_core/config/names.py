"""What a client's `model` means: an ensemble, a single model, or an alias of one of them."""

from __future__ import annotations

from functools import lru_cache

from emerge_core.config.schema import AggregatorConfig, Config, EnsembleConfig, MemberConfig

MAX_NAME = 256  # characters of a name that an alias may stand for: it comes back in headers and log lines


def resolve_name(config: Config, name: str) -> str | None:
    """The ensemble or model that clients call by `name`; None if there is none.

    Names of the config come first, then aliases: one without `*`, then the pattern with the most other
    characters. Equal ones are taken in config order.
    """
    if name in config.ensembles or name in config.models:
        return name
    if len(name) > MAX_NAME or not name.isprintable():
        return None
    if "*" not in name and name in config.aliases:
        return config.aliases[name]
    matching = [pattern for pattern in config.aliases if "*" in pattern and _matches(pattern, name)]
    if not matching:
        return None
    return config.aliases[max(matching, key=lambda pattern: len(pattern.replace("*", "")))]


def ensemble_of(config: Config, name: str) -> EnsembleConfig | None:
    """The ensemble that clients call by `name`; a single model is an ensemble of one."""
    resolved = resolve_name(config, name)
    if resolved is None:
        return None
    if resolved in config.ensembles:
        return config.ensembles[resolved]
    model = config.models[resolved]
    return _alone(resolved, model.timeout_at(config.providers[model.provider]) or 0.0)


@lru_cache(maxsize=1024)
def _alone(model: str, own_s: float) -> EnsembleConfig:
    return EnsembleConfig(
        members=(MemberConfig(model=model),),
        aggregator=AggregatorConfig(name="vote"),
        deadline_s=min(max(25.0, own_s), 900.0),  # alone, a slow model may take its own time
    )


def _matches(pattern: str, name: str) -> bool:
    """Whether the name has the pattern's parts in that order, `*` being anything. Linear in the name."""
    first, *middle, last = pattern.split("*")
    if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
