"""Many requests in random interleavings through one process of the function, as on Lambda Managed Instances.

    python -m tests.soak.interleaving [--requests 100000] [--concurrency 64] [--mode stream|buffered]

Requests of ten kinds (whole, streamed, degraded, failed, leaving, late, …) while the config changes five times a
second; every reply, log line, metric, trace and deadline is checked to belong to its request. Then the same events,
one at a time and many at once, must get the same replies. Ends with status 1 if anything does not fit.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.support.aws_lambda.interleaving import interleave, replies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000, help="for the comparison")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--mode", choices=("stream", "buffered"), default="stream")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = interleave(Path(folder), given.requests, mode=given.mode, concurrency=given.concurrency, seed=given.seed)
        outcome = asyncio.run(run)
        kinds = ", ".join(f"{name} {count:,}" for name, count in outcome.kinds.most_common())
        overdue = sum(each.overdue for each in outcome.sent)
        print(
            f"{len(outcome.sent):,} requests in {outcome.seconds:.0f} s, at most {outcome.most_open} at once: {kinds}"
        )
        print(f"{outcome.configs:,} config changes, {outcome.lines:,} log lines, {outcome.traces:,} traces")
        print(f"ended by the loop because the app did not in time: {overdue}")
        most = "at least " if len(outcome.wrong) == 100 else ""
        print(f"{most}{len(outcome.wrong)} wrong" + "".join(f"\n  {each}" for each in outcome.wrong[:20]))
        one = None if given.mode == "stream" else 1
        single, many = (
            asyncio.run(replies(Path(folder), given.events, mode=given.mode, concurrency=each))
            for each in (one, given.concurrency)
        )
        different = sum(one != other for one, other in zip(single, many, strict=True))
        print(f"{given.events:,} events one at a time and {given.concurrency} at once: {different} replies differ")
    return 1 if outcome.wrong or different else 0


if __name__ == "__main__":
    sys.exit(main())
