"""`emerge serve` under a sampling profiler: at its end it writes where its processor time went, by module.

python -m tests.bench.speed.profiled OUT.json serve --config FILE …
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from emerge_core.cli import main

INTERVAL_S = 0.001  # of processor time; the kernel's own tick is the lower bound
_TOP = "emerge_core"

own: Counter[str] = Counter()  # samples in a module's own code, and in C functions that it called
under: Counter[str] = Counter()  # samples in it or in anything that it called


def _sample(number: int, frame: FrameType | None) -> None:
    if frame is None:
        return
    own[_module(frame)] += 1
    seen = set()
    while frame is not None:
        seen.add(_module(frame))
        frame = frame.f_back
    under.update(seen)


def _module(frame: FrameType) -> str:
    """The module's name: three parts of our own, the package of others."""
    name = str(frame.f_globals.get("__name__", "?"))
    return ".".join(name.split(".")[:3]) if name.startswith(_TOP) else name.partition(".")[0]


def _start(*_: object) -> None:
    """Drops what was sampled so far: the start."""
    own.clear()
    under.clear()


if __name__ == "__main__":
    out = Path(sys.argv.pop(1))
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR1, _start)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    try:
        main(sys.argv[1:])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write_text(json.dumps({"own": own, "under": under}))
