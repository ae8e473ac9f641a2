"""POST /v1/responses, stateless: read into a `ChatRequest`, answered as chat completions are, written as a response."""

from emerge_core.api.responses.endpoint import Responses

__all__ = ["Responses"]
