"""One call of a provider's adapter against a scripted upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from emerge_core.config.schema import ModelConfig, ProviderConfig
from emerge_core.providers import Provider, make_provider
from emerge_core.types import CallError, ChatRequest, Completion, UpstreamError
from tests.support.socket_upstream import Reply, Sent, Upstream, listening

KEY = "sk-very-secret-key"


@asynccontextmanager
async def adapter(
    kind: Any,
    base_url: str | None,
    *,
    api_key: str | None = KEY,
    models: Mapping[str, ModelConfig] | None = None,
    **config: Any,
) -> AsyncIterator[Provider]:
    made = make_provider(ProviderConfig(kind=kind, base_url=base_url, **config), api_key=api_key, models=models or {})
    try:
        yield made
    finally:
        await made.aclose()


@dataclass
class Exchange:
    upstream: Upstream
    result: Any

    @property
    def completion(self) -> Completion:
        assert isinstance(self.result, Completion), self.result
        return self.result

    @property
    def error(self) -> CallError:
        assert isinstance(self.result, CallError), self.result
        return self.result

    @property
    def sent(self) -> Sent:
        return self.upstream.sent[-1]

    @property
    def body(self) -> Any:
        return self.sent.body


class RunExchange(Protocol):
    def __call__(self, kind: str, reply: Any, request: ChatRequest | None = None, **options: Any) -> Exchange: ...


def run(
    kind: str,
    reply: Any,
    request: ChatRequest | None = None,
    *,
    model: str = "m",
    timeout_s: float = 5.0,
    path: str = "",
    call: Callable[[Provider], Awaitable[Any]] | None = None,
    **config: Any,
) -> Exchange:
    """Makes one call against an upstream that answers `reply`: a Reply, several, or the body of one."""
    replies = [
        each if isinstance(each, Reply) else Reply(each) for each in ([reply] if not isinstance(reply, list) else reply)
    ]
    asked = request or ChatRequest(messages=({"role": "user", "content": "Hello"},))

    async def main() -> Exchange:
        async with listening(*replies) as upstream, adapter(kind, upstream.url + path, **config) as provider:
            try:
                if call is not None:
                    return Exchange(upstream, await call(provider))
                return Exchange(upstream, await provider.complete(model, asked, timeout_s=timeout_s))
            except UpstreamError as failure:
                return Exchange(upstream, failure.error)

    return asyncio.run(main())
