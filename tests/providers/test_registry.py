from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("openai", "anthropic", "httpx2", "httpx", "numpy", "jsonschema", "boto3")
MAKE = """
import sys
from emerge_core.config.schema import ProviderConfig
from emerge_core.providers import make_provider
if sys.argv[1] != "none":
    make_provider(ProviderConfig(kind=sys.argv[1]), api_key="k", models={})
print(" ".join(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("kind", "imported"),
    [
        ("none", set()),
        ("simulated", set()),
        ("ollama", {"httpx"}),
        ("openai", {"openai", "httpx2"}),
        ("anthropic", {"anthropic", "httpx2"}),
    ],
)
def test_a_kind_imports_its_own_sdk_alone(kind: str, imported: set[str]) -> None:
    ran = subprocess.run([sys.executable, "-c", MAKE, kind, *HEAVY], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) == imported
