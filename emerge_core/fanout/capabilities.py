"""What a model can take: which requests it is not sent, and which parameters are left out of the others."""

from __future__ import annotations

from dataclasses import replace

from emerge_core import pricing
from emerge_core.config.schema import ModelConfig
from emerge_core.types import CallError, ChatRequest, Member, Role


def unfit(request: ChatRequest, model: ModelConfig) -> CallError | None:
    """Why this model cannot take this request, judged by its config; None if it can."""
    lacking = [
        name
        for name, needed, supported in (
            ("tools", request.offers_tools, model.supports.tools),
            ("images", request.has_images, model.supports.images),
            ("json_schema", request.json_schema is not None, model.supports.json_schema),
        )
        if needed and supported is False
    ]
    if lacking:
        return CallError(kind="unsupported", message=f"the model does not take {' or '.join(lacking)}")
    if model.context is not None:
        tokens = pricing.estimate_input_tokens(request)
        if tokens > model.context:
            return CallError(
                kind="context_length",
                message=f"about {tokens} tokens of input exceed its context of {model.context}",
                code="context_length_exceeded",
            )
    return None


def tailor(
    request: ChatRequest, role: Role, model: ModelConfig, member: Member | None
) -> tuple[ChatRequest, tuple[str, ...]]:
    """The request as this model is sent it, and the names of the parameters that were left out."""
    changes: dict[str, object] = {}
    dropped: tuple[str, ...] = ()
    if member and member.temperature is not None:
        changes["temperature"] = member.temperature
    if model.supports.logprobs is False:
        if request.logprobs:
            changes.update(logprobs=False, top_logprobs=None)
            dropped = ("logprobs",)
    elif member and member.calibration:
        changes["logprobs"] = True
    if role == "judge" and model.supports.json_schema is False:
        changes["response_format"] = None  # the instructions describe the verdict's form as well
    return (replace(request, **changes) if changes else request), dropped  # type: ignore[arg-type]
