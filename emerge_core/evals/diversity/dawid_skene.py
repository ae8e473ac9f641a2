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
MAX_SKILL, SOLVING_ROUNDS = 9.0, 40  # in logits

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
    flat = said.reshape(len(codes), -1).astype(np.float64)
    open_ = np.where(known, 0.0, weight)
    given = 0.0 if labels is None else labels.right[:, known] @ weight[known]
    for _ in range(rounds):
        posterior = _answers_given(flat, keyed, there, right, coincide, true)
        of_answers = posterior.sum(axis=1)
        # how often each model is right; the prior is worth one answer, and says two in three
        counted = flat @ (of_answers[:, :-1] * open_[:, None]).ravel() + given
        mass = weight @ posterior.sum(axis=2)
        renewed = _solve(counted + 2 / 3, mass)
        coincide = _coinciding(said, of_answers, weight)
        settled = np.abs(renewed - right).max() < 1e-4
        right = renewed
        if settled:
            break
    whole = counted / weight.sum()
    return Fit(whole, of_answers if true is None else np.where(known[:, None], true, of_answers), coincide)


def _known(said: Booleans, labels: Labels) -> tuple[Booleans, Booleans]:
    """(questions,): which are known; (questions, answers + 1): which answers may be right: all, if it is not known."""
    true = np.einsum("mqa,mq->qa", said, labels.right) > 0
    true = np.concatenate([true, ~true.any(axis=1, keepdims=True)], axis=1)
    return labels.known, true | ~labels.known[:, None]


def _answers_given(
    flat: Floats, keyed: Booleans, there: Booleans, right: Floats, coincide: float, true: Booleans | None
) -> Floats:
    """(questions, difficulties, answers + 1): the joint posterior; the last answer stands for one that no model
    gave. `flat` is (models, questions × answers): who said what. Answers that are not `true` are excluded."""
    chance = _chance(right)
    log_right, log_wrong = np.log(chance), np.log1p(-chance)
    wrong = keyed.T @ (log_wrong + np.log(coincide)) + ~keyed.T @ log_wrong
    gained = flat.T @ (log_right - log_wrong - np.log(coincide))
    for_each = gained.reshape(*there.shape, -1).transpose(0, 2, 1) + wrong[:, :, None]
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
    often as counted; by Newton's method, and by bisection where its step leaves the bracket."""
    low, high = np.full(len(counted), -MAX_SKILL), np.full(len(counted), MAX_SKILL)
    skill = np.zeros(len(counted))
    for _ in range(SOLVING_ROUNDS):
        chance = 1 / (1 + np.exp(DIFFICULTY_SD * _NODES - skill[:, None]))
        average = 1 / (1 + np.exp(-skill))
        over = chance @ mass + average - counted
        low, high = np.where(over > 0, low, skill), np.where(over > 0, skill, high)
        step = over / ((chance * (1 - chance)) @ mass + average * (1 - average))
        near = np.abs(step) < 1e-8
        if near.all():
            break
        newton = skill - step
        skill = np.where(near | ((newton > low) & (newton < high)), newton, (low + high) / 2)
    found: Floats = 1 / (1 + np.exp(-skill))
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
