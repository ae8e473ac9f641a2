"""The tables of SCALE.md, computed by the product's own arithmetic: `python infra/scale_tables.py` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emerge_core.operate import compute_costs, scale
from emerge_core.operate.compute_costs import PLAN_DISCOUNT, Load

RATES = (1, 10, 100, 1_000, 10_000)
WAITS_S = (0.5, 2.0, 10.0)
LOADS = (10, 1_000, 50_000)
JUMPS = ((10, 100), (10, 200), (10, 1_000), (1_000, 2_000), (1_000, 5_000), (1_000, 50_000))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def costs() -> str:
    rows = []
    for seconds in WAITS_S:
        for rate in RATES:
            load = Load(requests_per_second=rate, seconds=seconds)
            found = (
                compute_costs.default_lambda(load),
                compute_costs.managed(load),
                compute_costs.managed(load, PLAN_DISCOUNT),
                compute_costs.container(load),
            )
            rows.append([f"{seconds:g} s", f"{rate:,}", *(f"{each:.4f}" for each in found)])
    head = ["wait", "requests/s", "default Lambda, 1 GB", "managed, on demand", "managed, with a plan", "container"]
    return markdown(head, rows)


def break_evens() -> str:
    rows = [
        [
            f"{seconds:g} s",
            *(f"{compute_costs.break_even(seconds, discount=each):.2g}" for each in (0.0, PLAN_DISCOUNT)),
        ]
        for seconds in (0.5, 1.0, 2.0, 5.0, 10.0)
    ]
    return markdown(["wait", "requests/s from which managed costs less, on demand", "with a plan"], rows)


def limits() -> str:
    """Each part's demand at each load; bold where the limit is too low."""
    sized = [scale.demands(Load(requests_per_second=rate, seconds=2.0), managed=True) for rate in LOADS]
    plain = [scale.demands(Load(requests_per_second=rate, seconds=2.0), managed=False) for rate in LOADS]
    rows = []
    for parts, title in ((plain, "default Lambda: "), (sized, "managed: ")):
        shared = {each.part for each in plain[0]} & {each.part for each in sized[0]} - {"SSM reads"}
        for last in parts[-1]:
            if parts is sized and last.part in shared:
                continue
            cells = []
            for found in parts:
                each = next(each for each in found if each.part == last.part)
                text = f"{each.amount:,.0f}"
                cells.append(f"**{text}**" if each.share > 1 else text)
            name = last.part if last.part in shared else title + last.part
            rows.append([name, *cells, f"{last.limit:,.0f} {last.unit}", last.raise_it])
    return markdown(["part", *(f"{rate:,}/s" for rate in LOADS), "limit", "raise"], rows)


def jumps() -> str:
    rows = [
        [
            f"{before:,} → {after:,}",
            f"{100 * scale.throttled_share(before, after):.0f} %",
            f"{scale.environments_for(after, 2.0):,}",
        ]
        for before, after in JUMPS
    ]
    return markdown(
        ["requests/s", "refused in the first half hour", "`ManagedMinEnvironments` that refuses none"], rows
    )


TABLES = {"costs": costs, "break-even": break_evens, "limits": limits, "jumps": jumps}


if __name__ == "__main__":
    for name, table in TABLES.items():
        print(f"<!-- {name} -->\n{table()}\n<!-- end -->\n")  # noqa: T201
