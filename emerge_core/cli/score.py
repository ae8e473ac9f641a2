"""`emerge score`: verdicts on recorded answers that no rule can give, written into the recording."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emerge_core.cli._options import count, positive
from emerge_core.errors import EmergeError


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "score",
        help="grade recorded answers by a judge model or a function",
        description="Writes `correct` into the rows of a recording, for answers that no rule can compare: by a model "
        "that is shown the reference answers, or by a Python function of one's own. Compare, diversity and tune then "
        "go by it. Numbers, letters, JSON and short texts need no such verdict.",
    )
    parser.add_argument("--recordings", metavar="DIR", type=Path, required=True, help="the directory of recordings")
    parser.add_argument("--task", metavar="T", required=True, help="the task to grade")
    by = parser.add_mutually_exclusive_group(required=True)
    by.add_argument("--judge", metavar="MODEL", help="a model of the config; this costs money")
    by.add_argument("--python", metavar="MODULE:FUNCTION", help="called with question, reply, answers; true is right")
    parser.add_argument("--config", metavar="FILE", help="for the judge (default: EMERGE_CONFIG, or what is found)")
    parser.add_argument("--max-cost", metavar="USD", type=positive, help="the judge's ceiling")
    parser.add_argument("--concurrency", metavar="N", type=count, default=4, help="gradings at once (default: 4)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import asyncio
    import os

    from emerge_core.config import find_config
    from emerge_core.evals.recordings.recording import Recordings
    from emerge_core.evals.scoring.grading import Graded, Judge, by_function, grade_task

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
    print(f"{args.task}: {graded.rows} answers, {graded.right} right, {graded.open} without a verdict", end="")
    print(f"; {graded.cost_usd:.4f} USD" if args.judge else "")
    if graded.open == graded.rows:
        why = graded.fault or "a judge needs reference answers (`answers`) and a reply in JSON"
        raise EmergeError(f"no answer got a verdict: {why}")
    if graded.fault:
        print(f"some calls of the judge failed: {graded.fault}; the same command asks them again", file=sys.stderr)
    return 0
