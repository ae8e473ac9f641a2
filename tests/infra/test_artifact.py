"""The built artifact under Lambda's own emulator and runtime client: what a deployed function would answer."""

from __future__ import annotations

import base64
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import ROOT, TOOLS

EVENTS = ROOT / "events"
LIMIT_MB = 250  # Lambda's, unzipped


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sam build`, for real."""
    python = TOOLS / "python3.13"
    if not (TOOLS / "sam").exists() or not python.exists():
        pytest.skip("the AWS tools or Python 3.13 are not installed (make tools): the artifact is not tested")
    target = tmp_path_factory.mktemp("build")
    path = f"{python.resolve().parent}:{TOOLS}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}
    command = [str(TOOLS / "sam"), "build", "--build-dir", str(target)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


class Emulated:
    """One warm environment behind the emulator's front door."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self.process = process
        self.log = log

    def __call__(self, event: Any) -> Any:
        request = urllib.request.Request(self.url, data=json.dumps(event).encode())
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def ask(self, text: str = "What is 17 * 23?") -> Any:
        event = json.loads((EVENTS / "chat.json").read_text())
        event["body"] = json.dumps({"model": "emerge", "messages": [{"role": "user", "content": text}]})
        return self(event)

    @property
    def runtime(self) -> int:
        """The process id of the function."""
        for each in Path("/proc").iterdir():
            if each.name.isdigit() and self._parent(each) == self.process.pid:
                return int(each.name)
        raise AssertionError("the function is not running")

    @staticmethod
    def _parent(process: Path) -> int | None:
        try:
            return int(process.joinpath("stat").read_text().rsplit(") ", 1)[1].split()[1])
        except OSError:
            return None

    @property
    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.runtime}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024

    @property
    def sockets(self) -> int:
        links = Path(f"/proc/{self.runtime}/fd").iterdir()
        return sum(str(link.readlink()).startswith("socket:") for link in links)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def emulator(code: Path, handler: str, tmp_path: Path, **environ: str) -> Iterator[Emulated]:
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    (rie,) = TOOLS.parent.glob(f"lib/python3.*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}")
    task = tmp_path / "task"
    shutil.copytree(code, task)
    front, api, log = free_port(), free_port(), tmp_path / "log"
    given = {
        "HOME": "/tmp",
        "PATH": "/usr/bin:/bin",
        "LAMBDA_TASK_ROOT": str(task),
        "PYTHONPATH": str(task),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_LAMBDA_FUNCTION_NAME": "proxy",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "EMERGE_AUTH": "gateway",
        "EMERGE_STACK": "test",
        "EMERGE_DEFAULT_CONFIG": str(task / "default.yaml"),
        **environ,
    }
    addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{front}"]
    addresses += ["--runtime-api-address", f"127.0.0.1:{api}"]
    client = [str((TOOLS / "python3.13").absolute()), "-m", "awslambdaric", handler]
    with log.open("wb") as output:
        command = [str(rie), "--log-level", "info", *addresses, *client]
        process = subprocess.Popen(command, cwd=task, env=given, stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{front}/2015-03-31/functions/function/invocations"
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", front)) == 0:
                        break
                time.sleep(0.05)
            yield Emulated(url, process, log)
        finally:
            process.terminate()
            process.wait(10)


def body_of(reply: Any) -> Any:
    text = base64.b64decode(reply["body"]) if reply.get("isBase64Encoded") else reply["body"]
    return json.loads(text)


def test_every_event_is_answered(artifacts: Path, tmp_path: Path) -> None:
    expected = {"bad_body": 400, "missing_field": 400}
    with emulator(artifacts / "ProxyFunction", "app.handler", tmp_path, EMERGE_CONFIG="default.yaml") as proxy:
        for path in sorted(EVENTS.glob("*.json")):
            event = json.loads(path.read_text())
            if "httpMethod" not in event:
                continue
            reply = proxy(event)
            assert reply["statusCode"] == expected.get(path.stem, 200), (path.stem, reply, proxy.log.read_text())
            assert reply["headers"]["x-request-id"]
            if path.stem in expected:
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
    assert refused["errorMessage"] == "Unauthorized"


def test_what_is_shipped(artifacts: Path) -> None:
    proxy = artifacts / "ProxyFunction"
    files = [path for path in proxy.rglob("*") if path.is_file()]
    size_mb = sum(path.stat().st_size for path in files) / 1e6
    assert size_mb < LIMIT_MB * 0.7
    names = {path.relative_to(proxy).as_posix() for path in files}
    assert "bootstrap" not in names
    assert not [
        name for name in names if name.startswith(("emerge_core/cli", "emerge_core/evals", "numpy/tests", "uvicorn"))
    ]
    sources = [path for path in files if path.suffix == ".py"]
    compiled = {path.name.split(".cpython-313")[0] for path in files if path.suffix == ".pyc"}
    assert len([path for path in sources if path.stem not in compiled]) == 0
    authorizer = [path for path in (artifacts / "AuthorizerFunction").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in authorizer) < 50_000
    assert (proxy / "build_id").read_text() != (artifacts / "AuthorizerFunction" / "build_id").read_text()


class Aws(BaseHTTPRequestHandler):
    """SSM's GetParameter and GetParameters, as long as `works`."""

    protocol_version = "HTTP/1.1"
    config = ""
    works = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not type(self).works:
            self._reply(500, {"__type": "InternalServerError"})
        elif self.headers["x-amz-target"].endswith("GetParameter"):
            self._reply(200, {"Parameter": {"Name": body["Name"], "Value": type(self).config, "Version": 1}})
        else:
            found = [{"Name": name, "Value": "sk-test", "Version": 1} for name in body["Names"]]
            self._reply(200, {"Parameters": found, "InvalidParameters": []})

    def _reply(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


class Cutting(BaseHTTPRequestHandler):
    """An upstream that, after every third reply, ends the connection without saying so."""

    protocol_version = "HTTP/1.1"
    served = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        content = b'{"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        type(self).served += 1
        self.close_connection = type(self).served % 3 == 0

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serving() -> Iterator[Callable[[type[BaseHTTPRequestHandler]], str]]:
    servers = []

    def serve(handler: type[BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_warm_environment_lasts(artifacts: Path, tmp_path: Path, serving: Any) -> None:
    """200 invocations with connections cut in between, then 200 with SSM failing: none fails, nothing grows."""
    upstream = serving(Cutting)
    models = ", ".join(f"{name}: {{provider: up, model: {name}, price: {{input: 1, output: 1}}}}" for name in "abc")
    Aws.config = (
        f'providers: {{up: {{kind: openai, base_url: "{upstream}/v1", api_key: "ssm:/emerge/test/keys/up"}}}}\n'
        f"models: {{{models}}}\n"
        "ensembles: {emerge: {members: [a, b, c], aggregator: vote}}\n"
    )
    environ = {
        "EMERGE_CONFIG": "ssm:/emerge/test/config",
        "AWS_ENDPOINT_URL": serving(Aws),
        "EMERGE_CONFIG_TTL_S": "0.2",
    }
    with emulator(artifacts / "ProxyFunction", "app.handler", tmp_path, **environ) as proxy:
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
    Aws.works = True
    assert "the last good one serves on" in log
    assert "sk-test" not in log
