"""`emerge keys`: the keys that clients of a deployed stack send."""

from __future__ import annotations

import argparse
import sys

from emerge_core.cli._options import Parsers, add_command, add_json
from emerge_core.cli._output import Output
from emerge_core.cli._stack import add_stack_command, open_stack
from emerge_core.errors import EmergeError
from emerge_core.evals.tables import columns

REVOKED = "API Gateway looks up the key of every request: it refuses this one as soon as the removal has spread"


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "keys",
        help="create, list and revoke the clients' keys of a deployed stack",
        description="The keys that clients send. A key is shown once, when it is created; AWS stores only its SHA-256 "
        "digest.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = add_stack_command(actions, "create", run_create, help="create a key and print it, once")
    create.add_argument("name", metavar="NAME", help="who uses it, such as my-app")
    listing = add_stack_command(actions, "list", run_list, help="list the keys")
    listing.add_argument("--usage", action="store_true", help="add the requests that API Gateway counted (best effort)")
    add_json(listing, "write the list as JSON")
    revoke = add_stack_command(actions, "revoke", run_revoke, help="revoke a key")
    revoke.add_argument("key", metavar="KEY", nargs="?", help="its name, id or key id")
    revoke.add_argument("--all", action="store_true", help="every key of the stack, even if the stack is deleted")


def run_create(args: argparse.Namespace) -> int:
    from emerge_core.operate import keys

    with open_stack(args) as (stack, client):
        token, key = keys.create(args.name, stack=stack, client=client)
    print(token)
    print(f"This is shown once. In the log it is key {key.key_id}.", file=sys.stderr)
    print(f'OpenAI(base_url="{stack.outputs["BaseUrl"]}", api_key="emk_…")', file=sys.stderr)
    return 0


def run_list(args: argparse.Namespace) -> int:
    from dataclasses import asdict
    from datetime import UTC, datetime

    from emerge_core.operate import keys

    output = Output(args.json)
    with open_stack(args, deleted=not args.usage) as (stack, client):
        found = keys.listed(stack, client)
        counted = keys.usage(stack, client, today=datetime.now(UTC).date()) if args.usage else {}
    nothing = keys.Usage(today=0, month=0, left=None)
    usages = [counted.get(each.id, nothing) for each in found]
    head: tuple[str, ...] = ("name", "id", "key id", "created")
    rows: list[tuple[str, ...]] = [
        (each.name, each.id, each.key_id, f"{each.created:%Y-%m-%d %H:%M %Z}") for each in found
    ]
    if args.usage:
        head += ("today", "this month", "left")
        rows = [
            (*row, f"{use.today:,}", f"{use.month:,}", "-" if use.left is None else f"{use.left:,}")
            for row, use in zip(rows, usages, strict=True)
        ]
    output.print(*(columns([head, *rows]) if rows else [f"{args.stack} has no keys"]))
    output.figures(
        [
            {**asdict(key), "created": key.created.isoformat(), **({"usage": asdict(use)} if args.usage else {})}
            for key, use in zip(found, usages, strict=True)
        ]
    )
    return 0


def run_revoke(args: argparse.Namespace) -> int:
    from emerge_core.operate import keys

    if bool(args.key) == args.all:
        raise EmergeError("give one KEY, or --all")
    with open_stack(args, deleted=True) as (stack, client):
        wanted = None if args.all else args.key
        revoked = keys.revoke(wanted, stack=stack, client=client)
    print("\n".join(f"revoked {key.name} ({key.id})" for key in revoked) or "there was none")
    if revoked:
        print(REVOKED, file=sys.stderr)
    return 0
