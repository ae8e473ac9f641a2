"""The upstream of four wire formats, and the application in front of it, as fixtures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from emerge_core.api import create_app
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from tests.support.wire_format_upstream import KINDS, PANEL, Call, ModelReply, Upstream


@pytest.fixture(scope="module")
def upstream(server: Any) -> Iterator[Upstream]:
    made = Upstream()
    routes = [
        Route("/v1/chat/completions", made.openai, methods=["POST"]),
        Route("/v1/messages", made.anthropic, methods=["POST"]),
        Route("/api/chat", made.ollama, methods=["POST"]),
        Route("/model/{model:path}/converse", made.bedrock, methods=["POST"]),
        Route("/model/{model:path}/converse-stream", made.bedrock, methods=["POST"]),
    ]
    with server(Starlette(routes=routes)) as made.url:
        yield made


@pytest.fixture(scope="module")
def emerge(upstream: Any, server: Any) -> Iterator[openai.OpenAI]:
    """The official client of an application with a model of each kind (named so), each also an ensemble of
    one (`only-<kind>`), and an ensemble `panel` of three."""
    providers: dict[str, Any] = {
        kind: {"kind": kind, "base_url": upstream.url + ("/v1" if kind == "openai" else "")} for kind in KINDS
    }
    providers["bedrock"]["api_key"] = "env:BEDROCK_KEY"  # signatures have tests of their own
    for kind in ("openai", "anthropic"):
        providers[kind]["api_key"] = "env:UPSTREAM_KEY"  # that of the official clients
    models = {kind: {"provider": kind, "model": kind} for kind in KINDS}
    ensembles = {f"only-{kind}": {"members": [kind]} for kind in KINDS}
    ensembles["panel"] = {"members": list(PANEL), "aggregator": "vote", "early_decision": False}  # type: ignore[dict-item]
    config = {"providers": providers, "models": models, "ensembles": ensembles}
    app = create_app(
        Engine(parse_config(json.dumps(config), source="test"), environ={"BEDROCK_KEY": "any", "UPSTREAM_KEY": "none"})
    )
    with (
        server(app, lifespan="on") as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def said() -> type[ModelReply]:
    return ModelReply


@pytest.fixture(scope="session")
def call() -> type[Call]:
    return Call
