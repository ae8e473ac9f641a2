"""Classification: the labels that a request lists, and the one that a reply chooses.

"Classify it as positive, negative or neutral": the label is one of the question's own words, which
`sentence.new_words` would leave out.
"""

from __future__ import annotations

import re

from emerge_core.answers.forms.short_text import words

MAX_SCANNED = 4_000  # of the request, from its end and from its beginning
MAX_LABELS = 30

_CLASSIFIES = re.compile(
    r"\b(?:classif\w+|categor\w+|labels?|labell?ed|sentiment|one of|(?:answer|reply|respond) (?:only )?with"
    r"|choose between|pick one|is (?:it|this|that|the following)|whether)\b",
    re.I,
)
_LABEL = r"[\"'`“*]{0,2}(?:an? |the )?[A-Za-z][A-Za-z_-]{1,24}[\"'`”*]{0,2}"
_BEFORE = r"(?:\b(?:as|into|either|among|between|is|are|be|of|with|whether|from)\s|[:(\[\n]\s?|\A)"
_AFTER = r"(?=\s{0,3}(?:[.?!:;,)\]\n]|\Z))"  # one word each: "billing question" is no label to be sure of
_LISTED = re.compile(
    rf"{_BEFORE}(?P<list>{_LABEL}(?:,\s?{_LABEL}){{0,{MAX_LABELS}}},?\s(?:or|and)\s{_LABEL}"
    rf"|{_LABEL}(?:/{_LABEL}){{1,{MAX_LABELS}}}){_AFTER}"
    rf"|[:(\[]\s?(?P<row>{_LABEL}(?:,\s?{_LABEL}){{1,{MAX_LABELS}}}){_AFTER}"
    rf"|(?<!\w)(?P<pair>{_LABEL}\sor\s{_LABEL})\?",
    re.I,
)
_WORD = re.compile(r"[A-Za-z][A-Za-z_-]+")
_NO_LABEL = frozenset(
    word
    for line in (
        "one two three four five six seven more less so not a an the and or other both either neither also if yes no",
        "true false as into be it is this that",
    )
    for word in line.split()
)
_DENIES = re.compile(r"\b(?:not|neither|nor|never|cannot|or|unclear|depends|hardly|both|mixed)\b|n['’]t\b", re.I)
_FIRST = re.compile(r"[^.!?\n;,:(–—]{1,100}")
_HEADED = re.compile(r"[\s*_#>-]{0,6}[A-Za-z ]{3,24}[*_]{0,2}\s?:[*_]{0,2}\s{0,3}")


def labels_of(text: str) -> frozenset[str]:
    """The labels that a request lists, in lower case; empty if it does not ask for a classification."""
    if len(text) > 2 * MAX_SCANNED:
        text = f"{text[:MAX_SCANNED]}\n{text[-MAX_SCANNED:]}"
    if not _CLASSIFIES.search(text):
        return frozenset()
    found: set[str] = set()
    for match in _LISTED.finditer(text):
        listed = {word.lower() for word in _WORD.findall(match["list"] or match["row"] or match["pair"])} - _NO_LABEL
        if len(listed) > 1:
            found |= listed
    return frozenset(found)


def label_in(labels: frozenset[str], text: str) -> str | None:
    """The label in the first words of a reply ("Positive", "Sentiment: positive", "It is positive, as …"), or None."""
    if not labels:
        return None
    headed = _HEADED.match(text)
    match = _FIRST.match(text, headed.end() if headed else 0)
    if match is None or _DENIES.search(match.group()):
        return None
    named = {word.lower() for word in _WORD.findall(match.group())} & labels
    return " ".join(words(named.pop())) if len(named) == 1 else None
