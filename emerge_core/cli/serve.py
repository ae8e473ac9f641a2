"""`emerge serve`: the proxy on this machine."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import socket
import sys
from collections.abc import Mapping

from emerge_core.cli._listen import listen, root_url
from emerge_core.cli._options import Parsers, add_command, add_config, port
from emerge_core.cli._output import warn
from emerge_core.cli._warnings import all_warnings
from emerge_core.config import Config, find_config
from emerge_core.errors import ConfigError

KEYS_VARIABLE = "EMERGE_API_KEYS"
GRACE_S = 10  # for requests that are open when the server is told to stop
# Longer than clients keep an idle connection (httpx: 5 s), so that none is closed while it is being reused.
KEEP_ALIVE_S = 75


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "serve",
        help="serve the OpenAI API on this machine",
        description="Serves the OpenAI API. Without a config it uses the providers whose keys are in the environment, "
        "else a local Ollama, else a simulated panel. EMERGE_API_KEYS (comma-separated) sets the keys that clients "
        "must send.",
        exits={0: "stopped by Ctrl-C"},
        run=run,
    )
    add_config(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--log", action="store_true", help="log each call and each request as JSON on standard error")


def run(args: argparse.Namespace) -> int:
    from emerge_core.engine.engine import preload

    config, source = find_config(args.config, os.environ)
    keys = client_keys(os.environ)
    if args.log:
        _log_to_stderr()
    with listen(args.host, args.port) as listener:
        preload(config)  # after the port is bound, before the address is printed
        host, port = listener.getsockname()[:2]
        print(banner(config, source, url=root_url(host, port) + "/v1", keyed=bool(keys)), flush=True)
        warn(*all_warnings(config, os.environ), *_exposure(host, keys))
        try:
            asyncio.run(_serve(config, keys, listener))
        except KeyboardInterrupt:  # uvicorn has shut down in order, then passes the signal on
            print("stopped", file=sys.stderr)
    return 0


def client_keys(environ: Mapping[str, str]) -> list[str]:
    """The keys that clients may use; none: the server is open."""
    text = environ.get(KEYS_VARIABLE, "").strip()
    keys = [key.strip() for key in text.split(",") if key.strip()]
    if text and not keys:
        raise ConfigError(f"{KEYS_VARIABLE} is set but holds no key")
    return keys


def banner(config: Config, source: str, *, url: str, keyed: bool) -> str:
    name = config.default or next(iter([*config.ensembles, *config.models]))
    auth = "-H 'authorization: Bearer YOUR_KEY' " if keyed else ""
    question = '[{"role": "user", "content": "What is 17 * 23?"}]'
    return "\n".join(
        [
            f"emerge serves {url}",
            f"  config     {source}",
            *(f"  ensemble   {line}" for line in _panels(config)),
            "  try        "
            f"curl {url}/chat/completions {auth}-H 'content-type: application/json' "
            f"""-d '{{"model": "{name}", "messages": {question}}}'""",
        ]
    )


def _panels(config: Config) -> list[str]:
    return [
        f"{name}: {' + '.join(member.model for member in ensemble.members)}"
        + (" (default)" if name == config.default else "")
        for name, ensemble in config.ensembles.items()
    ]


def _exposure(host: str, keys: list[str]) -> list[str]:
    if keys or ipaddress.ip_address(host).is_loopback:
        return []
    return [f"it listens on {host} and anyone there may call it: set {KEYS_VARIABLE} to ask for a key"]


async def _serve(config: Config, keys: list[str], listener: socket.socket) -> None:
    import uvicorn

    from emerge_core.api import create_app
    from emerge_core.engine.engine import Engine

    app = create_app(Engine(config), api_keys=keys)  # which closes the engine at its shutdown
    settings = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    await uvicorn.Server(settings).serve(sockets=[listener])


def _log_to_stderr() -> None:
    import logging

    from emerge_core.telemetry.lines import JsonFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger("emerge")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
