"""From vectors to OpenAI's list of embeddings."""

from __future__ import annotations

import array
import base64
import sys
from typing import Any

from emerge_core.api.embeddings.parse import EmbeddingParams
from emerge_core.types import Trace


def embeddings_json(params: EmbeddingParams, vectors: list[list[float]], trace: Trace) -> dict[str, Any]:
    encode = _base64 if params.base64 else list
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)} for index, vector in enumerate(vectors)
        ],
        "model": params.model,
        "usage": {"prompt_tokens": trace.usage.input_tokens, "total_tokens": trace.usage.input_tokens},
    }


def _base64(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI's clients read it."""
    floats = array.array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()
