"""What a command writes: text for people, figures as JSON, files, and colours where a terminal shows them."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, Literal, TextIO

from emerge_core.errors import EmergeError

STANDARD_OUTPUT = Path("-")

Style = Literal["bold", "red", "green", "yellow"]
CODES: dict[Style, int] = {"bold": 1, "red": 31, "green": 32, "yellow": 33}


class Output:
    """The text and the figures of one command. With `--json -` the figures have standard output to themselves,
    so that they can be piped, and the text goes to standard error."""

    def __init__(self, json: Path | None = None) -> None:
        """Raises EmergeError if the file for the figures cannot be there: better before the work than after it."""
        check_writable(json)
        self._json = json

    @property
    def stream(self) -> TextIO:
        return sys.stderr if self._json == STANDARD_OUTPUT else sys.stdout

    def print(self, *lines: str) -> None:
        print(*lines, sep="\n", file=self.stream, flush=True)

    def styled(self, text: str, style: Style) -> str:
        return styled(text, style, self.stream)

    def figures(self, value: Any) -> None:
        """Writes `value` where `--json` says, if it does."""
        if self._json:
            write_json(self._json, value)


class Steps:
    """Shows on standard error which step of a command runs, in one line that is overwritten; nothing if standard
    error is no terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._shows = not quiet and sys.stderr.isatty()

    def __call__(self, step: str) -> None:
        if self._shows:
            print(f"\r\x1b[K{step} …", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove the line, so that something else can be printed."""
        if self._shows:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def styled(text: str, style: Style, stream: TextIO) -> str:
    """`text` in a colour, if `stream` is a terminal that wants one (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\x1b[{CODES[style]}m{text}\x1b[0m"


def warn(*messages: str) -> None:
    for message in messages:
        print(f"{styled('warning:', 'yellow', sys.stderr)} {message}", file=sys.stderr, flush=True)


def check_writable(*paths: Path | None) -> None:
    """Raises EmergeError if a path's directory does not exist."""
    for path in paths:
        if path and path != STANDARD_OUTPUT and not path.parent.is_dir():
            raise EmergeError(f"cannot write {path}: {path.parent} is not a directory")


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise EmergeError(f"cannot write {path}: {error.strerror}") from error


def write_json(path: Path, value: Any) -> None:
    """JSON has no NaN and no infinities: they are written as null."""
    text = json.dumps(_finite(value), indent=2) + "\n"
    if path == STANDARD_OUTPUT:
        sys.stdout.write(text)
    else:
        write_text(path, text)


def read_text(path: Path) -> str:
    """Raises EmergeError if the file cannot be read, or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise EmergeError(f"{path}: is not a UTF-8 text file") from None
    except OSError as error:
        raise EmergeError(f"{path}: cannot be read: {error.strerror}") from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        fields = getattr(value, "_fields", None)
        return dict(zip(fields, map(_finite, value), strict=True)) if fields else [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
