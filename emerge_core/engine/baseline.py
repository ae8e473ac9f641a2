"""What a request would have cost at one model alone, the config's `baseline`."""

from __future__ import annotations

from dataclasses import replace

from emerge_core import pricing
from emerge_core.config.schema import Config
from emerge_core.types import Call, ChatRequest, Cost, Trace, Usage

WITH_ANSWERS = ("judge", "merge", "adjudication")  # roles whose input holds the members' answers beside the request


def baseline_cost(config: Config, trace: Trace, request: ChatRequest) -> Cost | None:
    """The usage of the selected call at the price of the config's baseline model. The baseline is not asked.

    Input tokens, cached and cache-writing ones among them, are those of the selected call; of the first member that
    reported a usage if the selected call wrote the answer from those of the members, since a single model would not
    have read them; estimated from the request's length if no member reported any. Output tokens, reasoning among
    them, are the selected call's, and with `n` > 1 the sum over the selected calls. Each model counts tokens by its own
    tokenizer, and a baseline that reasons writes more than the selected reply holds: the figure is an estimate.

    Returns None without a baseline, and if the request failed or the ensemble abstained: there is then no answer to
    price. The cost is not known if the baseline has no price or a selected call reported no usage.
    """
    if config.baseline is None or trace.decision is None or trace.decision.abstained:
        return None
    model = config.models[config.baseline]
    provider = config.providers[model.provider]
    selected = [call for call in trace.calls if call.id in trace.decision.selected]
    reported = [call.completion.usage for call in selected if call.completion.usage]
    if not reported or len(reported) < len(selected):
        return pricing.price(model, provider, None)
    output = sum(reported, Usage())
    asked = _input(selected[0], trace, request)
    return pricing.price(
        model,
        provider,
        replace(asked, output_tokens=output.output_tokens, reasoning_tokens=output.reasoning_tokens),
    )


def _input(selected: Call, trace: Trace, request: ChatRequest) -> Usage:
    """The tokens of the caller's own request."""
    calls = [selected] if selected.role not in WITH_ANSWERS else [c for c in trace.calls if c.role == "member"]
    usage = next((call.completion.usage for call in calls if call.completion.usage), None)
    return usage or Usage(input_tokens=pricing.estimate_input_tokens(request))
