"""Ollama's streamed lines, put together to the reply that would have come whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emerge_core.providers.errors import Scrubber, bad_response, http_failure, json_object, sent_in_stream
from emerge_core.providers.parts import alternatives, check_calls, with_logprobs
from emerge_core.providers.transport.content import Content
from emerge_core.types import Delta, Sink


class Assembly:
    """Takes each line, emits the text in it, and gives the whole `reply` at the end."""

    def __init__(self, emit: Sink, scrub: Scrubber) -> None:
        self.content = Content()
        self._emit = emit
        self._scrub = scrub
        self._texts: list[str] = []
        self._calls: list[Any] = []
        self._logprobs: list[Any] = []
        self._last: dict[str, Any] | None = None

    def take(self, line: bytes | dict[str, Any]) -> bool:
        """Whether this was the last line."""
        fields = line if isinstance(line, dict) else json_object(line)
        if fields.get("error"):
            raise sent_in_stream(http_failure(500, {}, json.dumps(fields), scrub=self._scrub))
        message = fields.get("message")
        if isinstance(message, Mapping):
            self._take_message(message, fields.get("logprobs"))
        if fields.get("done"):
            self._last = fields
        return self._last is not None

    def reply(self) -> dict[str, Any]:
        if self._last is None:
            raise bad_response("the upstream's stream ended before the reply did")
        message = {"content": "".join(self._texts), "tool_calls": self._calls}
        return {**self._last, "message": message, "logprobs": self._logprobs}

    def _take_message(self, message: Mapping[str, Any], logprobs: Any) -> None:
        content, calls = message.get("content"), message.get("tool_calls")
        if content is not None and not isinstance(content, str):
            raise bad_response("the content of the upstream's message is not text")
        tokens = logprobs if isinstance(logprobs, list) else []
        self._texts.append(content or "")
        self._logprobs += tokens
        self._calls += calls if isinstance(calls, list) else []
        check_calls(len(self._calls))
        self.content.add(content or "", *(json.dumps(call) for call in calls or ()) if isinstance(calls, list) else ())
        self.content.add_logprobs(len(tokens), alternatives(tokens))
        if content or tokens:
            for delta in with_logprobs(Delta(text=content or ""), tokens):
                self._emit(delta)
