"""POST /v1/responses, OpenAI's second surface, without state: nothing is stored between requests."""

from emerge_core.api.responses.endpoint import ResponsesEndpoint

__all__ = ["ResponsesEndpoint"]
