"""Writes a chosen ensemble as a config that runs as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from emerge_core.config import Config
from emerge_core.config.detect import KNOWN
from emerge_core.config.schema import PANEL, Section
from emerge_core.evals.offline.arrays import UNKNOWN, Answers
from emerge_core.evals.offline.ensembles import Ensemble
from emerge_core.evals.record.models import temperature_of

NAME = "emerge"  # of the ensemble, and so what clients put in `model`
ALIASES = {"google": "gemini"}  # recordings name the company, configs its API
PLACEHOLDER = {"kind": "ollama"}  # a provider without a known API


def config_of(answers: Answers, ensemble: Ensemble, base: Config | None = None) -> dict[str, Any]:
    """A whole config. Models that `base` has under their upstream's name are taken from it, with their providers and
    the temperature at which they were asked. Other models get their recorded price. A provider without a known API
    (open weights) is written as a local Ollama: set its `base_url` to where the model is served."""
    rows = list(dict.fromkeys((*ensemble.members, *ensemble.stronger)))
    own = _own_names(base)
    names = dict(zip(rows, _names([answers.models[row] for row in rows], own), strict=True))
    models: dict[str, Any] = {}
    providers: dict[str, Any] = {}
    temperatures: dict[int, float | None] = {}
    for row, name in names.items():
        if base and answers.models[row] in own:
            model = base.models[name]
            models[name] = _as_written(model)
            providers[model.provider] = _as_written(base.providers[model.provider])
            temperatures[row] = temperature_of(base, name)
        else:
            provider = _provider_name(answers.provider(answers.models[row]))
            models[name] = _model(answers, row, provider)
            providers.setdefault(provider, _provider(provider))
    return {
        "providers": providers,
        "models": models,
        "ensembles": {NAME: _ensemble(ensemble, names, temperatures)},
        "default": NAME,
    }


def _own_names(base: Config | None) -> dict[str, str]:
    """The config's name of each upstream model, the first of several."""
    found: dict[str, str] = {}
    for name, model in base.models.items() if base else ():
        found.setdefault(model.model, name)
    return found


def _as_written(section: Section) -> dict[str, Any]:
    written: dict[str, Any] = section.model_dump(mode="json", exclude_unset=True)
    return written


def aggregator_of(ensemble: Ensemble) -> str:
    return "vote" if ensemble.rule in ("weighted", "cascade") else ensemble.rule


def strategy_of(ensemble: Ensemble) -> str:
    return "cascade" if ensemble.rule == "cascade" else "ensemble"


def escalation_of(answers: Answers, ensemble: Ensemble) -> dict[str, Any] | None:
    """Who is asked if the members do not agree: the config's `escalate` with recorded names (a list if there is more
    than one step), or, of a cascade, the models that are asked one after the other."""
    to = [answers.models[row] for row in ensemble.stronger]
    if ensemble.rule == "cascade":
        return {"to": to[0], "then": to[1:]} if to else None
    steps = _steps(ensemble, to[0] if to else "")
    return steps[0] if len(steps) == 1 else {"steps": steps} if steps else None


def _steps(ensemble: Ensemble, target: str) -> list[dict[str, Any]]:
    """What follows a dispute, as the config has it."""
    steps: list[dict[str, Any]] = []
    if ensemble.panel_below is not None:
        steps.append({"to": PANEL, "below_agreement": ensemble.panel_below, "final": "adjudicate"})
    if ensemble.target is not None:
        steps.append({"to": target, "below_agreement": ensemble.below_agreement, "final": ensemble.final})
    return steps


def _ensemble(ensemble: Ensemble, names: dict[int, str], temperatures: dict[int, float | None]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "members": [
            _member(ensemble, place, names[row], temperatures.get(row))
            for place, row in enumerate((*ensemble.members, *ensemble.reserve))
        ],
        "aggregator": aggregator_of(ensemble),
    }
    if ensemble.rule == "cascade":
        made["strategy"] = {"name": "cascade", "stop": "agree", "order": "config"}
    steps = _steps(ensemble, "" if ensemble.target is None else names[ensemble.target])
    if steps:
        made["escalate"] = steps[0] if len(steps) == 1 else steps
    return made


def _member(ensemble: Ensemble, place: int, name: str, temperature: float | None) -> Any:
    learned: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
    if ensemble.weights[place] != 1:
        learned["weight"] = ensemble.weights[place]
    if ensemble.reliability:
        learned["reliability"] = ensemble.reliability[place]
    if ensemble.calibration and ensemble.calibration[place]:
        learned["calibration"] = [list(bin_) for bin_ in ensemble.calibration[place]]
    return {"model": name, **learned} if learned else name


def _model(answers: Answers, row: int, provider: str) -> dict[str, Any]:
    known = answers.known.get(answers.models[row], UNKNOWN)
    made: dict[str, Any] = {"provider": provider, "model": answers.models[row]}
    if known.family:
        made["family"] = known.family
    if known.price:
        made["price"] = {"input": known.price[0], "output": known.price[1]}
    return made


def _provider_name(recorded: str | None) -> str:
    name = re.sub(r"[^A-Za-z0-9._:/-]", "-", recorded or "").lstrip("._:/-") or "local"
    return ALIASES.get(name, name)


def _provider(name: str) -> dict[str, Any]:
    for known in KNOWN:
        if known.provider == name:
            made: dict[str, Any] = {"kind": known.kind, "api_key": f"env:{known.variable}"}
            return {**made, "base_url": known.base_url} if known.base_url else made
    return dict(PLACEHOLDER)


def _names(models: list[str], own: dict[str, str]) -> Iterator[str]:
    """Recorded names as names of a config, each once, and none the ensemble's; those that it has already stay."""
    taken = {NAME, *own.values()}
    for model in models:
        if model in own:
            yield own[model]
            continue
        name = plain = re.sub(r"[^A-Za-z0-9._:/-]", "-", model).lstrip("._:/-")[:120] or "model"
        number = 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        yield name
