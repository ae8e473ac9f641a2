"""`emerge doctor`: checks the health of a deployed stack."""

from __future__ import annotations

import argparse
from collections import Counter

from emerge_core.cli._options import Parsers, add_json
from emerge_core.cli._output import Output, Style
from emerge_core.cli._stack import add_stack_command, open_stack

STYLES: dict[str, Style] = {"ok": "green", "warn": "yellow", "fail": "red"}


def add(parsers: Parsers) -> None:
    parser = add_stack_command(
        parsers,
        "doctor",
        run,
        help="check the health of a deployed stack",
        more="Checks the config, the secrets, the function, each model, the keys, the concurrency and the alarms. It "
        "asks each model through the deployed function, one tiny call each.",
        exits={0: "healthy (warnings allowed)", 1: "a check failed", 2: "the stack cannot be checked"},
    )
    parser.add_argument("--no-live", dest="live", action="store_false", help="send no call to the models")
    add_json(parser, "write the checks as JSON")


def run(args: argparse.Namespace) -> int:
    from emerge_core.operate.doctor import examine

    output = Output(args.json)
    states: Counter[str] = Counter()
    found = []
    with open_stack(args) as (stack, client):
        for check in examine(stack, client, live=args.live):
            states[check.state] += 1
            found.append(check)
            state = f"{check.state:<5}"
            style = STYLES.get(check.state)
            output.print(f"{output.styled(state, style) if style else state} {check.about:<12} {check.finding}")
    output.print(", ".join(f"{states[state]} {state}" for state in ("ok", "warn", "fail", "skip") if states[state]))
    output.figures(found)
    return 1 if states["fail"] else 0
