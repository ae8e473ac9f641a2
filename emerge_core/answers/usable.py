"""Refusals and hedges: what a reply says about itself, outside quotes and code.

How long a reply is says nothing: "B" and "42" are full answers.
"""

from __future__ import annotations

import re

_HEAD = 700  # a refusal stands at the beginning
_TAIL = 400

_QUOTED = re.compile(
    r"```.{0,20000}?(?:```|\Z)|`[^`\n]{0,300}`|\"[^\"\n]{0,600}\"|“[^”\n]{0,600}”|(?<!\w)'[^'\n]{3,300}'(?!\w)|^>.*$",
    re.S | re.M,
)
_QUOTE_LINE = re.compile(r"^[ \t]*>.*$", re.M)

_DOING = (
    r"(?:help|assist|comply|fulfil+|provide|answer|respond|continue|proceed|do (?:that|this|so|it)|share|create|"
    r"generate|"
    r"support|discuss|engage|participate|write|produce|offer|give (?:you )?(?:that|any|advice|instructions|"
    r"medical|legal)|"
    r"complete|satisfy|process|accommodate|describe|identify|facilitate|talk about|be (?:of (?:help|assistance)|"
    r"able to))\b"
)
_CANNOT = (
    r"(?:can(?:no|['’]?)t|can not|could(?: not|n['’]t)|am (?:not able|unable)|['’]m (?:not able|unable)|"
    r"won['’]t(?: be able)?|"
    r"will not(?: be able)?|must decline|have to decline|need to decline|decline|refuse|am not (?:comfortable|"
    r"allowed|permitted)|"
    r"['’]m not (?:comfortable|allowed|permitted)|am not going|['’]m not going|do(?: not|n['’]t) feel comfortable)"
)
_REFUSAL = re.compile(
    rf"(?:\A|[.!?\n]\s*|\b(?:sorry|apologi[sz]e|apologies|unfortunately|regret|however|but|"
    rf"as an? (?:\w+ ){{0,3}}(?:ai|assistant|model|llm)[\w ]*)[,:]?\s+"
    rf"(?:but\s+|that\s+)?)I\s*(?:really |simply |respectfully |just )?{_CANNOT}\s+(?:to |with |"
    rf"in )?(?:\w+ly )?{_DOING}",
    re.I,
)
_SORRY = re.compile(
    r"\A\W*(?:i['’]?m |i am )?(?:very |so |really )?(?:sorry|"
    r"afraid)[,:]?\s+(?:but\s+)?(?:that\s+)?(?:i\s*(?:can(?:no|['’]?)t|can not)|"
    r"(?:that|this|it)(?:['’]s| is) (?:not something|against))",
    re.I,
)
_POLICY = re.compile(
    r"\A[^.\n]{0,120}\b(?:against my (?:guidelines|policy|policies|programming)|violates? (?:my|our|"
    r"the) (?:guidelines|polic)|"
    r"goes against my)\b|\A\W*(?:i must )?(?:respectfully )?(?:decline|refuse) to\b",
    re.I,
)
_STRONG = re.compile(
    r"\bI(?:['’]m| am) (?:not (?:(?:entirely|completely|fully|totally|really|quite|very|100% |too|"
    r"at all) ?)?(?:sure|certain|confident)|"
    r"unsure|uncertain|guessing)|\bI (?:do not|don['’]t|really don['’]t) (?:know|recall|remember)\b|"
    r"\bnot (?:entirely |completely |quite )"
    r"(?:sure|certain)\b|\b(?:my|a|the) best guess\b|\bI(?:['’]d| would| will|['’]ll)? (?:have to )?guess\b|"
    r"\bjust a guess\b|"
    r"\b(?:it['’]s|it is) (?:hard|difficult|impossible) to (?:say|tell|know|determine)\b|"
    r"\bcannot be (?:determined|known)\b|"
    r"\b(?:not|in|is)(?:n['’]t)? ?(?:enough|sufficient) (?:information|context|data)\b|"
    r"\binsufficient (?:information|data|context)\b|"
    r"\bcould go either way\b|\bI (?:cannot|can['’]?t|can not) (?:be (?:sure|certain)|say (?:for sure|"
    r"with certainty)|verify|confirm)\b|"
    r"\btake (?:this|it) with a grain of salt\b",
    re.I,
)
_WEAK = re.compile(
    r"\b(?:might|may|could|would) (?:well |also |possibly )?be\b|\bpossibly\b|\bperhaps\b|\bmaybe\b|"
    r"\bprobably\b|\bpresumably\b|"
    r"\b(?:I (?:suspect|guess|assume|suppose)|as far as I (?:know|can tell)|if I (?:recall|remember)|"
    r"if I['’]m not mistaken)\b|"
    r"\bunclear\b|\bnot clear\b|\bseems? to be\b|\bappears? to be\b",
    re.I,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def unquoted(text: str) -> str:
    """The text without code, quotations and quoted lines."""
    text = _QUOTED.sub(" … ", text)
    return _QUOTE_LINE.sub(" ", text)


def is_refusal(text: str) -> bool:
    """Whether the reply declines to answer, in its own words."""
    head = unquoted(text[: 2 * _HEAD]).lstrip(" \t\r\n*_#…")[:_HEAD].replace("’", "'")
    opening = " ".join(_SENTENCE_END.split(head)[:3])
    return bool(_SORRY.match(head) or _POLICY.match(head) or _REFUSAL.search(opening))


def hedges(text: str) -> bool:
    """Whether the reply doubts its own answer: plainly anywhere, or mildly where it opens or ends."""
    own = unquoted(text[:20_000] if len(text) <= 40_000 else text[:20_000] + "\n" + text[-20_000:])
    if _STRONG.search(own):
        return True
    sentences = [sentence for sentence in _SENTENCE_END.split(own[:_HEAD]) if sentence.strip()]
    if len(own) <= _HEAD and len(sentences) <= 3:
        return _WEAK.search(own) is not None
    closing = [sentence for sentence in _SENTENCE_END.split(own[-_TAIL:]) if sentence.strip()]
    return any(_WEAK.search(sentence) for sentence in (*sentences[:1], *closing[-1:]))
