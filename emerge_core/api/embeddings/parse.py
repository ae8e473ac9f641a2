"""From the body of POST /v1/embeddings to an `EmbeddingRequest`."""

from __future__ import annotations

from typing import NamedTuple

from emerge_core.api.embeddings.input import read_inputs
from emerge_core.api.fields import Body, integer, one_of, text
from emerge_core.types import EmbeddingRequest

MAX_DIMENSIONS = 2**16

_INTERPRETED = frozenset({"model", "input", "dimensions", "encoding_format"})


class EmbeddingParams(NamedTuple):
    """A parsed body of embeddings."""

    model: str
    request: EmbeddingRequest
    base64: bool


def read_embeddings(body: Body) -> EmbeddingParams:
    """Raises RequestError, a 400 with `param`, at the first fault."""
    encoding = body.get("encoding_format")
    if encoding is not None:
        one_of(encoding, ("float", "base64"), "encoding_format")
    request = EmbeddingRequest(
        inputs=read_inputs(body.get("input")),
        dimensions=integer(body, "dimensions", 1, MAX_DIMENSIONS),
        extra={name: value for name, value in body.items() if name not in _INTERPRETED and value is not None},
    )
    return EmbeddingParams(text(body, "model", "model"), request, encoding == "base64")
