"""OpenAI's streamed chunks, put together to the reply that would have come whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emerge_core.providers.errors import bad_response, json_object
from emerge_core.providers.parts import alternatives, check_calls, content_text, function_of, with_logprobs
from emerge_core.providers.transport.content import Content
from emerge_core.types import Delta, JsonObject, Sink, ToolCallDelta, UpstreamError

_DONE = b"[DONE]"


class Assembly:
    """Takes the data of each event, emits the text in it, and gives the whole `reply` at the end.
    `fault` makes an error of what an upstream tells in an event."""

    def __init__(self, emit: Sink, fault: Callable[[Any], UpstreamError]) -> None:
        self.content = Content()
        self._emit = emit
        self._fault = fault
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._reasoning: list[str] = []
        self._thinking_blocks: list[Any] = []
        self._calls: list[_Call] = []
        self._logprobs: list[Any] = []
        self._told: dict[str, Any] = {}
        self._finish: Any = None
        self._ended = False

    def take(self, data: bytes | dict[str, Any]) -> bool:
        """Whether this was the last event."""
        if isinstance(data, bytes) and data.strip() == _DONE:
            self._ended = True
            return True
        chunk = data if isinstance(data, dict) else json_object(data)
        if chunk.get("error"):
            raise self._fault(chunk["error"])
        self._told |= {name: chunk[name] for name in ("model", "usage") if chunk.get(name)}
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and choice.get("index", 0) == 0:
                self._take_choice(choice)
        return False

    def reply(self) -> dict[str, Any]:
        if self._finish is None and not self._ended:
            raise bad_response("the upstream's stream ended before the reply did")
        message = {
            "content": "".join(self._texts) if self._texts else None,
            "refusal": "".join(self._refusals) or None,
            "reasoning_content": "".join(self._reasoning) or None,
            "thinking_blocks": self._thinking_blocks,
            "tool_calls": [call.whole() for call in self._calls],
        }
        choice = {"message": message, "finish_reason": self._finish, "logprobs": {"content": self._logprobs}}
        return {**self._told, "choices": [choice]}

    def _take_choice(self, choice: JsonObject) -> None:
        if choice.get("error"):
            raise self._fault(choice["error"])
        part = choice.get("delta", choice.get("message"))  # a server that does not stream sends the latter alone
        if isinstance(part, Mapping):
            self._take_part(part, choice.get("logprobs"))
        if choice.get("finish_reason"):
            self._finish = choice["finish_reason"]

    def _take_part(self, part: JsonObject, logprobs: Any) -> None:
        content, refusal = part.get("content"), part.get("refusal")
        text = content_text(content) or ""
        if content is not None:
            self._texts.append(text)
        refusal = refusal if isinstance(refusal, str) else ""
        self._refusals.append(refusal)
        self.content.add(text, refusal)
        listed = logprobs.get("content") if isinstance(logprobs, Mapping) else None
        tokens = listed if isinstance(listed, list) else []
        self.content.add_logprobs(len(tokens), alternatives(tokens))
        self._logprobs += tokens
        if text or refusal or tokens:
            for delta in with_logprobs(Delta(text=text, refusal=refusal), tokens):
                self._emit(delta)
        reasoning, blocks = part.get("reasoning_content"), part.get("thinking_blocks")
        if isinstance(reasoning, str):
            self.content.add(reasoning)
            self._reasoning.append(reasoning)
        if isinstance(blocks, list):
            self._thinking_blocks += blocks
            check_calls(len(self._thinking_blocks))
        calls = part.get("tool_calls")
        for fragment in calls if isinstance(calls, list) else ():
            if isinstance(fragment, Mapping):
                self._take_call(fragment)

    def _take_call(self, fragment: JsonObject) -> None:
        """Fragments are told apart by their index; some servers leave it out, or repeat it for another call."""
        index, call_id = fragment.get("index"), fragment.get("id")
        call = next((c for c in reversed(self._calls) if index is None or c.index == index), None)
        begins = call_id and function_of(fragment).get("name")
        if call is None or (begins and call_id != call.id):
            call = _Call(index, call_id)
            self._calls.append(call)
            check_calls(len(self._calls))
        arguments = call.take(function_of(fragment))
        self.content.add(arguments)
        if isinstance(fragment.get("extra_content"), Mapping):
            call.extra_content = {**call.extra_content, **fragment["extra_content"]}
        if part := call.delta(self._calls.index(call), arguments):
            self._emit(Delta(tool_calls=(part,)))


class _Call:
    def __init__(self, index: Any, call_id: Any) -> None:
        self.index = index
        self.id = call_id
        self.extra_content: dict[str, Any] = {}
        self._name = ""
        self._arguments: list[str] = []
        self._announced = False

    def take(self, function: Mapping[str, Any]) -> str:
        """The arguments in a fragment."""
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str) and not self._name:
            self._name = name
        if isinstance(arguments, str):
            self._arguments.append(arguments)
            return arguments
        return ""

    def delta(self, index: int, arguments: str) -> ToolCallDelta | None:
        """What to send on after a fragment with these arguments: nothing before the name is known."""
        if self._announced:
            return ToolCallDelta(index=index, arguments=arguments) if arguments else None
        if not self._name:
            return None
        self._announced = True
        call_id = self.id if isinstance(self.id, str) else ""
        return ToolCallDelta(
            index=index,
            id=call_id,
            name=self._name,
            arguments="".join(self._arguments),
            extra_content=self.extra_content,
        )

    def whole(self) -> dict[str, Any]:
        extra = {"extra_content": self.extra_content} if self.extra_content else {}
        return {**extra, "id": self.id, "function": {"name": self._name or None, "arguments": "".join(self._arguments)}}
