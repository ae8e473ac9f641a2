"""The error reply for a panel that could not answer: every member's fault, in one status."""

from __future__ import annotations

from collections.abc import Sequence

from emerge_core.errors import RequestError
from emerge_core.types import Call, CallError, Candidate, ErrorKind, Trace

_NO_FAULT: frozenset[ErrorKind] = frozenset({"cancelled", "unsupported", "budget"})  # says nothing beside other causes
CLIENTS_WAIT_S = 60.0  # OpenAI's clients ignore a longer Retry-After and retry at once


def failure_of(trace: Trace, min_answers: int) -> RequestError:
    """The error reply for a trace without a decision, by the table of the HTTP contract.

    What could be retried was retried: a client's own retries would multiply the calls of the whole panel. They
    are suggested only if every upstream has said when it takes requests again.
    """
    asked = [c for c in trace.candidates if c.call.status != "cancelled"]
    errors = [c.completion.error for c in asked if c.completion.error]
    judged = {c.call.id for c in trace.candidates}
    others = [call for call in trace.calls if call.id not in judged and call.completion.error]
    if broken := next((call for call in trace.calls if call.live and call.completion.error), None):
        late = broken.status == "timeout"
        return RequestError(
            f"The answer broke off in the middle of the stream. {broken.model}: {_cause(broken.completion.error)}",
            status=504 if late else 502,
            type="timeout_error" if late else "upstream_error",
            code="deadline_exceeded" if late else "stream_interrupted",
            should_retry=False,
        )
    if errors and len(errors) == len(asked) and not any(c.usable for c in asked):
        kinds = {error.kind for error in errors}
        if kinds == {"context_length"}:
            return RequestError(
                "The request is longer than any model of this ensemble takes: shorten the messages. "
                + _causes(asked, others),
                code="context_length_exceeded",
                param="messages",
            )
        if "invalid_request" in kinds and kinds <= {"invalid_request", "context_length", "unsupported"}:
            first = next(error for error in errors if error.kind == "invalid_request")
            return RequestError(first.message, code=first.code, param=first.param)
        if kinds <= {"unsupported", "context_length"}:
            return RequestError("No model of this ensemble can take this request. " + _causes(asked, others))
        if kinds <= {"budget", "unsupported"}:
            return RequestError(
                "No model was asked: the request's ceilings are too low. " + _causes(asked, others),
                code="budget_exceeded",
                param="x-emerge-max-cost",
            )
        if kinds == {"rate_limit"}:
            soonest = _soonest(errors)
            return RequestError(
                "Every upstream is rate-limited. " + _causes(asked, others),
                status=429,
                type="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after_s=soonest,
                should_retry=soonest is not None and soonest <= CLIENTS_WAIT_S,
            )
    unusable = sum(not c.usable for c in asked)
    if {error.kind for error in errors} <= _NO_FAULT | {"timeout"} and _timed_out(errors) and len(errors) == unusable:
        return RequestError(
            f"The time was up before {min_answers} usable answer(s). " + _causes(asked, others),
            status=504,
            type="timeout_error",
            code="deadline_exceeded",
            should_retry=False,
        )
    return RequestError(
        f"{sum(c.usable for c in asked)} of {len(asked)} members gave a usable answer, {min_answers} needed. "
        + _causes(asked, others),
        status=502,
        type="upstream_error",
        code="no_usable_answer",
        should_retry=False,
    )


def _timed_out(errors: Sequence[CallError]) -> bool:
    return any(error.kind == "timeout" for error in errors)


def _causes(asked: Sequence[Candidate], others: Sequence[Call]) -> str:
    causes = [f"{c.call.model}: {_cause(c.completion.error) or c.why_unusable}" for c in asked if not c.usable]
    causes += [f"{call.model} ({call.role}): {_cause(call.completion.error)}" for call in others]
    return "; ".join(causes)


def _cause(error: CallError | None) -> str | None:
    return error.line if error else None


def _soonest(errors: Sequence[CallError]) -> float | None:
    waits = [error.retry_after_s for error in errors if error.retry_after_s is not None]
    return min(waits) if waits else None
