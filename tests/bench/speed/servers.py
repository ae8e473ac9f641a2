"""The servers that the speed bench compares, each a process of its own on asyncio's event loop."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

LITELLM = ROOT / ".tools" / "litellm"
LOCK = Path(__file__).with_name("litellm.lock")
DELAYS = ("0", "20", "50", "80", "120")  # milliseconds; each is a provider and a model of that name
ENSEMBLES = {"quick": ("0", "0b", "0c"), "panel": ("50", "80", "120")}
OTHER_KINDS = {
    "anthropic": {"kind": "anthropic", "base_url": "http://127.0.0.1:9", "api_key": "env:EMERGE_BENCH_KEY"},
    "ollama": {"kind": "ollama", "base_url": "http://127.0.0.1:9"},
    "bedrock": {"kind": "bedrock", "region": "us-east-1"},
}
ENVIRON = {
    **{name: value for name, value in os.environ.items() if not re.match(r"EMERGE_|PYTHON|OPENAI_", name)},
    "PYTHONWARNINGS": "ignore",
    "PYTHONPATH": str(ROOT),
    "EMERGE_BENCH_KEY": "none",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_REGION": "us-east-1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "NO_PROXY": "127.0.0.1",
}


class Process:
    """A running server, with what it has cost."""

    def __init__(self, child: subprocess.Popen[bytes], port: int, *, ready_s: float, log: Path) -> None:
        self.child = child
        self.port = port
        self.ready_s = ready_s
        self.log = log

    def cpu_s(self) -> float:
        """The processor time of all its threads so far."""
        nanoseconds = 0
        for stat in Path(f"/proc/{self.child.pid}/task").glob("*/schedstat"):
            nanoseconds += int(stat.read_text().split()[0])
        return nanoseconds / 1e9

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.child.pid}/fd").iterdir()))


@dataclass(frozen=True)
class Server:
    """How a server is started and what it calls things. `quick` and `panel` are the names of its ensembles, `single`
    and `slow` those of one model without latency and with 20 ms."""

    name: str
    start: Callable[[Path, int], Sequence[str]]  # the command, from the folder for its config and the port
    health: str = "/healthz"
    quick: str = "quick"
    panel: str = "panel"
    single: str = "0"
    slow: str = "20"


def servers(upstream: str, *, litellm: bool) -> list[Server]:
    def uvicorn(python: str, app: str, *options: str) -> Callable[[Path, int], Sequence[str]]:
        def command(folder: Path, port: int) -> Sequence[str]:
            quiet = ("--log-level", "error", "--no-access-log")
            return (python, "-m", "uvicorn", app, "--loop", "asyncio", "--port", str(port), *quiet, *options)

        return command

    def emerge(folder: Path, port: int) -> Sequence[str]:
        config = write_emerge_config(folder, upstream)
        return (str(Path(sys.executable).with_name("emerge")), "serve", "--config", str(config), "--port", str(port))

    by_hand = {"quick": "0,0,0", "panel": "50,80,120"}
    found = [
        Server(
            "FastAPI + aiohttp",
            uvicorn(sys.executable, f"{__package__}.baselines:make_on_aiohttp", "--factory"),
            **by_hand,
        ),
        Server(
            "FastAPI + openai SDK",
            uvicorn(sys.executable, f"{__package__}.baselines:make_on_openai", "--factory"),
            **by_hand,
        ),
        Server("emerge", emerge),
    ]
    if litellm:
        command = uvicorn(str(LITELLM / "bin" / "python"), "litellm.proxy.proxy_server:app")
        found.append(Server("LiteLLM proxy", command, health="/health/liveliness", quick="0,0b,0c", panel="50,80,120"))
    return found


def write_emerge_config(folder: Path, upstream: str) -> Path:
    models = {name: name for name in DELAYS} | {"0b": "0", "0c": "0"}
    config = {
        "providers": {
            **{name: {"kind": "openai", "base_url": f"{upstream}/{of}/v1"} for name, of in models.items()},
            **OTHER_KINDS,
        },
        "models": {
            **{name: {"provider": name, "model": name, "price": {"input": 1, "output": 1}} for name in models},
            **{
                f"of-{kind}": {"provider": kind, "model": "any", "price": {"input": 1, "output": 1}}
                for kind in OTHER_KINDS
            },
        },
        "ensembles": {
            name: {"members": list(members), "aggregator": "vote", "early_decision": False}
            for name, members in ENSEMBLES.items()
        },
        "default": "quick",
    }
    path = folder / "emerge.json"
    path.write_text(json.dumps(config))
    return path


def write_litellm_config(folder: Path, upstream: str) -> Path:
    models = {name: name for name in DELAYS} | {"0b": "0", "0c": "0"}
    named = {
        name: {"model": f"openai/{name}", "api_base": f"{upstream}/{of}/v1", "api_key": "none"}
        for name, of in models.items()
    }
    named |= {
        "of-anthropic": {"model": "anthropic/any", "api_base": "http://127.0.0.1:9", "api_key": "none"},
        "of-ollama": {"model": "ollama_chat/any", "api_base": "http://127.0.0.1:9"},
        "of-bedrock": {"model": "bedrock/any", "aws_region_name": "us-east-1"},
    }
    config = {
        "model_list": [{"model_name": name, "litellm_params": params} for name, params in named.items()],
        "litellm_settings": {"num_retries": 0},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(config))
    return path


def install_litellm() -> str | None:
    """Installs the locked packages into an environment of their own if they are not there. Returns why not."""
    if (LITELLM / ".ready").exists():
        return None
    print(f"installing LiteLLM's proxy into {LITELLM.relative_to(ROOT)}: once, about three minutes", flush=True)
    options = ("--quiet", "--disable-pip-version-check", "--require-hashes", "-r")
    pip = [str(LITELLM / "bin" / "pip"), "install", *options, str(LOCK)]
    try:
        subprocess.run([sys.executable, "-m", "venv", LITELLM], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(pip, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"it could not be installed ({error})"
    (LITELLM / ".ready").touch()
    return None


@contextmanager
def running(server: Server, folder: Path, upstream: str, *, descriptors: int | None = None) -> Iterator[Process]:
    """The server, ready to answer. `descriptors` is its limit on open files."""
    port = free_port()
    log = folder / f"{server.name.replace(' ', '-')}.log"
    environ = ENVIRON | {"UPSTREAM": upstream, "CONFIG_FILE_PATH": str(write_litellm_config(folder, upstream))}

    def limit() -> None:
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    with log.open("wb") as errors:
        began = time.perf_counter()
        child = subprocess.Popen(
            server.start(folder, port),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environ,
            cwd=folder,
            preexec_fn=limit,
        )
        try:
            _wait(f"http://127.0.0.1:{port}{server.health}", child, log)
            yield Process(child, port, ready_s=time.perf_counter() - began, log=log)
        finally:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def upstream() -> Iterator[Process]:
    child = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.upstream"], stdout=subprocess.PIPE, env=ENVIRON, cwd=ROOT
    )
    assert child.stdout
    try:
        yield Process(child, int(child.stdout.readline()), ready_s=0.0, log=Path(os.devnull))
    finally:
        child.terminate()
        child.wait()
        child.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(6000):
        if child.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.01)
    raise RuntimeError(f"the server is not ready: {log.read_text()[-2000:]}")
