"""Numbers in every common notation, as exact fractions.

`parse` reads a text that *is* a number, with a currency, thousands separators, a percent sign or a unit. Anything
more ("5 hours 30 minutes", "8 of 10", "2√3", "July 4") is not a number, because a wrong key is worse than none.
`mentioned` lists the numbers that occur in a sentence.
"""

from __future__ import annotations

import re
from fractions import Fraction

from emerge_core.answers.forms.latex import plain

MAX_CHARS = 160
_MAX_DIGITS = 600

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d{1,3}(?:[   ]\d{3})+(?![\d])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_LEAD = re.compile(
    r"(?:(?:(?:about|approximately|approx\.?|around|roughly|exactly|only|just|nearly|almost|a total of|total of|"
    r"total|is|are|be|equals?|in|over|at least|at most|the number|the year|usd|us|rs\.?|eur|gbp|inr|"
    r"php)(?=[\s$€£₹:\d])|"
    r"[≈~=:≃])\s*)+",
    re.I,
)
_SHAPE = re.compile(
    r"(?P<open>\()?\s*(?P<sign>[-+]|minus\s|negative\s)?\s*(?:US)?(?P<money>[$€£¥₹])?\s*(?P<sign2>[-+])?"
    rf"(?:(?P<whole>\d+)[\s-]+(?P<top>\d+)\s*/\s*(?P<bottom>\d+)"
    rf"|\(?(?P<num>[-+]?{_DIGITS})\)?"
    rf"(?:\s*/\s*[$€£]?\(?(?P<den>-?{_DIGITS})\)?"
    r"|(?:[eE](?P<exp>[+-]?\d{1,3})|\s*[×x*]\s*10\s*(?:\^|\*\*)?\s*[{(]?\s*(?P<pow>[+-]?\d{1,3})\s*[})]?))?)"
    r"(?P<close>\s*\))?(?P<rest>.*)",
    re.I | re.S,
)
_SCALE = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "mn": 10**6,
    "billion": 10**9,
    "bn": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}


def _listed(*lines: str) -> list[str]:
    return [word for line in lines for word in line.split()]


def _words(*lines: str) -> frozenset[str]:
    return frozenset(_listed(*lines))


# What may follow a number without a space, or be its one-letter unit.
_UNITS = _words(
    "m g s h l kg km cm mm nm mg ml mi ft in lb lbs oz hr hrs min mins sec secs ms kb mb gb tb kj kw kwh mph kph rpm ",
    "hz khz mhz ghz pa kpa mpa mol ev kev mev cal kcal cents c ¢ n v a w j k f d yr yrs dollars eggs th st nd rd",
)
_UNIT_NAMES = _words(
    "usd eur gbp inr celsius fahrenheit kelvin newton newtons joule joules watt watts ohm ohms volt volts hertz btu ",
    "dollar dollars pounds euros",
)
# A word after a number that makes it more than that number with a unit.
_NO_UNIT = _words(
    "and or to of out plus minus but if sqrt pi mod than am pm bc bce ad ce o'clock half quarter if when where ",
    "january february march april may june july august september october november december jan feb mar apr jun jul ",
    "aug sep sept oct nov dec not factorial squared cubed remainder r choose ",
    "halves third thirds quarters fourth fourths fifth fifths sixths sevenths eighths ninths tenth tenths",
)
# A verb right after a number: a sentence about it. Later, it is part of what was counted: "27 marbles were given".
_VERBS = _words("is are was were has have had does did will would can could")
_UNIT_WORD = re.compile(r"[A-Za-z¢°Ωµμ]+")
_REST = re.compile(r"\s*(?:%|°|[A-Za-z¢°Ωµμ'’%./^²³ -]|(?<=\^)-?[23]|(?<=\^\{)[23]|[{}](?=[23}]|$))*")
_COUNTER = re.compile(r"\s?[\u3041-\u30ff\u4e00-\u9fff\uac00-\ud7af]{1,2}(?<![十百千万億亿兆萬만억])")
_TAIL_NOTE = re.compile(r"(?:\s+\([^()]{1,120}\)|(?<=[a-z])\([^()]{1,120}\))$")
_SMALL = _listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
    "seventeen eighteen nineteen",
)
_NAMED = {name: value for value, name in enumerate(_SMALL)}
_TENS = {
    name: 10 * value
    for value, name in enumerate(_listed("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
NUMBER_WORDS = (*_NAMED, *_TENS, *_SCALE, "minus", "negative")
_FORMULA = re.compile(r"\A\$([^$]{1,80})\$(?=\s)")
_OF_WHOLE = re.compile(r"\A\s+of (?:an?|the) ")  # "3/4 of a cup" is an amount, "8 of 10" is more than its first number
_NUMBER_WORD = re.compile(rf"(?:^|[\s-]+)(?:and\s+)?(?P<word>{'|'.join(NUMBER_WORDS)})(?![^\W_])", re.I)
_POWER = re.compile(r"(?P<base>-?\d{1,6})\s*\^\s*(?:(?P<power>\d{1,3})|\{(?P<braced>\d{1,3})\})")
# Thousands set apart in other ways: 1.000.000, 1'000, 1_000, 12,34,567; and with a decimal comma, 1.234,56.
_GROUPED = re.compile(
    r"(?<![\d.,'’_])(?:(?P<dots>\d{1,3}(?:\.\d{3}){2,})|(?P<comma>\d{1,3}(?:\.\d{3})+,\d{1,2})|(?P<marks>\d{1,3}(?:['’_]\d{3})+)"
    r"|(?P<lakh>\d{1,2}(?:,\d{2})+,\d{3}))(?![\d.,'’_]*\d)"
)
_DASHES = str.maketrans({"−": "-", "–": "-", "‒": "-", "—": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "×": "×"})


def canonical(value: Fraction) -> str:
    """The canonical spelling of a value: `12`, `-7/2`."""
    return str(value)


def _decimal(digits: str) -> Fraction | None:
    digits = digits.replace(",", "").replace(" ", "")
    if len(digits) > _MAX_DIGITS:
        return None
    unsigned = digits.lstrip("+-")
    if len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1].isdigit():
        return None  # "007", "01234": a code, not a quantity
    return Fraction(digits.rstrip(".") or "0")


def _named(text: str) -> Fraction | None:
    """A number in words, with or without a unit: "twenty-one", "minus five", "two hundred and six clips"."""
    rest = text
    total, part, places = 0, 0, 0  # `places`: below it, a further word may add
    negative = False
    while match := _NUMBER_WORD.match(rest):
        word = match["word"].lower()
        if word in ("minus", "negative"):
            if negative or places:
                return None
            negative = True
        elif word in _SCALE:
            if not places or word == "dozen":
                return None
            total, part = (total, part * 100) if word == "hundred" else (total + part * _SCALE[word], 0)
            places = 100
        else:
            value = _NAMED.get(word, _TENS.get(word, 0))
            if places and not 0 < value < places:
                return None
            part, places = part + value, 10 if value >= 20 else 1
        rest = rest[match.end() :]
    factor = _unit(rest) if places else None
    return (-1 if negative else 1) * Fraction(total + part) * factor if factor is not None else None


def _thousands(rest: str) -> Fraction | None:
    """The factor of the letter after an amount: $12k, $3.5M, €2B."""
    return Fraction({"k": 1000, "m": 10**6, "b": 10**9}.get(rest.lower(), 0)) or None


def _unit(rest: str) -> Fraction | None:
    """The factor for the text after a number: 1 for a unit, 1000 for "thousand", None if it is more than a unit."""
    rest = _TAIL_NOTE.sub("", rest)
    factor = Fraction(1)
    if not rest or _COUNTER.fullmatch(rest):
        return factor
    if rest.startswith("^") and not rest.startswith("^°"):
        return None  # a power
    attached = not rest[0].isspace() and rest[0] not in "-%°¢"
    if not _REST.fullmatch(rest):
        return None
    found = _UNIT_WORD.findall(rest.strip())
    if len(found) > 7:
        return None
    for index, word in enumerate(found):
        lower = word.lower()
        if index == 0 and ((attached and lower not in _UNITS) or lower in _VERBS):
            return None
        if index == 0 and lower in _SCALE:
            factor *= _SCALE[lower]
        elif (lower in _NO_UNIT and not (index and lower == "of")) or (
            len(word) == 1 and lower not in _UNITS and lower != "a" and word not in "°Ωµμ"
        ):
            return None
        elif index == 0 and word[0].isupper() and word[1:].islower() and lower not in _UNIT_NAMES:
            return None  # "50 Cent", "12 Monkeys"
    return factor


def _regrouped(match: re.Match[str]) -> str:
    digits = match.group()
    if match["comma"]:
        return digits.replace(".", "").replace(",", ".")
    return re.sub(r"\D", "", digits)


def parse(text: str) -> Fraction | None:
    """The number that the text is, or None."""
    if len(text) > max(MAX_CHARS, _MAX_DIGITS):
        return None
    text = plain(text).translate(_DASHES).strip(" \t\r\n*_`\"'")
    text = text.rstrip(".!;, ")
    text = _FORMULA.sub(r"\1", text) if text.count("$") == 2 else text
    text = text.rstrip("€£¥₹ ")
    text = text.removesuffix("$").strip() if text.count("$") == 1 and text.endswith("$") else text
    head, sign, tail = text.rpartition("=")
    if sign and len(head) <= 80 and not _SEVERAL.search(head) and (tail := tail.strip()):
        text = tail
    text = _LEAD.sub("", text, count=1) if _LEAD.match(text) else text
    if power := _POWER.fullmatch(text):
        return Fraction(int(power["base"]) ** int(power["power"] or power["braced"]))
    match = _SHAPE.fullmatch(_GROUPED.sub(_regrouped, text))
    if not match:
        return _named(text)
    if bool(match["close"]) and not match["open"] and "(" not in text:
        return None
    factor = _thousands(match["rest"]) if match["money"] or match["rest"] == "k" else None
    rest = _OF_WHOLE.sub(" ", match["rest"], count=1) if match["den"] or match["whole"] else match["rest"]
    factor = factor or _unit(rest)
    if factor is None:
        return None
    if match["whole"] is not None:
        bottom = int(match["bottom"][:20])
        if not bottom or max(map(len, (match["whole"], match["top"], match["bottom"]))) > 18:
            return None
        value: Fraction | None = int(match["whole"]) + Fraction(int(match["top"]), bottom)
    else:
        value = _decimal(match["num"])
        if value is not None and match["den"] is not None:
            divisor = _decimal(match["den"])
            value = value / divisor if divisor else None
        exponent = match["exp"] or match["pow"]
        if value is not None and exponent is not None:
            value *= Fraction(10) ** int(exponent)
    if value is None:
        return None
    negative = (match["sign"] or "").strip().lower() in ("-", "minus", "negative") or match["sign2"] == "-"
    return (-value if negative else value) * factor


_SEVERAL = re.compile(r"\b(?:or|and)\b|[,;]\s")
_MENTION = re.compile(rf"(?<![\w.^])(?P<sign>-(?=[$€£]?\d))?[$€£]?(?P<num>{_DIGITS})(?P<den>/\d+)?(?![\d])")


def mentioned(text: str) -> list[Fraction]:
    """Every number that the text mentions, in order."""
    found: list[Fraction] = []
    for match in _MENTION.finditer(plain(text).translate(_DASHES)):
        value = _decimal(match["num"])
        if value is None:
            continue
        if match["den"] and len(match["den"]) < 20 and int(match["den"][1:]):
            value /= int(match["den"][1:])
        found.append(-value if match["sign"] else value)
    return found
