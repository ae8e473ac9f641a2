"""`emerge score`: grades recorded answers that no rule can compare, and writes the verdicts into the recording."""

from __future__ import annotations

import argparse
import sys

from emerge_core.cli._options import Parsers, add_command, add_config, add_json, add_recordings, count, positive
from emerge_core.cli._output import Output
from emerge_core.errors import EmergeError


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "score",
        help="grade recorded answers with a judge model or a function",
        description="Writes `correct` into the rows of a recording, for answers that no rule can compare: with a model "
        "that is shown the reference answers, or with your own Python function. compare, diversity and tune then use "
        "these verdicts. Numbers, letters, JSON and short texts do not need any.",
        run=run,
    )
    add_recordings(parser, task="the task to grade")
    by = parser.add_mutually_exclusive_group(required=True)
    by.add_argument("--judge", metavar="MODEL", help="a model of the config; this costs money")
    by.add_argument(
        "--python", metavar="MODULE:FUNCTION", help="called with question, reply and answers; true means right"
    )
    add_config(parser, "for the judge: YAML config")
    parser.add_argument("--max-cost", metavar="USD", type=positive, help="stop before the judge costs more than this")
    parser.add_argument("--concurrency", metavar="N", type=count, default=4, help="gradings at once (default: 4)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    import asyncio
    import os

    from emerge_core.config import find_config
    from emerge_core.evals.recordings.recording import Recordings
    from emerge_core.evals.scoring.grading import Graded, Judge, by_function, grade_task

    output = Output(args.json)
    recordings = Recordings(args.recordings)
    recordings.choose(args.task)

    def progress(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {of}", end="" if done < of else "\n", file=sys.stderr)

    async def by_judge() -> Graded:
        config, _ = find_config(args.config, os.environ)
        async with Judge(config, args.judge, max_cost_usd=args.max_cost) as judge:
            by = f"judge {config.models[args.judge].model}"
            at_once = args.concurrency
            graded = await grade_task(recordings, args.task, judge, by=by, concurrency=at_once, progress=progress)
            graded.cost_usd, graded.fault = judge.cost_usd, judge.fault
            return graded

    async def by_own_function() -> Graded:
        grader, by = by_function(args.python), f"python {args.python}"
        return await grade_task(recordings, args.task, grader, by=by, concurrency=1, progress=progress)

    graded = asyncio.run(by_judge() if args.judge else by_own_function())
    cost = f"; {graded.cost_usd:.4f} USD" if args.judge else ""
    output.print(f"{args.task}: {graded.rows} answers, {graded.right} right, {graded.open} without a verdict{cost}")
    output.figures(
        {
            "task": args.task,
            "answers": graded.rows,
            "right": graded.right,
            "without_verdict": graded.open,
            "cost_usd": graded.cost_usd if args.judge else None,
        }
    )
    if graded.open == graded.rows:
        why = graded.fault or "a judge needs reference answers (`answers`) and a reply in JSON"
        raise EmergeError(f"no answer got a verdict: {why}")
    if graded.fault:
        print(f"some calls of the judge failed: {graded.fault}; the same command asks them again", file=sys.stderr)
    return 0
