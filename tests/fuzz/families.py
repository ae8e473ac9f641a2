"""Texts that make badly written scans slow, in any length; the functions that scan texts of strangers; and how
to tell, on any machine, that their time grows with the square of the text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from random import Random
from time import process_time
from typing import NamedTuple

from emerge_core.aggregators.embedding import embed
from emerge_core.aggregators.judge import verdict
from emerge_core.aggregators.prompting import conversation, escaped, visible
from emerge_core.answers import Extractor, hedges, is_refusal
from emerge_core.answers.forms.json_keys import parse_fenced
from emerge_core.answers.json_schema import schema_fault
from emerge_core.answers.question import Question, form_of
from emerge_core.api.body import parse_json
from emerge_core.api.limits import bound_structure
from emerge_core.api.sse import pieces
from emerge_core.config import parse_config
from emerge_core.config.schema import ProviderConfig
from emerge_core.errors import ConfigError, RequestError
from emerge_core.evals.recordings import rows
from emerge_core.evals.replay.matching import AmbiguousError, Matcher, NoMatchError
from emerge_core.providers import state
from emerge_core.providers.errors import Scrubber, http_failure
from emerge_core.providers.parts import unfenced
from emerge_core.providers.refusals import refusal_of
from emerge_core.providers.transport.sse import events
from emerge_core.types import ChatRequest, Completion, UpstreamError

UNITS = [
    *("1", " ", "\n", "\t", "a", "A", "é", "x ", "1 ", "1,"),
    *("1.", "-", "1-", "1/", "+1", "=", "==", "<", ">", "~", "_"),
    *("(", ")", "[", "]", "{", "}", "(A) ", "A. ", "A)", "\nA. ", "\n(A) b", "A or B ", "a or ", "and ", "not "),
    *('"', "'", "`", "``", "```", "```\n", "\n```", '\\"'),
    *("\\", "\\\\", "\\n", '"a"', "'a' ", "`a` ", "\u201c", "\u2019"),
    *("*", "**", "** ", "# ", "#### ", "\n#### ", "\n####\n", "> ", "\n> ", "- ", "|", "|-"),
    *("$", "$$", "\\(", "\\[", "\\boxed{", "\\boxed{}"),
    *("\\boxed{1}", "\\frac{", "\\frac{1}", "\\text{", "\\text{a}", "^{"),
    *('{"answer": ', '{"answer": "', '{"a": 1}', '{"a', '":', '"answer": ', '[1, ', "null,", "{}", "[]", "0e", "{,}"),
    *("the answer is ", "The answer is ", "answer: ", "answer\n"),
    *("Answer: x ", "final answer ", "the best option ", "so "),
    *("option A is correct ", "option A ", "option that is best ", "is ", "is? ", "how many ", "calculate ", "find 1 "),
    *("<think>", "</think>", "<think></think>", "Question: ", "\nQuestion ", "\nUser: ", "I can't ", "I'm sorry, but "),
    *("sorry ", "However ", "e.g. ", "for example ", "assert f(", "SELECT a FROM ", "def f(", "import ", "Therefore, "),
    *("data: ", "data: x\n\n", "data:\n", "\r", "\r\n", ": x\n", "a: "),
    *("- a\n", "&a ", "*a ", "!t ", "? ", "%", "\u0301"),
    *("10,000", "1 000", "1e5", "January 1 ", "12:30 ", "5 km ", "Mr. "),
    *("_emg0a1b2c3d_", "emg.0a1b2c3d.", "sk-abcdef0123", "U.S. ", "a.b.", "Dr", ".", ",", ";", ":", "…"),
]  # fmt: skip
OPENINGS = [
    *("", "The answer is ", "answer: ", "```json\n", "```\n"),
    *('{"answer": "', '{"answer": ', "\\boxed{", "#### ", '"', "("),
    *("<think>", "$", "*", "I cannot ", "Question: ", "data: "),
    *("a: ", "[", "{", "    ", "x", "> ", '{"error": {"message": "'),
]  # fmt: skip
ENDINGS = [
    *("", "x", ".", "?", "\n```", "```", "}", '"}', '"', ")", " is correct", "\nB", "$", "</think>B", "\n", " ", "!"),
]  # fmt: skip


class Family(NamedTuple):
    opening: str
    unit: str
    between: str
    ending: str

    def text(self, length: int) -> str:
        body = self.unit + self.between
        return self.opening + body * (length // len(body)) + self.ending


QUESTIONS = {
    "open": "Which city is the capital of Australia?",
    "number": "How many clips did she sell altogether?",
    "options": "Which city lies on the Seine?\n\nA. London\nB. Paris\nC. Rome",
    "code": "What does this print? Give a literal.\n```python\nprint(f('x'))\n```",
    "polar": "Is the Pacific larger than the Atlantic?",
}


def asks(text: str, **more: object) -> ChatRequest:
    return ChatRequest(messages=({"role": "user", "content": text},), **more)  # type: ignore[arg-type]


def reading(question: str, **more: object) -> Callable[[str], object]:
    def read(text: str) -> object:
        extractor = Extractor.of(asks(question, **more))
        completion = Completion(text=text, finish_reason="stop")
        return extractor.why_unusable(completion), extractor.key(completion)

    return read


def _question(text: str) -> object:
    found = Question.of(text)
    return found.options, found.exact, found.numeric, found.polar, found.factual, found.numbers


def _body(text: str) -> object:
    raw = text.encode()
    with suppress(RequestError):
        bound_structure(raw)
    with suppress(RequestError):
        return parse_json(b'{"a": "' + raw + b'"}')
    return None


def _events(text: str) -> object:
    raw = text.encode()

    async def received() -> AsyncIterator[bytes]:
        for start in range(0, len(raw), 7):
            yield raw[start : start + 7]

    async def run() -> int:
        return len([data async for data in events(received())])

    return asyncio.run(run())


def _config(text: str) -> object:
    with suppress(ConfigError):
        return parse_config(text, source="fuzz")
    return None


MATCHER = Matcher([rows.Question(str(n), text) for n, text in enumerate([*QUESTIONS.values(), "a", "1 1 1 1", "x x"])])


def _match(text: str) -> object:
    with suppress(NoMatchError, AmbiguousError):
        return MATCHER.find([{"role": "user", "content": f"{text} {QUESTIONS['open']}"}])
    return None


SCRUB = Scrubber("sk-abcdef0123456789", {"x": "Bearer 123456"}, "http://u:aaaaaa@h/")
PATTERNS = {"pattern": r"^(a+)+$", "allOf": [{"pattern": r"(.*1)*,$"}, {"pattern": r"(\w|[a-z])*\d"}]}


def _failure(text: str) -> UpstreamError:
    found = http_failure(400, {}, text, scrub=SCRUB)
    refusal_of(found.error, ["temperature", "a"])
    return http_failure(500, {}, json.dumps({"error": {"message": text}}), scrub=SCRUB)


UPSTREAM = ProviderConfig(kind="anthropic")


def _continued(text: str) -> ChatRequest:
    """A conversation in which a client made up the ids and the signatures."""
    call = {"id": text, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    thought = {"type": "thinking", "thinking": "x", "signature": text}
    made = {"role": "assistant", "content": None, "tool_calls": [call], "thinking_blocks": [thought]}
    return ChatRequest(messages=(made, {"role": "tool", "tool_call_id": text, "content": "x"}))


SCANS: dict[str, Callable[[str], object]] = {
    **{f"answer to {name}": reading(question) for name, question in QUESTIONS.items()},
    "answer in JSON": reading("x", response_format={"type": "json_object"}),
    "hedges": hedges,
    "is_refusal": is_refusal,
    "question": _question,
    "form": lambda text: form_of(asks(text)),
    "form by system prompt": lambda text: form_of(
        ChatRequest(messages=({"role": "system", "content": text}, {"role": "user", "content": "x"}))
    ),
    "parse_fenced": parse_fenced,
    "unfenced": unfenced,
    "verdict": lambda text: verdict(text, 3),
    "frames": lambda text: (escaped(text), visible(text), conversation(asks(text))),
    "body": _body,
    "events": _events,
    "pieces": lambda text: list(pieces(text)),
    "config": _config,
    "matching": _match,
    "failure": _failure,
    "embedding": lambda text: embed([text[:24_000]]),
    "ids": lambda text: (state.read_id(text), state.for_maker(_continued(text), UPSTREAM, "0a1b2c3d")),
    "schema": lambda text: schema_fault(text, PATTERNS),
}


def cpu_s(scan: Callable[[str], object], text: str) -> float:
    began = process_time()
    scan(text)
    return process_time() - began


FACTOR = 8  # between the two lengths
BOUND = 40  # a linear scan takes about FACTOR times as long, a quadratic one FACTOR squared
LENGTH = 3_000  # of the shorter text
QUICK_S = 0.05  # CPU time for the longer text below which nothing can be wrong
ROUNDS = 5


def growth(scan: Callable[[str], object], family: Family, length: int = LENGTH) -> float:
    """How many times longer a text that is FACTOR times as long takes: CPU time, so that a busy machine does
    not count, and the best of ROUNDS. Asked again before it says more than BOUND; 0 where both are quick."""
    short, long = family.text(length), family.text(FACTOR * length)
    took = cpu_s(scan, long)
    if took < QUICK_S:
        return 0.0
    base = max(min(cpu_s(scan, short) for _ in range(ROUNDS)), 1e-4)
    for _ in range(2 * ROUNDS - 1):
        if took / base <= BOUND:
            break
        took = min(took, cpu_s(scan, long))
    return took / base


def some_families(scan: str, rounds: int) -> Iterator[Family]:
    """Every unit `rounds` times, in surroundings that follow from the scan's name: the same in every run."""
    dice = Random(scan)
    for _ in range(rounds):
        for unit in UNITS:
            yield Family(dice.choice(OPENINGS), unit, dice.choice(["", dice.choice(UNITS)]), dice.choice(ENDINGS))
