"""`emerge diversity`: measures how differently recorded models fail, and what a panel gains by it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING

from emerge_core.cli._options import Parsers, add_command, add_json, add_quiet, add_recordings, count, names
from emerge_core.cli._output import Output, Steps, check_writable, write_text

if TYPE_CHECKING:
    from emerge_core.errors import EmergeError
    from emerge_core.evals.diversity import Reliability
    from emerge_core.evals.offline.arrays import Answers
    from emerge_core.evals.recordings.recording import Recordings


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "diversity",
        help="measure how differently recorded models fail",
        description="Prints, from recorded answers and at no cost: the accuracy of each model, how strongly their "
        "errors coincide, what the panel's vote gains and what each member adds, all with 95 % intervals. "
        "Graded replies are measured by their scores. For a task without gold answers it prints which models agree, "
        "how reliable each seems, and which panel to try; if only some questions have gold answers, both.",
        run=run,
    )
    add_recordings(parser)
    parser.add_argument(
        "--models", metavar="A,B,…", type=names, help="the panel, in config order (default: all models)"
    )
    parser.add_argument(
        "--no-gold",
        action="store_true",
        help="estimate reliability from agreement alone, as if there were no gold answers, and show both side by side",
    )
    parser.add_argument(
        "--findings",
        action="store_true",
        help="instead, over many panels: the vote's gain by spread of accuracy, one family against three providers, "
        "and what a fourth member adds (default models: the small and mid tiers)",
    )
    parser.add_argument("--limit", metavar="N", type=count, help="only the first N questions, with --no-gold")
    add_json(parser)
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a report: one page that contains its plots")
    parser.add_argument("--png", metavar="DIR", type=Path, help="write the report's plots as files")
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    with Steps(quiet=args.quiet) as step:
        return _run(args, step)


def _run(args: argparse.Namespace, step: Steps) -> int:
    from dataclasses import asdict

    from emerge_core.errors import EmergeError
    from emerge_core.evals.diversity import (
        IncomparableError,
        anchored_table,
        estimate,
        findings,
        findings_table,
        measure,
        table,
        truth,
        unlabelled_table,
    )
    from emerge_core.evals.offline.arrays import read_answers
    from emerge_core.evals.recordings.recording import Recordings
    from emerge_core.evals.report.figures import gather
    from emerge_core.evals.report.page import scored_page, unlabelled_page
    from emerge_core.evals.report.plots import plots, reliability_plots
    from emerge_core.evals.scoring import labelled

    output = Output(args.json)
    check_writable(args.html)
    step("reading")
    recordings = Recordings(args.recordings)
    recordings.choose(args.task)
    known_questions = labelled(recordings, args.task)
    scored = bool(known_questions)
    measured = scored and not args.no_gold
    if args.limit and (measured or args.findings):
        raise EmergeError(f"--limit goes with --no-gold: {args.task} has gold answers, and is measured on all of them")
    answers = read_answers(recordings, args.task, args.models, gold=measured)
    step("measuring")
    if args.findings:
        if not measured:
            raise EmergeError(f"--findings compares accuracies, and {args.task} has no gold answers")
        found = findings(answers, args.models)
        step.clear()
        output.print(findings_table(found))
        output.figures(asdict(found))
        return 0
    if measured:
        diversity = measure(answers, args.models)
        step.clear()
        output.print(table(diversity))
        figures = asdict(diversity)
        if anchored := _anchored(recordings, args, known_questions, output):
            output.print("", anchored_table(anchored))
            figures["all_questions"] = asdict(anchored) | {"agreement": anchored.agreement.tolist()}
    else:
        try:
            reliability = estimate(answers, args.models, limit=args.limit)
        except IncomparableError as error:
            step.clear()
            return _alike(args, answers, error, output)
        known = truth(answers, reliability) if scored else None
        step.clear()
        output.print(unlabelled_table(reliability, known))
        figures = asdict(reliability) | {"agreement": reliability.agreement.tolist()}
    output.figures(figures)
    if args.html or args.png:
        step("drawing")
        texts = {question.id: question.text for question in recordings.questions(args.task).values()}
        if measured:
            contents = gather(answers, args.models)
            pictures = plots(contents)
            page = scored_page(contents, pictures, texts, anchored)
        else:
            pictures = reliability_plots(reliability, known)
            page = unlabelled_page(reliability, pictures, texts, known)
        step.clear()
        _write(args, page, pictures, output)
    return 0


def _alike(args: argparse.Namespace, answers: Answers, why: EmergeError, output: Output) -> int:
    """Prints, for prose, which models answer alike; raises `why` if that cannot serve either."""
    from dataclasses import asdict

    from emerge_core.evals.diversity import likeness, likeness_table

    if args.html or args.png or len(args.models or answers.models) < 2:
        raise why
    found = likeness(answers, args.models, limit=args.limit)
    output.print(f"{why}\n\n{likeness_table(found)}")
    output.figures(asdict(found))
    return 0


def _anchored(recordings: Recordings, args: argparse.Namespace, known: Set[str], output: Output) -> Reliability | None:
    """The estimate for all questions of a task of which only `known` have gold answers; None if all have."""
    from emerge_core.errors import EmergeError
    from emerge_core.evals.diversity import estimate
    from emerge_core.evals.offline.arrays import read_answers

    if recordings.questions(args.task).keys() <= known:
        return None
    answers = read_answers(recordings, args.task, args.models, gold=False)
    if set(answers.questions) <= known:
        return None
    try:
        return estimate(answers, args.models, limit=args.limit, labelled=known)
    except EmergeError as error:
        output.print(f"\nthere is no estimate for the questions without gold answers: {error}")
        return None


def _write(args: argparse.Namespace, page: str, pictures: Mapping[str, bytes], output: Output) -> None:
    from emerge_core.errors import EmergeError

    if args.html:
        write_text(args.html, page)
        output.print(f"report: {args.html}")
    if args.png:
        try:
            args.png.mkdir(parents=True, exist_ok=True)
            for name, png in pictures.items():
                (args.png / f"{name}.png").write_bytes(png)
            output.print(f"plots: {', '.join(str(args.png / f'{name}.png') for name in pictures)}")
        except OSError as error:
            raise EmergeError(f"cannot write into {args.png}: {error.strerror}") from error
