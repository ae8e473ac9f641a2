"""How fast the proxy is beside what one would use instead: `make bench`.

    python -m tests.bench.speed [--rounds N] [--without-litellm] [--only overhead,load,profile,cold] [--seconds S]

One run measures a hand-written gather in FastAPI (on aiohttp: the floor; on the openai SDK), emerge and LiteLLM's
proxy, one after the other in every round, with the same clients against the same upstream. The figures are medians
over the rounds, and what counts are the ratios: the times depend on the machine. Processor time is that of the
server's process. Ends with status 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench.speed.cold import measure_cold
from tests.bench.speed.load import SECONDS, measure_load
from tests.bench.speed.overhead import measure_overhead
from tests.bench.speed.profile import print_profile
from tests.bench.speed.servers import install_litellm, servers, upstream
from tests.bench.speed.table import Limit, print_limits

PARTS = ("overhead", "load", "profile", "cold")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the load (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run, of %(default)s")
    args = parser.parse_args()
    parts = args.only.split(",")
    compares = "overhead" in parts and not args.without_litellm
    why_not = install_litellm() if compares else "it was not asked for"
    if why_not and "overhead" in parts:
        print(f"LiteLLM's proxy is left out: {why_not}")
    limits: list[Limit] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        asked = stack.enter_context(upstream())
        url = f"http://127.0.0.1:{asked.port}"
        compared = servers(url, litellm=why_not is None)
        if "overhead" in parts:
            limits += asyncio.run(measure_overhead(compared, asked, folder, rounds=args.rounds, scale=args.scale))
        if "load" in parts:
            limits += measure_load(folder, url, seconds=args.seconds)
        if "profile" in parts:
            print_profile(folder, url)
    if "cold" in parts:
        limits += measure_cold()
    if limits:
        print_limits(limits)
    return int(any(limit.holds is False for limit in limits))


if __name__ == "__main__":
    sys.exit(main())
