"""Three providers' APIs on one port that do what models do: call tools turn by turn, answer in JSON to a
schema, and talk. They are as strict with a conversation as the real ones: a tool's result must answer a call."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from emerge_core.evals.recordings.recording import Reply
from emerge_core.evals.recordings.rows import Details
from emerge_core.evals.replay.wire import Answer, AnthropicWire, OllamaWire, OpenAIWire, Wire
from emerge_core.providers.simulated.schema_example import example
from emerge_core.types import ToolCall, text_of
from tests.conformance import coding

DEGREES = {"Paris": 21, "Rome": 27, "Oslo": 9, "Cairo": 35, "Lima": 18}
FACTS = {"city": "Paris", "degrees": 21, "name": "Ada", "age": 36}
TALK = "The sea is wide and deep, and nobody has seen all of it."

_ids = count(1)


class IncoherentError(Exception):
    """What the real APIs refuse with a 400."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a request asks for, whatever its wire format. `forced` is a tool's name, or "" for any."""

    asked: str
    results: tuple[str, ...]  # of the tools, since then
    tools: Mapping[str, Mapping[str, Any]]  # their parameters by name
    forced: str | None
    schema: Mapping[str, Any] | None
    wants_json: bool
    said: str  # by users, in the whole conversation
    steps: int  # the tools' results in it


def app() -> Starlette:
    return Starlette(
        routes=[
            Route("/v1/chat/completions", _serving(OpenAIWire(), of_openai), methods=["POST"]),
            Route("/v1/messages", _serving(AnthropicWire(), of_anthropic), methods=["POST"]),
            Route("/api/chat", _serving(OllamaWire(), of_ollama), methods=["POST"]),
            Route("/v1/embeddings", _embed, methods=["POST"]),
        ]
    )


def think(turn: Turn) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """The text, or the calls."""
    if coded := coding.step(turn.said, turn.tools, turn.steps):
        return coded
    cities = [city for city in re.findall(r"[A-Z][a-z]+", turn.asked) if city in DEGREES]
    open_cities = cities[len(turn.results) :]
    weather = next((name for name, schema in turn.tools.items() if "city" in schema.get("properties", {})), None)
    if turn.forced:
        return "", [(turn.forced, fill(turn.tools[turn.forced]))]
    if weather and open_cities:
        now = open_cities if "at once" in turn.asked else open_cities[:1]
        return "", [(weather, {**fill(turn.tools[weather]), "city": city}) for city in now]
    if turn.forced == "":
        name = next((name for name in reversed(list(turn.tools)) if name != weather), weather or "")
        return "", [(name, fill(turn.tools[name]))]
    if turn.schema is not None:
        return json.dumps(fill(turn.schema)), []
    if turn.wants_json:
        return json.dumps(FACTS), []
    return ("Measured: " + "; ".join(turn.results) if turn.results else TALK), []


def fill(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An instance of the schema, with the facts where it asks for them."""
    return {name: FACTS.get(name, value) for name, value in example(schema).items()}


def of_openai(body: Mapping[str, Any]) -> Turn:
    known: set[str] = set()
    unanswered: set[str] = set()
    for message in body["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in known:
                raise IncoherentError(f"no tool call has the id {message['tool_call_id']}")
            unanswered.discard(message["tool_call_id"])
        elif unanswered:
            raise IncoherentError(f"tool calls without a result: {sorted(unanswered)}")
        unanswered |= {call["id"] for call in message.get("tool_calls") or ()}
        known |= unanswered
    choice, wanted = body.get("tool_choice"), body.get("response_format") or {}
    return Turn(
        **_read([(m["role"], text_of(m.get("content"))) for m in body["messages"]]),
        tools=_functions(body) if choice != "none" else {},
        forced=choice["function"]["name"] if isinstance(choice, dict) else "" if choice == "required" else None,
        schema=wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else None,
        wants_json=wanted.get("type") == "json_object",
    )


def of_anthropic(body: Mapping[str, Any]) -> Turn:
    said: list[tuple[str, str]] = []
    calls: set[str] = set()
    for message in body["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else []
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if answered != calls:
            raise IncoherentError(f"tool_use ids {sorted(calls)} are answered by {sorted(answered)}")
        calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
        said += [("tool", text_of(block.get("content"))) for block in blocks if block["type"] == "tool_result"]
        if text := text_of(message["content"]):
            said.append((message["role"], text))
    choice = body.get("tool_choice") or {}
    tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools", ())}
    return Turn(
        **_read(said),
        tools=tools if choice.get("type") != "none" else {},
        forced=choice.get("name") if choice.get("type") == "tool" else "" if choice.get("type") == "any" else None,
        schema=body.get("output_config", {}).get("format", {}).get("schema"),
        wants_json="JSON" in text_of(body.get("system")),
    )


def of_ollama(body: Mapping[str, Any]) -> Turn:
    for message in body["messages"]:
        if message["role"] == "tool" and not message.get("tool_name"):
            raise IncoherentError("a tool's result without the tool's name")
    wanted = body.get("format")
    return Turn(
        **_read([(m["role"], m["content"]) for m in body["messages"]]),
        tools=_functions(body),
        forced=None,  # it has no tool_choice
        schema=wanted if isinstance(wanted, dict) else None,
        wants_json=wanted == "json",
    )


def _functions(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    functions = [tool["function"] for tool in body.get("tools") or ()]
    return {function["name"]: function.get("parameters") or {"type": "object"} for function in functions}


def _read(said: list[tuple[str, str]]) -> dict[str, Any]:
    """The last user's text and the tools' results after it; what users said at all, and how many results there are."""
    asked, results = "", tuple[str, ...]()
    for role, text in said:
        if role == "user":
            asked, results = text, ()
        elif role == "tool":
            results = (*results, text)
    users = "\n".join(text for role, text in said if role == "user")
    return {"asked": asked, "results": results, "said": users, "steps": sum(role == "tool" for role, _ in said)}


def _serving(wire: Wire, read: Any) -> Any:
    async def serve(request: Request) -> Response:
        body = await request.json()
        try:
            text, calls = think(read(body))
        except IncoherentError as error:
            return JSONResponse(wire.error(400, str(error), "incoherent"), 400)
        made = tuple(
            ToolCall(id=f"{body['model']}_{next(_ids)}", name=name, arguments=json.dumps(arguments))
            for name, arguments in calls
        )
        limits = ("max_tokens", "max_completion_tokens", "num_predict")
        settings = body | body.get("options", {})
        limit = next((settings[name] for name in limits if name in settings), 1000)
        cut = limit < 5 and bool(text)
        details = Details(tool_calls=made, finish_reason="length" if cut else None)
        answer = Answer(body["model"], Reply(text[:8] if cut else text, 12, None, details), 30, body)
        if wire.streams(body):
            pieces = (piece.data for piece in wire.pieces(answer))
            return StreamingResponse(pieces, media_type=wire.media_type)
        return JSONResponse(wire.whole(answer))

    return serve


async def _embed(request: Request) -> Response:
    body = await request.json()
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    rows = []
    for index, text in enumerate(texts):
        vector = [float(len(text)), *[0.5] * (body.get("dimensions", 4) - 1)]
        packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        shown = packed if body.get("encoding_format") == "base64" else vector
        rows.append({"object": "embedding", "index": index, "embedding": shown})
    return JSONResponse({"object": "list", "data": rows, "model": body["model"], "usage": {"prompt_tokens": 5}})
