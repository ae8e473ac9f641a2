from __future__ import annotations

import json
import re
from math import inf
from pathlib import Path

import pytest

from emerge_core.cli import main
from emerge_core.operate.compute_costs import Load, break_even, container, default_lambda, fleet, managed
from emerge_core.operate.scale import demands, throttled_share
from infra import scale_tables
from tests.support.paths import ROOT


def of(rate: float, seconds: float = 2.0) -> Load:
    return Load(requests_per_second=rate, seconds=seconds)


def test_default_lambda_bills_the_wait() -> None:
    assert default_lambda(of(1)) == default_lambda(of(1000))
    assert default_lambda(of(1)) == pytest.approx(0.0002 + 2.006 * 0.0133334)


def test_managed_instances_are_billed_by_the_hour() -> None:
    """By hand: 1,000 requests a second of 2 s are 2,000 at once; 63 environments that are half full with 32."""
    found = fleet(of(1000))
    assert (found.environments, found.instance, found.instances) == (63, "m7g.xlarge", 21)
    assert found.hourly == pytest.approx(21 * 0.1632 * 1.15 + 3 * 0.045)
    assert managed(of(1000)) == pytest.approx(0.0002 + 0.0009 + found.hourly / 3600)
    assert fleet(of(1000), discount=0.5).hourly == pytest.approx(21 * 0.1632 * 0.65 + 3 * 0.045)
    assert fleet(of(0.1)).instances == 3


def test_a_load_that_computes_more_than_it_waits_is_sized_by_the_processor() -> None:
    assert fleet(of(1000, seconds=0.05)).environments == 12


def test_the_break_even() -> None:
    for seconds in (0.5, 2, 10):
        rate = break_even(seconds)
        assert managed(of(rate * 1.02, seconds)) < default_lambda(of(rate, seconds))
        assert managed(of(rate / 1.02, seconds)) > default_lambda(of(rate, seconds))
    assert break_even(0.001, memory_gb=0.1) == inf


def test_a_container_is_cheaper_the_longer_requests_wait() -> None:
    assert container(of(1000, 10)) < managed(of(1000, 10))


def test_what_breaks_first() -> None:
    assert [each.part for each in demands(of(1), managed=False) if each.share > 1] == []
    assert demands(of(1000), managed=False)[0].part == "stage throttle"
    over = {each.part for each in demands(of(1000), managed=False) if each.share > 1}
    assert {"Lambda concurrency", "SSM reads"} <= over
    assert "SSM reads" not in {each.part for each in demands(of(1000), managed=True) if each.share > 1}


def test_limits_that_are_the_template_s_own() -> None:
    template = (ROOT / "template.yaml").read_text()
    defaults = dict(re.findall(r"^  (\w+): \{Type: \w+, Default: (\d+)", template, re.M))
    limits = {each.part: each.limit for each in demands(of(1), managed=True)}
    assert limits["stage throttle"] == int(defaults["StageThrottleRate"])
    assert limits["environments"] == int(defaults["ManagedMaxEnvironments"])
    assert limits["capacity provider"] == int(defaults["ManagedMaxVCpus"])


def test_a_jump() -> None:
    assert throttled_share(1000, 2000) == 0
    assert throttled_share(10, 90) == 0, "three environments carry 96"
    assert 0 < throttled_share(1000, 4000) < throttled_share(1000, 8000) < 1


def test_the_document_s_tables_are_computed() -> None:
    """`python infra/scale_tables.py` prints them."""
    text = (ROOT / "infra" / "SCALE.md").read_text()
    for name, table in scale_tables.TABLES.items():
        shown = text.partition(f"<!-- {name} -->\n")[2].partition("\n<!-- end -->")[0]
        assert shown == table(), name


def test_the_command_computes_one_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "--requests-per-second", "1000", "--seconds", "2", "--json", str(tmp_path / "out.json")]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "1000 requests/s that wait 2 s: 2000 at once" in said
    assert "63 environments of 64 requests at once, on 21 m7g.xlarge" in said
    assert "from 4.5 requests per second on, if a request waits 2 s" in said
    assert "quota `Concurrent executions` (Lambda)" in said
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["cost_per_1000"]["managed instances, on demand"] == pytest.approx(managed(of(1000)))
    assert main(["plan", "--requests-per-second", "0.001", "--seconds", "0.001", "--memory-gb", "0.1"]) == 0
    assert "never cost less" in capsys.readouterr().out
