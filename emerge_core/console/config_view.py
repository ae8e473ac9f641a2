"""The config as it was understood, and what a tuning found, as the console shows them. No key is among it, and of an
address only the host."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emerge_core import pricing
from emerge_core.about import VERSION
from emerge_core.config.schema import Config, EmbedderConfig, EnsembleConfig, ModelConfig, ProviderConfig
from emerge_core.provider_kinds import KINDS
from emerge_core.types import FORMS

MOST_POINTS = 50  # shown of a tuning: the best ensemble for each budget
MOST_BYTES = 20_000_000


def config_json(config: Config, *, warnings: Sequence[str]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "default": config.default or next(iter([*config.ensembles, *config.models])),
        "baseline": config.baseline,
        "aliases": dict(config.aliases),
        "keeps_content": config.log_content and config.trace == "full",
        "ensembles": [_ensemble(name, ensemble) for name, ensemble in config.ensembles.items()],
        "models": [_model(config, name, model) for name, model in config.models.items()],
        "embedders": [_model(config, name, embedder) for name, embedder in config.embedders.items()],
        "warnings": list(warnings),
    }


def _ensemble(name: str, ensemble: EnsembleConfig) -> dict[str, Any]:
    if ensemble.routes:
        return {"name": name, "routes": {form: ensemble.route(form) for form in FORMS}}
    options = ensemble.aggregator.model_dump(mode="json", exclude_unset=True, exclude={"name"})
    return {
        "name": name,
        "routes": None,
        "members": [member.model_dump(mode="json", exclude={"calibration"}) for member in ensemble.members],
        "strategy": ensemble.strategy.model_dump(mode="json"),
        "aggregator": {"name": ensemble.aggregator.name, **options},
        "escalate": [step.model_dump(mode="json") for step in ensemble.escalate],
        "early_decision": ensemble.early_decision,
        "deadline_s": ensemble.deadline_s,
        "min_answers": ensemble.min_answers,
        "max_calls": ensemble.max_calls,
    }


def _model(config: Config, name: str, model: ModelConfig | EmbedderConfig) -> dict[str, Any]:
    provider = config.providers[model.provider]
    price = pricing.list_price(model, provider)
    return {
        "name": name,
        "model": model.model,
        "family": getattr(model, "family", None),
        "provider": model.provider,
        "kind": provider.kind,
        "host": _host(provider),
        "simulated": KINDS[provider.kind].in_process,
        "price": price._asdict() if price else None,
    }


def _host(provider: ProviderConfig) -> str | None:
    return urlsplit(provider.base_url or "").netloc.rpartition("@")[2] or None


def tuning_json(file: Path | None) -> dict[str, Any] | None:
    """What the page shows of a file that `emerge tune --json` wrote; None if no file is named."""
    if file is None:
        return None
    try:
        if file.stat().st_size > MOST_BYTES:
            return {"fault": f"{file.name} is too large"}
        found = json.loads(file.read_bytes())
        chosen = found.get("chosen")
        points = [_point(number, each, number == chosen) for number, each in enumerate(found["frontier"])]
        return {
            "file": file.name,
            "task": found.get("task") or ", ".join(found.get("tasks") or ()),
            "tried": found.get("tried"),
            "chosen_kind": found.get("chosen_kind"),
            "points": points[:MOST_POINTS],
        }
    except FileNotFoundError:
        return {"fault": f"{file.name} does not exist"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"fault": f"{file.name} is not what `emerge tune --json` writes"}


def _point(number: int, found: dict[str, Any], chosen: bool) -> dict[str, Any]:
    fields = ("members", "strategy", "aggregator", "escalate", "accuracy_cv", "ci95", "cost_per_1000")
    return {"number": number, "chosen": chosen, **{name: found.get(name) for name in fields}}
