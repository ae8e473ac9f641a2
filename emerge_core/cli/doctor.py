"""`emerge doctor`: is a deployed stack well?"""

from __future__ import annotations

import argparse
from collections import Counter

from emerge_core.cli._stack import Verbs, add_action, target


def add(verbs: Verbs) -> None:
    parser = add_action(
        verbs,
        "doctor",
        run,
        about="look whether a deployed stack is well",
        more="Looks at config, secrets, the function, each model, keys, concurrency and alarms. Models are asked "
        "through the deployed function, one tiny call each. Exit status: 0 well (warnings allowed), 1 something "
        "failed, 2 it could not be looked at.",
    )
    parser.add_argument("--no-live", dest="live", action="store_false", help="send no call to the models")


def run(args: argparse.Namespace) -> int:
    from emerge_core.operate.doctor import examine

    states: Counter[str] = Counter()
    with target(args) as (stack, client):
        for check in examine(stack, client, live=args.live):
            states[check.state] += 1
            print(f"{check.state:<5} {check.about:<12} {check.said}", flush=True)
    print(", ".join(f"{states[state]} {state}" for state in ("ok", "warn", "fail", "skip") if states[state]))
    return 1 if states["fail"] else 0
