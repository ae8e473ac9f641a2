"""`emerge plan`: how many questions a comparison needs, and what recording them costs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from emerge_core.cli._options import count, names, positive

if TYPE_CHECKING:
    from emerge_core.config import Config

OUTPUT_TOKENS = 300


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "plan",
        help="how many questions tell two ensembles apart, and what they cost",
        description="Prints how many questions are needed to tell two ensembles apart that answer the same ones, by "
        "how much their accuracies differ and on how many questions exactly one is right; with a config, what "
        "recording so many costs. Costs nothing.",
    )
    parser.add_argument("--diff", metavar="POINTS", type=positive, help="difference of accuracies, percentage points")
    parser.add_argument(
        "--disagree", metavar="SHARE", type=positive, default=0.15, help="exactly one is right (default: 0.15)"
    )
    parser.add_argument("--questions", metavar="N", type=count, help="tell what difference so many questions can show")
    parser.add_argument("--power", metavar="P", type=positive, default=0.8, help="chance to find it (default: 0.8)")
    parser.add_argument(
        "--alpha", metavar="P", type=positive, default=0.05, help="chance of a false find (default: 0.05)"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="add what recording with its models costs")
    parser.add_argument("--models", metavar="A,B,…", type=names, help="only these models of the config")
    parser.add_argument("--input-tokens", metavar="N", type=count, default=200, help="of a question (default: 200)")
    parser.add_argument(
        "--output-tokens", metavar="N", type=count, default=OUTPUT_TOKENS, help="of an answer (default: 300)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emerge_core.errors import EmergeError
    from emerge_core.evals.statistics.power import detectable, questions_needed

    for name in ("power", "alpha"):
        if getattr(args, name) >= 1:
            raise EmergeError(f"--{name} must be between 0 and 1")
    sure = f"with {100 * args.power:g} % power at the {100 * args.alpha:g} % level"
    if args.questions:
        smallest = detectable(args.questions, args.disagree, alpha=args.alpha, power=args.power)
        told = f"{100 * smallest:.1f} points" if smallest == smallest else "no difference that is possible there"
        print(f"{args.questions} questions, {100 * args.disagree:g} % of them discordant, tell {told} apart {sure}")
        counts = [args.questions]
    elif args.diff:
        size = questions_needed(args.diff / 100, args.disagree, alpha=args.alpha, power=args.power)
        print(
            f"{size.questions} questions tell {args.diff:g} points apart {sure}, where exactly one of the two is right "
            f"on {100 * args.disagree:g} % of them (about {size.discordant:.0f})"
        )
        counts = [size.questions]
    else:
        print("\n".join(table(alpha=args.alpha, power=args.power)))
        counts = [100, 1000]
    if args.config:
        from emerge_core.config import load_config

        for number in counts:
            print("\n" + "\n".join(costs(load_config(args.config), args, number)))
    return 0


def table(*, alpha: float, power: float) -> Iterator[str]:
    """Questions needed, by difference (rows) and disagreement (columns)."""
    from emerge_core.evals.statistics.power import questions_needed
    from emerge_core.evals.tables import aligned

    shares, differences = (0.05, 0.1, 0.15, 0.2, 0.3), (1, 2, 3, 5, 10)
    rows = [
        [
            f"{points} points",
            *(
                str(questions_needed(points / 100, share, alpha=alpha, power=power).questions)
                if points / 100 <= share
                else "–"
                for share in shares
            ),
        ]
        for points in differences
    ]
    yield "questions needed, by the share of questions on which exactly one of the two is right"
    yield from aligned(["", *(f"{100 * share:g} %" for share in shares)], rows)


def costs(config: Config, args: argparse.Namespace, number: int) -> Iterator[str]:
    from emerge_core.evals.record.models import models_of
    from emerge_core.evals.tables import aligned
    from emerge_core.pricing import price
    from emerge_core.types import Usage

    usage = Usage(input_tokens=args.input_tokens, output_tokens=args.output_tokens)
    rows, total, unknown = [], 0.0, []
    for name in models_of(config, args.models):
        model = config.models[name]
        cost = price(model, config.providers[model.provider], usage)
        total += cost.usd * number
        unknown += [] if cost.known else [name]
        rows.append([name, f"{cost.usd * number:.2f}" if cost.known else "unknown"])
    tokens = f"{args.input_tokens} tokens in and {args.output_tokens} out each"
    yield f"recording {number} questions, {tokens}, in US dollars"
    yield from aligned(["model", "cost"], [*rows, ["all", f"{total:.2f}" + (" and more" if unknown else "")]])
