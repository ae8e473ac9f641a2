"""Configs whose models are served by the scripted upstream."""

from __future__ import annotations

import json
from typing import Any

from emerge_core.config import parse_config
from emerge_core.config.schema import Config


class Panels:
    """Configs of models a, b, c, d (a member of no panel) and e served by the scripted upstream.
    Prices are 1 USD per million tokens in, 2 out; `frontier` costs ten times as much. `small` is an embedder."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, ensembles: str, **models: dict[str, Any]) -> Config:
        parts = {name: {"provider": "up", "model": name, "price": {"input": 1, "output": 2}} for name in "abcde"}
        parts["frontier"] = {"provider": "up", "model": "frontier", "price": {"input": 10, "output": 20}}
        for name, changes in models.items():
            parts[name] = {**parts.get(name, {"provider": "up", "model": name}), **changes}
        up = {"kind": "openai", "base_url": self.url}
        embedders = {"small": {"provider": "up", "model": "small-1", "price": {"input": 1, "output": 0}}}
        embedders["locked"] = {"provider": "keyless", "model": "small-1"}
        providers = {"up": up, "keyless": {**up, "api_key": "env:NO_SUCH_KEY"}}
        head = {"providers": providers, "models": parts, "embedders": embedders}
        return parse_config(json.dumps(head)[:-1] + f', "ensembles": {ensembles}}}', source="test")
