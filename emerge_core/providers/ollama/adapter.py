"""Ollama's native API: /api/chat and /api/embed."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from emerge_core.config.schema import ModelConfig, ProviderConfig
from emerge_core.provider_kinds import KINDS
from emerge_core.providers import Embeddings
from emerge_core.providers.errors import (
    Scrubber,
    bad_response,
    timed_out,
    unsupported,
)
from emerge_core.providers.ollama.stream import Assembly
from emerge_core.providers.parts import (
    MAX_EMBEDDINGS,
    Document,
    Image,
    arguments_object,
    check_calls,
    count,
    function_of,
    logprobs_of,
    pieces,
    texts_of,
    vectors_of,
)
from emerge_core.providers.transport.client import HttpClient
from emerge_core.providers.transport.exchange import SOME, Reply, off_loop, on_loop, post, stream
from emerge_core.providers.transport.sse import lines
from emerge_core.types import ChatRequest, Completion, EmbeddingRequest, JsonObject, Sink, ToolCall, Usage

_URL = str(KINDS["ollama"].base_url)
_FINISH = {"length": "length", "stop": "stop"}
_OPTIONS = frozenset(  # that OpenAI's API does not have: a caller's own fields of these names are for us
    ("top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "mirostat", "mirostat_tau", "mirostat_eta")
)


def make(config: ProviderConfig, *, api_key: str | None, models: Mapping[str, ModelConfig]) -> Ollama:
    return Ollama(config, api_key=api_key, models=models)


class Ollama:
    def __init__(self, config: ProviderConfig, *, api_key: str | None, models: Mapping[str, ModelConfig]) -> None:
        base_url = (config.base_url or _URL).rstrip("/").removesuffix("/api")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = HttpClient(base_url, headers=headers, config=config)
        self._scrub = Scrubber(api_key, config.headers, config.base_url)
        self._context = {model.model: model.context for model in models.values() if model.context is not None}

    async def complete(self, model: str, request: ChatRequest, *, timeout_s: float) -> Completion:
        return await self._ask(model, request, timeout_s, None)

    async def stream(self, model: str, request: ChatRequest, *, timeout_s: float, emit: Sink) -> Completion:
        return await self._ask(model, request, timeout_s, emit)

    async def _ask(self, model: str, request: ChatRequest, timeout_s: float, emit: Sink | None) -> Completion:
        body, dropped = to_wire(model, request, context=self._context.get(model))
        try:
            async with asyncio.timeout(timeout_s):
                if emit is None:
                    reply = await post(self._client, "/api/chat", body, scrub=self._scrub)
                else:
                    assembly = Assembly(on_loop(emit), self._scrub)
                    body["stream"] = True
                    limits = await stream(
                        self._client,
                        "/api/chat",
                        body,
                        scrub=self._scrub,
                        into=assembly,
                        cut=lines,
                    )
                    reply = Reply(assembly.reply(), limits, assembly.content.logprobs >= SOME)
                completion = await off_loop(reply.large, lambda: from_wire(reply.body, request, dropped=dropped))
        except TimeoutError:
            raise timed_out(timeout_s) from None
        return replace(completion, rate_limits=reply.rate_limits)

    async def embed(self, model: str, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        texts = texts_of(request)
        body: dict[str, Any] = {"model": model, "input": list(texts)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        try:
            async with asyncio.timeout(timeout_s):
                reply = (await post(self._client, "/api/embed", body, scrub=self._scrub, limit=MAX_EMBEDDINGS)).body
        except TimeoutError:
            raise timed_out(timeout_s) from None
        vectors = vectors_of(reply.get("embeddings"), len(texts))
        return Embeddings(vectors, _usage({"eval_count": 0, **reply}), dropped_params=tuple(request.extra))

    async def aclose(self) -> None:
        await self._client.aclose()


def to_wire(model: str, request: ChatRequest, *, context: int | None = None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The request's body and the parameters that Ollama does not have."""
    options = {
        # Ollama cuts a long prompt silently at its own default, so a known context is always said.
        "num_ctx": context,
        "num_predict": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "stop": list(request.stop) or None,
        "seed": request.seed,
    }
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(request.messages),
        "stream": False,
        "options": {name: value for name, value in options.items() if value is not None}
        | {name: value for name, value in request.extra.items() if name in _OPTIONS},
    }
    if request.offers_tools:
        body["tools"] = list(request.tools)
    if request.wants_json:
        body["format"] = request.json_schema or "json"
    if request.logprobs:
        body["logprobs"] = True
        if request.top_logprobs is not None:
            body["top_logprobs"] = request.top_logprobs

    dropped = [name for name in request.extra if name not in _OPTIONS]
    if request.tools and request.tool_choice not in (None, "auto", "none"):  # "none": the tools are not sent
        dropped.append("tool_choice")
    if request.tools and request.parallel_tool_calls is False:
        dropped.append("parallel_tool_calls")
    return body, tuple(dropped)


def _messages(messages: Sequence[JsonObject]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}  # of the functions called, by call id: Ollama's tool results name them
    translated = []
    for message in messages:
        role = message.get("role")
        said = list(pieces(message.get("content")))
        if any(isinstance(piece, Document) for piece in said):
            raise unsupported("Ollama takes no files", param="messages")
        wire: dict[str, Any] = {
            "role": "system" if role == "developer" else role,
            "content": "\n".join(piece for piece in said if isinstance(piece, str)),
        }
        if images := [_base64(piece) for piece in said if isinstance(piece, Image)]:
            wire["images"] = images
        if calls := message.get("tool_calls"):
            names |= {str(call.get("id")): str(function_of(call).get("name")) for call in calls}
            wire["tool_calls"] = [_call(call) for call in calls]
        if role == "tool":
            call_id = str(message.get("tool_call_id"))
            wire["tool_call_id"] = call_id
            if call_id in names:
                wire["tool_name"] = names[call_id]
        translated.append(wire)
    return translated


def _call(call: JsonObject) -> dict[str, Any]:
    function = function_of(call)
    wire = {"name": function.get("name"), "arguments": arguments_object(function.get("arguments"))}
    return {"id": call.get("id"), "function": wire}


def _base64(image: Image) -> str:
    if image.url is not None:
        raise unsupported("Ollama takes images as data: URLs only, and fetches none", param="messages")
    return image.data


def from_wire(reply: JsonObject, request: ChatRequest, *, dropped: tuple[str, ...]) -> Completion:
    message = reply.get("message")
    if not isinstance(message, Mapping):
        raise bad_response("the upstream's reply has no message")
    content, calls = message.get("content"), _tool_calls(message.get("tool_calls"))
    if content is not None and not isinstance(content, str):
        raise bad_response("the content of the upstream's message is not text")
    found = logprobs_of(reply.get("logprobs"))
    if request.logprobs and found is None:
        dropped += ("logprobs",)
    done, named = reply.get("done_reason"), reply.get("model")
    return Completion(
        text=None if calls and not content else content,
        tool_calls=calls,
        finish_reason="tool_calls" if calls else _FINISH.get(str(done), "stop"),
        logprobs=found if request.logprobs else None,
        usage=_usage(reply),
        upstream_model=named if isinstance(named, str) else None,
        dropped_params=dropped,
    )


def _tool_calls(calls: Any) -> tuple[ToolCall, ...]:
    if not isinstance(calls, list):
        return ()
    check_calls(len(calls))
    made = []
    for index, call in enumerate(calls):
        function = function_of(call) if isinstance(call, Mapping) else {}
        name = function.get("name")
        if not isinstance(name, str):
            raise bad_response("a tool call in the upstream's reply has no function name", provoked=True)
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps({} if arguments is None else arguments)
        made.append(ToolCall(id=_call_id(index, name, text), name=name, arguments=text))
    return tuple(made)


def _call_id(index: int, name: str, arguments: str) -> str:
    """The same for the same reply, so that a replayed conversation is the same conversation."""
    return f"call_{index}_{hashlib.sha256(f'{name} {arguments}'.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _usage(reply: JsonObject) -> Usage | None:
    if "prompt_eval_count" not in reply or "eval_count" not in reply:
        return None
    try:
        return Usage(input_tokens=count(reply, "prompt_eval_count"), output_tokens=count(reply, "eval_count"))
    except ValueError:
        return None
