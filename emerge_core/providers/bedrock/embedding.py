"""Embeddings by Cohere's models on Bedrock: all texts in one request.

Other makers' models embed one text per request, so that a call would be several upstream calls; they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from emerge_core.providers.errors import unsupported
from emerge_core.providers.parts import count, texts_of, vectors_of
from emerge_core.providers.protocol import Embeddings
from emerge_core.types import EmbeddingRequest, JsonObject, Usage

_COHERE = re.compile(r"\bcohere\.embed-")
_SIZED = re.compile(r"\bcohere\.embed-v4")
_TOKENS = "x-amzn-bedrock-input-token-count"


def to_wire(model: str, request: EmbeddingRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of InvokeModel and the parameters that it has no place for. Raises UpstreamError (`unsupported`)."""
    if not _COHERE.search(model):
        raise unsupported("of the embedding models on Bedrock, Cohere's are supported: cohere.embed-…", param="model")
    dropped = list(request.extra)
    body: dict[str, Any] = {"texts": list(texts_of(request)), "input_type": "clustering", "embedding_types": ["float"]}
    if request.dimensions is not None:
        if _SIZED.search(model):
            body["output_dimension"] = request.dimensions
        else:
            dropped.append("dimensions")
    return body, tuple(dropped)


def from_wire(reply: JsonObject, headers: Mapping[str, str], expected: int, dropped: tuple[str, ...]) -> Embeddings:
    """Raises UpstreamError (`bad_response`) unless there is one vector of numbers per text, all of one length."""
    found = reply.get("embeddings")
    rows = found.get("float") if isinstance(found, Mapping) else found
    return Embeddings(vectors_of(rows, expected), _usage(headers), dropped_params=dropped)


def _usage(headers: Mapping[str, str]) -> Usage | None:
    try:
        return Usage(input_tokens=count({"tokens": int(headers[_TOKENS])}, "tokens"))
    except (KeyError, ValueError):
        return None
