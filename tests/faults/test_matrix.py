"""Every fault at every place, and every pair of faults, through the whole product: a valid reply or the
right error, the failed call and its cause in the trace, its cost counted, nothing left behind, no secret out."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import fsum, isclose
from pathlib import Path
from typing import Any

import httpx
import pytest

from emerge_core.api import create_app
from emerge_core.config import parse_config
from emerge_core.engine.engine import Engine
from tests.support.faults.cases import CALL_USD, DEADLINE_S, SECRET, Case, config, expected_status, pairs, singles
from tests.support.faults.catalogue import KINDS, Fault, Kind
from tests.support.faults.upstream import FaultyUpstream, faulty_upstream

AT_ONCE, AT_ONCE_HEAVY = 48, 4
HANG_S = 3 * DEADLINE_S  # for one request; only a hang lasts as long
FORMS = ("json", "stream")
QUESTION = [{"role": "user", "content": "What is 6 times 7? Reply with a number."}]


class Failures(list[str]):
    """What went wrong, case by case: one test runs thousands of them."""

    def expect(self, true: object, case: Case, form: str, what: str, shown: object = "") -> None:
        if not true:
            self.append(f"{case.id} ({form}): {what} {str(shown)[:600]}")


class Notes(logging.Handler):
    """Every log line with all its fields, as text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        trouble = repr(record.exc_info[1]) if record.exc_info else ""
        self.text.append(f"{record.getMessage()} {vars(record)} {trouble}")


@pytest.fixture
def notes() -> Iterator[Notes]:
    handler, loggers = Notes(), [logging.getLogger(name) for name in ("emerge", "emerge_core")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_at_every_position(
    kind: str, form: str, notes: Notes, record_property: Callable[[str, object], None]
) -> None:
    fit = [case for case in singles() if case.kind == kind and (form == "stream" or not case.has_stream_fault)]
    run(fit, form, notes, record_property)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_of_faults(kind: Kind, notes: Notes, record_property: Callable[[str, object], None]) -> None:
    run([*pairs(kind, kind)], "json", notes, record_property)


def test_every_pair_of_faults_of_two_providers(notes: Notes, record_property: Callable[[str, object], None]) -> None:
    run([*pairs("openai", "anthropic")], "stream", notes, record_property)


def run(cases: Sequence[Case], form: str, notes: Notes, record_property: Callable[[str, object], None]) -> None:
    failures = Failures()
    asyncio.run(_run_all(cases, form, failures), debug=False)
    said = "\n".join(notes.text)
    assert notes.text
    assert SECRET not in said
    counted = ", ".join(f"{count} {position}" for position, count in Counter(c.position for c in cases).items())
    record_property("said", f"faults, {form}: {len(cases)} combinations ({counted})")
    assert not failures, "\n".join([f"{len(failures)} failures", *failures[:40]])


async def _run_all(cases: Sequence[Case], form: str, failures: Failures) -> None:
    tasks, files = asyncio.all_tasks(), open_files()
    async with faulty_upstream() as upstream:
        made = parse_config(json.dumps(config(cases, upstream)), source="matrix")
        engine = Engine(made, environ={"PLANTED": SECRET})
        transport = httpx.ASGITransport(create_app(engine))
        light, heavy = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE_HEAVY)
        async with httpx.AsyncClient(transport=transport, base_url="http://emerge") as client:

            async def one(case: Case) -> None:
                async with heavy if case.heavy else light:
                    try:
                        async with asyncio.timeout(HANG_S):
                            await _check(case, form, client, upstream, failures)
                    except TimeoutError:
                        failures.append(f"{case.id} ({form}): it hangs")

            for weighty in (False, True):  # apart, so that megabytes take no time from what has a time limit
                await asyncio.gather(*(one(case) for case in cases if case.heavy == weighty))
        failures += [repr(task) for task in asyncio.all_tasks() - tasks if task.get_name().startswith("call-")]
        await engine.aclose()
    assert SECRET not in repr((engine, vars(engine), made))
    left = asyncio.all_tasks() - tasks
    assert not left, left
    gc.collect()  # a socket that nobody closed speaks up here, as a warning, which is an error
    assert open_files() <= files


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


async def _check(
    case: Case, form: str, client: httpx.AsyncClient, upstream: FaultyUpstream, failures: Failures
) -> None:
    body = {"model": case.id, "messages": QUESTION, "stream": form == "stream"}
    reply = await client.post("/v1/chat/completions", json=body, timeout=None)
    whole, emerge, error = read(reply, form)
    broken = form == "stream" and case.live is not None and case.live.spoken and case.live.error is not None
    if broken and case.live and case.live.slow and not (error and "broke off" in error["message"]):
        broken = False  # this machine was so busy that its time was up before the first word
    status, kind = expected_status(case)
    if broken and case.live:
        status, kind = (504, "timeout_error") if case.live.error == "timeout" else (502, "upstream_error")

    def expect(true: object, what: str, shown: object = "") -> None:
        failures.expect(true, case, form, what, shown)

    expect(SECRET not in reply.text + str(reply.headers), "a secret is out", reply.text)
    expect("Traceback" not in reply.text, "a stack trace is out", reply.text)
    if error is not None:
        expect(error["type"] == kind, f"expected {status} {kind}, got {error['type']}", error)
        if form == "json":
            expect(reply.status_code == status, f"expected {status}, got {reply.status_code}", error)
            if status != 429:
                expect(reply.headers.get("x-should-retry", "false") == "false", "a retry is asked for")
        expect(isinstance(error["message"], str) and error["message"], "an error without a message", error)
        if status in (429, 502, 504) and not broken:
            named = [f"{case.id}-{index}" in error["message"] for index in range(len(case.faults))]
            expect(all(named), "the message does not name each member", error)
    else:
        expect(status == 200, f"expected {status} {kind}, got a reply", reply.text)
        expect(whole is not None, "no whole reply", reply.text)
    if emerge is None:
        expect(False, "no trace", reply.text)
        return
    _check_trace(case, form == "stream", broken, emerge, expect)
    for call in emerge["calls"]:
        fault = case.fault_of(call)
        if fault is None or not (fault.slow or fault.does in ("refuse", "ignore")):
            name = client_name(case, call, fault)
            expect(upstream.calls[name], f"{call['model']} was never asked")


def client_name(case: Case, call: dict[str, Any], fault: Fault | None) -> str:
    text = ""
    if call["role"] == "member":
        text = case.said[int(call["model"].rsplit("-", 1)[1])]
    elif call["role"] != "embed":
        text = '{"best": 1}' if call["role"] == "judge" else "The answer is 42."
    return "|".join([fault.name if fault else "well", text, case.id])


def read(reply: httpx.Response, form: str) -> tuple[Any, dict[str, Any] | None, dict[str, Any] | None]:
    """(the message's text if there is a whole valid reply, the emerge object, the error)."""
    if form == "json" or reply.headers["content-type"] == "application/json":
        body = reply.json()
        if error := body.get("error"):
            return None, error.get("emerge"), error
        return body["choices"][0]["message"], body.get("emerge"), None
    events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    if error := chunks[-1].get("error"):
        return None, error.get("emerge"), error
    done = events[-1] == "[DONE]" and chunks[-1]["choices"][0]["finish_reason"]
    return (chunks if done and events.count("[DONE]") == 1 else None), chunks[-1].get("emerge"), None


def _check_trace(case: Case, stream: bool, broken: bool, emerge: dict[str, Any], expect: Any) -> None:
    calls = emerge["calls"]
    members = [call for call in calls if call["role"] == "member"]
    expect(len(members) == len(case.faults), "a member is missing in the trace", calls)
    roles = {"judge": "judge", "merger": "merge", "embedder": "embed", "escalation": "escalation"}
    if role := roles.get(case.position):
        expect([c["role"] for c in calls if c["role"] != "member"] == [role], f"no {role} call in the trace", calls)
        live = stream and case.position in ("merger", "escalation")
        fit = case.helper is not None and (case.helper.usable or (live and case.helper.heard))
        fit = fit and not (case.position == "embedder" and case.helper and case.helper.unusable_embedding)
        expect(
            broken or (emerge["fallback"] is None) == fit, "a helper's failure is not told, or told without one", emerge
        )
    for call in calls:
        _check_call(case, call, expect)
    failed = any(fault is not None and not fault.usable for fault in case.faults)
    expect(emerge["degraded"] == failed, f"degraded must be {failed}", emerge)
    spent = fsum(call["cost_usd"] for call in calls)
    expect(isclose(emerge["cost_usd"], spent, abs_tol=1e-8), "the calls' costs are not the request's", emerge)
    expect(emerge["cost_known"] == all(call["cost_known"] for call in calls), "cost_known of the sum", emerge)
    # A hang guard, as the whole request's: what waits at most a second takes no whole deadline.
    expect(emerge["latency_ms"] < DEADLINE_S * 1000, "it took the whole deadline", emerge["latency_ms"])


def _check_call(case: Case, call: dict[str, Any], expect: Any) -> None:
    fault = case.fault_of(call)
    if fault is None:
        expect(call["status"] == "ok" and call["usable"], "a healthy call is not usable", call)
        expect(isclose(call["cost_usd"], CALL_USD) or call["role"] == "embed", "a healthy call's cost", call)
        return
    embeds = call["role"] == "embed"
    error = "bad_response" if embeds and fault.unusable_embedding else fault.error
    cost = "unknown" if embeds and fault.unusable_embedding else fault.cost
    if error:
        status = "timeout" if error == "timeout" else "error"
        expect(call["status"] == status, f"status must be {status}", call)
        told = str(call["error"])
        expect(told.startswith(error), f"the cause must be {error}", call)
        expect(fault.status == 200 or told.startswith(f"{error} {fault.status}"), "the upstream's status", call)
    else:
        expect(call["status"] == "ok", "status must be ok", call)
        if call["role"] == "member":
            expect(call["error"] == fault.unusable, f"why it is unusable must be {fault.unusable}", call)
    if cost == "usage":
        expect(call["cost_known"] and call["cost_usd"] > 0, "its usage must be billed", call)
    elif cost == "none":
        expect(call["cost_known"] and call["cost_usd"] == 0, "it cost nothing", call)
    elif cost == "unknown":
        expect(not call["cost_known"], "its cost is not known", call)
    else:
        expect(call["cost_estimated"], "its cost must be estimated", call)
