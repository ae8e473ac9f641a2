"""The `emerge` command: finds the verb's module, reads the arguments, runs it and turns errors into exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from emerge_core.about import VERSION
from emerge_core.cli._options import FAILED, INTERRUPTED, MISUSED, Parser, did_you_mean
from emerge_core.cli._output import styled
from emerge_core.errors import EmergeError, MissingExtraError

COMMANDS = (
    "serve",
    "chat",
    "check",
    "replay",
    "plan",
    "record",
    "score",
    "compare",
    "diversity",
    "tune",
    "config",
    "secrets",
    "keys",
    "doctor",
)


# Packages that the runtime can do without, and the extra that brings each.
EXTRAS = {"boto3": "aws", "botocore": "bedrock", "httpx": "eval", "matplotlib": "eval", "tqdm": "eval"}


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        print(f"emerge {VERSION}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status. Raises SystemExit for arguments that cannot be read."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        make_parser().print_help()
        return MISUSED
    if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        hint = did_you_mean(arguments[0], COMMANDS)
        _say(f"there is no command {arguments[0]!r}{hint} (`emerge --help` lists them)")
        return MISUSED
    parsed = make_parser(arguments[0]).parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except EmergeError as error:
        _say(str(error))
        return MISUSED
    except ModuleNotFoundError as error:
        if (extra := EXTRAS.get(str(error.name).split(".")[0])) is None:
            raise
        _say(str(MissingExtraError(f"`emerge {arguments[0]}` needs {error.name}", extra=extra)))
        return MISUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `emerge check | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status


def make_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of one command, or, if `command` is none of them, of all: importing one is quicker than all."""
    parser = Parser(
        prog="emerge",
        description="One OpenAI-compatible model made of several: a panel answers, and its decision is the reply.",
        epilog="`emerge COMMAND --help` says more about one.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parsers = parser.add_subparsers(required=True, title="commands", metavar="COMMAND")
    for name in [command] if command in COMMANDS else COMMANDS:
        import_module(f"emerge_core.cli.{name}").add(parsers)
    return parser


def _say(error: str) -> None:
    print(f"{styled('error:', 'red', sys.stderr)} {error}", file=sys.stderr)
