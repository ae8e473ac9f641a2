"""How many tokens a request has, as one of the models that would serve it counts them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from emerge_core.config.schema import Config
from emerge_core.errors import ConfigError
from emerge_core.provider_kinds import KINDS
from emerge_core.providers import Provider, TokenCounter
from emerge_core.providers.state import for_maker, maker_of
from emerge_core.strategies.routing import Serving
from emerge_core.types import ChatRequest, UpstreamError

TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class TokenCount(NamedTuple):
    input_tokens: int
    model: str  # the name of the model that counted


async def count_tokens(
    config: Config, connect: Callable[[str], Provider], served_by: Serving, request: ChatRequest
) -> TokenCount | None:
    """The count of the first member whose provider counts at no cost. None if there is none, or if it fails: a count
    is no reason for an error, since there are estimates."""
    for name in dict.fromkeys(member.model for member in served_by.ensemble.members):
        model = config.models[name]
        settings = config.providers[model.provider]
        if not KINDS[settings.kind].counts_tokens:
            continue
        try:
            provider = connect(model.provider)
            if not isinstance(provider, TokenCounter):
                raise AssertionError(f"providers of the kind {settings.kind} count tokens: KINDS says so")
            own = for_maker(request, settings, maker_of(settings, model))
            return TokenCount(await provider.count_tokens(model.model, own, timeout_s=TIMEOUT_S), name)
        except (UpstreamError, ConfigError) as error:
            log.info("%s did not count tokens: %s", name, error)
            return None
    return None
