"""`emerge plan`: how many questions a comparison needs and what recording them costs, or what a load costs to run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emerge_core.cli._options import Parsers, add_command, add_json, count, names, positive, probability, share
from emerge_core.cli._output import Output
from emerge_core.evals.tables import aligned

if TYPE_CHECKING:
    from emerge_core.config import Config


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "plan",
        help="compute how many questions a comparison needs, or what a load costs to run",
        description="Computes how many questions it takes to detect a difference between two ensembles that answer "
        "the same ones: from the difference of their accuracies and the share of questions on which exactly one is "
        "right. With a config, adds what recording so many questions costs. With --requests-per-second instead: what "
        "running the proxy for that load costs on each kind of compute, and which limit breaks first. Costs nothing "
        "itself.",
        run=run,
    )
    parser.add_argument("--diff", metavar="POINTS", type=positive, help="difference of accuracies, percentage points")
    parser.add_argument(
        "--disagree",
        metavar="SHARE",
        type=share,
        default=0.15,
        help="share of questions on which exactly one is right (default: 0.15)",
    )
    parser.add_argument(
        "--questions", metavar="N", type=count, help="compute the smallest difference that N questions can detect"
    )
    parser.add_argument(
        "--power", metavar="P", type=probability, default=0.8, help="probability to detect it (default: 0.8)"
    )
    parser.add_argument(
        "--alpha", metavar="P", type=probability, default=0.05, help="probability of a false alarm (default: 0.05)"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="add what recording with its models costs")
    parser.add_argument("--models", metavar="A,B,…", type=names, help="only these models of the config")
    parser.add_argument(
        "--input-tokens", metavar="N", type=count, default=200, help="tokens of a question (default: 200)"
    )
    parser.add_argument(
        "--output-tokens", metavar="N", type=count, default=300, help="tokens of an answer (default: 300)"
    )
    parser.add_argument("--requests-per-second", metavar="N", type=positive, help="compute what this load costs to run")
    parser.add_argument(
        "--seconds", metavar="S", type=positive, default=2.0, help="that a request waits for its models (default: 2)"
    )
    parser.add_argument(
        "--memory-gb", metavar="GB", type=positive, default=1.0, help="of a default Lambda function (default: 1)"
    )
    parser.add_argument(
        "--discount", metavar="SHARE", type=share, help="of a Compute Savings Plan on EC2 (default: 0.28)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from emerge_core.evals.statistics.power import detectable, questions_needed

    output = Output(args.json)
    if args.requests_per_second:
        return run_load(args, output)
    figures: dict[str, Any] = {"power": args.power, "alpha": args.alpha, "disagree": args.disagree}
    sure = f"with {100 * args.power:g} % power at the {100 * args.alpha:g} % level"
    if args.questions:
        smallest = detectable(args.questions, args.disagree, alpha=args.alpha, power=args.power)
        found = f"{100 * smallest:.1f} points" if smallest == smallest else "no difference that is possible there"
        output.print(f"{args.questions} questions, {100 * args.disagree:g} % of them discordant, detect {found} {sure}")
        figures |= {"questions": args.questions, "detectable_points": 100 * smallest}
        counts = [args.questions]
    elif args.diff:
        size = questions_needed(args.diff / 100, args.disagree, alpha=args.alpha, power=args.power)
        output.print(
            f"{size.questions} questions detect {args.diff:g} points {sure}, if exactly one of the two is right "
            f"on {100 * args.disagree:g} % of them (about {size.discordant:.0f})"
        )
        figures |= {"questions": size.questions, "diff_points": args.diff}
        counts = [size.questions]
    else:
        output.print(*table(alpha=args.alpha, power=args.power))
        counts = [100, 1000]
    if args.config:
        from emerge_core.config import load_config

        config = load_config(args.config)
        figures["cost_usd"] = {}
        for number in counts:
            costs = recording_costs(config, args, number)
            output.print("", *cost_table(costs, args, number))
            figures["cost_usd"][number] = costs
    output.figures(figures)
    return 0


def table(*, alpha: float, power: float) -> Iterator[str]:
    """Questions needed, by difference (rows) and disagreement (columns)."""
    from emerge_core.evals.statistics.power import questions_needed

    shares, differences = (0.05, 0.1, 0.15, 0.2, 0.3), (1, 2, 3, 5, 10)
    rows = [
        [
            f"{points} points",
            *(
                str(questions_needed(points / 100, each, alpha=alpha, power=power).questions)
                if points / 100 <= each
                else "–"
                for each in shares
            ),
        ]
        for points in differences
    ]
    yield "questions needed, by the share of questions on which exactly one of the two is right"
    yield from aligned(["difference", *(f"{100 * each:g} %" for each in shares)], rows)


def recording_costs(config: Config, args: argparse.Namespace, number: int) -> dict[str, float | None]:
    """US dollars by model for `number` questions; None if the model's price is unknown."""
    from emerge_core.evals.record.models import models_of
    from emerge_core.pricing import price
    from emerge_core.types import Usage

    usage = Usage(input_tokens=args.input_tokens, output_tokens=args.output_tokens)
    costs: dict[str, float | None] = {}
    for name in models_of(config, args.models):
        model = config.models[name]
        cost = price(model, config.providers[model.provider], usage)
        costs[name] = cost.usd * number if cost.known else None
    return costs


def cost_table(costs: dict[str, float | None], args: argparse.Namespace, number: int) -> Iterator[str]:
    rows = [[name, "unknown" if cost is None else f"{cost:.2f}"] for name, cost in costs.items()]
    more = " and more" if None in costs.values() else ""
    total = f"{sum(cost or 0 for cost in costs.values()):.2f}{more}"
    tokens = f"{args.input_tokens} tokens in and {args.output_tokens} out each"
    yield f"recording {number} questions, {tokens}, in US dollars"
    yield from aligned(["model", "cost"], [*rows, ["all", total]])


def run_load(args: argparse.Namespace, output: Output) -> int:
    from emerge_core.operate import compute_costs, scale

    load = compute_costs.Load(
        requests_per_second=args.requests_per_second, seconds=args.seconds, memory_gb=args.memory_gb
    )
    discount = compute_costs.PLAN_DISCOUNT if args.discount is None else args.discount
    fleet = compute_costs.fleet(load)
    costs = {
        "default Lambda": compute_costs.default_lambda(load),
        "managed instances, on demand": compute_costs.managed(load),
        f"managed instances, with a plan of {100 * discount:g} %": compute_costs.managed(load, discount),
        "container": compute_costs.container(load),
    }
    monthly = load.requests_per_second * 3.6 * compute_costs.HOURS_PER_MONTH  # thousands of requests
    rows = [[name, f"{cost:.4f}", f"{cost * monthly:,.0f}"] for name, cost in costs.items()]
    output.print(f"{load.requests_per_second:g} requests/s that wait {load.seconds:g} s: {load.at_once:g} at once")
    output.print("", *aligned(["US dollars", "per 1,000 requests", "a month"], rows))
    carried = f"{fleet.environments} environments of 64 requests at once, on {fleet.instances} {fleet.instance}"
    output.print("", f"managed instances: {carried}")
    rate = compute_costs.break_even(load.seconds, memory_gb=load.memory_gb)
    output.print(break_even_sentence(rate, load.seconds, load.memory_gb))
    for compute, managed in (("default Lambda", False), ("managed instances", True)):
        asked = scale.demands(load, managed=managed)
        over = [each for each in asked if each.share > 1]
        output.print("", f"{compute}: {len(over)} of {len(asked)} default limits are too low")
        shown = [
            [each.part, f"{each.amount:,.0f}", f"{each.limit:,.0f}", each.unit, each.raise_it]
            for each in over or asked[:1]
        ]
        output.print(*aligned(["part", "needed", "limit", "", "raise"], shown))
    output.figures({"cost_per_1000": costs, "at_once": load.at_once, "break_even_requests_per_second": rate})
    return 0


def break_even_sentence(rate: float, seconds: float, memory_gb: float) -> str:
    """When managed instances are the cheaper ones."""
    if rate == float("inf"):
        return f"Managed instances never cost less than default Lambda for requests that wait {seconds:g} s."
    return (
        f"Managed instances cost less than default Lambda ({memory_gb:g} GB) from {rate:.2g} requests per second on, "
        f"if a request waits {seconds:g} s."
    )
