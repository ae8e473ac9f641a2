"""Answers stated in other languages than English."""

from __future__ import annotations

import pytest

from tests.answers.key_of import CITIES, SUM, key_of, spelled

LANGUAGES = [
    *[(CITIES, f"{said} B", "letter:B") for said in ("Réponse :", "Antwort:", "Respuesta:", "Risposta:", "Ответ:")],
    *[(CITIES, f"{said}B", "letter:B") for said in ("答案：", "答案是", "正确答案是 ", "答え：", "정답은 ")],
    (CITIES, "La réponse est B.", "letter:B"),
    (CITIES, "Die richtige Antwort ist (B), denn Paris liegt an der Seine.", "letter:B"),
    (CITIES, "La respuesta correcta es B.", "letter:B"),
    (CITIES, "The answer is （Ｂ）。", "letter:B"),
    (SUM, "答案：72", "number:72"),
    (SUM, "答案是72个。", "number:72"),
    (SUM, "７２", "number:72"),
    (SUM, "Die Antwort lautet: 72", "number:72"),
    (SUM, "7万", "text:7万"),
]


@pytest.mark.parametrize(("question", "reply", "expected"), LANGUAGES)
def test_the_key_of_a_reply_in_another_language(question: str, reply: str, expected: str | None) -> None:
    assert spelled(key_of(question, reply)) == expected
