"""Scores a reply: by a recorded verdict or grade of the same reply, else by the rule of the question's answer form.

Answers are extracted by the product itself, on the prompt that a comparison sends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import nan

from emerge_core.answers import Extractor, same
from emerge_core.errors import EmergeError
from emerge_core.evals.recordings.mixture import Mixture, mixed_id
from emerge_core.evals.recordings.prompts import request_of
from emerge_core.evals.recordings.recording import Gold, Question, Recordings, Verdict
from emerge_core.evals.scoring.rules import CONTAINS, JSON, SHORT_TEXT, TOOL_CALLS, contains, equal_json, near
from emerge_core.evals.scoring.tool_calls import accepts
from emerge_core.types import AnswerKey, Completion, ToolCall

Said = tuple[str, str, str]  # question, text, calls: as they were written, or as their key


class Scorer:
    """Scores replies to the questions of one task.

    `graded`: replies have a recorded score from 0 to 1 instead of being right or wrong; a reply without one
    scores NaN.
    """

    def __init__(
        self, questions: Mapping[str, Question], golds: Mapping[str, Gold], verdicts: Iterable[Verdict] = ()
    ) -> None:
        self._questions = questions
        self._golds = golds
        self._extractors: dict[str, Extractor] = {}
        self._verdicts: dict[Said, float] = {}
        self._judged: set[str] = set()
        self.graded = False
        for each in verdicts:
            for calls in {_written(each.tool_calls), self._calls_key(each.question, each.tool_calls)}:
                self._verdicts[each.question, each.text.strip(), calls] = each.score
            self._judged.add(each.question)
            self.graded |= each.graded

    @classmethod
    def of(cls, recordings: Recordings | Mixture, task: str, *, needed: bool = True) -> Scorer:
        """The scorer of a recorded task. Recorded verdicts count if no rule can compare answers: those of people on
        short texts and on tool calls without accepted answers, those that `emerge score` wrote, and grades. Raises
        EmergeError if `needed` and the task has nothing to score by."""
        golds = recordings.golds(task)
        verdicts = _verdicts(recordings, task, golds)
        if needed and not (verdicts or any(gold.answers for gold in golds.values())):
            raise EmergeError(f"{task} has no gold answers: there is nothing to score by")
        return cls(recordings.questions(task), golds, verdicts)

    def can_score(self, question: str) -> bool:
        """Whether the question has a gold answer, or one of its replies a verdict."""
        return bool(self._golds[question].answers) or question in self._judged

    def right(self, question: str, reply: str) -> bool:
        """Whether a reply of text alone is right."""
        return self.score(question, Completion(text=reply, finish_reason="stop")) > 0

    def score(self, question: str, completion: Completion, key: AnswerKey | None = None) -> float:
        """1.0 or 0.0, or the recorded grade; NaN for a graded task's reply without one. `key` is the reply's answer
        key, if it has been extracted already."""
        text = (completion.text or "").strip()
        if not text and not completion.tool_calls:
            return 0.0
        calls = _written(completion.tool_calls)
        verdict = self._verdicts.get((question, text, calls))
        if verdict is None and completion.tool_calls:
            verdict = self._verdicts.get((question, text, self._calls_key(question, completion.tool_calls)))
        if verdict is not None:
            return verdict
        if self.graded:
            return nan
        found = self.extractor(question).key(completion) if key is None else key
        return float(self._by_rule(question, completion, found))

    def _by_rule(self, question: str, completion: Completion, key: AnswerKey | None) -> bool:
        gold, reply = self._golds[question], completion.text or ""
        if gold.form == TOOL_CALLS:
            extractor = self.extractor(question)
            return any(accepts(extractor, completion.tool_calls, answer) for answer in gold.answers)
        if completion.tool_calls:
            return False
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

    def _calls_key(self, question: str, calls: Sequence[ToolCall]) -> str:
        """The answer key of the calls, so that equal calls compare equal; the calls as written if they are not JSON."""
        if not calls:
            return ""
        key = self.extractor(question).key(Completion(tool_calls=tuple(calls), finish_reason="tool_calls"))
        return _written(calls) if key is None else f"key:{key.value}"


def labelled(recordings: Recordings | Mixture, task: str) -> set[str]:
    """The ids of the questions that can be scored."""
    golds = recordings.golds(task)
    judged = {each.question for each in _verdicts(recordings, task, golds)}
    return {id_ for id_, gold in golds.items() if gold.answers} | judged


def _verdicts(recordings: Recordings | Mixture, task: str, golds: Mapping[str, Gold]) -> list[Verdict]:
    """The verdicts that no rule of ours could have set."""
    if isinstance(recordings, Mixture):
        inner = recordings.recordings
        return [
            each._replace(question=mixed_id(part, each.question))
            for part in recordings.parts
            for each in _verdicts(inner, part, inner.golds(part))
        ]
    judged = any(gold.form == SHORT_TEXT or (gold.form == TOOL_CALLS and not gold.answers) for gold in golds.values())
    return [each for each in recordings.verdicts(task) if judged or each.by or each.graded]


def _written(calls: Sequence[ToolCall]) -> str:
    return json.dumps([[call.name, call.arguments] for call in calls]) if calls else ""
