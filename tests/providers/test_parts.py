from __future__ import annotations

from typing import Any

import pytest

from emerge_core.providers.parts import unfenced, vectors_of
from emerge_core.types import UpstreamError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('\n```\n{"a": 1}\n```\n', '{"a": 1}'),
        ('```JSON\n{"a": 1}```', '{"a": 1}'),
        ("```python\nprint(1)\n```", "```python\nprint(1)\n```"),
        ('Here:\n```json\n{"a": 1}\n```', 'Here:\n```json\n{"a": 1}\n```'),
        ('```json\n{"a": 1}\n```\n```json\n{"a": 2}\n```', '```json\n{"a": 1}\n```\n```json\n{"a": 2}\n```'),
        ("``````", "``````"),
        ("```", "```"),
    ],
)
def test_a_fence_around_the_whole_is_taken_off(text: str, expected: str) -> None:
    assert unfenced(text) == expected


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, float("nan")]],
        [[1.0, float("inf")]],
        [[float("inf"), float("-inf")]],
        [[]],
        [["x"]],
        [None],
        [[10**400]],
        [[1.0], [2.0]],
        None,
    ],
)
def test_vectors_that_would_spoil_a_comparison_are_refused(rows: Any) -> None:
    with pytest.raises(UpstreamError):
        vectors_of(rows, 1)


def test_vectors_whose_sum_overflows_are_finite() -> None:
    assert vectors_of([[1.7e308, 1.7e308], [0, 1]], 2) == [[1.7e308, 1.7e308], [0.0, 1.0]]
    with pytest.raises(UpstreamError):
        vectors_of([[1.0, 2.0], [1.0]], 2)
