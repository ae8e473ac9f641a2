"""`emerge config`: the config of a deployed stack."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emerge_core.cli._stack import Verbs, add_action, target
from emerge_core.errors import EmergeError

NOTHING = "no config is pushed yet: the default config in the artifact serves, a simulated panel"


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser("config", help="the config of a deployed stack", description="A deployed stack's config.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    push = add_action(
        actions,
        "push",
        run_push,
        about="check a config and deploy it",
        more="Refuses what cannot work there. Exit status: 0 deployed, 2 refused.",
    )
    push.add_argument("file", metavar="FILE", type=Path, help="YAML config")
    push.add_argument("--dry-run", action="store_true", help="check only")
    pull = add_action(
        actions,
        "pull",
        run_pull,
        about="write the deployed config to a file or to standard output",
        more="Exit status: 1 where none was pushed.",
    )
    pull.add_argument("file", metavar="FILE", type=Path, nargs="?", help="default: standard output")
    pull.add_argument("--version", metavar="N", type=int, help="an earlier version")
    pull.add_argument("--force", action="store_true", help="overwrite FILE")
    show = add_action(
        actions,
        "show",
        run_show,
        about="print which config serves, and how a file differs from it",
        more="Exit status: 1 where FILE differs, or where none was pushed.",
    )
    show.add_argument("file", metavar="FILE", type=Path, nargs="?", help="YAML config to compare with")
    add_action(actions, "remove", run_remove, about="remove the deployed config: the default serves again")


def run_push(args: argparse.Namespace) -> int:
    from emerge_core.cli.check import price_warnings
    from emerge_core.config import warnings
    from emerge_core.engine.reload import TTL_S
    from emerge_core.operate import configs

    text = _text(args.file)
    with target(args) as (stack, client):
        checked = configs.check(text, source=str(args.file), stack=stack, client=client)
        for warning in [*warnings(checked.config), *price_warnings(checked.config), *checked.doubts]:
            print(f"warning: {warning}", file=sys.stderr)
        if args.dry_run:
            print(f"{args.file}: ok for {stack.name}; nothing was changed")
            return 0
        version, tier = configs.push(checked, stack=stack, client=client)
    cost = " (advanced tier, which AWS charges for)" if tier == "Advanced" else ""
    print(f"version {version} is in ssm:{stack.config_parameter}{cost}; it serves within {TTL_S:g} s of requests")
    return 0


def run_pull(args: argparse.Namespace) -> int:
    from emerge_core.operate import configs

    if args.file and args.file.exists() and not args.force:
        raise EmergeError(f"{args.file} is there already: give another name, or --force")
    with target(args, gone=True) as (stack, client):
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

    text = _text(args.file) if args.file else None
    with target(args) as (stack, client):
        deployed = configs.pull(stack, client)
        try:
            with explained():
                status = function.ask(stack, client, "GET", "/v1/emerge/status")
            config = status.body["config"]
            serving = f"version {config['version']} ({config['source']}), confirmed {config['age_s']:g} s ago"
            if config["error"]:
                serving += f"\nfault      {config['error']}"
        except (EmergeError, KeyError, TypeError) as fault:
            serving = f"not known: {fault}" if isinstance(fault, EmergeError) else "not known: the function is not well"
    if deployed is None:
        print(f"deployed   {NOTHING}\nserving    {serving}")
        return 1
    tier = f", {deployed.tier.lower()} tier" if deployed.tier else ""
    size = f"{len(deployed.text.encode()):,} bytes{tier}"
    print(f"deployed   version {deployed.version} of {deployed.changed:%Y-%m-%d %H:%M:%S %Z}, {size}")
    print(f"source     ssm:{stack.config_parameter}\nserving    {serving}")
    try:
        parsed = parse_config(deployed.text, source="deployed")
        panels = [f"{name}: {', '.join(each.model for each in it.members)}" for name, it in parsed.ensembles.items()]
        print("\n".join(f"ensemble   {panel}" for panel in panels))
    except ConfigError as fault:
        print(f"fault      {fault}")
    if text is None:
        return 0
    found = configs.differences(deployed.text, text, source=str(args.file))
    print("\n".join(found) if found else f"{args.file} is the same")
    return 1 if found else 0


def run_remove(args: argparse.Namespace) -> int:
    from emerge_core.operate import configs

    with target(args, gone=True) as (stack, client):
        there = configs.remove(stack, client)
    print(f"ssm:{stack.config_parameter} " + ("is removed" if there else "was not there"))
    return 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise EmergeError(f"{file}: is not a UTF-8 text file") from None
    except OSError as error:
        raise EmergeError(f"{file}: cannot be read: {error.strerror}") from None
