"""Bedrock's OpenAI-compatible address with one of its API keys, as infra/README.md configures it."""

from __future__ import annotations

import re
from typing import Any

import yaml

from emerge_core.config.schema import ProviderConfig
from emerge_core.types import ChatRequest
from tests.support.paths import ROOT
from tests.support.provider_exchange import run

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "openai.gpt-oss-20b-1:0",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "391"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 72, "completion_tokens": 9, "total_tokens": 81},
}


def configured() -> dict[str, Any]:
    found = re.search(r"`(\{kind: openai, base_url: [^`]*bedrock[^`]*\})`", (ROOT / "infra" / "README.md").read_text())
    assert found
    written: dict[str, Any] = yaml.safe_load(found[1])
    ProviderConfig(**written)  # the config takes it
    return written


def test_the_address_and_key_of_the_readme() -> None:
    written = configured()
    address = re.fullmatch(r"https://bedrock-runtime\.[a-z0-9-]+\.amazonaws\.com(/.*)", written["base_url"])
    assert address
    assert written["api_key"] == "env:AWS_BEARER_TOKEN_BEDROCK"
    asked = ChatRequest(messages=({"role": "user", "content": "What is 17 * 23?"},), max_tokens=64)
    done = run(written["kind"], REPLY, asked, model="openai.gpt-oss-20b-1:0", path=address[1], api_key="bedrock-key-x")
    assert (done.sent.method, done.sent.path) == ("POST", "/openai/v1/chat/completions")
    assert done.sent.headers["authorization"] == "Bearer bedrock-key-x"  # and nothing is signed
    assert not any(name.startswith("x-amz-") for name in done.sent.headers)
    assert done.body == {
        "model": "openai.gpt-oss-20b-1:0",
        "messages": [{"role": "user", "content": "What is 17 * 23?"}],
        "max_tokens": 64,
    }
    assert (done.completion.text, done.completion.finish_reason) == ("391", "stop")
    assert done.completion.usage and done.completion.usage.input_tokens == 72
