"""`emerge serve`: the proxy on this machine."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import math
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from emerge_core.api.auth import read_api_keys
from emerge_core.api.cors import read_origins
from emerge_core.cli._listen import listen, root_url
from emerge_core.cli._options import Parsers, add_command, add_config, count, names, port
from emerge_core.cli._output import warn
from emerge_core.cli._warnings import all_warnings
from emerge_core.config import Config, EnsembleConfig, find_config
from emerge_core.config.variables import API_KEYS, CORS_ORIGINS
from emerge_core.errors import ConfigError, EmergeError
from emerge_core.pricing import list_price

# New objects before the collector looks for cycles: some requests' worth. At the default it takes a sixth of the
# processor time.
GARBAGE_OBJECTS = 5_000


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "serve",
        help="serve the API on this machine",
        description="Serves OpenAI's and Anthropic's APIs. Without a config it uses the providers whose keys are in "
        "the environment, else a local Ollama, else a simulated panel. EMERGE_API_KEYS (comma-separated) sets the "
        "keys that clients must send. SIGHUP reads the config again; SIGTERM and SIGINT finish the requests in "
        "progress and stop.",
        exits={0: "stopped by Ctrl-C"},
        run=run,
    )
    add_config(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--log", action="store_true", help="log each call and each request as JSON on standard error")
    parser.add_argument("--workers", type=count, default=1, metavar="N", help="serving processes (default: 1)")
    parser.add_argument(
        "--max-concurrent",
        type=count,
        metavar="N",
        help="requests at once per process; beyond it, 503 with code `overloaded` (default: as many as the "
        "descriptor limit allows)",
    )
    parser.add_argument(
        "--allowed-hosts",
        type=names,
        metavar="A,B",
        help="accept these `Host` headers beside loopback ones; `*` accepts all (default: without keys on a loopback "
        "address, loopback hosts only; else all)",
    )
    parser.add_argument(
        "--cors-origins",
        type=names,
        metavar="A,B",
        help=f"let web pages of these origins call the API (default: {CORS_ORIGINS}, or none)",
    )
    parser.add_argument(
        "--no-console",
        dest="console",
        action="store_false",
        help="do not show the console, the page at /, and keep no list of the last requests",
    )
    parser.add_argument(
        "--tuning", type=Path, metavar="FILE", help="what `emerge tune --json` wrote, to show in the console"
    )
    parser.add_argument("--metrics", action="store_true", help="serve Prometheus metrics at /metrics")


@dataclass(frozen=True)
class Settings:
    """What the serving processes have in common."""

    config_file: str | None
    keys: list[str]
    allowed_hosts: tuple[str, ...] | None
    cors_origins: tuple[str, ...]
    log_calls: bool
    max_requests: int | None
    workers: int = 1
    console: bool = True
    tuning: Path | None = None
    metrics: bool = False


@dataclass(frozen=True)
class FoundConfig:
    """A config with where it was found, for `ReloadingEngine`."""

    config: Config
    source: str
    version: str = "file"
    fault: str | None = None


def run(args: argparse.Namespace) -> int:
    from emerge_core.api.process import raise_file_limit

    found = read_config(args.config)
    keys = read_api_keys(os.environ)
    origins = read_origins(",".join(args.cors_origins or ()) or os.environ.get(CORS_ORIGINS, ""))
    raise_file_limit()
    with listen(args.host, args.port) as listener:
        load(found.config)  # after the port is bound, before the line that invites clients is printed
        host, port = listener.getsockname()[:2]
        root = root_url(host, port)
        console = f"{root}/" if args.console else None
        print(banner(found.config, found.source, url=f"{root}/v1", keyed=bool(keys), console=console), flush=True)
        warn(*all_warnings(found.config, os.environ), *_exposure(host, keys))
        settings = Settings(
            config_file=args.config,
            keys=keys,
            allowed_hosts=_allowed_hosts(host, keys, args.allowed_hosts),
            cors_origins=origins,
            log_calls=args.log,
            max_requests=args.max_concurrent,
            workers=args.workers,
            console=args.console,
            tuning=args.tuning,
            metrics=args.metrics,
        )
        if args.workers == 1:
            status = serve(settings, found, listener)
        else:
            from emerge_core.api.server.workers import Supervisor

            status = Supervisor(args.workers, lambda: max(serve(settings, found, listener), 0)).run()
    if status < 0:  # as a process that a signal ended, which is what supervisors expect
        signal.signal(-status, signal.SIG_DFL)
        signal.raise_signal(-status)
    print("stopped", file=sys.stderr)
    return status


def read_config(file: str | None) -> FoundConfig:
    return FoundConfig(*find_config(file, os.environ))


def load(config: Config) -> None:
    """Imports what the config's providers need, so that no request waits for it. Raises EmergeError if a package is
    missing."""
    from emerge_core.engine.engine import preload

    try:
        preload(config)
    except ImportError as error:
        missing = error.name or str(error)
        raise EmergeError(f"the config needs the Python package {missing!r}, which is not installed") from None


def serve(settings: Settings, found: FoundConfig, listener: socket.socket) -> int:
    """Serves until a signal comes: 0 after SIGINT, else the signal's negative number."""
    from emerge_core.api import create_app
    from emerge_core.api.health import health
    from emerge_core.api.process import collect_garbage_less_often, raise_file_limit
    from emerge_core.api.server.descriptors import capacity
    from emerge_core.api.server.server import Server
    from emerge_core.api.trace_context import TraceContextMiddleware
    from emerge_core.cli._observers import Observers
    from emerge_core.engine.engine import Engine
    from emerge_core.engine.reload import ReloadingEngine
    from emerge_core.telemetry.otel import open_telemetry
    from emerge_core.telemetry.stderr import log_to_stderr

    log = log_to_stderr(calls=settings.log_calls)
    exporter = open_telemetry(os.environ)
    observers = Observers(console=settings.console, metrics=settings.metrics, exporter=exporter)
    pending = [found]  # the config that the banner shows serves first

    def read() -> FoundConfig:
        if pending:
            return pending.pop()
        try:
            again = read_config(settings.config_file)
            load(again.config)
        except ConfigError:
            raise
        except EmergeError as error:
            raise ConfigError(str(error)) from None
        return again

    async def main() -> int:
        engine = ReloadingEngine(
            read, lambda each: Engine(each.config, record=observers.recorder(each.config)), ttl_s=math.inf
        )
        await engine.reload()
        limits = capacity(raise_file_limit(), panel=largest_panel(found.config), max_requests=settings.max_requests)
        app = create_app(
            engine,  # which the application closes at its shutdown
            api_keys=settings.keys,
            allowed_hosts=settings.allowed_hosts,
            cors_origins=settings.cors_origins,
            max_requests=limits.requests,
            details=lambda: {"config": engine.status()},
            more_routes=observers.routes(engine, workers=settings.workers, tuning=settings.tuning),
            open_paths=observers.open_paths,
        )
        if exporter:
            app.add_middleware(TraceContextMiddleware, begin=exporter.begin)
        server = Server(app, listener, capacity=limits, health=lambda: health(engine), reload=engine.reload)
        collect_garbage_less_often(GARBAGE_OBJECTS)
        await server.serve()
        return 0 if server.stopped_by in (None, signal.SIGINT) else -server.stopped_by

    try:
        return asyncio.run(main())
    finally:
        if exporter:
            exporter.close()
        log.close()


def largest_panel(config: Config) -> int:
    """Upstream calls that one request may have open at once: the largest ensemble's, and one escalation."""
    return max((len(ensemble.members) for ensemble in config.ensembles.values()), default=1) + 1


def banner(config: Config, source: str, *, url: str, keyed: bool, console: str | None = None) -> str:
    name = config.default or next(iter([*config.ensembles, *config.models]))
    auth = "-H 'authorization: Bearer YOUR_KEY' " if keyed else ""
    question = '[{"role": "user", "content": "What is 17 * 23?"}]'
    return "\n".join(
        [
            f"emerge serves {url}",
            f"  config     {source}",
            *(f"  ensemble   {line}" for line in _panels(config)),
            *([f"  console    {console}"] if console else []),
            "  try        "
            f"curl {url}/chat/completions {auth}-H 'content-type: application/json' "
            f"""-d '{{"model": "{name}", "messages": {question}}}'""",
        ]
    )


def _panels(config: Config) -> list[str]:
    lines = []
    for name, ensemble in config.ensembles.items():
        line = f"{name}: {_panel(ensemble)}" + (" (default)" if name == config.default else "")
        lines.append(line if ensemble.routes else f"{line}: {_price(config, ensemble)}")
    return lines


def _panel(ensemble: EnsembleConfig) -> str:
    if ensemble.routes:
        served: dict[str, list[str]] = {}
        for form, target in ensemble.routes.items():
            served.setdefault(target, []).append(form)
        return "; ".join(f"{', '.join(forms)} → {target}" for target, forms in served.items())
    members = (", then " if ensemble.strategy.name == "fallback" else " + ").join(m.model for m in ensemble.members)
    merger = ensemble.aggregator.merger if ensemble.aggregator.name == "merge" else None
    return f"{members}, merged by {merger}" if merger else members


def _price(config: Config, ensemble: EnsembleConfig) -> str:
    """What a request costs if nothing fails and no escalation is needed: the number of calls, and the sum of the
    models' prices per million tokens."""
    models = [member.model for member in ensemble.members]
    if ensemble.strategy.name == "fallback":
        models = models[:1]
    elif ensemble.aggregator.name in ("judge", "merge"):
        models += [name for name in (ensemble.aggregator.judge, ensemble.aggregator.merger) if name]
    calls = f"{len(models)} call{'s' * (len(models) > 1)}"
    if ensemble.strategy.name == "cascade":
        calls = f"at most {calls}"
    prices = [list_price(config.models[name], config.providers[config.models[name].provider]) for name in models]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return f"{calls}, price unknown"
    into, out = sum(price.input for price in known), sum(price.output for price in known)
    if not into and not out:
        return f"{calls}, free"
    reads = f" ({models[-1]} also reads the replies)" if len(models) > len(ensemble.members) else ""
    return f"{calls}, ${into:.3g} in{reads} and ${out:.3g} out per million tokens"


def _exposure(host: str, keys: list[str]) -> list[str]:
    if keys or ipaddress.ip_address(host).is_loopback:
        return []
    return [f"it listens on {host} and anyone there may call it: set {API_KEYS} to ask for a key"]


def _allowed_hosts(host: str, keys: list[str], named: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """None: every `Host` is accepted."""
    if named is None and (keys or not ipaddress.ip_address(host).is_loopback):
        return None
    return named or ()
