"""Amazon Bedrock's Converse API, signed with the AWS credentials of the process; a key is not needed.

If the config names an `api_key`, a key of Bedrock's own, it is sent instead and nothing is signed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from emerge_core.config.schema import ModelConfig, ProviderConfig
from emerge_core.errors import ConfigError
from emerge_core.providers.bedrock import embedding
from emerge_core.providers.bedrock.converse import Extras, Wire, to_wire
from emerge_core.providers.bedrock.outcomes import failure, message_of
from emerge_core.providers.bedrock.reply import from_wire
from emerge_core.providers.bedrock.signing import Chain, Signer, default_chain
from emerge_core.providers.bedrock.stream import Assembly
from emerge_core.providers.errors import (
    Scrubber,
    connection_failed,
    json_object,
    not_encodable,
    retry_after,
    timed_out,
)
from emerge_core.providers.parts import MAX_EMBEDDINGS
from emerge_core.providers.protocol import Embeddings
from emerge_core.providers.rate_limits import rate_limits
from emerge_core.providers.refusals import Refusals
from emerge_core.providers.transport.client import HttpClient, Response
from emerge_core.providers.transport.connection import TransportError
from emerge_core.providers.transport.exchange import Reply, parsed
from emerge_core.providers.transport.resend import may_send_again
from emerge_core.types import ChatRequest, Completion, EmbeddingRequest, JsonObject, Sink, UpstreamError

_JSON = {"content-type": "application/json"}


def make(config: ProviderConfig, *, api_key: str | None, models: Mapping[str, ModelConfig]) -> Bedrock:
    return Bedrock(config, api_key=api_key)


def region_of(config: ProviderConfig) -> str:
    """The Region of the config, else that of the environment or of the AWS profile. Raises ConfigError if there is
    none."""
    region = config.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        from botocore.session import Session

        region = Session().get_config_variable("region")
    if not region:
        raise ConfigError("region: name the AWS Region, here or in AWS_REGION")
    return str(region)


class Bedrock:
    def __init__(self, config: ProviderConfig, *, api_key: str | None = None, chain: Chain = default_chain) -> None:
        """Raises ConfigError without a Region. No credentials are looked up before the first request."""
        self._signer = None if api_key else Signer(region_of(config), chain=chain)
        self._url = (config.base_url or f"https://bedrock-runtime.{region_of(config)}.amazonaws.com").rstrip("/")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = HttpClient(self._url, headers=headers, config=config)
        self._scrub = Scrubber(api_key, config.headers, config.base_url)
        self.refusals = Refusals()
        guardrail = config.guardrail
        self._extras = Extras(
            guardrail_id=guardrail.id if guardrail else None,
            guardrail_version=guardrail.version if guardrail else None,
            service_tier=config.service_tier,
        )

    async def complete(self, model: str, request: ChatRequest, *, timeout_s: float) -> Completion:
        return await self._ask(model, request, timeout_s, None)

    async def stream(self, model: str, request: ChatRequest, *, timeout_s: float, emit: Sink) -> Completion:
        return await self._ask(model, request, timeout_s, emit)

    async def embed(self, model: str, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        body, dropped = embedding.to_wire(model, request)
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._send(model, "invoke", body)
                reply = json_object(await response.read(MAX_EMBEDDINGS))
        except TimeoutError:
            raise timed_out(timeout_s) from None
        except TransportError as error:
            raise connection_failed(str(error), sent=error.sent, scrub=self._scrub) from None
        return embedding.from_wire(reply, response.headers, len(request.inputs), dropped)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, model: str, request: ChatRequest, timeout_s: float, emit: Sink | None) -> Completion:
        def prepare(refused: frozenset[str]) -> tuple[Wire, Collection[str]]:
            wire = to_wire(model, request, refused=refused, extras=self._extras)
            return wire, wire.sent

        async def send(wire: Wire) -> Reply:
            return await (self._whole(model, wire) if emit is None else self._streamed(model, wire, emit))

        try:
            async with asyncio.timeout(timeout_s):
                wire, reply, attempts = await self.refusals.ask(model, prepare, send)
        except TimeoutError:
            raise timed_out(timeout_s) from None
        except TransportError as error:
            raise connection_failed(str(error), sent=error.sent, scrub=self._scrub) from None
        completion = from_wire(reply.body, wire, model=model, attempts=attempts)
        return replace(completion, rate_limits=reply.rate_limits)

    async def _whole(self, model: str, wire: Wire) -> Reply:
        response = await self._send(model, "converse", wire.body)
        return Reply(await parsed(await response.read()), rate_limits(response.headers))

    async def _streamed(self, model: str, wire: Wire, emit: Sink) -> Reply:
        response = await self._send(model, "converse-stream", wire.body)
        try:
            assembly = Assembly(emit, self._scrub)
            size = 0
            async for chunk in response.chunks():
                size += len(chunk)
                assembly.feed(chunk)
                assembly.content.check_wire(size)
            return Reply(assembly.reply(), rate_limits(response.headers))
        finally:
            await response.aclose()

    async def _send(self, model: str, operation: str, body: JsonObject) -> Response:
        """A reply of status 200. The credentials are looked up once more if Bedrock says that they have expired."""
        path = f"/model/{quote(model, safe='')}/{operation}"
        try:
            encoded = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise not_encodable(error) from None
        response = await self._signed(path, encoded)
        if response.status == 200:
            return response
        fault = await self._fault(response)
        if self._signer and fault.error.code == "ExpiredTokenException" and may_send_again():
            self._signer.forget()
            response = await self._signed(path, encoded)
            if response.status == 200:
                return response
            fault = await self._fault(response)
        raise fault

    async def _signed(self, path: str, encoded: bytes) -> Response:
        headers = await self._signer.headers(f"{self._url}{path}", encoded, _JSON) if self._signer else _JSON
        return await self._client.post(path, encoded, headers)

    async def _fault(self, response: Response) -> UpstreamError:
        content = await response.read()
        try:
            body: Any = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        name = response.headers.get("x-amzn-errortype", "")
        if not name and isinstance(body, Mapping):
            name = str(body.get("__type") or body.get("code") or "")
        error = failure(
            name, response.status, message_of(body), scrub=self._scrub, retry_after_s=retry_after(response.headers)
        )
        return UpstreamError(replace(error.error, rate_limits=rate_limits(response.headers)))
