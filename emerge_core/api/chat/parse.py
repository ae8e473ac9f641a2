"""From the body of POST /v1/chat/completions to a `ChatRequest`.

Plain checks, not a tree of models: this runs before every request, and an error must name the faulty field as
the client wrote it. Fields that we do not interpret pass through in `ChatRequest.extra`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from emerge_core.api.chat.input import read_messages
from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, boolean, integer, number, shown, text
from emerge_core.api.limits import MAX_N
from emerge_core.api.tools import read_response_format, read_tool_choice, read_tools
from emerge_core.types import ChatRequest

MAX_TOKENS = 2**31 - 1

_OBSOLETE = {"functions": "tools", "function_call": "tool_choice"}
_INTERPRETED = frozenset(
    {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls", "response_format"}
    | {"max_tokens", "max_completion_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty"}
    | {"stop", "seed", "n", "logprobs", "top_logprobs"}
)


class ChatParams(NamedTuple):
    """A parsed body of chat completions."""

    model: str
    request: ChatRequest
    stream: bool
    include_usage: bool


def read_chat(body: Body) -> ChatParams:
    """Raises RequestError, a 400 with `param`, at the first fault."""
    model = text(body, "model", "model")
    for name, successor in _OBSOLETE.items():
        if body.get(name) is not None:
            raise invalid(name, f"`{name}` is obsolete: send `{successor}` instead.")
    _refuse_audio_replies(body)
    stream = boolean(body, "stream") or False
    include_usage = _include_usage(body, stream)
    tools = read_tools(body.get("tools"))
    max_tokens, max_tokens_param = _max_tokens(body)
    logprobs = boolean(body, "logprobs") or False
    top_logprobs = integer(body, "top_logprobs", 0, 20)
    if top_logprobs is not None and not logprobs:
        raise invalid("top_logprobs", "`top_logprobs` needs `logprobs`: set it to true.")
    request = ChatRequest(
        messages=read_messages(body.get("messages")),
        tools=tools,
        tool_choice=read_tool_choice(body.get("tool_choice"), tools),
        parallel_tool_calls=boolean(body, "parallel_tool_calls") if tools else None,
        response_format=read_response_format(body.get("response_format")),
        max_tokens=max_tokens,
        max_tokens_param=max_tokens_param,
        temperature=number(body, "temperature", 0, 2),
        top_p=number(body, "top_p", 0, 1),
        presence_penalty=number(body, "presence_penalty", -2, 2),
        frequency_penalty=number(body, "frequency_penalty", -2, 2),
        stop=_stop(body.get("stop")),
        seed=integer(body, "seed", -(2**63), 2**63 - 1),
        n=_or(integer(body, "n", 1, MAX_N), 1),
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        extra={name: value for name, value in body.items() if name not in _INTERPRETED and value is not None},
    )
    return ChatParams(model, request, stream, include_usage)


def _refuse_audio_replies(body: Body) -> None:
    modalities = body.get("modalities")
    if modalities is not None and modalities != ["text"]:
        raise invalid("modalities", f'`modalities` must be ["text"], not {shown(modalities)}: replies are text.')
    if body.get("audio") is not None:
        raise invalid("audio", "`audio` is not supported: replies are text. Leave it out.")


def _max_tokens(body: Body) -> tuple[int | None, Literal["max_tokens", "max_completion_tokens"]]:
    old = integer(body, "max_tokens", 1, MAX_TOKENS)
    new = integer(body, "max_completion_tokens", 1, MAX_TOKENS)
    return (old, "max_tokens") if new is None else (new, "max_completion_tokens")


def _include_usage(body: Body, stream: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise invalid("stream_options", f"`stream_options` must be an object, not {shown(options)}.")
    if not stream:
        raise invalid("stream_options", "`stream_options` is only allowed with `stream: true`.")
    return boolean(options, "include_usage", "stream_options.include_usage") or False


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > 4:
        raise invalid("stop", f"`stop` must be a string or a list of up to 4 strings, not {shown(value)}.")
    for index, item in enumerate(stops):
        if not isinstance(item, str) or not item:
            place = "stop" if isinstance(value, str) else f"stop[{index}]"
            raise invalid(place, f"`{place}` must be a string that is not empty, not {shown(item)}.")
    return tuple(stops)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
