"""The deployed stack that a command works on: its arguments, and the stack that they name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from emerge_core.cli._options import Parsers, add_command

if TYPE_CHECKING:
    from emerge_core.operate.aws import Client
    from emerge_core.operate.stack import Stack

MISUSED = "wrong arguments, no such stack, or AWS refused"


def add_stack_command(
    parsers: Parsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    help: str,  # noqa: A002  (argparse's own name)
    more: str = "",
    exits: Mapping[int, str] = {},
) -> argparse.ArgumentParser:
    """A command, or an action of one, that works on a stack. `more` is added to the help's first sentence."""
    description = f"{help[0].upper()}{help[1:]}. {more}".strip()
    parser = add_command(parsers, name, help=help, description=description, exits={2: MISUSED, **exits}, run=run)
    parser.add_argument("--stack", metavar="NAME", required=True, help="the stack's name")
    parser.add_argument("--region", metavar="R", help="AWS Region (default: the environment's or the profile's)")
    parser.add_argument("--profile", metavar="P", help="profile of the AWS credentials")
    return parser


@contextmanager
def open_stack(args: argparse.Namespace, *, deleted: bool = False) -> Iterator[tuple[Stack, Client]]:
    """The stack and a client for its account. `deleted`: a stack that no longer exists is fine too, because what
    the command works on outlives it. Raises EmergeError for what AWS answers."""
    from emerge_core.operate.aws import connect, explained
    from emerge_core.operate.stack import find_or_absent, find_stack

    with explained():
        client = connect(args.region, args.profile)
        stack = (find_or_absent if deleted else find_stack)(client, args.stack)
        if stack.status == "ABSENT":
            print(f"(there is no stack {stack.name}: looking for what one may have left)", file=sys.stderr)
        yield stack, client
