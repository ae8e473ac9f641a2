"""Several serving processes behind one listening socket, and their supervisor."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType

log = logging.getLogger("emerge.server")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESTART_S = 1.0  # between two starts of a worker that dies at once


class Supervisor:
    """Forks the workers, passes signals on to them, and replaces one that dies. `work` runs in each of them and
    returns the process's exit status. Workers stop if the supervisor is killed."""

    def __init__(self, count: int, work: Callable[[], int]) -> None:
        self._count = count
        self._work = work
        self._born: dict[int, float] = {}  # by process id
        self._stopped_by: int | None = None
        self._alive = os.pipe()  # nothing is written: its end of file tells the workers that the supervisor is gone

    def run(self) -> int:
        """Returns when every worker has ended after a signal: 0, or the negative number of a SIGTERM."""
        handlers = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        try:
            for _ in range(self._count):
                self._start(handlers)
            while self._born:
                pid, status = os.wait()
                born = self._born.pop(pid, None)
                if born is None or self._stopped_by is not None:
                    continue
                log.error("a worker ended (%s): another takes its place", _reason(status))
                time.sleep(max(RESTART_S - (time.monotonic() - born), 0))
                self._start(handlers)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for end in self._alive:
                os.close(end)
        return -signal.SIGTERM if self._stopped_by == signal.SIGTERM else 0

    def _start(self, handlers: Mapping[signal.Signals, object]) -> None:
        """Starts a worker, unless a signal has come. Signals wait meanwhile: one that came between the fork and the
        worker's own handlers, or before the supervisor knows the worker, would be lost."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            if self._stopped_by is not None:
                return
            pid = os.fork()
            if pid:
                self._born[pid] = time.monotonic()
            else:
                self._work_in_child(handlers, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _work_in_child(self, handlers: Mapping[signal.Signals, object], mask: set[int | signal.Signals]) -> None:
        status = 1
        try:
            os.close(self._alive[1])
            for number, handler in handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            threading.Thread(target=self._stop_without_supervisor, name="supervisor", daemon=True).start()
            status = self._work()
        except KeyboardInterrupt:
            status = 0
        except BaseException:
            log.exception("a worker failed")
        finally:
            os._exit(status)

    def _stop_without_supervisor(self) -> None:
        os.read(self._alive[0], 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self._stopped_by = self._stopped_by or number
        for pid in self._born:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def _reason(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"status {code}"
