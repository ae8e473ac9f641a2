"""How a Converse call can end: every stop reason and every error, each with what it means for us.

The names are those of botocore's service model. A test fails if the model has one that is missing here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from emerge_core.providers.errors import Scrubber
from emerge_core.types import CallError, ErrorKind, UpstreamError

# What a model may refuse, by its name in the body, and the client's name for it.
OPTIONAL: Mapping[str, str] = {
    "temperature": "temperature",
    "topP": "top_p",
    "stopSequences": "stop",
    "toolChoice": "tool_choice",
    "textFormat": "response_format",
    "effort": "reasoning_effort",
    "topK": "top_k",
    "thinking": "thinking",
}


class StopReason(NamedTuple):
    """`finish` is OpenAI's finish reason; None if the reply is broken and no answer can be read from it."""

    finish: str | None
    what: str = ""


STOP_REASONS: Mapping[str, StopReason] = {
    "end_turn": StopReason("stop"),
    "stop_sequence": StopReason("stop"),
    "tool_use": StopReason("tool_calls"),
    "max_tokens": StopReason("length"),
    "model_context_window_exceeded": StopReason("length"),
    "guardrail_intervened": StopReason("content_filter", "A guardrail of Amazon Bedrock intervened."),
    "content_filtered": StopReason("content_filter", "The model's content filter intervened."),
    "malformed_model_output": StopReason(None, "the model's output was malformed"),
    "malformed_tool_use": StopReason(None, "the model's tool call was malformed"),
}


class Fault(NamedTuple):
    """The HTTP status of an error, and its kind: the kind says whether it is retried and counted by the breaker."""

    status: int
    kind: ErrorKind


FAULTS: Mapping[str, Fault] = {
    "AccessDeniedException": Fault(403, "auth"),
    "ConflictException": Fault(400, "invalid_request"),
    "ExpiredTokenException": Fault(403, "auth"),
    "IncompleteSignature": Fault(400, "auth"),
    "IncompleteSignatureException": Fault(400, "auth"),
    "InternalFailure": Fault(500, "server"),
    "InternalServerException": Fault(500, "server"),
    "InvalidClientTokenId": Fault(403, "auth"),
    "InvalidSignatureException": Fault(403, "auth"),
    "MissingAuthenticationTokenException": Fault(403, "auth"),
    "ModelErrorException": Fault(424, "server"),
    "ModelNotReadyException": Fault(429, "rate_limit"),
    "ModelStreamErrorException": Fault(424, "server"),
    "ModelTimeoutException": Fault(408, "timeout"),
    "RequestTimeTooSkewed": Fault(403, "auth"),
    "ResourceNotFoundException": Fault(404, "not_found"),
    "ServiceQuotaExceededException": Fault(400, "rate_limit"),
    "ServiceUnavailableException": Fault(503, "server"),
    "ThrottlingException": Fault(429, "rate_limit"),
    "UnrecognizedClientException": Fault(403, "auth"),
    "ValidationException": Fault(400, "invalid_request"),
}

_CONTEXT = re.compile(
    r"too long|too many (input )?tokens|maximum context|context (window|length)|exceeds the (maximum|model)"
    r"|input is too (long|large)|max(imum)? tokens? .{0,40}exceed",
    re.I,
)
_REFUSED = re.compile(
    r"doesn['’]t support the ([\w.]+)(?:\.\w+)? (?:field|parameter)|(?:extraneous|unknown) key \[(\w+)\]", re.I
)


class Remedy(NamedTuple):
    """A refusal that a person can mend: how to recognise it, what it is called, and what to do."""

    name: str
    sign: re.Pattern[str]
    advice: str


REMEDIES: tuple[Remedy, ...] = (
    Remedy(
        "marketplace subscription",
        re.compile(r"aws-marketplace:|marketplace (subscription|actions)|subscription", re.I),
        "subscribe once with a role that has aws-marketplace:Subscribe (send the model one prompt in the Bedrock "
        "console), then wait up to 15 minutes",
    ),
    Remedy(
        "use case form",
        re.compile(r"use case (details|form)|FTUFormNotFilled|submit(ted)? .{0,40}use case", re.I),
        "fill in the maker's use case form once per account: Bedrock console, Model catalog, Anthropic",
    ),
    Remedy(
        "inference profile",
        re.compile(r"on-demand throughput isn['’]t supported|inference profile", re.I),
        "name an inference profile instead of the model, e.g. us.<model id>: aws bedrock list-inference-profiles",
    ),
    Remedy(
        "region",
        re.compile(
            r"model identifier is invalid|could not resolve the foundation model"
            r"|not (available|supported) in (this|your|the) (AWS )?region",
            re.I,
        ),
        "the model is not offered in this Region: aws bedrock list-foundation-models --region <region>",
    ),
    Remedy(
        "clock",
        re.compile(r"signature (expired|not yet current)|RequestTimeTooSkewed", re.I),
        "the clock of this machine is wrong: set it by NTP",
    ),
    Remedy(
        "expired credentials",
        re.compile(r"security token included in the request is (expired|invalid)|ExpiredToken", re.I),
        "the AWS credentials have expired or are not valid: log in again",
    ),
    Remedy(
        "permission",
        re.compile(r"not authorized to perform|no identity-based policy|explicit deny|access denied", re.I),
        "allow bedrock:InvokeModel and bedrock:InvokeModelWithResponseStream on this model, and on every foundation "
        "model behind its inference profile",
    ),
)


def remedy(message: str) -> Remedy | None:
    """What mends a refusal of Bedrock, or None if its message is of no known kind."""
    return next((each for each in REMEDIES if each.sign.search(message)), None)


def failure(
    name: str, status: int | None, message: str, *, scrub: Scrubber, retry_after_s: float | None = None
) -> UpstreamError:
    """The error for an exception that Bedrock names, in a reply or inside an event stream (`status` None)."""
    short = name.partition(":")[0].rpartition("#")[2]
    fault = FAULTS.get(short[:1].upper() + short[1:])
    kind = fault.kind if fault else _by_status(status)
    if kind == "invalid_request" and _CONTEXT.search(message):
        kind = "context_length"
    found = remedy(f"{short} {message}") if kind in ("auth", "not_found", "invalid_request") else None
    if found is not None and kind == "invalid_request":
        kind = "not_found" if found.name in ("inference profile", "region") else kind
    text = scrub(message) or short or "Bedrock gave no message"
    return UpstreamError(
        CallError(
            kind=kind,
            message=f"{text} [{found.name}: {found.advice}]" if found else text,
            status=status if status is not None or fault is None else fault.status,
            param=_refused_field(message) if kind == "invalid_request" else None,
            code=short or None,
            retry_after_s=retry_after_s,
        )
    )


def _refused_field(message: str) -> str | None:
    """The optional field that a model says it does not take: `toolChoice` of "This model doesn't support the
    toolConfig.toolChoice.any field"."""
    match = _REFUSED.search(message)
    path = (match[1] or match[2]) if match else ""
    return next((part for part in reversed(path.split(".")) if part in OPTIONAL), None)


def _by_status(status: int | None) -> ErrorKind:
    by_status: dict[int, ErrorKind] = {401: "auth", 403: "auth", 404: "not_found", 408: "timeout", 429: "rate_limit"}
    if status is None or status >= 500:
        return "server"
    return by_status.get(status, "invalid_request")


def message_of(body: Any) -> str:
    """The message of an error body; Bedrock writes `message`, its front ends `Message`."""
    if isinstance(body, Mapping):
        found = body.get("message", body.get("Message"))
        return found if isinstance(found, str) else ""
    return ""
