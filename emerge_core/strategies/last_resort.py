"""What is left to do where no reply is usable.

A reply that is invalid (not the JSON, or not the tool call, that was asked for) is shown once to the
model that wrote it, with what is wrong about it. Else the caller gets, as with a single model, the
reply that some model did give, with its true finish_reason: cut off by his max_tokens, refused, or
filtered. That is not an upstream's failure; but JSON that is none is never an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emerge_core.answers import Extractor, candidate
from emerge_core.config.schema import EnsembleConfig
from emerge_core.fanout import FanOut
from emerge_core.types import Candidate, ChatRequest, Completion, Decision, JsonObject


async def last_resort(
    ensemble: EnsembleConfig,
    candidates: Sequence[Candidate],
    request: ChatRequest,
    extractor: Extractor,
    fanout: FanOut,
) -> Decision | None:
    """The decision where no candidate is usable; None where every call failed, or stayed invalid, and
    where one answer would not be enough."""
    if ensemble.min_answers > 1:
        return None
    return await _repaired(candidates, request, extractor, fanout) or _as_it_is(candidates, request)


async def _repaired(
    candidates: Sequence[Candidate], request: ChatRequest, extractor: Extractor, fanout: FanOut
) -> Decision | None:
    """One more call, of the model with the most weight (a stronger one before the panel's)."""
    invalid = [c for c in candidates if _is_invalid(c, request)]
    if not invalid:
        return None
    flawed = max(invalid, key=lambda c: (c.call.role == "escalation", c.member.weight, -c.member.position))
    call = await fanout.ask("repair", flawed.call.model, task(flawed, request), flawed.call.member)
    if not candidate(extractor, call, flawed.member).usable:
        return None
    return Decision(message=call.completion, selected=(call.id,), rule="repair")


def task(flawed: Candidate, request: ChatRequest) -> ChatRequest:
    """The conversation, continued by the invalid reply and the complaint about it. A tool call gets its
    complaint as the tool's result: so models know it."""
    completion, complaint = flawed.completion, f"This is not valid: {flawed.why_unusable}."
    if completion.tool_calls:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in completion.tool_calls
        ]
        said: JsonObject = {"role": "assistant", "content": completion.text or None, "tool_calls": calls}
        told: list[JsonObject] = [
            {"role": "tool", "tool_call_id": call["id"], "content": f"{complaint} Nothing was done. Call it again."}
            for call in calls
        ]
    else:
        said = {"role": "assistant", "content": completion.text or "(nothing)"}
        wanted = "JSON as it was asked for, and nothing else" if request.wants_json else "the demanded tool call"
        told = [{"role": "user", "content": f"{complaint} Reply again, with {wanted}."}]
    return replace(request, messages=(*request.messages, said, *told), n=1)


def _is_invalid(flawed: Candidate, request: ChatRequest) -> bool:
    reason = flawed.why_unusable or ""
    return flawed.call.status == "ok" and (
        reason.startswith("invalid") or (reason == "empty" and (request.wants_json or _demands_a_call(request)))
    )


def _as_it_is(candidates: Sequence[Candidate], request: ChatRequest) -> Decision | None:
    reasons = ["truncated", "refusal", "content filter"]
    if request.wants_json:
        reasons.remove("truncated")
    elif len(candidates) == 1 and not _demands_a_call(request):
        reasons.append("empty")
    for reason in reasons:
        for found in sorted(candidates, key=lambda c: c.member.position):
            if found.call.status == "ok" and found.why_unusable == reason:
                message = _without_text(found.completion, reason) if request.wants_json else found.completion
                return Decision(message=message, selected=(found.call.id,), rule=f"unusable:{reason}")
    return None


def _without_text(completion: Completion, reason: str) -> Completion:
    """Where JSON was asked for, a refusal stands in its own field, and what was filtered nowhere."""
    refusal = completion.refusal or (completion.text if reason == "refusal" else None)
    return replace(completion, text=None, refusal=refusal, logprobs=None)


def _demands_a_call(request: ChatRequest) -> bool:
    return request.offers_tools and request.tool_choice not in (None, "auto")
