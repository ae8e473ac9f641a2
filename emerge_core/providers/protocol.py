"""What the fan-out expects of every provider, whatever its wire format."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from emerge_core.types import ChatRequest, Completion, EmbeddingRequest, RateLimits, Sink, Usage


class Embeddings(NamedTuple):
    """One vector per text, in the order of the texts."""

    vectors: list[list[float]]
    usage: Usage | None
    dropped_params: tuple[str, ...] = ()
    rate_limits: RateLimits = ()


class Provider(Protocol):
    """An API that can be called. It translates and sends one request; it never retries, prices or logs.

    `model` is the upstream's name of the model and `timeout_s` limits the whole call. Every method raises
    `UpstreamError` if the call fails. Cancelling the task closes the connection.
    """

    async def complete(self, model: str, request: ChatRequest, *, timeout_s: float) -> Completion: ...

    async def stream(self, model: str, request: ChatRequest, *, timeout_s: float, emit: Sink) -> Completion:
        """Returns what `complete` would return, and passes the text to `emit` as it arrives. Raises
        `UpstreamError` if the stream breaks off or contains an error."""
        ...

    async def embed(self, model: str, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings: ...

    async def aclose(self) -> None:
        """Closes the connections."""
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """A provider that counts the tokens of a request without answering it (see `KINDS`)."""

    async def count_tokens(self, model: str, request: ChatRequest, *, timeout_s: float) -> int:
        """The tokens of the request's input. Raises `UpstreamError`."""
        ...
