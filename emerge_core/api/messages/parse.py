"""From the body of POST /v1/messages to a `ChatRequest`.

The body itself goes along as `ChatRequest.native`, for members that speak this API; the others get the translation.
Fields and content that only Anthropic knows never cause an error here: they reach Anthropic members alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from emerge_core.api.errors import THREAD_NOT_FOUND, THREAD_UNSUPPORTED, invalid
from emerge_core.api.fields import Body, boolean, integer, mapping, number, one_of, shown, string, text
from emerge_core.api.messages.input import read_messages
from emerge_core.api.messages.tools import read_tools
from emerge_core.api.tools import check_json_schema
from emerge_core.errors import RequestError
from emerge_core.types import ChatRequest, NativeRequest

MAX_TOKENS = 2**31 - 1
KIND = "anthropic"  # of the providers that speak this API


class MessageParams(NamedTuple):
    """A parsed body of messages."""

    model: str
    request: ChatRequest
    stream: bool


def read_message(body: Body, *, counting: bool = False) -> MessageParams:
    """Raises RequestError, a 400 with `param`, at the first fault. With `counting` no reply is asked for, and
    `max_tokens` may be absent."""
    model = text(body, "model", "model")
    max_tokens = integer(body, "max_tokens", 1, MAX_TOKENS)
    if max_tokens is None and not counting:
        raise invalid("max_tokens", "`max_tokens` is missing.")
    stream = boolean(body, "stream") or False
    _refuse_thread(body.get("thread"))
    offered = read_tools(body.get("tools"), body.get("tool_choice"))
    messages = read_messages(body.get("messages"), body.get("system"))
    request = ChatRequest(
        messages=messages,
        tools=offered.tools,
        tool_choice=offered.choice,
        parallel_tool_calls=offered.parallel,
        response_format=_response_format(body),
        max_tokens=max_tokens,
        temperature=number(body, "temperature", 0, 2),
        top_p=number(body, "top_p", 0, 1),
        stop=_stop(body.get("stop_sequences")),
        extra=_extra(body),
        native=NativeRequest(kind=KIND, body=body, messages=messages),
    )
    return MessageParams(model, request, stream)


def _refuse_thread(value: Any) -> None:
    """Nothing is stored here. The codes are those on which Anthropic's clients send the whole conversation instead."""
    if value is None or value is False:
        return
    if isinstance(value, dict) and value.get("type") == "continue":
        raise RequestError(
            "`thread` continues a stored conversation, and nothing is stored here: send the whole conversation.",
            status=404,
            param="thread",
            code=THREAD_NOT_FOUND,
        )
    message = "`thread` is not supported: conversations are not stored here. Leave it out, and send all messages."
    raise invalid("thread", message, code=THREAD_UNSUPPORTED)


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid("stop_sequences", f"`stop_sequences` must be a list of strings, not {shown(value)}.")
    return tuple(item for item in value if item)


def _extra(body: Body) -> dict[str, Any]:
    """What chat completions have a field for."""
    extra: dict[str, Any] = {}
    if body.get("metadata") is not None:
        user = string(mapping(body, "metadata", "metadata"), "user_id", "metadata.user_id", required=False)
        if user:
            extra["user"] = user
    if (top_k := integer(body, "top_k", 0, MAX_TOKENS)) is not None:
        extra["top_k"] = top_k
    if body.get("output_config") is not None:
        config = mapping(body, "output_config", "output_config")
        effort = string(config, "effort", "output_config.effort", required=False)
        if effort:
            extra["reasoning_effort"] = effort
    return extra


def _response_format(body: Body) -> Body | None:
    """`output_config.format`, or its older name `output_format`."""
    place, wanted = "output_format", body.get("output_format")
    if wanted is None and body.get("output_config") is not None:
        place, wanted = "output_config.format", mapping(body, "output_config", "output_config").get("format")
    if wanted is None:
        return None
    if not isinstance(wanted, dict):
        raise invalid(place, f"`{place}` must be an object, not {shown(wanted)}.")
    one_of(wanted.get("type"), ("json_schema",), f"{place}.type")
    named = {"name": "output", "schema": wanted.get("schema")}
    check_json_schema(named, place)
    return {"type": "json_schema", "json_schema": named}
