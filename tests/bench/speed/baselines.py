"""What one would write by hand instead of a proxy: FastAPI applications that ask the upstreams in one gather.

    UPSTREAM=http://127.0.0.1:PORT uvicorn tests.bench.speed.baselines:on_aiohttp

A request's `model` is the members' delays in milliseconds, as in "50,80,120". One member's reply is handed on, and
streamed if the request says so; of several the first is chosen and the others are counted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

UPSTREAM = os.environ.get("UPSTREAM", "")


def make_on_aiohttp() -> FastAPI:
    import aiohttp

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            app.state.session = session
            yield

    app = FastAPI(lifespan=lifespan)
    app.get("/healthz")(_healthz)

    async def ask(session: aiohttp.ClientSession, model: str, body: dict[str, Any]) -> Any:
        async with session.post(f"{UPSTREAM}/{model}/v1/chat/completions", json={**body, "model": model}) as reply:
            return await reply.json()

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        session: aiohttp.ClientSession = app.state.session
        models = body["model"].split(",")
        if body.get("stream"):
            upstream = await session.post(f"{UPSTREAM}/{models[0]}/v1/chat/completions", json=body)

            async def stream() -> AsyncIterator[bytes]:
                async with upstream:
                    async for chunk in upstream.content.iter_any():
                        yield chunk

            return StreamingResponse(stream(), media_type="text/event-stream")
        replies = await asyncio.gather(*(ask(session, model, body) for model in models))
        return JSONResponse({**replies[0], "answers": len(replies)})

    return app


def make_on_openai() -> FastAPI:
    import openai

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.clients = {}
        yield

    app = FastAPI(lifespan=lifespan)
    app.get("/healthz")(_healthz)

    def client(model: str) -> openai.AsyncOpenAI:
        clients: dict[str, openai.AsyncOpenAI] = app.state.clients
        if model not in clients:
            clients[model] = openai.AsyncOpenAI(base_url=f"{UPSTREAM}/{model}/v1", api_key="none", max_retries=0)
        return clients[model]

    async def ask(model: str, body: dict[str, Any]) -> Any:
        reply = await client(model).chat.completions.create(**{**body, "model": model})
        return reply.model_dump()

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        models = body["model"].split(",")
        if body.get("stream"):
            upstream: Any = await client(models[0]).chat.completions.create(**body)

            async def stream() -> AsyncIterator[str]:
                async for chunk in upstream:
                    yield f"data: {chunk.model_dump_json()}\n\n"
                yield "data: [DONE]\n\n"

            return StreamingResponse(stream(), media_type="text/event-stream")
        replies = await asyncio.gather(*(ask(model, body) for model in models))
        return JSONResponse({**replies[0], "answers": len(replies)})

    return app


async def _healthz() -> dict[str, str]:
    return {"status": "ok"}
