"""Checks the conversation: roles, contents, tool calls and their results. Messages keep OpenAI's shape."""

from __future__ import annotations

from typing import Any

from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, items, mapping, one_of, shown, string, text

_ROLES = ("system", "developer", "user", "assistant", "tool")
_PARTS = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "tool": ("text",),
}
_IMAGE_SCHEMES = ("https://", "http://", "data:image/")


def read_messages(value: Any) -> tuple[Body, ...]:
    if value is None:
        raise invalid("messages", "`messages` is missing: send at least one message.")
    called: set[str] = set()  # ids of the tool calls so far
    messages = []
    for place, message in items(value, "messages", at_least=1):
        role = message.get("role")
        if role == "function":
            raise invalid(f"{place}.role", f'`{place}.role` "function" is obsolete: send tool messages instead.')
        role = one_of(role, _ROLES, f"{place}.role")
        string(message, "name", f"{place}.name", required=False)
        if role == "assistant":
            _check_assistant(message, place, called)
        else:
            if role == "tool":
                _check_result(message, place, called)
            _check_content(message, role, place)
        messages.append(message)
    return tuple(messages)


def _check_assistant(message: Body, place: str, called: set[str]) -> None:
    string(message, "refusal", f"{place}.refusal", required=False)
    calls = message.get("tool_calls")
    if message.get("function_call") is not None:
        where = f"{place}.function_call"
        raise invalid(where, f"`{where}` is obsolete: send `tool_calls` instead.")
    if calls is not None:
        for spot, call in items(calls, f"{place}.tool_calls"):
            called.add(text(call, "id", f"{spot}.id"))
            one_of(call.get("type"), ("function",), f"{spot}.type")
            function = mapping(call, "function", f"{spot}.function")
            text(function, "name", f"{spot}.function.name")
            string(function, "arguments", f"{spot}.function.arguments")
    if message.get("content") is not None:
        _check_content(message, "assistant", place)
    elif not calls and message.get("refusal") is None:
        raise invalid(
            f"{place}.content", f"`{place}.content` is missing: an assistant message needs text or tool calls."
        )


def _check_result(message: Body, place: str, called: set[str]) -> None:
    answered = text(message, "tool_call_id", f"{place}.tool_call_id")
    if answered not in called:
        raise invalid(
            f"{place}.tool_call_id",
            f"`{place}.tool_call_id` is {shown(answered)}, but no assistant message before it has a tool call of "
            "that id: send the assistant message with its `tool_calls`, then the tool's result.",
        )


def _check_content(message: Body, role: str, place: str) -> None:
    content, place = message.get("content"), f"{place}.content"
    if isinstance(content, str):
        return
    if content is None:
        raise invalid(place, f"`{place}` is missing: send a string or a list of parts.")
    if not isinstance(content, list):
        raise invalid(place, f"`{place}` must be a string or a list of parts, not {shown(content)}.")
    for spot, part in items(content, place, at_least=1):
        kind = one_of(part.get("type"), _PARTS[role], f"{spot}.type")
        if kind == "image_url":
            _check_image(part, f"{spot}.image_url")
        elif kind == "input_audio":
            check_audio(mapping(part, "input_audio", f"{spot}.input_audio"), f"{spot}.input_audio")
        elif kind == "file":
            check_file(mapping(part, "file", f"{spot}.file"), f"{spot}.file")
        else:
            string(part, kind, f"{spot}.{kind}")


def _check_image(part: Body, place: str) -> None:
    image = mapping(part, "image_url", place)
    image_url(image, "url", f"{place}.url")
    string(image, "detail", f"{place}.detail", required=False)


def image_url(body: Body, name: str, place: str) -> str:
    url = text(body, name, place)
    if not url.lower().startswith(_IMAGE_SCHEMES):
        raise invalid(place, f"`{place}` must be an http(s) URL or data:image/…;base64,…, not {shown(url)}.")
    return url


def check_audio(audio: Body, place: str) -> None:
    for name in ("data", "format"):
        text(audio, name, f"{place}.{name}")


def check_file(file: Body, place: str) -> None:
    for name in ("file_data", "file_id", "filename"):
        string(file, name, f"{place}.{name}", required=False)
    if not file.get("file_data") and not file.get("file_id"):
        raise invalid(place, f"`{place}` needs `file_data` (data:…;base64,…) or `file_id`.")
