"""Names and aliases: what a client's `model` means."""

from __future__ import annotations

import pytest

from emerge_core.config import ensemble_of, parse_config, resolve_name
from emerge_core.errors import ConfigError

CONFIG = """
providers: {sim: {kind: simulated}}
models: {a: {provider: sim, model: a}, b: {provider: sim, model: b}}
ensembles: {emerge: {members: [a, b]}, other: {members: [b]}}
"""
ALIASES = 'aliases: {"gpt-4o*": emerge, "gpt-4o-mini*": other, "*-turbo": a, "gpt-4o-exact": b, "c*e*t": b}'


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("emerge", "emerge"),
        ("a", "a"),
        ("gpt-4o", "emerge"),
        ("gpt-4o-2024", "emerge"),
        ("gpt-4o-mini-2024", "other"),  # the pattern that says more
        ("gpt-4o-exact", "b"),  # a whole name before a pattern
        ("gpt-4-turbo", "a"),
        ("gpt-4", None),
        ("cet", "b"),
        ("ct", None),
        ("claude-elephant", "b"),
        ("", None),
        ("*", None),
    ],
)
def test_a_name_is_resolved_exactly_then_by_the_most_specific_pattern(asked: str, found: str | None) -> None:
    assert resolve_name(parse_config(CONFIG + ALIASES, source="test"), asked) == found


def test_a_star_takes_every_name_that_nothing_else_takes() -> None:
    config = parse_config(CONFIG + 'aliases: {"*": emerge, "x*": other}', source="test")
    assert [resolve_name(config, name) for name in ("emerge", "a", "xyz", "anything", "")] == [
        "emerge",
        "a",
        "other",
        "emerge",
        "emerge",
    ]
    assert ensemble_of(config, "anything") is config.ensembles["emerge"]


def test_a_hostile_name_is_matched_in_linear_time() -> None:
    config = parse_config(CONFIG + 'aliases: {"a*a*a*a*a*a*a*a*a*b": emerge}', source="test")
    assert resolve_name(config, "a" * 200_000 + "c") is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("aliases: {x: emrge}", "aliases.x (line 5): there is no ensemble or model `emrge`, did you mean `emerge`?"),
        ("aliases: {emerge: other}", "aliases.emerge (line 5): is the name of an ensemble or model already"),
        ("baseline: emerge", "baseline (line 5): there is no model `emerge`"),
    ],
)
def test_what_is_wrong_with_names(line: str, fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(CONFIG + line, source="test")
    assert fault in str(error.value)
