"""Questions that many tests of answer keys ask, and the key of a reply to one of them."""

from __future__ import annotations

from emerge_core.answers import Extractor
from emerge_core.types import AnswerKey, ChatRequest, Completion

SUM = "Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?"
VALUE = "What is the value of $x$ if $3x + 1 = 37$?"
CAPITAL = "Which city is the capital of Australia?"
POLAR = "Is the Pacific larger than the Atlantic?"
CODE = "What does this print? Give the output as a literal.\n```python\nprint(f('x'))\n```"
CITIES = "Which city lies on the Seine?\n\nA. London\nB. Paris\nC. Rome\nD. New York City"
APPROACHES = (
    "What should be tried first?\n\nA) A good approach to caching\nB) Doing nothing\nC) Both of these\nD) I do not care"
)
FIGURES = "How far is it?\n\n(A) 12 km\n(B) 1,200 km\n(C) 3/4 km\n(D) -12 km\n(E) 12 miles"
RHINE = "Which city lies on the Rhine?\n\nA. London\nB. Paris\nC. Rome\nD. None of the above"
LOWER = "Which city lies on the Seine?\n\na) London\nb) Paris\nc) Rome"
INLINE = "Which city lies on the Seine? (A) London (B) Paris (C) New York City"
COUNTED = "How many of these are rivers? (a) Rhine (b) Paris (c) Seine"
TEN = "Pick one.\n\n" + "\n".join(f"{letter}. option number {index}" for index, letter in enumerate("ABCDEFGHIJ"))


def key_of(question: str, reply: str, finish_reason: str = "stop") -> AnswerKey | None:
    extractor = Extractor.of(ChatRequest(messages=({"role": "user", "content": question},)))
    return extractor.key(Completion(text=reply, finish_reason=finish_reason))


def spelled(key: AnswerKey | None) -> str | None:
    return f"{key.kind}:{key.value}" if key else None
