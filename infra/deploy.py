"""`make deploy`: prints the stack's parameters, then runs `sam deploy` with a config file that git does not track.

The first time SAM asks for each parameter and writes the answers to samconfig.local.toml, a copy of the tracked
samconfig.toml; later the answers are used again (`make deploy GUIDED=1` asks anew).

    python deploy.py architecture     prints which architecture to build for
    python deploy.py deploy           runs `sam deploy`
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRACKED, OWN = ROOT / "samconfig.toml", ROOT / "samconfig.local.toml"
DEFAULT_ARCHITECTURE = "arm64"  # a fifth cheaper than x86_64


def overrides(config: Path) -> dict[str, str]:
    """The parameters that a SAM config file gives to `sam deploy`."""
    if not config.exists():
        return {}
    given = tomllib.loads(config.read_text()).get("default", {}).get("deploy", {}).get("parameters", {})
    pairs = given.get("parameter_overrides", "")
    listed = pairs if isinstance(pairs, list) else pairs.split()
    named = (pair.partition("=") for pair in listed)
    return {name: value.strip("\"'") for name, _, value in named}


def architecture() -> str:
    return overrides(OWN).get("Architecture", DEFAULT_ARCHITECTURE)


def describe() -> None:
    from parameters import parameters

    given = {"Architecture": architecture(), **overrides(OWN)}
    print("The stack's parameters, with what they are set to:\n")  # noqa: T201
    for each in parameters():
        value = given.get(each.name, each.default) or "(empty)"
        values = f" One of {', '.join(each.values)}." if each.values else ""
        print(f"  {each.name} = {value}")  # noqa: T201
        print(textwrap.fill(each.description + "." + values, 100, initial_indent="    ", subsequent_indent="    "))  # noqa: T201
    print(flush=True)  # noqa: T201


def deploy(*options: str) -> int:
    first = not OWN.exists()
    if first:
        shutil.copy(TRACKED, OWN)
    describe()
    guided = ["--guided"] if first or os.environ.get("GUIDED") else []
    return subprocess.run(["sam", "deploy", "--config-file", str(OWN), *guided, *options], cwd=ROOT).returncode  # noqa: S603, S607


if __name__ == "__main__":
    if sys.argv[1] == "architecture":
        print(architecture())  # noqa: T201
    else:
        sys.exit(deploy(*sys.argv[2:]))
