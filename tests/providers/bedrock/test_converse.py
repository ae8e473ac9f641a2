"""Requests: what boto3's own client sends for the same things, and botocore's validator."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.validate import ParamValidator

from emerge_core.providers.bedrock.converse import Extras, to_wire
from emerge_core.providers.bedrock.messages import tool_use_id
from emerge_core.providers.bedrock.outcomes import OPTIONAL
from emerge_core.types import ChatRequest, UpstreamError
from tests.providers.bedrock.shapes import (
    CITY,
    HELLO,
    NOVA,
    SHAPES,
    SONNET,
    Shape,
    call,
    image,
    schema_format,
    tool,
    user,
)


class Boto:
    """boto3's client for Bedrock, whose requests are caught on their way to the wire."""

    def __init__(self) -> None:
        self.client: Any = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            aws_access_key_id="AKID",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self.sent: Any = None
        self.client.meta.events.register("before-send.bedrock-runtime.*", self._catch)

    def _catch(self, request: Any, **_: Any) -> AWSResponse:
        self.sent = request
        body = b'{"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"}'

        class Raw:
            headers: dict[str, str] = {}  # noqa: RUF012

            def stream(self, **_: Any) -> Any:
                yield body

        return AWSResponse(request.url, 200, {"content-type": "application/json"}, Raw())

    def body(self, model: str, arguments: dict[str, Any]) -> Any:
        self.client.converse(modelId=model, **arguments)
        return json.loads(self.sent.body)


@pytest.fixture(scope="module")
def boto() -> Boto:
    return Boto()


def wire(shape: Shape) -> Any:
    return to_wire(shape.model, shape.request, extras=Extras(**shape.extras))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_boto3_sends_the_same_body(boto: Boto, shape: Shape) -> None:
    made = wire(shape)
    assert json.loads(json.dumps(made.body)) == boto.body(shape.model, shape.converse)
    assert made.dropped == shape.dropped


def with_bytes(value: Any) -> Any:
    """As botocore takes it: blobs are bytes, not base64."""
    if isinstance(value, dict):
        return {
            name: base64.b64decode(item)
            if name in ("bytes", "redactedContent") and isinstance(item, str)
            else with_bytes(item)
            for name, item in value.items()
        }
    return [with_bytes(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_botocore_accepts_the_body(boto: Boto, shape: Shape) -> None:
    operation = boto.client.meta.service_model.operation_model("Converse")
    report = ParamValidator().validate({"modelId": shape.model, **with_bytes(wire(shape).body)}, operation.input_shape)
    assert not report.has_errors(), report.generate_report()


def test_the_shapes_are_many() -> None:
    assert len(SHAPES) >= 40


def test_what_a_model_refused_is_not_sent_again_but_named() -> None:
    request = ChatRequest(
        messages=(HELLO,),
        temperature=0.2,
        tools=(tool("now"),),
        tool_choice="required",
        extra={"reasoning_effort": "low"},
    )
    model = "anthropic.claude-opus-4-6-v1"
    made = to_wire(model, request, refused=frozenset(("temperature", "toolChoice", "effort")))
    assert "inferenceConfig" not in made.body and "outputConfig" not in made.body
    assert "toolChoice" not in made.body["toolConfig"]
    assert made.dropped == ("temperature", "tool_choice", "reasoning_effort")
    assert made.sent <= set(OPTIONAL)


def test_a_schema_goes_the_next_way_when_one_is_refused() -> None:
    request = ChatRequest(messages=(HELLO,), response_format=schema_format(CITY))
    by_tool = to_wire(SONNET, request, refused=frozenset(("textFormat",)))
    assert by_tool.text_in_tool and "outputConfig" not in by_tool.body
    told = to_wire(SONNET, request, refused=frozenset(("textFormat", "toolChoice")))
    assert not told.text_in_tool and "toolConfig" not in told.body
    assert json.dumps(CITY) in told.body["system"][-1]["text"]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}],
        [image("image/tiff")],
        [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
    ],
    ids=["a URL", "a TIFF", "audio"],
)
def test_content_that_converse_cannot_carry(content: Any) -> None:
    with pytest.raises(UpstreamError) as caught:
        to_wire(NOVA, ChatRequest(messages=(user(content),)))
    assert caught.value.error.kind == "unsupported" and caught.value.error.param == "messages"


def test_ids_that_repeat_or_have_other_characters() -> None:
    again = {"role": "assistant", "content": None, "tool_calls": [call("call|1", "now", "{}")]}
    result = {"role": "tool", "tool_call_id": "call|1", "content": "12"}
    turns = to_wire(NOVA, ChatRequest(messages=(HELLO, again, result, again, result))).body["messages"]
    made = [turn["content"][0]["toolUse"]["toolUseId"] for turn in turns if "toolUse" in turn["content"][0]]
    told = [turn["content"][0]["toolResult"]["toolUseId"] for turn in turns if "toolResult" in turn["content"][0]]
    assert made == told and len(set(made)) == 2
    assert len(tool_use_id("x" * 200)) <= 64 and tool_use_id("x" * 200) != tool_use_id("x" * 201)


def test_the_path_of_boto3_escapes_ids_and_arns(boto: Boto) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
    boto.body(arn, {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]})
    assert urlsplit(boto.sent.url).path == (
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2c3/converse"
    )
