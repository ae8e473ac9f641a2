"""What an environment that is kept warm has loaded, and what a snapshot must not hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import PROXY

# Starts as Lambda would, serves one request, and tells what each of the two loaded.
PROGRAM = """
import json, os, random, sys

def handles():
    links = (os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd"))
    return sum("socket:" in link or "eventpoll" in link for link in links)

class Context:
    aws_request_id = "1"
    def get_remaining_time_in_millis(self):
        return 20_000

import app
HEAVY = ("emerge_core.providers.openai.adapter", "emerge_core.providers.anthropic.adapter", "numpy", "boto3")
at_init = {"heavy": [name for name in HEAVY if name in sys.modules]}
at_init |= {"handles": handles(), "environment": app._environment is not None, "printed": sys.stdout.tell()}
before = set(sys.modules)
state = random.getstate()
reply = app.handler(json.loads(sys.argv[1]), Context())
report = {"status": reply["statusCode"], "init": at_init, "later": sorted(set(sys.modules) - before)}
print(json.dumps({**report, "reseeded": random.getstate() != state}), file=sys.stderr)
"""

CONFIG = """
providers:
  openai: {{kind: openai, base_url: "{url}"}}
  anthropic: {{kind: anthropic, base_url: "{url}"}}
  ollama: {{kind: ollama, base_url: "{url}"}}
models:
  a: {{provider: openai, model: gpt-4o-mini, max_retries: 0}}
  b: {{provider: anthropic, model: claude-3-5-haiku-latest, max_retries: 0}}
  c: {{provider: ollama, model: any, max_retries: 0}}
ensembles: {{emerge: {{members: [a, b, c]}}}}
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open handles in /proc")
@pytest.mark.parametrize("kind", ["snap-start", "provisioned-concurrency", "on-demand"])
def test_a_snapshot_holds_every_module_and_nothing_that_lives(
    tmp_path: Path, upstream: Any, says: Any, kind: str
) -> None:
    upstream.script = {"gpt-4o-mini": says("391")}
    (tmp_path / "emerge.yaml").write_text(CONFIG.format(url=upstream.url))
    event = (PROXY.parents[1] / "events" / "tools.json").read_text()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROXY),
        "EMERGE_CONFIG": str(tmp_path / "emerge.yaml"),
        "EMERGE_STACK": "test",
        "EMERGE_MODEL_METRICS": "true",
        "AWS_LAMBDA_FUNCTION_NAME": "proxy",
        "AWS_LAMBDA_INITIALIZATION_TYPE": kind,
    }
    with (tmp_path / "out").open("w") as out:
        command = [sys.executable, "-c", PROGRAM, event]
        done = subprocess.run(command, env=environ, stdout=out, stderr=subprocess.PIPE, text=True)
    report = json.loads(done.stderr.splitlines()[-1])
    assert report["status"] in (200, 502)
    init = report["init"]
    assert (init["handles"], init["environment"], init["printed"]) == (0, False, 0)
    assert report["reseeded"]
    if kind != "on-demand":
        assert len(init["heavy"]) == 4
        assert [name for name in report["later"] if not name.startswith("encodings.")] == []
    else:
        assert init["heavy"] == []
        adapters = {f"emerge_core.providers.{maker}.adapter" for maker in ("openai", "anthropic")}
        assert adapters <= set(report["later"])
