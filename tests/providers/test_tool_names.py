"""Long names of tools, cut for a provider and whole again for the client."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from emerge_core.providers.tool_names import ToolNames
from emerge_core.types import ChatRequest, Completion, Delta, ToolCall, ToolCallDelta

LONG = "mcp__a-server-with-a-long-name__and_a_tool_whose_name_is_longer_than_all_others"


def tool(name: str) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def called(name: str) -> Any:
    return {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": name}}]}


def test_a_long_name_is_cut_wherever_it_stands() -> None:
    choice = {"type": "function", "function": {"name": LONG}}
    request = ChatRequest(messages=(called(LONG), called("add")), tools=(tool(LONG), tool("add")), tool_choice=choice)
    names = ToolNames(request, 64)
    sent: Any = names.shorten(request)
    cut = sent.tools[0]["function"]["name"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", cut)
    assert cut[:55] == LONG[:55]
    assert sent.tools[1] == tool("add")
    assert sent.tool_choice["function"]["name"] == cut
    assert [message["tool_calls"][0]["function"]["name"] for message in sent.messages] == [cut, "add"]
    calls = (ToolCall(id="1", name=cut, arguments="{}"), ToolCall(id="2", name="add", arguments="{}"))
    assert [call.name for call in names.restore(Completion(tool_calls=calls)).tool_calls] == [LONG, "add"]
    parts = (ToolCallDelta(index=0, id="1", name=cut), ToolCallDelta(index=0, arguments="{}"))
    assert [part.name for part in names.restore_delta(Delta(tool_calls=parts)).tool_calls] == [LONG, ""]


def test_nothing_is_copied_if_all_names_are_short_enough() -> None:
    request = ChatRequest(messages=(called("add"),), tools=(tool("add"), tool(LONG)))
    for longest in (128, None):
        assert ToolNames(request, longest).shorten(request) is request


@given(st.lists(st.builds("{:-<60}{}".format, st.text("ab", max_size=3), st.text("ab_", max_size=9)), unique=True))
def test_names_stay_apart_and_come_back(listed: list[str]) -> None:
    request = ChatRequest(messages=(), tools=tuple(map(tool, listed)))
    names = ToolNames(request, 64)
    sent = [each["function"]["name"] for each in names.shorten(request).tools]
    assert len(set(sent)) == len(listed)
    assert all(len(name) <= 64 for name in sent)
    calls = tuple(ToolCall(id=str(index), name=name, arguments="{}") for index, name in enumerate(sent))
    assert [call.name for call in names.restore(Completion(tool_calls=calls)).tool_calls] == listed
