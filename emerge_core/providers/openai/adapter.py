"""OpenAI's chat completions and embeddings, at api.openai.com or at any compatible base URL."""

from __future__ import annotations

import array
import asyncio
import base64
import json
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from emerge_core.config.schema import ModelConfig, ProviderConfig
from emerge_core.provider_kinds import KINDS
from emerge_core.providers import Embeddings
from emerge_core.providers.errors import Scrubber, bad_response, http_failure, sent_in_stream, timed_out
from emerge_core.providers.openai.history import caches, history, may_demand, without_cache_marks
from emerge_core.providers.openai.stream import Assembly
from emerge_core.providers.parts import (
    BILLING_FIELDS,
    MAX_EMBEDDINGS,
    check_calls,
    content_text,
    count,
    function_of,
    json_instruction,
    logprobs_of,
    unfenced,
    vectors_of,
    whole_usage,
)
from emerge_core.providers.refusals import DEVELOPER, Refusals
from emerge_core.providers.transport.client import HttpClient
from emerge_core.providers.transport.exchange import SOME, Reply, off_loop, on_loop, post, stream
from emerge_core.types import (
    ChatRequest,
    Completion,
    EmbeddingRequest,
    JsonObject,
    Sink,
    ToolCall,
    UpstreamError,
    Usage,
    text_of,
)

_URL = str(KINDS["openai"].base_url)
_NEVER_PASSED = ("model", "messages", "stream", "stream_options", "n", "input")

# Reasoning models and compatible servers refuse some of these by name.
_REFUSABLE = (
    "temperature top_p presence_penalty frequency_penalty seed stop logprobs top_logprobs parallel_tool_calls "
    "max_tokens max_completion_tokens response_format stream_options"
)
_OPTIONAL = frozenset(_REFUSABLE.split())
_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
_ACCOUNT = {"OPENAI_ORG_ID": "openai-organization", "OPENAI_PROJECT_ID": "openai-project"}
_FINISH = {
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "STOP": "stop",
}


def make(config: ProviderConfig, *, api_key: str | None, models: Mapping[str, ModelConfig]) -> OpenAI:
    return OpenAI(config, api_key=api_key)


class OpenAI:
    def __init__(self, config: ProviderConfig, *, api_key: str | None) -> None:
        base_url = config.base_url or _URL  # never the environment's: it may well point at ourselves
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        if config.base_url is None:  # the environment's OpenAI organization is not for other places
            headers |= {name: os.environ[variable] for variable, name in _ACCOUNT.items() if os.environ.get(variable)}
        self._client = HttpClient(base_url, headers=headers, config=config)
        self._scrub = Scrubber(api_key, config.headers, config.base_url)
        self._compact = config.base_url is None  # compatible servers may not know base64 embeddings
        self._billing = BILLING_FIELDS.difference(config.pass_through)
        self.refusals = Refusals()

    async def complete(self, model: str, request: ChatRequest, *, timeout_s: float) -> Completion:
        return await self._ask(model, request, timeout_s, None)

    async def stream(self, model: str, request: ChatRequest, *, timeout_s: float, emit: Sink) -> Completion:
        return await self._ask(model, request, timeout_s, emit)

    async def _ask(self, model: str, request: ChatRequest, timeout_s: float, emit: Sink | None) -> Completion:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._complete(model, request, emit)
        except TimeoutError:
            raise timed_out(timeout_s) from None

    async def _complete(self, model: str, request: ChatRequest, emit: Sink | None) -> Completion:
        def prepare(refused: frozenset[str]) -> tuple[tuple[dict[str, Any], tuple[str, ...]], Collection[str]]:
            body, dropped = to_wire(model, request, refused | self._billing)
            if emit:
                body |= {name: value for name, value in _STREAMED.items() if name not in refused}
            sent = (_OPTIONAL | request.extra.keys()) & body.keys() | may_demand(body["messages"])
            return (body, dropped), sent | {DEVELOPER for message in body["messages"] if message["role"] == "developer"}

        async def send(wire: tuple[dict[str, Any], tuple[str, ...]]) -> Reply:
            path = "/chat/completions"
            if emit is None:
                return await post(self._client, path, wire[0], scrub=self._scrub)
            assembly = Assembly(on_loop(emit), fault=lambda error: sent_in_stream(_failure_in_200(error, self._scrub)))
            limits = await stream(self._client, path, wire[0], scrub=self._scrub, into=assembly)
            return Reply(assembly.reply(), limits, assembly.content.logprobs >= SOME)

        (_, dropped), reply, attempts = await self.refusals.ask(model, prepare, send)
        completion = await off_loop(
            reply.large,
            lambda: from_wire(reply.body, request, dropped=dropped, attempts=attempts, scrub=self._scrub),
        )
        return replace(completion, rate_limits=reply.rate_limits) if reply.rate_limits else completion

    async def embed(self, model: str, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        dropped = tuple(name for name in request.extra if name in self._billing)
        body = {name: value for name, value in request.extra.items() if name not in (*_NEVER_PASSED, *dropped)}
        body |= {"model": model, "input": list(request.inputs)}
        body["encoding_format"] = "base64" if self._compact else "float"
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        try:
            async with asyncio.timeout(timeout_s):
                reply = await post(self._client, "/embeddings", body, scrub=self._scrub, limit=MAX_EMBEDDINGS)
        except TimeoutError:
            raise timed_out(timeout_s) from None
        vectors = vectors_of(_embeddings(reply.body), len(request.inputs))
        return Embeddings(vectors, usage_of(reply.body.get("usage")), dropped, reply.rate_limits)

    async def aclose(self) -> None:
        await self._client.aclose()


def to_wire(
    model: str, request: ChatRequest, refused: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The request's body, and the parameters left out because the model is known to refuse them."""
    max_tokens_param = request.max_tokens_param
    if max_tokens_param in refused:  # a rename, not a loss
        max_tokens_param = "max_completion_tokens" if max_tokens_param == "max_tokens" else "max_tokens"
    optional: dict[str, Any] = {
        "tools": list(request.tools) or None,
        "tool_choice": request.tool_choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": request.response_format,
        max_tokens_param: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "logprobs": True if request.logprobs else None,
        "top_logprobs": request.top_logprobs if request.logprobs else None,
    }
    body = {name: value for name, value in request.extra.items() if name not in _NEVER_PASSED}
    messages, replaced = history(request.messages, model, request.extra, demanded=refused)
    if DEVELOPER in refused:  # older servers call it so
        messages = [{**m, "role": "system"} if m.get("role") == "developer" else m for m in messages]
    if request.wants_json and "response_format" in refused:
        messages = _instructed(messages, json_instruction(request.json_schema))
    body |= {"model": model, "messages": messages}
    body |= {name: value for name, value in optional.items() if value is not None}
    if "logprobs" in refused:
        refused |= {"top_logprobs"}
    if "tools" in body and not caches(model):
        body["tools"] = [without_cache_marks(tool) for tool in body["tools"]]
    dropped = tuple(name for name in body if name in refused)
    for name in dropped:
        del body[name]
    return body, dropped + replaced


def _instructed(messages: list[JsonObject], instruction: str) -> list[JsonObject]:
    first = messages[0]
    if first.get("role") in ("system", "developer"):
        joined = "\n\n".join([text_of(first.get("content")), instruction])
        return [{**first, "content": joined}, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]


def from_wire(
    reply: JsonObject, request: ChatRequest, *, dropped: tuple[str, ...], attempts: int, scrub: Scrubber
) -> Completion:
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = reply.get("error") or (choice.get("error") if isinstance(choice, dict) else None)
    if error:  # some gateways put an upstream's failure into a 200
        raise _failure_in_200(error, scrub)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise bad_response("the upstream's reply has no choices" if choice is None else "the choice has no message")

    calls = _tool_calls(message)
    finish = choice.get("finish_reason")
    content, refusal = message.get("content"), message.get("refusal")
    text = content_text(content)
    reasoning, blocks = message.get("reasoning_content"), message.get("thinking_blocks")
    logprobs = choice.get("logprobs")
    found = logprobs_of(logprobs.get("content")) if isinstance(logprobs, dict) else None
    if request.logprobs and found is None and "logprobs" not in dropped:
        dropped += ("logprobs",)
    named = reply.get("model")
    return Completion(
        text=unfenced(text) if text and request.wants_json else text,
        tool_calls=calls,
        refusal=refusal if isinstance(refusal, str) and refusal else None,
        finish_reason=_FINISH.get(finish, finish) if isinstance(finish, str) else ("tool_calls" if calls else "stop"),
        reasoning_content=reasoning if isinstance(reasoning, str) and reasoning else None,
        thinking_blocks=tuple(b for b in blocks if isinstance(b, Mapping)) if isinstance(blocks, list) else (),
        logprobs=found if request.logprobs else None,
        usage=usage_of(reply.get("usage")),
        upstream_model=named if isinstance(named, str) else None,
        dropped_params=dropped,
        attempts=attempts,
    )


def _failure_in_200(error: Any, scrub: Scrubber) -> UpstreamError:
    fields = error if isinstance(error, Mapping) else {"message": error}
    shown = scrub(str(fields.get("message")))
    code = fields.get("code")
    if isinstance(code, str) and code.isascii() and code.isdecimal() and len(code) == 3:
        code = int(code)
    if fields.get("type") == "invalid_request_error" and not isinstance(code, int):
        code = 400
    if isinstance(code, int) and 400 <= code < 600:
        return http_failure(code, {}, shown, scrub=scrub)
    return bad_response(f"the upstream answered 200 with an error: {shown}")


def _tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    listed = message.get("tool_calls")
    if not listed and isinstance(message.get("function_call"), Mapping):  # before there were tools
        listed = [{"function": message["function_call"]}]
    if not isinstance(listed, list):
        return ()
    check_calls(len(listed))
    return tuple(_tool_call(index, call) for index, call in enumerate(listed))


def _tool_call(index: int, call: Any) -> ToolCall:
    function = function_of(call) if isinstance(call, Mapping) else {}
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str):
        raise bad_response("a tool call in the upstream's reply has no function name", provoked=True)
    if arguments is None:
        arguments = ""
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    extra = call.get("extra_content")
    return ToolCall(
        id=str(call.get("id") or f"call_{index}"),
        name=name,
        arguments=arguments,
        extra_content=extra if isinstance(extra, Mapping) else {},
    )


def usage_of(counts: Any) -> Usage | None:
    """None where it is missing or impossible. Some count reasoning beside the completion, in the total only."""
    if not isinstance(counts, Mapping) or "prompt_tokens" not in counts:
        return None
    try:
        prompt, completion = count(counts, "prompt_tokens"), count(counts, "completion_tokens")
        hidden = max(0, count(counts, "total_tokens") - prompt - completion)
        reasoning = count(counts, "completion_tokens_details", "reasoning_tokens")
        return whole_usage(
            input_tokens=prompt,
            output_tokens=completion + hidden,
            cached=count(counts, "prompt_tokens_details", "cached_tokens") or count(counts, "prompt_cache_hit_tokens"),
            cache_write=count(counts, "prompt_tokens_details", "cache_write_tokens"),
            reasoning=max(reasoning, hidden),
        )
    except ValueError:
        return None


def _embeddings(reply: JsonObject) -> list[Any]:
    rows = reply.get("data")
    if not isinstance(rows, list):
        raise bad_response("the upstream's reply has no embeddings")
    try:
        ordered = sorted(rows, key=lambda row: int(row.get("index", 0)))
        return [_unpacked(row["embedding"]) for row in ordered]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise bad_response("an embedding in the upstream's reply is malformed") from error


def _unpacked(embedding: Any) -> Any:
    if not isinstance(embedding, str):
        return embedding
    floats = array.array("f", base64.b64decode(embedding))
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tolist()
