"""Names that clients make up: of models, where an alias takes any, and of fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from emerge_core.api import create_app
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from tests.support.server import Server

CONFIG = """
providers: {sim: {kind: simulated}}
models: {a: {provider: sim, model: sim-a}}
ensembles: {emerge: {members: [a], aggregator: vote}}
embedders: {e: {provider: sim, model: sim-e}}
aliases: {"*": emerge}
"""
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "2+2?"}]},
    "/v1/messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "2+2?"}]},
    "/v1/responses": {"input": "2+2?"},
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    app = create_app(Engine(parse_config(CONFIG, source="x"), environ={}, record=lambda *_: None))
    with Server(app, lifespan="on") as url, httpx.Client(base_url=url) as made:
        yield made


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", ["日本", "😀", "é", "gpt 4", "a" * 256, "100%"])
def test_any_name_fits_into_the_reply(client: httpx.Client, path: str, name: str, stream: bool) -> None:
    reply = client.post(path, json={**BODIES[path], "model": name, "stream": stream})
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-emerge-ensemble"].isascii()
    assert len(reply.headers["x-emerge-ensemble"]) < 800
    assert json.dumps(name)[1:-1] in reply.text or name in reply.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", ["x\r\nset-cookie: a=b", "\x00", "\x1b[31m", "a" * 257, "a" * 3_000_000, "\u202e"])
def test_what_can_be_no_name_is_an_unknown_model(client: httpx.Client, path: str, name: str, stream: bool) -> None:
    reply = client.post(path, json={**BODIES[path], "model": name, "stream": stream})
    assert reply.status_code == 404, reply.text
    assert "set-cookie" not in reply.headers
    assert len(reply.text) < 2_000


@pytest.mark.parametrize("path", [*BODIES, "/v1/embeddings", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("field", ["x, temperature", "seed and stop", "a" * 65, "", "é", "x'", "a" * 3_000_000, "1"])
def test_fields_have_names_that_a_provider_could_have(client: httpx.Client, path: str, field: str) -> None:
    """They are passed on, quoted in upstreams' errors, and listed in `dropped_params`."""
    body = {**BODIES.get(path, {}), "model": "emerge", field: 1}
    reply = client.post(path, json=body)
    assert reply.status_code == 400, reply.text
    assert "name of a field" in reply.text
    assert len(reply.text) < 1_000
