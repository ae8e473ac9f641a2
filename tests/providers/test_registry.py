from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("openai", "anthropic", "httpx2", "httpx", "h11", "aiohttp", "numpy", "jsonschema", "boto3")
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
        ("ollama", set()),
        ("openai", set()),
        ("anthropic", set()),
    ],
)
def test_no_kind_imports_an_sdk_or_a_second_http_client(kind: str, imported: set[str]) -> None:
    ran = subprocess.run([sys.executable, "-c", MAKE, kind, *HEAVY], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) == imported
