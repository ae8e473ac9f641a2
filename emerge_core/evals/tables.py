"""The only printer of tables: rows of text as aligned columns that fit the terminal.

A table is at most as wide as `COLUMNS` says, else as the terminal is. A wider one is wrapped inside its
cells, the widest columns of text first; figures are never broken. Written to a file or a pipe, tables with
headings and running text are at most 100 characters wide; plain rows stay whole, so that they can be searched.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from math import isnan
from typing import Any

GAP = "  "
WIDEST = 100  # characters, if there is no terminal
NARROWEST = 12  # characters: no column of text is wrapped to less
_FIGURE = re.compile(r"^[-+–−$<>=~]*\d")


def width(otherwise: int = sys.maxsize) -> int:
    """The width of the terminal in characters; `otherwise` if there is none."""
    return max(40, shutil.get_terminal_size((otherwise, 24)).columns)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table with a heading and a rule below it. Text stands to the left, figures to the right."""
    left = [_is_text(column, rows) or (column == 0 and len(head[0]) > 0) for column in range(len(head))]
    widths = _fitted([head, *rows], left, limit=width(WIDEST))
    first = _lines(head, widths, left)
    body = [line for row in rows for line in _lines(row, widths, left)]
    return [*first, "-" * max(map(len, (*first, *body))), *body]


def columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> list[str]:
    """Rows without a heading, every column to the left."""
    if not rows:
        return []
    left = [True] * len(rows[0])
    widths = _fitted(rows, left, limit=width() - len(indent))
    return [indent + line for row in rows for line in _lines(row, widths, left)]


def paragraph(text: str, *, indent: str = "") -> list[str]:
    """Running text in lines that fit the terminal."""
    return textwrap.wrap(text, width(WIDEST), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def percent(estimate: Sequence[float]) -> str:
    """A share with its interval, in per cent. `estimate` is (value, low, high)."""
    return _with_interval(estimate, "{:.1f}", 100)


def points(estimate: Sequence[float]) -> str:
    """A difference of shares with its interval, in percentage points."""
    return _with_interval(estimate, "{:+.1f}", 100)


def coefficient(estimate: Sequence[float]) -> str:
    return _with_interval(estimate, "{:.2f}", 1)


def share(value: float | None) -> str:
    """A share without an interval, in per cent."""
    return "–" if value is None or isnan(value) else f"{100 * value:.1f}"


def dollars(cost: float | None) -> str:
    return "unknown" if cost is None or isnan(cost) else f"{cost:.4f}"


def _with_interval(estimate: Sequence[float], form: str, scale: int) -> str:
    value, low, high = estimate
    if isnan(value):
        return "–"
    shown = form.format(scale * value)
    return shown if isnan(low) else f"{shown} ({form.format(scale * low)} to {form.format(scale * high)})"


def _is_text(column: int, rows: Iterable[Sequence[str]]) -> bool:
    return any(row[column] and not _FIGURE.match(row[column]) and row[column][:1].isalpha() for row in rows)


def _fitted(rows: Sequence[Sequence[str]], left: Sequence[bool], *, limit: int) -> list[int]:
    """Widths of the columns. If the table is wider than `limit`, headings of figures are wrapped first, then the
    widest columns of text, between words as long as that is enough."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    least = [max(_longest_word(cell) for cell in column) for column in zip(*rows, strict=True)]
    if sum(widths) + len(GAP) * (len(widths) - 1) > limit:
        for column, text in enumerate(left):
            if not text:
                widths[column] = max(least[column], *(len(row[column]) for row in rows[1:]), 0)
    for floors in ([max(NARROWEST, each) for each in least], [NARROWEST] * len(widths)):
        surplus = sum(widths) + len(GAP) * (len(widths) - 1) - limit
        while surplus > 0:
            yielding = [column for column, text in enumerate(left) if text and widths[column] > floors[column]]
            if not yielding:
                break
            widest = max(yielding, key=lambda column: widths[column])
            others = [widths[column] for column in yielding if widths[column] < widths[widest]]
            by = min(surplus, max(1, widths[widest] - max([floors[widest], *others])))
            widths[widest] -= by
            surplus -= by
    return widths


def _longest_word(cell: str) -> int:
    """The longest part of a cell that is broken only if nothing else helps; a line may end after a hyphen."""
    return max(map(len, textwrap.wrap(cell, 1, break_long_words=False)), default=0)


def _lines(row: Sequence[str], widths: Sequence[int], left: Sequence[bool]) -> list[str]:
    """One row, over as many lines as its longest cell needs."""
    cells: list[list[Any]] = [
        textwrap.wrap(cell, size) or [""] if len(cell) > size else [cell]
        for cell, size in zip(row, widths, strict=True)
    ]
    height = max(map(len, cells))
    padded = [cell + [""] * (height - len(cell)) for cell in cells]
    return [
        GAP.join(
            part.ljust(size) if text else part.rjust(size) for part, size, text in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in zip(*padded, strict=True)
    ]
