"""What a client's program is made of: features that it uses, each a function that asserts."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

BASE_URL = os.environ.get("CONFORMANCE_URL", "")
MODEL = os.environ.get("CONFORMANCE_MODEL", "")
EMBEDDER = "small"
TALK = "The sea is wide and deep, and nobody has seen all of it."
DEGREES = {"Paris": 21, "Rome": 27, "Oslo": 9, "Cairo": 35, "Lima": 18}

_features: list[tuple[str, Callable[[], Any]]] = []


def feature(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        _features.append((name, function))
        return function

    return register


def run(client: str, package: str) -> None:
    """Runs every feature of a client that is an installed package."""
    report(client, version(package))


def report(client: str, its_version: str) -> None:
    """Runs every feature and prints a line of JSON for each."""
    for name, function in _features:
        fault = None
        try:
            if inspect.iscoroutinefunction(function):
                asyncio.run(function())
            else:
                function()
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            fault = f"{type(error).__name__}: {str(error)[:300]}"
        print(json.dumps({"client": client, "version": its_version, "feature": name, "fault": fault}), flush=True)
