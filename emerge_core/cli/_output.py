"""Files that a verb writes beside what it prints."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from emerge_core.errors import EmergeError


def check_writable(*paths: Path | None) -> None:
    """Better now than after the work."""
    for path in paths:
        if path and not path.parent.is_dir():
            raise EmergeError(f"cannot write {path}: {path.parent} is not a directory")


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise EmergeError(f"cannot write {path}: {error.strerror}") from error


def write_json(path: Path, value: Any) -> None:
    """What is not a number is null."""
    write_text(path, json.dumps(_finite(value), indent=2) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        fields = getattr(value, "_fields", None)
        return dict(zip(fields, map(_finite, value), strict=True)) if fields else [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
