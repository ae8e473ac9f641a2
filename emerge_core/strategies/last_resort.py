"""What to do if no reply is usable.

If a reply is invalid (not the JSON or the tool call that the request demands), the model that wrote it is
asked once more, with the fault named. Otherwise the caller gets what a single model would have given it:
a reply that was cut off by max_tokens, refused or filtered, with its true finish_reason. Those are not
upstream failures. Invalid JSON is never returned as an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emerge_core.answers import Extractor, read_candidate
from emerge_core.config.schema import EnsembleConfig
from emerge_core.fanout import FanOut
from emerge_core.types import Candidate, ChatRequest, Completion, Decision, JsonObject, Unusable, UnusableKind


async def last_resort(
    ensemble: EnsembleConfig,
    candidates: Sequence[Candidate],
    request: ChatRequest,
    extractor: Extractor,
    fanout: FanOut,
) -> Decision | None:
    """The decision if no candidate is usable. None if every call failed or stayed invalid, or if more than
    one answer is needed."""
    if ensemble.min_answers > 1:
        return None
    return await _repaired(candidates, request, extractor, fanout) or _as_it_is(candidates, request)


def streamed_decision(candidates: Sequence[Candidate]) -> Decision | None:
    """The decision if an answer that is not usable has gone to the caller as it came: it is the reply. It is not
    repaired; the trace says what is wrong with it."""
    for found in candidates:
        if found.call.live and found.completion.ok and found.why_unusable:
            rule = f"unusable:{Unusable(found.why_unusable.kind)}"
            return Decision(message=found.completion, selected=(found.call.id,), rule=rule)
    return None


async def _repaired(
    candidates: Sequence[Candidate], request: ChatRequest, extractor: Extractor, fanout: FanOut
) -> Decision | None:
    """Ask the model with the most weight again; an escalation's target before the members."""
    invalid = [c for c in candidates if _is_invalid(c, request)]
    if not invalid:
        return None
    flawed = max(invalid, key=lambda c: (c.call.role == "escalation", c.member.weight, -c.member.position))
    call = await fanout.ask("repair", flawed.call.model, task(flawed, request), flawed.call.member)
    if not (await read_candidate(extractor, call, flawed.member)).usable:
        return None
    return Decision(message=call.completion, selected=(call.id,), rule="repair")


def task(flawed: Candidate, request: ChatRequest) -> ChatRequest:
    """The conversation, continued by the invalid reply and the complaint about it. The complaint about a
    tool call is sent as the tool's result, the form in which models expect it."""
    completion, complaint = flawed.completion, f"This is not valid: {flawed.why_unusable}."
    if completion.tool_calls:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in completion.tool_calls
        ]
        reply: JsonObject = {"role": "assistant", "content": completion.text or None, "tool_calls": calls}
        complaints: list[JsonObject] = [
            {"role": "tool", "tool_call_id": call["id"], "content": f"{complaint} Nothing was done. Call it again."}
            for call in calls
        ]
    else:
        reply = {"role": "assistant", "content": completion.text or "(nothing)"}
        wanted = "JSON as it was asked for, and nothing else" if request.wants_json else "the demanded tool call"
        complaints = [{"role": "user", "content": f"{complaint} Reply again, with {wanted}."}]
    return replace(request, messages=(*request.messages, reply, *complaints), n=1)


def _is_invalid(flawed: Candidate, request: ChatRequest) -> bool:
    reason = flawed.why_unusable
    if reason is None or flawed.call.status != "ok":
        return False
    return reason.invalid or (reason.kind == "empty" and (request.wants_json or _demands_a_call(request)))


def _as_it_is(candidates: Sequence[Candidate], request: ChatRequest) -> Decision | None:
    kinds: list[UnusableKind] = ["truncated", "refusal", "content_filter"]
    if request.wants_json:
        kinds.remove("truncated")
    elif len(candidates) == 1 and not _demands_a_call(request):
        kinds.append("empty")
    for kind in kinds:
        for found in sorted(candidates, key=lambda c: c.member.position):
            if found.call.status == "ok" and found.why_unusable and found.why_unusable.kind == kind:
                message = _without_text(found.completion, kind) if request.wants_json else found.completion
                return Decision(message=message, selected=(found.call.id,), rule=f"unusable:{Unusable(kind)}")
    return None


def _without_text(completion: Completion, kind: UnusableKind) -> Completion:
    """For a request that wants JSON: a refusal goes into its own field, filtered text is left out."""
    refusal = completion.refusal or (completion.text if kind == "refusal" else None)
    return replace(completion, text=None, refusal=refusal, logprobs=None)


def _demands_a_call(request: ChatRequest) -> bool:
    return request.offers_tools and request.tool_choice not in (None, "auto")
