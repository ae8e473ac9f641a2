"""`emerge score`: grades recorded answers that no rule can compare, and writes the result into the recording."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emerge_core.cli._options import Parsers, add_command, add_config, add_json, add_recordings, count, positive
from emerge_core.cli._output import Output, read_text
from emerge_core.errors import EmergeError


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "score",
        help="grade recorded answers with a judge model or a function",
        description="Writes `correct`, or `score` (0 to 1), into the rows of a recording, for answers that no rule can "
        "compare: with a model that is shown the reference answers, with a model that grades by a rubric, or with your "
        "own Python function. compare, diversity and tune then use what is written. Numbers, letters, JSON and short "
        "texts need no grading.",
        run=run,
    )
    add_recordings(parser, task="the task to grade")
    by = parser.add_mutually_exclusive_group(required=True)
    by.add_argument("--judge", metavar="MODEL", help="a model of the config; this costs money")
    by.add_argument(
        "--python",
        metavar="MODULE:FUNCTION",
        help="called with question, reply and answers; returns True or False, or a grade from 0 to 1",
    )
    parser.add_argument(
        "--rubric",
        metavar="FILE",
        nargs="?",
        const="",
        help="with --judge: grade from 0 to 10 by the rubric in FILE, or by a general one; needs no reference answers",
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
    from emerge_core.evals.scoring import GradingResult, by_function, grade_task
    from emerge_core.evals.scoring.judge import Judge

    output = Output(args.json)
    recordings = Recordings(args.recordings)
    recordings.choose(args.task)
    rubric = _rubric(args)

    def progress(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {of}", end="" if done < of else "\n", file=sys.stderr)

    async def by_judge() -> GradingResult:
        config, _ = find_config(args.config, os.environ)
        async with Judge(config, args.judge, rubric=rubric, max_cost_usd=args.max_cost) as judge:
            at_once = args.concurrency
            result = await grade_task(
                recordings, args.task, judge, by=judge.name, concurrency=at_once, progress=progress
            )
            result.cost_usd, result.fault = judge.cost_usd, judge.fault
            return result

    async def by_own_function() -> GradingResult:
        grader, by = by_function(args.python), f"python {args.python}"
        return await grade_task(recordings, args.task, grader, by=by, concurrency=1, progress=progress)

    result = asyncio.run(by_judge() if args.judge else by_own_function())
    mean = result.mean_score
    graded = f"{result.right} right" if mean is None else f"mean score {mean:.3f}"
    cost = f"; {result.cost_usd:.4f} USD" if args.judge else ""
    output.print(f"{args.task}: {result.rows} answers, {graded}, {result.open} without a verdict{cost}")
    output.figures(
        {
            "task": args.task,
            "answers": result.rows,
            "right": result.right if mean is None else None,
            "mean_score": mean,
            "without_verdict": result.open,
            "cost_usd": result.cost_usd if args.judge else None,
        }
    )
    if result.open == result.rows:
        needs = "a judge needs a reply in JSON" + ("" if rubric else ", and reference answers (`answers`) or --rubric")
        raise EmergeError(f"no answer got a verdict: {result.fault or needs}")
    if result.fault:
        print(f"some calls of the judge failed: {result.fault}; the same command asks them again", file=sys.stderr)
    return 0


def _rubric(args: argparse.Namespace) -> str | None:
    """The text of the rubric; None without `--rubric`."""
    from emerge_core.evals.scoring.judge import RUBRIC

    if args.rubric is None:
        return None
    if not args.judge:
        raise EmergeError("--rubric goes with --judge: a function has its own rules")
    if not args.rubric:
        return RUBRIC
    text = read_text(Path(args.rubric)).strip()
    if not text:
        raise EmergeError(f"{args.rubric}: the rubric is empty")
    return text
