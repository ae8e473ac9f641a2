"""`emerge compare`: measures the models and ensembles of a config on recorded answers."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emerge_core.cli._options import Parsers, add_command, add_json, add_recordings, count
from emerge_core.cli._output import Output, check_writable, write_text
from emerge_core.errors import EmergeError, MissingExtraError

if TYPE_CHECKING:
    from emerge_core.evals.compare import Comparison, MixComparison


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "compare",
        help="measure models and ensembles on recorded answers",
        description="Sends every recorded question through the proxy, with its providers redirected to recorded "
        "answers, and prints accuracy, cost and calls of each model and ensemble of the config. Costs nothing.",
        run=run,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        required=True,
        help="YAML config; a model's `model` is its name in the recordings",
    )
    add_recordings(
        parser,
        tasks="several tasks, in one shuffled order: the config has routes, and each form's ensemble is measured",
    )
    parser.add_argument("--limit", metavar="N", type=count, help="only the first N questions, of each task")
    add_json(parser)
    parser.add_argument("--concurrency", metavar="N", type=count, default=16, help="questions at once (default: 16)")
    parser.add_argument(
        "--early-decision",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="stop asking as soon as a vote is decided: the same answers, but costs become estimates (default: off)",
    )
    parser.add_argument(
        "--against",
        metavar="MODEL",
        help="compare every ensemble with this model, of the config or of the recordings (default: the model that the "
        "ensembles escalate to, else the dearest frontier model of the config)",
    )
    parser.add_argument(
        "--rows", metavar="FILE", type=Path, help="write a JSON line for every question and model or ensemble"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    parser.add_argument(
        "--live",
        action="store_true",
        help="ask judges, mergers and embedders at their real providers: this costs money",
    )


def run(args: argparse.Namespace) -> int:
    import asyncio

    from emerge_core.config import load_config
    from emerge_core.evals.compare import CompareSettings, compare, compare_tasks, mix_table, table

    output = Output(args.json)
    check_writable(args.rows)
    settings = CompareSettings(
        config=load_config(args.config),
        recordings=args.recordings,
        task=args.task or "",
        limit=args.limit,
        concurrency=args.concurrency,
        early_decision=args.early_decision,
        live=args.live,
        against=args.against,
    )
    if args.mix and not args.tasks:
        raise EmergeError("--mix weighs several tasks: name them by --tasks")
    _bypass_proxies()
    found: Comparison | MixComparison
    with _Bars(quiet=args.quiet) as bars:
        if args.tasks:
            found = mixed = asyncio.run(compare_tasks(settings, args.tasks, bars, mix=args.mix))
            output.print(mix_table(mixed))
        else:
            found = comparison = asyncio.run(compare(settings, bars))
            output.print(table(comparison))
    output.figures(found.as_json())
    if args.rows:
        write_text(args.rows, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows()))
    return 0


class _Bars:
    """One progress bar at a time, named after the model or ensemble that is asked."""

    def __init__(self, *, quiet: bool) -> None:
        try:
            from tqdm import tqdm
        except ImportError:
            raise MissingExtraError("`emerge compare` needs tqdm", extra="eval") from None
        self._make: Any = partial(tqdm, disable=True if quiet else None)  # None: not unless stderr is a terminal
        self._open: Any = None

    def __call__(self, name: str, count: int) -> Callable[[], object]:
        self._close()
        self._open = self._make(total=count, desc=name, unit="q", mininterval=0.2)
        update: Callable[[], object] = self._open.update
        return update

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()


def _bypass_proxies() -> None:
    """Keeps requests to the replay server, which is on loopback, away from the environment's HTTP proxy."""
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
