"""One recorded reply in three wire formats: OpenAI's, Anthropic's and Ollama's, whole and streamed.

A format tells how a request says what it wants, and how a reply, a stream and an error look. The
stream is a list of pieces, each with the share of the reply's text that it completes, so that the
server can spread the simulated latency over them.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from emerge_core.evals.recordings.recording import Reply, estimated_tokens
from emerge_core.types import ToolCall, text_of

IMPOSSIBLE = -9999.0  # the log probability of what has none: JSON knows no infinity
_ANTHROPIC_STOP = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_LETTER = re.compile(r"The answer is \((?P<letter>.+)\)\.")


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply on its way out."""

    model: str
    reply: Reply
    prompt_tokens: int
    body: Mapping[str, Any]  # the request's

    @property
    def wants_logprobs(self) -> bool:
        return self.body.get("logprobs") is True

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.reply.details.tool_calls if self.reply.details else ()

    @property
    def finish_reason(self) -> str:
        """In OpenAI's vocabulary."""
        return self.reply.completion().finish_reason or "stop"


class Piece(NamedTuple):
    share: float  # of the text's characters that are out when the piece is sent
    data: bytes


class Wire(Protocol):
    """One API's formats."""

    media_type: str  # of a stream

    def body(self, sent: Any, model: str, *, streams: bool) -> Any:
        """The body as `messages` and the others take it. `model` is the one that the path names, `streams` whether
        the path asks for a stream: "" and False for APIs that say so in the body."""
        ...

    def messages(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]]: ...
    def streams(self, body: Mapping[str, Any]) -> bool: ...
    def whole(self, answer: Answer) -> dict[str, Any]: ...
    def pieces(self, answer: Answer) -> Iterator[Piece]: ...
    def error(self, status: int, message: str, code: str) -> dict[str, Any]: ...


class _InBody:
    """APIs whose bodies name the model and say whether to stream."""

    def body(self, sent: Any, model: str, *, streams: bool) -> Any:
        return sent


class OpenAIWire(_InBody):
    media_type = "text/event-stream"

    def messages(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return _messages(body)

    def streams(self, body: Mapping[str, Any]) -> bool:
        return body.get("stream") is True

    def whole(self, answer: Answer) -> dict[str, Any]:
        done = answer.reply.completion()
        message: dict[str, Any] = {"role": "assistant", "content": done.text, "refusal": done.refusal}
        if answer.tool_calls:
            message["tool_calls"] = [_openai_call(call) for call in answer.tool_calls]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": _openai_logprobs(answer),
            "finish_reason": answer.finish_reason,
        }
        return {**self._head(answer, "chat.completion"), "choices": [choice], "usage": self._usage(answer)}

    def pieces(self, answer: Answer) -> Iterator[Piece]:
        head = self._head(answer, "chat.completion.chunk")
        options = answer.body.get("stream_options")
        wants_usage = isinstance(options, Mapping) and options.get("include_usage") is True
        if wants_usage:
            head["usage"] = None

        def chunk(delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            return _event({**head, "choices": [choice]})

        yield Piece(0, chunk({"role": "assistant", "content": ""}))
        logprobs = _logprobs(answer)
        if logprobs is None:
            for share, text in slices(answer.reply.text):
                yield Piece(share, chunk({"content": text}))
        else:
            for number, (token, logprob) in enumerate(logprobs, start=1):
                content = {"content": [_openai_token(token, logprob)], "refusal": None}
                yield Piece(number / len(logprobs), chunk({"content": token}, logprobs=content))
        for index, call in enumerate(answer.tool_calls):
            yield Piece(1, chunk({"tool_calls": [{"index": index, **_openai_call(call)}]}))
        yield Piece(1, chunk({}, answer.finish_reason))
        if wants_usage:
            yield Piece(1, _event({**head, "choices": [], "usage": self._usage(answer)}))
        yield Piece(1, b"data: [DONE]\n\n")

    def error(self, status: int, message: str, code: str) -> dict[str, Any]:
        param = "model" if code == "model_not_found" else None
        return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}

    def _head(self, answer: Answer, kind: str) -> dict[str, Any]:
        created = int(time.time())
        return {"id": f"chatcmpl-{uuid4().hex}", "object": kind, "created": created, "model": answer.model}

    def _usage(self, answer: Answer) -> dict[str, Any]:
        prompt, output = answer.prompt_tokens, answer.reply.tokens
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


class AnthropicWire(_InBody):
    media_type = "text/event-stream"

    def messages(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        system = text_of(body.get("system"))
        return [{"role": "system", "content": system}, *_messages(body)] if system else _messages(body)

    def streams(self, body: Mapping[str, Any]) -> bool:
        return body.get("stream") is True

    def whole(self, answer: Answer) -> dict[str, Any]:
        text = answer.reply.text
        said: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        return {
            **self._head(answer),
            "content": [*said, *(_anthropic_call(call) for call in answer.tool_calls)],
            "stop_reason": _ANTHROPIC_STOP.get(answer.finish_reason, "end_turn"),
            "usage": {"input_tokens": answer.prompt_tokens, "output_tokens": answer.reply.tokens},
        }

    def pieces(self, answer: Answer) -> Iterator[Piece]:
        usage = {"input_tokens": answer.prompt_tokens, "output_tokens": 1}
        start = {**self._head(answer), "content": [], "stop_reason": None, "usage": usage}
        yield Piece(0, self._event("message_start", message=start))
        if answer.reply.text:
            block = {"type": "text", "text": ""}
            yield Piece(0, self._event("content_block_start", index=0, content_block=block))
            for share, text in slices(answer.reply.text):
                delta = {"type": "text_delta", "text": text}
                yield Piece(share, self._event("content_block_delta", index=0, delta=delta))
            yield Piece(1, self._event("content_block_stop", index=0))
        for index, call in enumerate(answer.tool_calls, start=1 if answer.reply.text else 0):
            opened = {**_anthropic_call(call), "input": {}}
            arguments = {"type": "input_json_delta", "partial_json": call.arguments}
            yield Piece(1, self._event("content_block_start", index=index, content_block=opened))
            yield Piece(1, self._event("content_block_delta", index=index, delta=arguments))
            yield Piece(1, self._event("content_block_stop", index=index))
        end = {"stop_reason": _ANTHROPIC_STOP.get(answer.finish_reason, "end_turn"), "stop_sequence": None}
        yield Piece(1, self._event("message_delta", delta=end, usage={"output_tokens": answer.reply.tokens}))
        yield Piece(1, self._event("message_stop"))

    def error(self, status: int, message: str, code: str) -> dict[str, Any]:
        kind = {404: "not_found_error"}.get(status, "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_{uuid4().hex}"}

    def _head(self, answer: Answer) -> dict[str, Any]:
        identity = {"id": f"msg_{uuid4().hex}", "type": "message", "role": "assistant"}
        return {**identity, "model": answer.model, "stop_sequence": None}

    def _event(self, kind: str, **fields: Any) -> bytes:
        return b"event: " + kind.encode() + b"\n" + _event({"type": kind, **fields})


class OllamaWire(_InBody):
    media_type = "application/x-ndjson"

    def messages(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return _messages(body)

    def streams(self, body: Mapping[str, Any]) -> bool:
        return body.get("stream") is not False  # its default is to stream

    def whole(self, answer: Answer) -> dict[str, Any]:
        logprobs = _logprobs(answer)
        shown = {} if logprobs is None else {"logprobs": [_ollama_token(*each) for each in logprobs]}
        message = {"role": "assistant", "content": answer.reply.text, **_ollama_calls(answer)}
        return {**self._head(answer), "message": message, **shown, **self._end(answer)}

    def pieces(self, answer: Answer) -> Iterator[Piece]:
        logprobs = _logprobs(answer)
        head = self._head(answer)
        if logprobs is None:
            for share, text in slices(answer.reply.text):
                yield Piece(share, _line({**head, "message": {"role": "assistant", "content": text}, "done": False}))
        else:
            for number, (token, logprob) in enumerate(logprobs, start=1):
                row = {**head, "message": {"role": "assistant", "content": token}, "done": False}
                yield Piece(number / len(logprobs), _line({**row, "logprobs": [_ollama_token(token, logprob)]}))
        last = {"role": "assistant", "content": "", **_ollama_calls(answer)}
        yield Piece(1, _line({**head, "message": last, **self._end(answer)}))

    def error(self, status: int, message: str, code: str) -> dict[str, Any]:
        return {"error": message}

    def _head(self, answer: Answer) -> dict[str, Any]:
        return {"model": answer.model, "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}

    def _end(self, answer: Answer) -> dict[str, Any]:
        counts = {"prompt_eval_count": answer.prompt_tokens, "eval_count": answer.reply.tokens}
        durations = dict.fromkeys(("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"), 0)
        reason = "length" if answer.finish_reason == "length" else "stop"
        return {"done": True, "done_reason": reason, **counts, **durations}


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """An estimate: recordings hold no prompts, so none was counted."""
    return sum(estimated_tokens(text_of(message.get("content"))) for message in messages)


def _messages(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise ValueError("`messages` must be a list of messages")
    return list(messages)


def slices(text: str, size: int = 40) -> Iterator[tuple[float, str]]:
    for start in range(0, len(text), size):
        yield min(1.0, (start + size) / len(text)), text[start : start + size]


def _openai_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _anthropic_call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments_of(call)}


def _ollama_calls(answer: Answer) -> dict[str, Any]:
    calls = [{"function": {"name": call.name, "arguments": arguments_of(call)}} for call in answer.tool_calls]
    return {"tool_calls": calls} if calls else {}


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """Two of the formats have no place for arguments that are no JSON object."""
    try:
        value = json.loads(call.arguments or "{}")
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"arguments": call.arguments}


def _logprobs(answer: Answer) -> list[tuple[str, float]] | None:
    """The tokens with their log probabilities, if they are asked for and were recorded. Of a letter's
    sentence the letter alone carries its confidence: the rest of the sentence is certain."""
    details = answer.reply.details
    if answer.wants_logprobs and details and details.logprobs:
        return [(each.token, each.logprob) for each in details.logprobs]
    match = _LETTER.fullmatch(answer.reply.text) if answer.wants_logprobs else None
    confidence = answer.reply.confidence
    if match is None or confidence is None:
        return None
    logprob = math.log(confidence) if confidence > 0 else IMPOSSIBLE
    tokens = [
        "The",
        " answer",
        " is",
        " (",
        match["letter"],
        ").",
    ]
    return [(token, logprob if number == 4 else 0.0) for number, token in enumerate(tokens)]


def _openai_logprobs(answer: Answer) -> dict[str, Any] | None:
    logprobs = _logprobs(answer)
    return None if logprobs is None else {"content": [_openai_token(*each) for each in logprobs], "refusal": None}


def _openai_token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": []}


def _ollama_token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"
