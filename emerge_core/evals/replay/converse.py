"""A recorded reply in the form of Bedrock's Converse, whole and as an event stream.

Converse names the model in the path and keeps its content blocks in a form of its own, so a request is read into the
shape of a chat completion first: matching and fingerprints know that one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

from emerge_core.evals.replay.wire import Answer, Piece, arguments_of, slices

_STOP = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"}
_STRING = 7  # the type of a header's value
_ERRORS = {404: "ResourceNotFoundException", 409: "ValidationException"}


class ConverseWire:
    media_type = "application/vnd.amazon.eventstream"

    def body(self, sent: Any, model: str, *, streams: bool) -> Any:
        """The request as the body of a chat completion."""
        if not isinstance(sent, Mapping):
            return sent
        system = [_text(block) for block in _blocks(sent.get("system"))]
        messages = [{"role": "system", "content": "\n\n".join(system)}] if system else []
        for message in _blocks(sent.get("messages")):
            messages += _messages(message)
        config = sent.get("toolConfig")
        tools = [_tool(tool["toolSpec"]) for tool in _blocks(_at(config, "tools")) if "toolSpec" in tool]
        chat: dict[str, Any] = {"model": model, "messages": messages, "stream": streams}
        if tools:
            chat["tools"] = tools
        schema = _at(sent, "outputConfig", "textFormat", "structure", "jsonSchema", "schema")
        if isinstance(schema, str):
            chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": json.loads(schema)}}
        return chat

    def messages(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return list(body["messages"])

    def streams(self, body: Mapping[str, Any]) -> bool:
        return body.get("stream") is True

    def whole(self, answer: Answer) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"text": answer.reply.text}] if answer.reply.text else []
        content += [
            {"toolUse": {"toolUseId": call.id, "name": call.name, "input": arguments_of(call)}}
            for call in answer.tool_calls
        ]
        return {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": _STOP.get(answer.finish_reason, "end_turn"),
            **_end(answer),
        }

    def pieces(self, answer: Answer) -> Iterator[Piece]:
        yield Piece(0, _event("messageStart", {"role": "assistant"}))
        if answer.reply.text:
            for share, text in slices(answer.reply.text):
                yield Piece(share, _event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}}))
            yield Piece(1, _event("contentBlockStop", {"contentBlockIndex": 0}))
        for index, call in enumerate(answer.tool_calls, start=1 if answer.reply.text else 0):
            at = {"contentBlockIndex": index}
            start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
            delta = {"toolUse": {"input": json.dumps(arguments_of(call))}}
            yield Piece(1, _event("contentBlockStart", {**at, "start": start}))
            yield Piece(1, _event("contentBlockDelta", {**at, "delta": delta}))
            yield Piece(1, _event("contentBlockStop", at))
        yield Piece(1, _event("messageStop", {"stopReason": _STOP.get(answer.finish_reason, "end_turn")}))
        yield Piece(1, _event("metadata", _end(answer)))

    def error(self, status: int, message: str, code: str) -> dict[str, Any]:
        return {"__type": _ERRORS.get(status, "ValidationException"), "message": message}


def _end(answer: Answer) -> dict[str, Any]:
    prompt, output = answer.prompt_tokens, answer.reply.tokens
    usage = {"inputTokens": prompt, "outputTokens": output, "totalTokens": prompt + output}
    return {"usage": usage, "metrics": {"latencyMs": 0}}


def _messages(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A turn may hold several tool results, each of which is a message of its own in a chat completion."""
    content = _blocks(message.get("content"))
    for block in content:
        if "toolResult" in block:
            result = block["toolResult"]
            said = "\n".join(_text(each) for each in _blocks(result.get("content")))
            yield {"role": "tool", "tool_call_id": result.get("toolUseId"), "content": said}
    parts: list[dict[str, Any]] = [{"type": "text", "text": _text(block)} for block in content if "text" in block]
    parts += [_image(block["image"]) for block in content if "image" in block]
    calls = [_call(block["toolUse"]) for block in content if "toolUse" in block]
    if parts or calls:
        turn: dict[str, Any] = {"role": message.get("role"), "content": parts}
        yield turn | ({"tool_calls": calls} if calls else {})


def _call(use: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": use.get("name"), "arguments": json.dumps(use.get("input"))}
    return {"id": use.get("toolUseId"), "type": "function", "function": function}


def _image(image: Mapping[str, Any]) -> dict[str, Any]:
    data = _at(image, "source", "bytes") or ""
    return {"type": "image_url", "image_url": {"url": f"data:image/{image.get('format')};base64,{data}"}}


def _tool(spec: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": spec.get("name"), "parameters": _at(spec, "inputSchema", "json") or {}}
    if "description" in spec:
        function["description"] = spec["description"]
    return {"type": "function", "function": function}


def _text(block: Mapping[str, Any]) -> str:
    text = block.get("text")
    return text if isinstance(text, str) else ""


def _blocks(value: Any) -> list[Mapping[str, Any]]:
    return [block for block in value if isinstance(block, Mapping)] if isinstance(value, list) else []


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _event(name: str, value: Any) -> bytes:
    """A frame: its length, the length of its headers, a checksum of both, headers, payload, a checksum of all."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    encoded = b"".join(
        struct.pack("!B", len(key)) + key.encode() + struct.pack("!BH", _STRING, len(text)) + text.encode()
        for key, text in headers.items()
    )
    payload = json.dumps(value, separators=(",", ":")).encode()
    prelude = struct.pack("!II", 16 + len(encoded) + len(payload), len(encoded))
    framed = prelude + struct.pack("!I", crc32(prelude)) + encoded + payload
    return framed + struct.pack("!I", crc32(framed))
