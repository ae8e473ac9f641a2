from __future__ import annotations

import pytest

from emerge_core.providers.parts import unfenced


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
