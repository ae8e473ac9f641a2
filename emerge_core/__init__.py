"""emerge: one answer out of several models' answers.

The library's face. Names load their modules when they are first used, so `import emerge_core` costs nothing:

    from emerge_core import ChatRequest, Engine, load_config

    async with Engine(load_config("emerge.yaml")) as engine:
        trace = await engine.run(ChatRequest.of("What is 17 * 23?"))
    print(trace.answer.text, trace.cost.usd)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emerge_core.config import load_config
    from emerge_core.engine.engine import Engine, Limits
    from emerge_core.errors import ConfigError, EmergeError, MissingExtraError, RequestError
    from emerge_core.types import ChatRequest, Trace

__all__ = [
    "ChatRequest",
    "ConfigError",
    "EmergeError",
    "Engine",
    "Limits",
    "MissingExtraError",
    "RequestError",
    "Trace",
    "load_config",
]

_MODULES = {
    "ChatRequest": "types",
    "ConfigError": "errors",
    "EmergeError": "errors",
    "Engine": "engine.engine",
    "Limits": "engine.engine",
    "MissingExtraError": "errors",
    "RequestError": "errors",
    "Trace": "types",
    "load_config": "config",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
