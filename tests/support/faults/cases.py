"""The matrix: which requests are sent, with which faults where, and what must come of each by the contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, Literal

from tests.support.faults.catalogue import KINDS, Fault, Kind, faults_of
from tests.support.faults.upstream import FaultyUpstream, model
from tests.support.faults.wire import INPUT_TOKENS, OUTPUT_TOKENS

SECRET = "sk-planted-7f3a9c1e5b"
SLOW_S = 0.4  # how long a model that will never answer is waited for
DEADLINE_S = 60.0  # nothing here waits for it, however busy the machine is
PRICE = {"input": 1.0, "output": 2.0}  # USD per million tokens
CALL_USD = (INPUT_TOKENS * PRICE["input"] + OUTPUT_TOKENS * PRICE["output"]) / 1e6
MEMBERS = ("first", "middle", "last")
Position = Literal["first", "middle", "last", "all", "alone", "judge", "merger", "embedder", "escalation", "pair"]
LIVE: tuple[Position, ...] = ("alone", "merger", "escalation")  # what a caller who streams hears as it is written
POSITIONS: tuple[Position, ...] = ("first", "middle", "last", "all", "judge", "embedder", *LIVE)
SAME, DIFFERENT = ("42", "42", "42"), ("41", "42", "43")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One ensemble. `faults` are the members' (None: answers well), `helper` that of the judge, merger,
    embedder or stronger model."""

    id: str
    kind: Kind
    second: Kind | None = None  # of the second member, if it is another
    position: Position
    faults: tuple[Fault | None, ...]
    helper: Fault | None = None

    @property
    def has_stream_fault(self) -> bool:
        return any(fault is not None and fault.streams for fault in (*self.faults, self.helper))

    @property
    def heavy(self) -> bool:
        return any(fault is not None and fault.heavy for fault in (*self.faults, self.helper))

    @property
    def live(self) -> Fault | None:
        """The fault of the call that a caller who streams hears, if there is such a call."""
        if self.position == "alone":
            return self.faults[0]
        return self.helper if self.position in LIVE else None

    @property
    def said(self) -> tuple[str, ...]:
        if self.position == "alone":
            return ("The answer is 42.",)
        return (SAME if self.helper is None else DIFFERENT)[: len(self.faults)]

    def fault_of(self, call: dict[str, Any]) -> Fault | None:
        """The fault that a call of the trace met."""
        if call["role"] != "member":
            return self.helper
        return self.faults[int(call["model"].rsplit("-", 1)[1])]


def singles() -> Iterator[Case]:
    for kind in KINDS:
        for fault in faults_of(kind):
            for position in POSITIONS:
                if position == "embedder" and (kind in ("anthropic", "bedrock") or not fault.embeds):
                    continue  # there is no such call
                if fault.streams and position not in LIVE:
                    continue
                name = f"{kind}.{fault.name}.{position}"
                if position in MEMBERS:
                    faults = tuple(fault if position == each else None for each in MEMBERS)
                    yield Case(id=name, kind=kind, position=position, faults=faults)
                elif position in ("all", "alone"):
                    faults = (fault,) * (3 if position == "all" else 1)
                    yield Case(id=name, kind=kind, position=position, faults=faults)
                else:
                    yield Case(id=name, kind=kind, position=position, faults=(None,) * 3, helper=fault)


def pairs(kind: Kind, second: Kind) -> Iterator[Case]:
    """Every two faults over two members, of one kind or of two."""
    for one, other in combinations_with_replacement([fault for fault in faults_of(kind) if not fault.streams], 2):
        if second in other.only:
            name = f"{kind}.{one.name}.{second}.{other.name}"
            yield Case(id=name, kind=kind, second=second, position="pair", faults=(one, other))


def config(cases: Sequence[Case], upstream: FaultyUpstream) -> dict[str, Any]:
    """One config in which each case is an ensemble of its own models."""
    made: dict[str, Any] = {"providers": {}, "models": {}, "embedders": {}, "ensembles": {}}
    for case in cases:
        made["ensembles"][case.id] = ensemble = _ensemble(case)
        for index, (fault, text) in enumerate(zip(case.faults, case.said, strict=True)):
            kind = case.second if index == 1 else None
            made["models"][f"{case.id}-{index}"] = _model(made, case, fault, text, upstream, kind=kind)
        if case.position == "embedder":
            made["embedders"][f"{case.id}-embedder"] = _model(made, case, case.helper, "", upstream, timed=False)
            ensemble["aggregator"] = {"name": "consensus", "embedder": f"{case.id}-embedder"}
        elif case.helper:
            text = '{"best": 1}' if case.position == "judge" else "The answer is 42."
            made["models"][f"{case.id}-helper"] = _model(made, case, case.helper, text, upstream)
    return made


def _ensemble(case: Case) -> dict[str, Any]:
    helper = f"{case.id}-helper"
    made: dict[str, Any] = {
        "members": [f"{case.id}-{index}" for index in range(len(case.faults))],
        "aggregator": "vote",
        "early_decision": False,
        "deadline_s": DEADLINE_S,
    }
    if case.live and case.live.slow:
        made["stream_idle_s"] = 1.0  # less than between two events of what drips
    if case.position == "judge":
        made["aggregator"] = {"name": "judge", "judge": helper}
    elif case.position == "merger":
        made["aggregator"] = {"name": "merge", "merger": helper}
    elif case.position == "escalation":
        made["escalate"] = {"to": helper}
    return made


def _model(
    made: dict[str, Any],
    case: Case,
    fault: Fault | None,
    text: str,
    upstream: FaultyUpstream,
    *,
    kind: Kind | None = None,
    timed: bool = True,
) -> dict[str, Any]:
    kind = kind or case.kind
    does = fault.does if fault and fault.does in ("refuse", "ignore") else "answer"
    provider = f"{kind}-{does}"
    slow = fault is not None and fault.slow
    if not timed and slow:
        provider += "-slow"
    made["providers"].setdefault(
        provider,
        {"kind": kind, "base_url": upstream.url(kind, fault), "api_key": "env:PLANTED"}
        | ({"connect_timeout_s": SLOW_S} if does == "ignore" else {})
        | ({"timeout_s": SLOW_S} if not timed and slow else {}),
    )
    return {"provider": provider, "model": model(fault, text, case.id), "price": PRICE} | (
        {"max_retries": 1, **({"timeout_s": SLOW_S} if slow else {})} if timed else {}
    )


def expected_status(case: Case) -> tuple[int, str | None]:
    """The HTTP status and the error's type, by the contract's table."""
    faults = case.faults
    if case.helper or any(fault is None or fault.usable for fault in faults):
        return 200, None
    met = [fault for fault in faults if fault is not None]
    if any(fault.unusable in ("truncated", "refusal", "content filter") for fault in met):
        return 200, None  # the only thing that a model could say is the reply
    if case.position == "alone" and met[0].unusable:
        return 200, None  # even where that is nothing
    kinds = {fault.error or fault.unusable for fault in met}
    if kinds <= {"invalid_request", "context_length"}:
        return 400, "invalid_request_error"
    if kinds == {"rate_limit"}:
        return 429, "rate_limit_error"
    if kinds == {"timeout"}:
        return 504, "timeout_error"
    return 502, "upstream_error"
