"""`make soak OPTIONS=--hostile`: one hostile client among honest ones, for as long as MINUTES says.

The upstreams are well, but do what a prompt can make a model or a provider do: refuse the request in words that quote
it, and reply with arguments nested without end, with a million objects, with megabytes of text. No honest request may
fail, be degraded, lose a member or a parameter, or take much longer than at a server without such a client, and the
server's memory must be flat.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx

from tests.fuzz.test_hostile_requests import REQUESTS, chat
from tests.soak.soak import Account, at, halves, serving
from tests.support.faults.upstream import BASE, FaultyUpstream, faulty_upstream

BOUND_S = 5.0  # by which the slowest honest request may take longer than at a server without a hostile client
CONTROLS = 2  # clients of that server: other processes may keep this machine busy, too
PAUSE_S = (0.3, 1.2)  # between two requests of an honest client
HOSTILE_PAUSE_S = 0.25
LOST = {"error": {"message": "", "type": "invalid_request_error", "param": None, "code": None}}
QUOTED = (
    "Invalid value: 'insufficient_quota!'. Unsupported parameter: 'temperature' is not supported with this model.",
    "Unsupported parameter: 'stop'.",
    "The model does not support seed: 'billing_not_active', response_format is not supported.",
    "credit balance is too low",
)
PROVOKED: dict[str, Callable[[], dict[str, Any]]] = {
    "deep": lambda: _calls('{"a":' * 20_000 + "1" + "}" * 20_000),
    "many": lambda: _calls('{"a":[' + ",".join(["{}"] * 1_000_000) + "]}"),
    "long": lambda: _text("#### 1\n" * 70_000),
    "options": lambda: _text("A. x\nB. y\n" * 400_000),
    "nameless": lambda: {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": ""}}]},
}


def _text(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _calls(arguments: str) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "f0", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def provoked(asked: dict[str, Any]) -> tuple[int, bytes] | None:
    """What the upstream says to a request of the hostile client that asks for it, by status and body."""
    last = asked["messages"][-1].get("content") if asked.get("messages") else None
    if not isinstance(last, str) or not last.startswith("provoke "):
        return None
    what = last.split(" ")[1]
    if what.isdecimal():
        told = {**LOST["error"], "message": QUOTED[int(what)], "param": "temperature"}
        return 400, json.dumps({"error": told}).encode()
    choice = {"index": 0, "message": PROVOKED[what](), "finish_reason": "stop"}
    whole = {"object": "chat.completion", "model": "m", "choices": [choice]}
    return 200, json.dumps({**whole, "usage": {"prompt_tokens": 9, "completion_tokens": 9}}).encode()


def config(upstream: FaultyUpstream) -> dict[str, Any]:
    def model(kind: str, text: str) -> dict[str, Any]:
        return {"provider": kind, "model": f"well|{text}", "price": {"input": 1, "output": 2}, "max_retries": 0}

    models = {f"{kind}-{n}": model(kind, f"The answer is {n}.") for kind in BASE if kind != "bedrock" for n in (41, 42)}
    models |= {"picker": model("openai", '{"best": 2}'), "answers": model("openai", '{"answer": 42}')}
    alike, different = ["openai-42", "anthropic-42", "ollama-42"], ["openai-41", "anthropic-42", "ollama-42"]
    panels: dict[str, Any] = {
        "vote": {"members": alike, "aggregator": "vote"},
        "adaptive": {"members": different, "aggregator": "adaptive"},
        "judge": {"members": different, "aggregator": {"name": "judge", "judge": "picker"}},
        "json": {"members": ["answers"] * 3, "aggregator": "vote"},
        "live": {"members": ["anthropic-42", "openai-42"], "strategy": "fallback"},
    }
    for panel in panels.values():
        panel |= {"deadline_s": 20, "early_decision": False}
    return {
        "providers": {
            k: {"kind": k, "base_url": upstream.address + BASE[k]} for k in ("openai", "anthropic", "ollama")
        },
        "models": models,
        "ensembles": panels,
    }


# --- the honest clients ---

SCHEMA = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
ASKED = {"temperature": 0.5, "stop": ["END"], "seed": 7, "max_tokens": 200}
NEVER_TAKEN = {"anthropic": {"seed"}}
MEMBERS = {"vote": 3, "adaptive": 3, "judge": 4, "json": 3, "live": 1}  # calls of a healthy request


@dataclass
class Honest:
    """What became of the honest requests."""

    seconds: list[float] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


async def honest(number: int, client: httpx.AsyncClient, account: Honest, ends: float) -> None:
    chance = random.Random(number)
    while time.monotonic() < ends:
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        name, streams = chance.choice([*MEMBERS]), chance.random() < 0.5
        began = time.monotonic()
        try:
            fault = await ask(name, streams, client, account)
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            fault = repr(error)
        account.seconds.append(time.monotonic() - began)
        if fault is not None:
            account.wrong.append(f"an honest request to {name}{' (streamed)' if streams else ''}: {fault}")


async def ask(name: str, streams: bool, client: httpx.AsyncClient, account: Honest) -> str | None:
    body: dict[str, Any] = {**chat("What is 6 times 7?"), **ASKED, "model": name, "stream": streams}
    if name == "json":
        form = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}
        body["response_format"] = form
    reply = await client.post("/chat/completions", json=body)
    if reply.status_code != 200:
        return f"{reply.status_code} {reply.text[:300]}"
    if streams:
        events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
        last = json.loads(events[-2] if events[-1] == "[DONE]" else events[-1])
        if events[-1] != "[DONE]" or "error" in last:
            return f"a stream without an end: {events[-1][:300]}"
        told = last["emerge"]
    else:
        told = reply.json()["emerge"]
    if told["degraded"]:
        return f"degraded: {told['calls']}"[:600]
    if len(told["calls"]) != MEMBERS[name] or any(call["status"] != "ok" for call in told["calls"]):
        return f"a call is missing: {told['calls']}"[:600]
    for call in told["calls"]:
        account.dropped.update(set(call["dropped_params"]) - NEVER_TAKEN.get(call["provider"], set()))
    return None


# --- the hostile one ---


def attacks() -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Path, name, headers and body, for ever."""
    tools = [{"type": "function", "function": {"name": "f0", "parameters": {"type": "object"}}}]
    panels = ("vote", "adaptive", "judge", "json", "live", "openai-42")
    plain: list[tuple[str, str, dict[str, str], bytes]] = []
    for (name, body), panel in zip(REQUESTS.items(), cycle(panels), strict=False):
        plain.append(("/chat/completions", name, {}, json.dumps({**body, "model": panel}).encode()))
    for number, what in enumerate([*PROVOKED, *map(str, range(len(QUOTED)))]):
        for streams in (False, True):
            for panel in panels[number % 2 :: 2]:
                asked = {**chat(f"provoke {what}"), **ASKED, "model": panel, "stream": streams}
                asked |= {"tools": tools} if what in ("deep", "many", "nameless") else {}
                asked |= {"response_format": {"type": "json_object"}} if what in ("long", "2") else {}
                plain.append(("/chat/completions", f"provoke {what}", {}, json.dumps(asked).encode()))
    text = json.dumps({"model": "vote", "max_tokens": 9, "messages": [{"role": "user", "content": "word " * 800_000}]})
    plain += [
        (path, "4 MB", {}, text.encode()) for path in ("/messages", "/messages/count_tokens", "/chat/completions")
    ]
    plain.append(("/responses", "4 MB", {}, json.dumps({"model": "adaptive", "input": "A. x\n" * 800_000}).encode()))
    plain.append(("/embeddings", "no embedder", {}, json.dumps({"model": "e", "input": ["x"] * 2_000}).encode()))
    plain += [
        ("/chat/completions", "not JSON", {}, raw) for raw in (b"[" * 4_000_000, b'{"a":' * 900_000, b"\xff" * 90)
    ]
    odd = {"x-emerge-deadline": "0.001", "x-emerge-max-cost": "1e-9", "x-emerge-trace": "full", "host": "evil.test"}
    plain += [("/chat/completions", name, {name: value}, json.dumps(chat()).encode()) for name, value in odd.items()]
    return cycle(plain)


async def hostile(client: httpx.AsyncClient, ends: Counter[str], until: float) -> None:
    chance, listed = random.Random(0), attacks()
    while time.monotonic() < until:
        path, name, headers, body = next(listed)
        patience_s = 0.05 if chance.random() < 0.1 else 60.0  # now and then it hangs up
        headers = {"content-type": "application/json", **headers}
        try:
            async with asyncio.timeout(patience_s):
                reply = await client.post(path, content=body, headers=headers)
            ends[f"{reply.status_code}"] += 1
            if reply.status_code == 500:
                ends[f"500 for {name}"] += 1
        except TimeoutError:
            ends["it hung up" if patience_s < 1 else f"no reply to {name}"] += 1
        except httpx.HTTPError as error:
            ends[f"{type(error).__name__} for {name}"] += 1
        await asyncio.sleep(HOSTILE_PAUSE_S)


async def main(minutes: float, clients: int) -> int:
    account = Account(warm_up_mb=24.0 if minutes >= 10 else 96.0)  # caches of schemas fill up to their bounds
    seen, control, ends = Honest(), Honest(), Counter[str]()
    status: dict[str, Any] = {}
    async with faulty_upstream() as upstream:
        upstream.provoked = provoked
        async with (
            serving(config(upstream), account) as (server, url),
            serving(config(upstream), Account(warm_up_mb=0)) as (_, quiet),
            httpx.AsyncClient(base_url=url, timeout=120) as enemy,
            httpx.AsyncClient(base_url=url, timeout=120) as client,
            httpx.AsyncClient(base_url=quiet, timeout=120) as apart,
        ):
            for name in MEMBERS:  # the first requests import what they need
                for each in (client, apart):
                    await ask(name, False, each, Honest())
            until = time.monotonic() + 60 * minutes
            await asyncio.gather(
                hostile(enemy, ends, until),
                *(honest(number, client, seen, until) for number in range(clients)),
                *(honest(number, apart, control, until) for number in range(CONTROLS)),
            )
            with suppress(httpx.HTTPError):
                status = (await client.get("/emerge/status")).json()
            faults = account.faults(server, counted=False)
    faults += [*seen.wrong[:10], *control.wrong[:10]]
    seconds, apart_s = sorted(seen.seconds), sorted(control.seconds)
    if seconds[-1] > apart_s[-1] + BOUND_S:
        faults.append(f"an honest request took {seconds[-1]:.1f} s, and {apart_s[-1]:.1f} s without a hostile client")
    if any(status.get(name, "missing") for name in ("breakers", "refused_params")):
        faults.append(f"the hostile client changed what others get: {status}")
    if seen.dropped:
        faults.append(f"honest requests lost parameters: {seen.dropped}")
    if odd := [what for what in ends if what.startswith(("500", "no reply", "Remote", "Read"))]:
        faults.append(f"the hostile client got {odd}")
    print(f"soak: {minutes:g} minutes, {clients} honest clients and a hostile one")
    print(f"  honest requests {len(seconds)}, of which {len(seen.wrong)} went wrong")
    for what, took in (("beside the hostile client", seconds), ("at a server of their own", apart_s)):
        print(f"  seconds {what}: p50 {at(took, 0.5):.3f}, p99 {at(took, 0.99):.3f}, longest {took[-1]:.3f}")
    print(f"  hostile requests {sum(ends.values())}: {dict(ends.most_common())}")
    for what, samples in (("memory in MB", account.memory), ("open files", account.files)):
        before, after = halves(samples)
        print(f"  {what}: {before:.0f} in the second quarter, {after:.0f} in the last, {max(samples):.0f} at most")
    for fault in faults:
        print(f"  FAULT {fault}")
    return 1 if faults else 0
