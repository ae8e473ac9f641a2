"""Requests of many kinds in random interleavings through one process of the function, and the check that everything
which was written about a request is its own: reply, log lines, metrics, trace, deadline, cost.

Each request has a number. It is the answer that the upstream gives, it is in the tokens and so in the cost, and the
event's key id, gateway id, trace id and deadline are made from it: whatever is mixed up does not fit.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.aws_lambda.function import event
from tests.support.aws_lambda.process import events_of, runtime
from tests.support.aws_lambda.runtime_stub import PostedReply, RuntimeStub

MODELS = ("a", "b", "c")
PRICES = (1.0, 3.0)  # USD per million input tokens: a config change switches between them
OUTPUT_TOKENS = 12
KINDS = {  # and how many of a hundred
    "whole": 40,
    "streamed": 25,
    "degraded": 10,
    "failed": 5,
    "malformed": 5,
    "unknown": 5,
    "leaving": 4,
    "patient": 3,
    "late": 2,
    "broken": 1,
}
STATUS = {"whole": 200, "streamed": 200, "degraded": 200, "patient": 200}
STATUS |= {"failed": 502, "malformed": 400, "unknown": 404, "late": 504}
PATIENT_S = 1.5


def _asked(text: str, model: str) -> tuple[int, int, float]:
    """The number of a question, and the status and delay in seconds of one model's answer to it."""
    found = re.search(rf"Question (\d+)\..*\[{model} (\d+) ([\d.]+)\]", text)
    assert found, text
    return int(found[1]), int(found[2]), float(found[3])


class Upstream(asyncio.Protocol):
    """Answers chat completions as the question in them says."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if not end or not length or len(rest) < int(length[1]):
            return
        self._buffer = rest[int(length[1]) :]
        body = json.loads(rest[: int(length[1])])
        number, status, delay_s = _asked(body["messages"][-1]["content"], body["model"])
        reply = _completion(body, number) if status == 200 else {"error": {"message": "scripted", "type": "x"}}
        text = json.dumps(reply).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n".encode()
        asyncio.get_running_loop().call_later(delay_s, self._send, head + text)

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def _completion(body: dict[str, Any], number: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": f"The answer is {number}."}
    prompt = 1_000 + number
    return {
        "id": f"up-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": prompt + OUTPUT_TOKENS,
        },
    }


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


def config(url: str, price: float) -> str:
    priced = {"input": price, "output": 2.0}
    model = {"provider": "up", "max_retries": 0, "price": priced}
    panel = {"members": list(MODELS), "aggregator": "vote", "early_decision": False, "deadline_s": 20}
    return json.dumps(
        {
            "providers": {"up": {"kind": "openai", "base_url": url, "api_key": "env:UP_KEY"}},
            "models": {name: {**model, "model": name} for name in MODELS},
            "ensembles": {"emerge": panel},
        }
    )


def cost(number: int, answers: int, price: float) -> float:
    return round(answers * ((1_000 + number) * price + OUTPUT_TOKENS * 2.0) / 1e6, 10)


@dataclass
class Sent:
    """A request, and what is known of it."""

    number: int
    kind: str
    invocation: str = ""
    cost: float | None = None  # of the reply
    status: int | None = None
    overdue: bool = False  # a late one, which the loop ended because the app did not in time, on a busy machine


def _event(sent: Sent, chance: random.Random) -> Any:
    delay = {"late": 30.0, "patient": PATIENT_S}
    calls = ((name, 200, delay.get(sent.kind, round(chance.random() * 0.02, 4))) for name in MODELS)
    if sent.kind == "failed":
        calls = ((name, 500, wait) for name, _, wait in calls)
    elif sent.kind == "degraded":
        calls = ((name, 500 if name == "b" else 200, wait) for name, _, wait in calls)
    text = f"Question {sent.number}. " + " ".join(f"[{name} {status} {wait}]" for name, status, wait in calls)
    request: Any = {"model": "emerge", "messages": [{"role": "user", "content": text}]}
    if sent.kind in ("streamed", "leaving"):
        request["stream"] = True
    if sent.kind == "unknown":
        request["model"] = f"model-{sent.number}"
    made = event("POST", "/v1/chat/completions", "{" if sent.kind == "malformed" else request)
    made["requestContext"] |= {"requestId": f"gateway-{sent.number}"}
    made["requestContext"]["authorizer"] = {"keyId": f"key{sent.number:09d}", "principalId": f"key{sent.number:09d}"}
    return b"{nothing" if sent.kind == "broken" else made


def _trace(number: int) -> str:
    return f"1-5bef4de7-{number:024x}"


@dataclass
class Outcome:
    """What a run showed. `wrong` says what did not fit; the rest is counted."""

    sent: list[Sent] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lines: int = 0
    traces: int = 0
    configs: int = 0
    most_open: int = 0
    seconds: float = 0.0

    @property
    def kinds(self) -> Counter[str]:
        return Counter(each.kind for each in self.sent)

    def expect(self, fits: bool, what: str, sent: Sent, *found: object) -> None:
        if not fits and len(self.wrong) < 100:
            self.wrong.append(f"{what} of {sent}: {found}")


async def interleave(
    folder: Path, requests: int, *, mode: str = "stream", concurrency: int = 64, seed: int = 1, pause_s: float = 0.2
) -> Outcome:
    """Sends the requests with at most 1.5 × `concurrency` waiting, changes the config every `pause_s` seconds, and
    checks everything that came of them."""
    chance = random.Random(seed)
    outcome = Outcome()
    documents: list[dict[str, Any]] = []
    kinds = [kind for kind, share in KINDS.items() for _ in range(share) if mode == "stream" or kind != "leaving"]
    path = folder / "emerge.json"
    async with upstream() as url:
        with daemon(documents) as address:
            path.write_text(config(url, PRICES[0]))
            environ = {
                "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
                "AWS_LAMBDA_MAX_CONCURRENCY": str(concurrency),
                "AWS_XRAY_DAEMON_ADDRESS": address,
                "EMERGE_CONFIG": str(path),
                "EMERGE_CONFIG_TTL_S": "0.05",
                "EMERGE_MODEL_METRICS": "false",
                "EMERGE_RESPONSE_MODE": mode,
                "EMERGE_TRACING": "true",
                "UP_KEY": "sk-x",
            }
            stub = RuntimeStub(concurrency=concurrency)
            async with runtime(folder, stub, environ=environ) as function:
                changing = asyncio.create_task(_change_configs(path, url, pause_s, outcome, stub))
                places = asyncio.Semaphore(concurrency + concurrency // 2)

                async def one(sent: Sent) -> None:
                    async with places:
                        await _send(stub, sent, chance, mode, outcome)

                began = asyncio.get_running_loop().time()
                async with asyncio.TaskGroup() as group:
                    for number in range(requests):
                        sent = Sent(number, chance.choice(kinds))
                        outcome.sent.append(sent)
                        await places.acquire()
                        places.release()
                        group.create_task(one(sent))
                outcome.seconds = asyncio.get_running_loop().time() - began
                changing.cancel()
                await asyncio.wait({changing})
                for _ in range(200):  # the last lines and traces follow their replies
                    if stub.asking == concurrency and len(documents) >= requests - outcome.kinds["broken"]:
                        break
                    await asyncio.sleep(0.05)
                outcome.most_open = stub.most_open
                assert function.process.returncode is None, function.log.read_text()[-2000:]
                _check_log(function.log, outcome)
    _check_traces(documents, outcome)
    return outcome


SIMULATED = """
providers: {simulated: {kind: simulated}}
models:
  sim-a: {provider: simulated, model: sim-a, accuracy: 0.8}
  sim-b: {provider: simulated, model: sim-b, accuracy: 0.8}
  sim-c: {provider: simulated, model: sim-c, accuracy: 0.8}
ensembles: {emerge: {members: [sim-a, sim-b, sim-c], early_decision: false}}
"""
QUESTIONS = ("What is {} times 7?", "Is {} even? Yes or no.", "A) {} B) 17. Which is larger?", "Say {} as JSON.")


async def replies(folder: Path, count: int, *, mode: str, concurrency: int | None) -> list[Any]:
    """What a process of the function with a simulated panel answers to `count` events, `concurrency` at once, or one
    after the other as on default Lambda. Without what differs from run to run: early decisions would, since which
    call is cancelled depends on timing."""
    path = folder / "simulated.yaml"
    path.write_text(SIMULATED)
    environ = {"EMERGE_CONFIG": str(path), "EMERGE_RESPONSE_MODE": mode}
    if concurrency:
        environ["AWS_LAMBDA_MAX_CONCURRENCY"] = str(concurrency)
    async with runtime(folder, environ=environ) as function:

        async def one(number: int) -> Any:
            text = QUESTIONS[number % len(QUESTIONS)].format(number)
            request = {"model": "emerge", "messages": [{"role": "user", "content": text}], "stream": number % 3 == 0}
            return _constant(await function.stub.call(event("POST", "/v1/chat/completions", request)))

        if concurrency:
            return list(await asyncio.gather(*map(one, range(count))))
        return [await one(number) for number in range(count)]


VARYING = re.compile(r'"(?:id|created|latency_ms|overhead_ms)": ?(?:"[^"]*"|[\d.e-]+),?')


def _constant(taken: PostedReply) -> Any:
    """Status, headers and the events of a reply, or its whole body."""
    assert taken.error is None
    reply = {**taken.prelude, "body": taken.body.decode()} if taken.prelude else taken.json
    varying = ("x-request-id", "content-length", "openai-processing-ms")
    headers = {name: value for name, value in reply["headers"].items() if name not in varying}
    if headers["content-type"].startswith("text/event-stream"):  # those that are known when the first byte is sent
        headers = {name: value for name, value in headers.items() if not name.startswith("x-emerge-")}
    events = [each for each in reply["body"].split("\n\n") if each and not each.startswith(":")]
    return reply["statusCode"], headers, [VARYING.sub("", each) for each in events]


async def _change_configs(path: Path, url: str, pause_s: float, outcome: Outcome, stub: RuntimeStub) -> None:
    """Switches the price, and now and then leaves a file that is no config; from the time when the process has read
    the first one and asks for an invocation."""
    while not stub.asked:
        await asyncio.sleep(0.01)
    while True:
        await asyncio.sleep(pause_s)
        outcome.configs += 1
        text = "nothing" if outcome.configs % 7 == 0 else config(url, PRICES[outcome.configs % 2])
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(path)


async def _send(stub: RuntimeStub, sent: Sent, chance: random.Random, mode: str, outcome: Outcome) -> None:
    header = f"Root={_trace(sent.number)};Parent={sent.number:016x};Sampled=1"
    taken = stub.invoke(
        _event(sent, chance),
        fault="cut" if sent.kind == "leaving" else "",
        trace_id=header,
        deadline_s=1.8 if sent.kind == "late" else 30.0,
    )
    sent.invocation = taken.id
    try:
        await asyncio.wait_for(taken.done.wait(), 60)
    except TimeoutError:  # Lambda gives up on it at its deadline
        sent.overdue = sent.kind == "late"
        outcome.expect(sent.overdue, "no end", sent)
        return
    del stub.taken[taken.id]
    if sent.kind == "broken":
        outcome.expect((taken.error or {}).get("errorType") == "JSONDecodeError", "error", sent, taken.error)
    elif sent.kind != "leaving":
        _check_reply(taken, sent, mode, outcome)


def _check_reply(taken: PostedReply, sent: Sent, mode: str, outcome: Outcome) -> None:
    if taken.error is not None:
        sent.overdue = sent.kind == "late" and taken.error["errorType"] == "Timeout"
        outcome.expect(sent.overdue, "reply", sent, taken.error)
        return
    if mode == "stream":
        assert taken.prelude
        status, headers, text = taken.prelude["statusCode"], taken.prelude["headers"], taken.body.decode()
    else:
        status, headers, text = taken.json["statusCode"], taken.json["headers"], taken.json["body"]
    sent.status = status
    outcome.expect(bool(headers["x-request-id"]), "request id", sent, headers)
    if sent.kind == "streamed":
        events = re.findall(r"^data: (.*)$", text, re.M) if mode == "buffered" else events_of(taken)
        chunks = [json.loads(each) for each in events if each != "[DONE]"]
        faults = [chunk["error"] for chunk in chunks if "error" in chunk]
        outcome.expect(not faults, "stream", sent, *faults)
        said = "".join(each["delta"].get("content") or "" for chunk in chunks for each in chunk.get("choices", ()))
        report = next((chunk["emerge"] for chunk in chunks if "emerge" in chunk), None)
    elif status == 200:
        reply = json.loads(text)
        said, report = reply["choices"][0]["message"]["content"], reply["emerge"]
    else:
        error = json.loads(text)["error"]
        said, report = error["message"], error.get("emerge")
    # After five failures in a row a member is not asked for a while, whoever asks: it is then left out.
    calls = (report or {}).get("calls", ())
    left_out = sum(call["status"] == "skipped" for call in calls)
    mixed = sent.kind == "late" and left_out and status == 502  # one member failed, the others were late
    outcome.expect(mixed or status == STATUS[sent.kind], "status", sent, text)
    if sent.kind == "unknown":
        outcome.expect(f"`model-{sent.number}`" in said, "error", sent, said)
    if status == 200:
        outcome.expect(said == f"The answer is {sent.number}.", "answer", sent, said)
        outcome.expect(report is not None, "report", sent, text)
        answers = sum(call["status"] == "ok" for call in calls)
        fewest = 2 if sent.kind == "degraded" else 3 - left_out
        outcome.expect(fewest <= answers <= 3 - (sent.kind == "degraded"), "answers", sent, calls)
        sent.cost = round((report or {}).get("cost_usd", 0.0), 10)
        outcome.expect(sent.cost in [cost(sent.number, answers, price) for price in PRICES], "cost", sent, report)


def _check_log(log: Path, outcome: Outcome) -> None:
    by_id = {each.invocation: each for each in outcome.sent}
    costs: Counter[float] = Counter()  # by the metrics, less those of the log lines
    counted = errors = 0
    calls: Counter[str] = Counter()
    with log.open() as lines:
        for text in lines:
            outcome.lines += 1
            line = json.loads(text)
            if "_aws" in line:
                if "CostUSD" in line:
                    costs[float(line["CostUSD"][0])] += 1
                counted += "Requests" in line
                errors += int(line.get("Errors", [0])[0])
                continue
            if line["message"] in ("config", "config fault"):
                outcome.expect("function_request_id" not in line, "line", Sent(-1, "config"), line)
                continue
            sent = by_id[line["function_request_id"]]
            broken = sent.kind == "broken"
            outcome.expect(line.get("key_id") == (None if broken else f"key{sent.number:09d}"), "key id", sent, line)
            gateway = None if broken else f"gateway-{sent.number}"
            outcome.expect(line.get("gateway_request_id") == gateway, "gateway id", sent, line)
            trace = None if broken else _trace(sent.number)
            outcome.expect(line.get("xray_trace_id") == trace, "trace id", sent, line)
            if line["message"] == "call":
                calls[sent.invocation] += 1
                prices = [cost(sent.number, 1, price) for price in PRICES]
                fits = line["status"] != "ok" or round(line["cost_usd"], 10) in prices
                outcome.expect(fits, "call", sent, line)
            elif line["message"] == "request":
                if line["calls"]:
                    costs[float(f"{line['cost_usd']:.6g}")] -= 1
                outcome.expect(line["calls"] == calls[sent.invocation], "calls", sent, line, calls[sent.invocation])
                if sent.kind != "leaving" and not sent.overdue:
                    outcome.expect(line["status"] == sent.status, "status in the log", sent, line)
                if sent.cost is not None:
                    outcome.expect(round(line["cost_usd"], 10) == sent.cost, "cost in the log", sent, line)
    left = Counter({price: count for price, count in costs.items() if count})
    total = Sent(-1, "all")
    outcome.expect(not left, "costs in the metrics", total, left.most_common(5))
    kinds = outcome.kinds
    overdue = sum(each.overdue for each in outcome.sent)
    told = sum(kinds.values()) - kinds["broken"]
    outcome.expect(told - overdue <= counted <= told, "number of requests in the metrics", total, counted, told)
    failing = sum(kinds[kind] for kind, status in STATUS.items() if status != 200)
    outcome.expect(failing - overdue <= errors <= failing, "number of errors in the metrics", total, errors, failing)


def _check_traces(documents: list[dict[str, Any]], outcome: Outcome) -> None:
    by_trace = {_trace(each.number): each for each in outcome.sent}
    seen: Counter[str] = Counter()
    for document in documents:
        sent = by_trace[document["trace_id"]]
        seen[document["trace_id"]] += 1
        outcome.traces += 1
        outcome.expect(document["parent_id"] == f"{sent.number:016x}", "parent", sent, document)
        status = document["annotations"].get("status")
        if sent.kind not in ("leaving", "malformed", "unknown") and not sent.overdue:  # an engine ran
            # The app itself refuses one whose time was over when it came, on a busy machine.
            refused = sent.kind == "late" and not document["annotations"]
            outcome.expect(refused or status == sent.status, "status of the trace", sent, document)
    outcome.expect(max(seen.values(), default=0) <= 1, "trace", Sent(-1, "all"), seen.most_common(1))


@contextmanager
def daemon(documents: list[dict[str, Any]]) -> Iterator[str]:
    """X-Ray's daemon: yields its address, and files what it gets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        listening.bind(("127.0.0.1", 0))

        def listen() -> None:
            while message := listening.recv(65_536):
                documents.append(json.loads(message.split(b"\n", 1)[1]))

        thread = threading.Thread(target=listen)
        thread.start()
        host, port = listening.getsockname()
        try:
            yield f"{host}:{port}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", (host, port))
            thread.join()
