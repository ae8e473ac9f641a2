"""Recorded answers in the form of Bedrock's Converse, asked for by boto3's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from emerge_core.config import parse_config
from emerge_core.evals.compare.measure import CompareSettings, compare
from emerge_core.evals.recordings.recording import Recordings
from emerge_core.evals.replay.converse import ConverseWire
from emerge_core.evals.replay.server import replay_app

QUESTION = "What is 17 plus 25?"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"


@pytest.fixture(scope="module")
def client(recordings: Path, server: Any) -> Iterator[Any]:
    with server(replay_app(Recordings(recordings), "sums", speed=0)) as url:
        retries = {"total_max_attempts": 1}
        yield boto3.client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries=retries, proxies={}),
        )


def ask(client: Any, operation: str, model: str = "alpha", question: str = QUESTION) -> Any:
    turn = {"role": "user", "content": [{"text": question}]}
    return getattr(client, operation)(modelId=model, system=[{"text": "Be brief."}], messages=[turn])


def test_whole(client: Any) -> None:
    done = ask(client, "converse")
    (block,) = done["output"]["message"]["content"]
    assert block["text"].endswith("42.") and done["stopReason"] == "end_turn"
    assert done["usage"]["outputTokens"] == 100


def test_streamed(client: Any) -> None:
    whole = ask(client, "converse")["output"]["message"]["content"][0]["text"]
    events = list(ask(client, "converse_stream")["stream"])
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    assert "".join(deltas) == whole and len(deltas) > 1
    assert events[0] == {"messageStart": {"role": "assistant"}}
    assert events[-2] == {"messageStop": {"stopReason": "end_turn"}}
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 100


@pytest.mark.parametrize(("model", "question"), [("alpha", "Who are you?"), ("omega", QUESTION), (ARN, QUESTION)])
def test_what_is_not_recorded(client: Any, model: str, question: str) -> None:
    with pytest.raises(ClientError) as caught:
        ask(client, "converse", model, question)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_requests_are_read_into_the_shape_of_a_chat_completion() -> None:
    sent = {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "Add"}, {"image": {"format": "png", "source": {"bytes": "AA=="}}}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "add", "input": {"a": 1}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "2"}]}}]},
        ],
        "toolConfig": {"tools": [{"toolSpec": {"name": "add", "inputSchema": {"json": {"type": "object"}}}}]},
        "outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": '{"type": "object"}'}}}},
    }
    assert ConverseWire().body(sent, "m", streams=True) == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Add"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            },
            {
                "role": "assistant",
                "content": [],
                "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "2"},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
    }


BEDROCK = """
providers:
  aws: {kind: bedrock, region: us-east-1}
  openai: {kind: openai, api_key: env:ABSENT}
models:
  a: {provider: aws, model: alpha}
  b: {provider: aws, model: beta}
  c: {provider: aws, model: gamma}
ensembles:
  vote: {members: [a, b, c], aggregator: vote}
"""


def test_a_config_of_bedrock_is_compared_like_any_other(recordings: Path) -> None:
    def measured(config: str) -> Any:
        settings = CompareSettings(config=parse_config(config, source="test"), recordings=recordings, task="sums")
        found = asyncio.run(compare(settings, lambda name, count: lambda: None)).as_json()
        return {key: found[key] for key in ("questions", "models", "ensembles", "best_single")}

    assert measured(BEDROCK) == measured(BEDROCK.replace("provider: aws", "provider: openai"))
