"""The list of the last requests: bounded, and without content unless the config logs it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from emerge_core.console.history import History, entry_json
from emerge_core.engine.engine import Engine
from emerge_core.types import ChatRequest

VOTE = '{"emerge": {"members": ["a", "b"], "aggregator": "vote", "early_decision": false}}'
QUESTION = ChatRequest.of("What is the private question, 6 times 7?")


def ask(config: Any, history: History, times: int = 1, *, content: bool = False) -> None:
    async def run() -> None:
        async with Engine(config, environ={}, record=history.recorder(content=content)) as engine:
            for _ in range(times):
                await engine.run(QUESTION, "emerge")

    asyncio.run(run())


@pytest.mark.parametrize("content", [False, True])
def test_content_is_kept_only_if_the_config_logs_it(upstream: Any, says: Any, panels: Any, content: bool) -> None:
    upstream.script = {"a": says("The answer is 4242."), "b": says(status=400, error="cannot read: private question")}
    history = History()
    ask(panels(VOTE), history, content=content)
    (entry,) = history.since(0)
    kept = json.dumps(entry_json(entry))
    assert ("private" in kept, "4242" in kept) == (content, content)
    assert [(call.model, call.status, call.error) for call in entry.calls] == [
        ("a", "ok", None),
        ("b", "error", "invalid_request 400"),
    ]
    assert (entry.status, entry.degraded, entry.selected) == (200, True, ("1",))


def test_only_the_last_requests_are_kept(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {"a": says("42"), "b": says("42")}
    history = History(most=3)
    ask(panels(VOTE), history, times=5)
    assert [entry.number for entry in history.since(0)] == [3, 4, 5]
    assert [entry.number for entry in history.since(4)] == [5]
    assert history.count == 5


def test_a_failure_is_kept_by_its_status_and_code(upstream: Any, says: Any, panels: Any) -> None:
    upstream.script = {name: says(status=500, error="private") for name in "ab"}
    history = History()
    ask(panels(VOTE, a={"max_retries": 0}, b={"max_retries": 0}), history)
    (entry,) = history.since(0)
    assert (entry.status, entry.code) == (502, "no_usable_answer")
    assert "private" not in json.dumps(entry_json(entry))
