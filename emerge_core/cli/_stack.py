"""Which deployed stack a verb works on: the arguments, and the stack that they name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emerge_core.operate.aws import Client
    from emerge_core.operate.stack import Stack

Verbs = Any  # argparse's subparsers
Run = Callable[[argparse.Namespace], int]


def add_action(verbs: Verbs, name: str, run: Run, *, about: str, more: str = "") -> argparse.ArgumentParser:
    """A verb, or an action of one, that works on a stack."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}. {more}".strip()
    )
    parser.add_argument("--stack", metavar="NAME", required=True, help="the stack's name")
    parser.add_argument("--region", metavar="R", help="AWS Region (default: the environment's or the profile's)")
    parser.add_argument("--profile", metavar="P", help="profile of the AWS credentials")
    parser.set_defaults(run=run)
    return parser


@contextmanager
def target(args: argparse.Namespace, *, gone: bool = False) -> Iterator[tuple[Stack, Client]]:
    """`gone`: a stack that is deleted will do, since what is asked about outlives it."""
    from emerge_core.operate.aws import connect, explained
    from emerge_core.operate.stack import find_or_absent, find_stack

    with explained():
        client = connect(args.region, args.profile)
        stack = (find_or_absent if gone else find_stack)(client, args.stack)
        if stack.status == "ABSENT":
            print(f"(there is no stack {stack.name}: looking for what one may have left)", file=sys.stderr)
        yield stack, client
