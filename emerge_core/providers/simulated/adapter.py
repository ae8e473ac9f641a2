"""A seeded panel without a network: members that are right with a set probability.

They answer arithmetic and multiple-choice questions, and say of anything else that they are
simulated. Whether a member is right depends on the seed, its name and the question alone, so every
run is the same run. With `correlation` c the members share their luck, and their wrong answer, on a
share c of the questions: for members of equal accuracy that is the correlation of their errors.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from emerge_core.config.schema import ModelConfig, ProviderConfig
from emerge_core.providers import Embeddings
from emerge_core.providers.errors import unsupported
from emerge_core.providers.parts import Document, function_of, pieces, texts_of
from emerge_core.providers.simulated.arithmetic import arithmetic_answer, show
from emerge_core.providers.simulated.schema_example import example
from emerge_core.types import (
    ChatRequest,
    Completion,
    Delta,
    EmbeddingRequest,
    Sink,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    Usage,
    text_of,
)

_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]+(\S.*)$", re.MULTILINE)
_SAYING = ("The answer is {}.", "{}", "Answer: {}", "**{}**")
_OFFSETS = (1, -1, 2, -2, 3, -3, 5, -5, 7, 9, -9, 10, -10, 11, 20, -20, 30, 90, 100, -100)
_DIMENSIONS = 64
_DEFAULT_ACCURACY = 0.75
_MAX_READ = 10_000  # characters of a question, from its end
_PER_MESSAGE = 32  # characters of a message beside its text


def make(config: ProviderConfig, *, api_key: str | None, models: Mapping[str, ModelConfig]) -> Simulated:
    return Simulated(config, models=models)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member says. `sure` is its stated probability of being right, and a calibrated one."""

    said: str
    right: bool
    sure: float


_SHOWS_ANSWERS = re.compile(r"^<(?:candidate|draft)-1-[0-9a-f]{12}>$", re.M)


class Simulated:
    def __init__(self, config: ProviderConfig, *, models: Mapping[str, ModelConfig]) -> None:
        self._seed = config.seed
        self._correlation = config.correlation
        self._accuracy = {model.model: model.accuracy for model in models.values() if model.accuracy is not None}

    async def complete(self, model: str, request: ChatRequest, *, timeout_s: float) -> Completion:
        await asyncio.sleep(0)  # as every call does, it lets the others run
        for message in request.messages:
            if any(isinstance(piece, Document) for piece in pieces(message.get("content"))):
                raise unsupported("the simulated panel reads no files", param="messages")
        answer = self.answer(model, _question(request))
        calls = _tool_calls(request)
        text = None if calls else self._text(model, request, answer)
        finish, logprobs = "tool_calls" if calls else "stop", None
        if text is not None:
            text, finish = _cut(text, request)
            logprobs = _logprobs(text, answer, request.top_logprobs or 0) if request.logprobs else None
        written = text if text is not None else "".join(call.arguments for call in calls)
        return Completion(
            text=text,
            tool_calls=calls,
            finish_reason=finish,
            logprobs=logprobs,
            usage=Usage(input_tokens=_input_tokens(request), output_tokens=_tokens(written)),
            upstream_model=model,
            dropped_params=_dropped(request),
        )

    async def stream(self, model: str, request: ChatRequest, *, timeout_s: float, emit: Sink) -> Completion:
        completion = await self.complete(model, request, timeout_s=timeout_s)
        if completion.logprobs:  # as many as there are pieces
            for token in completion.logprobs:
                emit(Delta(text=token.token, logprobs=(token,)))
                await asyncio.sleep(0)
            return completion
        for piece in _split(completion.text or ""):
            emit(Delta(text=piece))
            await asyncio.sleep(0)
        return completion

    async def embed(self, model: str, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        await asyncio.sleep(0)
        texts = texts_of(request)
        vectors = [_vector(model, text, request.dimensions or _DIMENSIONS) for text in texts]
        usage = Usage(input_tokens=sum(map(_tokens, texts)))
        return Embeddings(vectors, usage, dropped_params=tuple(request.extra))

    async def aclose(self) -> None:
        """Nothing is open."""

    def answer(self, model: str, question: str) -> Answer | None:
        """The member's answer to an arithmetic or multiple-choice question; None for anything else."""
        stem, options = _multiple_choice(question)
        value = arithmetic_answer(stem)
        if not options and value is None:
            return None

        asked = " ".join(question.split())
        together = self._draw(asked, "together") < self._correlation
        who = "everyone" if together else f"model {model}"
        right = self._draw(asked, who, "luck") < self._accuracy.get(model, _DEFAULT_ACCURACY)
        slip = self._draw(asked, who, "slip")
        sure = self._draw(asked, model, "sure")
        truth = self._right_option(asked, options, value) if options else show(value or Fraction(0))
        said = truth if right else _wrong(truth, sorted(options), value, slip)
        return Answer(said=said, right=right, sure=0.6 + 0.39 * sure if right else 0.35 + 0.4 * sure)

    def _right_option(self, asked: str, options: Mapping[str, str], value: Fraction | None) -> str:
        """The option that states the computed value; without one all members share a drawn truth."""
        letters = sorted(options)
        if value is not None:
            for letter in letters:
                if options[letter].strip(" $.").replace(",", "") == show(value):
                    return letter
        return letters[int(self._draw(asked, "truth") * len(letters))]

    def _draw(self, *what: str) -> float:
        """A number in [0, 1) that depends on the seed and on `what` alone."""
        return _hash(str(self._seed), *what) / 2**64

    def _text(self, model: str, request: ChatRequest, answer: Answer | None) -> str:
        if request.wants_json:
            schema = request.json_schema
            if not schema:
                return json.dumps({"answer": answer.said if answer else None, "simulated": True})
            return json.dumps(example(schema, answer=answer.said if answer else None))
        if answer is not None:
            return _SAYING[_hash(model) % len(_SAYING)].format(answer.said)
        return (
            f"This is a simulated reply from {model}: no language model stands behind it. The simulated panel answers "
            "arithmetic (such as 17 * 23) and multiple-choice questions only; for anything else, configure a provider."
        )


def _multiple_choice(question: str) -> tuple[str, dict[str, str]]:
    """The question before its options, and the options by letter: A, B, … in this order, two or more."""
    options: dict[str, str] = {}
    start = len(question)
    for match in _OPTION.finditer(question):
        if match.group(1) == chr(ord("A") + len(options)):
            options[match.group(1)] = match.group(2).strip()
            start = min(start, match.start())
    return (question[:start], options) if len(options) >= 2 else (question, {})


def _wrong(truth: str, letters: Sequence[str], value: Fraction | None, slip: float) -> str:
    if letters:
        others = [letter for letter in letters if letter != truth]
        return others[int(slip * len(others))]
    return show((value or Fraction(0)) + _OFFSETS[int(slip * len(_OFFSETS))])


def _question(request: ChatRequest) -> str:
    """The last user message; the one before it if the last shows other models' answers, to merge or to adjudicate."""
    asked = [text_of(message.get("content")) for message in request.messages if message.get("role") == "user"]
    if len(asked) > 1 and _SHOWS_ANSWERS.search(asked[-1]):
        return asked[-2][-_MAX_READ:]
    return asked[-1][-_MAX_READ:] if asked else ""


def _tool_calls(request: ChatRequest) -> tuple[ToolCall, ...]:
    """A call only where one is demanded, with the least arguments that its schema allows."""
    choice = request.tool_choice
    if not request.offers_tools or choice in (None, "auto"):
        return ()
    functions = [function_of(tool) for tool in request.tools]
    if isinstance(choice, Mapping):
        named = function_of(choice).get("name")
        functions = [function for function in functions if function.get("name") == named]
    if not functions:
        return ()
    name = str(functions[0].get("name"))
    arguments = json.dumps(example({"type": "object", **(functions[0].get("parameters") or {})}))
    return (ToolCall(id=f"call_{_hash(name, arguments):016x}", name=name, arguments=arguments),)


def _cut(text: str, request: ChatRequest) -> tuple[str, str]:
    ends = [at for at in (text.find(stop) for stop in request.stop if stop) if at >= 0]
    text = text[: min(ends, default=len(text))]
    pieces = _split(text)
    if request.max_tokens is not None and len(pieces) > request.max_tokens:
        return "".join(pieces[: request.max_tokens]), "length"
    return text, "stop"


def _split(text: str) -> list[str]:
    return re.findall(r"\s*(?:\w+|[^\w\s])|\s+$", text)


def _logprobs(text: str, answer: Answer | None, top: int) -> tuple[TokenLogprob, ...] | None:
    """All tokens are all but certain, except those of the answer, which are as sure as it is."""
    said = set(_split(answer.said)) if answer else set()
    made = []
    for token in _split(text):
        logprob = math.log(answer.sure) / max(1, len(said)) if answer and token.strip() in said else -0.001
        made.append(TokenLogprob(token=token, logprob=logprob, top=(TopLogprob(token, logprob),) if top else ()))
    return tuple(made) or None


def _dropped(request: ChatRequest) -> tuple[str, ...]:
    unused = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "parallel_tool_calls")
    return (*(name for name in unused if getattr(request, name) is not None), *request.extra)


def _input_tokens(request: ChatRequest) -> int:
    return -(-sum(len(text_of(message.get("content"))) + _PER_MESSAGE for message in request.messages) // 4)


def _tokens(text: str) -> int:
    return -(-len(text) // 4)


def _vector(model: str, text: str, dimensions: int) -> list[float]:
    """Hashed words, normalised: texts that share words are near each other."""
    sums: list[float] = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [""]:
        hashed = _hash(model, word)
        sums[hashed % dimensions] += 1.0 if hashed >> 32 & 1 else -1.0
    length = math.sqrt(sum(number * number for number in sums)) or 1.0
    return [number / length for number in sums]


def _hash(*what: Any) -> int:
    text = json.dumps(what)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
