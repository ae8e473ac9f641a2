"""LaTeX in answers: removes wrappers, and turns fractions and symbols into plain characters."""

from __future__ import annotations

import re
import unicodedata

_WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|tt)?|math(?:rm|bf|it|sf|tt)|mbox|boxed|fbox|operatorname|displaystyle)\s*\{([^{}]*)\}"
)
_DROPPED = re.compile(
    r"\\(?:left|right|displaystyle|limits|Big|big|quad|qquad)(?![A-Za-z])|\\[,!;:> ]|\\[()\[\]]|\\\\$"
)
_GROUP = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
_FRACTION = re.compile(rf"\\[dtc]?frac\s*(?:{_GROUP}|(\d))\s*(?:{_GROUP}|(\d))")
_SYMBOLS = (
    ("\\$", "$"),
    ("\\%", "%"),
    ("\\times", "×"),
    ("\\cdot", "×"),
    ("^{\\circ}", "°"),
    ("^\\circ", "°"),
    ("\\degree", "°"),
    ("\\circ", "°"),
    ("\\pi", "π"),
    ("\\infty", "∞"),
    ("\\approx", "≈"),
    ("\\neq", "≠"),
    ("\\ne", "≠"),
    ("\\leq", "≤"),
    ("\\le", "≤"),
    ("\\geq", "≥"),
    ("\\ge", "≥"),
    ("\\{", "{"),
    ("\\}", "}"),
    ("~", " "),
)


_SUPERSCRIPT = re.compile(r"(?<=[\w)])[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_UNRAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_VULGAR = re.compile(r"(\d?)[ \u00a0]?([¼½¾⅐-⅞])")


def _typed(text: str) -> str:
    """Spell superscripts and one-character fractions in ASCII: `10⁸` as `10^8`, `1½` as `1 1/2`."""
    text = _SUPERSCRIPT.sub(lambda match: "^" + match.group().translate(_UNRAISED), text)
    return _VULGAR.sub(
        lambda match: f"{match[1]} {unicodedata.normalize('NFKC', match[2]).replace('⁄', '/')}".lstrip(), text
    )


def _fraction(match: re.Match[str]) -> str:
    top = match.group(1) if match.group(1) is not None else match.group(2)
    bottom = match.group(3) if match.group(3) is not None else match.group(4)
    top, bottom = (part if part.isalnum() else f"({part})" for part in (top.strip(), bottom.strip()))
    return f" {top}/{bottom}"


def plain(text: str) -> str:
    """Remove wrappers such as `\\text{…}` and `\\boxed{…}`, spacing commands and `$` pairs.

    Nothing else is evaluated: `\\sqrt{2}` stays as it is.
    """
    text = text.replace("{,}", ",")
    if not text.isascii():
        text = _typed(text)
    if "\\" in text:
        for _ in range(4):  # nesting is bounded: deeper than this is no short answer
            unwrapped = _WRAPPER.sub(r" \1 ", text)
            if unwrapped == text:
                break
            text = unwrapped
        text = _DROPPED.sub("", text)
        for _ in range(3):
            rewritten = _FRACTION.sub(_fraction, text)
            if rewritten == text:
                break
            text = rewritten
        for command, symbol in _SYMBOLS:
            if command in text:
                text = text.replace(command, symbol)
    text = text.strip()
    if text.startswith("$$") and text.endswith("$$") and len(text) > 4:
        text = text[2:-2].strip()
    if text.startswith("$") and text.endswith("$") and len(text) > 2:
        text = text[1:-1].strip()
    return text


_SPACE = re.compile(r"\s+")
_MATH = re.compile(r"[\\^=+*/√π∞×°<>≤≥±|(){}\[\]]|\d[a-z]\b|\d,(?!\d{3}(?!\d))\s*-?\d|-\d")
_LONG_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4,}")
_FUNCTIONS = frozenset(("sqrt", "floor", "ceil", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan"))
_BRACED_CHAR = re.compile(r"\{(\w)\}")


def expression(text: str) -> str | None:
    """The normal form of a short formula that is not a plain number, or None if the text is not a formula."""
    text = plain(text)
    if not 0 < len(text) <= 160 or not _MATH.search(text):
        return None
    if any(word.lower() not in _FUNCTIONS for word in _LONG_WORD.findall(text)):
        return None  # words around a formula: prose
    text = _SPACE.sub("", text.replace("−", "-").replace("–", "-")).replace("$", "").replace("sqrt(", "sqrt{")
    text = _BRACED_CHAR.sub(r"\1", text.replace("\\sqrt", "sqrt").replace("√", "sqrt").replace("**", "^"))
    text = text.replace("·", "×").replace("*", "×")
    head, sign, tail = text.rpartition("=")
    if sign and head.isalpha() and len(head) <= 2:
        text = tail
    return text.strip(".,;\"'`") or None
