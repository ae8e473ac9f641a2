"""Groups of equal answers, and the candidate that speaks for a group."""

from __future__ import annotations

from collections.abc import Sequence

from emerge_core.answers.forms.short_text import contains
from emerge_core.types import AnswerKey, Candidate


def same(a: AnswerKey, b: AnswerKey) -> bool:
    """Whether two keys say the same: equal, or short texts of which one contains the other."""
    return a == b or (a.kind == b.kind == "text" and contains(a.value, b.value))


def group_keys(keys: Sequence[AnswerKey]) -> list[int]:
    """A group number for each key, counted from 0 in order of first appearance.

    Groups are closed under `same`, so the partition does not depend on the order of the keys.
    """
    parent = list(range(len(keys)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for later in range(len(keys)):
        for earlier in range(later):
            if root(earlier) != root(later) and same(keys[earlier], keys[later]):
                parent[root(later)] = root(earlier)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(index), len(numbers)) for index in range(len(keys))]


def strongest(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate that speaks for a group: the heaviest, then the most confident (if all have a confidence), then
    the first in config order."""
    rated = all(candidate.confidence is not None for candidate in candidates)
    return min(
        candidates,
        key=lambda one: (-one.member.weight, -(one.confidence or 0.0) if rated else 0.0, one.member.position),
    )
