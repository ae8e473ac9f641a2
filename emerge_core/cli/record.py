"""`emerge record`: asks models questions, or adjudicators disputes, and saves the replies for later comparisons."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from emerge_core.cli._options import (
    Parsers,
    add_command,
    add_config,
    add_quiet,
    count,
    names,
    not_negative,
    per_provider,
    positive,
)
from emerge_core.errors import EmergeError, MissingExtraError

if TYPE_CHECKING:
    from emerge_core.config import Config
    from emerge_core.evals.record.disputes import Disputes
    from emerge_core.evals.record.journal import Journal
    from emerge_core.evals.record.recorder import RecordSettings, Report
    from emerge_core.evals.recordings.rows import Question

T = TypeVar("T", int, float)

CAUSES = 10  # how many kinds of errors are printed, the most frequent first


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "record",
        help="ask every model every question and save the replies",
        description="Asks every model of the config every question and saves the replies as a recording that replay, "
        "compare, tune and diversity read. This costs money; a question that is recorded already is not asked again. "
        "With --disputes it asks the models, or the panels, that adjudicate in the config for the questions of the "
        "recording on which their panel disagrees. tune builds panels of the models that the config's ensembles have "
        "as members (or that no ensemble names) and escalates to frontier models: those that ensembles only escalate "
        "to, or have as judge or merger, unless --frontier names them. models.json keeps the tiers from run to run.",
        exits={1: "every call of some model failed"},
        run=run,
    )
    add_config(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--questions", metavar="FILE", type=Path, help="JSONL or CSV: questions, or bodies of chat completion requests"
    )
    source.add_argument(
        "--from-traces",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="log lines of an emerge with `trace: full` and `log_content: true`: sends no request, costs nothing",
    )
    source.add_argument(
        "--from",
        dest="logs",
        metavar="[MODEL=]FILE",
        nargs="+",
        help="logs of lm-evaluation-harness, inspect-ai, OpenAI or Anthropic batches, LiteLLM or promptfoo, joined on "
        "the prompt: sends no request, costs nothing",
    )
    source.add_argument(
        "--disputes",
        action="store_true",
        help="ask the config's adjudicators for the disputed questions of the recording in --out",
    )
    parser.add_argument(
        "--out", "--recordings", metavar="DIR", type=Path, required=True, help="the directory of recordings"
    )
    parser.add_argument("--task", metavar="T", help="the task's name (default: the one in the questions)")
    parser.add_argument("--models", metavar="A,B,…", type=names, help="only these models of the config")
    parser.add_argument("--frontier", metavar="A,B,…", type=names, help="the frontier models: these and no others")
    parser.add_argument("--limit", metavar="N", type=count, help="only the first N questions")
    parser.add_argument(
        "--repeat",
        metavar="K",
        type=count,
        default=1,
        help="answers per question, each a request of its own; a seed in the request is changed each time (default: 1)",
    )
    parser.add_argument(
        "--temperature",
        metavar="X",
        type=not_negative,
        help="for questions; requests keep their own (default: the member's in the config, else the provider's)",
    )
    parser.add_argument("--max-tokens", metavar="N", type=count, help="for questions; requests keep their own")
    parser.add_argument(
        "--logprobs",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="ask for token probabilities if the provider has them, for calibrated confidence (default: on)",
    )
    parser.add_argument(
        "--concurrency",
        metavar="[PROVIDER=]N,…",
        type=per_provider(count),
        default={},
        help="calls at once (default: 4)",
    )
    parser.add_argument(
        "--rate",
        metavar="[PROVIDER=]X,…",
        type=per_provider(positive),
        default={},
        help="calls per second (default: no limit)",
    )
    parser.add_argument(
        "--max-cost", metavar="USD", type=positive, help="stop before this run's calls could cost more than this"
    )
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    import os

    from emerge_core.config import find_config

    if args.logs:
        return _import_logs(args)
    config, _ = find_config(args.config, os.environ)
    if args.from_traces:
        return _read_traces(args, config)
    return _ask_disputes(args, config) if args.disputes else _ask(args, config)


def _read_traces(args: argparse.Namespace, config: Config) -> int:
    from emerge_core.evals.record.journal import Journal
    from emerge_core.evals.record.models import model_rows, upstream_names
    from emerge_core.evals.record.questions import task_name
    from emerge_core.evals.record.traces import keep_traces

    with Journal(args.out, task_name(args.task or "traces")) as journal:
        found = keep_traces(args.from_traces, config, journal)
        recorded = [name for name in config.models if name in found.models]
        frontier = upstream_names(config, args.frontier, recorded) if args.frontier else None
        rows = journal.add_models(model_rows(config, recorded), frontier)
        print(
            f"{journal.folder}: {found.requests} requests, {found.answers} answers and {found.errors} errors recorded, "
            f"{found.known} known before"
        )
        if rows:  # a log read before names no model anew, and those kept may well have a frontier
            print(_tiers(rows))
    if found.mute:
        print(f"{found.mute} requests were logged without their content", file=sys.stderr)
    if found.cut:
        print(
            f"{found.cut} calls were cancelled because the vote was decided: with `early_decision: false` every "
            "member answers every request",
            file=sys.stderr,
        )
    return 0


def _import_logs(args: argparse.Namespace) -> int:
    from emerge_core.evals.record.imports import import_logs
    from emerge_core.evals.record.journal import Journal
    from emerge_core.evals.record.log_formats import LogFile
    from emerge_core.evals.record.questions import task_name

    files = []
    for each in args.logs:
        model, _, path = each.rpartition("=")
        known = Path(each).is_file()
        files.append(LogFile(Path(each)) if known else LogFile(Path(path), model or None))
    with Journal(args.out, task_name(args.task or "logs")) as journal:
        found = import_logs(files, journal)
        models = ", ".join(f"{name} {count}" for name, count in found.replies.items()) or "none"
        print(f"{journal.folder}: {found.questions} questions ({', '.join(found.tools)})")
        print(f"replies recorded: {models}; {found.known} known before")
    for reason, times in found.skipped.items():
        print(f"left out: {times} {reason}", file=sys.stderr)
    print("models.json has no prices and tiers for these models: add them for costs, and for tune to escalate")
    return 0


def _ask(args: argparse.Namespace, config: Config) -> int:
    import asyncio

    from emerge_core.evals.record.journal import Journal
    from emerge_core.evals.record.models import model_rows, models_of, upstream_names
    from emerge_core.evals.record.questions import read_questions, task_name
    from emerge_core.evals.record.recorder import record
    from emerge_core.evals.recordings.rows import read_question

    found = read_questions(args.questions)
    rows = found.rows[: args.limit]
    models = models_of(config, args.models)
    frontier = upstream_names(config, args.frontier, models) if args.frontier else None
    questions = [read_question(str(args.questions), row) for row in rows]
    plan = _settings(args, config, models, [question for question in questions if question is not None])
    with Journal(args.out, task_name(args.task) if args.task else found.task) as journal:
        others = journal.add_questions(rows) - {row["id"] for row in found.rows}
        known = journal.add_models(model_rows(config, models), frontier)
        missing = _missing(plan, journal)
        total = len(rows) * len(models) * args.repeat
        print(
            f"{journal.folder}: {len(rows)} questions × {len(models)} models × {args.repeat}: {total} answers, "
            f"{total - missing} there, {missing} to ask"
            + (f"; {found.repeated} repeated questions left out" if found.repeated else "")
        )
        print(_tiers(known))
        if others:
            print(f"{len(others)} other questions are in this task too: another --task would keep them apart")
        if not any("answers" in row for row in found.rows):
            print(f"no row has `answers`: agreement can be measured, accuracy cannot. Rows have {_fields(found.rows)}")
        if args.repeat > 1 and args.temperature == 0:
            print("at temperature 0 a model hardly varies: repeated answers will say little", file=sys.stderr)
        with _Bar(missing, quiet=args.quiet) as bar:
            try:
                report = asyncio.run(record(plan, journal, bar))
            except KeyboardInterrupt:
                left = _missing(plan, journal)
                print(f"interrupted: {left} of {missing} answers are missing; the same command resumes")
                raise
    status = _said(report, missing, plan)
    if not (status or report.stopped):
        print(f"next: emerge diversity --recordings {args.out} --task {journal.folder.name}")
    return status


def _settings(
    args: argparse.Namespace, config: Config, models: tuple[str, ...], questions: Sequence[Question]
) -> RecordSettings:
    from emerge_core.evals.record.recorder import Pace, RecordSettings

    return RecordSettings(
        config=config,
        models=models,
        questions=questions,
        repeat=args.repeat,
        temperature=args.temperature,
        max_tokens=args.max_tokens,
        logprobs=args.logprobs,
        pace=Pace(
            concurrency=_known(args.concurrency, config.providers, "--concurrency"),
            rate=_known(args.rate, config.providers, "--rate"),
        ),
        max_cost_usd=args.max_cost,
    )


def _ask_disputes(args: argparse.Namespace, config: Config) -> int:
    import asyncio

    from emerge_core.evals.record.disputes import adjudicators_of, find_disputes, record_disputes
    from emerge_core.evals.record.journal import Journal
    from emerge_core.evals.record.models import model_rows, models_of
    from emerge_core.evals.record.recorder import check_settings
    from emerge_core.evals.recordings.recording import Recordings

    recordings = Recordings(args.out)
    if args.task is None and len(recordings.tasks) > 1:
        raise EmergeError(f"--task: {args.out} has several tasks: {', '.join(recordings.tasks)}")
    task = recordings.choose(args.task)[0]
    adjudicators = adjudicators_of(config)
    others = [name for name in args.models or () if name not in adjudicators]
    if others:
        raise EmergeError(f"--models: {others[0]!r} adjudicates in no ensemble; these do: {', '.join(adjudicators)}")
    models = models_of(config, args.models or adjudicators) if adjudicators else ()
    plan = _settings(args, config, models, tuple(recordings.questions(task).values())[: args.limit])
    disputes = asyncio.run(find_disputes(plan, recordings, task))
    check_settings(plan)
    with Journal(args.out, task) as journal:
        journal.add_models(model_rows(config, models))
        missing = sum(not journal.is_settled(row) for row in disputes.missing)
        refused = len(disputes.missing) - missing
        for name, each in disputes.ensembles.items():
            left_out = f", {each.left_out} left out (not answered by every member)" if each.left_out else ""
            print(f"{name}: {each.questions} questions, {each.disputed} disputed{left_out}")
        print(
            f"{journal.folder}: {disputes.recorded} adjudications there, {missing} calls to make{_per_model(disputes)}"
        )
        if refused:
            print(f"{refused} others were refused when they were asked, and are not asked again")
        if disputes.later:
            print(f"and at most {disputes.later} calls of later steps, depending on what these find")
        if not missing:
            return 0
        with _Bar(missing, quiet=args.quiet) as bar:
            try:
                report = asyncio.run(record_disputes(plan, recordings, journal, disputes, bar))
            except KeyboardInterrupt:
                print("interrupted: the same command resumes")
                raise
    status = _said(report, max(missing, report.asked), plan)
    if not (status or report.stopped):
        print(f"next: emerge tune --recordings {args.out} --task {task}")
    return status


def _per_model(disputes: Disputes) -> str:
    from collections import Counter

    counts = Counter(job.model for job in disputes.missing.values())
    return f" ({', '.join(f'{name} {count}' for name, count in counts.items())})" if counts else ""


def _missing(plan: RecordSettings, journal: Journal) -> int:
    return sum(place not in journal.settled for name in plan.models for place, _ in plan.places(name))


def _fields(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(f"`{name}`" for row in rows for name in row if name != "id"))


def _tiers(rows: Sequence[Mapping[str, Any]]) -> str:
    above = [row["model"] for row in rows if row.get("tier") == "frontier"]
    others = [row["model"] for row in rows if row.get("tier") != "frontier"]
    asked = ", ".join(above) or "none, so tune will not escalate (--frontier names some)"
    return f"members: {', '.join(others) or 'none'}; frontier: {asked}"


def _said(report: Report, missing: int, plan: RecordSettings) -> int:
    from emerge_core.fanout.ledger import ASSUMED_OUTPUT_TOKENS

    cost = f"{report.cost_usd:.4f} USD" + ("" if report.cost_known else " and calls of unknown price")
    print(f"{report.asked} recorded, {report.failed} of them errors; {cost}")
    for (name, why), times in report.errors.most_common(CAUSES):
        if name not in report.given_up:
            print(f"{name}: {times} × {why}", file=sys.stderr)
    for name, why in report.given_up.items():
        print(f"{name}: given up: {why}", file=sys.stderr)
    if report.stopped:
        print(
            f"stopped at the cost ceiling of {plan.max_cost_usd:g} USD: {missing - report.asked} answers are missing; "
            f"the same command resumes. Of the next call, {report.stopped}"
            + ("" if plan.max_tokens else f" (at {ASSUMED_OUTPUT_TOKENS} output tokens: --max-tokens bounds them)")
        )
    return 1 if report.given_up else 0


class _Bar:
    """The answers and the cost so far, the time left, and the cost of the whole run at this rate."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        try:
            from tqdm import tqdm
        except ImportError:
            raise MissingExtraError("`emerge record` needs tqdm", extra="eval") from None
        self._total = total
        # With None there is no bar unless standard error is a terminal.
        self._bar: Any = tqdm(total=total, unit="answer", mininterval=0.2, disable=True if quiet else None)

    def __call__(self, report: Report) -> None:
        expected = report.cost_usd / max(report.asked, 1) * self._total
        failed = f", {report.failed} errors" if report.failed else ""
        if report.asked > self._total:  # a later step of a dispute was needed
            self._total = self._bar.total = report.asked
        self._bar.set_postfix_str(f"${report.cost_usd:.4f} of about ${expected:.4f}{failed}", refresh=False)
        self._bar.update(report.asked - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _known(paces: dict[str | None, T], providers: Mapping[str, Any], option: str) -> dict[str | None, T]:
    for name in paces:
        if name is not None and name not in providers:
            raise EmergeError(f"{option}: no provider {name!r} in the config; they are: {', '.join(providers)}")
    return paces
