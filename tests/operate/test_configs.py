"""The deployed config: checked, pushed, pulled, compared."""

from __future__ import annotations

from typing import Any

import pytest

from emerge_core.config.aws import AwsSource
from emerge_core.errors import ConfigError, EmergeError
from emerge_core.operate import configs
from tests.support.aws.account import SIMULATED


def push(account: Any, text: str = SIMULATED) -> tuple[int, str]:
    checked = configs.check(text, source="emerge.yaml", stack=account.stack, client=account.client)
    return configs.push(checked, stack=account.stack, client=account.client)


def padded(size: int) -> str:
    return SIMULATED + "#" * (size - len(SIMULATED) - 1) + "\n"


def test_what_is_pushed_serves(deployed: Any) -> None:
    assert push(deployed) == (1, "Standard")
    found = AwsSource("/emerge/mine/config", default=None, client=deployed.client).read()
    assert (found.version, list(found.config.ensembles)) == ("1", ["emerge"])
    assert push(deployed, SIMULATED + "trace: off\n")[0] == 2
    got = configs.pull(deployed.stack, deployed.client)
    assert got
    assert (got.text, got.version, got.tier) == (SIMULATED + "trace: off\n", 2, "Standard")
    first = configs.pull(deployed.stack, deployed.client, version=1)
    assert first
    assert first.text == SIMULATED
    with pytest.raises(EmergeError, match="there is no version 9"):
        configs.pull(deployed.stack, deployed.client, version=9)


def test_every_fault_is_named_with_its_line_and_nothing_is_written(deployed: Any) -> None:
    text = SIMULATED.replace("{p: {kind: simulated}}", '\n  p: {kind: openai, base_url: "http://localhost"}')
    with pytest.raises(ConfigError) as refused:
        push(deployed, text.replace("consensus}", "consensus, deadline_s: 60}"))
    assert "emerge.yaml: 2 problems" in str(refused.value)
    assert "providers.p.base_url (line 2): localhost is this machine" in str(refused.value)
    assert "ensembles.emerge.deadline_s (line 4): 60 is longer than the 28 s" in str(refused.value)
    with pytest.raises(ConfigError, match="unknown key"):
        push(deployed, SIMULATED + "defualt: emerge")
    assert configs.pull(deployed.stack, deployed.client) is None


@pytest.mark.parametrize(("size", "tier"), [(4096, "Standard"), (4097, "Advanced"), (8192, "Advanced")])
def test_the_tier_follows_the_size(deployed: Any, size: int, tier: str) -> None:
    assert push(deployed, padded(size)) == (1, tier)
    got = configs.pull(deployed.stack, deployed.client)
    assert got
    assert (len(got.text.encode()), got.tier) == (size, tier)


def test_larger_is_refused(deployed: Any) -> None:
    with pytest.raises(EmergeError, match=r"8,193 bytes are more than the 8,192 that a parameter holds"):
        push(deployed, padded(8193))


def test_bytes_count_not_characters(deployed: Any) -> None:
    assert push(deployed, SIMULATED + "#" + "é" * 2000 + "\n")[1] == "Advanced"


def test_an_advanced_parameter_does_not_go_back(deployed: Any) -> None:
    """SSM refuses that."""
    push(deployed, padded(5000))
    assert push(deployed) == (2, "Advanced")


def test_removing_it(deployed: Any) -> None:
    push(deployed)
    assert configs.remove(deployed.stack, deployed.client)
    assert not configs.remove(deployed.stack, deployed.client)
    assert configs.pull(deployed.stack, deployed.client) is None


def test_differences() -> None:
    assert configs.differences("a\nb\n", "a\nb", source="f") == []
    assert configs.differences("a\nb\n", "a\nc\n", source="f") == [
        "--- deployed",
        "+++ f",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
    ]


def test_an_identical_push_makes_no_version(deployed: Any, capsys: Any, tmp_path: Any) -> None:
    from emerge_core.cli import main

    (tmp_path / "emerge.yaml").write_text(SIMULATED)
    command = ["config", "push", "--stack", "mine", str(tmp_path / "emerge.yaml")]
    assert main(command) == 0
    assert "version 1 is in" in capsys.readouterr().out
    assert main(command) == 0
    assert "as version 1: nothing was changed" in capsys.readouterr().out
    assert push(deployed) == (1, "Standard")


def test_a_push_leaves_a_mark_that_remove_takes_away(deployed: Any, tmp_path: Any) -> None:
    """By it a new environment knows that a config which is gone was lost."""
    (tmp_path / "default.yaml").write_text(SIMULATED)

    def fresh() -> AwsSource:
        return AwsSource("/emerge/mine/config", default=tmp_path / "default.yaml", client=deployed.client)

    push(deployed)
    deployed.client("ssm").delete_parameter(Name="/emerge/mine/config")
    with pytest.raises(ConfigError, match="has been deleted"):
        fresh().read()
    push(deployed)
    assert configs.remove(deployed.stack, deployed.client)
    assert fresh().read().version == "default"
    assert not configs.remove(deployed.stack, deployed.client)


def test_headers_and_fields_are_references_too(deployed: Any) -> None:
    text = SIMULATED.replace(
        "{p: {kind: simulated}}",
        "\n  p: {kind: openai, api_key: 'secret:emerge/mine/all#openai', headers: {x-a: 'ssm:/other/key', x-b: plain}}",
    )
    with pytest.raises(ConfigError) as refused:
        push(deployed, text)
    assert "providers.p.headers.x-a (line 2): the function may not read /other/key" in str(refused.value)
    assert "providers.p.api_key (line 2): there is no secret emerge/mine/all" in str(refused.value)
