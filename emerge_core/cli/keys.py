"""`emerge keys`: the keys by which clients use a deployed stack."""

from __future__ import annotations

import argparse
import sys

from emerge_core.cli._stack import Verbs, add_action, target
from emerge_core.errors import EmergeError
from emerge_core.evals.tables import columns

REVOKED = "API Gateway looks each request's key up, so it is refused as soon as the removal has spread"


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "keys",
        help="the clients' keys of a deployed stack",
        description="Clients' keys. A key is shown once, when it is made; AWS holds its SHA-256 digest only.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = add_action(actions, "create", run_create, about="make a key and print it, once")
    create.add_argument("name", metavar="NAME", help="whose it is")
    listed = add_action(actions, "list", run_list, about="list the keys")
    listed.add_argument("--usage", action="store_true", help="with the requests counted by API Gateway (best effort)")
    revoke = add_action(actions, "revoke", run_revoke, about="take a key away")
    revoke.add_argument("key", metavar="KEY", nargs="?", help="its name, id or key id")
    revoke.add_argument("--all", action="store_true", help="every key of the stack, also where the stack is gone")


def run_create(args: argparse.Namespace) -> int:
    from emerge_core.operate import keys

    with target(args) as (stack, client):
        token, key = keys.create(args.name, stack=stack, client=client)
    print(token)
    print(f"This is shown once. In the log it is key {key.key_id}.", file=sys.stderr)
    print(f'OpenAI(base_url="{stack.outputs["BaseUrl"]}", api_key="emk_…")', file=sys.stderr)
    return 0


def run_list(args: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from emerge_core.operate import keys

    with target(args, gone=not args.usage) as (stack, client):
        found = keys.listed(stack, client)
        counted = keys.usage(stack, client, today=datetime.now(UTC).date()) if args.usage else {}
    if not found:
        print(f"{args.stack} has no keys")
        return 0
    head: tuple[str, ...] = ("name", "id", "key id", "created")
    rows: list[tuple[str, ...]] = [
        (each.name, each.id, each.key_id, f"{each.created:%Y-%m-%d %H:%M %Z}") for each in found
    ]
    if args.usage:
        head += ("today", "this month", "left")
        nothing = keys.Usage(today=0, month=0, left=None)
        usages = [counted.get(each.id, nothing) for each in found]
        rows = [
            (*row, f"{use.today:,}", f"{use.month:,}", "-" if use.left is None else f"{use.left:,}")
            for row, use in zip(rows, usages, strict=True)
        ]
    print("\n".join(columns([head, *rows])))
    return 0


def run_revoke(args: argparse.Namespace) -> int:
    from emerge_core.operate import keys

    if bool(args.key) == args.all:
        raise EmergeError("give one KEY, or --all")
    with target(args, gone=True) as (stack, client):
        wanted = None if args.all else args.key
        revoked = keys.revoke(wanted, stack=stack, client=client)
    print("\n".join(f"revoked {key.name} ({key.id})" for key in revoked) or "there was none")
    if revoked:
        print(REVOKED, file=sys.stderr)
    return 0
