"""Dawid and Skene's model: which answers are right and how reliable the models are, with no or some labels.

One reliability per member ("one coin") over open sets of answers, fitted by expectation maximisation
(A. Dawid & A. Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm",
Applied Statistics 28, 1979). A question has a difficulty that lowers everybody's chance alike, as in
J. Whitehill et al., "Whose vote should count more", NIPS 2009: without it, errors that meet on hard
questions count as agreement on the truth. The rate at which wrong answers coincide is estimated, too.

If the right answers to some questions are known, their expectations are fixed, and they inform the rest of the
fit (semi-supervised expectation maximisation: K. Nigam et al., "Text classification from
labeled and unlabeled documents using EM", Machine Learning 39, 2000). Which questions are labelled may
depend on the answers, for example on disagreement, without bias: given the answers, the choice carries no further
information about the truth (D. Rubin, "Inference and missing data", Biometrika 63, 1976).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emerge_core.evals.offline.arrays import NO_KEY

if TYPE_CHECKING:
    from emerge_core.evals.types import Booleans, Floats, Integers

DIFFICULTY_SD = 2.5  # of difficulty, in logits; chosen on recorded tasks with known answers
ROUNDS, WARM_ROUNDS = 300, 40

_NODES = np.linspace(-2.0, 2.0, 7)
_MASS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()


class Labels(NamedTuple):
    """`known` is (questions,); `right` is (models, questions), and only valid for known questions."""

    known: Booleans
    right: Booleans


class Fit(NamedTuple):
    """`right` is (models,): the accuracies. `posterior` is (questions, answers + 1): the probability that each answer
    is right; the last one stands for an answer that no model gave."""

    right: Floats
    posterior: Floats
    coincide: float


def reliabilities(
    codes: Integers,
    weights: Floats | None = None,
    *,
    labels: Labels | None = None,
    start: Fit | None = None,
    rounds: int = ROUNDS,
) -> Fit:
    """Fits the model to answers (models, questions). `weights` is (questions,): how often each question counts."""
    weight = np.ones(codes.shape[1]) if weights is None else weights
    said = codes[:, :, None] == np.arange(codes.max() + 1)
    keyed = codes != NO_KEY
    there = said.any(axis=0)
    known, true = (np.zeros(codes.shape[1], dtype=np.bool_), None) if labels is None else _known(said, labels)
    right = np.full(len(codes), 0.7) if start is None else start.right.clip(0.01, 0.99)
    coincide = 0.25 if start is None else start.coincide
    for _ in range(rounds):
        posterior = _answers_given(said, keyed, there, right, coincide, true)
        # (models, questions) that the model's answer is right; the prior is worth one answer, and says two in three
        share = np.einsum("mqa,qda->mqd", said, posterior[:, :, :-1])
        if labels is not None:
            share[:, known] = labels.right[:, known, None] * posterior[known].sum(axis=2)
        counted = np.einsum("mqd,q->m", share, weight)
        mass = np.einsum("qda,q->d", posterior, weight)
        renewed = _solve(counted + 2 / 3, mass)
        coincide = _coinciding(said, posterior.sum(axis=1), weight)
        settled = np.abs(renewed - right).max() < 1e-4
        right = renewed
        if settled:
            break
    whole = np.einsum("mqd,q->m", share, weight) / weight.sum()
    of_answers = posterior.sum(axis=1)
    return Fit(whole, of_answers if true is None else np.where(known[:, None], true, of_answers), coincide)


def _known(said: Booleans, labels: Labels) -> tuple[Booleans, Booleans]:
    """(questions,): which are known; (questions, answers + 1): which answers may be right: all, if it is not known."""
    true = np.einsum("mqa,mq->qa", said, labels.right) > 0
    true = np.concatenate([true, ~true.any(axis=1, keepdims=True)], axis=1)
    return labels.known, true | ~labels.known[:, None]


def _answers_given(
    said: Booleans, keyed: Booleans, there: Booleans, right: Floats, coincide: float, true: Booleans | None
) -> Floats:
    """(questions, difficulties, answers + 1): the joint posterior; the last answer stands for one that no model
    gave. Answers that are not `true` are excluded."""
    chance = _chance(right)
    log_right, log_wrong = np.log(chance), np.log1p(-chance)
    wrong = np.einsum("mq,md->qd", keyed, log_wrong + np.log(coincide)) + np.einsum("mq,md->qd", ~keyed, log_wrong)
    for_each = np.einsum("mqa,md->qda", said, log_right - log_wrong - np.log(coincide)) + wrong[:, :, None]
    for_each = np.where(there[:, None], for_each, -np.inf)
    others = np.maximum(1 / coincide + 1 - there.sum(axis=1), 0.2)  # answers that no model gave
    nobody = wrong + np.log(others)[:, None]
    joint = np.concatenate([for_each, nobody[:, :, None]], axis=2) + np.log(_MASS)[:, None]
    if true is not None:
        joint = np.where(true[:, None], joint, -np.inf)
    joint = np.exp(joint - joint.max(axis=(1, 2), keepdims=True))
    normal: Floats = joint / joint.sum(axis=(1, 2), keepdims=True)
    return normal


def _chance(right: Floats) -> Floats:
    """(models, difficulties): the probability of being right."""
    skill = np.log(right / (1 - right))
    found: Floats = (1 / (1 + np.exp(DIFFICULTY_SD * _NODES - skill[:, None]))).clip(1e-6, 1 - 1e-6)
    return found


def _solve(counted: Floats, mass: Floats) -> Floats:
    """(models,): the probability of being right on a question of average difficulty with which each model is right as
    often as counted; by bisection."""
    low, high = np.full(len(counted), -9.0), np.full(len(counted), 9.0)
    for _ in range(30):
        middle = (low + high) / 2
        expected = (mass / (1 + np.exp(DIFFICULTY_SD * _NODES - middle[:, None]))).sum(axis=1) + 1 / (
            1 + np.exp(-middle)
        )
        low, high = np.where(expected > counted, low, middle), np.where(expected > counted, middle, high)
    found: Floats = 1 / (1 + np.exp(-(low + high) / 2))
    return found


def _coinciding(said: Booleans, posterior: Floats, weight: Floats) -> float:
    """The share of pairs of wrong answers that are equal; the prior is one of four pairs."""
    count = said.sum(axis=0).astype(np.float64)
    pairs = count * (count - 1) / 2
    total = count.sum(axis=1, keepdims=True)
    wrong = np.concatenate([total - count, total], axis=1)
    same = np.concatenate([pairs.sum(axis=1, keepdims=True) - pairs, pairs.sum(axis=1, keepdims=True)], axis=1)
    both = float((weight[:, None] * posterior * wrong * (wrong - 1) / 2).sum())
    alike = float((weight[:, None] * posterior * same).sum())
    return float(np.clip((alike + 1) / (both + 4), 0.02, 0.5))
