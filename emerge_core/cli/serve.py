"""`emerge serve`: the proxy on this machine."""

from __future__ import annotations

import argparse
import asyncio
import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Mapping

from emerge_core.config import Config, find_config, warnings
from emerge_core.errors import ConfigError, EmergeError

KEYS_VARIABLE = "EMERGE_API_KEYS"
GRACE_S = 10  # for requests that are open when the server is told to stop
# Longer than clients keep an idle connection (httpx: 5 s), so that none is closed while it is being reused.
KEEP_ALIVE_S = 75


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "serve",
        help="serve the OpenAI API on this machine",
        description="Serves the OpenAI API. Without a config it uses the providers whose keys are in the "
        "environment, or a local Ollama, or else a simulated panel. EMERGE_API_KEYS (comma-separated) sets the "
        "keys that clients must have.",
    )
    parser.add_argument("--config", metavar="FILE", help="YAML config (default: EMERGE_CONFIG, or what is found)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--log", action="store_true", help="log each call and each request as JSON on standard error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emerge_core.engine.engine import preload

    config, source = find_config(args.config, os.environ)
    keys = client_keys(os.environ)
    if args.log:
        _log_to_stderr()
    with listen(args.host, args.port) as listener:
        preload(config)  # after a port that is taken was said, before anybody is invited
        host, port = listener.getsockname()[:2]
        print(banner(config, source, url=base_url(host, port), keyed=bool(keys)), flush=True)
        for warning in [*warnings(config, os.environ), *_exposure(host, keys)]:
            print(f"warning: {warning}", file=sys.stderr)
        sys.stderr.flush()
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


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that what is printed about it is true before the server starts."""
    if not 0 <= port <= 65535:
        raise EmergeError(f"port {port} is not between 0 and 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
        # asyncio does this for sockets it makes itself; without it a reply waits 40 ms for the client's ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EmergeError(f"port {port} on {host} is in use; choose another with --port") from None
        raise EmergeError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def base_url(host: str, port: int) -> str:
    """Where a client on this machine finds the server."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


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
