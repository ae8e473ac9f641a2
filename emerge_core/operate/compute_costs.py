"""What running the proxy costs for each way to run it, by load: pure arithmetic over list prices.

List prices of us-east-1 on arm64, November 2026, in US dollars (aws.amazon.com: /lambda/pricing, /ec2/pricing,
/fargate/pricing, /elasticloadbalancing/pricing, /vpc/pricing). Left out: the front door (API Gateway, 0.0035 per
1,000 requests), logs, metrics, upstream tokens and the free tier: they are the same for all, but for the container's
load balancer, which takes API Gateway's place.

    default Lambda      0.0002 + GB × seconds × 0.0000133334 × 1,000            per 1,000 requests
    managed instances   0.0002 + NAT data + hourly / (3.6 × requests per second)
        environments = requests per second × seconds / (64 × ½), by the processor if that is more
        hourly       = instances × price × (1 − discount + 0.15) + three NAT gateways
    container           NAT data + (tasks × task + load balancer + NAT gateways) / (3.6 × requests per second)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

REQUESTS = 0.0002  # per 1,000 invocations of Lambda, on either compute
GB_SECOND = 0.0000133334
INSTANCES = {"m7g.large": (2, 0.0816), "m7g.xlarge": (4, 0.1632)}  # vCPUs and price of an hour
MANAGEMENT_FEE = 0.15  # of the on-demand price; no plan lowers it
PLAN_DISCOUNT = 0.28  # assumed for a one-year Compute Savings Plan; three years are up to 0.72
TASK = 0.03238 + 2 * 0.00356  # Fargate: an hour of one vCPU and 2 GB
LOAD_BALANCER = 0.0225 + 0.008  # an hour, with one unit of capacity
NAT_GATEWAY, NAT_GB = 0.045, 0.045  # an hour, and a GB

KB_PER_REQUEST = 20.0  # to and from three upstreams through the NAT gateway
CPU_S = 0.006  # of processor for an ensemble of three: python -m tests.bench.concurrency
PER_VCPU = 64  # requests at once that AWS advises at most
USED = 0.5  # of a capacity, so that traffic may double within five minutes
ZONES = 3
PER_TASK = 1_000  # requests at once in a container's process
HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Steady traffic. `seconds` is how long a request waits for its upstreams; `memory_gb` is default Lambda's."""

    requests_per_second: float
    seconds: float
    memory_gb: float = 1.0

    @property
    def at_once(self) -> float:
        return self.requests_per_second * self.seconds

    def per_thousand(self, hourly: float) -> float:
        return hourly / (3.6 * self.requests_per_second)


def default_lambda(load: Load) -> float:
    """US dollars per 1,000 requests."""
    return REQUESTS + 1_000 * load.memory_gb * (load.seconds + CPU_S) * GB_SECOND


@dataclass(frozen=True, slots=True)
class Fleet:
    """Managed instances for a load. One vCPU of each is taken to be the agent's, the others an environment's each."""

    environments: int
    instance: str
    instances: int
    hourly: float  # US dollars, NAT gateways included


def fleet(load: Load, discount: float = 0.0) -> Fleet:
    """The cheapest one that carries twice the load, over three zones at least."""
    by_concurrency = load.at_once / (PER_VCPU * USED)
    by_processor = load.requests_per_second * CPU_S / USED
    environments = max(ceil(max(by_concurrency, by_processor)), ZONES)
    fleets = []
    for name, (vcpus, price) in INSTANCES.items():
        count = max(ceil(environments / (vcpus - 1)), ZONES)
        hourly = count * price * (1 - discount + MANAGEMENT_FEE) + ZONES * NAT_GATEWAY
        fleets.append(Fleet(environments, name, count, hourly))
    return min(fleets, key=lambda each: each.hourly)


def managed(load: Load, discount: float = 0.0) -> float:
    """US dollars per 1,000 requests."""
    return REQUESTS + _nat_data() + load.per_thousand(fleet(load, discount).hourly)


def container(load: Load) -> float:
    """US dollars per 1,000 requests on Fargate behind a load balancer, two tasks at least."""
    tasks = max(ceil(max(load.at_once / (PER_TASK * USED), load.requests_per_second * CPU_S / USED)), 2)
    return _nat_data() + load.per_thousand(tasks * TASK + LOAD_BALANCER + ZONES * NAT_GATEWAY)


def break_even(seconds: float, *, memory_gb: float = 1.0, discount: float = 0.0) -> float:
    """The requests per second from which managed instances cost less than default Lambda; infinite if they never do
    below 10,000."""

    def cheaper(rate: float) -> bool:
        load = Load(requests_per_second=rate, seconds=seconds, memory_gb=memory_gb)
        return managed(load, discount) < default_lambda(load)

    low, high = 0.01, 10_000.0
    if not cheaper(high):
        return inf
    while high / low > 1.005:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if cheaper(middle) else (middle, high)
    return high


def _nat_data() -> float:
    return KB_PER_REQUEST * 1_000 / 1e6 * NAT_GB
