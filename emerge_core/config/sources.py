"""Where the config comes from: the command line, EMERGE_CONFIG, or what is found on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emerge_core.config.detect import detect_config
from emerge_core.config.load import load_config
from emerge_core.config.schema import Config
from emerge_core.errors import ConfigError
from emerge_core.provider_kinds import KINDS

CONFIG_VARIABLE = "EMERGE_CONFIG"
OLLAMA_URL = str(KINDS["ollama"].base_url)


def find_config(path: str | None, environ: Mapping[str, str], *, ollama_url: str = OLLAMA_URL) -> tuple[Config, str]:
    """The config and, for people, where it came from."""
    reference = path or environ.get(CONFIG_VARIABLE, "").strip()
    if reference.startswith("ssm:"):
        raise ConfigError(f"{reference}: configs in SSM are read only on AWS; give a file here")
    if reference:
        return load_config(Path(reference)), reference
    return detect_config(environ, local_ollama_models(ollama_url))


def local_ollama_models(url: str = OLLAMA_URL, *, timeout_s: float = 0.3) -> list[str]:
    """The names of the models that an Ollama at `url` has; none where there is no Ollama."""
    import json
    import urllib.request

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    try:
        with direct.open(f"{url}/api/tags", timeout=timeout_s) as reply:
            models = json.load(reply)["models"]
        return [model["name"] for model in models if isinstance(model["name"], str)]
    except (OSError, ValueError, KeyError, TypeError):
        return []
