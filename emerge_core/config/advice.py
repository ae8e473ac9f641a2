"""Warnings: what a config may say but probably should not. `check` and `serve` print them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emerge_core.config.schema import Config, EnsembleConfig
from emerge_core.provider_kinds import KINDS
from emerge_core.strategies.registry import STRATEGIES


def warnings(config: Config, environ: Mapping[str, str] | None = None) -> list[str]:
    """Without `environ`, warnings about this machine (missing keys) are left out."""
    found = [warning for name in config.ensembles for warning in _ensemble(config, name, config.ensembles[name])]
    found += _unused(config)
    if environ is not None:
        found += _machine(config, environ)
    return found


def _ensemble(config: Config, name: str, ensemble: EnsembleConfig) -> Iterator[str]:
    if ensemble.routes:
        return
    panel = [member.model for member in ensemble.members]
    yield from _one_model(config, name, panel)
    yield from _same_family(config, name, panel)
    aggregator = ensemble.aggregator
    if aggregator.judge in panel:
        yield f"{name}: the judge {aggregator.judge} is in the panel, and may favour its own answer"
    strategy = ensemble.strategy.name
    if not STRATEGIES[strategy].aggregates:
        if len(panel) == 1:
            yield f"{name}: a {strategy} of one model has no other to ask"
        if "aggregator" in ensemble.model_fields_set:
            yield f"{name}: a {strategy} answers without its aggregator (a cascade of `stop: agree` votes)"
        return
    if ensemble.max_calls < len(panel):
        yield f"{name}: max_calls {ensemble.max_calls} leaves some of the {len(panel)} members unasked"
    if ensemble.escalate:
        for target in ensemble.targets:
            if target in panel:
                yield f"{name}: the escalation target {target} is in the panel already"
        if len(panel) == 1:
            yield f"{name}: a panel of one agrees with itself: it escalates only when it gives no answer"
    elif len(panel) == 2 and aggregator.name in ("vote", "adaptive"):
        yield f"{name}: a panel of two without escalation has no majority when its members differ"


def _one_model(config: Config, name: str, panel: list[str]) -> Iterator[str]:
    models = {(config.models[model].provider, config.models[model].model) for model in panel}
    if len(panel) > 1 and len(models) == 1:
        yield (
            f"{name}: its {len(panel)} members are one model ({panel[0]}): its samples err together, so a vote of them "
            "gains little over one"
        )


def _same_family(config: Config, name: str, panel: list[str]) -> Iterator[str]:
    families: dict[str, list[str]] = {}
    different = {(config.models[model].provider, config.models[model].model): model for model in reversed(panel)}
    for model in reversed(different.values()):
        if family := config.models[model].family:
            families.setdefault(family, []).append(model)
    for family, models in families.items():
        if len(models) > 1:
            yield f"{name}: {' and '.join(models)} are of the same family ({family}) and tend to err together"


def _unused(config: Config) -> Iterator[str]:
    used = {model.provider for model in config.models.values()}
    used |= {embedder.provider for embedder in config.embedders.values()}
    for name in config.providers:
        if name not in used:
            yield f"provider {name} is not used by any model"
    if not config.ensembles:
        yield "there is no ensemble: models can only be called one by one"


def _machine(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    for name, provider in config.providers.items():
        kind, _, reference = (provider.api_key or "").partition(":")
        if kind == "env" and not environ.get(reference, "").strip():
            yield f"provider {name}: environment variable {reference} is not set: its models will fail"
        elif kind in ("ssm", "secret"):
            yield f"provider {name}: {kind}: references are read only on AWS"
        elif not kind and KINDS[provider.kind].key == "required" and not (provider.base_url or provider.headers):
            yield f"provider {name} has no api_key: its models will fail"
