"""Prepares a config for measuring: its providers are redirected to the replay server, all else stays as written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emerge_core.config.schema import BreakerConfig, Config, EnsembleConfig, ModelConfig, PriceConfig, ProviderConfig
from emerge_core.config.variables import REPLAY_KEY
from emerge_core.errors import EmergeError
from emerge_core.evals.recordings.recording import RecordedModel
from emerge_core.pricing import list_price
from emerge_core.provider_kinds import KINDS

LIVE = "live/"
DEADLINE_S = 900.0  # the machine's load must not decide which answers count


@dataclass(frozen=True, slots=True)
class Panel:
    """The models of a config, by their part in a measurement."""

    recorded: tuple[str, ...]  # answered by the replay server
    simulated: tuple[str, ...]  # answered in process, without a recording
    members: tuple[str, ...]  # of some ensemble's panel


def panel_of(config: Config) -> Panel:
    """Models that only judge or merge need no recorded answers and are in none of the lists."""
    members = {member.model for ensemble in config.ensembles.values() for member in ensemble.members}
    targets = {name for ensemble in config.ensembles.values() for name in ensemble.targets}
    helpers = {name for ensemble in config.ensembles.values() for name in _helpers(ensemble)}
    asked = [name for name in config.models if name in members | targets or name not in helpers]
    simulated = tuple(name for name in asked if _is_simulated(config, name))
    return Panel(
        recorded=tuple(name for name in asked if name not in simulated),
        simulated=simulated,
        members=tuple(name for name in asked if name in members) or tuple(asked),
    )


def redirect(
    config: Config, url: str, known: Mapping[str, RecordedModel], *, early_decision: bool = False, live: bool = False
) -> Config:
    """The config with every provider redirected to `url`. With `live`, judges, mergers and embedders keep their
    providers; without, the built-in embedder replaces configured ones, because vectors are not recorded."""
    providers = {name: _replayed(provider, url) for name, provider in config.providers.items()}
    models = {name: _priced(model, config, known) for name, model in config.models.items()}
    if live:
        for name in {name for ensemble in config.ensembles.values() for name in _helpers(ensemble)}:
            model = config.models[name]
            models[LIVE + name] = model.model_copy(update={"provider": LIVE + model.provider})
        providers |= {LIVE + name: provider for name, provider in config.providers.items()}
    embedders = {
        name: embedder.model_copy(update={"provider": LIVE + embedder.provider})
        for name, embedder in config.embedders.items()
        if live
    }
    ensembles = {name: _measured(each, early_decision, live) for name, each in config.ensembles.items()}
    changed = {"providers": providers, "models": models, "embedders": embedders, "ensembles": ensembles}
    return config.model_copy(update={**changed, "trace": "summary"})


def check_recorded(config: Config, panel: Panel, recorded: Mapping[str, Any], task: str) -> None:
    """Every model of the panel must have answered something of the task."""
    upstream = {name: config.models[name].model for name in panel.recorded}
    missing = [f"{name} ({model})" for name, model in upstream.items() if model not in recorded]
    if missing:
        raise EmergeError(
            f"no answers of {', '.join(missing)} are recorded in {task}; "
            f"`model` must be one of: {', '.join(sorted(recorded))}"
        )


def _helpers(ensemble: EnsembleConfig) -> list[str]:
    return [name for name in (ensemble.aggregator.judge, ensemble.aggregator.merger) if name]


def _is_simulated(config: Config, model: str) -> bool:
    return KINDS[config.providers[config.models[model].provider].kind].in_process


def _replayed(provider: ProviderConfig, url: str) -> ProviderConfig:
    kind = KINDS[provider.kind]
    if kind.in_process:
        return provider
    base = url + kind.base_path
    # A missing recording is an error; the breaker must not skip the next question because of it.
    breaker = BreakerConfig(failures=0)
    return ProviderConfig(kind=provider.kind, base_url=base, api_key=f"env:{REPLAY_KEY}", breaker=breaker)


def _priced(model: ModelConfig, config: Config, known: Mapping[str, RecordedModel]) -> ModelConfig:
    """The model with the price of the config, else of the recording, else of the catalogue for its real provider: the
    catalogue does not know the replay server's address."""
    changes: dict[str, Any] = {"timeout_s": None}
    recorded = known.get(model.model)
    if model.price is None:
        if recorded and recorded.price:
            changes["price"] = PriceConfig(input=recorded.price[0], output=recorded.price[1])
        elif listed := list_price(model, config.providers[model.provider]):
            changes["price"] = PriceConfig(input=listed.input, output=listed.output, cached_input=listed.cached_input)
    return model.model_copy(update=changes)


def _measured(ensemble: EnsembleConfig, early_decision: bool, live: bool) -> EnsembleConfig:
    aggregator = ensemble.aggregator
    if live:
        judge, merger = (name and LIVE + name for name in (aggregator.judge, aggregator.merger))
        aggregator = aggregator.model_copy(update={"judge": judge, "merger": merger})
    else:
        aggregator = aggregator.model_copy(update={"embedder": None})
    early = ensemble.early_decision and early_decision
    changes = {"aggregator": aggregator, "early_decision": early, "stragglers": None, "deadline_s": DEADLINE_S}
    return ensemble.model_copy(update=changes)
