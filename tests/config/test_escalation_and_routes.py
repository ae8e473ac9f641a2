"""Load-time checks of escalation steps and of routes."""

from __future__ import annotations

import pytest

from emerge_core.config import parse_config
from emerge_core.errors import ConfigError

CONFIG = """
providers: {sim: {kind: simulated}}
models: {a: {provider: sim, model: a}, b: {provider: sim, model: b}, big: {provider: sim, model: big}}
ensembles:
  plain: {members: [a, b]}
"""
PANEL = "{to: panel, final: adjudicate}"


def faults(entry: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse_config(f"{CONFIG}  x: {entry}\n", source="test")
    return str(error.value)


@pytest.mark.parametrize(
    "escalate",
    [
        "{to: big}",
        "{to: big, final: adjudicate, below_agreement: 0.6}",
        "{final: abstain}",
        PANEL,
        f"[{PANEL}, {{to: big, below_agreement: 0.6, final: adjudicate}}]",
        "[{to: big, final: vote}, {to: panel, final: adjudicate}, {final: abstain, below_agreement: 0.6}]",
    ],
)
def test_steps_that_make_sense(escalate: str) -> None:
    config = parse_config(f"{CONFIG}  x: {{members: [a, b], escalate: {escalate}}}\n", source="test")
    assert set(config.ensembles["x"].targets) <= {"big"}


@pytest.mark.parametrize(
    ("escalate", "fault"),
    [
        ("{to: bog}", "ensembles.x.escalate.to (line 6): there is no model `bog`, did you mean `big`?"),
        ("[{to: bog}]", "ensembles.x.escalate[0].to (line 6): there is no model `bog`"),
        ("{below_agreement: 0.5}", "ensembles.x.escalate.to (line 6): is missing"),
        ("{to: big, final: abstain}", "ensembles.x.escalate.to (line 6): is not used by final abstain"),
        ("{to: panel}", "ensembles.x.escalate.final (line 6): must be adjudicate where `to` is panel"),
        ("{to: panel, final: vote}", "must be adjudicate where `to` is panel"),
        ("[{final: abstain}, {to: big}]", "escalate[0] (line 6): must be the last step: nothing can follow"),
        (
            "[{to: big}, {final: abstain}]",
            "must be the last step: only `to: panel` and final vote",
        ),
        ("[{to: big, final: adjudicate}, {to: big}]", "escalate[0] (line 6): must be the last step"),
        (
            "[{to: panel, final: adjudicate, below_agreement: 0.6}, {to: big}]",
            "ensembles.x.escalate[1].below_agreement (line 6): must not be above the 0.6 of the step before it",
        ),
        ("[]", "escalate (line 6): must have at least one entry"),
        ("{to: big, final: ask}", "must be one of replace, vote, adjudicate, abstain"),
    ],
)
def test_steps_that_do_not(escalate: str, fault: str) -> None:
    assert fault in faults(f"{{members: [a, b], escalate: {escalate}}}")


def test_escalation_is_for_a_panel_that_votes() -> None:
    assert "cannot go with strategy cascade" in faults("{members: [a, b], strategy: cascade, escalate: {to: big}}")


def test_routes_lead_to_ensembles_and_models() -> None:
    config = parse_config(f"{CONFIG}  x: {{routes: {{tools: plain, open_ended: big}}}}\n", source="test")
    assert config.ensembles["x"].routes == {"tools": "plain", "open_ended": "big"}
    assert config.ensembles["x"].members == ()


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("{routes: {tool: plain}}", "ensembles.x.routes.tool (line 6): must be one of tools, json, choices, short"),
        ("{routes: {tool: plain}}", ", did you mean `tools`?"),
        ("{routes: {tools: plane}}", "x.routes.tools (line 6): there is no ensemble or model `plane`, did you"),
        ("{routes: {tools: x}}", "routes to itself: name an ensemble with members, or a model"),
        ("{routes: {tools: y}}\n  y: {routes: {tools: plain}}", "routes to y, which has routes itself"),
        ("{routes: {tools: plain}, members: [a]}", "ensembles.x.members (line 6): cannot stand beside routes"),
        ("{routes: {tools: plain}, deadline_s: 5}", "ensembles.x.deadline_s (line 6): cannot stand beside routes"),
        ("{routes: {}}", "ensembles.x.routes (line 6): must have at least one entry"),
        ("{deadline_s: 5}", "ensembles.x.members (line 6): is missing"),
    ],
)  # fmt: skip
def test_routes_that_lead_nowhere(entry: str, fault: str) -> None:
    assert fault in faults(entry)
