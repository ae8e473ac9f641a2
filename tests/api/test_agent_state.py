"""Ten turns of a tool loop on every surface, whole and streamed, in which another model wins each turn.

The official clients keep the conversation as their users do. The upstream refuses state that is missing, foreign or
changed, and counts the requests that continue an earlier one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import anthropic
import openai
import pytest

from emerge_core.api import create_app
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from tests.support.server import Server
from tests.support.stateful_upstream import MODELS, Upstream

TURNS = 10
PROMPT = "Look until you find it."
SCHEMA: Any = {"type": "object", "properties": {"depth": {"type": "number"}}}
FUNCTION = {"name": "look", "description": "Looks.", "parameters": SCHEMA}
THINKING = {"type": "enabled", "budget_tokens": 1024}
KEPT = ("id", "type", "function")  # what clients that know no other key keep of a call

Loop = Callable[[str, Iterable[str], bool], Iterator[Any]]


def config_of(url: str) -> Any:
    price = {"input": 1, "output": 1}
    providers = {
        name: {"kind": "anthropic", "base_url": url}
        if name == "claude"
        else {"kind": "openai", "base_url": f"{url}/v1"}
        for name in MODELS
    }
    models = {
        name: {"provider": name, "model": model, "price": price, "max_retries": 0} for name, model in MODELS.items()
    }
    votes = {
        f"vote-{leader}": {
            "members": [{"model": name, "weight": 1.5 if name == leader else 1} for name in MODELS],
            "aggregator": "vote",
            "early_decision": False,
        }
        for leader in MODELS
    }
    fallbacks = {
        f"fallback-{leader}": {
            "members": [leader, *(name for name in MODELS if name != leader)],
            "strategy": "fallback",
        }
        for leader in MODELS
    }
    ensembles = votes | fallbacks
    return parse_config(json.dumps({"providers": providers, "models": models, "ensembles": ensembles}), source="test")


@contextmanager
def serving() -> Iterator[tuple[str, Upstream]]:
    upstream = Upstream()
    with Server(upstream.app) as url, Server(create_app(Engine(config_of(url))), lifespan="on") as served:
        yield served, upstream


def chat(url: str, names: Iterable[str], streamed: bool, *, bare: bool = False) -> Iterator[Any]:
    """Runs the loop, a turn by each of the names, and yields their `emerge` objects."""
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for name in names:
            fields: Any = {
                "model": name,
                "messages": messages,
                "tools": [{"type": "function", "function": FUNCTION}],
                "extra_body": {"thinking": THINKING},
            }
            if streamed:
                with client.chat.completions.stream(**fields) as stream:
                    last: Any = [event.chunk for event in stream if event.type == "chunk"][-1]
                    said = stream.get_final_completion().choices[0].message.model_dump(exclude_none=True)
                    emerge = last.model_extra["emerge"]
                for call in said["tool_calls"]:
                    call.pop("index", None)
                    call["function"].pop("parsed_arguments", None)
                said.pop("parsed", None)
            else:
                reply: Any = client.chat.completions.create(**fields)
                said, emerge = reply.choices[0].message.model_dump(exclude_none=True), reply.model_extra["emerge"]
            calls = said["tool_calls"]
            if bare:
                calls = [{key: call[key] for key in KEPT} for call in calls]
                said = {"role": "assistant", "content": None, "tool_calls": calls}
            messages += [said, *({"role": "tool", "tool_call_id": call["id"], "content": "No."} for call in calls)]
            yield emerge


def bare_chat(url: str, names: Iterable[str], streamed: bool) -> Iterator[Any]:
    return chat(url, names, streamed, bare=True)


def responses(url: str, names: Iterable[str], streamed: bool) -> Iterator[Any]:
    items: list[Any] = [{"role": "user", "content": PROMPT}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for name in names:
            fields: Any = {
                "model": name,
                "instructions": "Be brief.",
                "input": items,
                "tools": [{"type": "function", **FUNCTION}],
                "store": False,
                "include": ["reasoning.encrypted_content"],
                "extra_body": {"thinking": THINKING},
            }
            if streamed:
                with client.responses.stream(**fields) as stream:
                    stream.until_done()
                    reply: Any = stream.get_final_response()
            else:
                reply = client.responses.create(**fields)
            output = [item.model_dump(exclude_none=True) for item in reply.output]
            for item in output:
                item.pop("parsed_arguments", None)
            calls = [item for item in output if item["type"] == "function_call"]
            results = [{"type": "function_call_output", "call_id": call["call_id"], "output": "No."} for call in calls]
            items += [*output, *results]
            yield reply.model_extra["emerge"]


def messages(url: str, names: Iterable[str], streamed: bool) -> Iterator[Any]:
    turns: list[Any] = [{"role": "user", "content": PROMPT}]
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        for name in names:
            fields: Any = {
                "model": name,
                "max_tokens": 4000,
                "system": "Be brief.",
                "messages": turns,
                "tools": [{"name": "look", "description": "Looks.", "input_schema": SCHEMA}],
                "thinking": THINKING,
            }
            if streamed:
                with client.messages.stream(**fields) as stream:
                    (delta,) = [event for event in stream if event.type == "message_delta"]
                    content = stream.get_final_message().content
                    emerge: Any = (delta.model_extra or {})["emerge"]
            else:
                reply: Any = client.messages.create(**fields)
                content, emerge = reply.content, reply.model_extra["emerge"]
            blocks = [block.model_dump(exclude_none=True) for block in content]
            results = [
                {"type": "tool_result", "tool_use_id": block["id"], "content": "No."}
                for block in blocks
                if block["type"] == "tool_use"
            ]
            turns += [{"role": "assistant", "content": blocks}, {"role": "user", "content": results}]
            yield emerge


SURFACES: tuple[Loop, ...] = (chat, bare_chat, responses, messages)


@pytest.mark.parametrize(
    ("strategy", "streamed"),
    [("vote", False), ("vote", True), ("fallback", True)],
    ids=["vote, whole", "vote, streamed", "fallback, live"],
)
@pytest.mark.parametrize("surface", SURFACES)
def test_ten_turns_with_another_winner_each(surface: Loop, strategy: str, *, streamed: bool) -> None:
    names = list(MODELS)
    with serving() as (url, upstream):
        turns = list(surface(url, [f"{strategy}-{names[turn % len(names)]}" for turn in range(TURNS)], streamed))
    winners = [next(call["model"] for call in turn["calls"] if call["id"] in turn["selected"]) for turn in turns]
    assert winners == [names[turn % len(names)] for turn in range(TURNS)]
    assert upstream.refusals == []
    assert len(set(upstream.call_ids)) == len(upstream.call_ids)
    assert [call["attempts"] for turn in turns for call in turn["calls"]] == [1] * sum(len(t["calls"]) for t in turns)
    for model in upstream.models.values():
        asked = TURNS if strategy == "vote" else winners.count(model.name)
        assert len(model.sent) == asked
        assert model.hits == asked - 1, model.name
    # A signature rides in the id of a call, reasoning needs a place of its own.
    assert own_state(upstream) >= ({"gemini"} if surface is bare_chat else {"gemini", "deepseek", "kimi"})


def own_state(upstream: Upstream) -> set[str]:
    """The models that got state of their own back."""
    found = set()
    for model in upstream.models.values():
        for _, later in pairwise(model.sent):
            shown = json.dumps(later)
            if any(state in shown for state in model.made):
                found.add(model.name)
    return found


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("surface", [chat, responses, messages])
def test_a_single_model_gets_all_of_its_state_back(surface: Loop, *, streamed: bool) -> None:
    with serving() as (url, upstream):
        for name in ("gemini", "deepseek", "claude"):
            turns = list(surface(url, [name] * 3, streamed))
            model = upstream.models[name]
            assert model.hits == 2
            shown = json.dumps(model.sent[-1])
            assert [state in shown for state in list(model.made)[:-1]] == [True, True], name
            assert turns[-1]["calls"][0]["usage"]["prompt_tokens_details"]["cached_tokens"] == 7
        assert upstream.refusals == []
