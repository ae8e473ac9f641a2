"""The replay server, asked by the official SDKs and by plain HTTP."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from emerge_core.evals.recordings.recording import Recordings, Reply
from emerge_core.evals.recordings.rows import Details
from emerge_core.evals.replay.server import replay_app, simulated_latency_s

QUESTION = "What is 17 plus 25?"
REPLY = "Let me work that out step by step.\n\nThe answer is 42."
SKY = "Which of the following is true of the sky?"
PICK = f"{SKY}\n\nA. It is green at noon.\nB. It is blue at noon.\nC. It is made of tin."
WINTER = f"{SKY}\n\nA. It weighs a ton.\nB. It is often grey in winter."


@pytest.fixture
def sums(recordings: Path, server: Any) -> Iterator[str]:
    with server(replay_app(Recordings(recordings), "sums", speed=0)) as url:
        yield url


@pytest.fixture
def everything(recordings: Path, server: Any) -> Iterator[str]:
    with server(replay_app(Recordings(recordings), speed=0)) as url:
        yield url


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_openai_sdk(sums: str) -> None:
    with openai.OpenAI(base_url=f"{sums}/v1", api_key="any") as client:
        done = client.chat.completions.create(model="alpha", messages=user(QUESTION))
        assert done.choices[0].message.content == REPLY
        assert done.choices[0].finish_reason == "stop"
        assert done.choices[0].logprobs is None
        assert done.model == "alpha"
        assert done.usage and (done.usage.prompt_tokens, done.usage.completion_tokens) == (5, 100)
        assert [model.id for model in client.models.list()] == ["alpha", "beta", "gamma", "titan", "thinker", "patchy"]


def test_openai_sdk_streaming(sums: str) -> None:
    with openai.OpenAI(base_url=f"{sums}/v1", api_key="any") as client:
        options: Any = {"include_usage": True}
        stream = client.chat.completions.create(
            model="alpha", messages=user(QUESTION), stream=True, stream_options=options
        )
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == REPLY
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 100


def test_openai_errors_are_openais(sums: str) -> None:
    with openai.OpenAI(base_url=f"{sums}/v1", api_key="any") as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="omega", messages=user(QUESTION))
        with pytest.raises(openai.NotFoundError) as unasked:
            client.chat.completions.create(model="alpha", messages=user("Who are you?"))
        with pytest.raises(openai.NotFoundError, match="patchy was not recorded on s2"):
            client.chat.completions.create(model="patchy", messages=user("What is 6 times 9?"))
        with pytest.raises(openai.BadRequestError, match="`n` can only be 1"):
            client.chat.completions.create(model="alpha", messages=user(QUESTION), n=2)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert unasked.value.code == "no_recording"


def test_anthropic_sdk(sums: str) -> None:
    with anthropic.Anthropic(base_url=sums, api_key="any") as client:
        done = client.messages.create(model="beta", max_tokens=1000, system="Be brief.", messages=user(QUESTION))
        assert done.content[0].type == "text" and done.content[0].text == REPLY
        assert done.stop_reason == "end_turn"
        assert (done.usage.input_tokens, done.usage.output_tokens) == (8, 100)
        with client.messages.stream(model="beta", max_tokens=1000, messages=user(QUESTION)) as stream:
            assert "".join(stream.text_stream) == REPLY
            final = stream.get_final_message()
        assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 100)
        assert next(iter(client.models.list())).id == "alpha"


def test_anthropic_errors_are_anthropics(sums: str) -> None:
    with anthropic.Anthropic(base_url=sums, api_key="any") as client:
        with pytest.raises(anthropic.NotFoundError) as unknown:
            client.messages.create(model="omega", max_tokens=10, messages=user(QUESTION))
        assert unknown.value.body == {
            "type": "error",
            "error": {"type": "not_found_error", "message": "model 'omega' was not recorded in sums"},
            "request_id": unknown.value.body["request_id"],  # type: ignore[index]
        }
        with pytest.raises(anthropic.NotFoundError, match="nothing recorded to answer with"):
            client.messages.create(model="beta", max_tokens=10, messages=user("Who are you?"))


def test_ollama(sums: str) -> None:
    body = {"model": "gamma", "messages": user(QUESTION)}
    done = httpx.post(f"{sums}/api/chat", json={**body, "stream": False}).json()
    assert done["message"] == {"role": "assistant", "content": REPLY.replace("42", "43")}
    assert (done["done"], done["done_reason"]) == (True, "stop")
    assert (done["prompt_eval_count"], done["eval_count"]) == (5, 100)
    lines = [json.loads(line) for line in httpx.post(f"{sums}/api/chat", json=body).text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == REPLY.replace("42", "43")
    assert [line["done"] for line in lines] == [*[False] * (len(lines) - 1), True]
    assert lines[-1]["eval_count"] == 100
    missing = httpx.post(f"{sums}/api/chat", json={**body, "model": "omega"})
    assert (missing.status_code, missing.json()) == (404, {"error": "model 'omega' was not recorded in sums"})
    assert httpx.get(f"{sums}/api/tags").json()["models"][0]["model"] == "alpha"


def test_several_tasks_have_a_path_each(everything: str) -> None:
    chat = "v1/chat/completions"
    body = {"model": "alpha", "messages": user(QUESTION)}
    assert httpx.post(f"{everything}/t/sums/{chat}", json=body).status_code == 200
    assert httpx.post(f"{everything}/t/facts/{chat}", json=body).status_code == 404
    lost = httpx.post(f"{everything}/{chat}", json=body)
    assert lost.status_code == 404
    assert "replays /t/facts/, /t/picks/, /t/picks_letters/, /t/sums/" in lost.json()["error"]["message"]


def test_one_text_with_two_sets_of_choices(everything: str) -> None:
    url = f"{everything}/t/picks/v1/chat/completions"

    def ask(prompt: str) -> httpx.Response:
        return httpx.post(url, json={"model": "alpha", "messages": user(prompt)})

    assert ask(PICK).json()["choices"][0]["message"]["content"].endswith("p1.")
    assert ask(f"Answer with a letter.\n\n{WINTER}").json()["choices"][0]["message"]["content"].endswith("p2.")
    both = ask(f"{PICK}\n{WINTER}")
    assert both.status_code == 409
    assert "p1, p2" in both.json()["error"]["message"]
    assert both.headers["x-should-retry"] == "false"
    assert ask(SKY).status_code == 404


def test_a_judges_prompt_is_not_a_question(everything: str) -> None:
    prompt = f"Question: {QUESTION}\n\nCandidate A: 42\nCandidate B: 43\n\nWhich one is best?"
    for path in ("v1/chat/completions", "v1/messages", "api/chat"):
        reply = httpx.post(f"{everything}/t/sums/{path}", json={"model": "titan", "messages": user(prompt)})
        assert reply.status_code == 404
        assert "more than the question s1" in reply.text


def test_letters_carry_their_confidence_as_a_probability(everything: str) -> None:
    place = f"{everything}/t/picks_letters"
    with openai.OpenAI(base_url=f"{place}/v1", api_key="any") as client:
        plain = client.chat.completions.create(model="alpha", messages=user(PICK))
        done = client.chat.completions.create(model="alpha", messages=user(PICK), logprobs=True)
        stream = client.chat.completions.create(model="alpha", messages=user(PICK), logprobs=True, stream=True)
        streamed = [t for c in stream if c.choices[0].logprobs for t in c.choices[0].logprobs.content or ()]
    assert plain.choices[0].logprobs is None
    assert done.choices[0].message.content == "The answer is (B)."
    assert done.usage and done.usage.completion_tokens == 120
    tokens = done.choices[0].logprobs and done.choices[0].logprobs.content
    assert tokens and streamed == tokens
    assert "".join(token.token for token in tokens) == "The answer is (B)."
    (letter,) = [token for token in tokens if token.token == "B"]
    assert math.exp(letter.logprob) == pytest.approx(0.8)
    assert math.exp(sum(token.logprob for token in tokens)) == pytest.approx(0.8)

    def ollama(model: str, prompt: str) -> Any:
        body = {"model": model, "messages": user(prompt), "stream": False, "logprobs": True}
        return httpx.post(f"{place}/api/chat", json=body).json()

    stated = ollama("beta", PICK)
    assert stated["message"]["content"] == "The answer is (A)."
    assert math.exp(sum(token["logprob"] for token in stated["logprobs"])) == pytest.approx(0.9)
    never = ollama("beta", WINTER)
    assert sum(token["logprob"] for token in never["logprobs"]) == -9999
    no_letter = ollama("alpha", WINTER)
    assert no_letter["message"]["content"] == ""
    assert "logprobs" not in no_letter


def test_gold_answers_are_not_in_the_servers_memory(recordings: Path) -> None:
    app = replay_app(Recordings(recordings), "facts", speed=0)
    assert "Michelangelo Buonarroti" not in _strings(app)
    assert "That was Buonarroti." in _strings(app)


def _strings(thing: Any) -> set[str]:
    """Every string that can be reached from an object."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting = [thing]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, str):
            found.add(item)
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting += item
        else:
            waiting += [getattr(item, name) for name in getattr(type(item), "__slots__", ()) if hasattr(item, name)]
            waiting.append(getattr(item, "__dict__", {}))
            waiting += [cell.cell_contents for cell in getattr(item, "__closure__", None) or ()]
    return found


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"model": "alpha"}', '{"model": "alpha", "messages": ["hi"]}'])
def test_bad_bodies_are_refused(sums: str, body: str) -> None:
    for path in ("v1/chat/completions", "v1/messages", "api/chat"):
        assert httpx.post(f"{sums}/{path}", content=body).status_code == 400


def test_a_call_that_is_given_up_is_no_error(capfd: pytest.CaptureFixture[str], sums: str) -> None:
    host, port = sums.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.1)
    time.sleep(0.1)
    assert capfd.readouterr().err == ""


def test_latency_follows_the_tokens(recordings: Path, server: Any) -> None:
    assert simulated_latency_s(Reply("", 600)) > 2 * simulated_latency_s(Reply("", 100))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with server(replay_app(Recordings(recordings), "sums", speed=0.5, sleep=sleep)) as url:
        for stream in (False, True):
            slept.clear()
            httpx.post(
                f"{url}/v1/chat/completions", json={"model": "alpha", "messages": user(QUESTION), "stream": stream}
            )
            assert sum(slept) == pytest.approx(0.5 * simulated_latency_s(Reply("", 100)))


@pytest.fixture
def requests(tmp_path: Path, server: Any) -> Iterator[str]:
    """A recording of requests: one model called a tool, one was cut off, one gave token probabilities."""
    asked = {"messages": [{"role": "system", "content": "Be brief."}, *user("Find it.")]}
    call = {"id": "c1", "name": "find", "arguments": '{"what": "it"}'}
    rows: list[dict[str, Any]] = [
        {"model": "caller", "response_text": "", "tool_calls": [call], "finish_reason": "tool_calls"},
        {"model": "short", "response_text": "It is", "finish_reason": "length", "usage": {"input_tokens": 77}},
        {"model": "sure", "response_text": "Yes.", "logprobs": [["Yes", -0.5], [".", -0.1]], "latency_ms": 3.0},
    ]
    (tmp_path / "live").mkdir()
    question = {"id": "r", "question": "Find it.", "request": asked}
    (tmp_path / "live" / "questions.jsonl").write_text(json.dumps(question))
    (tmp_path / "live" / "responses.jsonl").write_text("\n".join(json.dumps({"id": "r", **row}) for row in rows))
    with server(replay_app(Recordings(tmp_path), "live", speed=0)) as url:
        yield url


ASKED: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Find it."}]


def test_recorded_requests_keep_their_tool_calls_and_endings(requests: str) -> None:
    with openai.OpenAI(base_url=f"{requests}/v1", api_key="any") as client:
        called = client.chat.completions.create(model="caller", messages=ASKED)
        assert called.choices[0].finish_reason == "tool_calls"
        assert called.choices[0].message.content is None
        made = called.choices[0].message.tool_calls
        assert made and made[0].type == "function" and made[0].function.arguments == '{"what": "it"}'
        stream = client.chat.completions.create(model="caller", messages=ASKED, stream=True)
        parts = [chunk.choices[0] for chunk in stream]
        assert [call.function.name for part in parts for call in part.delta.tool_calls or () if call.function] == [
            "find"
        ]
        assert parts[-1].finish_reason == "tool_calls"
        short = client.chat.completions.create(model="short", messages=ASKED)
        assert (short.choices[0].finish_reason, short.usage and short.usage.prompt_tokens) == ("length", 77)
        sure = client.chat.completions.create(model="sure", messages=ASKED, logprobs=True)
        told = sure.choices[0].logprobs and sure.choices[0].logprobs.content
        assert told and [(token.token, token.logprob) for token in told] == [("Yes", -0.5), (".", -0.1)]
    with anthropic.Anthropic(base_url=requests, api_key="any") as claude:
        block = claude.messages.create(model="caller", max_tokens=9, system="Be brief.", messages=user("Find it."))
        assert block.stop_reason == "tool_use"
        assert block.content[0].type == "tool_use" and block.content[0].input == {"what": "it"}
        with claude.messages.stream(
            model="caller", max_tokens=9, system="Be brief.", messages=user("Find it.")
        ) as events:
            final = events.get_final_message()
        assert final.content[0].type == "tool_use" and final.content[0].input == {"what": "it"}
    body = {"model": "caller", "messages": ASKED, "stream": False}
    done = httpx.post(f"{requests}/api/chat", json=body).json()
    assert done["message"]["tool_calls"][0]["function"] == {"name": "find", "arguments": {"what": "it"}}
    other = httpx.post(f"{requests}/api/chat", json={**body, "messages": ASKED[1:]})
    assert other.status_code == 404


def test_a_recorded_latency_is_replayed() -> None:
    assert simulated_latency_s(Reply("", 600, None, Details(latency_ms=30.0))) == pytest.approx(0.03)
