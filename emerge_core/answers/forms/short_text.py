"""Short strings as answers: case, articles, punctuation and diacritics do not matter.

Two texts also match when the words of one stand in a row in the other ("Paris" and "Paris,
France"), unless what is added changes the meaning ("not Paris", "Paris or Rome", "Apollo 11").
"""

from __future__ import annotations

import re
import unicodedata

MAX_WORDS = 12
MAX_CHARS = 100


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARTICLES = frozenset(("a", "an", "the"))
_CHANGERS = _set("not no never non nor neither or and without except either isnt wasnt vs versus but")
_FUNCTION = _set("of in on at to by for from with as is was are were it its he she they his her their this that and or")
_NUMERAL = re.compile(r"\d+|[ivx]{1,5}|one|two|three|four|five|six|seven|eight|nine|ten")
_WORD = re.compile(r"[^\W_]+")
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.){2,}")
_APOSTROPHE = re.compile(r"(?<=\w)['’`](?=\w)")
TICKS = "✅☑✔❌✓✗✘\ufe0f"  # decoration around an answer
_MARKUP = f" \t\r\n*_`#>~{TICKS}"


def bare(text: str) -> str:
    """Strip the markdown, quotes and closing punctuation around a text."""
    previous = None
    while previous != text:
        previous = text
        text = text.strip(_MARKUP)
        if len(text) > 1 and text[-1] in ".,;:!":
            text = text[:-1]
        if len(text) > 1 and (text[0], text[-1]) in (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("«", "»")):
            text = text[1:-1]
    return text


def words(text: str) -> list[str]:
    """The words of a text without case, accents and articles (articles are kept if nothing else is left)."""
    text = unicodedata.normalize("NFKD", text).casefold()
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = _INITIALS.sub(lambda match: match.group().replace(".", ""), text.replace("&", " and "))
    found = _WORD.findall(_APOSTROPHE.sub("", text))
    return [word for word in found if word not in ARTICLES] or found


def text_value(text: str) -> str | None:
    """The normal form of a short text, or None if it is empty or too long."""
    if len(text) > MAX_CHARS:
        return None
    found = words(text)
    return " ".join(found) if 0 < len(found) <= MAX_WORDS else None


def find_run(needle: list[str], hay: list[str]) -> int:
    """The index at which `needle` occurs in `hay` as consecutive words, or -1."""
    first = needle[0]
    for index in range(len(hay) - len(needle) + 1):
        if hay[index] == first and hay[index : index + len(needle)] == needle:
            return index
    return -1


def contains(a: str, b: str) -> bool:
    """Whether one of two normal forms contains the other and adds nothing that changes its meaning."""
    short, long = sorted((a.split(), b.split()), key=len)
    if not short or all(word in _FUNCTION or len(word) == 1 for word in short):
        return False
    at = find_run(short, long)
    if at < 0:
        return False
    added = long[:at] + long[at + len(short) :]
    if any(word in _CHANGERS for word in added):
        return False
    after = long[at + len(short) :]
    return not (after and _NUMERAL.fullmatch(after[0]))
