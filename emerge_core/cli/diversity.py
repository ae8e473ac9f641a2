"""`emerge diversity`: how differently recorded models fail, and what that is worth to a panel."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "diversity",
        help="measure how differently recorded models fail",
        description="Prints, from recorded answers and at no cost: accuracy of each model, how their errors go "
        "together, what the panel's vote gains and what each member adds, all with 95 % intervals.",
    )
    parser.add_argument("--recordings", metavar="DIR", type=Path, required=True, help="the directory of recordings")
    parser.add_argument("--task", metavar="T", required=True, help="the task to measure on")
    parser.add_argument(
        "--models", metavar="A,B,…", type=names, help="the panel, in config order (default: all models)"
    )
    parser.add_argument("--json", metavar="OUT", type=Path, help="write the figures to a file")
    parser.set_defaults(run=run)


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list of names, each once."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise argparse.ArgumentTypeError("must name at least one model")
    return found


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from emerge_core.cli.output import check_writable, write_json
    from emerge_core.evals.arrays import read_answers
    from emerge_core.evals.diversity import measure
    from emerge_core.evals.diversity_table import table
    from emerge_core.evals.recordings import Recordings

    check_writable(args.json)
    found = measure(read_answers(Recordings(args.recordings), args.task, args.models), args.models)
    print(table(found))
    if args.json:
        write_json(args.json, asdict(found))
    return 0
