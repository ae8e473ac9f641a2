"""The candidate nearest to all others in meaning: the medoid of the embeddings.

Embeddings come from the configured embedder. Without one, or if it fails, they come from the built-in one,
which needs no network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emerge_core.aggregators.tally import decision, sole, usable
from emerge_core.answers import strongest
from emerge_core.config.schema import AggregatorConfig
from emerge_core.types import Asker, Candidate, ChatRequest, Completion, Decision, KeyOf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

# Single precision: two candidates that are equally near must tie, whatever the order of the sums.
TOLERANCE = 1e-5

# Embedders refuse longer texts; the beginning is enough to tell what a text is about.
MAX_CHARACTERS = 24_000
INLINE = 20_000  # characters: more are embedded in a thread


async def aggregate(
    candidates: Sequence[Candidate],
    *,
    request: ChatRequest,
    options: AggregatorConfig,
    asker: Asker,
    key_of: KeyOf,
) -> Decision:
    if only := sole(candidates):
        return decision(only, candidates, request=request, rule="consensus:single")
    winner, trouble = await middle(usable(candidates), options=options, asker=asker)
    return decision(winner, candidates, request=request, rule="consensus:medoid", fallback=trouble)


async def middle(
    candidates: Sequence[Candidate], *, options: AggregatorConfig, asker: Asker
) -> tuple[Candidate, str | None]:
    """The medoid of these candidates, and why the configured embedder was not used; None if it was."""
    if len(candidates) == 1:
        return candidates[0], None
    near, trouble = await similarities(candidates, options=options, asker=asker)
    return medoid(candidates, near), trouble


async def similarities(
    candidates: Sequence[Candidate], *, options: AggregatorConfig, asker: Asker
) -> tuple[Matrix, str | None]:
    """Cosine similarities of all pairs of replies, and why the configured embedder was not used; None if it was."""
    texts = [content(c.completion) for c in candidates]
    if options.embedder is None:
        return await _built_in(texts), None
    call, vectors = await asker.embed(options.embedder, [_fitting(text) for text in texts])
    if vectors is not None and (matrix := _matrix(vectors, len(texts))) is not None:
        return _cosines(matrix), None
    error = call.completion.error.message if call.completion.error else "it gave no usable vectors"
    return await _built_in(texts), f"embedder {options.embedder} failed ({error}): built-in embedder"


async def _built_in(texts: Sequence[str]) -> Matrix:
    """Embeds long texts in a thread, so that they do not block the event loop."""
    if sum(map(len, texts)) <= INLINE:
        return built_in(texts)
    return await asyncio.to_thread(built_in, texts)


def built_in(texts: Sequence[str]) -> Matrix:
    """Cosine similarities of all pairs of texts by the built-in embedder."""
    from emerge_core.aggregators.embedding import embed

    return _cosines(embed([_fitting(text) for text in texts]))


def medoid(candidates: Sequence[Candidate], near: Matrix) -> Candidate:
    """The candidate with the highest weighted mean similarity to the others."""
    return strongest([candidates[place] for place in nearest(near, [c.member.weight for c in candidates])])


def nearest(near: Matrix, weights: Sequence[float]) -> list[int]:
    """The indices with the highest weighted mean similarity to the others; several if they tie."""
    import numpy as np

    others = 1.0 - np.eye(len(weights))  # without the own weight: if far larger, it would swallow the others' digits
    means = (near * others) @ np.array(weights) / (others @ np.array(weights))
    return [int(place) for place in np.flatnonzero(means >= means.max() - TOLERANCE)]


def mean_similarity(near: Matrix) -> float:
    """Over all pairs of different candidates."""
    count = len(near)
    return float((near.sum() - near.trace()) / (count * (count - 1)))


def content(completion: Completion) -> str:
    """A reply as text: its own text, then its tool calls."""
    calls = [f"{call.name}({call.arguments})" for call in completion.tool_calls]
    return "\n".join([completion.text or "", *calls]).strip()


def _fitting(text: str) -> str:
    return text[:MAX_CHARACTERS] or " "


def _matrix(vectors: Sequence[Sequence[float]], count: int) -> Any:
    """The vectors as rows, or None unless they are `count` finite vectors of one length."""
    import numpy as np

    if len(vectors) != count or not vectors[0] or len({len(vector) for vector in vectors}) != 1:
        return None
    matrix = np.asarray(vectors, dtype=np.float32)
    return matrix if np.isfinite(matrix).all() else None


def _cosines(matrix: Matrix) -> Matrix:
    import numpy as np

    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit: Matrix = (matrix / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit @ unit.T
