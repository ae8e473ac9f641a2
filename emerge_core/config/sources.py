"""Where the config comes from: the command line, EMERGE_CONFIG, or what is found on this machine."""

from __future__ import annotations

from collections.abc import Mapping

from emerge_core.config.detect import detect_config
from emerge_core.config.load import load_config
from emerge_core.config.schema import Config
from emerge_core.config.variables import CONFIG
from emerge_core.errors import ConfigError
from emerge_core.provider_kinds import KINDS

OLLAMA_URL = str(KINDS["ollama"].base_url)


def find_config(path: str | None, environ: Mapping[str, str], *, ollama_url: str = OLLAMA_URL) -> tuple[Config, str]:
    """The config, and where it came from as a person reads it. Raises ConfigError."""
    reference = path or environ.get(CONFIG, "").strip()
    if reference.startswith("ssm:"):
        raise ConfigError(f"{reference}: configs in SSM are read only on AWS; give a file here")
    if reference:
        config = load_config(reference)
        check_files(config, source=reference)
        return config, reference
    return detect_config(environ, local_ollama_models(ollama_url))


def check_files(config: Config, *, source: str) -> None:
    """Raises ConfigError for a `ca_file` of this machine that TLS cannot use: every request would fail by it."""
    import ssl

    faults = []
    for name, provider in config.providers.items():
        if provider.ca_file:
            try:
                ssl.create_default_context(cafile=provider.ca_file)
            except (OSError, ssl.SSLError) as error:
                reason = "it holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
                faults.append(f"  providers.{name}.ca_file: cannot be used: {reason}")
    if faults:
        raise ConfigError("\n".join([f"{source}: {len(faults)} problem{'s' * (len(faults) > 1)}", *faults]))


def local_ollama_models(url: str = OLLAMA_URL, *, timeout_s: float = 0.3) -> list[str]:
    """The names of the models that an Ollama at `url` has; none if there is no Ollama."""
    import json
    import urllib.request

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    try:
        with direct.open(f"{url}/api/tags", timeout=timeout_s) as reply:
            models = json.load(reply)["models"]
        return [model["name"] for model in models if isinstance(model["name"], str)]
    except (OSError, ValueError, KeyError, TypeError):
        return []
