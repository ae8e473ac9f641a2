"""The function under Lambda's own emulator and runtime client, without Docker: one warm environment."""

from __future__ import annotations

import json
import platform
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT, TOOLS


class Emulated:
    """One warm environment behind the emulator's front door."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self.process = process
        self.log = log

    def __call__(self, event: Any) -> Any:
        return json.loads(self.raw(event))

    def raw(self, event: Any) -> bytes:
        request = urllib.request.Request(self.url, data=json.dumps(event).encode())
        with urllib.request.urlopen(request, timeout=60) as reply:
            whole: bytes = reply.read()
            return whole

    def ask(self, text: str = "What is 17 * 23?") -> Any:
        event = json.loads((ROOT / "events" / "chat.json").read_text())
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
        return memory_mb(self.runtime)

    @property
    def sockets(self) -> int:
        return sockets(self.runtime)


def memory_mb(process: int) -> float:
    """Resident."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) / 1024


def sockets(process: int) -> int:
    links = []
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            links.append(link.readlink())
    return sum(str(link).startswith("socket:") for link in links)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def stack(task: Path, **changes: str) -> dict[str, str]:
    """The variables of Lambda and of the stack, for the code in `task`."""
    return {
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
        "EMERGE_CONFIG": str(task / "default.yaml"),
        "EMERGE_DEFAULT_CONFIG": str(task / "default.yaml"),
        **changes,
    }


@contextmanager
def emulator(
    code: Path, handler: str, tmp_path: Path, *, wrapped: bool = False, environ: Mapping[str, str] | None = None
) -> Iterator[Emulated]:
    """A copy of `code`, started by its `runtime-wrapper` if `wrapped`."""
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    (rie,) = TOOLS.parent.glob(f"lib/python3.*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}")
    task = tmp_path / "task"
    shutil.copytree(code, task)
    front, api, log = free_port(), free_port(), tmp_path / "log"
    addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{front}"]
    addresses += ["--runtime-api-address", f"127.0.0.1:{api}"]
    client = [str((TOOLS / "python3.13").absolute()), "-m", "awslambdaric", handler]
    command = [
        str(rie),
        "--log-level",
        "info",
        *addresses,
        *([str(task / "runtime-wrapper")] if wrapped else []),
        *client,
    ]
    with log.open("wb") as output:
        given = stack(task, **(environ or {}))
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
