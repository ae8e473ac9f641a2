"""What the shape alone cannot say: names that must exist, and options that must make sense together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from emerge_core.aggregators.registry import AGGREGATORS
from emerge_core.config.problems import Place, Problem, did_you_mean
from emerge_core.config.schema import (
    PANEL,
    AggregatorConfig,
    Config,
    EnsembleConfig,
    EscalateConfig,
    MemberConfig,
    ProviderConfig,
)
from emerge_core.provider_kinds import KINDS, users_of
from emerge_core.strategies.registry import STRATEGIES
from emerge_core.types import FORMS


def reference_problems(config: Config) -> list[Problem]:
    return [
        *_empty(config),
        *_clashes(config),
        *(found for name, provider in config.providers.items() for found in _provider(("providers", name), provider)),
        *_models(config),
        *(found for name, ensemble in config.ensembles.items() for found in _ensemble(config, name, ensemble)),
        *_default(config),
        *_aliases(config),
    ]


def _unknown(place: Place, what: str, name: str, known: Mapping[str, object]) -> Iterator[Problem]:
    if name not in known:
        there = f" (there are: {', '.join(known)})" if known else " (there are none)"
        yield Problem(place, f"there is no {what} `{name}`{did_you_mean(name, known)}{there}")


def _empty(config: Config) -> Iterator[Problem]:
    if not config.models:
        yield Problem(("models",), "at least one model is needed")


def _clashes(config: Config) -> Iterator[Problem]:
    for name in config.ensembles:
        if name in config.models:
            yield Problem(("ensembles", name), f"there is also a model `{name}`: clients call both by name, rename one")


def _provider(place: Place, provider: ProviderConfig) -> Iterator[Problem]:
    unused = KINDS[provider.kind].unused
    for option in ProviderConfig.model_fields:
        users = users_of(option)
        if option in provider.model_fields_set and (option in unused or (users and provider.kind not in users)):
            yield Problem((*place, option), f"is not used by a provider of kind {provider.kind}")


def _models(config: Config) -> Iterator[Problem]:
    for name, model in config.models.items():
        yield from _unknown(("models", name, "provider"), "provider", model.provider, config.providers)
        provider = config.providers.get(model.provider)
        for option in sorted(model.model_fields_set):
            users = users_of(option)
            if provider and users and provider.kind not in users:
                yield Problem(("models", name, option), f"is only for models of a {' or '.join(users)} provider")
    for name, embedder in config.embedders.items():
        place = ("embedders", name, "provider")
        yield from _unknown(place, "provider", embedder.provider, config.providers)
        provider = config.providers.get(embedder.provider)
        if provider and not KINDS[provider.kind].embeddings:
            yield Problem(place, f"{provider.kind} has no embeddings")


def _ensemble(config: Config, name: str, ensemble: EnsembleConfig) -> Iterator[Problem]:
    place = ("ensembles", name)
    if ensemble.routes:
        yield from _routes(config, place, ensemble)
        return
    if not ensemble.members:
        yield Problem((*place, "members"), "is missing")
    for index, member in enumerate(ensemble.members):
        yield from _unknown((*place, "members", index), "model", member.model, config.models)
        yield from _calibration((*place, "members", index, "calibration"), member)
    yield from _aggregator(config, (*place, "aggregator"), ensemble.aggregator)
    yield from _escalation(config, (*place, "escalate"), ensemble.escalate)
    if ensemble.members and ensemble.min_answers > len(ensemble.members):
        fault = f"is more than the ensemble has members ({len(ensemble.members)})"
        yield Problem((*place, "min_answers"), fault)
    yield from _strategy(place, ensemble)
    yield from _stragglers((*place, "stragglers"), ensemble)
    for index, pointer in enumerate(ensemble.answer_key):
        if re.search(r"~(?![01])", pointer):
            yield Problem((*place, "answer_key", index), "in a JSON pointer a ~ is written ~0")


def _routes(config: Config, place: Place, ensemble: EnsembleConfig) -> Iterator[Problem]:
    for option in sorted(ensemble.model_fields_set - {"routes"}):
        yield Problem((*place, option), "cannot stand beside routes: the ensemble that serves a form has its own")
    for form, target in ensemble.routes.items():
        at = (*place, "routes", form)
        if form not in FORMS:
            yield Problem(at, f"must be one of {', '.join(FORMS)}{did_you_mean(form, FORMS)}")
        yield from _unknown(at, "ensemble or model", target, {**config.ensembles, **config.models})
        if target in config.ensembles and config.ensembles[target].routes:
            what = "itself" if target == place[-1] else f"{target}, which has routes itself"
            yield Problem(at, f"routes to {what}: name an ensemble with members, or a model")


def _escalation(config: Config, place: Place, steps: Sequence[EscalateConfig]) -> Iterator[Problem]:
    for index, step in enumerate(steps):
        at, last = (*place, index), index == len(steps) - 1
        if step.final == "abstain":
            if step.to is not None:
                yield Problem((*at, "to"), "is not used by final abstain, which asks no model")
            if not last:
                yield Problem(at, "must be the last step: nothing can follow final abstain")
            continue
        if step.to is None:
            yield Problem((*at, "to"), f"is missing: name the model that final {step.final} asks, or {PANEL}")
        elif step.to == PANEL and step.final != "adjudicate":
            yield Problem((*at, "final"), f"must be adjudicate where `to` is {PANEL}")
        elif step.to != PANEL:
            yield from _unknown((*at, "to"), "model", step.to, config.models)
        if not last and step.to != PANEL and step.final != "vote":
            yield Problem(at, f"must be the last step: only `to: {PANEL}` and final vote may be followed by another")
    for index, (earlier, later) in enumerate(pairwise(steps), start=1):
        if later.below_agreement > earlier.below_agreement:
            fault = f"must not be above the {earlier.below_agreement:g} of the step before it"
            yield Problem((*place, index, "below_agreement"), fault)


def _strategy(place: Place, ensemble: EnsembleConfig) -> Iterator[Problem]:
    name = ensemble.strategy.name
    row = STRATEGIES[name]
    if ensemble.escalate and not row.escalates:
        yield Problem((*place, "escalate"), f"cannot go with strategy {name}, which {row.asks}")
    for option in sorted(ensemble.strategy.model_fields_set - {"name", *row.options}):
        users = [other for other, its in STRATEGIES.items() if option in its.options]
        yield Problem((*place, "strategy", option), f"is not used by strategy {name}, only by {' and '.join(users)}")


def _stragglers(place: Place, ensemble: EnsembleConfig) -> Iterator[Problem]:
    if ensemble.stragglers is None:
        return
    after, members = ensemble.stragglers.after, len(ensemble.members)
    row = STRATEGIES[ensemble.strategy.name]
    if not row.parallel:
        yield Problem(place, f"cannot go with strategy {ensemble.strategy.name}, which {row.asks}")
    if not ensemble.min_answers <= after < members:
        fault = f"must be from min_answers ({ensemble.min_answers}) to one less than there are members ({members})"
        yield Problem((*place, "after"), fault)
    elif ensemble.escalate and after < 2:
        yield Problem((*place, "after"), "must be at least 2 with escalate: one answer alone agrees with itself")


def _aggregator(config: Config, place: Place, aggregator: AggregatorConfig) -> Iterator[Problem]:
    name, row = aggregator.name, AGGREGATORS[aggregator.name]
    for option in sorted(aggregator.model_fields_set - {"name", *row.options}):
        users = [other for other, its in AGGREGATORS.items() if option in its.options]
        yield Problem((*place, option), f"is not used by aggregator {name}, only by {' and '.join(users)}")
    for option, does in row.needs.items():
        if getattr(aggregator, option) is None:
            yield Problem((*place, option), f"is missing: aggregator {name} needs the name of the model that {does}")
    for option, known in (("judge", config.models), ("merger", config.models), ("embedder", config.embedders)):
        name = getattr(aggregator, option)
        if name is not None:
            what = "embedder" if option == "embedder" else "model"
            yield from _unknown((*place, option), what, name, known)


def _calibration(place: Place, member: MemberConfig) -> Iterator[Problem]:
    bounds = [bound for bound, _ in member.calibration]
    if not bounds:
        return
    if any(later <= earlier for earlier, later in pairwise(bounds)):
        yield Problem(place, "the upper bounds of its bins must ascend")
    elif bounds[-1] != 1.0:
        yield Problem(place, "the last bin must end at 1.0")


def _default(config: Config) -> Iterator[Problem]:
    if config.default is not None:
        yield from _unknown(("default",), "ensemble or model", config.default, {**config.ensembles, **config.models})
    if config.baseline is not None:
        yield from _unknown(("baseline",), "model", config.baseline, config.models)


def _aliases(config: Config) -> Iterator[Problem]:
    for alias, target in config.aliases.items():
        known = {**config.ensembles, **config.models}
        if alias in known:
            yield Problem(("aliases", alias), "is the name of an ensemble or model already: clients get that one")
        yield from _unknown(("aliases", alias), "ensemble or model", target, known)
