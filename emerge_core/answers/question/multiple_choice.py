"""Multiple choice: the options of the request, and the letter that a stated answer votes for.

A letter counts if it is one of the options and stands alone, in brackets, or before a full stop, colon or closing
bracket: "A city on…" is not a vote for A. An answer in an option's own words is a vote for that option.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from emerge_core.answers.forms import numbers
from emerge_core.answers.forms.latex import plain
from emerge_core.answers.forms.short_text import bare, find_run, words

MAX_SCANNED = 60_000  # characters of the last user message, counted from its end

_OPTION_LINE = re.compile(r"^[ \t>*_-]{0,6}(\()?([A-Z])([.):])[*_]{0,2}(?:[ \t\v\f]+(.*))?$", re.M)
_LOWER_LINE = re.compile(r"^[ \t>*_-]{0,6}(\()?([a-z])([.)])[*_]{0,2}(?:[ \t\v\f]+(.*))?$", re.M)
_INLINE = re.compile(
    r"(?<![\w(])(\()?([A-Za-z])(\))[*_]{0,2}\s{1,3}([^\n]{0,600}?)"
    r"(?=[\s,;]{1,3}(?:and\s|or\s)?\(?[A-Za-z]\)[*_]{0,2}\s|\n|\Z)"
)
_LETTER = re.compile(
    r"(?:(?:the\s+)?(?:option|choice|letter|answer|statement)s?\s*:?\s*)?"
    r"(?P<open>[(\[{]{1,2})?\s*(?P<letter>[A-Za-z])(?:\s*(?P<close>[)\]}]{1,2}))?(?P<rest>.*)",
    re.I | re.S,
)
_JOINS = r"\s*(?:,\s*)?(?:\band\b|\bor\b|/|&|,|\+)\s*"
_ANOTHER = re.compile(
    rf"{_JOINS}(?:also\s+)?(?:option\s+)?(?:[(\[]([A-Za-z])[)\]]|([A-Z])(?![\w'’]))"
    r"|\s+(?:and|or)\s*\Z"  # cut off before the other one
)
_SEVERAL = re.compile(rf"[(\[]?[A-Z][)\]]?(?:{_JOINS}[(\[]?[A-Z]\b[)\]]?)+(?=[\s.)\]]*(?:\Z|\n))")
# The opening of a sentence that picks an option: I would go with (B); so, it is B; therefore, B.
_VERDICT = re.compile(
    r"(?:(?:so|thus|therefore|hence|then|consequently)\b[,:]?\s*)*"
    r"(?:(?:I (?:think|believe)(?: that)? )?"
    r"(?:I(?:['’]d|['’]ll| would| will)? (?:choose|pick|select|go with|go for|say|answer)"
    r"|(?:the correct one|it|that|this)(?:['’]s| is| must be| would be)|my (?:choice|pick) is)\b[,:]?\s*)?",
    re.I,
)
_AFTER = re.compile(r"[.:),;*\]!?](?!\w)|\s*[-–—:]\s|\s+\(|\s*$|\n")
_NAMED = re.compile(r"(?<!\w)\((?P<bracketed>[A-Z])\)|(?<![\w.])(?P<dotted>[A-Z])[.):](?=\s)")
_EXPLAINS = re.compile(
    r"[\s,;]*(?:because|since|as|for|rather|instead|which|where|is|was|with|given|due|based|from|in|so|that|option|if|by|and|the)\b",
    re.I,
)
_NEGATED = re.compile(r"(?:definitely |clearly |certainly )?(?:not|neither|none|nor|isn't|cannot|can't|no)\b", re.I)


_RULED_OUT = re.compile(
    r"(?:\b(?:not|unlike|than|neither|nor|exclude[sd]?|eliminate[sd]?)|n['’]t)\b(?:\s+\w+){0,3}\s*\Z", re.I
)


_DENIALS = frozenset("not no never neither nor cannot except unlike isnt arent wasnt doesnt dont didnt cant".split())  # noqa: SIM905


@dataclass(frozen=True)
class Option:
    letter: str
    text: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(words(self.text))

    @cached_property
    def number(self) -> Fraction | None:
        return numbers.parse(self.text)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a request, in order from A."""

    items: tuple[Option, ...]

    @property
    def letters(self) -> str:
        return "".join(option.letter for option in self.items)

    @classmethod
    def find(cls, text: str, *, loose: bool = True) -> Options | None:
        """The last run of lines `A. …`, `A) …`, `(A) …` that starts at A and has at least two of them; if
        `loose`, also of lines `a) …`, and of `(A) … (B) …` in one line."""
        found = _find_options(text, loose)
        return cls(tuple(Option(letter, option_text) for letter, option_text in found)) if found else None

    def vote(self, value: str) -> str | None:
        """The letter that a stated answer votes for, or None."""
        value = bare(plain(bare(value)))
        if not value:
            return None
        if _NEGATED.match(value):
            return self._equal_text(words(value))  # "None of the above" may be on offer
        return self._by_letter(value) or self._by_text(value) or self.verdict(value)

    def verdict(self, sentence: str) -> str | None:
        """The letter of a sentence that picks an option ("I would go with (B)", "Therefore, B"), or None."""
        match = _VERDICT.match(sentence)
        return self._by_letter(bare(sentence[match.end() :])) if match and match.end() else None

    @staticmethod
    def several(value: str) -> bool:
        """Whether the value lists several letters, as "(A, B, C, or D)" does, so that it is not a vote."""
        return _SEVERAL.fullmatch(value.strip(" \t\r\n*_`.:()[]$")) is not None

    def _by_letter(self, value: str) -> str | None:
        match = _LETTER.match(value)
        if not match:
            return None
        letter, rest = match["letter"].upper(), match["rest"]
        option = next((option for option in self.items if option.letter == letter), None)
        if option is None:
            return None
        bracketed = bool(match["open"]) and bool(match["close"])
        closed = bracketed or bool(match["close"])
        if match["letter"].islower() and rest.strip(" .):*_") and not self._is_text(option, rest):
            return None  # "a city": an article; "(b) The cost is …": a part of the reasoning
        if _ANOTHER.match(rest.lstrip(".)*_")) and not (rest[:1] in ".:" and self._is_text(option, rest)):
            return None  # "A and B": not one vote
        if closed or not rest.strip() or _AFTER.match(rest):
            return letter
        if self._is_text(option, rest):
            return letter
        if letter not in "AI" and _EXPLAINS.match(rest):
            return letter
        return None

    def subject(self, value: str) -> str | None:
        """The letter of "(B)", "option B" or "(B) Paris" as the subject of a sentence.

        Anything between the letter and the verb must be that option's text; otherwise the sentence is about
        something else.
        """
        match = _LETTER.match(bare(value))
        option = next((one for one in self.items if match and one.letter == match["letter"].upper()), None)
        if option is None or match is None:
            return None
        between = words(match["rest"])
        return option.letter if not between or between == list(option.words) else None

    def named_in(self, sentence: str) -> tuple[str, int, int] | None:
        """The only option that a sentence names, as `(B)` or with its text ("known as B. Paris"), with its position."""
        found = {match["bracketed"]: match for match in _NAMED.finditer(sentence) if match["bracketed"]}
        if not found:
            for match in _NAMED.finditer(sentence):
                option = next((one for one in self.items if one.letter == match["dotted"]), None)
                if option is not None and self._is_text(option, sentence[match.end() :]):
                    found[option.letter] = match
        if len(found) != 1:
            return None
        ((letter, match),) = found.items()
        if _RULED_OUT.search(sentence[max(0, match.start() - 40) : match.start()]):
            return None
        return (letter, match.start(), match.end()) if letter in self.letters else None

    def _equal_text(self, said: list[str]) -> str | None:
        equal = [option.letter for option in self.items if said and list(option.words) == said]
        return equal[0] if len(equal) == 1 else None

    @staticmethod
    def _is_text(option: Option, rest: str) -> bool:
        said = words(rest[: len(option.text) + 200])
        return bool(option.words) and said[: len(option.words)] == list(option.words)

    def _by_text(self, value: str) -> str | None:
        if len(value) > 1000:
            return None
        said = words(value)
        if not said:
            return None
        equal = [option for option in self.items if list(option.words) == said]
        if len(equal) > 1 or not equal:
            # Signs and operators tell such options apart: "-2" and "2", "x+1" and "x-1".
            squeezed = _squeeze(value)
            equal = [option for option in self.items if _squeeze(option.text) == squeezed]
        if len(equal) == 1:
            other = numbers.parse(value)
            return equal[0].letter if other is None or equal[0].number in (None, other) else None
        number = numbers.parse(value)
        if number is not None:
            same = [option.letter for option in self.items if option.number == number]
            return same[0] if len(same) == 1 else None
        if len(said) < 2:
            held = [option for option in self.items if said[0] in option.words] if len(said[0]) > 3 else []
            return held[0].letter if len(held) == 1 else None
        return self._by_containment(said)

    def _by_containment(self, said: list[str]) -> str | None:
        if _DENIALS.intersection(said) - {word for option in self.items for word in option.words}:
            return None  # "It is not Paris"
        holding = [
            option
            for option in self.items
            if option.words
            and len(said) <= 3 * len(option.words) + 8
            and find_run(list(option.words), said) >= 0
            and (len(option.words) > 1 or len(option.words[0]) > 3)
        ]
        if holding:
            widest = max(holding, key=lambda option: len(option.words))
            inside = all(find_run(list(option.words), list(widest.words)) >= 0 for option in holding)
            return widest.letter if inside and sum(o.words == widest.words for o in holding) == 1 else None
        held = [option.letter for option in self.items if find_run(said, list(option.words)) >= 0]
        return held[0] if len(held) == 1 else None


def option_letters(text: str, *, loose: bool = True) -> str:
    """The letters of the options that a request offers, in order; empty if there are none. See `Options.find`."""
    return "".join(letter for letter, _ in _find_options(text, loose))


def _find_options(text: str, loose: bool) -> list[tuple[str, str]]:
    text = text[-MAX_SCANNED:]
    found = _last_run(_OPTION_LINE, text)
    if not found and loose:
        found = _last_run(_LOWER_LINE, text) or _last_run(_INLINE, text)
    return found


def _last_run(pattern: re.Pattern[str], text: str) -> list[tuple[str, str]]:
    best: list[tuple[str, str]] = []
    run: list[tuple[str, str]] = []
    for match in pattern.finditer(text):
        letter, option_text = match.group(2).upper(), (match.group(4) or "").strip()
        if bool(match.group(1)) and match.group(3) != ")":
            continue
        if letter == "A":
            run = [(letter, option_text)]
        elif run and ord(letter) == ord(run[-1][0]) + 1:
            run.append((letter, option_text))
        if len(run) >= 2:
            best = run
    return best


def _squeeze(text: str) -> str:
    return "".join(bare(plain(text)).casefold().split())


def lists_options(text: str) -> bool:
    """Whether a reply discusses several options, so that its first letter is not a vote."""
    return (
        len(_last_run(_INLINE, text[:2_000])) > 1
        or sum(1 for _ in zip(_OPTION_LINE.finditer(text), range(2), strict=False)) > 1
    )
