"""From the body of POST /v1/responses to a `ChatRequest`, and the settings that the reply repeats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from emerge_core.api.chat.parse import MAX_TOKENS
from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, boolean, integer, mapping, number, one_of, shown, string, text
from emerge_core.api.responses.compaction import is_asked
from emerge_core.api.responses.input import read_input
from emerge_core.api.responses.tools import Tools, read_choice, read_tools
from emerge_core.api.tools import check_json_schema
from emerge_core.types import ChatRequest

_LOGPROBS = "message.output_text.logprobs"
_STATEFUL = {
    "previous_response_id": "Send the earlier items in `input` instead, as clients do with `store: false`",
    "conversation": "Send the conversation's items in `input` instead",
    "prompt": "Send `instructions` and `input` instead",
}
_CHAT_FIELDS = {"messages": "input", "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
_CHAT_FIELDS |= {"response_format": "text.format", "reasoning_effort": "reasoning.effort", "functions": "tools"}
_SETTINGS = (
    "instructions max_output_tokens max_tool_calls metadata prompt_cache_key safety_identifier service_tier "
    "temperature top_logprobs top_p user"
)
_REPEATED = tuple(_SETTINGS.split())
_INTERPRETED = (
    "background background_options client_metadata context_management conversation include input instructions "
    "max_output_tokens max_tool_calls metadata model parallel_tool_calls previous_response_id prompt reasoning store "
    "stream stream_options temperature text tool_choice tools top_logprobs top_p truncation"
)
# Any other field is passed on to the providers that know it, as with chat completions.
_CONSUMED = frozenset(_INTERPRETED.split())
_OF_SCHEMA = ("name", "description", "schema", "strict")


class ResponseParams(NamedTuple):
    """A parsed body of responses. `repeated` are the settings that the reply repeats; `compacts` says that the reply is
    a summary of the conversation."""

    model: str
    request: ChatRequest
    stream: bool
    repeated: dict[str, Any]
    tools: Tools
    compacts: bool = False


def read_response(body: Body) -> ResponseParams:
    """Raises RequestError, a 400 with `param`, at the first fault."""
    model = text(body, "model", "model")
    _refuse_foreign_fields(body)
    stream = boolean(body, "stream") or False
    instructions = string(body, "instructions", "instructions", required=False)
    effort, verbosity = _reasoning_effort(body), _verbosity(body)
    offered = read_tools(body.get("tools"), body.get("input"))
    tools, choice = read_choice(body.get("tool_choice"), offered)
    compacts = is_asked(body.get("input"))
    if compacts and tools:
        choice = "none"  # the tools stay, for prompt caches
    top_logprobs = integer(body, "top_logprobs", 0, 20)
    extra = {name: value for name, value in body.items() if name not in _CONSUMED and value is not None}
    if effort is not None:
        extra["reasoning_effort"] = effort
    if verbosity is not None:
        extra["verbosity"] = verbosity
    request = ChatRequest(
        messages=read_input(body.get("input"), instructions),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=boolean(body, "parallel_tool_calls") if tools else None,
        response_format=_format(body),
        max_tokens=integer(body, "max_output_tokens", 1, MAX_TOKENS),
        max_tokens_param="max_completion_tokens",
        temperature=number(body, "temperature", 0, 2),
        top_p=number(body, "top_p", 0, 1),
        logprobs=bool(top_logprobs) or _LOGPROBS in _include(body),
        top_logprobs=top_logprobs,
        extra=extra,
    )
    return ResponseParams(model, request, stream, _repeated(body, effort), offered, compacts)


def _refuse_foreign_fields(body: Body) -> None:
    for name, successor in _CHAT_FIELDS.items():
        if body.get(name) is not None:
            raise invalid(name, f"`{name}` is a field of chat completions: send `{successor}` here.")
    for name, instead in _STATEFUL.items():
        if body.get(name) is not None:
            message = f"`{name}` is not supported: responses are not stored here. {instead}."
            raise invalid(name, message, code="unsupported_parameter")
    if boolean(body, "background"):
        message = "`background` is not supported: responses are not stored here. Leave it out, or stream."
        raise invalid("background", message, code="unsupported_parameter")
    boolean(body, "store")
    for name in ("metadata", "stream_options"):
        if body.get(name) is not None:
            mapping(body, name, name)
    if body.get("truncation") is not None:
        one_of(body["truncation"], ("auto", "disabled"), "truncation")


def _reasoning_effort(body: Body) -> str | None:
    if body.get("reasoning") is None:
        return None
    return string(mapping(body, "reasoning", "reasoning"), "effort", "reasoning.effort", required=False)


def _verbosity(body: Body) -> str | None:
    if body.get("text") is None:
        return None
    return string(mapping(body, "text", "text"), "verbosity", "text.verbosity", required=False)


def _include(body: Body) -> tuple[str, ...]:
    value = body.get("include")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid("include", f"`include` must be a list of strings, not {shown(value)}.")
    return tuple(value)


def _given(body: Body, names: Iterable[str]) -> Body:
    return {name: body[name] for name in names if body.get(name) is not None}


def _format(body: Body) -> Body | None:
    wanted = (body.get("text") or {}).get("format")
    if wanted is None:
        return None
    place = "text.format"
    if not isinstance(wanted, dict):
        raise invalid(place, f'`{place}` must be an object such as {{"type": "json_object"}}, not {shown(wanted)}.')
    kind = one_of(wanted.get("type"), ("text", "json_object", "json_schema"), f"{place}.type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    check_json_schema(wanted, place)
    return {"type": kind, "json_schema": _given(wanted, _OF_SCHEMA)}


def _repeated(body: Body, effort: str | None) -> dict[str, Any]:
    """As OpenAI repeats them, with those of its defaults that apply here."""
    reasoning = body.get("reasoning") or {}
    answer_text = body.get("text") or {}
    return {
        **{name: body.get(name) for name in _REPEATED},
        "metadata": body.get("metadata") or {},
        "background": False,
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": effort, "summary": reasoning.get("summary")},
        "store": False,
        "text": {**answer_text, "format": answer_text.get("format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "truncation": "disabled",
    }
