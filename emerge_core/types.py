"""The values that flow through one request, from the caller's body to the decision.

A `ChatRequest` goes out to every member, each comes back as a `Completion` (a failure is one
too), the fan-out records it as a `Call`, an aggregator looks at it as a `Candidate`, and the
`Decision` says which message is the answer and why. Immutable values only: nothing here does
I/O, and nothing is changed after it was made.

Messages, tools and response formats keep the shape of OpenAI's chat completions API, which is the
product's own surface; every provider adapter translates from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from math import fsum
from typing import Any, Literal, NamedTuple, Protocol, get_args

from emerge_core.errors import RequestError
from emerge_core.immutable import immutable

JsonObject = Mapping[str, Any]

RateLimits = tuple[tuple[str, str], ...]  # an upstream's, as OpenAI's headers: x-ratelimit-…

Role = Literal["member", "judge", "merge", "embed", "escalation", "adjudication", "repair"]
Status = Literal["ok", "error", "timeout", "cancelled", "skipped"]

Form = Literal["tools", "json", "choices", "short", "open_ended"]  # what a request asks for: see answers.question
FORMS: tuple[Form, ...] = get_args(Form)  # in order of precedence

ErrorKind = Literal[
    "invalid_request",  # the upstream refuses the request as it is: asking again is useless
    "context_length",
    "auth",  # the upstream's 401 or 403: our credentials, never the client's
    "not_found",
    "rate_limit",
    "timeout",
    "connection",
    "server",
    "bad_response",  # a reply that is not what the API promises
    "unsupported",  # not asked: the model lacks a capability that the request needs
    "budget",  # not asked: the request's cost or call ceiling is reached
    "cancelled",  # asked, then cancelled: the others had decided
    "config",  # missing key, unknown model and the like
]


@immutable(frozen=True, slots=True, kw_only=True)
class CallError:
    """Why a call gave no completion. `message` is safe to show: no secret, no stack trace."""

    kind: ErrorKind
    message: str
    status: int | None = None  # the upstream's HTTP status
    retry_after_s: float | None = None
    param: str | None = None  # as the upstream named it
    code: str | None = None  # as the upstream named it
    final: bool = False  # whatever the kind is, a second call would not help
    rate_limits: RateLimits = ()
    provoked: bool = False  # the request itself may have caused it: it says nothing about the provider
    sent: bool = False  # the connection broke after the request had gone out: it may be billed all the same

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed when it is made again."""
        passes = self.kind in ("rate_limit", "connection", "server") or self.status in (408, 409)
        return passes and not self.final

    @property
    def permanent(self) -> bool:
        """Whether every further call to this model would fail in the same way: a bad key, an unknown model."""
        return self.kind in ("auth", "config", "not_found")

    @property
    def line(self) -> str:
        """Kind, status and message in one line; the message alone if it begins with the kind."""
        if self.status is None and self.message.startswith(f"{self.kind} "):
            return self.message
        status = f" {self.status}" if self.status else ""
        return f"{self.kind}{status}: {self.message}"


class UpstreamError(Exception):
    """A provider call failed. Raised by provider adapters only; the fan-out turns it into a completion."""

    def __init__(self, error: CallError) -> None:
        super().__init__(error.message)
        self.error = error


@immutable(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one or several calls. Cached and cache-writing tokens are *part of* `input_tokens`,
    reasoning tokens are *part of* `output_tokens`, so each token is counted, and priced, once."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


@immutable(frozen=True, slots=True, kw_only=True)
class Cost:
    """US dollars. `known` is false if a price or a usage was missing: `usd` is then a lower
    bound, not a bill. `estimated` marks a sum that contains a cancelled call's estimate."""

    usd: float = 0.0
    known: bool = True
    estimated: bool = False

    @staticmethod
    def sum(costs: Sequence[Cost]) -> Cost:
        return Cost(
            usd=fsum(cost.usd for cost in costs),
            known=all(cost.known for cost in costs),
            estimated=any(cost.estimated for cost in costs),
        )


class TopLogprob(NamedTuple):
    token: str
    logprob: float


@immutable(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """One generated token with its natural-log probability and its most likely alternatives."""

    token: str
    logprob: float
    top: tuple[TopLogprob, ...] = ()


@immutable(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """A part of a tool call as it arrives. `index` counts the calls of the reply from 0; `id` and `name` come with
    the first part of a call, `arguments` is a fragment of its JSON text, and `extra_content` is what the provider had
    attached by then (see `ToolCall`)."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    extra_content: JsonObject = field(default_factory=dict, hash=False)


@immutable(frozen=True, slots=True, kw_only=True)
class Delta:
    """A part of a reply as it arrives. All deltas of a call, joined, are its completion's text, refusal, reasoning
    and tool calls. `native` is the provider's own event, for a surface that speaks the same format."""

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    native: JsonObject | None = None


Sink = Callable[[Delta], None]  # takes a delta at once: it neither waits nor fails


@immutable(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One function call. `arguments` is the JSON text exactly as the model wrote it. `extra_content` is what its
    provider attached to the call and wants back with it (Gemini's `thought_signature`)."""

    id: str
    name: str
    arguments: str
    extra_content: JsonObject = field(default_factory=dict, hash=False)


@immutable(frozen=True, slots=True, kw_only=True)
class NativeRequest:
    """The caller's request as it came on a surface that speaks a provider's own format. Members of the same
    provider kind get it as it is, except for what the proxy decides (the model, streaming, state of other models).

    `messages` is the translation of the body's messages: the body stands for a request only while the request
    still has this very tuple, so a judge or a merger, which is asked something else, never gets it.
    """

    kind: str  # a key of provider_kinds.KINDS
    body: JsonObject
    messages: tuple[JsonObject, ...]
    headers: Mapping[str, str] = field(default_factory=dict)  # those that reach the provider, e.g. anthropic-beta


@immutable(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A chat completion request, validated by the API. Absent parameters are None or empty and are
    not sent upstream. `extra` holds fields that we do not interpret; they are passed through to
    providers that know them and dropped, by name, elsewhere.

    An assistant message may carry state that the model which wrote it wants back: `reasoning_content` (text),
    `thinking_blocks` (a list of blocks as the provider made them, with their signatures) and `extra_content` in its
    tool calls. Content parts, tools and messages may carry `cache_control`. An adapter sends what belongs to its
    model and leaves out the rest (see `providers.state`).
    """

    messages: tuple[JsonObject, ...]
    tools: tuple[JsonObject, ...] = ()
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    response_format: JsonObject | None = None
    max_tokens: int | None = None
    max_tokens_param: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"  # as the caller said it
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    extra: JsonObject = field(default_factory=dict)
    native: NativeRequest | None = None

    @classmethod
    def of(cls, question: str, **parameters: Any) -> ChatRequest:
        """A request of one user message. `parameters` are fields of this class, such as `temperature`."""
        return cls(messages=({"role": "user", "content": question},), **parameters)

    @property
    def json_schema(self) -> JsonObject | None:
        """The JSON schema that the answer must satisfy, or None (also for plain `json_object`)."""
        if self.response_format and self.response_format.get("type") == "json_schema":
            schema = self.response_format.get("json_schema", {}).get("schema")
            return schema if isinstance(schema, Mapping) else {}
        return None

    @property
    def wants_json(self) -> bool:
        kind = self.response_format.get("type") if self.response_format else None
        return kind in ("json_object", "json_schema")

    @property
    def offers_tools(self) -> bool:
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def has_images(self) -> bool:
        return any(
            isinstance(part, Mapping) and part.get("type") == "image_url"
            for message in self.messages
            if isinstance(message.get("content"), (list, tuple))
            for part in message["content"]
        )

    @property
    def last_user_text(self) -> str:
        """The text of the last user message, its text parts joined by newlines; "" if there is none."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return text_of(message.get("content"))
        return ""


def text_of(content: Any) -> str:
    """The text of a message's content: a string as it is, text parts joined by newlines, else ""."""
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        return "\n".join(
            part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        )
    return ""


@immutable(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """Texts to embed, each as it is or as the token ids of the model's own tokenizer, which only
    OpenAI-compatible providers read. `dimensions` is a length to cut the vectors to; `extra` as in `ChatRequest`."""

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    extra: JsonObject = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...] | None:
        """None if token ids are among them."""
        texts = tuple(text for text in self.inputs if isinstance(text, str))
        return texts if len(texts) == len(self.inputs) else None


@immutable(frozen=True, slots=True, kw_only=True)
class Completion:
    """One model's reply in normal form, or the error that it ended in.

    `finish_reason` is OpenAI's vocabulary: stop, length, tool_calls, content_filter.
    `usage` is None if the upstream reported none. `latency_ms` covers all attempts.

    `reasoning_content`, `thinking_blocks` and `extra_content` of the tool calls are the reply's state: the client gets
    them with the message, and they go back to the model that made them. `native` is the whole reply in the
    provider's own format, and `native_kind` says which, for a surface that speaks the same format.
    """

    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    reasoning_content: str | None = None
    thinking_blocks: tuple[JsonObject, ...] = ()
    native: JsonObject | None = None
    native_kind: str | None = None  # a key of provider_kinds.KINDS
    maker: str | None = None  # the mark on its state, if other models take part in the conversation
    logprobs: tuple[TokenLogprob, ...] | None = None
    usage: Usage | None = None
    upstream_model: str | None = None
    dropped_params: tuple[str, ...] = ()
    rate_limits: RateLimits = ()
    error: CallError | None = None
    latency_ms: float = 0.0
    attempts: int = 1
    cost: Cost = Cost()

    @property
    def ok(self) -> bool:
        return self.error is None

    def with_measures(self, *, latency_ms: float, attempts: int, cost: Cost) -> Completion:
        return replace(self, latency_ms=latency_ms, attempts=attempts, cost=cost)


@immutable(frozen=True, slots=True, kw_only=True)
class Member:
    """A model's place in a panel. `calibration` maps the answer-span probability to the probability
    of being right: (upper bound of the bin, accuracy in it), ascending."""

    model: str  # name of the model in the config
    position: int = 0  # index in the ensemble: config order breaks the last ties
    weight: float = 1.0
    temperature: float | None = None  # overrides the caller's, to make one model's samples differ
    reliability: float | None = None
    calibration: tuple[tuple[float, float], ...] = ()


@immutable(frozen=True, slots=True, kw_only=True)
class Call:
    """One upstream call in the trace."""

    id: str  # unique in its request: "1", "2", …
    role: Role
    model: str  # name of the model in the config
    provider: str  # name of the provider in the config
    status: Status
    completion: Completion
    member: Member | None = None  # for panel members only
    live: bool = False  # part of it went to the caller as it arrived: it is the answer, whatever becomes of it
    breaker_open: bool = False  # skipped because its model is down: the error is that of an earlier call
    began_ms: float = 0.0  # after the request did


class Route(NamedTuple):
    """Which ensemble, or single model, an ensemble's routes chose, and for which form of request."""

    form: Form
    ensemble: str


class AnswerKey(NamedTuple):
    """The canonical form of what a reply *says*. Equal keys are the same vote.

    `kind` is one of: letter, number, boolean, literal, text, json, tools, names. Only `text` keys
    may match without being equal (by containment, see `answers.group_keys`).
    """

    kind: str
    value: str


UnusableKind = Literal[
    "error",  # the call gave no reply; `detail` is the error's kind or the call's status
    "refusal",
    "content_filter",
    "truncated",  # cut off before it stated an answer
    "empty",
    "invalid_json",
    "invalid_schema",  # JSON, but not of the schema that the request demands
    "invalid_tool_call",
    "no_vectors",  # embeddings only
]


@immutable(frozen=True, slots=True)
class Unusable:
    """Why a reply cannot be the answer. `str()` gives the line that people read."""

    kind: UnusableKind
    detail: str = ""

    @property
    def invalid(self) -> bool:
        """Whether there is a reply, but not of the form that the request demands: the model may mend it."""
        return self.kind in ("invalid_json", "invalid_schema", "invalid_tool_call")

    def __str__(self) -> str:
        label = _UNUSABLE_LABELS[self.kind]
        return f"{label}: {self.detail}" if self.detail else label


_UNUSABLE_LABELS: Mapping[UnusableKind, str] = {
    "error": "error",
    "refusal": "refusal",
    "content_filter": "content filter",
    "truncated": "truncated",
    "empty": "empty",
    "invalid_json": "invalid JSON",
    "invalid_schema": "invalid against the schema",
    "invalid_tool_call": "invalid tool call",
    "no_vectors": "no embeddings",
}


@immutable(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A member's call while it is being aggregated. `why_unusable` is None for a usable reply;
    `key` is None if the reply states no extractable answer (long prose, or nothing usable)."""

    call: Call
    member: Member
    why_unusable: Unusable | None = None
    key: AnswerKey | None = None
    confidence: float | None = None
    cut: bool = False  # left behind as a straggler: neither an answer nor dissent

    @property
    def usable(self) -> bool:
        return self.why_unusable is None

    @property
    def completion(self) -> Completion:
        return self.call.completion


@immutable(frozen=True, slots=True, kw_only=True)
class VoteGroup:
    """The candidates that said the same. `weight` is the sum of theirs."""

    key: AnswerKey
    weight: float
    members: tuple[str, ...]  # model names, in config order
    call_ids: tuple[str, ...]


@immutable(frozen=True, slots=True, kw_only=True)
class Decision:
    """What an aggregator returns. `message` is the winner's own completion, except for merge."""

    message: Completion
    selected: tuple[str, ...]  # call ids
    rule: str  # which rule decided, e.g. "vote:majority"
    votes: tuple[VoteGroup, ...] = ()  # heaviest first
    agreement: float | None = None  # 0 to 1; None if there are no keys
    fallback: str | None = None  # why the configured way was not taken
    early: bool = False
    escalated: bool = False  # a model was asked after the first round: the answers in hand were not good enough
    abstained: bool = False  # `message` says that the models do not agree


@immutable(frozen=True, slots=True, kw_only=True)
class Trace:
    """The record of one request: every call, what was made of it, and the decision or the failure."""

    request_id: str
    name: str  # what the caller put in `model`
    ensemble: str = ""  # the ensemble or model of the config that served
    route: Route | None = None  # if routes chose `ensemble`
    strategy: str
    aggregator: str
    calls: tuple[Call, ...]
    candidates: tuple[Candidate, ...] = ()
    decision: Decision | None = None
    failure: RequestError | None = None  # set exactly when `decision` is None
    usage_policy: Literal["sum", "selected"] = "sum"
    latency_ms: float = 0.0
    overhead_ms: float = 0.0  # latency less the time in which at least one upstream call was open
    baseline: Cost | None = None  # what the request would have cost at the configured baseline model

    @property
    def answer(self) -> Completion:
        """The decided message. Raises the RequestError that the request ended in if there is none."""
        if self.decision is None:
            assert self.failure is not None  # noqa: S101  (the invariant above)
            raise self.failure
        return self.decision.message

    @property
    def degraded(self) -> bool:
        """Whether a member that was asked, and not cancelled, gave no usable reply. One that the breaker left
        out counts as asked."""
        return any(
            not c.usable
            for c in self.candidates
            if c.call.status not in ("cancelled", "skipped") or c.call.breaker_open
        )

    @property
    def cost(self) -> Cost:
        return Cost.sum([call.completion.cost for call in self.calls])

    @property
    def usage(self) -> Usage:
        """The sum over every call that reported usage."""
        return sum((call.completion.usage or Usage() for call in self.calls), Usage())

    def usage_of(self, call_ids: Sequence[str]) -> Usage:
        """The sum over these calls. An abstention selects no call and has a usage of its own."""
        if not call_ids and self.decision and self.decision.abstained:
            return self.decision.message.usage or Usage()
        return sum((call.completion.usage or Usage() for call in self.calls if call.id in call_ids), Usage())


class Progress(Protocol):
    """Watches the calls of one request while they are made. Its methods return at once and never raise."""

    def began(self, call_id: str, role: Role, model: str) -> None: ...

    def ended(self, call: Call) -> None:
        """Every call ends, a skipped one without having begun."""


KeyOf = Callable[[Completion], "AnswerKey | None"]  # what a reply to the request says; see `AnswerKey`


class Asker(Protocol):
    """How aggregators make further calls (judge, merge, embeddings) without seeing a provider.

    Neither method raises for an upstream's failure: the call's completion carries the error.
    `live` says that the call's text is the answer as it stands: a caller that streams may receive it as it
    arrives. Whether any of it went out is `Call.live`.
    """

    async def ask(self, role: Role, model: str, request: ChatRequest, *, live: bool = False) -> Call: ...

    async def embed(self, embedder: str, texts: Sequence[str]) -> tuple[Call, list[list[float]] | None]: ...
