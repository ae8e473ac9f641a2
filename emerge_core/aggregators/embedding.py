"""A built-in embedder: hashed words, pairs of words and character trigrams. No network, no model file.

It measures shared wording. For answers to one question that is close enough to meaning to find the medoid.
Hashes are CRC-32, so vectors are equal in every process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log1p
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSIONS = 2048

_WORD = re.compile(r"\w+")


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """One row of unit length per text; a text without a word is all zeros."""
    import numpy as np

    rows = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        features = Counter[str]()
        weights: dict[str, float] = {}
        for feature, weight in _features(text):
            features[feature] += 1
            weights[feature] = weight
        for feature, count in features.items():
            code = crc32(feature.encode("utf-8", "surrogatepass"))
            sign = 1.0 if code & 0x80000000 else -1.0
            row[code % DIMENSIONS] += sign * weights[feature] * log1p(count)
        length = np.linalg.norm(row)
        if length > 0:
            row /= length
    return rows


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Features with their weights. Short words are mostly grammar, in most languages: they count little."""
    words = _WORD.findall(text.casefold())
    for word in words:
        common = _is_common(word)
        yield f"w {word}", 0.2 if common else 1.5
        if not common:
            padded = f"^{word}$"
            for start in range(len(padded) - 2):
                yield f"c {padded[start : start + 3]}", 0.4
    for first, second in pairwise(words):
        if not (_is_common(first) and _is_common(second)):
            yield f"p {first} {second}", 0.7


def _is_common(word: str) -> bool:
    return len(word) <= 3 and word.isascii() and word.isalpha()
