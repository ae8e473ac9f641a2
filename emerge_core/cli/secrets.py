"""`emerge secrets`: the providers' keys of a deployed stack."""

from __future__ import annotations

import argparse
import sys

from emerge_core.cli._options import Parsers, add_command, add_json
from emerge_core.cli._output import Output
from emerge_core.cli._stack import add_stack_command, open_stack
from emerge_core.errors import EmergeError
from emerge_core.evals.tables import columns


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "secrets",
        help="set, list and remove the providers' keys of a deployed stack",
        description="The providers' keys, stored encrypted in the stack's account.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    put = add_stack_command(
        actions,
        "set",
        run_set,
        help="store a provider's key, read from standard input",
        more="At a terminal it asks for the key and does not show it.",
    )
    put.add_argument("name", metavar="NAME", help="such as openai; the config refers to it by the printed ssm: line")
    listing = add_stack_command(actions, "list", run_list, help="list names and dates, never values")
    add_json(listing, "write the list as JSON")
    remove = add_stack_command(actions, "remove", run_remove, help="remove a key")
    remove.add_argument("name", metavar="NAME", nargs="?")
    remove.add_argument("--all", action="store_true", help="every key of the stack, even if the stack is deleted")
    remove.add_argument("--force", action="store_true", help="even one that the deployed config uses")


def run_set(args: argparse.Namespace) -> int:
    from emerge_core.operate import secrets

    with open_stack(args) as (stack, client):
        reference = secrets.store(args.name, _value(args.name), stack=stack, client=client)
    print(f"stored; write it in the config as api_key: {reference}")
    return 0


def run_list(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from emerge_core.operate import secrets

    output = Output(args.json)
    with open_stack(args, deleted=True) as (stack, client):
        found = secrets.listed(stack, client)
    rows = [(each.name, f"{each.changed:%Y-%m-%d %H:%M %Z}", str(each.version), each.reference) for each in found]
    head = ("name", "changed", "version", "api_key")
    output.print(*(columns([head, *rows]) if rows else [f"{args.stack} has no secrets"]))
    output.figures([{**asdict(each), "changed": each.changed.isoformat()} for each in found])
    return 0


def run_remove(args: argparse.Namespace) -> int:
    from emerge_core.operate import secrets

    if bool(args.name) == args.all:
        raise EmergeError("give one NAME, or --all")
    with open_stack(args, deleted=args.all) as (stack, client):
        if args.all:
            removed = secrets.remove_all(stack, client)
        else:
            secrets.remove(args.name, stack=stack, client=client, force=args.force)
            removed = [args.name]
    print("\n".join(f"removed {name}" for name in removed) or "there was none")
    return 0


def _value(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.read()
    from getpass import getpass

    return getpass(f"{name}: ")
