"""Anthropic's messages API.

The API changed with the Claude generations, so two are
told apart: up to 4.6 (and other vendors' models behind this API) sampling parameters and forced tools
work; later ones refuse sampling, may refuse forced tools, and take a JSON schema natively.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from emerge_core.config.schema import ModelConfig, ProviderConfig
from emerge_core.provider_kinds import KINDS
from emerge_core.providers import Embeddings
from emerge_core.providers.anthropic.messages import called, conversation, tool_id, unthinking_step
from emerge_core.providers.anthropic.output_format import native_format
from emerge_core.providers.anthropic.stream import Assembly
from emerge_core.providers.errors import Scrubber, bad_response, timed_out, unsupported
from emerge_core.providers.parts import (
    BILLING_FIELDS,
    block_text,
    check_calls,
    count,
    function_of,
    json_instruction,
    unfenced,
    whole_usage,
)
from emerge_core.providers.refusals import Refusals
from emerge_core.providers.transport.client import HttpClient
from emerge_core.providers.transport.exchange import SOME, Reply, off_loop, on_loop, post, stream
from emerge_core.types import (
    ChatRequest,
    Completion,
    EmbeddingRequest,
    JsonObject,
    NativeRequest,
    Sink,
    ToolCall,
    Usage,
)

_URL = str(KINDS["anthropic"].base_url)
_PATH = "/v1/messages"
_COUNT_PATH = "/v1/messages/count_tokens"
_OF_REPLY = frozenset(
    ["max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "metadata"]
)  # not counted, so refused
_VERSION = "2026-10-21"  # of the API
_SAMPLING_VERSION = "2023-06-01"  # the last one that takes sampling parameters
_LATER = re.compile(r"claude-(?!instant|[23]|4-(opus|sonnet|haiku)|(opus|sonnet|haiku)-4(?![-.]([7-9]|\d\d)(?!\d)))")
THINKING = "thinking"
THOUGHTS = ("thinking", "redacted_thinking")
_REPLY_TOOL = "reply"
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
# What a model may refuse by its name on the wire, and the caller's name for it.
_OPTIONAL = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
    "tool_choice": "tool_choice",
    "metadata": "user",
    "effort": "reasoning_effort",
    "format": "response_format",
    "output_config": "reasoning_effort",
}


def make(config: ProviderConfig, *, api_key: str | None, models: Mapping[str, ModelConfig]) -> Anthropic:
    return Anthropic(config, api_key=api_key)


class Anthropic:
    def __init__(self, config: ProviderConfig, *, api_key: str | None) -> None:
        base_url = (config.base_url or _URL).rstrip("/").removesuffix("/v1")  # as Anthropic's own SDKs are configured
        headers = {"anthropic-version": _VERSION} | ({"authorization": f"Bearer {api_key}"} if api_key else {})
        self._client = HttpClient(base_url, headers=headers, config=config)
        self._scrub = Scrubber(api_key, config.headers, config.base_url)
        self._billing = BILLING_FIELDS.difference(config.pass_through)
        self.refusals = Refusals({"output_config": frozenset({"effort", "format"})})

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
        def prepare(refused: frozenset[str]) -> tuple[Wire, Collection[str]]:
            wire = to_wire(model, request, refused, self._billing)
            return wire, wire.sent

        streamed: list[str] = []  # the arguments of the calls

        async def send(wire: Wire) -> Reply:
            if emit is None:
                return await post(self._client, _PATH, wire.body, scrub=self._scrub, headers=wire.headers)
            assembly = Assembly(on_loop(emit), self._scrub, native=request.native is not None)
            body = {**wire.body, "stream": True}
            limits = await stream(
                self._client,
                _PATH,
                body,
                scrub=self._scrub,
                headers=wire.headers,
                into=assembly,
            )
            reply = assembly.reply()
            streamed[:] = assembly.arguments()
            return Reply(reply, limits, assembly.content.logprobs >= SOME)

        wire, reply, attempts = await self.refusals.ask(model, prepare, send)
        completion = await off_loop(reply.large, lambda: from_wire(reply.body, wire, attempts=attempts))
        calls = zip(completion.tool_calls, streamed, strict=False)
        as_streamed = tuple(replace(call, arguments=text) if text else call for call, text in calls)
        return replace(completion, rate_limits=reply.rate_limits, tool_calls=as_streamed or completion.tool_calls)

    async def count_tokens(self, model: str, request: ChatRequest, *, timeout_s: float) -> int:
        wire = to_wire(model, request, self.refusals.known(model), self._billing)
        body = {name: value for name, value in wire.body.items() if name not in _OF_REPLY}
        try:
            async with asyncio.timeout(timeout_s):
                reply = await post(self._client, _COUNT_PATH, body, scrub=self._scrub, headers=wire.headers)
        except TimeoutError:
            raise timed_out(timeout_s) from None
        counted = reply.body.get("input_tokens")
        if isinstance(counted, bool) or not isinstance(counted, int):
            raise bad_response("the upstream's count of tokens is no number")
        return counted

    async def embed(self, model: str, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        raise unsupported("Anthropic has no embeddings")

    async def aclose(self) -> None:
        await self._client.aclose()


@dataclass(frozen=True, slots=True)
class Wire:
    """A translated request: what is sent, and what must be known to read the reply."""

    body: dict[str, Any]
    headers: dict[str, str]
    dropped: tuple[str, ...]
    sent: frozenset[str]  # the optional parameters in it
    text_in_tool: bool = False  # the reply's text is the forced tool's input
    wants_json: bool = False


def to_wire(
    model: str,
    request: ChatRequest,
    refused: frozenset[str] = frozenset(),
    billing: frozenset[str] = BILLING_FIELDS,
) -> Wire:
    """`refused` holds the optional parameters that this model has refused, `billing` the fields of a client's own body
    that are dropped because they choose what is billed."""
    native = request.native
    if native is not None and native.kind == "anthropic" and native.messages is request.messages:
        return _native_wire(model, request, native, refused, billing)
    later = bool(_LATER.search(model))
    optional, dropped = _sampling(request, later)
    thinking = _thinking(request, refused)
    system, turns = conversation(request.messages, thinking=THINKING not in refused)
    tools, choice = _tools(request)
    effort = _EFFORTS.get(str(request.extra.get("reasoning_effort"))) if later else None
    output_format: dict[str, Any] | None = None

    text_in_tool = False
    schema = request.json_schema
    if schema is not None and later and "format" not in refused:
        output_format = native_format(schema)
    elif (
        schema
        and not later
        and not thinking
        and not request.tools
        and schema.get("type") == "object"
        and "tool_choice" not in refused
    ):
        tools = [{"name": _REPLY_TOOL, "description": "Give the whole answer.", "input_schema": dict(schema)}]
        choice = {"type": "tool", "name": _REPLY_TOOL, "disable_parallel_tool_use": True}
        text_in_tool = True
    if request.wants_json and output_format is None and not text_in_tool:
        system = _with_instruction(system, json_instruction(schema))

    if thinking:  # it takes no sampling parameters, and no forced tool
        dropped += [
            _OPTIONAL[name] for name in ("temperature", "top_p", "top_k") if optional.pop(name, None) is not None
        ]
        if choice and choice["type"] in ("any", "tool"):
            choice, dropped = {**choice, "type": "auto"}, [*dropped, "tool_choice"]
            choice.pop("name", None)
    user, stop = request.extra.get("user"), [text for text in request.stop if text.strip()]
    optional |= {
        "stop_sequences": stop or None,
        "tool_choice": choice,
        "metadata": {"user_id": user} if isinstance(user, str) else None,
        "effort": effort,
        "format": output_format,
    }
    sent = {name: value for name, value in optional.items() if value is not None and name not in refused}
    dropped += [_OPTIONAL[name] for name, value in optional.items() if value is not None and name in refused]
    mapped = {"user": "metadata", "reasoning_effort": "effort", "top_k": "top_k"}
    dropped += [
        name
        for name in request.extra
        if optional.get(mapped.get(name, "")) is None and not (name == THINKING and thinking)
    ]
    if len(stop) < len(request.stop):
        dropped.append("stop")

    body: dict[str, Any] = {
        "model": model,
        "max_tokens": request.max_tokens or (16384 if later else 4096),  # later models spend it on thinking too
        "messages": turns,
    }
    if system:
        body["system"] = system
    if tools:
        body["tools"] = tools
    if thinking:
        body["thinking"] = thinking
    if output := {name: sent[name] for name in ("effort", "format") if name in sent}:
        body["output_config"] = output
    body |= {name: value for name, value in sent.items() if name not in output}
    samples = not {"temperature", "top_p", "top_k"}.isdisjoint(sent)
    return Wire(
        body=body,
        headers={"anthropic-version": _SAMPLING_VERSION} if samples else {},
        dropped=tuple(dict.fromkeys(dropped)),
        sent=frozenset(sent) | ({"output_config"} if output else set()) | ({THINKING} if _thinks(body) else set()),
        text_in_tool=text_in_tool,
        wants_json=request.wants_json,
    )


def _native_wire(
    model: str, request: ChatRequest, native: NativeRequest, refused: frozenset[str], billing: frozenset[str]
) -> Wire:
    """The client's own body as it came, but for the model, what the proxy decides, and what cannot be sent."""
    body = {name: value for name, value in native.body.items() if name not in ("stream", "emerge")}
    dropped = [name for name in body if name in billing or name in refused]
    for name in dropped:
        del body[name]
    thinking = body.get(THINKING)
    manual = isinstance(thinking, Mapping) and thinking.get("type") == "enabled"
    if manual and unthinking_step(request.messages):
        del body[THINKING]
        dropped.append(THINKING)
    body["model"] = model
    own = {"temperature": request.temperature, "max_tokens": request.max_tokens}  # a member's own, a lower ceiling
    body |= {name: value for name, value in own.items() if value is not None and name not in dropped}
    if not body.get("tools"):
        body.pop("tools", None)
        body.pop("tool_choice", None)
    return Wire(
        body=body,
        headers=dict(native.headers),
        dropped=tuple(_OPTIONAL.get(name, name) for name in dropped),
        sent=frozenset(body) & (_OPTIONAL.keys() | {THINKING}),
        wants_json=request.wants_json,
    )


def _thinking(request: ChatRequest, refused: frozenset[str]) -> dict[str, Any] | None:
    """The client's `thinking`, unless a step of another model stands in the current turn, which it does not allow."""
    wanted = request.extra.get(THINKING)
    if not isinstance(wanted, Mapping) or THINKING in refused:
        return None
    if wanted.get("type") == "enabled" and unthinking_step(request.messages):
        return None
    return dict(wanted)


def _thinks(body: Mapping[str, Any]) -> bool:
    """Whether thinking is asked for, or was done in an earlier turn."""
    return "thinking" in body or any(
        block["type"] in THOUGHTS for turn in body["messages"] for block in turn["content"]
    )


def _with_instruction(system: str | list[dict[str, Any]], instruction: str) -> str | list[dict[str, Any]]:
    if isinstance(system, list):
        return [*system, {"type": "text", "text": instruction}]
    return "\n\n".join(filter(None, [system, instruction]))


def _sampling(request: ChatRequest, later: bool) -> tuple[dict[str, Any], list[str]]:
    given = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.extra.get("top_k")}
    never = {
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "seed": request.seed,
        "logprobs": request.logprobs or None,
        "top_logprobs": request.top_logprobs,
    }
    dropped = [name for name, value in never.items() if value is not None]
    if later:
        return {}, dropped + [name for name, value in given.items() if value is not None]
    if request.temperature is not None and request.temperature > 1:
        given["temperature"] = 1.0  # their scale ends here: named, because it was changed
        dropped.append("temperature")
    return given, dropped


def _tools(request: ChatRequest) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    tools = []
    for tool in request.tools:
        function = function_of(tool)
        if not isinstance(function.get("name"), str):
            raise unsupported(f"Anthropic takes function tools only, not {tool.get('type')!r}", param="tools")
        wire = {"name": function["name"], "input_schema": dict(function.get("parameters") or {})}
        wire["input_schema"].setdefault("type", "object")
        if isinstance(function.get("description"), str):
            wire["description"] = function["description"]
        if mark := tool.get("cache_control") or function.get("cache_control"):
            wire["cache_control"] = mark
        tools.append(wire)
    if not tools:  # calls in the conversation need their tools, even if none may be called any more
        history = [{"name": name, "input_schema": {"type": "object"}} for name in called(request.messages)]
        return history, {"type": "none"} if history else None

    wanted, choice = request.tool_choice, None
    if isinstance(wanted, Mapping):
        choice = {"type": "tool", "name": function_of(wanted).get("name")}
    elif wanted is not None:
        choice = {"type": {"required": "any"}.get(wanted, wanted)}
    if request.parallel_tool_calls is False and wanted != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return tools, choice


def from_wire(reply: JsonObject, wire: Wire, *, attempts: int) -> Completion:
    content = reply.get("content")
    if not isinstance(content, list) or not all(isinstance(block, Mapping) for block in content):
        raise bad_response("the upstream's reply has no content")
    check_calls(len(content))
    texts = [block_text(block.get("text")) for block in content if block.get("type") == "text"]
    calls = tuple(_tool_call(block) for block in content if block.get("type") == "tool_use")
    stop_reason, named = reply.get("stop_reason"), reply.get("model")
    text, finish = "".join(texts) if texts else None, _FINISH.get(str(stop_reason), "stop")
    if wire.text_in_tool and calls:
        text, calls = calls[0].arguments, ()
        finish = "stop" if finish == "tool_calls" else finish
    return Completion(
        text=unfenced(text) if text and wire.wants_json else text,
        tool_calls=calls,
        refusal=_refusal(reply, text) if stop_reason == "refusal" else None,
        finish_reason=finish,
        thinking_blocks=tuple(block for block in content if block.get("type") in THOUGHTS),
        native=reply,
        native_kind="anthropic",
        usage=_usage(reply.get("usage")),
        upstream_model=named if isinstance(named, str) else None,
        dropped_params=wire.dropped,
        attempts=attempts,
    )


def _tool_call(block: JsonObject) -> ToolCall:
    name = block.get("name")
    if not isinstance(name, str):
        raise bad_response("a tool call in the upstream's reply has no name", provoked=True)
    return ToolCall(id=tool_id(block.get("id")), name=name, arguments=json.dumps(block.get("input") or {}))


def _refusal(reply: JsonObject, text: str | None) -> str:
    details = reply.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, Mapping) else None
    return text or (explanation if isinstance(explanation, str) and explanation else "The model refused to answer.")


def _usage(counts: Any) -> Usage | None:
    """Anthropic counts cached and cache-writing tokens beside the input, not in it."""
    if not isinstance(counts, Mapping) or "input_tokens" not in counts:
        return None
    try:
        read, written = count(counts, "cache_read_input_tokens"), count(counts, "cache_creation_input_tokens")
        return whole_usage(
            input_tokens=count(counts, "input_tokens") + read + written,
            output_tokens=count(counts, "output_tokens"),
            cached=read,
            cache_write=written,
            reasoning=count(counts, "output_tokens_details", "thinking_tokens"),
        )
    except ValueError:
        return None
