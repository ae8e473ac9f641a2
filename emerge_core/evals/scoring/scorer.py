"""Is a reply right? By the rule of the question's answer form, with the product's own extraction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emerge_core.answers import Extractor, same
from emerge_core.errors import EmergeError
from emerge_core.evals.recordings.prompts import request_of
from emerge_core.evals.recordings.recording import Gold, Question, Recordings, Verdict
from emerge_core.evals.scoring.rules import CONTAINS, JSON, SHORT_TEXT, contains, equal_json, near
from emerge_core.types import AnswerKey, Completion


class Scorer:
    """Scores replies to the questions of one task."""

    def __init__(
        self, questions: Mapping[str, Question], golds: Mapping[str, Gold], verdicts: Iterable[Verdict] = ()
    ) -> None:
        self._questions = questions
        self._golds = golds
        self._verdicts = {(each.question, each.text.strip()): each.correct for each in verdicts}
        self._judged = {question for question, _ in self._verdicts}
        self._extractors: dict[str, Extractor] = {}

    @classmethod
    def of(cls, recordings: Recordings, task: str, *, needed: bool = True) -> Scorer:
        """People judged the short texts, and `emerge score` says by what it judged; other verdicts were set
        by a rule like ours. Raises EmergeError where there is nothing to score by, unless that is not `needed`."""
        golds = recordings.golds(task)
        verdicts = _verdicts(recordings, task, golds)
        if needed and not (verdicts or any(gold.answers for gold in golds.values())):
            raise EmergeError(f"{task} has no gold answers: there is nothing to score by")
        return cls(recordings.questions(task), golds, verdicts)

    def can_score(self, question: str) -> bool:
        """Whether the question has a gold answer, or one of its replies a verdict."""
        return bool(self._golds[question].answers) or question in self._judged

    def right(self, question: str, reply: str) -> bool:
        return self.right_key(
            question, reply, self.extractor(question).key(Completion(text=reply, finish_reason="stop"))
        )

    def right_key(self, question: str, reply: str, key: AnswerKey | None) -> bool:
        """As `right`, for a reply whose key was extracted already."""
        verdict = self._verdicts.get((question, reply.strip()))
        if verdict is not None:
            return verdict
        gold = self._golds[question]
        if gold.form == JSON:
            return any(equal_json(reply, answer) for answer in gold.answers)
        if gold.form == CONTAINS:
            return any(contains(reply, answer) for answer in gold.answers)
        accepted = [wanted for wanted in map(self.extractor(question).gold_key, gold.answers) if wanted is not None]
        if gold.tolerance:
            return any(near(key, wanted, gold.tolerance) for wanted in accepted)
        if gold.form != SHORT_TEXT:
            return key in accepted
        said = key is not None and any(same(key, wanted) for wanted in accepted)
        return said or any(contains(reply, answer) for answer in gold.answers)

    def extractor(self, question: str) -> Extractor:
        """The product's extractor for the question's own prompt."""
        found = self._extractors.get(question)
        if found is None:
            found = self._extractors[question] = Extractor.of(request_of(self._questions[question]))
        return found


def labelled(recordings: Recordings, task: str) -> set[str]:
    """The questions that there is something to score by."""
    golds = recordings.golds(task)
    judged = {each.question for each in _verdicts(recordings, task, golds)}
    return {id_ for id_, gold in golds.items() if gold.answers} | judged


def _verdicts(recordings: Recordings, task: str, golds: Mapping[str, Gold]) -> list[Verdict]:
    judged = any(gold.form == SHORT_TEXT for gold in golds.values())
    return [each for each in recordings.verdicts(task) if judged or each.by]
