"""What each part of a stack has to carry at a load, and which of its limits breaks first: pure arithmetic.

Limits are AWS's default quotas (Service Quotas and the developer guides, November 2026) or the template's own
parameters. A limit that is exceeded is not the end: `raise_it` says what moves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from emerge_core.operate.compute_costs import PER_VCPU, Load, fleet

AUTHORIZER_S = 0.01
CONFIG_TTL_S = 60
READS = 2  # of SSM for each refresh of an environment: the config, and a page of secrets
MEMBERS = 3


@dataclass(frozen=True, slots=True)
class Demand:
    part: str
    amount: float
    limit: float
    unit: str
    raise_it: str

    @property
    def share(self) -> float:
        return self.amount / self.limit


def demands(load: Load, *, managed: bool) -> list[Demand]:
    """What the load asks of each part, the one nearest to its limit first."""
    return sorted(_demands(load, managed=managed), key=lambda each: -each.share)


def _demands(load: Load, *, managed: bool) -> Iterator[Demand]:
    rate = load.requests_per_second
    needed = fleet(load)
    environments = needed.environments if managed else ceil(load.at_once)
    yield Demand("stage throttle", rate, 100, "requests/s", "StageThrottleRate, StageThrottleBurst")
    yield Demand("API Gateway", rate, 10_000, "requests/s", "quota `Throttle rate` (API Gateway)")
    # As if API Gateway kept no answer of the authorizer: most requests do not ask it.
    yield Demand("authorizer", rate * AUTHORIZER_S, 1_000, "at once", "quota `Concurrent executions` (Lambda)")
    reads = environments * READS / CONFIG_TTL_S
    yield Demand("SSM reads", reads, 40, "reads/s", "SSM's higher throughput setting (10,000), or EMERGE_CONFIG_TTL_S")
    if managed:
        vcpus = needed.instances * (2 if needed.instance.endswith(".large") else 4)
        yield Demand("instances", vcpus, 5, "vCPUs", "quota `Running On-Demand Standard instances` (EC2)")
        yield Demand("capacity provider", vcpus, 400, "vCPUs", "ManagedMaxVCpus")
        yield Demand("environments", environments, 30, "environments", "ManagedMaxEnvironments")
        connections = load.at_once / 3  # of each gateway to the provider that all members share at worst
        yield Demand("NAT gateway", connections * MEMBERS, 55_000, "connections", "more addresses for each NAT gateway")
    else:
        yield Demand("Lambda concurrency", load.at_once, 1_000, "at once", "quota `Concurrent executions` (Lambda)")
    # A tier of a provider, as an example: what yours allows is in its own console.
    yield Demand("one provider's rate", rate * MEMBERS * 60, 30_000, "calls/min", "a higher tier, or members elsewhere")


def throttled_share(
    before: float,
    after: float,
    *,
    seconds: float = 2.0,
    environments: int = 3,
    minutes: int = 30,
    doubling_s: float = 300.0,
) -> float:
    """The share of requests that managed instances refuse in `minutes` after the rate jumps from `before` to `after`.

    Simulated second by second: there is room for twice the traffic, as Lambda keeps it by default, or for what the
    least `environments` carry; the capacity then doubles in five minutes until it is twice the new rate."""
    capacity, offered, refused = max(2 * before, environments * PER_VCPU / seconds), 0.0, 0.0
    for _ in range(60 * minutes):
        offered += after
        refused += max(after - capacity, 0.0)
        capacity = min(capacity * 2 ** (1 / doubling_s), max(2 * after, capacity))
    return refused / offered


def environments_for(rate: float, seconds: float) -> int:
    """`ManagedMinEnvironments` that carries the rate at once, without a reserve."""
    return max(ceil(rate * seconds / PER_VCPU), 3)
