"""What an extractor reads at all, and that the tables of replies are long."""

from __future__ import annotations

import itertools

from emerge_core.answers import Extractor
from emerge_core.answers.extractor import MAX_READ
from emerge_core.types import ChatRequest, Completion
from tests.answers.forms.test_json_keys import JSON_REPLIES
from tests.answers.forms.test_literals import LITERALS
from tests.answers.forms.test_numbers import NUMBERS, SPELLINGS
from tests.answers.forms.test_short_text import BOOLEANS, TEXTS
from tests.answers.key_of import SUM, TEN, key_of, spelled
from tests.answers.question.test_labels import LABELS
from tests.answers.question.test_multiple_choice import LETTERS
from tests.answers.reading.test_boilerplate import FRAMES
from tests.answers.reading.test_explicit import DENIALS, PEERS_MISTAKES, REFUSALS
from tests.answers.reading.test_languages import LANGUAGES


def test_there_are_enough_cases() -> None:
    tables = (PEERS_MISTAKES, REFUSALS, DENIALS, FRAMES, LANGUAGES, LETTERS, LABELS, NUMBERS, SPELLINGS)
    assert len([*itertools.chain(*tables, BOOLEANS, TEXTS, JSON_REPLIES, LITERALS)]) >= 220


def test_nothing_is_read_from_errors_and_refused_replies() -> None:
    extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": SUM},)))
    assert extractor.key(Completion(text=None)) is None
    assert extractor.key(Completion(text="72", refusal="no")) is None


def test_no_answer_is_looked_for_in_more_than_a_model_can_say() -> None:
    said = "The answer is (B)."
    assert spelled(key_of(TEN, "x" * (MAX_READ - len(said) - 1) + " " + said)) == "letter:B"
    assert key_of(TEN, "x" * (MAX_READ - len(said)) + " " + said) is None
