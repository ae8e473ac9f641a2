"""POST /v1/messages/count_tokens: how many tokens a request would have."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from emerge_core import pricing
from emerge_core.api.body import check_content_type, parse_body, receive_body
from emerge_core.api.endpoint import Engine, unknown_model
from emerge_core.api.errors import json_response
from emerge_core.api.messages.endpoint import with_headers
from emerge_core.api.messages.parse import read_message
from emerge_core.api.request_headers import read_limits
from emerge_core.strategies.routing import serving


class CountTokensEndpoint:
    """The count of an Anthropic member, which costs nothing; without one, or if it fails, an estimate from the length
    of the request. `emerge.estimated` says which."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def __call__(self, http: Request) -> Response:
        check_content_type(http)
        read_limits(http.headers)  # which a count does not need, but a mistyped one is an error everywhere
        params = await parse_body(await receive_body(http), lambda body: read_message(body, counting=True))
        config = self.engine.config
        if serving(config, params.model, params.request) is None:
            raise unknown_model(config, params.model)
        counted = await self.engine.count_tokens(with_headers(params, http).request, params.model)
        if counted is not None:
            emerge = {"estimated": False, "model": counted.model}
            return json_response({"input_tokens": counted.input_tokens, "emerge": emerge})
        estimate = pricing.estimate_input_tokens(params.request)
        return json_response({"input_tokens": estimate, "emerge": {"estimated": True}})
