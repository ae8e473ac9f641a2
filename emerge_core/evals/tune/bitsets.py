"""Questions as bits: one 64-bit word holds the same fact about 64 questions.

Questions stand in random blocks, each in words of its own, so that one count gives the sums of every
block; folds of a cross-validation are unions of blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from emerge_core.evals.types import Bits, Booleans, Counts

WORD = 64
BLOCKS = 50


class Blocks:
    """A partition of the questions into blocks of nearly equal size."""

    def __init__(self, questions: int, blocks: int = BLOCKS, seed: int = 0) -> None:
        shuffled = np.random.default_rng(seed).permutation(questions)
        self.questions = questions
        self.parts = np.array_split(shuffled, min(blocks, questions))
        self.sizes = np.array([len(part) for part in self.parts])
        self._words = -(-int(self.sizes.max()) // WORD)
        places = np.full((len(self.parts), self._words * WORD), -1)
        for number, part in enumerate(self.parts):
            places[number, : len(part)] = part
        # The first word of every block, then the second of every block: sums over words are then sums of rows.
        self._places = places.reshape(len(self.parts), self._words, WORD).swapaxes(0, 1).reshape(-1)
        self._filled = self._places >= 0
        self.count_type = np.uint8 if self.sizes.max() < 256 else np.uint16

    def __len__(self) -> int:
        return len(self.parts)

    def pack(self, flags: Booleans) -> Bits:
        placed = flags[:, self._places.clip(0)] & self._filled
        return np.ascontiguousarray(np.packbits(placed, axis=1, bitorder="little")).view(np.uint64)

    def unpack(self, bits: Bits) -> Booleans:
        placed = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little").view(np.bool_)
        flags = np.empty((len(bits), self.questions), dtype=np.bool_)
        flags[:, self._places[self._filled]] = placed[:, self._filled]
        return flags

    def count(self, bits: Bits) -> Counts:
        """(n, blocks): how many of a block's questions are set."""
        counts = np.bitwise_count(bits).reshape(len(bits), self._words, len(self.parts))
        sums: Counts = np.add.reduce(counts, axis=1, dtype=self.count_type)
        return sums
