"""Reads the log of emerge: of the local server and of Lambda, as files.

Read are JSON lines, with or without a prefix (`aws logs tail`), and the JSON of `aws logs filter-log-events`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emerge_core.errors import EmergeError

Line = Mapping[str, Any]


def log_lines(path: Path) -> Iterator[Line]:
    """Every JSON object that is a line, part of a line, or the message of an event. Raises EmergeError if the file
    cannot be read."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise EmergeError(f"{path}: cannot be read: {error}") from error
    whole = _json(text)
    events = whole.get("events") if isinstance(whole, Mapping) else whole
    if isinstance(events, list):
        lines = [str(event.get("message")) for event in events if isinstance(event, Mapping)]
    else:
        lines = text.splitlines()
    for line in lines:
        found = _json(line[line.find("{") :]) if "{" in line else None
        if isinstance(found, Mapping):
            yield found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
