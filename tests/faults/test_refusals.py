"""What a model refused once is left out for everybody: so nothing that a client writes may read as such a refusal."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from emerge_core.api import create_app
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from emerge_core.providers.refusals import MAX_REASON, REMEMBERED_S, refusal_of
from emerge_core.types import CallError
from tests.support.socket_upstream import Reply, listening

OURS = {"temperature", "stop", "seed", "response_format", "top_p", "effort", "output_config"}
REAL = [  # message, parameters, and the reason that is shown
    (
        "Unsupported parameter: 'temperature' is not supported with this model.",
        {"temperature"},
        "Unsupported parameter: 'temperature'",
    ),
    ("body.temperature: Extra inputs are not permitted", {"temperature"}, None),
    ("output_config.effort: Extra inputs are not permitted", {"effort"}, None),
    (
        "litellm.UnsupportedParamsError: m does not support parameters: ['seed', 'stop'], for model=m.",
        {"seed", "stop"},
        "does not support parameters: ['seed', 'stop']",
    ),
    (
        'Invalid JSON payload received. Unknown name "top_p": Cannot find field.',
        {"top_p"},
        'Invalid JSON payload received. Unknown name "top_p": Cannot find field',
    ),
    (
        json.dumps([{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra"}]),
        {"seed"},
        "extra_forbidden",
    ),
]
SECRET = "hunter2"
QUOTING = [  # refusals that are true, in messages that quote the request too
    f"Unsupported parameter: 'seed'. You sent: {SECRET}",
    f"{SECRET} does not support the parameter 'seed': {SECRET}",
    f"{SECRET}Error: seed: Extra inputs are not permitted, {SECRET}",
    f"{SECRET}() got an unexpected keyword argument 'seed' ({SECRET})",
    json.dumps([{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": SECRET, "input": SECRET}]),
]
MADE_UP = [
    # a field of the client's own below one that is known, by its path
    "metadata.temperature: Extra inputs are not permitted",
    "messages.0.content.0.stop: Extra inputs are not permitted",
    "output_config.temperature: Extra inputs are not permitted",
    "tools.0.custom.seed: Extra inputs are not permitted",
    "Unknown parameter: 'response_format.stop'.",
    "Unknown parameter: 'tools[0].seed'.",
    json.dumps([{"type": "extra_forbidden", "loc": ["body", "metadata", "temperature"], "msg": "Extra"}]),
    # a field whose name is a list, or a sentence
    "Unknown parameter: 'x, temperature'.",
    "Unsupported parameters: ['x', 'seed and stop']",
    "metadata.x, temperature: Extra inputs are not permitted",
    "metadata.x: Extra inputs are not permitted: seed",
    # a value, quoted
    "Invalid value: 'temperature is not supported'. Supported values are: 'auto'.",
    "'stop' is not one of ['low', 'high'] - 'reasoning_effort'",
    "Invalid 'stop': 'Unsupported parameter: seed'.",
    "insufficient_quota! temperature, stop, seed",
]


def error(message: str, param: str | None = None, code: str | None = None) -> CallError:
    return CallError(kind="invalid_request", message=message, status=400, param=param, code=code)


@pytest.mark.parametrize(("message", "params", "reason"), REAL)
def test_a_provider_that_names_its_parameter_is_believed(message: str, params: set[str], reason: str | None) -> None:
    found = refusal_of(error(message), OURS)
    assert (set(found.params), found.lasting, found.reason) == (params, True, reason or message)


@pytest.mark.parametrize("message", QUOTING)
@pytest.mark.parametrize("code", [None, "unsupported_parameter", SECRET])
def test_the_reason_of_a_refusal_quotes_no_request(message: str, code: str | None) -> None:
    found = refusal_of(error(message, None, code), OURS)
    assert found.lasting
    assert found.reason
    assert SECRET not in found.reason


def test_the_reason_of_a_refusal_is_bounded() -> None:
    many = {f"parameter_{number}" for number in range(20)}
    found = refusal_of(error(f"Unsupported parameters: {', '.join(sorted(many))}"), many)
    assert found.lasting
    assert len(found.reason) == MAX_REASON


@pytest.mark.parametrize("message", MADE_UP)
@pytest.mark.parametrize("code", [None, "unknown_parameter", "unsupported_parameter", "invalid_value"])
@pytest.mark.parametrize("param", [None, "metadata.temperature", "response_format.stop", "tools[0].seed", "x"])
def test_nothing_that_a_client_wrote_is_remembered(message: str, code: str | None, param: str | None) -> None:
    found = refusal_of(error(message, param, code), OURS)
    assert not found.lasting, found


@pytest.mark.parametrize("param", ["temperature", "body.temperature"])
def test_a_parameter_that_is_named_by_itself_is_believed(param: str) -> None:
    found = refusal_of(error(SECRET, param, "unsupported_parameter"), OURS)
    assert (found.lasting, found.reason) == (True, "unsupported_parameter")
    assert not refusal_of(error("No.", param, "unsupported_value"), OURS).lasting


CONFIG = """
providers: {{up: {{kind: openai, base_url: "{url}"}}}}
models: {{m: {{provider: up, model: gpt, max_retries: 0}}}}
"""
ANSWER = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
ASKED = {"temperature": 0.5, "stop": ["x"], "seed": 1}


@pytest.mark.parametrize(
    ("message", "left_out"),
    [(MADE_UP[0], []), (MADE_UP[7], []), ("Unsupported parameter: 'seed'.", ["seed"])],
)
def test_the_status_shows_what_others_do_without(message: str, left_out: list[str]) -> None:
    refused = Reply({"error": {"message": message}}, status=400)

    async def main() -> tuple[Any, Any]:
        async with listening(refused, Reply(ANSWER)) as upstream:
            engine = Engine(parse_config(CONFIG.format(url=upstream.url), source="x"), environ={})
            transport = httpx.ASGITransport(create_app(engine))
            async with engine, httpx.AsyncClient(transport=transport, base_url="http://e") as client:
                body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **ASKED}
                await client.post("/v1/chat/completions", json={**body, "metadata": {"temperature": "1"}})
                assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
                return (await client.get("/v1/emerge/status")).json(), upstream.sent[-1].body

    status, sent = asyncio.run(main())
    assert status["refused_params"] == ({"up": {"gpt": left_out}} if left_out else {})
    shown = [(each["provider"], each["model"], each["param"], each["reason"]) for each in status["refusals"]]
    assert shown == [("up", "gpt", param, message.rstrip(".")) for param in left_out]
    assert all(each["status"] == 400 and 0 < each["forgotten_in_s"] <= REMEMBERED_S for each in status["refusals"])
    assert ASKED.keys() - sent.keys() == set(left_out)
