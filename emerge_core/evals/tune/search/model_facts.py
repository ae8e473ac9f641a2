"""Single models and pairs of models as bits: all that the scoring of panels needs."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from emerge_core.evals.offline.arrays import NO_KEY, Answers
from emerge_core.evals.offline.ensembles import Design, confidences, fit
from emerge_core.evals.tune.bitsets import Blocks
from emerge_core.evals.tune.search.space import Space

if TYPE_CHECKING:
    from emerge_core.evals.types import Bits, Codes, Counts, Floats


NO_CALL = 32_000
WORTHY = 10  # a member of a cascade has fewer others that cost less and are right more often


class Facts:
    """Places number the members, in order of accuracy as `fit` orders them, and then the targets."""

    def __init__(self, answers: Answers, space: Space, blocks: Blocks) -> None:
        hits = answers.score.sum(axis=1)
        self.blocks = blocks
        self.graded = answers.graded
        members = sorted(space.members, key=lambda row: (-hits[row], row))
        self.rows = np.array([*members, *space.targets], dtype=np.int64)
        self.members = range(len(members))
        self.targets = range(len(members), len(self.rows))
        self.hits = hits[self.rows].astype(np.float64)
        codes = _codes(answers)
        keyed = codes != NO_KEY
        self.score = np.where(answers.usable | answers.refused, answers.score, 0.0)[self.rows]
        self.keyed = blocks.pack(keyed[self.rows])
        self.usable = blocks.pack(answers.usable[self.rows])
        self.right = blocks.pack((answers.right & keyed)[self.rows])
        self.right_replies = blocks.pack(answers.right[self.rows])  # what replaces a panel may be prose
        self.agree = self._agree(answers)
        # Where tools are offered, texts agree that no call is to be made if one of the panel's has no key, and never
        # in a cascade: that depends on the panel, so it is kept which replies are texts, with a key or without.
        texts = answers.offers_tools & answers.usable & ~answers.called
        self.stated = blocks.pack((answers.codes != NO_KEY)[self.rows])
        self.texts = blocks.pack(texts[self.rows])
        self.keyless_texts = blocks.pack((texts & (answers.codes == NO_KEY))[self.rows])
        self.costs = np.array([answers.costs(int(row)) for row in self.rows])
        self.latency = answers.latency_ms[self.rows]
        self.worthy = self._worthy()
        self.rated = any(
            answers.has_logprobs(row) and bool((~np.isnan(answers.confidence[row])).any()) for row in space.members
        )
        everyone = fit(answers, Design(space.members, "confidence"), np.arange(len(answers.questions)))
        sure = np.nan_to_num(confidences(answers, everyone), nan=-1.0)
        self.surer: Bits = np.array([blocks.pack(one[None] >= sure) for one in sure])  # [a, b]: a at least as sure as b

    def _agree(self, answers: Answers) -> Bits:
        """(models, models, words): where two replies state the same answer."""
        count = len(self.rows)
        found = np.zeros((count, count, self.keyed.shape[1]), dtype=np.uint64)
        for a, b in combinations(range(count), 2):
            equal = answers.equal(int(self.rows[a]), int(self.rows[b]))
            found[a, b] = found[b, a] = self.blocks.pack(equal[None])[0]
        return found

    def block_sums(self, scores: Floats) -> Counts | Floats:
        """(n, blocks): sums of (n, questions); whole numbers, unless replies are graded."""
        sums = np.array([scores[:, part].sum(axis=1) for part in self.blocks.parts]).T
        return sums if self.graded else np.rint(sums).astype(self.blocks.count_type)

    def _worthy(self) -> tuple[int, ...]:
        """Places of the members between whose costs and accuracies a cascade may choose."""
        spent, hits = self.costs[self.members].mean(axis=1), self.hits[self.members]
        better = ((spent[None] < spent[:, None]) & (hits[None] > hits[:, None])).sum(axis=1)
        return tuple(int(place) for place in np.flatnonzero(~np.isnan(spent) & (better < WORTHY)))


def _codes(answers: Answers) -> Codes:
    """Answers as the vote counts them: where tools are offered, making no call is one answer."""
    silent = answers.offers_tools & answers.usable & ~answers.called
    return np.where(silent, NO_CALL, answers.codes).astype(np.int16)
