"""What the fault-injecting upstream writes: good replies of four wire formats, and what goes wrong in them."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

from tests.support.aws import event_stream
from tests.support.faults.catalogue import Kind

INPUT_TOKENS, OUTPUT_TOKENS = 100, 10
HUGE = 10_000_000  # bytes
TRUNCATED = "Let us go through the question step by step, beginning with the first of the"
QUOTES = (
    "Invalid stop sequence 'insufficient_quota! Unsupported parameter: temperature. Your credit balance is too low.'"
)
REFUSAL = "I'm sorry, but I can't help with that."


def answer(kind: Kind, text: str | None, *, finish: str = "stop", refusal: str | None = None) -> dict[str, Any]:
    """A whole reply. `finish` is in OpenAI's words."""
    if kind == "openai":
        message = {"role": "assistant", "content": text, "refusal": refusal}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    if kind == "anthropic":
        reason = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}[finish]
        content = [] if text is None else [{"type": "text", "text": text}]
        reply = {"id": "msg_x", "type": "message", "role": "assistant", "model": "m", "content": content}
        return {**reply, "stop_reason": reason, "stop_sequence": None}
    if kind == "bedrock":
        reason = {"stop": "end_turn", "length": "max_tokens", "content_filter": "content_filtered"}[finish]
        content = [] if text is None else [{"text": text}]
        return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": reason}
    message = {"role": "assistant", "content": refusal or text}
    return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": True, "done_reason": finish}


def usage(kind: Kind, inputs: int = INPUT_TOKENS, outputs: int = OUTPUT_TOKENS) -> dict[str, Any]:
    if kind == "openai":
        total = {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}
        return {"usage": total}
    if kind == "anthropic":
        return {"usage": {"input_tokens": inputs, "output_tokens": outputs}}
    if kind == "bedrock":
        return {"usage": {"inputTokens": inputs, "outputTokens": outputs, "totalTokens": inputs + outputs}}
    return {"prompt_eval_count": inputs, "eval_count": outputs}


def embeddings(kind: Kind, rows: list[list[float] | None]) -> dict[str, Any]:
    if kind == "ollama":
        return {"model": "m", "embeddings": rows}
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    return {"object": "list", "model": "m", "data": data}


def error(kind: Kind, message: str, code: str | None) -> dict[str, Any]:
    if kind == "ollama":
        return {"error": message}
    if kind == "bedrock":
        return {"message": message}
    if kind == "anthropic":
        return {"type": "error", "error": {"type": code or "api_error", "message": message}}
    return {"error": {"message": message, "type": "scripted", "param": None, "code": code}}


def events(kind: Kind, name: str, text: str) -> list[bytes]:
    """The same reply streamed, event by event. What is not there for streams alone is the body's own fault."""
    if kind == "bedrock":
        return _bedrock_events(name, text)
    if name == "error_event_first":
        return [_event(kind, _stream_error(kind))]
    whole = json.loads(body(kind, name, text))
    made = [_event(kind, chunk) for chunk in _CHUNKS[kind](whole)]
    last = [b"data: [DONE]\n\n"] if kind == "openai" else []
    first_words = 3 if kind == "anthropic" else 2
    if name in ("error_event", "bad_event", "no_end"):
        then = {"error_event": [_event(kind, _stream_error(kind))], "bad_event": [b'data: {"oh\n\n']}.get(name, [])
        return made[:first_words] + ([b'{"oh\n'] if kind == "ollama" and name == "bad_event" else then)
    if name == "duplicate_events":
        made = [event for event in made for _ in range(2)]
    if name == "no_last_event":
        return made if kind != "anthropic" else made[:-1]
    return made + last


def _bedrock_events(name: str, text: str) -> list[bytes]:
    if name == "error_event_first":
        return [event_stream.exception("internalServerException", "Overloaded.")]
    made = event_stream.events_of(json.loads(body("bedrock", name, text)))
    then = {
        "error_event": [event_stream.exception("internalServerException", "Overloaded in the middle of it.")],
        "throttled_in_stream": [event_stream.exception("throttlingException", "Slow down.")],
        "bad_event": [b"\x00" * 16],
        "no_end": [],
        "wrong_checksum": [made[2][:-1] + bytes([made[2][-1] ^ 1])],
    }
    if name in then:
        return made[:2] + then[name]
    if name == "duplicate_events":
        return [frame for frame in made for _ in range(2)]
    if name == "bytes_left_over":
        return [*made, made[0][:-1]]
    return made[:-1] if name == "no_metadata" else made


@cache
def endless(kind: Kind) -> list[bytes]:
    """What a stream without end repeats: few events and large ones, since it is the bytes that end it."""
    return events(kind, "answer", " ".join(["word" * 5_000] * 50))[:-4]


def _stream_error(kind: Kind) -> dict[str, Any]:
    message = "Overloaded in the middle of it."
    if kind == "openai":
        return {"error": {"message": message, "type": "server_error", "code": 503}}
    return error(kind, message, "overloaded_error")


def _event(kind: Kind, chunk: dict[str, Any]) -> bytes:
    if kind == "ollama":
        return _json(chunk) + b"\n"
    name = f"event: {chunk['type']}\n" if kind == "anthropic" else ""
    return name.encode() + b"data: " + _json(chunk) + b"\n\n"


def _words(text: str | None) -> list[str]:
    return [f"{word} " for word in text.split()] if text else []


def _openai_chunks(whole: dict[str, Any]) -> list[dict[str, Any]]:
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = whole["choices"][0]
    message = choice["message"]
    deltas = [{"role": "assistant", "content": ""}] if message["content"] is not None else [{"role": "assistant"}]
    deltas += [{"content": word} for word in _words(message["content"])]
    deltas += [{"refusal": word} for word in _words(message["refusal"])]
    chunks = [{**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    return [*chunks, {**frame, "choices": [], "usage": whole["usage"]}] if "usage" in whole else chunks


def _anthropic_chunks(whole: dict[str, Any]) -> list[dict[str, Any]]:
    counts = whole.get("usage", {})
    opened = {**whole, "content": [], "stop_reason": None}
    chunks: list[dict[str, Any]] = [{"type": "message_start", "message": opened}]
    for block in whole["content"]:
        chunks.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        for word in _words(block["text"]):
            delta = {"type": "text_delta", "text": word}
            chunks.append({"type": "content_block_delta", "index": 0, "delta": delta})
        chunks.append({"type": "content_block_stop", "index": 0})
    ended = {"type": "message_delta", "delta": {"stop_reason": whole["stop_reason"]}}
    if "output_tokens" in counts:
        ended["usage"] = {"output_tokens": counts["output_tokens"]}
    return [*chunks, ended, {"type": "message_stop"}]


def _ollama_chunks(whole: dict[str, Any]) -> list[dict[str, Any]]:
    frame = {"model": "m", "done": False}
    words = _words(whole["message"]["content"])
    chunks = [{**frame, "message": {"role": "assistant", "content": word}} for word in words]
    return [*chunks, {**whole, "message": {"role": "assistant", "content": ""}}]


_CHUNKS = {"openai": _openai_chunks, "anthropic": _anthropic_chunks, "ollama": _ollama_chunks}


def is_raw(kind: Kind, name: str) -> bool:
    """Whether the body is the same whatever was asked."""
    return name in ("refusal_body", "context_length", "quotes_request") or _raw(kind, name) is not None


def body(kind: Kind, name: str, text: str, *, texts: int = 0, key: str = "") -> bytes:
    """The body that a fault names. `texts`, if any, are how many were to be embedded; `key` is the secret
    that the request carried, which errors quote, as real upstreams do."""
    raw = _raw(kind, name)
    if raw is not None:
        return raw
    if name == "refusal_body":
        return _json(error(kind, f"Refused. Incorrect API key provided: {key}.", None))
    if name == "quotes_request":
        return _json(error(kind, QUOTES, None))
    if name == "context_length":
        return _json(error(kind, "This model's maximum context length is 100 tokens.", "context_length_exceeded"))
    if texts:
        return _embedded(kind, name, texts)
    made = {
        "empty": lambda: answer(kind, ""),
        "null": lambda: answer(kind, None),
        "refusal": lambda: answer(kind, None, refusal=REFUSAL),
        "length": lambda: answer(kind, TRUNCATED, finish="length"),
        "content_filter": lambda: answer(kind, None, finish="content_filter"),
    }.get(name, lambda: answer(kind, text))()
    return _json({**made, **_usage(kind, name)})


def _usage(kind: Kind, name: str) -> dict[str, Any]:
    if name == "no_usage":
        return {}
    if name == "negative_usage":
        return usage(kind, -100, -10)
    if name == "absurd_usage":
        return usage(kind, 10**15, 10**15)
    return usage(kind)


def _embedded(kind: Kind, name: str, texts: int) -> bytes:
    rows: list[list[float] | None] = [[1.0, float(index), 0.5] for index in range(texts)]
    if name == "empty":
        rows = []
    elif name == "null":
        rows[0] = None
    return _json({**embeddings(kind, rows), **_usage(kind, name)})


@cache
def _raw(kind: Kind, name: str) -> bytes | None:
    """Bodies that do not depend on the request."""
    whole = _json({**answer(kind, "42"), **usage(kind)})
    raw: dict[str, Any] = {
        "truncated_json": lambda: whole[: len(whole) // 2],
        "html": lambda: b"<!doctype html><title>Welcome</title><h1>It works</h1>",
        "event_stream": lambda: b"data: It works\n\ndata: [DONE]\n\n",
        "wrong_shape": lambda: b'{"hello": "world"}',
        "wrong_types": lambda: b'{"choices": "many", "content": 7, "message": ["no"], "data": 3, "embeddings": "none"}',
        "json_list": lambda: b"[" + whole + b"]",
        "deep_json": lambda: b"[" * 100_000 + b"]" * 100_000,
        "no_body": lambda: b"",
        "invalid_utf8": lambda: whole.replace(b"42", b"4\xff\xfe2"),
        "huge": lambda: _json({**answer(kind, "x" * HUGE), **usage(kind)}),
        "unasked_gzip": lambda: gzip.compress(whole),
    }
    return raw[name]() if name in raw else None


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
