"""The `emerge` command. Each verb is a file of this folder with `add` (its arguments) and `run`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from emerge_core.errors import EmergeError

VERBS = (
    "serve",
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

FAILED, MISUSED, INTERRUPTED = 1, 2, 130


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from importlib.metadata import version

        print(f"emerge {version('emerge')}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    parsed = _parser(arguments).parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except EmergeError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `emerge check | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="emerge", description="One OpenAI-compatible model out of several.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for verb in [verb for verb in VERBS if verb in arguments[:1]] or VERBS:
        import_module(f"emerge_core.cli.{verb}").add(verbs)
    return parser
