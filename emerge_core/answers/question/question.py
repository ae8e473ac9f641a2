"""What the last user message says about the wanted answer: options, exact text, a number, yes or no.

If nothing is recognised, the reply is read without such hints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from emerge_core.answers.forms import numbers
from emerge_core.answers.question.labels import labels_of
from emerge_core.answers.question.multiple_choice import Options

MAX_SCANNED = 60_000

_CODE = re.compile(
    r"```|^\[/?(?:PYTHON|CODE|JAVA|SQL|ANSWER)\]|^[ \t]*(?:def \w+\(|class \w+[(:]|assert |import \w|"
    r"from \w+ import |"
    r"(?:export )?(?:async )?function \w*\(|(?:const|let|var) \w+ =|#include|public (?:static|class) |"
    r"SELECT .+ FROM )",
    re.M,
)
_VERBATIM = re.compile(
    r"\b(?:outputs?|prints?|returns?|literal|assert\w*|evaluates?|execut\w+|result|exactly|verbatim|expression|"
    r"repr)\b|== *\?",
    re.I,
)
_NUMERIC = re.compile(
    r"\b(?:which|what) year\b|"
    r"\bhow (?:many|much|old|far|long|tall|fast|often|big|large|high|deep|heavy|wide)\b|\b(?:number|amount|"
    r"percent(?:age)?|sum|"
    r"product|total|average|mean|area|volume|perimeter|probability|remainder|value|cost|price|profit|distance|"
    r"length|speed|"
    r"age|difference|ratio|integer|digit|term|median) (?:of|is|are|will|was|does|did|between|per|should|when|in)\b|"
    r"\b(?:calculate|compute|evaluate|simplify|solve|find|determine|what (?:is|percent|fraction|"
    r"number))\b[^?]{0,200}\d|\$[^$]+\$",
    re.I,
)
_POLAR = re.compile(
    r"\b(?:yes or no|yes/no|true or false|true/false)\b|(?:\A|[.?!:\n]\s*)(?:is|are|was|were|do|does|did|can|"
    r"could|will|would|"
    r"should|has|have|had|isn't|aren't|doesn't|am)\b[^?\n]{1,600}\?\s*\Z",
    re.I,
)


_FACTUAL = re.compile(r"\b(?:who|whom|whose|what|which|when|where|name the|how (?:many|much|long|old|far))\b", re.I)
# Letters within a line are options if the request asks for one of them, but not if it asks to count them.
_CHOOSE = re.compile(r"\A(?!.*\bhow many of\b).*(?:\?|\b(?:which|choose|select|pick|correct|options?)\b)", re.I | re.S)


@dataclass(frozen=True)
class Question:
    """The last user message, and what it says about the wanted answer. Properties are computed when first used."""

    text: str

    @cached_property
    def options(self) -> Options | None:
        return Options.find(self.text, loose=self.chooses)

    @cached_property
    def chooses(self) -> bool:
        """Whether letters within a line count as options."""
        return not self.exact and _CHOOSE.search(self.text) is not None

    @cached_property
    def shows_code(self) -> bool:
        return _CODE.search(self.text) is not None

    @cached_property
    def exact(self) -> bool:
        """Whether the answer is compared character by character: the request shows code and asks for its result."""
        return self.shows_code and _VERBATIM.search(self.text) is not None

    @cached_property
    def numeric(self) -> bool:
        return _NUMERIC.search(self.text) is not None

    @cached_property
    def factual(self) -> bool:
        """Whether its last paragraph asks for a fact such as a name, a place or a date."""
        return _FACTUAL.search(self.text.strip().rsplit("\n", 1)[-1][-600:]) is not None

    @cached_property
    def polar(self) -> bool:
        """Whether it is a yes-or-no question."""
        return _POLAR.search(self.text[-2_000:].strip()) is not None

    @cached_property
    def labels(self) -> frozenset[str]:
        """The labels that it offers for a classification."""
        return labels_of(self.text)

    @cached_property
    def numbers(self) -> frozenset[Fraction]:
        """The numbers that the question itself mentions."""
        return frozenset(numbers.mentioned(self.text[-10_000:]))

    @classmethod
    def of(cls, text: str) -> Question:
        return cls(text[-MAX_SCANNED:])
