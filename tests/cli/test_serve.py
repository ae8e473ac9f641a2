"""`emerge serve`, started and stopped as its user does it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from emerge_core.cli import main
from emerge_core.cli._listen import listen, root_url
from emerge_core.cli.serve import banner, load
from emerge_core.config import default_config
from emerge_core.errors import EmergeError

SIMULATED = """
providers: {p: {kind: simulated}}
models:
  a: {provider: p, model: a, accuracy: 1, family: x}
  b: {provider: p, model: b, accuracy: 1, family: y}
  c: {provider: p, model: c, accuracy: 1, family: z}
ensembles: {emerge: {members: [a, b, c], early_decision: false}}
default: emerge
"""

ONE_KIND = """
providers: {{p: {{kind: {kind}, base_url: "http://127.0.0.1:9"}}, unused: {{kind: simulated}}}}
models: {{a: {{provider: p, model: a}}}}
"""


class Served:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.said = ""
        while "  try  " not in self.said:
            line = process.stdout.readline()
            assert line, f"it ended: {process.communicate()[1]}"
            self.said += line
        self.url = re.findall(r"emerge serves (\S+)", self.said)[0]

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def get(self, path: str, **headers: str) -> Any:
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)


@contextmanager
def serving(
    tmp_path: Path, *arguments: str, config: str = SIMULATED, stderr: int = subprocess.PIPE, **variables: str
) -> Iterator[Served]:
    file = tmp_path / "emerge.yaml"
    file.write_text(config)
    environ = {name: value for name, value in os.environ.items() if name != "EMERGE_API_KEYS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "emerge_core", "serve", "--config", str(file), "--port", "0", *arguments],
        env={**environ, **variables}, text=True, stdout=subprocess.PIPE, stderr=stderr,
    )  # fmt: skip
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the printed line is for curl")
def test_the_printed_line_works_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        assert f"config     {tmp_path / 'emerge.yaml'}" in served.said
        assert "ensemble   emerge: a + b + c (default)" in served.said
        with pytest.raises(urllib.error.HTTPError) as rebound:  # a web page whose name now leads to this machine
            served.get("/models", host="evil.test")
        rebound.value.close()
        assert rebound.value.code == 403
        line = re.findall(r"try\s+(.*)", served.said)[0]
        reply = subprocess.check_output([*shlex.split(line), "-sS", "--noproxy", "*"], text=True, timeout=60)
        answer = json.loads(reply)
        assert "391" in answer["choices"][0]["message"]["content"]
        assert len(answer["emerge"]["calls"]) == 3
        (page_url,) = re.findall(r"  console +(\S+)", served.said)
        with urllib.request.urlopen(page_url, timeout=30) as page:
            assert b"<title>emerge</title>" in page.read()
        with pytest.raises(urllib.error.HTTPError) as off:
            urllib.request.urlopen(served.url.replace("/v1", "/metrics"), timeout=30)
        off.value.close()
        assert off.value.code == 404
        status, errors = served.stop(signal.SIGINT)
        assert status == 0
        assert errors == "stopped\n"


def test_the_console_can_be_switched_off_and_metrics_on(tmp_path: Path) -> None:
    with serving(tmp_path, "--no-console", "--metrics", EMERGE_API_KEYS="one") as served:
        root = served.url.removesuffix("/v1")
        assert "  console  " not in served.said
        for path, status in (("/", 404), ("/console/app.js", 404), ("/metrics", 200)):
            request = urllib.request.Request(root + path, headers={"authorization": "Bearer one"})
            try:
                with urllib.request.urlopen(request, timeout=30) as reply:
                    found, text = reply.status, reply.read()
            except urllib.error.HTTPError as error:
                with error:
                    found, text = error.code, b""
            assert found == status, path
        assert b"# TYPE emerge_requests_total counter" in text
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(root + "/metrics", timeout=30)
        refused.value.close()
        assert refused.value.code == 401


def test_keys_close_it_and_calls_can_be_logged(tmp_path: Path) -> None:
    with serving(tmp_path, "--log", EMERGE_API_KEYS="one, two") as served:
        assert "-H 'authorization: Bearer YOUR_KEY'" in served.said
        with pytest.raises(urllib.error.HTTPError) as refused:
            served.get("/models")
        refused.value.close()
        assert refused.value.code == 401
        assert served.get("/models", authorization="Bearer two")["data"][0]["id"] == "emerge"
        body = json.dumps({"model": "a", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}).encode()
        headers = {"authorization": "Bearer one", "content-type": "application/json"}
        request = urllib.request.Request(served.url + "/chat/completions", data=body, headers=headers)
        urllib.request.urlopen(request, timeout=30).close()
        status, errors = served.stop(signal.SIGTERM)
        assert status == -signal.SIGTERM
        assert [json.loads(line)["event"] for line in errors.splitlines()] == ["config", "call", "request"]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_what_the_config_needs_is_loaded_before_the_address_is_printed(tmp_path: Path, kind: str) -> None:
    config = ONE_KIND.format(kind=kind)
    with serving(tmp_path, config=config, stderr=subprocess.STDOUT, PYTHONPROFILEIMPORTTIME="1") as served:
        imported = {line.rsplit("|", 1)[1].strip() for line in served.said.splitlines() if "import time:" in line}
    assert {"emerge_core.providers.transport.client", f"emerge_core.providers.{kind}.stream"} <= imported
    assert not {"openai", "anthropic"} & imported  # the SDKs


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "emerge_core", "serve", "--port", str(port)],
            env={**os.environ, "EMERGE_CONFIG": ""}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: port {port} on 127.0.0.1 is in use; choose another with --port\n"
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("no.such.host.invalid", 0, "cannot listen on no.such.host.invalid, port 0: "),
        ("203.0.113.1", 0, "cannot listen on 203.0.113.1, port 0: "),
    ],
)
def test_an_address_that_cannot_be_had(host: str, port: int, expected: str) -> None:
    with pytest.raises(EmergeError, match=expected):
        listen(host, port)


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_a_port_that_does_not_exist(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--port", port])
    assert ended.value.code == 2
    assert "argument --port: must be " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("10.0.0.7", "http://10.0.0.7:8000"),
        ("::1", "http://[::1]:8000"),
        ("::", "http://[::1]:8000"),
    ],
)
def test_the_printed_address_is_one_to_connect_to(host: str, expected: str) -> None:
    assert root_url(host, 8000) == expected


def test_without_an_ensemble_the_line_names_a_model() -> None:
    config = default_config().model_copy(update={"default": None, "ensembles": {}})
    assert '"model": "sim-a"' in banner(config, "x", url="http://127.0.0.1:1/v1", keyed=False)


def test_sighup_reads_the_config_again_and_a_broken_one_leaves_the_last_good_one(tmp_path: Path) -> None:
    def models() -> list[str]:
        return [model["id"] for model in served.get("/models")["data"]]

    with serving(tmp_path) as served:
        assert "d" not in models()
        file = tmp_path / "emerge.yaml"
        file.write_text(SIMULATED.replace("  b:", "  d: {provider: p, model: d}\n  b:"))
        served.process.send_signal(signal.SIGHUP)
        until(lambda: "d" in models())
        file.write_text("models: {")
        served.process.send_signal(signal.SIGHUP)
        until(lambda: served.get("/emerge/status")["config"]["error"] is not None)
        assert "d" in models()
        status, errors = served.stop(signal.SIGINT)
    assert status == 0
    fault, stopped = errors.splitlines()[0], errors.splitlines()[-1]
    assert fault.startswith("error: config fault (fault=")
    assert (stopped, "Traceback" in errors) == ("stopped", False)


def test_a_worker_that_dies_is_replaced_and_a_signal_ends_all(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as served:
        parent = served.process.pid
        until(lambda: len(children(parent)) == 2)
        first = children(parent)[0]
        os.kill(first, signal.SIGKILL)
        until(lambda: first not in children(parent) and len(children(parent)) == 2)
        assert served.get("/models")["data"]
        workers = children(parent)
        status, errors = served.stop(signal.SIGTERM)
    assert status == -signal.SIGTERM
    assert "a worker ended (SIGKILL): another takes its place" in errors
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_a_log_that_is_not_read_holds_nothing_up(tmp_path: Path) -> None:
    with serving(tmp_path, "--log") as served:
        long = json.dumps({"model": "a", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}).encode()
        for number in range(150):  # about 100 KB of lines: more than a pipe holds
            headers = {"content-type": "application/json", "x-request-id": f"{number}-" + "x" * 120}
            request = urllib.request.Request(served.url + "/chat/completions", data=long, headers=headers)
            urllib.request.urlopen(request, timeout=30).close()
        assert served.stop(signal.SIGINT)[0] == 0


def test_a_package_that_is_missing_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def preload(_: object) -> None:
        raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr("emerge_core.engine.engine.preload", preload)
    with pytest.raises(EmergeError, match="the Python package 'aiohttp', which is not installed"):
        load(default_config())


def children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in text.split()]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_spans_leave_before_the_server_ends(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otel` is not installed")
    from tests.support.otlp_receiver import otlp_receiver  # needs the extra

    trace = "0af7651916cd43dd8448eb211c80319c"
    with otlp_receiver() as receiver:
        with serving(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_BSP_SCHEDULE_DELAY="60000") as served:
            body = {"model": "emerge", "messages": [{"role": "user", "content": "What is 17 * 23?"}]}
            headers = {"content-type": "application/json", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
            url = f"{served.url}/chat/completions"
            urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30).close()
            assert served.stop(signal.SIGINT) == (0, "stopped\n")
        assert sorted(span.name for span in receiver.spans) == ["chat a", "chat b", "chat c", "invoke_workflow emerge"]
        assert {span.trace_id for span in receiver.spans} == {trace}
