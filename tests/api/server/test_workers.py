"""The supervisor of several serving processes: no signal is lost, and no worker outlives it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, time
from emerge_core.api.server.workers import Supervisor

fork, started = os.fork, []  # a signal comes right after one of the forks

def work():
    while True:
        time.sleep(0.01)

def noisy_fork():
    pid = fork()
    if pid:
        started.append(pid)
        if len(started) == {count}:
            os.kill(os.getpid(), {number})
    return pid

os.fork = noisy_fork
os._exit(-Supervisor(2, work).run())
"""


def supervisor(count: int, number: str) -> subprocess.Popen[bytes]:
    code = SCRIPT.format(count=count, number=number)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_during_the_start_of_a_worker_ends_them_all(count: int, number: signal.Signals) -> None:
    process = supervisor(count, f"signal.{number.name}")
    process.communicate(timeout=60)  # returns when no worker holds the pipe any more
    assert process.returncode == (-number if number == signal.SIGKILL else number)
