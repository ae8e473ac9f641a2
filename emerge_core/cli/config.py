"""`emerge config`: the config of a deployed stack."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from emerge_core.cli._options import DONE, FAILED, Parsers, add_command, add_json, count
from emerge_core.cli._output import Output, read_text, warn
from emerge_core.cli._stack import add_stack_command, open_stack
from emerge_core.cli._warnings import all_warnings
from emerge_core.errors import EmergeError

NOTHING = "no config is pushed yet: the default config in the artifact serves"


def add(parsers: Parsers) -> None:
    parser = add_command(parsers, "config", help="push, pull, show and remove the config of a deployed stack")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    push = add_stack_command(
        actions,
        "push",
        run_push,
        help="check a config and deploy it",
        more="Refuses a config that cannot work there.",
        exits={0: "deployed", 2: "refused"},
    )
    push.add_argument("file", metavar="FILE", type=Path, help="YAML config")
    push.add_argument("--dry-run", action="store_true", help="check only")
    pull = add_stack_command(
        actions,
        "pull",
        run_pull,
        help="write the deployed config to a file or to standard output",
        exits={1: "no config was pushed"},
    )
    pull.add_argument("file", metavar="FILE", type=Path, nargs="?", help="default: standard output")
    pull.add_argument("--version", metavar="N", type=count, help="an earlier version")
    pull.add_argument("--force", action="store_true", help="overwrite FILE")
    show = add_stack_command(
        actions,
        "show",
        run_show,
        help="print which config serves, and how a file differs from it",
        exits={1: "FILE differs, or no config was pushed"},
    )
    show.add_argument("file", metavar="FILE", type=Path, nargs="?", help="YAML config to compare with")
    add_json(show, "write which config serves as JSON")
    add_stack_command(actions, "remove", run_remove, help="remove the deployed config: the default serves again")


def run_push(args: argparse.Namespace) -> int:
    from emerge_core.engine.reload import TTL_S
    from emerge_core.operate import configs

    text = read_text(args.file)
    with open_stack(args) as (stack, client):
        checked = configs.check(text, source=str(args.file), stack=stack, client=client)
        warn(*all_warnings(checked.config), *checked.doubts)
        if args.dry_run:
            print(f"{args.file}: ok for {stack.name}; nothing was changed")
            return 0
        before = configs.pull(stack, client)
        version, tier = configs.push(checked, stack=stack, client=client)
    if before and before.version == version:
        print(f"ssm:{stack.config_parameter} holds this config already, as version {version}: nothing was changed")
        return 0
    cost = " (advanced tier, which AWS charges for)" if tier == "Advanced" else ""
    print(f"version {version} is in ssm:{stack.config_parameter}{cost}; it serves within {TTL_S:g} s of requests")
    return 0


def run_pull(args: argparse.Namespace) -> int:
    from emerge_core.operate import configs

    if args.file and args.file.exists() and not args.force:
        raise EmergeError(f"{args.file} exists already: give another name, or --force")
    with open_stack(args, deleted=True) as (stack, client):
        deployed = configs.pull(stack, client, version=args.version)
    if deployed is None:
        print(NOTHING, file=sys.stderr)
        return 1
    if args.file is None:
        print(deployed.text, end="" if deployed.text.endswith("\n") else "\n")
        return 0
    try:
        args.file.write_text(deployed.text, encoding="utf-8")
    except OSError as error:
        raise EmergeError(f"cannot write {args.file}: {error.strerror}") from None
    print(f"{args.file}: version {deployed.version} of {deployed.changed:%Y-%m-%d %H:%M:%S %Z}")
    return 0


def run_show(args: argparse.Namespace) -> int:
    from emerge_core.config import parse_config
    from emerge_core.errors import ConfigError
    from emerge_core.operate import configs, function
    from emerge_core.operate.aws import explained

    output = Output(args.json)
    text = read_text(args.file) if args.file else None
    with open_stack(args) as (stack, client):
        deployed = configs.pull(stack, client)
        status, fault = None, None
        try:
            with explained():
                status = function.ask(stack, client, "GET", "/v1/emerge/status").body["config"]
            serving = f"version {status['version']} ({status['source']}), confirmed {status['age_s']:g} s ago"
            if status["error"]:
                serving += f"\nfault      {status['error']}"
        except EmergeError as error:
            serving = fault = f"not known: {error}"
        except (KeyError, TypeError):
            serving = fault = "not known: the function does not answer as it should"
    figures: dict[str, Any] = {"deployed": None, "serving": status, "fault": fault, "differences": None}
    if deployed is None:
        output.print(f"deployed   {NOTHING}", f"serving    {serving}")
        output.figures(figures)
        return FAILED
    tier = f", {deployed.tier.lower()} tier" if deployed.tier else ""
    size = len(deployed.text.encode())
    output.print(
        f"deployed   version {deployed.version} of {deployed.changed:%Y-%m-%d %H:%M:%S %Z}, {size:,} bytes{tier}",
        f"source     ssm:{stack.config_parameter}",
        f"serving    {serving}",
    )
    try:
        parsed = parse_config(deployed.text, source="deployed")
        for name, ensemble in parsed.ensembles.items():
            output.print(f"ensemble   {name}: {', '.join(member.model for member in ensemble.members)}")
    except ConfigError as error:
        output.print(f"fault      {error}")
    found = None if text is None else configs.differences(deployed.text, text, source=str(args.file))
    if found is not None:
        output.print(*(found or [f"{args.file} is the same"]))
    changed = deployed.changed.isoformat()
    figures["deployed"] = {"version": deployed.version, "changed": changed, "bytes": size, "tier": deployed.tier}
    output.figures({**figures, "differences": found})
    return FAILED if found else DONE


def run_remove(args: argparse.Namespace) -> int:
    from emerge_core.operate import configs

    with open_stack(args, deleted=True) as (stack, client):
        there = configs.remove(stack, client)
    print(f"ssm:{stack.config_parameter} " + ("is removed" if there else "was not there"))
    return 0
