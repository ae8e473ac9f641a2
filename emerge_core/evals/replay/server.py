"""The replay server: recorded answers behind OpenAI's, Anthropic's, Ollama's and Bedrock's APIs.

It reads questions and replies, never gold answers. One task is served at the root, several under `/t/<task>/`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from importlib import import_module
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from emerge_core.evals.recordings.mixture import Mixture
from emerge_core.evals.recordings.recording import Recordings, Reply
from emerge_core.evals.recordings.rows import Dispute
from emerge_core.evals.replay.adjudications import adjudication_in
from emerge_core.evals.replay.fingerprint import demands_of
from emerge_core.evals.replay.matching import AmbiguousError, Matcher, NoMatchError
from emerge_core.evals.replay.wire import Answer, AnthropicWire, OpenAIWire, Wire, prompt_tokens
from emerge_core.provider_kinds import KINDS

# A plausible model: seconds to the first token, then seconds per token.
FIRST_TOKEN_S = 0.3
TOKEN_S = 1 / 150
Sleep = Callable[[float], Awaitable[None]]
_NO_RETRY = {"x-should-retry": "false"}  # the same request would fail again


class RefusedError(Exception):
    """The request has no recorded answer."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class ReplayTask:
    """One task: its questions, and the replies of each model."""

    def __init__(self, recordings: Recordings | Mixture, name: str, models: Collection[str] | None = None) -> None:
        questions = recordings.questions(name)
        self.name = name
        self.replies = recordings.replies(name, questions, models)
        self.disputes = recordings.adjudications(name, models)
        self._matcher = Matcher(questions.values(), self._texts)

    def answer(self, wire: Wire, body: Any) -> Answer:
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            raise RefusedError(400, "the body must be a JSON object that names a `model`", "invalid_body")
        try:
            messages = wire.messages(body)
        except ValueError as error:
            raise RefusedError(400, str(error), "invalid_messages") from error
        if body.get("n") not in (None, 1):
            raise RefusedError(400, "one answer was recorded: `n` can only be 1", "invalid_n")
        model = body["model"]
        shown = adjudication_in(messages)
        of_model = self.replies.get(model, {} if any(each.model == model for each in self.disputes) else None)
        if of_model is None:
            raise RefusedError(404, f"model {model!r} was not recorded in {self.name}", "model_not_found")
        try:
            question = self._matcher.find(shown.asked if shown else messages, demands_of(body))
        except NoMatchError as error:
            raise RefusedError(404, f"nothing recorded to answer with: {error}", "no_recording") from error
        except AmbiguousError as error:
            raise RefusedError(409, str(error), "ambiguous") from error
        reply = self.disputes.get(Dispute(model, question, shown.texts)) if shown else of_model.get(question)
        if reply is None:
            what = f"a dispute of {question} with these texts" if shown else question
            raise RefusedError(404, f"{model} was not recorded on {what}", "no_recording")
        counted = reply.details.input_tokens if reply.details else None
        return Answer(model, reply, prompt_tokens(messages) if counted is None else counted, body)

    def _texts(self, question: str) -> list[str]:
        return [of_model[question].text for of_model in self.replies.values() if question in of_model]


def replay_app(
    recordings: Recordings | Mixture,
    task: str | None = None,
    *,
    speed: float = 1.0,
    models: Collection[str] | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Starlette:
    """The ASGI app. `speed` scales the simulated latency (0 = none); `models` limits what is loaded."""
    tasks = [ReplayTask(recordings, name, models) for name in recordings.choose(task)]
    routes: list[BaseRoute] = [Route("/healthz", _healthz)]
    routes += [Mount(f"/t/{each.name}", routes=_task_routes(each, speed, sleep)) for each in tasks]
    if len(tasks) == 1:
        routes += _task_routes(tasks[0], speed, sleep)
    places = ", ".join(f"/t/{each.name}/" for each in tasks)

    async def elsewhere(request: Request) -> Response:
        message = f"nothing at {request.url.path}: this server replays {places}"
        wire: Wire = AnthropicWire() if "anthropic-version" in request.headers else OpenAIWire()
        return JSONResponse(wire.error(404, message, "not_found"), 404, _NO_RETRY)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(routes=[*routes, Route("/{path:path}", elsewhere, methods=methods)])


def simulated_latency_s(reply: Reply) -> float:
    """As recorded, or else what so many tokens would have taken."""
    if reply.details and reply.details.latency_ms is not None:
        return reply.details.latency_ms / 1000
    return FIRST_TOKEN_S + reply.tokens * TOKEN_S


def _task_routes(task: ReplayTask, speed: float, sleep: Sleep) -> list[BaseRoute]:
    async def models(request: Request) -> Response:
        return JSONResponse(_model_list(task.replies, anthropic="anthropic-version" in request.headers))

    async def tags(_: Request) -> Response:
        return JSONResponse({"models": [{"name": name, "model": name} for name in task.replies]})

    return [
        *(
            Route(path, _chat(task, wire, speed, sleep, streams=streams), methods=["POST"])
            for path, wire, streams in _wires()
        ),
        Route("/v1/models", models),
        Route("/api/tags", tags),
    ]


def _wires() -> Iterator[tuple[str, Wire, bool]]:
    """The path and the wire format of each kind that is replayed, and whether the path asks for a stream."""
    for kind in KINDS.values():
        if kind.replay_wire:
            module, _, name = kind.replay_wire.partition(":")
            wire = getattr(import_module(module), name)()
            yield kind.chat_path.replace("{model}", "{model:path}"), wire, False
            if kind.stream_path:
                yield kind.stream_path.replace("{model}", "{model:path}"), wire, True


def _chat(
    task: ReplayTask, wire: Wire, speed: float, sleep: Sleep, *, streams: bool
) -> Callable[[Request], Awaitable[Response]]:
    async def chat(request: Request) -> Response:
        try:
            body = wire.body(await _json(request), request.path_params.get("model", ""), streams=streams)
            answer = task.answer(wire, body)
        except RefusedError as error:
            return JSONResponse(wire.error(error.status, str(error), error.code), error.status, _NO_RETRY)
        if wire.streams(answer.body):
            return StreamingResponse(_paced(wire, answer, speed, sleep), media_type=wire.media_type)
        if speed:
            await sleep(speed * simulated_latency_s(answer.reply))
        return JSONResponse(wire.whole(answer))

    return chat


async def _paced(wire: Wire, answer: Answer, speed: float, sleep: Sleep) -> AsyncIterator[bytes]:
    """The stream's pieces, each when its share of the reply would have been generated."""
    whole_s = simulated_latency_s(answer.reply)
    first_s = min(FIRST_TOKEN_S, whole_s)
    if speed:
        await sleep(speed * first_s)
    out = 0.0
    for piece in wire.pieces(answer):
        if speed and piece.share > out:
            await sleep(speed * (piece.share - out) * (whole_s - first_s))
            out = piece.share
        yield piece.data


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except ValueError as error:
        raise RefusedError(400, f"the body is not JSON: {error}", "invalid_json") from error
    except ClientDisconnect as error:  # a cancelled call: the answer would not be read
        raise RefusedError(400, "the client left", "client_left") from error


def _model_list(names: Mapping[str, Any], *, anthropic: bool) -> dict[str, Any]:
    if anthropic:
        made = "2025-01-01T00:00:00Z"
        data = [{"type": "model", "id": name, "display_name": name, "created_at": made} for name in names]
        ends = {"first_id": next(iter(names), None), "last_id": next(reversed(list(names)), None)}
        return {"data": data, "has_more": False, **ends}
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "recorded"} for name in names]
    return {"object": "list", "data": models}


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok")
