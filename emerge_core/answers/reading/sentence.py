"""What a one-sentence reply adds to its question: "The capital of Australia is Canberra." adds "Canberra".

Words that occur in the question, and function words, are left out. If one run of a few words remains, it is
the answer; otherwise the sentence is kept as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from emerge_core.answers.forms.short_text import words

MAX_SENTENCE = 240
MAX_RUN = 6  # words of an answer
MIN_WORDS = 4  # a shorter reply is an answer as it stands
_QUESTION = 400  # characters of the question's last paragraph that are looked at

_JOINING = frozenset(
    word
    for line in (
        "of in on at to by for from with as is was are were be been being it its he she they we you i his her their",
        "this that these those and who whom whose which what when where how did does do has have had would will can",
        "could may a an the named called known name also there s one into than then so if about during between while",
        "written wrote sung sang left made built born won held took taken given gave went came became fought",
        "located found considered commonly typically usually generally often traditionally officially answer correct",
    )
    for word in line.split()
)
_INNER = frozenset(("of", "and", "the", "de", "in", "for", "to", "s", "a"))  # may stand inside a name
_NOT_PLAIN = re.compile(r"\b(?:not|no|never|cannot|or|nor|neither|unknown|unclear|sorry|if|but)\b|n['’]t\b", re.I)
_WORD = re.compile(r"[^\W_]+(?:['’.,][^\W_]+)*\.?")
_SENTENCES = re.compile(r"(?<=[\w)\"'][.!?])\s+(?=[A-Z\"'(])")
_ENDINGS = ("ing", "ed", "es", "s", "d")


def new_words(question: str, sentence: str) -> str | None:
    """The part of the sentence that answers the question, as written there, or None."""
    if len(sentence) > MAX_SENTENCE or "\n" in sentence or _NOT_PLAIN.search(sentence) or _SENTENCES.search(sentence):
        return None
    if len(sentence.split()) < MIN_WORDS:
        return None
    asked = {_stem(word) for word in words(_last_paragraph(question))}
    runs = list(_runs(sentence, asked))
    if len(runs) != 1:
        return None
    start, end, count = runs[0]
    return sentence[start:end] if count <= MAX_RUN and (start, end) != (0, len(sentence)) else None


def _last_paragraph(question: str) -> str:
    lines = question.strip().rsplit("\n", 1)
    return lines[-1][-_QUESTION:]


def _stem(word: str) -> str:
    return next((word[: -len(end)] for end in _ENDINGS if word.endswith(end) and len(word) - len(end) >= 3), word)


def _runs(sentence: str, asked: set[str]) -> Iterator[tuple[int, int, int]]:
    """Yield each run of words that are not in the question: its start, its end and its number of words."""
    start, end, count = -1, -1, 0
    for match in _WORD.finditer(sentence):
        folded = words(match.group())
        old = all(_stem(word) in asked or word in _JOINING for word in folded)
        if not old:
            start = match.start() if start < 0 else start
            end, count = match.end(), count + 1
        elif start >= 0 and not (folded and folded[0] in _INNER):
            yield start, end, count
            start, count = -1, 0
    if start >= 0:
        yield start, end, count
