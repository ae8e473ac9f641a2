"""Finds the recorded question that a conversation asks.

The whole prompt is compared first, then the longest question inside a longer message. A message that is *more* than a
question has no recorded answer (see `surplus`), and one that fits several questions is ambiguous. A question that is a
whole request is matched by its fingerprint alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emerge_core.evals.recordings.recording import Question, prompt_of
from emerge_core.evals.replay.extra_text import normalised, shows_answers, surplus, system_surplus
from emerge_core.evals.replay.fingerprint import Demands, called_in, demands_of, fingerprint, system_of
from emerge_core.types import text_of

NO_DEMANDS = Demands()
_MARK = re.compile(r"<[a-z][a-z0-9-]*-([0-9a-f]{12,})>")
ANCHOR = 16  # characters of a question's beginning by which it is looked up


class NoMatchError(Exception):
    """No recorded question is asked; the message says why."""


class AmbiguousError(Exception):
    """Several questions are asked equally well."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(f"the message fits several recorded questions: {', '.join(ids)}")
        self.ids = tuple(ids)


class _Entry(NamedTuple):
    id: str
    text: str  # normalised
    choices: tuple[str, ...]


class _Request(NamedTuple):
    """A question that is a whole request."""

    id: str
    system: str
    demands: Demands


class Matcher:
    """Finds the question. `replies(id)` returns the recorded replies to one, so that quotations are recognised."""

    def __init__(self, questions: Iterable[Question], replies: Callable[[str], Iterable[str]] = lambda _: ()) -> None:
        self._replies = replies
        self._exact: dict[str, list[str]] = {}
        self._whole: dict[str, list[str]] = {}
        self._anchored: dict[str, list[_Entry]] = {}
        self._short: list[_Entry] = []
        self._requests: dict[str, list[_Request]] = {}  # by fingerprint
        for question in questions:
            if question.request is not None:
                messages = question.request["messages"]
                known = self._requests.setdefault(fingerprint(messages), [])
                known.append(_Request(question.id, system_of(messages), demands_of(question.request)))
                continue
            prompt = prompt_of(question)
            self._exact.setdefault(_unmarked(prompt.strip()), []).append(question.id)
            self._whole.setdefault(normalised(_unmarked(prompt)), []).append(question.id)
            entry = _Entry(question.id, normalised(question.text), tuple(map(normalised, question.choices)))
            if len(entry.text) >= ANCHOR:
                self._anchored.setdefault(entry.text[:ANCHOR], []).append(entry)
            elif entry.text:
                self._short.append(entry)

    def find(self, messages: Sequence[Mapping[str, Any]], demands: Demands = NO_DEMANDS) -> str:
        """The id of the question that the conversation ends in. `demands` are the request's tools and schema.
        Raises NoMatchError or AmbiguousError."""
        if (request := self._request(messages, demands)) is not None:
            return request
        if not messages or messages[-1].get("role") != "user":
            raise NoMatchError("the conversation does not end in a user message")
        text = text_of(messages[-1].get("content"))
        plain = _unmarked(text)
        found = self._exact.get(plain.strip()) or self._whole.get(normalised(plain))
        if found and len(found) > 1:
            raise AmbiguousError(found)
        question, more = (found[0], None) if found else self._inside(text)
        system = [text_of(m.get("content")) for m in messages if m.get("role") in ("system", "developer")]
        if system and not more and not shows_answers(text):  # a judge's prompt may itself have been recorded
            more = system_surplus("\n".join(system), self._replies(question))
        if more:
            raise NoMatchError(f"the message is more than the question {question}: {more}")
        return question

    def _request(self, messages: Sequence[Mapping[str, Any]], demands: Demands) -> str | None:
        """The recorded request that has these messages, tools and response format."""
        known = self._requests.get(fingerprint(messages), []) if self._requests else []
        found = [each for each in known if _same_request(each, system_of(messages), called_in(messages), demands)]
        exact = [each for each in found if each.demands == demands]
        found = exact or found
        if len(found) > 1:
            raise AmbiguousError([each.id for each in found])
        return found[0].id if found else None

    def _inside(self, message: str) -> tuple[str, str | None]:
        """The question inside a longer message, and what makes the message more than that question."""
        text = normalised(message)
        fitting = [entry for entry in self._candidates(text) if _fits(entry, text)]
        if not fitting:
            raise NoMatchError("the last user message contains no recorded question with all its choices")
        longest = max(len(entry.text) for entry in fitting)
        best = [entry for entry in fitting if len(entry.text) == longest]
        if len(best) > 1:
            best = _best_choices(best, text)
        entry = best[0]
        rest = text.replace(entry.text, " ")
        others = [other for other in fitting if _bounded(other.text, rest) and not _inside_choice(other, entry)]
        if len(best) > 1 or others:
            raise AmbiguousError([found.id for found in (*best, *others)])
        *_, place = re.finditer(r"\s+".join(map(re.escape, entry.text.split())), message)
        before, after = message[: place.start()], message[place.end() :]
        return entry.id, surplus(before, after, entry.choices, self._replies(entry.id))

    def _candidates(self, text: str) -> Iterator[_Entry]:
        yield from self._short
        seen: set[str] = set()
        for start in range(len(text) - ANCHOR + 1):
            anchor = text[start : start + ANCHOR]
            if anchor in self._anchored and anchor not in seen:
                seen.add(anchor)
                yield from self._anchored[anchor]


def _unmarked(text: str) -> str:
    """The text with the random marks of its delimiters replaced: a judge's prompt has others every time."""
    for mark in set(_MARK.findall(text)):
        text = text.replace(mark, "mark")
    return text


def _same_request(recorded: _Request, system: str, called: set[str], demands: Demands) -> bool:
    """Whether a request with the same turns asks the recorded one, as the providers' adapters send it.

    An adapter whose API has no JSON mode asks for JSON at the end of the system text, or by a tool that takes
    the whole reply; one whose API wants the tools of past calls declared adds those.
    """
    wanted = recorded.demands
    instructed = wanted.schema is not None and system != recorded.system and system.startswith(recorded.system)
    if system != recorded.system and not instructed:
        return False
    reply_tool = wanted.schema is not None and not wanted.tools and len(demands.tools) == 1
    if wanted.tools != demands.tools and not reply_tool and (wanted.tools or not demands.names <= called):
        return False
    if demands.schema is None:
        return wanted.schema is None or instructed or reply_tool
    return wanted.schema is not None and (demands.rewritten or demands.schema == wanted.schema)


def _fits(entry: _Entry, text: str) -> bool:
    return _bounded(entry.text, text) and all(_bounded(choice, text) for choice in entry.choices)


def _bounded(part: str, text: str) -> bool:
    """Whether the part occurs, and not only in the middle of words."""
    if not part:
        return True
    start = text.find(part)
    while start >= 0:
        before, after = text[max(0, start - 1) : start], text[start + len(part) : start + len(part) + 1]
        if not (before.isalnum() and part[0].isalnum()) and not (after.isalnum() and part[-1].isalnum()):
            return True
        start = text.find(part, start + 1)
    return False


def _best_choices(entries: list[_Entry], text: str) -> list[_Entry]:
    """Of one text with several sets of choices: those that stand in the message's order, and of
    these no set that is there only because another set's choices contain it."""
    entries = [entry for entry in entries if _in_order(entry, text)] or entries
    return [
        entry
        for entry in entries
        if not any(_covers(other, entry) and not _covers(entry, other) for other in entries if other.text == entry.text)
    ]


def _in_order(entry: _Entry, text: str) -> bool:
    position = text.find(entry.text) + len(entry.text)
    for choice in entry.choices:
        position = text.find(choice, position)
        if position < 0:
            return False
        position += len(choice)
    return True


def _inside_choice(other: _Entry, entry: _Entry) -> bool:
    return any(other.text in choice for choice in entry.choices)


def _covers(big: _Entry, small: _Entry) -> bool:
    return all(any(choice in other for other in big.choices) for choice in small.choices)
