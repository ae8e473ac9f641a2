"""How the time of every scan of foreign text grows: 8 times the text must not take 64 times as long.

    .venv/bin/python tests/bench/growth.py [ROUNDS]

Tries texts that make badly written scans slow (`tests/fuzz/families.py`), by CPU time. Prints the worst factor of each
scan and ends with status 1 if one is quadratic. It measures time, so it is no part of the test suite.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz.families import BOUND, SCANS, Family, growth, some_families


def main(rounds: int = 1) -> int:
    spaces = re.compile(r"\s+\Z")
    if growth(lambda text: spaces.search(text), Family("", " ", "", "x"), 3_000) <= BOUND:
        print("the machine is too busy to measure: a quadratic scan was not found")
        return 1
    failed = 0
    print(f"| scan | worst factor (bound {BOUND}) | text |\n|---|---|---|")
    for name, scan in SCANS.items():
        factor, family = max((growth(scan, family), family) for family in some_families(name, rounds))
        failed |= factor > BOUND
        print(f"| {name} | {factor:.0f} | {family!r} |" if factor else f"| {name} | quick | |")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
