"""Which replies become the choices of a response: the decision first, then the panel's other answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emerge_core.answers import strongest
from emerge_core.providers.state import MAKER
from emerge_core.types import ChatRequest, Completion, Decision, TokenLogprob, Trace


class Choice(NamedTuple):
    completion: Completion
    call_ids: tuple[str, ...]


def choices(trace: Trace, decision: Decision, n: int) -> list[Choice]:
    """One per distinct key by weight, then the remaining usable members in config order. There are fewer than `n`
    if members failed: no reply is shown twice."""
    picked = [Choice(decision.message, decision.selected)]
    if n == 1:
        return picked
    others = [c for c in trace.candidates if c.usable and c.call.id not in decision.selected]
    said = {c.key for c in trace.candidates if c.call.id in decision.selected}
    for group in decision.votes:
        members = [c for c in others if c.call.id in group.call_ids]
        if members and group.key not in said and not set(group.call_ids) & set(decision.selected):
            speaker = strongest(members)
            picked.append(Choice(speaker.completion, (speaker.call.id,)))
            others.remove(speaker)
    picked += [Choice(c.completion, (c.call.id,)) for c in others]
    return picked[:n]


def selected_calls(picked: Sequence[Choice]) -> tuple[str, ...]:
    """The ids of the calls behind the choices."""
    return tuple(call_id for choice in picked for call_id in choice.call_ids)


def message_of(completion: Completion) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content_of(completion),
        "refusal": completion.refusal,
    }
    if completion.tool_calls:
        message["tool_calls"] = tool_calls_json(completion)
    return message | state_of(completion)


def state_of(completion: Completion) -> dict[str, Any]:
    """What the model wants back with the message on the next turn, and who made it."""
    state: dict[str, Any] = {}
    if completion.reasoning_content is not None:
        state["reasoning_content"] = completion.reasoning_content
    if completion.thinking_blocks:
        state["thinking_blocks"] = [dict(block) for block in completion.thinking_blocks]
    return state | ({MAKER: completion.maker} if state and completion.maker else {})


def tool_calls_json(completion: Completion) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
            **({"extra_content": dict(call.extra_content)} if call.extra_content else {}),
        }
        for call in completion.tool_calls
    ]


def content_of(completion: Completion) -> str | None:
    """The text; null if there is none beside tool calls or a refusal, else at least an empty string."""
    if completion.tool_calls or completion.refusal is not None:
        return completion.text or None
    return completion.text or ""


def finish_reason_of(completion: Completion) -> str:
    return completion.finish_reason or ("tool_calls" if completion.tool_calls else "stop")


def logprobs_of(tokens: Sequence[TokenLogprob] | None, request: ChatRequest) -> Mapping[str, Any] | None:
    """None unless the client asked: those requested upstream to compute a confidence are not shown."""
    if not request.logprobs or tokens is None:
        return None
    shown = request.top_logprobs or 0
    return {
        "content": [
            {
                **_token(entry.token, entry.logprob),
                "top_logprobs": [_token(token, logprob) for token, logprob in entry.top[:shown]],
            }
            for entry in tokens
        ],
        "refusal": None,
    }


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "replace"))}
