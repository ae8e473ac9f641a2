"""The faults that an upstream can have, each with what must become of a call that meets it.

The right-hand side is the oracle of the matrix: it is written from the contract, not from the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["openai", "anthropic", "ollama", "bedrock"]
KINDS: tuple[Kind, ...] = ("openai", "anthropic", "ollama", "bedrock")
TEXT_STREAMS: tuple[Kind, ...] = ("openai", "anthropic", "ollama")  # the usage may stand in their last words

Cost = Literal["usage", "none", "unknown", "estimated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`does` is what the upstream does instead of answering; None: it answers, with `status` and a body
    that `body` names. `error` is the kind of the call's error, `unusable` why a reply that came is none;
    with neither, the reply counts. `cost` is what the call adds to the bill."""

    name: str
    does: (
        Literal["refuse", "ignore", "reset", "close", "hang", "cut", "reset_body", "stall", "drip", "endless"] | None
    ) = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: str = "answer"
    error: str | None = None
    unusable: str | None = None
    cost: Cost = "usage"
    slow: bool = False  # it ends by a timeout only
    only: tuple[Kind, ...] = KINDS
    embeds: bool = True  # it makes sense for embeddings too
    unusable_embedding: bool = False  # what is fit for a chat is not for an embedding
    spoken: bool = False  # of a streamed reply some words arrive before it
    streams: bool = False  # only a streamed reply can have it

    @property
    def heard(self) -> bool:
        """Whether a caller who streams hears words of it: they are then the answer as they stand."""
        return self.unusable in ("refusal", "truncated")

    @property
    def heavy(self) -> bool:
        """Whether its megabytes keep the machine busy."""
        return self.name in ("huge", "endless")

    @property
    def usable(self) -> bool:
        return self.error is None and self.unusable is None


def _broken(
    name: str,
    does: str,
    error: str = "connection",
    cost: Cost = "unknown",
    *,
    slow: bool = False,
    spoken: bool = False,
) -> Fault:
    return Fault(name=name, does=does, error=error, cost=cost, slow=slow, spoken=spoken)  # type: ignore[arg-type]


def _streamed(
    name: str,
    error: str | None = None,
    cost: Cost = "unknown",
    *,
    spoken: bool = True,
    only: tuple[Kind, ...] = KINDS,
) -> Fault:
    return Fault(name=name, body=name, error=error, cost=cost, spoken=spoken, only=only, streams=True)


def _status(
    status: int, error: str, *, name: str = "", headers: dict[str, str] | None = None, body: str = "refusal_body"
) -> Fault:
    return Fault(
        name=name or f"status_{status}",
        status=status,
        headers=tuple((headers or {}).items()),
        body=body,
        error=error,
        cost="none",
    )


def _garbage(name: str, *, only: tuple[Kind, ...] = KINDS, headers: dict[str, str] | None = None) -> Fault:
    return Fault(
        name=name,
        body=name,
        error="bad_response",
        cost="unknown",
        only=only,
        headers=tuple((headers or {}).items()),
    )


# An hour ahead, and long past, whenever the test runs.
FAR, PAST = "Fri, 31 Dec 2100 23:59:59 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"

FAULTS: tuple[Fault, ...] = (
    _broken("refused", "refuse", cost="none"),
    _broken("never_connects", "ignore", cost="none"),
    _broken("reset_before_body", "reset"),
    _broken("closed_before_body", "close"),
    _broken("reset_in_body", "reset_body", spoken=True),
    _broken("closed_in_body", "cut", spoken=True),
    _broken("hang_before_headers", "hang", "timeout", "estimated", slow=True),
    _broken("hang_in_body", "stall", "timeout", "estimated", slow=True, spoken=True),
    _broken("slow_drip", "drip", "timeout", "estimated", slow=True, spoken=True),
    _status(400, "invalid_request"),
    _status(400, "context_length", name="context_length", body="context_length"),
    _status(400, "invalid_request", name="quotes_request", body="quotes_request"),
    _status(401, "auth"),
    _status(403, "auth"),
    _status(404, "not_found"),
    _status(408, "timeout"),
    _status(409, "invalid_request"),
    _status(429, "rate_limit"),
    _status(429, "rate_limit", name="retry_after_seconds", headers={"retry-after": "0.05"}),
    _status(429, "rate_limit", name="retry_after_past_date", headers={"retry-after": PAST}),
    _status(429, "rate_limit", name="retry_after_hour", headers={"retry-after": "3600"}),
    _status(429, "rate_limit", name="retry_after_far_date", headers={"retry-after": FAR}),
    _status(500, "server"),
    _status(502, "server"),
    _status(503, "server"),
    _status(529, "server"),
    _garbage("truncated_json"),
    _garbage("html", headers={"content-type": "text/html"}),
    _garbage("event_stream", headers={"content-type": "text/event-stream"}),
    _garbage("wrong_shape"),
    _garbage("wrong_types"),
    _garbage("json_list"),
    _garbage("deep_json"),
    _garbage("no_body"),
    _garbage("invalid_utf8"),
    _garbage("huge"),
    Fault(name="endless", does="endless", error="bad_response", cost="unknown", spoken=True),
    _garbage("unasked_gzip", headers={"content-encoding": "gzip"}),
    Fault(name="text_plain", headers=(("content-type", "text/plain"),)),
    Fault(name="empty", body="empty", unusable="empty", unusable_embedding=True),
    Fault(name="null", body="null", unusable="empty", unusable_embedding=True),
    Fault(name="refusal", body="refusal", unusable="refusal", embeds=False, only=("openai", "ollama")),
    Fault(name="length", body="length", unusable="truncated", embeds=False),
    Fault(
        name="content_filter",
        body="content_filter",
        unusable="content filter",
        embeds=False,
        only=("openai", "anthropic", "bedrock"),
    ),
    Fault(name="no_usage", body="no_usage", cost="unknown"),
    Fault(name="negative_usage", body="negative_usage", cost="unknown"),
    Fault(name="absurd_usage", body="absurd_usage", cost="unknown"),
    _streamed("error_event", "server"),
    _streamed("error_event_first", "server", "none", spoken=False),
    _streamed("bad_event", "bad_response"),
    _streamed("no_end", "bad_response"),
    _streamed("no_last_event", cost="usage", only=TEXT_STREAMS),
    _streamed("no_metadata", only=("bedrock",)),
    _streamed("wrong_checksum", "bad_response", only=("bedrock",)),
    _streamed("bytes_left_over", "bad_response", only=("bedrock",)),
    _streamed("throttled_in_stream", "rate_limit", only=("bedrock",)),
    _streamed("duplicate_events", cost="usage"),
)


def faults_of(kind: Kind) -> list[Fault]:
    return [fault for fault in FAULTS if kind in fault.only]
