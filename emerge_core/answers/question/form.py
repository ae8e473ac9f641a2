"""The form of a request: what kind of answer it asks for, decided before any model is called.

Tools, JSON, lettered options and short answers can be counted, so a panel can vote on them; everything else
is open-ended, and is better written than voted on. The rules read the request alone: the tools and the response
format first, then what the system prompt and the last user message say about the answer's format, then the
wording of the question. When no rule applies, the form is open-ended: it costs no more than another route's price.
"""

from __future__ import annotations

from typing import NamedTuple

from emerge_core.answers.question import wording as rules
from emerge_core.answers.question.labels import labels_of
from emerge_core.answers.question.multiple_choice import option_letters
from emerge_core.answers.question.question import Question
from emerge_core.answers.question.wording import Wording
from emerge_core.types import ChatRequest, Form, text_of

ONE_QUESTION = 350  # characters of a message that is one bare question, on one line
_SYSTEM = ("system", "developer")
_SYSTEM_PROMPT, _MESSAGE = "its system prompt", "its last message"


class FormReading(NamedTuple):
    """A form and the reason for it, as a clause about the request: "its last message lists options A to D"."""

    form: Form
    reason: str


def form_of(request: ChatRequest) -> Form:
    """The form of the answer that the request asks for."""
    return explain_form(request).form


def explain_form(request: ChatRequest) -> FormReading:
    """The form of the answer that the request asks for, with the reason."""
    if request.offers_tools:
        return FormReading("tools", "it offers tools")
    if request.wants_json:
        return FormReading("json", "its response_format asks for JSON")
    system = Wording(
        "\n".join(text_of(each.get("content")) for each in request.messages if each.get("role") in _SYSTEM)
    )
    message = Wording(request.last_user_text)
    return (
        _json(system, message)
        or _choices(system, message, Question.of(request.last_user_text))
        or _short(system, message, Question.of(request.last_user_text))
    )


def _json(system: Wording, message: Wording) -> FormReading | None:
    for who, text in ((_SYSTEM_PROMPT, system), (_MESSAGE, message)):
        if "json" in text.text.lower() and rules.DEMANDS_JSON.applies(text) and not rules.ASKS_FOR_CODE.applies(text):
            return FormReading("json", f"{who} asks for JSON")
    return None


def _choices(system: Wording, message: Wording, question: Question) -> FormReading | None:
    letters = option_letters(question.text, loose=question.chooses)
    if letters and not rules.REWORKS_TEXT.match(message.text):
        return FormReading("choices", f"{_MESSAGE} lists options A to {letters[-1]}")
    for who, text in ((_SYSTEM_PROMPT, system), (_MESSAGE, message)):
        if rules.CLASSIFIES.applies(text) and (labels := labels_of(text.text)):
            return FormReading("choices", f"{who} asks for one of: {', '.join(sorted(labels)[:8])}")
    return None


def _short(system: Wording, message: Wording, question: Question) -> FormReading:
    for who, text in ((_SYSTEM_PROMPT, system), (_MESSAGE, message)):
        if rules.DEMANDS_BREVITY.applies(text):
            return FormReading("short", f"{who} asks for a word, a number, or yes or no")
    if question.shows_code and rules.ASKS_FOR_OUTPUT.applies(message):
        return FormReading("short", f"{_MESSAGE} asks what code gives")
    if rules.ASKS_FOR_TEXT.applies(message):
        return FormReading("open_ended", f"{_MESSAGE} asks for a text")
    if rules.HOW_TO.applies(message) or rules.PROVES.applies(message):
        return FormReading("open_ended", f"{_MESSAGE} asks for an explanation")
    if found := _number(message):
        return found
    return _fact(message) or FormReading("open_ended", "nothing in it says that the answer is short")


def _number(message: Wording) -> FormReading | None:
    if rules.FORMULA.applies(message) and rules.ASKS_FOR_VALUE.applies(message):
        return FormReading("short", f"{_MESSAGE} asks for the value of a formula")
    if len(rules.NUMBER.findall(message.text)) >= 2 and rules.ASKS_FOR_VALUE.applies(message.end):
        return FormReading("short", f"{_MESSAGE} is a problem with numbers")
    if rules.QUANTITY.applies(message.end):
        return FormReading("short", f"{_MESSAGE} asks for a number")
    return None


def _fact(message: Wording) -> FormReading | None:
    """A bare question for a name, a place or a date, or one that yes or no settles."""
    if len(message.text) > ONE_QUESTION or "\n" in message.text:
        return None
    if any(rule.applies(message) for rule in (rules.WANTS_EXPLANATION, rules.PERSONAL, rules.NAMES_A_TEXT)):
        return None
    if rules.FACTUAL.applies(message):
        return FormReading("short", f"{_MESSAGE} asks for a name, a place or a date")
    if rules.POLAR.applies(message) and rules.COMPARES.applies(message):
        return FormReading("short", f"{_MESSAGE} is a yes-or-no question")
    return None
