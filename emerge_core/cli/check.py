"""`emerge check`: what a config means, what it costs, and what looks wrong with it."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from emerge_core.config import (
    Config,
    EmbedderConfig,
    EnsembleConfig,
    ModelConfig,
    ProviderConfig,
    find_config,
    resolve_key,
    warnings,
)
from emerge_core.config.schema import PANEL, EscalateConfig
from emerge_core.errors import ConfigError
from emerge_core.evals.tables import columns
from emerge_core.pricing import list_price
from emerge_core.provider_kinds import KINDS
from emerge_core.types import ChatRequest, EmbeddingRequest, UpstreamError

if TYPE_CHECKING:
    from emerge_core.providers import Provider

PROBE = ChatRequest(messages=({"role": "user", "content": "Reply with OK"},), max_tokens=16)
PROBE_TIMEOUT_S = 30.0

HEAD = ("member", "provider", "model", "family", "weight", "in $/M", "out $/M")


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "check",
        help="check a config and print what it means",
        description="Checks a config and prints its ensembles, list prices (US dollars per million tokens) and "
        "warnings. Exit status: 0 fine, 1 a model failed (with --live), 2 the config is wrong.",
    )
    parser.add_argument("--config", metavar="FILE", help="YAML config (default: EMERGE_CONFIG, or what is found)")
    parser.add_argument("--live", action="store_true", help="also send one tiny call to each model")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    config, source = find_config(args.config, os.environ)
    print(f"{source}: ok")
    for name, ensemble in config.ensembles.items():
        print("\n" + "\n".join(describe(config, name, ensemble)))
    if rest := _outside(config):
        print("\n" + "\n".join(["not in an ensemble", *_indented(_table(rest))]))
    if found := [*warnings(config, os.environ), *price_warnings(config)]:
        print("\n" + "\n".join(["warnings", *_indented(found)]))
    if not args.live:
        return 0
    probes = asyncio.run(probe_all(config, os.environ))
    print("\n" + "\n".join(["live", *_indented(columns([_shown(probe) for probe in probes]))]))
    return 0 if all(probe.fault is None for probe in probes) else 1


def describe(config: Config, name: str, ensemble: EnsembleConfig) -> Iterator[str]:
    yield f"ensemble {name}" + (" (default)" if name == config.default else "")
    about = [
        ("strategy", _strategy(ensemble)),
        ("aggregator", _aggregator(ensemble)),
        ("limits", _limits(ensemble)),
    ]
    yield from _indented(columns(about))
    rows = [_row(config, member.model, member.model, f"{member.weight:g}") for member in ensemble.members]
    rows += [_row(config, f"{role} {model}", model) for role, model in _helpers(ensemble)]
    yield from _indented(_table(rows))


def price_warnings(config: Config) -> Iterator[str]:
    priced: list[tuple[str, ModelConfig | EmbedderConfig]] = [*config.models.items(), *config.embedders.items()]
    for name, model in priced:
        provider = config.providers[model.provider]
        if list_price(model, provider) is None:
            local = KINDS[provider.kind].local
            hint = (
                "for a local model, price: {input: 0, output: 0}"
                if local
                else "give it a price, in US dollars per million tokens: price: {input: 0.15, output: 0.6}"
            )
            yield f"{name}: its price is unknown, and so is the cost of its answers: {hint}"


class Probe(NamedTuple):
    name: str
    latency_s: float
    fault: str | None


async def probe_all(config: Config, environ: Mapping[str, str]) -> list[Probe]:
    """One call to each model and embedder, all at once."""
    providers: dict[str, Provider | ConfigError] = {name: _connect(config, name, environ) for name in config.providers}
    try:
        return await asyncio.gather(
            *(_probe(config, name, providers) for name in config.models),
            *(_probe(config, name, providers) for name in config.embedders),
        )
    finally:
        for provider in providers.values():
            if not isinstance(provider, ConfigError):
                await provider.aclose()


def _connect(config: Config, name: str, environ: Mapping[str, str]) -> Provider | ConfigError:
    from emerge_core.providers import make_provider

    provider = config.providers[name]
    models = {model.model: model for model in config.models.values() if model.provider == name}
    try:
        return make_provider(provider, api_key=resolve_key(provider.api_key, environ), models=models)
    except ConfigError as error:
        return error


async def _probe(config: Config, name: str, providers: Mapping[str, Provider | ConfigError]) -> Probe:
    began = perf_counter()
    fault = None
    try:
        if name in config.models:
            model = config.models[name]
            provider = _usable(providers[model.provider])
            await provider.complete(model.model, PROBE, timeout_s=model.timeout_s or PROBE_TIMEOUT_S)
        else:
            embedder = config.embedders[name]
            provider = _usable(providers[embedder.provider])
            await provider.embed(embedder.model, EmbeddingRequest(inputs=("OK",)), timeout_s=PROBE_TIMEOUT_S)
    except (UpstreamError, ConfigError) as error:
        fault = str(error)
    return Probe(name, perf_counter() - began, fault)


def _usable(provider: Provider | ConfigError) -> Provider:
    if isinstance(provider, ConfigError):
        raise provider
    return provider


def _shown(probe: Probe) -> tuple[str, str]:
    return probe.name, f"failed: {probe.fault}" if probe.fault else f"ok, {probe.latency_s * 1000:.0f} ms"


def _strategy(ensemble: EnsembleConfig) -> str:
    strategy = ensemble.strategy
    if strategy.name == "cascade":
        return f"cascade by {strategy.order}, stops at the first {STOPS[strategy.stop]}"
    early = "early decision" if ensemble.early_decision else "no early decision"
    return "; ".join([f"ensemble, {early}", *map(_step, ensemble.escalate)])


def _step(step: EscalateConfig) -> str:
    below = f"below agreement {step.below_agreement:g}"
    if step.final == "abstain":
        return f"{below} abstains"
    return f"{below} asks {'every member' if step.to == PANEL else step.to}: {FINALS[step.final]}"


FINALS = {
    "replace": "its answer replaces the panel's",
    "vote": "its answer joins the vote",
    "adjudicate": "shown the distinct answers, its verdict decides",
}


STOPS = {"substantive": "answer of substance", "agree": "two answers that agree"}


def _aggregator(ensemble: EnsembleConfig) -> str:
    options = ensemble.aggregator.model_dump(exclude_unset=True, exclude={"name"})
    return ", ".join([ensemble.aggregator.name, *(f"{key} {value}" for key, value in options.items())])


def _limits(ensemble: EnsembleConfig) -> str:
    answers = f"{ensemble.min_answers} answer" + ("s" if ensemble.min_answers > 1 else "")
    return f"deadline {ensemble.deadline_s:g} s, at least {answers}, at most {ensemble.max_calls} calls"


def _helpers(ensemble: EnsembleConfig) -> Iterator[tuple[str, str]]:
    aggregator = ensemble.aggregator
    targets = (
        *(("escalation", target) for target in ensemble.targets),
        ("judge", aggregator.judge),
        ("merger", aggregator.merger),
        ("embedder", aggregator.embedder),
    )
    for role, model in targets:
        if model:
            yield role, model


def _outside(config: Config) -> list[tuple[str, ...]]:
    inside = {member.model for ensemble in config.ensembles.values() for member in ensemble.members}
    inside |= {model for ensemble in config.ensembles.values() for _, model in _helpers(ensemble)}
    return [_row(config, name, name) for name in [*config.models, *config.embedders] if name not in inside]


def _row(config: Config, label: str, name: str, weight: str = "") -> tuple[str, ...]:
    model = config.models.get(name) or config.embedders[name]
    provider = config.providers[model.provider]
    price = list_price(model, provider)
    prices = (f"{price.input:g}", f"{price.output:g}") if price else ("unknown", "unknown")
    family = getattr(model, "family", None) or "-"
    return (label, _provider(model.provider, provider), model.model, family, weight, *prices)


def _provider(name: str, provider: ProviderConfig) -> str:
    """With its host; whatever else an address holds (a user, a password) is not shown."""
    host = urlsplit(provider.base_url or "").netloc.rpartition("@")[2]
    kind = "" if name == provider.kind else provider.kind
    about = ", ".join(part for part in (kind, host) if part)
    return f"{name} ({about})" if about else name


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    return columns([HEAD, *rows])


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
