"""The search space, and the scored candidates that a search returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.evals.offline.ensembles import Design, Final, Rule
from emerge_core.evals.tune.search.contests import Contest

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Counts, Floats, Integers, Singles


@dataclass(frozen=True, slots=True)
class Space:
    """Members and targets are rows of the arrays; each of them is a candidate alone, too."""

    members: tuple[int, ...]
    targets: tuple[int, ...]
    max_members: int = 3


class Family(NamedTuple):
    """Panels that differ in their members alone."""

    panels: Integers  # (n, members); of an ordered design in that order
    rule: Rule
    target: int | None = None
    trusted: int = 0
    final: Final = "replace"
    reserve: tuple[int, ...] = ()
    panel_trusted: int = 0


class Scored(NamedTuple):
    """A family's panels: (n, blocks) sums of scores; (n,) mean US dollars and ms per question. Of one that adjudicates
    by a target, too: (2, blocks) numbers of questions that it alone, or that target asked blind alone, gets right."""

    family: Family
    right: Counts | Floats
    cost: Floats
    latency: Floats
    against_blind: Integers | None = None


@dataclass(frozen=True)
class Candidates:
    """Every design tried: (n, blocks) sums of scores, and (n,) mean cost in US dollars and latency in ms of a
    question, NaN if they are not known."""

    families: tuple[Family, ...]
    starts: Integers  # of each family
    right: Counts | Floats
    cost: Singles
    latency: Singles
    contests: tuple[Contest, ...] = ()

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def escalate(self) -> Booleans:
        """Which of them may make calls after the first round, to a stronger model or to the panel again."""
        asks = [each.target is not None or bool(each.reserve) or each.panel_trusted > 0 for each in self.families]
        return np.repeat(asks, self._sizes())

    @cached_property
    def single(self) -> Booleans:
        """Which of them are one model alone."""
        alone = [each.panels.shape[1] == 1 and each.target is None and not each.reserve for each in self.families]
        return np.repeat(alone, self._sizes())

    @property
    def adjudicating(self) -> list[int]:
        """The candidates that settle disputes by recorded adjudications."""
        starts = [(int(start), each) for start, each in zip(self.starts, self.families, strict=True)]
        return [start for start, each in starts if each.panel_trusted or each.final == "adjudicate"]

    @cached_property
    def cost_to_rank(self) -> Singles:
        """The costs; those that are not known are the highest, but finite."""
        found: Singles = np.nan_to_num(self.cost, nan=float(np.finfo(np.float32).max))
        return found

    @cached_property
    def sums(self) -> Singles:
        """As `right`, ready to be multiplied."""
        return self.right.astype(np.float32)

    def weakest(self, scores: Floats) -> Floats:
        """(samples, candidates): the lowest score among a candidate's members; `scores` is (samples, rows)."""
        found: Floats = scores[:, self._members[0]]
        for members in self._members[1:]:
            found = np.minimum(found, scores[:, members])
        return found

    @cached_property
    def _members(self) -> Integers:
        """(places, candidates): rows; of smaller panels the first member stands again in the places left over."""
        most = max(each.panels.shape[1] for each in self.families)
        padded = [
            np.concatenate([each.panels, *[each.panels[:, :1]] * (most - each.panels.shape[1])], axis=1)
            for each in self.families
        ]
        found: Integers = np.concatenate(padded).T.astype(np.int32)
        return found

    def design(self, number: int) -> Design:
        place = int(np.searchsorted(self.starts, number, side="right")) - 1
        family = self.families[place]
        members = tuple(int(row) for row in family.panels[number - self.starts[place]])
        return Design(
            members, family.rule, family.target, family.trusted, family.final, family.reserve, family.panel_trusted
        )

    def _sizes(self) -> list[int]:
        return [len(each.panels) for each in self.families]
