"""A field of the wrong type is the client's error, whatever the field and the type."""

from __future__ import annotations

from typing import Any

import pytest

from emerge_core.api.messages.parse import read_message
from emerge_core.errors import RequestError

TOOL = {"name": "look", "input_schema": {"type": "object"}}
GOOD: dict[str, Any] = {
    "model": "emerge",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "Hello"}],
    "system": "Be brief.",
    "tools": [TOOL],
    "tool_choice": {"type": "auto"},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "stream": False,
    "thinking": {"type": "disabled"},
    "output_config": {"effort": "low"},
    "output_format": {"type": "json_schema", "schema": {"type": "object"}},
}
ODD: tuple[Any, ...] = (
    [None, None],
    [[]],
    {"type": ["list"]},
    {"": {}},
    "text",
    -1,
    1e308,
    True,
    [{"role": "user", "content": [None]}],
)


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("field", GOOD)
def test_a_field_of_another_type(field: str, odd: Any) -> None:
    body = {name: value for name, value in GOOD.items() if name != "output_format"}  # which goes before output_config
    try:
        read_message({**body, field: odd})
    except RequestError as error:
        assert error.status == 400


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("kind", ["text", "image", "document", "tool_use", "tool_result", "thinking", "search_result"])
@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_a_block_of_another_form(role: str, kind: str, odd: Any) -> None:
    fields = ("text", "source", "content", "id", "name", "input", "tool_use_id", "thinking", "signature", "title")
    block = {"type": kind, **dict.fromkeys(fields, odd)}
    try:
        read_message({**GOOD, "messages": [{"role": role, "content": [block]}]})
    except RequestError as error:
        assert error.status == 400
