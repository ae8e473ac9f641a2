"""Explicit answers: where a reply says "the answer is …", in any of the usual notations.

Statements are a JSON object with an answer field (also inside a fence, with raw newlines, cut quotes or a
missing brace), "The answer is X", "**Answer:** X", "#### X" and `\\boxed{X}`. The last statement counts; of a
JSON object, its answer field. Echoed instructions and placeholders are not statements.

Every scan is bounded: anchors are found in one pass, and only a window after each one is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from emerge_core.answers.reading.boilerplate import reasoning_end
from emerge_core.immutable import immutable

WINDOW = 6_000  # characters that a stated value may take
LINE = 600  # characters looked at after "the answer is"
MAX_ANCHORS = 40  # tried, from the last one backwards
MAX_OBJECTS = 6  # JSON objects tried in one reply

ANSWER_FIELDS = (
    "answer",
    "finalanswer",
    "correctanswer",
    "theanswer",
    "finalresult",
    "correctoption",
    "correctchoice",
    "selectedoption",
    "selectedanswer",
    "selectedchoice",
    "chosenoption",
    "answerletter",
    "answeroption",
    "answerchoice",
    "choice",
    "option",
    "result",
    "output",
    "solution",
)


@immutable(frozen=True, slots=True)
class Statement:
    """A stated answer: its text and its position in the reply.

    `closed` tells whether the end is known exactly (quoted, boxed) or the value begins a sentence that may go on.
    """

    value: str
    start: int
    end: int
    closed: bool
    source: str  # json | phrase | boxed | tag | hashes | subject | reply
    after: int = 0  # end of the JSON object that contains it


_QUALITY = r"(?:correct|right|best|closest|nearest|appropriate|accurate|suitable|final|likely|plausible|matching|true)"
_ANCHOR = re.compile(
    r"(?P<boxed>\\f?boxed\s*\{)"
    r"|(?P<tag><(?:final_?)?answer>)"
    r"|(?P<hashes>^[ \t]*####[ \t]*(?=[^\s#]))"
    rf"|(?P<word>\b(?:answer|{_QUALITY} (?:option|choice|statement|result|response|conclusion)"
    r"|(?:option|choice) that (?:is|best) [a-z ]{0,40})\b)",
    re.I | re.M,
)
_SIGN = re.compile("boxed|answer|####|option|choice|statement|result|response|conclusion")
_NEAR = 100  # characters around a sign: more than an anchor takes on either side of it
_BLANKS = re.compile(r"[ \t]*")
# "Answer" in other languages, after which a verb or a colon links it to the answer.
_SPACED = "réponse reponse respuesta antwort resposta risposta antwoord odpowiedź svaret cevap ответ".split()  # noqa: SIM905
_UNSPACED = "答案 答え 回答 解答 正解 정답 답".split()  # noqa: SIM905
_FOREIGN_WORDS = (*_SPACED, *_UNSPACED)
_FOREIGN = re.compile(
    rf"\b(?:{'|'.join(_SPACED)})"
    r"(?: [^\W\d_]{1,12}){0,2}?[*_]{0,2}(?:\s?:|\s(?:est|es|ist|é|è|is|to|är|lautet)\b:?|\s[—–-](?=\s))[*_]{0,2}[ \t]*"
    rf"|(?:{'|'.join(_UNSPACED)})(?:应该|應該)?[*_]{{0,2}}\s?(?:[是为為は:=]|은|는){{1,2}}[*_]{{0,2}}:?[ \t]*",
    re.I,
)
# Between "answer" and what it is: "to the question", then "is" or a colon, then "therefore option".
_LINK = re.compile(
    r"(?P<quote>[\"'”’]?)[*_`)\]}:]{0,4}"
    r"(?:\s+(?:to|for|of|in|among|from|here|choice|option|letter|number|value|based|would|that|using|given|as)\b"
    r"[^.\n:=\"{}]{0,90}?)?"
    r"(?:\s*(?P<sep>[:=→]|->)|\s+(?P<dash>[-–—])(?=\s)"
    r"|\s+(?:is|are|was|equals|would be|should be|must be|will be|becomes)\b|(?P<line>\s*\n))"
    r"(?P<fill>(?:[ \t]*(?:therefore|thus|then|simply|just|clearly|indeed|still|now|also|again|most likely|probably|"
    r"likely|given by|equal to|approximately|option|choice|letter|hence|actually|as follows|the following|[*_:=>])"
    r"(?![a-z]))*)[ \t]*",
    re.I,
)
# "(B) is correct", "option B, Paris, is the right one", "B is the best answer".
_SUBJECT = re.compile(
    r"(?P<value>\b[Oo]ption [A-Z]\b[^.;\n]{0,120}?|\([A-Z]\)[^.;\n]{0,120}?|(?<![\w'’])[A-Z][*_)]{0,3})"
    r"\s+(?:is|would be|must be|seems to be|appears to be)\s+(?:(?:therefore|thus|clearly|indeed|most|the)\s+){0,3}"
    r"(?:correct|right|best|closest|accurate|appropriate|true one)\b(?!\s+(?:if|when|only))",
)
_JUDGEMENTS = ("correct", "right", "best", "closest", "accurate", "appropriate", "true one")
_END_QUOTE = re.compile(r"[\"”]\s*(?:,\s*)?(?:\}|```|\Z|(?<=,)\s*[\"']\w+[\"']\s*:)|[\"”],\s*[\"']\w[\w ]*[\"']\s*:")
# White space before the end is stripped later: a pattern that included it would try every split of a long run.
_END_RAW = re.compile(r"\}\s*(?:`{2,}|\Z|\n)|\n[ \t\r]*\}|\n[ \t\r]*[\"']\w+[\"']\s*:|`{3}")
_OBJECT_START = re.compile(r"\{\s*[\"'“]\w")
_SPACES = re.compile(r"\s*")
_PLACEHOLDER = re.compile(
    r"_{2,}|\.{2,}|…|\?{1,3}"
    r"|[(\[{<]+\s*(?:x|your[\w ]*|insert[\w ]*|placeholder|todo|tbd|n/?a"
    r"|(?:the |final |correct )*(?:answer|letter|number|option|choice|value)[\w ]*)\s*[)\]}>]+"
    r"|your (?:final )?answer(?: here)?|(?:insert |the )?answer here"
    r"|<[^<>]*\b(?:answer|output|result|letter|value|number)\b[^<>]{0,60}>|\[[a-z][a-z _]{2,60}\]",
    re.I,
)
_BARE_PLACEHOLDER = re.compile(
    r"x|n/?a|(?:the |your |final |correct )*(?:answer|letter|number|option letter|placeholder|value|result)|tbd", re.I
)
_EXAMPLE = re.compile(
    r"(?:\be\.\s?g\.|\bfor (?:example|instance)|\bsuch as|\bin the (?:form|format)|\bformat:?)[\s,:`\"'*(]*\Z", re.I
)
# Where a reply continues with a question of its own, or with the answers to several.
_NEW_PROMPT = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]*|\*\*)(?:(?:follow[- ]?up|next|new|another|additional|similar|bonus|extra)[ \t]+)?"
    r"(?:question|instructions?|problem|task|exercise)\b"
    r"|^(?:question|q|problem|instructions?|user|human)[ \t]*\d*[ \t]*:"
    r"|^[^\n]{0,60}\b(?:combin|summari[sz]|compil|consider|collect)[^\n]{0,40}\b(?:answers|all (?:the )?questions)\b"
    r"|^[^\n]{0,40}总结",
    re.I | re.M,
)
_DECODER = json.JSONDecoder(strict=False)


def is_placeholder(value: str, *, exact: bool = False) -> bool:
    """Whether the value only marks the place of an answer: `___`, `(X)`, `<your answer>`.

    If `exact`, words that could be the answer itself ("result") are not placeholders.
    """
    value = value.strip(" \t\r\n*`$.") if not exact else value.strip()
    if len(value) > 100:
        return False
    return bool(_PLACEHOLDER.fullmatch(value)) or (not exact and bool(_BARE_PLACEHOLDER.fullmatch(value)))


def answer_field(value: Mapping[str, Any]) -> str | None:
    """The name of the field that contains the answer of a JSON object, or None."""
    folded = {re.sub(r"[^a-z]", "", name.lower()): name for name in reversed(list(value)) if isinstance(name, str)}
    return next((folded[name] for name in ANSWER_FIELDS if name in folded), None)


def statements(text: str) -> Iterator[Statement]:
    """Yield the explicit statements of a reply, the most relevant one first.

    A reply may continue with questions of its own, or with a summary of "all the answers": statements there
    come last.
    """
    begin = reasoning_end(text)
    head = text
    for match in _NEW_PROMPT.finditer(text, begin + 1):
        head = text[: match.start()]
        break
    yield from _in(head, begin)
    if len(head) < len(text):
        yield from _in(text, begin)


def _in(text: str, begin: int) -> Iterator[Statement]:
    found = _json_object(text, begin)
    after = found.after if found else begin
    lowered = text.lower()
    anchors = _anchors(text, lowered, after)
    if any(word in lowered for word in _FOREIGN_WORDS):
        anchors = sorted((*anchors, *_FOREIGN.finditer(text, after)), key=lambda match: match.start())
    yield from _from_anchors(text, anchors)
    if found:
        yield found
        return
    yield from _subjects(text, begin)


def _anchors(text: str, lowered: str, begin: int) -> list[re.Match[str]]:
    """The matches of `_ANCHOR`, which is tried only around the words that it needs."""
    if len(lowered) != len(text):  # positions differ
        return list(_ANCHOR.finditer(text, begin))
    found: list[re.Match[str]] = []
    start = stop = begin
    indented = -1
    for sign in _SIGN.finditer(lowered, begin):
        if sign.start() - _NEAR > stop:
            found += _ANCHOR.finditer(text, start, stop)
            start = max(stop, sign.start() - _NEAR)
        if sign.group() == "####":  # any indent before it, any white space after it
            line = text.rfind("\n", 0, sign.start()) + 1
            if line > indented and begin <= line < start:
                indented = line  # looked at once for each line
                if _BLANKS.match(text, line).end() == sign.start():  # type: ignore[union-attr]
                    start = line  # nothing but blanks is searched twice
            stop = _BLANKS.match(text, sign.end()).end()  # type: ignore[union-attr]
        stop = min(len(text), max(stop, sign.end()) + _NEAR)
    found += _ANCHOR.finditer(text, start, stop)
    return found


def _subjects(text: str, begin: int) -> Iterator[Statement]:
    tail = max(begin, len(text) - 3 * LINE)
    if not any(text.find(word, tail) >= 0 for word in _JUDGEMENTS):
        return
    found = list(_SUBJECT.finditer(text, tail))
    for match in reversed(found):
        yield Statement(match["value"], match.start("value"), match.end("value"), True, "subject")


def _from_anchors(text: str, anchors: list[re.Match[str]]) -> Iterator[Statement]:
    for match in reversed(anchors[-MAX_ANCHORS:]):
        if _EXAMPLE.search(text, max(0, match.start() - 30), match.start()):
            continue
        if match.re is _FOREIGN:
            found = _line(text, match.end(), "phrase")
        elif match["boxed"]:
            found = _boxed(text, match.end())
        elif match["tag"]:
            found = _tagged(text, match)
        elif match["hashes"]:
            found = _line(text, match.end(), "hashes")
        else:
            found = _phrase(text, match)
        if found is not None:
            yield found


def _boxed(text: str, start: int) -> Statement | None:
    depth = 1
    for at in range(start, min(len(text), start + LINE)):
        char = text[at]
        if char == "{" and text[at - 1] != "\\":
            depth += 1
        elif char == "}" and text[at - 1] != "\\":
            depth -= 1
            if not depth:
                return Statement(text[start:at].strip(), start, at, True, "boxed")
    return None


def _tagged(text: str, match: re.Match[str]) -> Statement | None:
    start, end = match.end(), text.find(f"</{match['tag'][1:]}", match.end(), match.end() + WINDOW)
    if end < 0:
        return _line(text, start, "phrase")
    value = text[start:end]
    start += len(value) - len(value.lstrip())
    return Statement(value.strip(), start, start + len(value.strip()), True, "tag") if value.strip() else None


def _line(text: str, start: int, source: str) -> Statement | None:
    end = text.find("\n", start, start + LINE)
    end = min(len(text), start + LINE) if end < 0 else end
    value = text[start:end].strip()
    return Statement(value, start, start + len(text[start:end].rstrip()), False, source) if value else None


def _phrase(text: str, match: re.Match[str]) -> Statement | None:
    link = _LINK.match(text, match.end(), min(len(text), match.end() + 300))
    if not link:
        return None
    start = link.end()
    if link["line"] or link["dash"]:
        # A heading ("## Final Answer") has its answer on the next line; any other line end, or dash, is no link.
        line_start = text.rfind("\n", max(0, match.start() - 40), match.start()) + 1
        if text[line_start : match.start()].strip("#*_ \t").lower() not in ("", "final", "the final", "the", "correct"):
            return None
    if link["sep"] and start < len(text) and (text[start] in '"“' or link["quote"]):
        return _field_value(text, start)
    if any(char.isalpha() for char in link["fill"]) and not text[start : start + 40].split("\n")[0].strip(" .*_`\t\r"):
        start = link.start("fill")  # "The answer is now.": the word is the answer itself
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    if text.startswith("```", start):
        fence = text.find("\n", start, start + 40)
        start = fence + 1 if fence >= 0 else start
    found = _line(text, start, "phrase")
    return None if found is None or found.value in ("{", "[", "```", "{{") else found


def _field_value(text: str, start: int) -> Statement | None:
    """The value after `"answer":`, even if the JSON around it is broken."""
    stop = min(len(text), start + WINDOW)
    if text[start] in '"“':
        try:
            value, end = scanstring(text, start + 1, False)
        except ValueError:
            pass
        else:
            if end - start <= WINDOW and _END_QUOTE.match(text, end - 1):
                return Statement(value, start + 1, end - 1, True, "json")
        match = _END_QUOTE.search(text, start + 1, stop)
        if match:
            return Statement(_unescaped(text[start + 1 : match.start()]), start + 1, match.start(), True, "json")
        end = text.find("\n", start, stop)
        end = stop if end < 0 else end
        return Statement(_unescaped(text[start + 1 : end].strip().rstrip('"')), start + 1, end, False, "json")
    try:
        _, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        match = _END_RAW.search(text, start, stop)
        end = match.start() if match else stop
        newline = text.find("\n", start, end)
        if newline >= 0 and text[start] not in "[{(":
            end = newline
    raw = text[start:end].strip().rstrip(",")
    return Statement(raw, start, start + len(raw), True, "json") if raw else None


def _unescaped(text: str) -> str:
    """The content of a JSON string, even if its inner quotes were not escaped."""
    if "\\" not in text:
        return text
    try:
        return str(json.loads('"' + re.sub(r'(?<!\\)"', r'\\"', text) + '"', strict=False))
    except ValueError:
        return text


def _json_object(text: str, begin: int) -> Statement | None:
    """The answer field of the last whole JSON object that has one."""
    if '"' not in text:
        return None
    at, tried, best = begin, 0, None
    while tried < MAX_OBJECTS:
        match = _OBJECT_START.search(text, at)
        if not match:
            break
        tried += 1
        try:
            value, end = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            at = match.end()
            continue
        at = end
        if isinstance(value, dict) and (name := answer_field(value)) is not None:
            best = _object_statement(text, match.start(), end, name, value[name]) or best
    return best


def _object_statement(text: str, start: int, end: int, name: str, value: Any) -> Statement | None:
    at = text.rfind(f'"{name}"', start, end)
    colon = text.find(":", at + len(name) + 2, end) + 1 if at >= 0 else 0
    raw_start, raw_end = (colon + _SPACES.match(text, colon).end() - colon, 0) if colon else (start, end)  # type: ignore[union-attr]
    if colon:
        try:
            again, raw_end = _DECODER.raw_decode(text, raw_start)
        except (ValueError, RecursionError):
            again = None
        if again != value:  # the name was found inside another field's text
            raw_start, raw_end = start, end
    if isinstance(value, str):
        return Statement(value, min(raw_start + 1, raw_end), max(raw_start + 1, raw_end - 1), True, "json", end)
    raw = text[raw_start:raw_end] if (raw_start, raw_end) != (start, end) else json.dumps(value)
    return Statement(raw, raw_start, raw_end, True, "json", end)
