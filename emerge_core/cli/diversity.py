"""`emerge diversity`: how differently recorded models fail, and what that is worth to a panel."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING

from emerge_core.cli._options import count, names

if TYPE_CHECKING:
    from emerge_core.errors import EmergeError
    from emerge_core.evals.diversity.unlabelled import Reliability
    from emerge_core.evals.offline.arrays import Answers
    from emerge_core.evals.recordings.recording import Recordings


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "diversity",
        help="measure how differently recorded models fail",
        description="Prints, from recorded answers and at no cost: accuracy of each model, how their errors go "
        "together, what the panel's vote gains and what each member adds, all with 95 % intervals. Of a task without "
        "gold answers: who agrees with whom, how reliable each model seems, and which panel to try. Where only some "
        "questions have gold answers, both: measured on those, and estimated for all from labels and agreement.",
    )
    parser.add_argument("--recordings", metavar="DIR", type=Path, required=True, help="the directory of recordings")
    parser.add_argument("--task", metavar="T", required=True, help="the task to measure on")
    parser.add_argument(
        "--models", metavar="A,B,…", type=names, help="the panel, in config order (default: all models)"
    )
    parser.add_argument(
        "--no-gold",
        action="store_true",
        help="estimate reliability from agreement alone, as for a task without gold answers; they are shown beside it",
    )
    parser.add_argument(
        "--findings",
        action="store_true",
        help="instead, over many panels: the vote's gain by spread of accuracy, one family against three providers, "
        "and what a fourth member adds (default models: the small and mid tiers)",
    )
    parser.add_argument("--limit", metavar="N", type=count, help="only the first N questions, with --no-gold")
    parser.add_argument("--json", metavar="OUT", type=Path, help="write the figures to a file")
    parser.add_argument("--html", metavar="OUT", type=Path, help="write a report: one page with its plots inside")
    parser.add_argument("--png", metavar="DIR", type=Path, help="write the report's plots as files too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from emerge_core.cli._output import check_writable, write_json
    from emerge_core.errors import EmergeError
    from emerge_core.evals.diversity.findings import findings
    from emerge_core.evals.diversity.findings_table import findings_table
    from emerge_core.evals.diversity.measures import measure
    from emerge_core.evals.diversity.table import table
    from emerge_core.evals.diversity.unlabelled import IncomparableError, estimate
    from emerge_core.evals.diversity.unlabelled_table import anchored_table, truth, unlabelled_table
    from emerge_core.evals.offline.arrays import read_answers
    from emerge_core.evals.recordings.recording import Recordings
    from emerge_core.evals.report.figures import gather
    from emerge_core.evals.report.page import scored_page, unlabelled_page
    from emerge_core.evals.report.plots import plots, reliability_plots
    from emerge_core.evals.scoring.scorer import labelled

    check_writable(args.json, args.html)
    recordings = Recordings(args.recordings)
    recordings.choose(args.task)
    known_questions = labelled(recordings, args.task)
    scored = bool(known_questions)
    measured = scored and not args.no_gold
    if args.limit and (measured or args.findings):
        raise EmergeError(f"--limit goes with --no-gold: {args.task} has gold answers, and is measured on all of them")
    answers = read_answers(recordings, args.task, args.models, gold=measured)
    if args.findings:
        if not measured:
            raise EmergeError(f"--findings compares accuracies, and {args.task} has no gold answers")
        found = findings(answers, args.models)
        print(findings_table(found))
        if args.json:
            write_json(args.json, asdict(found))
        return 0
    if measured:
        diversity = measure(answers, args.models)
        print(table(diversity))
        figures = asdict(diversity)
        if anchored := _anchored(recordings, args, known_questions):
            print("\n" + anchored_table(anchored))
            figures["all_questions"] = asdict(anchored) | {"agreement": anchored.agreement.tolist()}
    else:
        try:
            reliability = estimate(answers, args.models, limit=args.limit)
        except IncomparableError as error:
            return _alike(args, answers, error)
        known = truth(answers, reliability) if scored else None
        print(unlabelled_table(reliability, known))
        figures = asdict(reliability) | {"agreement": reliability.agreement.tolist()}
    if args.json:
        write_json(args.json, figures)
    if args.html or args.png:
        texts = {question.id: question.text for question in recordings.questions(args.task).values()}
        if measured:
            contents = gather(answers, args.models)
            pictures = plots(contents)
            page = scored_page(contents, pictures, texts, anchored)
        else:
            pictures = reliability_plots(reliability, known)
            page = unlabelled_page(reliability, pictures, texts, known)
        _write(args, page, pictures)
    return 0


def _alike(args: argparse.Namespace, answers: Answers, why: EmergeError) -> int:
    """Of prose: who answers like whom."""
    from dataclasses import asdict

    from emerge_core.cli._output import write_json
    from emerge_core.evals.diversity.wording import likeness, likeness_table

    if args.html or args.png or len(args.models or answers.models) < 2:
        raise why
    found = likeness(answers, args.models, limit=args.limit)
    print(f"{why}\n\n{likeness_table(found)}")
    if args.json:
        write_json(args.json, asdict(found))
    return 0


def _anchored(recordings: Recordings, args: argparse.Namespace, known: Set[str]) -> Reliability | None:
    """What the labelled questions say of all, where most of a task has no gold answers."""
    from emerge_core.errors import EmergeError
    from emerge_core.evals.diversity.unlabelled import estimate
    from emerge_core.evals.offline.arrays import read_answers

    if recordings.questions(args.task).keys() <= known:
        return None
    answers = read_answers(recordings, args.task, args.models, gold=False)
    if set(answers.questions) <= known:
        return None
    try:
        return estimate(answers, args.models, limit=args.limit, labelled=known)
    except EmergeError as error:
        print(f"\nonly the labelled questions are told of: {error}")
        return None


def _write(args: argparse.Namespace, page: str, pictures: Mapping[str, bytes]) -> None:
    from emerge_core.cli._output import write_text
    from emerge_core.errors import EmergeError

    if args.html:
        write_text(args.html, page)
        print(f"report: {args.html}")
    if args.png:
        try:
            args.png.mkdir(parents=True, exist_ok=True)
            for name, png in pictures.items():
                (args.png / f"{name}.png").write_bytes(png)
            print(f"plots: {', '.join(str(args.png / f'{name}.png') for name in pictures)}")
        except OSError as error:
            raise EmergeError(f"cannot write into {args.png}: {error.strerror}") from error
