"""Counting tokens with a member that counts them itself, through the whole proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emerge_core.api import create_app
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from tests.support.server import Server

USER: Any = [{"role": "user", "content": "Hello"}]
MARKED: Any = [
    *USER,
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1_emg0a1b2c3d", "name": "add", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1_emg0a1b2c3d", "content": "3"}]},
]


class Counter:
    """Anthropic's endpoint. It answers `reply` and keeps what it was asked."""

    def __init__(self) -> None:
        self.reply: Any = {"input_tokens": 1234}
        self.status = 200
        self.bodies: list[Any] = []
        self.betas: list[str | None] = []

    async def __call__(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        self.betas.append(request.headers.get("anthropic-beta"))
        return JSONResponse(self.reply, self.status)


@contextmanager
def counting(*members: str) -> Iterator[tuple[anthropic.Anthropic, Counter]]:
    counter = Counter()
    routes = [Route("/v1/messages/count_tokens", counter.__call__, methods=["POST"])]
    with Server(Starlette(routes=routes)) as upstream:
        providers = {
            "openai": {"kind": "openai", "base_url": f"{upstream}/v1"},
            "anthropic": {"kind": "anthropic", "base_url": upstream},
        }
        price = {"input": 1, "output": 1}
        models = {name: {"provider": name, "model": f"{name}-1", "price": price} for name in providers}
        config = {"providers": providers, "models": models, "ensembles": {"emerge": {"members": members}}}
        app = create_app(Engine(parse_config(json.dumps(config), source="test")))
        with (
            Server(app, lifespan="on") as url,
            anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as made,
        ):
            yield made, counter


def test_an_anthropic_members_own_count() -> None:
    with counting("openai", "anthropic") as (client, counter):
        counted = client.beta.messages.count_tokens(
            model="emerge", messages=MARKED, system="Be brief.", betas=["context-1m-2025-08-07"]
        )
    assert counted.input_tokens == 1234
    assert counted.model_extra == {"emerge": {"estimated": False, "model": "anthropic"}}
    (body,) = counter.bodies
    assert set(body) == {"model", "messages", "system"}
    assert body["model"] == "anthropic-1"
    assert "emg" not in json.dumps(body)
    assert counter.betas[0]
    assert "context-1m-2025-08-07" in counter.betas[0]


def test_without_an_anthropic_member_it_is_an_estimate() -> None:
    with counting("openai") as (client, counter):
        counted = client.messages.count_tokens(model="emerge", messages=USER)
    assert counted.model_extra == {"emerge": {"estimated": True}}
    assert counter.bodies == []


@pytest.mark.parametrize(
    ("status", "reply"),
    [(401, {}), (500, {}), (200, {"input_tokens": "many"}), (200, {}), (200, {"input_tokens": True})],
)
def test_a_count_that_fails_is_an_estimate(status: int, reply: Any) -> None:
    with counting("anthropic") as (client, counter):
        counter.status, counter.reply = status, reply
        counted = client.messages.count_tokens(model="emerge", messages=USER)
    assert counted.model_extra == {"emerge": {"estimated": True}}
    assert counted.input_tokens > 0
    assert len(counter.bodies) == 1
