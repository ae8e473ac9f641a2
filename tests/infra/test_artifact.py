"""The built artifact under Lambda's own emulator and runtime client: what a deployed function would answer.
In stream mode, which the emulator buffers, it has the stub of the Runtime API to ask for work."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws.remotes import Aws, Cutting, serving
from tests.support.aws_lambda.emulator import emulator, memory_mb, sockets, stack
from tests.support.aws_lambda.function import event as proxy_event
from tests.support.aws_lambda.process import EXPECTED, Runtime, answer_every_event, runtime
from tests.support.paths import ROOT, TOOLS

EVENTS = ROOT / "events"
LIMIT_MB = 95  # unzipped: less to fetch at a cold start; Lambda's own limit is 250


def body_of(reply: Any) -> Any:
    text = base64.b64decode(reply["body"]) if reply.get("isBase64Encoded") else reply["body"]
    return json.loads(text)


def test_every_event_is_answered(artifacts: Path, tmp_path: Path) -> None:
    with emulator(artifacts / "ProxyFunction", "app.handler", tmp_path) as proxy:
        for path in sorted(EVENTS.glob("*.json")):
            event = json.loads(path.read_text())
            if "httpMethod" not in event:
                continue
            reply = proxy(event)
            assert reply["statusCode"] == EXPECTED.get(path.stem, 200), (path.stem, reply, proxy.log.read_text())
            assert reply["headers"]["x-request-id"]
            if path.stem in EXPECTED:
                assert body_of(reply)["error"]["type"] == "invalid_request_error"
            elif path.stem == "streaming":
                assert reply["body"].endswith("data: [DONE]\n\n")
        assert body_of(proxy.ask())["choices"][0]["message"]["content"] == "The answer is 391."
        build = body_of(proxy(json.loads((EVENTS / "status.json").read_text())))["build"]
    assert build == (artifacts / "ProxyFunction" / "build_id").read_text().strip()


def test_the_authorizer_s_events(artifacts: Path, tmp_path: Path) -> None:
    with emulator(artifacts / "AuthorizerFunction", "authorizer.handler", tmp_path) as authorizer:
        assert authorizer(json.loads((EVENTS / "authorizer.json").read_text()))["usageIdentifierKey"]
        refused = authorizer(json.loads((EVENTS / "missing_key.json").read_text()))
    (statement,) = refused["policyDocument"]["Statement"]
    assert statement["Effect"] == "Deny" and "usageIdentifierKey" not in refused


def test_what_is_shipped(artifacts: Path) -> None:
    proxy = artifacts / "ProxyFunction"
    files = [path for path in proxy.rglob("*") if path.is_file()]
    size_mb = sum(path.stat().st_size for path in files) / 1e6
    assert size_mb < LIMIT_MB
    names = {path.relative_to(proxy).as_posix() for path in files}
    assert "bootstrap" not in names
    assert not [
        name
        for name in names
        if name.startswith(("emerge_core/cli", "emerge_core/console", "emerge_core/evals", "numpy/tests", "uvicorn"))
    ]
    assert not [name for name in names if "/tests/" in name or "swagger" in name or name.endswith(".pyi")]
    assert (proxy / "runtime-wrapper").stat().st_mode & 0o111 == 0o111
    sources = [path for path in files if path.suffix == ".py"]
    compiled = {path.name.split(".cpython-313")[0] for path in files if path.suffix == ".pyc"}
    assert len([path for path in sources if path.stem not in compiled]) == 0
    authorizer = [path for path in (artifacts / "AuthorizerFunction").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in authorizer) < 50_000
    assert (proxy / "build_id").read_text() != (artifacts / "AuthorizerFunction" / "build_id").read_text()


CONFIG = """
providers: {{up: {{kind: openai, base_url: "{upstream}/v1", api_key: "ssm:/emerge/test/keys/up"}}}}
models:
  a: {{provider: up, model: a, price: {{input: 1, output: 1}}}}
  b: {{provider: up, model: b, price: {{input: 1, output: 1}}}}
  c: {{provider: up, model: c, price: {{input: 1, output: 1}}}}
ensembles: {{emerge: {{members: [a, b, c], aggregator: vote}}}}
"""
ON_AWS = {"EMERGE_CONFIG": "ssm:/emerge/test/config", "EMERGE_CONFIG_TTL_S": "0.2"}


def test_a_warm_environment_lasts(artifacts: Path, tmp_path: Path) -> None:
    """200 invocations with connections cut in between, then 200 with SSM failing: none fails, nothing grows."""
    with serving(Cutting) as upstream, serving(Aws) as aws:
        Aws.config, Aws.works = CONFIG.format(upstream=upstream), True
        environ = {**ON_AWS, "AWS_ENDPOINT_URL": aws}
        with emulator(artifacts / "ProxyFunction", "app.handler", tmp_path, environ=environ) as proxy:
            for works in (True, False):
                Aws.works = works
                statuses, sizes = [], []
                for index in range(200):
                    statuses.append(proxy.ask()["statusCode"])
                    if index in (50, 199):
                        sizes.append((proxy.memory_mb, proxy.sockets))
                assert statuses == [200] * 200, proxy.log.read_text()[-3000:]
                (memory, open_sockets), (later_memory, later_sockets) = sizes
                assert later_memory - memory < 8
                assert later_sockets <= open_sockets + 2
            log = proxy.log.read_text()
    assert "the last good one serves on" in log
    assert "sk-test" not in log


PYTHON = TOOLS / "python3.13"


@pytest.fixture
def task(artifacts: Path) -> Path:
    return artifacts / "ProxyFunction"


@asynccontextmanager
async def streaming(task: Path, folder: Path, **environ: str) -> AsyncIterator[Runtime]:
    """The function in stream mode, as Lambda starts it: by the artifact's own wrapper, with the artifact alone."""
    wrapper = task / "runtime-wrapper"
    assert wrapper.stat().st_mode & 0o111 == 0o111
    command = (str(wrapper), str(PYTHON.resolve()), "/var/runtime/bootstrap.py")
    async with runtime(folder, command=command, environ=stack(task, **environ)) as function:
        yield function


def test_every_event_is_answered_in_stream_mode(task: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with streaming(task, tmp_path) as function:
            await answer_every_event(function)

    asyncio.run(scenario())


def test_a_warm_streaming_environment_lasts(task: Path, tmp_path: Path) -> None:
    """As the buffered one; every tenth client leaves in the middle."""

    async def scenario(aws: str) -> None:
        async with streaming(task, tmp_path, **ON_AWS, AWS_ENDPOINT_URL=aws) as function:
            for works in (True, False):
                Aws.works = works
                sizes = []
                for index in range(200):
                    given = {**json.loads((EVENTS / "streaming.json").read_text())}
                    taken = await function.stub.call(given, fault="cut" if index % 10 == 9 else "")
                    assert taken.prelude["statusCode"] == 200
                    assert index % 10 == 9 or taken.body.endswith(b"data: [DONE]\n\n")
                    if index in (50, 199):
                        sizes.append((memory_mb(function.process.pid), sockets(function.process.pid)))
                (memory, open_sockets), (later_memory, later_sockets) = sizes
                assert later_memory - memory < 8
                assert later_sockets <= open_sockets + 2
            log = function.log.read_text()
            assert "the last good one serves on" in log
            assert "sk-test" not in log

    with serving(Cutting) as upstream, serving(Aws) as aws:
        Aws.config, Aws.works = CONFIG.format(upstream=upstream), True
        asyncio.run(scenario(aws))


def test_the_streaming_loop_speaks_to_lambda_s_own_runtime_api(task: Path, tmp_path: Path) -> None:
    """The emulator's; it hands the reply on as one piece, prelude and all, and takes large events in chunks."""
    with emulator(task, "app.handler", tmp_path, wrapped=True, environ={"EMERGE_RESPONSE_MODE": "stream"}) as function:
        for text in ("What is 17 * 23?", "What is 17 * 23? " + "So be it. " * 50_000):
            reply = function.raw(proxy_event(body={"model": "emerge", "messages": [{"role": "user", "content": text}]}))
            prelude, body = reply.split(bytes(8), 1)
            assert json.loads(prelude)["statusCode"] == 200, reply
            assert json.loads(body)["object"] == "chat.completion"
        assert b"unsupported_event" in function.raw({"no": "event"})


def test_a_snapshot_is_taken_before_anything_lives(task: Path, tmp_path: Path) -> None:
    """By Lambda's own runtime client: no call to AWS, no connection, no config until the restore."""
    client = (str(PYTHON), "-m", "awslambdaric", "app.handler")
    changes = {**ON_AWS, "EMERGE_RESPONSE_MODE": "buffered", "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}

    async def scenario(aws: str) -> None:
        environ = stack(task, **changes, AWS_ENDPOINT_URL=aws)
        async with runtime(tmp_path, command=client, environ=environ) as function:
            await asyncio.wait_for(function.stub.snapshot.wait(), 60)
            assert Aws.asked == 0
            assert sockets(function.process.pid) == 1  # to the Runtime API
            function.stub.restore.set()
            taken = await function.ask()
            assert json.loads(taken.json["body"])["choices"][0]["message"]["content"] == "42"
            assert Aws.asked > 0

    with serving(Cutting) as upstream, serving(Aws) as aws:
        Aws.config, Aws.works, Aws.asked = CONFIG.format(upstream=upstream), True, 0
        asyncio.run(scenario(aws))
