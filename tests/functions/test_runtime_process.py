"""The function in stream mode as Lambda starts it: the wrapper, the loop, the app, each in its own process."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.aws_lambda.function import QUESTION, event
from tests.support.aws_lambda.process import WRAPPED, answer_every_event, events_of, runtime
from tests.support.aws_lambda.runtime_stub import RuntimeStub, front_door
from tests.support.paths import PROXY


def test_every_event_is_answered_in_stream_mode(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with runtime(tmp_path) as function:
            await answer_every_event(function)
            status = await function.stub.call(event("GET", "/v1/emerge/status"))
            assert status.json["response_mode"] == "stream"
            requests = [line for line in function.lines if line.get("message") == "request"]
            assert {line["key_id"] for line in requests} == {"0123456789ab"}
            assert all(line["function_request_id"] in function.stub.taken for line in requests)

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/prod/v1/chat/completions", "/x/v1/chat/completions"])
def test_paths_of_a_gateway(tmp_path: Path, path: str) -> None:
    async def scenario() -> None:
        async with runtime(tmp_path) as function:
            taken = await function.stub.call(event("POST", path, QUESTION, encoded=True))
            assert taken.json["choices"][0]["message"]["content"] == "The answer is 391."

    asyncio.run(scenario())


CONFIG = """
providers: {{up: {{kind: openai, base_url: "{url}", api_key: "env:UP_KEY"}}}}
models: {{a: {{provider: up, model: a}}, b: {{provider: up, model: b}}}}
ensembles: {{emerge: {{members: [a, b], aggregator: vote, early_decision: false}}}}
"""


@pytest.fixture
def config(tmp_path: Path, upstream: Any, says: Any) -> dict[str, str]:
    path = tmp_path / "emerge.yaml"
    path.write_text(CONFIG.format(url=upstream.url))
    upstream.script = {name: says("the answer is 42") for name in "ab"}
    return {"EMERGE_CONFIG": str(path), "UP_KEY": "sk-very-secret"}


def test_while_the_panel_works_a_client_hears_of_it_and_nobody_works_once_it_left(
    tmp_path: Path, config: Any, upstream: Any, server: Any
) -> None:
    asked: list[str] = []
    hung_up: list[str] = []

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        while (await receive())["type"] != "http.disconnect":
            pass
        hung_up.append(scope["path"])

    async def scenario(url: str) -> None:
        Path(config["EMERGE_CONFIG"]).write_text(CONFIG.format(url=url))
        async with runtime(tmp_path, environ=config) as function:
            given = event("POST", "/v1/chat/completions", {**QUESTION, "stream": True})
            for count in (2, 4):  # the second invocation finds a function in order
                taken = function.stub.invoke(given)
                async with asyncio.timeout(20):
                    assert await taken.parts.get() == b": keepalive\n\n"
                    while len(asked) < count:
                        await asyncio.sleep(0.01)
                    assert len(hung_up) == count - 2
                    taken.leave()
                    while len(hung_up) < count:
                        await asyncio.sleep(0.01)

    with server(silent) as url:
        asyncio.run(scenario(f"{url}/v1"))


def test_the_app_s_own_deadline_ends_the_stream_in_order(tmp_path: Path, config: Any, upstream: Any, says: Any) -> None:
    async def scenario() -> None:
        async with runtime(tmp_path, environ=config) as function:
            for stream in (False, True):  # what a first request imports is not to count against the deadline
                await function.ask(stream=stream)
            upstream.script = {name: says("42", delay=60) for name in "ab"}
            function.stub.deadline_s = 6.0
            taken = await function.ask(stream=True)
            assert json.loads(events_of(taken)[-1])["error"]["type"] == "timeout_error"
            assert taken.trailers == {}
            late = await function.ask()
            assert (late.prelude["statusCode"], late.json["error"]["type"]) == (504, "timeout_error")
            assert late.error is None

    asyncio.run(scenario())


def test_lines_are_json_and_tell_nothing_private(tmp_path: Path, config: Any) -> None:
    async def scenario() -> None:
        async with runtime(tmp_path, environ=config) as function:
            for stream in (False, True):
                await function.ask(stream=stream, messages=[{"role": "user", "content": "a private question"}])
            messages = [line["message"] for line in function.lines if "message" in line]
            assert messages.count("request") == 2
            assert messages.count("call") == 4
            log = function.log.read_text()
            assert not [text for text in ("private", "answer is", "very-secret") if text in log]

    asyncio.run(scenario())


def test_the_openai_client_through_the_front_door(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            runtime(tmp_path) as function,
            front_door(function.stub) as url,
            openai.AsyncOpenAI(base_url=f"{url}/prod/v1", api_key="emk_x", max_retries=0) as client,
        ):
            question: Any = QUESTION["messages"]
            whole = await client.chat.completions.create(model="emerge", messages=question)
            assert whole.choices[0].message.content == "The answer is 391."
            text = ""
            async for chunk in await client.chat.completions.create(model="emerge", messages=question, stream=True):
                text += chunk.choices[0].delta.content or ""
            assert text == "The answer is 391."
            with pytest.raises(openai.NotFoundError, match="does not exist"):
                await client.chat.completions.create(model="nobody", messages=question)

    asyncio.run(scenario())


def test_the_openai_client_hears_a_model_s_words_while_it_writes(
    tmp_path: Path, config: Any, upstream: Any, says: Any
) -> None:
    upstream.script = {"a": says("forty two it is", waits_after=2)}

    async def scenario() -> None:
        async with (
            runtime(tmp_path, environ=config) as function,
            front_door(function.stub) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="emk_x", max_retries=0) as client,
        ):
            question: Any = QUESTION["messages"]
            words: list[str] = []
            async for chunk in await client.chat.completions.create(model="a", messages=question, stream=True):
                words.append(chunk.choices[0].delta.content or "")
                if "".join(words) == "forty two ":  # the upstream has written no more than that yet
                    assert not upstream.gate.is_set()
                    upstream.gate.set()
            assert "".join(words) == "forty two it is"
            assert upstream.gate.is_set()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_sampled_request_is_a_subsegment(tmp_path: Path, config: Any) -> None:
    """As X-Ray's daemon gets it: what can be searched for, the calls, and nothing private."""
    trace_id = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1"

    async def scenario(daemon: socket.socket) -> Any:
        host, port = daemon.getsockname()
        tracing = {"EMERGE_TRACING": "true", "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{port}"}
        async with runtime(tmp_path, environ={**config, **tracing}) as function:
            given = event(body={**QUESTION, "messages": [{"role": "user", "content": "a private question"}]})
            for header in (None, trace_id.replace("Sampled=1", "Sampled=0"), trace_id):  # the first two: none
                assert (await function.stub.call(given, trace_id=header)).prelude["statusCode"] == 200
            heard = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(daemon, 65_536), 10)
            assert not [line for line in function.lines if line.get("level") in ("WARNING", "ERROR")]
            assert not [text for text in (b"private", b"answer is", b"very-secret") if text in heard]
            return json.loads(heard.split(b"\n", 1)[1])

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.setblocking(False)
        heard = asyncio.run(scenario(daemon))
    assert (heard["trace_id"], heard["parent_id"]) == ("1-5bef4de7-ad49b0e87f6ef6c87fc2e700", "9a9197af755a6419")
    assert heard["annotations"] == {"ensemble": "emerge", "status": 200, "degraded": False, "escalated": False}
    assert [call["model"] for call in heard["metadata"]["emerge"]["calls"]] == ["a", "b"]
    assert heard["start_time"] < heard["end_time"]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("169.254.79.129:2000", ("169.254.79.129", 2000)),
        ("tcp:127.0.0.1:2000 udp:127.0.0.2:2001", ("127.0.0.2", 2001)),
        ("", None),
        ("nowhere", None),
    ],
)
def test_the_address_of_x_ray_s_daemon(monkeypatch: pytest.MonkeyPatch, given: str, address: Any) -> None:
    monkeypatch.syspath_prepend(str(PROXY))
    tracing = importlib.import_module("tracing")
    traced = tracing.Tracing({"EMERGE_TRACING": "true", "AWS_XRAY_DAEMON_ADDRESS": given})
    assert traced._daemon == address
    assert (traced.begin("Root=r;Parent=p;Sampled=1") is None) is (address is None)


def test_calls_that_do_not_fit_a_message_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROXY))
    tracing = importlib.import_module("tracing")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(10)
        host, port = daemon.getsockname()
        traced = tracing.Tracing({"EMERGE_TRACING": "true", "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{port}"})
        subsegment = traced.begin("Root=r;Parent=p;Sampled=1")
        subsegment.calls = [{"model": "m" * 1000}] * 100
        traced.end(subsegment)
        document = json.loads(daemon.recv(65_536).split(b"\n", 1)[1])
    assert (document["trace_id"], document["metadata"]) == ("r", {"emerge": {"calls": []}})


def test_a_missing_config_is_no_failure_of_init(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with runtime(tmp_path, environ={"EMERGE_CONFIG": "/no/such/file.yaml"}) as function:
            taken = await function.ask()
            assert (taken.prelude["statusCode"], taken.json["error"]["type"]) == (503, "config_error")
            assert function.stub.init_errors == []

    asyncio.run(scenario())


def test_a_failure_of_init_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with runtime(tmp_path, environ={"EMERGE_CONFIG_TTL_S": "soon"}) as function:
            assert await asyncio.wait_for(function.process.wait(), 20) == 1
            (error,) = function.stub.init_errors
            assert error["errorType"] == "ValueError"
            assert function.lines[-1]["exception"].endswith("ValueError")
            assert "soon" not in function.log.read_text()

    asyncio.run(scenario())


def test_the_loop_ends_where_lambda_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with runtime(tmp_path, RuntimeStub(next_faults=["500"] * 4)) as function:
            assert await asyncio.wait_for(function.process.wait(), 20) == 1
            assert function.lines[-1]["message"] == "runtime ends"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "environ",
    [
        {"EMERGE_RESPONSE_MODE": "buffered"},
        {},
        {"EMERGE_RESPONSE_MODE": "stream", "AWS_SAM_LOCAL": "true"},
        {"AWS_LAMBDA_MAX_CONCURRENCY": "64", "AWS_SAM_LOCAL": "true"},
    ],
)
def test_the_wrapper_leaves_the_managed_runtime_alone_elsewhere(environ: dict[str, str]) -> None:
    async def scenario() -> bytes:
        process = await asyncio.create_subprocess_exec(
            WRAPPED[0], "/bin/echo", "the managed runtime", env=environ, stdout=asyncio.subprocess.PIPE
        )
        return (await process.communicate())[0]

    assert asyncio.run(scenario()) == b"the managed runtime\n"


@pytest.mark.parametrize("kind", ["snap-start", "provisioned-concurrency", "on-demand"])
def test_an_environment_that_is_kept_is_primed_and_a_snapshot_comes_before_any_work(tmp_path: Path, kind: str) -> None:
    """The stub holds the snapshot as long as it likes: until it is restored, no invocation is taken."""

    async def scenario() -> None:
        async with runtime(tmp_path, environ={"AWS_LAMBDA_INITIALIZATION_TYPE": kind}) as function:
            taken = function.stub.invoke(event("POST", "/v1/chat/completions", QUESTION))
            if kind == "snap-start":
                await asyncio.wait_for(function.stub.snapshot.wait(), 60)
                assert function.stub.asked == 0
                assert function.log.read_text() == ""
                function.stub.restore.set()
            await asyncio.wait_for(taken.done.wait(), 60)
            assert "391" in taken.json["choices"][0]["message"]["content"]
            assert function.stub.snapshot.is_set() is (kind == "snap-start")
            assert not [line for line in function.lines if line.get("level") == "ERROR"]

    asyncio.run(scenario())
