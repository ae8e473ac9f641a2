"""`emerge tune`: searches for the best ensemble for a task, on recorded answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from emerge_core.cli._options import (
    Parsers,
    add_command,
    add_json,
    add_quiet,
    add_recordings,
    count,
    names,
    not_negative,
    panel_size,
    positive,
    share,
)
from emerge_core.cli._output import Output, Steps, check_writable, write_bytes, write_text
from emerge_core.errors import EmergeError

if TYPE_CHECKING:
    from emerge_core.evals.tune.result import Tuned
    from emerge_core.evals.tune.settings import CostLimit


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "tune",
        help="search for the best ensemble on recorded answers",
        description="Searches members, weights, calibration, aggregator and escalation on recorded answers, at no "
        "cost, and prints the best ensemble for each budget with its accuracy on questions that did not choose it.",
        run=run,
    )
    add_recordings(
        parser,
        task="the task to tune for",
        tasks="several tasks: one ensemble is tuned for each form of request, and the config routes between them",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="the config that the answers were recorded with: its models and providers are written",
    )
    parser.add_argument(
        "--models", metavar="A,B,…", type=names, help="possible members (default: the small and mid tiers)"
    )
    parser.add_argument(
        "--max-members", metavar="K", type=panel_size, default=3, help="members of a panel (default: 3)"
    )
    parser.add_argument(
        "--reference",
        metavar="MODEL",
        help="the model to compare with (default: the most accurate of the frontier tier)",
    )
    parser.add_argument(
        "--max-cost", metavar="X", help="US dollars per 1,000 questions, or a share of the reference's: 0.25x"
    )
    parser.add_argument("--min-accuracy", metavar="A", type=share, help="take the cheapest that reaches it (0 to 1)")
    parser.add_argument(
        "--max-latency", metavar="MS", type=positive, help="mean latency in milliseconds, if the recording has it"
    )
    parser.add_argument("--no-frontier", action="store_true", help="never ask a frontier model")
    parser.add_argument(
        "--reasoning",
        action="store_true",
        help="let panels ask reasoning models even if their hidden tokens, and so their cost, were not recorded",
    )
    parser.add_argument(
        "--margin",
        metavar="POINTS",
        type=not_negative,
        default=0.3,
        help="how much less accurate a cheaper choice may be than the most accurate one (default: 0.3)",
    )
    parser.add_argument(
        "--as-good",
        metavar="POINTS",
        type=positive,
        default=3.0,
        help="a model is as good as another if it is worse by less than this, with 95 %% confidence (default: 3)",
    )
    parser.add_argument("--seeds", metavar="N", type=count, default=10, help="partitions to pool (default: 10)")
    add_json(parser)
    parser.add_argument(
        "--html", metavar="FILE", type=Path, help="write a page: which models, why, what it costs, how sure that is"
    )
    parser.add_argument("--png", metavar="FILE", type=Path, help="draw cost and accuracy of what each budget buys")
    parser.add_argument("--config-out", metavar="FILE", type=Path, help="write the chosen ensemble as a config")
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    from emerge_core.config import load_config
    from emerge_core.evals.tune.config_writer import PLACEHOLDER
    from emerge_core.evals.tune.result_json import as_json
    from emerge_core.evals.tune.settings import TuneSettings
    from emerge_core.evals.tune.table import table
    from emerge_core.evals.tune.tasks import tune_tasks
    from emerge_core.evals.tune.tasks_table import tasks_json, tasks_table
    from emerge_core.evals.tune.tuning import tune

    output = Output(args.json)
    check_writable(args.png, args.html, args.config_out)
    if args.mix and not args.tasks:
        raise EmergeError("--mix weighs several tasks: name them by --tasks")
    for option in ("png", "html"):
        if getattr(args, option) and args.tasks:
            raise EmergeError(f"--{option} shows the search for one task: use it with --task")
    settings = TuneSettings(
        recordings=args.recordings,
        task=args.task or "",
        models=args.models,
        max_members=args.max_members,
        reference=args.reference,
        max_cost=None if args.max_cost is None else _cost(args.max_cost),
        min_accuracy=args.min_accuracy,
        max_latency_ms=args.max_latency,
        frontier=not args.no_frontier,
        reasoning=args.reasoning,
        margin=args.margin / 100,
        as_good=args.as_good / 100,
        seeds=args.seeds,
        config=load_config(args.config) if args.config else None,
    )
    with Steps(quiet=args.quiet) as steps:
        if args.tasks:
            several = tune_tasks(settings, args.tasks, mix=args.mix, progress=steps)
        else:
            tuned = tune(settings, steps)
    if args.tasks:
        config = several.config
        output.print(tasks_table(several))
        output.figures(tasks_json(several))
    else:
        config = tuned.config
        output.print(table(tuned))
        output.figures(as_json(tuned))
        _pictures(args, tuned, output)
    if args.config_out:
        import yaml

        write_text(args.config_out, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        output.print(f"config: {args.config_out}")
        unknown = [name for name, each in config["providers"].items() if each == PLACEHOLDER]
        if unknown:
            output.print(
                f"No API is known for {', '.join(unknown)}, which the config has as a local Ollama: "
                "set its base_url, or give --config the config that the answers were recorded with."
            )
    return 0


def _pictures(args: argparse.Namespace, tuned: Tuned, output: Output) -> None:
    if args.png:
        from emerge_core.evals.report.tuning_plot import tuned_plot

        write_bytes(args.png, tuned_plot(tuned))
    if args.html:
        from emerge_core.evals.report.tuning_page import tuning_page

        write_text(args.html, tuning_page(tuned))
        output.print(f"page: {args.html}")


def _cost(text: str) -> CostLimit:
    from emerge_core.evals.tune.settings import CostLimit

    share = text.strip().lower().endswith("x")
    try:
        amount = float(text.strip()[:-1] if share else text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < float("inf"):
        raise EmergeError(f"--max-cost {text}: must be US dollars per 1,000 questions (0.8) or a share (0.25x)")
    return CostLimit(amount, share)
