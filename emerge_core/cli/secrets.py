"""`emerge secrets`: the providers' keys of a deployed stack."""

from __future__ import annotations

import argparse
import sys

from emerge_core.cli._stack import Verbs, add_action, target
from emerge_core.errors import EmergeError
from emerge_core.evals.tables import columns


def add(verbs: Verbs) -> None:
    about = "the providers' keys of a deployed stack"
    parser = verbs.add_parser("secrets", help=about, description="Providers' keys, encrypted in the stack's account.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    put = add_action(
        actions,
        "set",
        run_set,
        about="store a provider's key, read from standard input",
        more="At a terminal it is asked for and not shown.",
    )
    put.add_argument("name", metavar="NAME", help="such as openai; the config refers to it by the printed ssm: line")
    add_action(actions, "list", run_list, about="list names and dates, never values")
    remove = add_action(actions, "remove", run_remove, about="remove a key")
    remove.add_argument("name", metavar="NAME", nargs="?")
    remove.add_argument("--all", action="store_true", help="every key of the stack, also where the stack is gone")
    remove.add_argument("--force", action="store_true", help="also one that the deployed config uses")


def run_set(args: argparse.Namespace) -> int:
    from emerge_core.operate import secrets

    with target(args) as (stack, client):
        reference = secrets.store(args.name, _value(args.name), stack=stack, client=client)
    print(f"stored; write it in the config as api_key: {reference}")
    return 0


def run_list(args: argparse.Namespace) -> int:
    from emerge_core.operate import secrets

    with target(args, gone=True) as (stack, client):
        found = secrets.listed(stack, client)
    rows = [(each.name, f"{each.changed:%Y-%m-%d %H:%M %Z}", str(each.version), each.reference) for each in found]
    print(
        "\n".join(columns([("name", "changed", "version", "api_key"), *rows]))
        if rows
        else f"{args.stack} has no secrets"
    )
    return 0


def run_remove(args: argparse.Namespace) -> int:
    from emerge_core.operate import secrets

    if bool(args.name) == args.all:
        raise EmergeError("give one NAME, or --all")
    with target(args, gone=args.all) as (stack, client):
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
