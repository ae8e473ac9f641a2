"""Arithmetic questions in plain words ("What is 17 * 23?"), read and evaluated exactly.

For the simulated panel. A text is such a question only when nothing but question words is left
beside one expression: in "On 2024-05-01 there were 3 + 4 cats" nothing is to be computed.
"""

from __future__ import annotations

import re
from fractions import Fraction

_WORDS = {
    r"multiplied by|times|[x×·](?=\s*[\d(-])": "*",
    r"divided by|over|÷": "/",
    r"plus": "+",
    r"minus|−|–": "-",
    r"to the power of|\*\*": "^",
}
_TOKEN = re.compile(r"\s*(\d[\d,]*\.?\d*|\.\d+|[-+*/^()])")
_EXPRESSION = re.compile(r"[-+(.]*\d[\d\s.,+\-*/^()]*")
_QUESTION = (
    "a an and answer as by calculate compute could do does equal equals evaluate exactly explain find final for get "
    "give how i in is it just kindly me much need no number of one only out please question reply respond result s "
    "sentence show simplify single solve step tell the think thinking this to value what whats with without word work "
    "would you your q"
)
_QUESTION_WORDS = frozenset(_QUESTION.split())
_MAX_DIGITS = 60


def arithmetic_answer(text: str) -> Fraction | None:
    """The value of the only thing that is asked, or None where the text asks for anything else."""
    for words, sign in _WORDS.items():
        text = re.sub(rf"(?<![a-z])(?:{words})(?![a-z])", sign, text, flags=re.IGNORECASE)
    found = [match for match in _EXPRESSION.finditer(text) if re.search(r"\d", match.group())]
    if len(found) != 1:
        return None
    rest = text[: found[0].start()] + " " + text[found[0].end() :]
    if any(word not in _QUESTION_WORDS for word in re.findall(r"[^\W\d_]+", rest.lower())):
        return None
    return evaluate(found[0].group().strip().rstrip(".,"))


def evaluate(expression: str) -> Fraction | None:
    """An expression of numbers, + - * / ^ and parentheses. None if it is none, or has no operation."""
    tokens: list[str] = []
    position = 0
    expression = expression.strip()
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None or len(tokens) > 200:
            return None
        tokens.append(match.group(1))
        position = match.end()
    parser = _Parser(tokens)
    try:
        value = parser.sum()
    except (ValueError, ZeroDivisionError, IndexError, RecursionError):
        return None
    return value if parser.done and parser.operations else None


def show(value: Fraction) -> str:
    """As a person would write it: an integer, or a decimal of at most six places."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.6f}".rstrip("0").rstrip(".")


class _Parser:
    """Recursive descent, one method per level of precedence."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self.operations = 0

    @property
    def done(self) -> bool:
        return self._at == len(self._tokens)

    def _take(self, *wanted: str) -> str | None:
        if not self.done and self._tokens[self._at] in wanted:
            self._at += 1
            return self._tokens[self._at - 1]
        return None

    def sum(self) -> Fraction:
        value = self._product()
        while sign := self._take("+", "-"):
            self.operations += 1
            other = self._product()
            value = value + other if sign == "+" else value - other
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while sign := self._take("*", "/"):
            self.operations += 1
            other = self._signed()
            value = _bounded(value * other if sign == "*" else value / other)
        return value

    def _signed(self) -> Fraction:
        if sign := self._take("+", "-"):
            value = self._signed()
            return -value if sign == "-" else value
        return self._power()

    def _power(self) -> Fraction:
        base = self._atom()
        if self._take("^"):
            self.operations += 1
            exponent = self._signed()
            if exponent.denominator != 1 or abs(exponent) > 64:
                raise ValueError("no such power")
            return _bounded(base ** int(exponent))
        return base

    def _atom(self) -> Fraction:
        if self._take("("):
            value = self.sum()
            if not self._take(")"):
                raise ValueError("unbalanced")
            return value
        token = self._tokens[self._at]
        self._at += 1
        return _bounded(Fraction(token.replace(",", "")))


def _bounded(value: Fraction) -> Fraction:
    if max(abs(value.numerator), value.denominator) >= 10**_MAX_DIGITS:
        raise ValueError("too large")
    return value
