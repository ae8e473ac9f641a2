"""What an upstream gives for vectors: one finite vector of one length per text, or an error of that upstream."""

from __future__ import annotations

from typing import Any

import pytest

from emerge_core.types import EmbeddingRequest

TWO = EmbeddingRequest(inputs=("a", "b"))
BAD: dict[str, str] = {
    "NaN": "[[1.0, NaN], [1.0, 2.0]]",
    "Infinity": "[[1.0, 2.0], [-Infinity, 2.0]]",
    "beyond a float": "[[1.0, 1e999], [1.0, 2.0]]",
    "infinities that cancel": "[[Infinity, -Infinity], [1.0, 2.0]]",
    "an empty vector": "[[], [1.0]]",
    "empty vectors": "[[], []]",
    "ragged": "[[1.0], [1.0, 2.0]]",
    "one too few": "[[1.0]]",
    "one too many": "[[1.0], [1.0], [1.0]]",
    "text": '[["a"], ["b"]]',
    "null": "[[1.0], null]",
    "objects": "[{}, {}]",
    "whole numbers beyond a float": f"[[1{'0' * 400}], [1.0]]",
}


def body(kind: str, rows: str) -> str:
    if kind == "ollama":
        return f'{{"embeddings": {rows}}}'
    found, at = [], rows[1:-1]
    depth, begin = 0, 0
    for place, each in enumerate(at + ","):
        depth += (each in "[{") - (each in "]}")
        if each == "," and depth == 0:
            found.append(at[begin:place].strip())
            begin = place + 1
    data = ", ".join(f'{{"index": {n}, "embedding": {row}}}' for n, row in enumerate(found))
    return f'{{"data": [{data}]}}'


def embed(exchange: Any, kind: str, rows: str) -> Any:
    return exchange(kind, body(kind, rows), call=lambda provider: provider.embed("m", TWO, timeout_s=5))


@pytest.mark.parametrize("kind", ["openai", "ollama"])
@pytest.mark.parametrize("rows", BAD.values(), ids=BAD)
def test_vectors_that_spoil_every_comparison_are_an_error(exchange: Any, kind: str, rows: str) -> None:
    assert embed(exchange, kind, rows).error.kind == "bad_response"


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_vectors_that_are_some(exchange: Any, kind: str) -> None:
    """Whose sum is beyond a float, too."""
    assert embed(exchange, kind, "[[1.7e308, 1.7e308], [0, -2]]").result.vectors == [[1.7e308, 1.7e308], [0.0, -2.0]]
