"""What a queue alone adds: the requests of the bench at one core that does its work in order and never waits."""

from __future__ import annotations

import heapq
import random
from itertools import count

# How a request's processor time is spread, by the profile: until its three calls are sent, for each of their replies,
# and from the last of these to the end of its own.
BEFORE, EACH, AFTER = 0.4, 0.1, 0.3
REQUESTS = 20_000


def possible(cpu_ms: float, at_once: int, wait_s: float, *, steady: bool) -> tuple[float, float]:
    """Median and 99th percentile of the milliseconds added."""
    before, each, after = (share * cpu_ms / 1000 for share in (BEFORE, EACH, AFTER))
    chance, numbers = random.Random(1), count()
    due: list[tuple[float, int, float, list[int]]] = []  # when, tie-breaker, the request's own due time, replies open

    def at(time_s: float, born: float, open_replies: list[int]) -> None:
        heapq.heappush(due, (time_s, next(numbers), born, open_replies))

    arrival = 0.0
    for number in range(at_once if steady else REQUESTS):
        arrival = number * wait_s / at_once if steady else arrival + chance.expovariate(at_once / wait_s)
        at(arrival, arrival, [])
    added: list[float] = []
    free = 0.0  # when the core has done all that it has taken up
    while due and len(added) < REQUESTS:
        time_s, _, born, replies = heapq.heappop(due)
        free = max(time_s, free)
        if not replies:
            free += before
            replies.append(3)
            for _ in range(3):
                at(free + wait_s, born, replies)
            continue
        free += each
        replies[0] -= 1
        if replies[0] == 0:
            free += after
            added.append(1000 * (free - born - wait_s))
            if steady:
                at(free, free, [])
    added = sorted(added[REQUESTS // 10 :])
    return added[len(added) // 2], added[len(added) * 99 // 100]
