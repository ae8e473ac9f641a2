"""Encodes AWS event stream frames, for upstreams of tests: botocore only decodes them.

A frame is its length, the length of its headers, a checksum of both, the headers, the payload and a
checksum of all (Amazon Transcribe developer guide, "Event stream encoding").
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from typing import Any
from zlib import crc32

STRING = 7


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    encoded = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 12 + len(encoded) + len(payload) + 4, len(encoded))
    prelude += struct.pack("!I", crc32(prelude))
    body = prelude + encoded + payload
    return body + struct.pack("!I", crc32(body))


def event(name: str, value: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps(value).encode())


def exception(name: str, message: str) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps({"message": message}).encode())


def error(code: str, message: str) -> bytes:
    return frame({":message-type": "error", ":error-code": code, ":error-message": message}, b"")


def events_of(reply: Mapping[str, Any]) -> list[bytes]:
    """A whole Converse reply as ConverseStream would send it, texts word by word."""
    events = [event("messageStart", {"role": "assistant"})]
    for index, block in enumerate(reply["output"]["message"]["content"]):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            call = block["toolUse"]
            start = {"toolUseId": call["toolUseId"], "name": call["name"]}
            events.append(event("contentBlockStart", {**at, "start": {"toolUse": start}}))
            text = json.dumps(call["input"])
            deltas = [{"toolUse": {"input": part}} for part in (text[:3], text[3:])]
            events += [event("contentBlockDelta", {**at, "delta": delta}) for delta in deltas]
        elif "reasoningContent" in block:
            found = block["reasoningContent"]
            parts = [{"redactedContent": found["redactedContent"]}] if "redactedContent" in found else []
            if "reasoningText" in found:
                parts += [{"text": found["reasoningText"]["text"]}, {"signature": found["reasoningText"]["signature"]}]
            events += [event("contentBlockDelta", {**at, "delta": {"reasoningContent": part}}) for part in parts]
        else:
            parts = re.findall(r"\s*\S+|\s+$", block["text"]) or [block["text"]]
            events += [event("contentBlockDelta", {**at, "delta": {"text": part}}) for part in parts]
        events.append(event("contentBlockStop", at))
    events.append(event("messageStop", {"stopReason": reply["stopReason"]}))
    events.append(event("metadata", {"usage": reply.get("usage") or {}, "metrics": {"latencyMs": 1}}))
    return events
