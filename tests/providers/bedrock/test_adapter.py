"""Calls to a Bedrock on loopback that checks every signature and every body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botocore.credentials import Credentials

from emerge_core.config.schema import GuardrailConfig, ProviderConfig
from emerge_core.errors import ConfigError
from emerge_core.providers.bedrock.adapter import Bedrock, region_of
from emerge_core.types import CallError, ChatRequest, Completion, Delta, EmbeddingRequest, ToolCall, UpstreamError
from tests.providers.bedrock.shapes import CITY, HELLO, LLAMA, NOVA, SONNET, schema_format, tool
from tests.support.aws.bedrock_upstream import (
    KEY_ID,
    REGION,
    SECRET,
    TOKEN,
    Answer,
    Raw,
    Refusal,
    bedrock,
    chain_of,
    text_reply,
)
from tests.support.aws.bedrock_upstream import (
    Bedrock as Upstream,
)
from tests.support.aws.event_stream import event, events_of, exception

ASKED = ChatRequest(messages=(HELLO,))
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
FOUND = Credentials(KEY_ID, SECRET, TOKEN)


def call(
    *answers: Answer,
    request: ChatRequest = ASKED,
    model: str = LLAMA,
    streamed: bool = False,
    chain: Any = lambda: FOUND,
    secrets: dict[str, str] | None = None,
    run: Callable[[Bedrock], Awaitable[Any]] | None = None,
    **config: Any,
) -> tuple[Any, Upstream, str]:
    """What one call of the adapter gave, the upstream, and the text that was told while it streamed."""
    texts: list[str] = []

    def emit(delta: Delta) -> None:
        texts.append(delta.text)

    async def main() -> tuple[Any, Upstream, str]:
        async with bedrock(*answers, secrets=secrets) as upstream:
            settings = ProviderConfig(kind="bedrock", region=REGION, base_url=upstream.url, **config)
            adapter = Bedrock(settings, chain=chain)
            try:
                if run is not None:
                    return await run(adapter), upstream, ""
                if streamed:
                    result: Any = await adapter.stream(model, request, timeout_s=10, emit=emit)
                else:
                    result = await adapter.complete(model, request, timeout_s=10)
                return result, upstream, "".join(texts)
            except UpstreamError as failure:
                return failure.error, upstream, "".join(texts)
            finally:
                await adapter.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", [LLAMA, SONNET, ARN])
def test_a_question(model: str, streamed: bool) -> None:
    result, upstream, told = call(text_reply("The answer is 42."), model=model, streamed=streamed)
    assert isinstance(result, Completion), result
    assert (result.text, result.finish_reason, result.upstream_model) == ("The answer is 42.", "stop", model)
    assert result.usage is not None and (result.usage.input_tokens, result.usage.output_tokens) == (10, 5)
    assert told == ("The answer is 42." if streamed else "")
    (asked,) = upstream.asked
    assert asked.model == model and asked.operation == ("converse-stream" if streamed else "converse")
    assert ":" not in asked.path and asked.headers["x-amz-security-token"] == TOKEN


def calls_reply() -> dict[str, Any]:
    use = {"toolUse": {"toolUseId": "tooluse_1", "name": "now", "input": {"zone": "UTC"}}}
    return {**text_reply(""), "stopReason": "tool_use", "output": {"message": {"role": "assistant", "content": [use]}}}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_call(streamed: bool) -> None:
    request = ChatRequest(messages=(HELLO,), tools=(tool("now"),))
    result, _, _ = call(calls_reply(), request=request, streamed=streamed)
    assert result.tool_calls == (ToolCall(id="tooluse_1", name="now", arguments='{"zone": "UTC"}'),)
    assert (result.text, result.finish_reason) == (None, "tool_calls")


def test_a_schema_by_a_tool_comes_back_as_text() -> None:
    use = {"toolUse": {"toolUseId": "t", "name": "reply", "input": {"city": "Oslo"}}}
    answer = {**calls_reply(), "output": {"message": {"role": "assistant", "content": [use]}}}
    request = ChatRequest(messages=(HELLO,), response_format=schema_format(CITY))
    result, _, _ = call(answer, request=request, model=NOVA)
    assert (json.loads(result.text), result.tool_calls, result.finish_reason) == ({"city": "Oslo"}, (), "stop")


def test_cache_figures_are_part_of_the_input() -> None:
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 115}
    result, _, _ = call(text_reply("x", **usage, cacheReadInputTokens=60, cacheWriteInputTokens=40))
    assert (result.usage.input_tokens, result.usage.cached_tokens, result.usage.cache_write_tokens) == (110, 60, 40)


@pytest.mark.parametrize(
    ("stop", "finish", "refusal"),
    [
        ("max_tokens", "length", None),
        ("stop_sequence", "stop", None),
        ("model_context_window_exceeded", "length", None),
        ("guardrail_intervened", "content_filter", "Blocked."),
        ("content_filtered", "content_filter", "Blocked."),
        ("something_new", "stop", None),
    ],
)
def test_stop_reasons(stop: str, finish: str, refusal: str | None) -> None:
    result, _, _ = call({**text_reply("Blocked."), "stopReason": stop})
    assert (result.finish_reason, result.refusal) == (finish, refusal)


@pytest.mark.parametrize("stop", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_reply_is_a_bad_response(stop: str) -> None:
    result, _, _ = call({**text_reply("{"), "stopReason": stop})
    assert isinstance(result, CallError) and result.kind == "bad_response"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (Refusal(429, "ThrottlingException", "Too many requests"), "rate_limit", 429),
        (Refusal(424, "ModelErrorException"), "server", 424),
        (Refusal(408, "ModelTimeoutException"), "timeout", 408),
        (Refusal(404, "ResourceNotFoundException"), "not_found", 404),
        (Refusal(400, "ValidationException", "Input is too long for requested model."), "context_length", 400),
        (Refusal(503, "ServiceUnavailableException"), "server", 503),
    ],
)
def test_errors(answer: Refusal, kind: str, status: int, streamed: bool) -> None:
    result, upstream, _ = call(answer, streamed=streamed)
    assert isinstance(result, CallError), result
    assert (result.kind, result.status, result.code) == (kind, status, answer.name)
    assert len(upstream.asked) == 1


def test_an_exception_inside_a_stream_after_some_text() -> None:
    frames = [*events_of(text_reply("One two"))[:2], exception("throttlingException", "Slow down")]
    result, _, told = call(Raw(frames), streamed=True)
    assert isinstance(result, CallError) and (result.kind, result.status) == ("rate_limit", None)
    assert told == "One"


@pytest.mark.parametrize("ends", [True, False])
def test_a_stream_that_ends_too_early(ends: bool) -> None:
    result, _, _ = call(Raw(events_of(text_reply("One two"))[:3], ends=ends), streamed=True)
    assert isinstance(result, CallError) and result.kind == ("bad_response" if ends else "connection")


def test_a_stream_with_bytes_left_over() -> None:
    frames = [*events_of(text_reply("One two")), event("x", {})[:-2]]
    result, _, _ = call(Raw(frames), streamed=True)
    assert isinstance(result, CallError) and result.kind == "bad_response"


def test_a_parameter_that_the_model_refuses_is_left_out_named_and_remembered() -> None:
    refusal = Refusal(
        400, "ValidationException", "This model doesn't support the temperature field. Remove temperature."
    )
    request = ChatRequest(messages=(HELLO,), temperature=0.2)

    async def twice(adapter: Bedrock) -> list[Completion]:
        return [await adapter.complete(LLAMA, request, timeout_s=10) for _ in range(2)]

    results, upstream, _ = call(refusal, text_reply("x"), run=twice)
    assert [result.dropped_params for result in results] == [("temperature",)] * 2
    assert [result.attempts for result in results] == [2, 1]
    assert ["inferenceConfig" in asked.body for asked in upstream.asked] == [True, False, False]


def test_expired_credentials_are_looked_up_once_more() -> None:
    expired = Refusal(403, "ExpiredTokenException", "The security token included in the request is expired")
    fresh = Credentials("FRESH", SECRET)
    secrets = {KEY_ID: SECRET, "FRESH": SECRET}
    result, upstream, _ = call(expired, text_reply("x"), chain=chain_of(FOUND, fresh), secrets=secrets)
    assert result.text == "x"
    assert [asked.headers["authorization"].split("/")[0].rpartition("=")[2] for asked in upstream.asked] == [
        KEY_ID,
        "FRESH",
    ]
    result, upstream, _ = call(expired)
    assert isinstance(result, CallError) and result.kind == "auth" and len(upstream.asked) == 2


def test_wrong_credentials_say_what_mends_them() -> None:
    result, _, _ = call(chain=lambda: Credentials(KEY_ID, "wrong"))
    assert isinstance(result, CallError) and (result.kind, result.code) == ("auth", "InvalidSignatureException")


def test_no_credentials_are_a_fault_of_the_config() -> None:
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        call(chain=lambda: None)


def test_a_guardrail_and_a_service_tier_go_with_every_request() -> None:
    guardrail = GuardrailConfig(id="gr1", version="3")
    _, upstream, _ = call(text_reply("x"), guardrail=guardrail, service_tier="flex")
    (asked,) = upstream.asked
    assert asked.body["guardrailConfig"] == {"guardrailIdentifier": "gr1", "guardrailVersion": "3"}
    assert asked.body["serviceTier"] == {"type": "flex"}


def test_embeddings_by_cohere_in_one_request() -> None:
    answer = {"embeddings": {"float": [[1.0, 0.0], [0.0, 1.0]]}}

    async def embed(adapter: Bedrock) -> Any:
        return await adapter.embed(
            "cohere.embed-v4:0", EmbeddingRequest(inputs=("a", "b"), dimensions=256), timeout_s=10
        )

    result, upstream, _ = call(answer, run=embed)
    assert result.vectors == [[1.0, 0.0], [0.0, 1.0]] and result.usage is None
    (asked,) = upstream.asked
    assert (asked.operation, asked.body["texts"], asked.body["output_dimension"]) == ("invoke", ["a", "b"], 256)


@pytest.mark.parametrize("answer", [{}, {"embeddings": [[1.0]]}, {"embeddings": [[1.0], [1.0, 2.0]]}])
def test_embeddings_that_are_none(answer: Any) -> None:
    async def embed(adapter: Bedrock) -> Any:
        with pytest.raises(UpstreamError) as caught:
            await adapter.embed("cohere.embed-english-v3", EmbeddingRequest(inputs=("a", "b")), timeout_s=10)
        return caught.value.error.kind

    assert call(answer, run=embed)[0] == "bad_response"


def test_other_makers_embeddings_are_refused() -> None:
    async def embed(adapter: Bedrock) -> Any:
        with pytest.raises(UpstreamError) as caught:
            await adapter.embed("amazon.titan-embed-text-v2:0", EmbeddingRequest(inputs=("a",)), timeout_s=10)
        return caught.value.error.kind

    assert call(run=embed)[0] == "unsupported"


def test_the_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="AWS_REGION"):
        region_of(ProviderConfig(kind="bedrock"))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert region_of(ProviderConfig(kind="bedrock")) == "eu-west-1"
    assert region_of(ProviderConfig(kind="bedrock", region="us-west-2")) == "us-west-2"


def test_a_key_of_bedrock_is_sent_instead_of_a_signature() -> None:
    async def main() -> tuple[Any, Upstream]:
        async with bedrock(text_reply("x")) as upstream:
            settings = ProviderConfig(kind="bedrock", base_url=upstream.url)
            adapter = Bedrock(settings, api_key="bedrock-api-key", chain=lambda: None)
            with pytest.raises(UpstreamError) as caught:  # this upstream knows signatures only
                await adapter.complete(LLAMA, ASKED, timeout_s=10)
            await adapter.aclose()
            return caught.value.error, upstream

    error, upstream = asyncio.run(main())
    assert (error.code, error.kind) == ("MissingAuthenticationTokenException", "auth")
    assert upstream.asked == []


@pytest.mark.parametrize("streamed", [False, True])
def test_reasoning_comes_back_as_thinking_blocks(streamed: bool) -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "6 * 7.", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
        {"text": "42"},
    ]
    answer = {**text_reply(""), "output": {"message": {"role": "assistant", "content": content}}}
    result, _, _ = call(answer, model=SONNET, streamed=streamed)
    assert (result.text, result.reasoning_content) == ("42", "6 * 7.")
    assert result.thinking_blocks == (
        {"type": "thinking", "thinking": "6 * 7.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
    )
