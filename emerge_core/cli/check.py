"""`emerge check`: validates a config and prints what it means, what it costs and what looks wrong with it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from emerge_core.cli._options import DONE, FAILED, Parsers, add_command, add_config, add_json
from emerge_core.cli._output import Output, read_text
from emerge_core.cli._warnings import all_warnings
from emerge_core.config import (
    Config,
    EmbedderConfig,
    EnsembleConfig,
    ModelConfig,
    ProviderConfig,
    find_config,
    resolve_key,
)
from emerge_core.config.schema import PANEL, EscalateConfig
from emerge_core.errors import ConfigError, EmergeError
from emerge_core.evals.tables import columns
from emerge_core.pricing import list_price
from emerge_core.types import FORMS, ChatRequest, EmbeddingRequest, UpstreamError

if TYPE_CHECKING:
    from emerge_core.providers import Provider

PROBE = ChatRequest(messages=({"role": "user", "content": "Reply with OK"},), max_tokens=16)
PROBE_TIMEOUT_S = 30.0

INDENT = "  "

HEAD = ("member", "provider", "model", "family", "weight", "in $/M", "out $/M")


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "check",
        help="check a config and print what it means",
        description="Checks a config and prints its ensembles, list prices (US dollars per million tokens) and "
        "warnings.",
        exits={
            0: "the config is valid",
            1: "a model failed (with --live), or there are warnings (with --strict)",
            2: "the config is invalid",
        },
        run=run,
    )
    add_config(parser)
    parser.add_argument("--live", action="store_true", help="also send one tiny call to each model")
    parser.add_argument("--strict", action="store_true", help="fail if there are warnings, such as a missing key")
    parser.add_argument(
        "--request",
        metavar="FILE",
        type=Path,
        help="instead, say of a chat completion request (JSON) which form it has, why, and which ensemble serves it",
    )
    add_json(parser, "write what was understood as JSON")


def run(args: argparse.Namespace) -> int:
    output = Output(args.json)
    config, source = find_config(args.config, os.environ)
    if args.request:
        return _explain(config, args.request, output)
    found = all_warnings(config, os.environ)
    output.print(f"{source}: ok")
    for name, ensemble in config.ensembles.items():
        title, *lines = describe(config, name, ensemble)
        output.print("", output.styled(title, "bold"), *lines)
    if rest := _outside(config):
        output.print("", output.styled("not in an ensemble", "bold"), *_table(rest))
    if found:
        output.print("", output.styled("warnings", "yellow"), *(f"{INDENT}{each}" for each in found))
    probes = asyncio.run(probe_all(config, os.environ)) if args.live else []
    if args.live:
        output.print("", output.styled("live", "bold"), *columns([_shown(probe) for probe in probes], indent=INDENT))
    output.figures(_figures(config, source, found, probes))
    failed = any(probe.fault is not None for probe in probes)
    return FAILED if failed or (args.strict and found) else DONE


def _explain(config: Config, file: Path, output: Output) -> int:
    """Prints how a request would be routed. Raises EmergeError for a body that is no chat completion request."""
    from emerge_core.answers.question.form import explain_form
    from emerge_core.api.chat.parse import read_chat
    from emerge_core.strategies.routing import serving

    try:
        body = json.loads(read_text(file))
    except ValueError as error:
        raise EmergeError(f"{file}: is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise EmergeError(f"{file}: must be the body of a chat completion request, a JSON object")
    name = body.get("model") or config.default or next(iter([*config.ensembles, *config.models]))
    request = read_chat({**body, "model": name}).request
    form, reason = explain_form(request)
    found = serving(config, name, request)
    if found is None:
        raise EmergeError(f"{file}: the config has no ensemble, model or alias `{name}`")
    output.print(f"form       {form}: {reason}", f"model      {name}", f"served by  {found.name}")
    output.figures({"form": form, "reason": reason, "model": name, "served_by": found.name})
    return DONE


def describe(config: Config, name: str, ensemble: EnsembleConfig) -> Iterator[str]:
    yield f"ensemble {name}" + (" (default)" if name == config.default else "")
    if ensemble.routes:
        yield from columns([(f"{form} requests", target) for form, target in ensemble.routes.items()], indent=INDENT)
        rest = [form for form in FORMS if form not in ensemble.routes]
        if rest:
            yield f"{INDENT}{', '.join(rest)}: {next(iter(ensemble.routes.values()))}, the first route"
        return
    about = [
        ("strategy", _strategy(ensemble)),
        ("aggregator", _aggregator(ensemble)),
        ("limits", _limits(ensemble)),
    ]
    yield from columns(about, indent=INDENT)
    rows = [_row(config, member.model, member.model, f"{member.weight:g}") for member in ensemble.members]
    rows += [_row(config, f"{role} {model}", model) for role, model in _helpers(ensemble)]
    yield from _table(rows)


def _figures(config: Config, source: str, found: Sequence[str], probes: Sequence[Probe]) -> dict[str, Any]:
    """The config with every default written out, and what was found about it."""
    priced: list[tuple[str, ModelConfig | EmbedderConfig]] = [*config.models.items(), *config.embedders.items()]
    prices = {}
    for name, model in priced:
        price = list_price(model, config.providers[model.provider])
        prices[name] = {"input": price.input, "output": price.output} if price else None
    return {
        "source": source,
        "ensembles": {name: each.model_dump(mode="json") for name, each in config.ensembles.items()},
        "default": config.default,
        "prices": prices,
        "warnings": list(found),
        "live": {probe.name: {"latency_s": probe.latency_s, "fault": probe.fault} for probe in probes} or None,
    }


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
        fault = printable(str(error))
    return Probe(name, perf_counter() - began, fault)


def printable(text: str) -> str:
    """`text` without control characters: an upstream's error must not steer the terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


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
    if strategy.name == "fallback":
        return "fallback in config order: the first usable answer, live"
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
    return columns([HEAD, *rows], indent=INDENT)
