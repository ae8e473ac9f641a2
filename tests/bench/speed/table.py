"""The bench's figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """A figure beside what it may be at most, or must be at least. None: it was not measured."""

    what: str
    value: float | None
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def holds(self) -> bool | None:
        if self.value is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


def print_limits(limits: Sequence[Limit]) -> None:
    print("\n| limit | measured | must be | |\n|---|---|---|---|")
    for limit in limits:
        bound = f"≤ {limit.at_most:g}" if limit.at_most is not None else f"≥ {limit.at_least:g}"
        value = "–" if limit.value is None else f"{limit.value:.3g}{limit.unit}"
        verdict = {True: "holds", False: "**missed**", None: "not measured"}[limit.holds]
        print(f"| {limit.what} | {value} | {bound}{limit.unit} | {verdict} |")
    print(flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)
