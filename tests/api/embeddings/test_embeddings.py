"""POST /v1/embeddings: the official client, the engine, and an upstream on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from emerge_core.api.embeddings.parse import read_embeddings
from emerge_core.errors import RequestError


@pytest.fixture
def url(through: Callable[..., str]) -> str:
    return through("{emerge: {members: [a, b]}}")


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def test_a_batch(client: openai.OpenAI, upstream: Any) -> None:
    """The official client asks for base64 by itself, and reads it."""
    reply = client.embeddings.create(model="small", input=["one", "three"], dimensions=4, user="u")
    assert [(row.index, row.embedding) for row in reply.data] == [(0, [3, 1, 1, 1]), (1, [5, 1, 1, 1])]
    assert (reply.model, reply.object) == ("small", "list")
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (7, 7)
    (sent,) = upstream.bodies
    assert (sent["model"], sent["input"], sent["dimensions"], sent["user"]) == ("small-1", ["one", "three"], 4, "u")
    assert reply.model_extra
    emerge = reply.model_extra["emerge"]
    assert (emerge["ensemble"], emerge["strategy"], emerge["rule"], emerge["selected"]) == (
        "small",
        "embedding",
        "embedder",
        ["1"],
    )
    (call,) = emerge["calls"]
    assert (call["role"], call["status"], call["model"], emerge["degraded"]) == ("embed", "ok", "small", False)
    assert emerge["cost_usd"] == call["cost_usd"] == pytest.approx(7e-6)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_the_encoding_asked_for(url: str, encoding: str) -> None:
    body = {"model": "small", "input": "one", "encoding_format": encoding}
    reply = httpx.post(f"{url}/embeddings", json=body, headers={"x-emerge-trace": "off"})
    assert set(reply.json()) == {"object", "data", "model", "usage"}
    assert reply.json()["data"][0]["embedding"] == ([3.0, 1.0, 1.0] if encoding == "float" else "AABAQAAAgD8AAIA/")
    assert reply.headers["x-emerge-cost-usd"] == "0.000007000"


def test_the_upstreams_rate_limits_are_passed_on(client: openai.OpenAI, upstream: Any, says: Any) -> None:
    upstream.script = {"small-1": says(headers={"x-ratelimit-remaining-tokens": "93"})}
    reply = client.embeddings.with_raw_response.create(model="small", input="one")
    assert reply.headers["x-ratelimit-remaining-tokens"] == "93"


def test_token_ids_go_to_providers_that_read_them(client: openai.OpenAI, upstream: Any) -> None:
    client.embeddings.create(model="small", input=[5, 6])
    client.embeddings.create(model="small", input=[[5, 6], [7]])
    assert [body["input"] for body in upstream.bodies] == [[[5, 6]], [[5, 6], [7]]]


def test_an_unknown_embedder_names_the_known_ones(client: openai.OpenAI, upstream: Any) -> None:
    for name, said in (("nothing", "does not exist"), ("emerge", "is no embedder"), ("a", "is no embedder")):
        with pytest.raises(openai.NotFoundError, match=f"{said}.*Known here: small, locked") as caught:
            client.embeddings.create(model=name, input="one")
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert upstream.bodies == []


def test_embedders_are_listed_as_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()][-2:] == ["small", "locked"]
    assert client.models.retrieve("small").owned_by == "up"


@pytest.mark.parametrize(
    ("said", "raised", "message"),
    [
        ({"status": 400, "error": "too many dimensions"}, openai.BadRequestError, "^.*too many dimensions"),
        ({"status": 429, "headers": {"retry-after": "60"}}, openai.RateLimitError, "rate-limited"),
        ({"status": 401}, openai.InternalServerError, "small: auth 401"),
        ({"status": 404}, openai.InternalServerError, "small: not_found 404"),
    ],
)
def test_an_upstreams_failure(
    client: openai.OpenAI, upstream: Any, says: Any, said: Any, raised: type[openai.APIStatusError], message: str
) -> None:
    upstream.script = {"small-1": says(**said)}
    with pytest.raises(raised, match=message) as caught:
        client.embeddings.create(model="small", input="one")
    body: Any = caught.value.body
    assert [call["status"] for call in body["emerge"]["calls"]] == ["error"]


def test_a_missing_key_is_no_fault_of_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match=r"locked: config: .*NO_SUCH_KEY"):
        client.embeddings.create(model="locked", input="one")


def test_ceilings(client: openai.OpenAI, upstream: Any, says: Any) -> None:
    upstream.script = {"small-1": says(delay=5)}
    with pytest.raises(openai.InternalServerError) as caught:
        client.embeddings.create(model="small", input="one", extra_headers={"x-emerge-deadline": "0.05"})
    assert caught.value.status_code == 504
    with pytest.raises(openai.BadRequestError, match="may cost"):
        client.embeddings.create(model="small", input=[[1] * 100], extra_headers={"x-emerge-max-cost": "0.00001"})


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": ...}, "model"),
        ({"input": ...}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "4"}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_fault_is_named(changes: dict[str, Any], param: str) -> None:
    body = {"model": "small", "input": "one", **changes}
    with pytest.raises(RequestError) as caught:
        read_embeddings({name: value for name, value in body.items() if value is not ...})
    assert (caught.value.status, caught.value.param) == (400, param)
