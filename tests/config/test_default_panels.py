"""The configs that serve before anybody has pushed one answer like the one that is detected without a config."""

from __future__ import annotations

import pytest

from emerge_core.config import default_config, detect_config, load_config, warnings
from tests.support.paths import ROOT

BEDROCK = {"AWS_ACCESS_KEY_ID": "k", "AWS_REGION": "us-east-1"}


@pytest.mark.parametrize("name", ["default", "bedrock"])
def test_the_deployed_defaults_route_as_the_detected_one(name: str) -> None:
    deployed = load_config(ROOT / "functions" / "proxy" / f"{name}.yaml")
    detected = default_config() if name == "default" else detect_config(BEDROCK)[0]
    assert deployed.default == detected.default == "emerge"
    assert deployed.ensembles == detected.ensembles
    assert {key: model.model for key, model in deployed.models.items()} == {
        key: model.model for key, model in detected.models.items()
    }
    assert warnings(deployed, {}) == []
