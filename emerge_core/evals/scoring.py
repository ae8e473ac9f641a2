"""Is a reply right? By the rule of the question's answer form, with the product's own extraction."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from emerge_core.answers import Extractor, same
from emerge_core.errors import EmergeError
from emerge_core.evals.prompts import request_of
from emerge_core.evals.recordings import Gold, Question, Recordings, Verdict
from emerge_core.types import AnswerKey, Completion

SHORT_TEXT = "short text"
_ARTICLES = {"a", "an", "the"}


class Scorer:
    """Scores replies to the questions of one task."""

    def __init__(
        self, questions: Mapping[str, Question], golds: Mapping[str, Gold], verdicts: Iterable[Verdict] = ()
    ) -> None:
        self._questions = questions
        self._golds = golds
        self._verdicts = {(each.question, each.text.strip()): each.correct for each in verdicts}
        self._extractors: dict[str, Extractor] = {}

    @classmethod
    def of(cls, recordings: Recordings, task: str) -> Scorer:
        """People judged the short texts; the verdicts on other forms were set by a rule like ours."""
        golds = recordings.golds(task)
        if not any(gold.answers for gold in golds.values()):
            raise EmergeError(f"{task} has no gold answers: there is nothing to score by")
        judged = any(gold.form == SHORT_TEXT for gold in golds.values())
        return cls(recordings.questions(task), golds, recordings.verdicts(task) if judged else ())

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
        accepted = [wanted for wanted in map(self.extractor(question).gold_key, gold.answers) if wanted is not None]
        if gold.form != SHORT_TEXT:
            return key in accepted
        said = key is not None and any(same(key, wanted) for wanted in accepted)
        return said or any(_contains(reply, answer) for answer in gold.answers)

    def extractor(self, question: str) -> Extractor:
        """The product's extractor for the question's own prompt."""
        found = self._extractors.get(question)
        if found is None:
            found = self._extractors[question] = Extractor.of(request_of(self._questions[question]))
        return found


def _contains(reply: str, answer: str) -> bool:
    wanted = _words(answer)
    return bool(wanted) and f" {wanted} " in f" {_words(reply)} "


def _words(text: str) -> str:
    """Lower-case words without accents, punctuation and articles."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return " ".join(word for word in re.findall(r"\w+", plain) if word not in _ARTICLES)
