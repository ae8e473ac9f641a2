"""Refusals and hedges: what a reply says about itself, outside quotes and code.

Length does not matter: "B" and "42" are full answers.
"""

from __future__ import annotations

import re

_HEAD = 700  # a refusal stands at the beginning
_TAIL = 400


def _any(*patterns: str) -> str:
    return "(?:" + "|".join(patterns) + ")"


_QUOTED = re.compile(
    _any(
        r"```.{0,20000}?(?:```|\Z)",
        r"`[^`\n]{0,300}`",
        r"\"[^\"\n]{0,600}\"",
        r"“[^”\n]{0,600}”",
        r"«[^»\n]{0,600}»",
        r"(?<!\w)'[^'\n]{3,300}'(?!\w)",
    ),
    re.S,
)
_QUOTE_LINE = re.compile(r"^[ \t]*>.*$", re.M)

_CANNOT = _any(
    r"can(?:no|')?t",
    r"can not",
    r"could(?: not|n't)",
    r"(?:am|'m) (?:not able|unable)",
    r"wo(?:n't)(?: be able)?",
    r"will not(?: be able)?",
    r"(?:must |have to |need to |will )?(?:decline|refuse)",
    r"(?:am|'m) not (?:comfortable|allowed|permitted|going)",
    r"do(?: not|n't) feel comfortable",
)
# What a refusal declines to do: "I cannot find an error" declines nothing.
_DOING = _any(
    r"help(?:ing)?|assist(?:ing)?|comply|fulfil+|answer(?:ing)?|respond|continue|proceed|engage|participate",
    r"do (?:that|this|so|it)",
    r"provid(?:e|ing)|shar(?:e|ing)|creat(?:e|ing)|generat(?:e|ing)|writ(?:e|ing)|discuss(?:ing)?|produce|offer|support",
    r"give (?:you )?(?:that|any|advice|instructions|medical|legal)",
    r"complete|satisfy|process|accommodate|describe|identify|facilitate|talk about",
    r"be (?:of (?:help|assistance)|able to)",
)
_APOLOGY = r"sorry|apologi[sz]e|apologies|unfortunately|regret|however|but"
_REFUSAL = re.compile(
    rf"(?:\A|[.!?\n]\s*|\b(?:{_APOLOGY}|as an? (?:\w+ ){{0,3}}(?:ai|assistant|model|llm)[\w ]{{0,40}})[,:]?\s+"
    rf"(?:but\s+|that\s+)?)"
    rf"I\s*(?:really |simply |respectfully |just )?{_CANNOT}\s+(?:to |with |in )?(?:\w+ly )?{_DOING}\b",
    re.I,
)
_SORRY = re.compile(
    r"\A\W*(?:i'?m |i am )?(?:very |so |really )?(?:sorry|afraid)[,:]?\s+(?:but\s+)?(?:that\s+)?"
    r"(?:i\s*(?:can(?:no|')?t|can not)|(?:that|this|it)(?:'s| is) (?:not something|against))",
    re.I,
)
_POLICY = re.compile(
    _any(
        r"\A[^.\n]{0,120}\bagainst my (?:guidelines|policy|policies|programming)\b",
        r"\A[^.\n]{0,120}\bviolates? (?:my|our|the) (?:guidelines|polic)",
        r"\A\W*(?:i must )?(?:respectfully )?(?:decline|refuse) to\b",
    ),
    re.I,
)

_ANYWAY = re.compile(r"\b(?:but|however|instead),? here(?:'s| is| are)\b", re.I)  # declines, and answers after all

# Doubts that count anywhere.
_STRONG = re.compile(
    _any(
        r"\bI(?:'m| am) (?:not (?:[\w%]+ ){0,2}?(?:sure|certain|confident)|unsure|uncertain|guessing)\b",
        r"\bI (?:really )?(?:do not|don't) (?:know|recall|remember)\b",
        r"\bnot (?:entirely |completely |quite |at all )?(?:sure|certain)\b",
        r"\b(?:my|a|the) best guess\b|\bjust a guess\b|\bI(?:'d| would| will|'ll)? (?:have to )?guess\b",
        r"\b(?:it's|it is) (?:hard|difficult|impossible) to (?:say|tell|know|determine)\b",
        r"\bcannot be (?:determined|known)\b|\bcould go either way\b",
        r"\b(?:not|n't) (?:have )?(?:enough|sufficient) (?:information|context|data)\b",
        r"\binsufficient (?:information|data|context)\b",
        r"\bI (?:cannot|can't|can not) (?:be (?:sure|certain)|say (?:for sure|with certainty)|verify|confirm)\b",
        r"\bgrain of salt\b",
    ),
    re.I,
)
# Doubts that count only in the first or last sentence: in between they belong to the reasoning.
_WEAK = re.compile(
    _any(
        r"\b(?:might|may|could|would) (?:well |also |possibly )?be\b",
        r"\b(?:possibly|perhaps|maybe|probably|presumably|unclear|not clear)\b",
        r"\bI (?:suspect|guess|assume|suppose)\b|\b(?:seems?|appears?) to be\b",
        r"\bas far as I (?:know|can tell)\b|\bif I (?:recall|remember)\b|\bif I'm not mistaken\b",
    ),
    re.I,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def unquoted(text: str) -> str:
    """The text without code, quotations and quoted lines; apostrophes are plain ones."""
    return _QUOTE_LINE.sub(" ", _QUOTED.sub(" … ", text.replace("’", "'")))


# One of these occurs in every refusal: without them the patterns need not be tried.
_SIGNS = (
    *("sorry", "afraid", "against my", "violate", "decline", "refuse", "can't", "cannot", "cant", "can not", "could"),
    *("able", "won't", "will not", "comfortable", "not allowed", "not permitted", "not going"),
)


def is_refusal(text: str) -> bool:
    """Whether the reply declines to answer."""
    start = text[: 2 * _HEAD].replace("’", "'").lower()
    if not any(sign in start for sign in _SIGNS):
        return False
    head = unquoted(text[: 2 * _HEAD]).lstrip(" \t\r\n*_#…")[:_HEAD]
    opening = " ".join(_SENTENCE_END.split(head)[:3])
    if _ANYWAY.search(opening):
        return False
    return bool(_SORRY.match(head) or _POLICY.match(head) or _REFUSAL.search(opening))


def hedges(text: str) -> bool:
    """Whether the reply doubts its own answer: strongly anywhere, or mildly in its first or last sentence."""
    own = unquoted(text if len(text) <= 40_000 else f"{text[:20_000]}\n{text[-20_000:]}")
    if _STRONG.search(own):
        return True
    sentences = [sentence for sentence in _SENTENCE_END.split(own[:_HEAD]) if sentence.strip()]
    if len(own) <= _HEAD and len(sentences) <= 3:
        return _WEAK.search(own) is not None
    closing = [sentence for sentence in _SENTENCE_END.split(own[-_TAIL:]) if sentence.strip()]
    return any(_WEAK.search(sentence) for sentence in (*sentences[:1], *closing[-1:]))
