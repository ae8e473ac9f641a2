"""From the items of `input` to messages in chat's shape.

Items list a message and its function calls one after the other: a call joins the assistant message before it. Images
in a tool's output, which chat takes from users only, follow in a user's message after the last output.
"""

from __future__ import annotations

import json
from typing import Any

from emerge_core.api.chat.input import check_audio, check_file, image_url
from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, items, mapping, one_of, shown, string, text
from emerge_core.api.limits import MAX_MESSAGES, MAX_PARTS
from emerge_core.api.responses import compaction
from emerge_core.api.responses.state import state_in
from emerge_core.api.responses.tools import ADDITIONAL_TOOLS, flat_name

_ROLES = ("user", "assistant", "system", "developer")
_PARTS = {
    "user": ("input_text", "input_image", "input_audio", "input_file"),
    "assistant": ("output_text", "refusal", "input_text"),
    "system": ("input_text",),
    "developer": ("input_text",),
    "tool": ("input_text", "input_image", "input_file"),
}
_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
# Of tools that ran at another provider, which only its models can read, and what is no message.
_LEFT_OUT = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", compaction.COMPACTION}
    | {"mcp_list_tools", "mcp_call", "tool_search_call", "tool_search_output"}
    | {"context_compaction", "configuration_update", ADDITIONAL_TOOLS, compaction.TRIGGER}
)
_ITEMS = ("message", *_CALLS, *_OUTPUTS, "reasoning")


def read_input(value: Any, instructions: str | None) -> tuple[Body, ...]:
    """The messages, the instructions first. What our own reasoning items hold goes to the assistant message beside
    them; those of others are left out. Raises RequestError, a 400 that names the item."""
    if value is None:
        raise invalid("input", "`input` is missing: send a string or a list of items.")
    messages: list[dict[str, Any]] = [] if instructions is None else [{"role": "system", "content": instructions}]
    if isinstance(value, str):
        return *messages, {"role": "user", "content": value}
    if not isinstance(value, list):
        raise invalid("input", f"`input` must be a string or a list of items, not {shown(value)}.")
    called: set[str] = set()
    state: dict[str, Any] = {}  # of a reasoning item, for the assistant message that it precedes
    pictures: list[Body] = []  # images in the outputs of the calls before
    for place, item in items(value, "input", at_least=1, at_most=MAX_MESSAGES):
        kind = _kind(item, place)
        if pictures and kind not in (*_OUTPUTS, *_LEFT_OUT):
            messages.append({"role": "user", "content": pictures})
            pictures = []
        if kind == "message":
            messages.append(_message(item, place))
        elif kind in _CALLS:
            _open_calls(messages).append(_call(item, place, called))
        elif kind in _OUTPUTS:
            result, images = _result(item, place, called)
            messages.append(result)
            pictures += images
        elif kind == "reasoning":
            state = state_in(item)
        elif kind == compaction.COMPACTION and (summary := compaction.summary_message(item)):
            messages.append(summary)
        if state and messages and messages[-1]["role"] == "assistant":
            messages[-1].update({name: value for name, value in state.items() if name not in messages[-1]})
            state = {}
    if pictures:
        messages.append({"role": "user", "content": pictures})
    if not any(message["role"] != "system" for message in messages):
        raise invalid("input", "`input` holds no message to answer: send at least one.")
    if compaction.is_asked(value):
        messages.append(compaction.request_message())
    return tuple(messages)


def _kind(item: Body, place: str) -> str:
    kind = item.get("type")
    if kind is None and "role" in item:
        return "message"
    if kind == "item_reference":
        raise invalid(
            f"{place}.type",
            f'`{place}.type` "item_reference" is not supported: nothing is stored here. Send the item itself.',
        )
    return kind if isinstance(kind, str) and kind in _LEFT_OUT else one_of(kind, _ITEMS, f"{place}.type")


def _message(item: Body, place: str) -> dict[str, Any]:
    role = one_of(item.get("role"), _ROLES, f"{place}.role")
    content = item.get("content")
    if role == "assistant" and isinstance(content, list):
        refusals = [part for part in content if isinstance(part, dict) and part.get("type") == "refusal"]
        if refusals:
            return {"role": role, "content": None, "refusal": string(refusals[0], "refusal", f"{place}.content")}
    return {"role": role, "content": _content(content, role, f"{place}.content")}


def _content(content: Any, role: str, place: str) -> str | list[dict[str, Any]]:
    """A string for a text, even if it came as the only part; else parts in chat's shape."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(place, f"`{place}` must be a string or a list of parts, not {shown(content)}.")
    parts = [_part(part, role, spot) for spot, part in items(content, place, at_least=1, at_most=MAX_PARTS)]
    alone = len(parts) == 1 and parts[0]["type"] == "text"
    return str(parts[0]["text"]) if alone else parts


def _part(part: Body, role: str, place: str) -> dict[str, Any]:
    kind = one_of(part.get("type"), _PARTS[role], f"{place}.type")
    if kind == "input_image":
        return _image(part, place)
    if kind == "input_file":
        return _file(part, place)
    if kind == "input_audio":
        audio = mapping(part, kind, f"{place}.{kind}")
        check_audio(audio, f"{place}.{kind}")
        return {"type": kind, kind: audio}
    return {"type": "text", "text": string(part, "text", f"{place}.text")}


def _image(part: Body, place: str) -> dict[str, Any]:
    if part.get("file_id") is not None:
        raise invalid(f"{place}.file_id", f"`{place}.file_id` is not supported: send the image as `image_url`.")
    image = {"url": image_url(part, "image_url", f"{place}.image_url")}
    detail = string(part, "detail", f"{place}.detail", required=False)
    return {"type": "image_url", "image_url": image | ({"detail": detail} if detail else {})}


def _file(part: Body, place: str) -> dict[str, Any]:
    if part.get("file_url") is not None:
        raise invalid(f"{place}.file_url", f"`{place}.file_url` is not supported: send the file as `file_data`.")
    check_file(part, place)
    known = ("file_data", "file_id", "filename")
    return {"type": "file", "file": {name: part[name] for name in known if part.get(name) is not None}}


def _open_calls(messages: list[dict[str, Any]]) -> list[Any]:
    """The tool calls of the assistant message before, or of a new one."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    calls: list[Any] = messages[-1].setdefault("tool_calls", [])
    return calls


def _call(item: Body, place: str, called: set[str]) -> dict[str, Any]:
    call_id = text(item, "call_id", f"{place}.call_id")
    called.add(call_id)
    name = text(item, "name", f"{place}.name")
    if item.get("type") == "custom_tool_call":
        arguments = json.dumps({"input": string(item, "input", f"{place}.input")}, ensure_ascii=False)
    else:
        arguments = string(item, "arguments", f"{place}.arguments") or ""
    namespace = string(item, "namespace", f"{place}.namespace", required=False)
    name = flat_name(namespace, name) if namespace else name
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    extra = item.get("extra_content")
    return call | ({"extra_content": extra} if isinstance(extra, dict) else {})


def _result(item: Body, place: str, called: set[str]) -> tuple[dict[str, Any], list[Body]]:
    """The tool's message, and what a user's message shows of it: images and files."""
    call_id = text(item, "call_id", f"{place}.call_id")
    if call_id not in called:
        raise invalid(
            f"{place}.call_id",
            f"`{place}.call_id` is {shown(call_id)}, but no function_call before it has that id. Nothing is stored "
            "here: send the function_call item too, then its output.",
        )
    content, seen = _content(item.get("output"), "tool", f"{place}.output"), list[Body]()
    if not isinstance(content, str):
        seen = [part for part in content if part["type"] != "text"]
        content = [part for part in content if part["type"] == "text"] or "(see the image)"
    return {"role": "tool", "tool_call_id": call_id, "content": content}, seen
