"""The arguments that several commands share, and the readers of their values.

A reader takes the text of an argument and raises `ArgumentTypeError` with the rule that the text breaks.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

T = TypeVar("T", int, float)

Parsers = Any  # what argparse's add_subparsers returns; the type has no public name

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
STATUSES = {DONE: "done", MISUSED: "wrong arguments, or a config or file that cannot be used"}


class Parser(argparse.ArgumentParser):
    """Prints the whole help if a command is called with nothing, and names the nearest choice to a mistyped one."""

    def error(self, message: str) -> NoReturn:
        if found := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            known = [each.strip("' ") for each in found[2].split(",")]
            message = f"{message[: found.start()]}there is no {found[1]!r}{did_you_mean(found[1], known)}"
            message += f" (there are: {', '.join(known)})"
        super().error(message)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    from emerge_core.config.problems import nearest

    match = nearest(word, known)
    return f", did you mean {match!r}?" if match else ""


def add_command(
    parsers: Parsers,
    name: str,
    *,
    help: str,  # noqa: A002  (argparse's own name)
    description: str | None = None,
    exits: Mapping[int, str] = {},
    run: Callable[[argparse.Namespace], int] | None = None,
) -> argparse.ArgumentParser:
    """A command, or an action of one. Its `--help` ends with the exit statuses: `exits` adds to the common ones,
    or says better what they mean here."""
    meanings = sorted({**STATUSES, **exits}.items())
    parser: argparse.ArgumentParser = parsers.add_parser(
        name,
        help=help,
        description=description or f"{help[0].upper()}{help[1:]}.",
        epilog="Exit status: " + "; ".join(f"{status} {meaning}" for status, meaning in meanings) + ".",
    )
    if run:
        parser.set_defaults(run=run)
    return parser


def add_config(parser: argparse.ArgumentParser, help: str = "YAML config") -> None:  # noqa: A002
    """`--config` as in every command that can do without: the environment names it, or it is detected."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"{help} (default: EMERGE_CONFIG, else the providers whose keys are set, else a local Ollama)",
    )


def add_recordings(
    parser: argparse.ArgumentParser, *, task: str = "the task to measure", tasks: str | None = None
) -> None:
    """`--recordings` and `--task`; with `tasks`, the help of `--tasks`, several tasks may stand in its place, with
    weights by `--mix`."""
    parser.add_argument("--recordings", metavar="DIR", type=Path, required=True, help="the directory of recordings")
    if tasks is None:
        parser.add_argument("--task", metavar="T", required=True, help=task)
        return
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--task", metavar="T", help=task)
    which.add_argument("--tasks", metavar="A,B,…", type=names, help=tasks)
    parser.add_argument(
        "--mix",
        metavar="A=W,…|LOG",
        help="with --tasks: their weights, or a log of emerge, whose share of each form is taken (default: by their "
        "numbers of questions)",
    )


def add_json(parser: argparse.ArgumentParser, help: str = "write the figures as JSON") -> None:  # noqa: A002
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help=f"{help}; with - they go to standard output and the text to standard error",
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="show no progress (none is shown without a terminal)")


def count(text: str) -> int:
    """A whole number from 1."""
    value = _read(int, text, "a whole number")
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def port(text: str) -> int:
    value = _read(int, text, "a whole number")
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError("must be between 0 and 65535")
    return value


def panel_size(text: str) -> int:
    """A number of members, as far as a config allows."""
    value = count(text)
    if value > 32:
        raise argparse.ArgumentTypeError("must be 32 or less")
    return value


def positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def not_negative(text: str) -> float:
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, both included."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be between 0 and 1")
    return value


def probability(text: str) -> float:
    """A number between 0 and 1, both excluded."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("must be more than 0 and less than 1")
    return value


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list of names, each once."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise argparse.ArgumentTypeError("must name at least one, separated by commas")
    return found


def per_provider(read: Callable[[str], T]) -> Callable[[str], dict[str | None, T]]:
    """A comma-separated list of `[PROVIDER=]VALUE`; a value without a provider is that of all others (None)."""

    def reader(text: str) -> dict[str | None, T]:
        found: dict[str | None, T] = {}
        for each in names(text):
            name, _, value = each.rpartition("=")
            found[name.strip() or None] = read(value.strip())
        return found

    return reader


def _number(text: str) -> float:
    value = _read(float, text, "a number")
    if value != value:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}")
    return value


def _read(kind: Callable[[str], T], text: str, what: str) -> T:
    if "_" in text:  # Python reads 1_0 as 10
        raise argparse.ArgumentTypeError(f"must be {what}, not {text!r}")
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {what}, not {text!r}") from None
