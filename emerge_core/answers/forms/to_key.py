"""Turns a stated value into its key, according to the question and to what the value looks like."""

from __future__ import annotations

import re
from functools import lru_cache

from emerge_core.answers.forms import numbers
from emerge_core.answers.forms.latex import expression, plain
from emerge_core.answers.forms.literals import evaluate, literal_key, looks_structured, spelled
from emerge_core.answers.forms.short_text import ARTICLES, TICKS, bare, text_value
from emerge_core.answers.question.labels import label_in
from emerge_core.answers.question.question import Question
from emerge_core.answers.reading.explicit import Statement, is_placeholder
from emerge_core.answers.reading.sentence import new_words
from emerge_core.types import AnswerKey

_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,14})\.?")
_TRUE = frozenset(("yes", "true", "yes it is", "yes it does", "yeah", "yep", "yup"))
_FALSE = frozenset(("no", "false", "no it is not", "no it does not", "no it isn't", "nope"))
# "The answer is correct" is about an answer, and does not give one.
_REMARKS = re.compile(r"correct|incorrect|right|wrong|clear|simple|straightforward|obvious|given", re.I)
_LEADING_BOOLEAN = re.compile(
    r"(?P<word>yes|no|true|false)[*_]{0,3}(?:\s*(?:[,;:—–!(]|\.(?!\s*\d)|-\s|\n|because\b|since\b|as\b)"
    r"|\s+(?:the|it|its|they|he|she|there|that|this|these|you|we|I)\b)",
    re.I,
)
_SENTENCE_END = re.compile(r"(?<![\s.][A-Za-z])(?<!\b(?:Dr|Mr|Ms|St|vs|No))(?<!\bMrs)[.!?](?=[\s*_\"')\]]|$)|\n")
_CLAUSE_END = re.compile(
    r"[,;:](?=\s|$)|\s[-–—]\s|\s(?:because|since|as|which|where|when|so|after|assuming|given|if|for|with|based|"
    r"due)\b|\s\("
)
_MONTH = r"\b(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]{0,6}\b"
_NO_QUANTITY = re.compile(
    r"\b(?:not|cannot|can't|no|never|without|unknown|undefined|impossible|undetermined|insufficient|am|pm|a\.m|p\.m)"
    rf"\b|\d:\d\d|\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}|{_MONTH}\s+\d",
    re.I,
)
_CONCLUDING = re.compile(r"\A(?:so|thus|hence|therefore|then|finally)\b[,:]?\s+", re.I)
_CONTRAST = re.compile(
    r"(?<=[^\W_])(?:,| \(| [-–—])\s?(?:and |but )?(?:not|rather than|instead of) [^,;()]{1,60}\)?\Z", re.I
)
_LONG_WORD = re.compile(r"[^\W\d_]{3,}")
_ASIDE = re.compile(
    r",?\s+(?:because|since|which|who|where|when|as|so|after|assuming|given|if|based|due)\b|\s[-–—]\s|\s\(|;|:\s"
)
_ASSERTION = re.compile(r"assert\b.{1,2000}?==\s*(?P<value>(?:(?!==).)+)", re.S)
_PROSE_WORDS = 8  # an unquoted text of more words is no bare answer to a question about code
_PROSE_VALUE = re.compile(
    r"(?:that|as|given|found|based|not|in the|to be|obtained|determined|calculated|derived|shown|provided|"
    r"simply|in (?:a|this)|"
    r"a (?:string|list|number|single|function)|the (?:string|list|number|function|output|result|following|same))\b",
    re.I,
)


_NAMED_SPAN = re.compile(
    r"(?:(?:the|a|an|literal|python|string|value|output|result|list|integer|boolean|number|empty|of)\s+){1,5}"
    r"(?P<span>`[^`\n]{1,300}`|'[^'\n]{0,300}'(?!\w)|\"[^\"\n]{0,300}\")",
    re.I,
)


def _truth(value: bool) -> AnswerKey:
    return AnswerKey("boolean", "true" if value else "false")


def boolean_key(value: str) -> AnswerKey | None:
    """The key of a text that is yes, no, true or false."""
    lowered = bare(value).lower().rstrip(".!").replace(",", "")
    if lowered in _TRUE or lowered in _FALSE:
        return _truth(lowered in _TRUE)
    return None


def leading_boolean(value: str) -> AnswerKey | None:
    """`Yes, because …`: a yes or no that opens a sentence."""
    match = _LEADING_BOOLEAN.match(value.lstrip(" \t\r\n*_\"'" + TICKS))
    return _truth(match["word"].lower() in ("yes", "true")) if match else None


def label_key(question: Question, value: str) -> AnswerKey | None:
    """The key of a text that opens with one of the labels that the question offers."""
    found = label_in(question.labels, value)
    return AnswerKey("text", found) if found else None


def statement_key(question: Question, statement: Statement) -> AnswerKey | None:
    """The key of an explicit statement, or None if it says nothing that can be voted on."""
    if question.options is not None:
        return _letter(question, statement)
    if statement.source == "hashes":  # "#### 72", but also a heading such as "#### Step 2"
        found = boolean_key(statement.value) or _number(statement.value)
        return literal_key(statement.value) if found and question.exact else found
    if question.exact:
        return _exact(statement)
    if statement.source == "subject":
        return None  # a letter, but the request offers no options
    if statement.closed:
        return value_key(question, statement.value)
    return _open(question, statement.value)


def value_key(question: Question, value: str) -> AnswerKey | None:
    """The key of a value whose start and end are both known."""
    if found := integer_key(value):
        return found
    if value.strip() in ("''", '""'):
        return AnswerKey("literal", "''")
    inner = bare(plain(bare(value)))
    if not inner or is_placeholder(inner):
        return None
    inner = _uncontrasted(_CONCLUDING.sub("", inner, count=1))
    return (
        boolean_key(inner)
        or _number(value)
        or _number(inner)
        or _structured(inner)
        or label_key(question, inner)
        or _formula(inner)
        or _number_of_sentence(question, inner)
        or _added(question, inner)
        or _text(inner)
    )


def gold_key(question: Question, text: str) -> AnswerKey | None:
    """The key of a reference answer."""
    if question.options is not None:
        letter = question.options.vote(text)
        return AnswerKey("letter", letter) if letter else None
    if question.exact:
        return literal_key(text)
    return value_key(_NO_QUESTION, text)  # a reference answer is not a sentence that replies to the question


_NO_QUESTION = Question("")
_PLAIN_WORDS = re.compile(r"[A-Za-z]{1,24}(?:[ _][A-Za-z]{1,24}){0,9}")
_SHORT = 64  # characters of a text whose normal form is remembered
# Words that may make a text more than its words: a number, yes or no, a placeholder, an article, a conclusion.
_NOT_PLAIN = frozenset(
    word
    for line in (
        *(" ".join(words) for words in (numbers.NUMBER_WORDS, _TRUE, _FALSE)),
        "answer letter number option placeholder value result choice your final correct tbd na insert here x",
        "so thus hence therefore then finally none",
    )
    for word in line.split()
)


def short_string(question: Question, text: str) -> str:
    """The normal form of a short string in a JSON answer."""
    if question.options is not None or question.exact:
        return _short_string(question, text)
    return _remembered(text) if len(text) <= _SHORT else _short_string(_NO_QUESTION, text)


@lru_cache(maxsize=8192)  # texts of at most `_SHORT` characters: some 2 MB
def _remembered(text: str) -> str:
    if _PLAIN_WORDS.fullmatch(text):
        said = text.lower().replace("_", " ").split(" ")
        if _NOT_PLAIN.isdisjoint(said):  # the rules of `_short_string` come to the same
            return f"text:{' '.join([word for word in said if word not in ARTICLES] or said)}"
    return _short_string(_NO_QUESTION, text)


def _short_string(question: Question, text: str) -> str:
    found = gold_key(question, text)
    return f"{found.kind}:{found.value}" if found else " ".join(text.split()).casefold()


def _letter(question: Question, statement: Statement) -> AnswerKey | None:
    assert question.options is not None  # noqa: S101
    value = statement.value
    if statement.source == "subject":
        letter = question.options.subject(value)
    elif statement.source == "hashes" and len(bare(value)) > 3:
        letter = None  # a heading: only a bare letter is an answer there
    else:
        letter = question.options.vote(value)
    if letter is None and not (statement.closed or statement.source == "hashes" or question.options.several(value)):
        letter = next(filter(None, (question.options.vote(part) for part in _cuts(value))), None)
    return AnswerKey("letter", letter) if letter else None


def _exact(statement: Statement) -> AnswerKey | None:
    value = statement.value
    if match := _ASSERTION.fullmatch(value.strip().strip("`")):
        value = match["value"].strip()
    if statement.source == "reply" and len(value.split()) > _PROSE_WORDS and evaluate(value) is None:
        return None
    if statement.closed:
        return literal_key(plain(value) if statement.source == "boxed" else value) if len(value) <= 6_000 else None
    value = value.strip().strip("*").strip()
    trimmed = value.rstrip(".,;*` ").lstrip("*` ")
    prefix = _literal_prefix(value) or value
    for part in (prefix, value.rstrip(".,;"), trimmed, *_cuts(value), *_named_span(value)):
        found = evaluate(part)
        if found is not None:
            return literal_key(part)
    value = value.rstrip(".").strip("*` ")
    if not value or len(value) > 200 or _PROSE_VALUE.match(value):
        return None
    return literal_key(value) if len(value.split()) == 1 else None  # more words may be prose


def _named_span(value: str) -> list[str]:
    """The code or quoted text that a sentence begins with: "the literal string 'abc'"."""
    match = _NAMED_SPAN.match(value)
    if not match:
        return []
    return [match["span"].strip("`")]


def _open(question: Question, value: str) -> AnswerKey | None:
    """The key of a value that ends somewhere in its line."""
    if found := integer_key(value):
        return found
    parts = [value, *_cuts(value)]
    for part in parts:
        inner = bare(plain(bare(part)))
        if not inner or is_placeholder(inner):
            continue
        if found := boolean_key(inner) or _number(part) or _number(inner) or _structured(inner):
            return found
    prefix = _literal_prefix(value)
    if found := leading_boolean(value) or (_structured(prefix) if prefix else None):
        return found
    if found := label_key(question, bare(value)):
        return found
    for part in parts:
        inner = bare(plain(bare(part)))
        if inner and (found := _formula(inner)):
            return found
    sentence = _cuts(value)[0]
    aside = _ASIDE.search(sentence, 1) if sentence else None
    sentence = _uncontrasted(bare(sentence[: aside.start()] if aside else sentence))
    if found := _number_of_sentence(question, sentence):
        return found
    if _PROSE_VALUE.match(sentence) or is_placeholder(sentence) or _REMARKS.fullmatch(sentence):
        return None
    return _added(question, sentence) or _text(sentence)


def _cuts(value: str) -> list[str]:
    """The value up to the end of its sentence, and up to the end of its first clause, if it has several."""
    match = _SENTENCE_END.search(value)
    sentence = value[: match.start()] if match else value
    clause = _CLAUSE_END.search(sentence, 1) if sentence else None
    return [sentence, sentence[: clause.start()]] if clause else [sentence]


def integer_key(value: str) -> AnswerKey | None:
    """The key of a plain integer. The commonest answer of all need not go through every other reading."""
    return AnswerKey("number", value.removesuffix(".")) if _INTEGER.fullmatch(value) else None


def _number(value: str) -> AnswerKey | None:
    number = numbers.parse(value)
    return AnswerKey("number", numbers.canonical(number)) if number is not None else None


def _literal_prefix(value: str) -> str | None:
    """The complete bracket or quote that begins a sentence: "[1, 2], because …"."""
    value = value.lstrip("`*")
    if not value or value[0] not in "[({'\"":
        return None
    depth, quote = 0, ""
    for at, char in enumerate(value):
        if quote:
            quote = "" if char == quote and value[at - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char in "[({":
            depth += 1
        elif char in "])}":
            depth -= 1
        if not depth and not quote:
            return value[: at + 1] if re.match(r"[\s.,;`*]*(?:\s|$)", value[at + 1 :]) else None
    return None


def _structured(value: str) -> AnswerKey | None:
    if not looks_structured(value):
        return None
    found = evaluate(value)
    return AnswerKey("literal", spelled(found[0])) if found is not None and not isinstance(found[0], str) else None


def _formula(value: str) -> AnswerKey | None:
    found = expression(value)
    return AnswerKey("literal", found) if found else None


def _number_of_sentence(question: Question, value: str) -> AnswerKey | None:
    """The only number of a sentence, if the question asks for one; of several, the only one not in the question."""
    if not question.numeric or len(value) > 300 or " " not in value or _NO_QUANTITY.search(value):
        return None
    found = numbers.mentioned(value)
    if len(set(found)) > 1 and (equals := value.rfind("=")) > 0 and value[equals - 1] not in "<>!=":
        found = numbers.mentioned(value[equals:]) or found  # "48 + 24 = 72 clips"
    if len(set(found)) > 1:
        if len(_LONG_WORD.findall(value)) < 3 or re.search(r"\bor\b", value):
            return None  # "2 or 3", "2 and 3": several answers
        found = [number for number in found if number not in question.numbers]
    return AnswerKey("number", numbers.canonical(found[0])) if len(set(found)) == 1 else None


def _uncontrasted(value: str) -> str:
    """Remove a contrast: "Canberra, not Sydney" becomes "Canberra"."""
    match = _CONTRAST.search(value, 1)
    return value[: match.start()] if match else value


def _added(question: Question, value: str) -> AnswerKey | None:
    """The key of what a sentence adds to its question."""
    if question.polar:
        return None  # what "7 is a prime number" adds to "Is 7 prime?" is no answer
    added = new_words(question.text, value) if question.text else None
    return (_number(added) or _text(added)) if added else None


def _text(value: str) -> AnswerKey | None:
    found = text_value(value)
    return AnswerKey("text", found) if found else None
