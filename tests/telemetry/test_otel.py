"""What an OTLP receiver gets of requests: one span each and one for every upstream call, by the GenAI conventions."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from emerge_core.api import create_app
from emerge_core.api.trace_context import TraceContextMiddleware
from emerge_core.engine.engine import Engine
from emerge_core.telemetry.otel import exports, open_telemetry
from emerge_core.types import ChatRequest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otel` is not installed")

from tests.support.otlp_receiver import Receiver, otlp_receiver  # needs the extra

SERVER, CLIENT = 2, 3  # of opentelemetry.proto.trace.v1.Span.SpanKind
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PANEL = "{emerge: {members: [a, b, c], aggregator: vote, escalate: {to: frontier, below_agreement: 1.0}}}"
PROMPT = "What is 17 * 23? Secret word: aardvark."


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with otlp_receiver() as receiving:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiving.url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")  # nothing leaves before it is flushed
        yield receiving


class Proxy:
    """The application with its exporter; `ask` sends a request of the official client and then flushes."""

    def __init__(self, server: Any, config: Any, environ: dict[str, str]) -> None:
        exporter = open_telemetry(environ)
        assert exporter
        self.exporter = exporter
        self._engine = Engine(config, record=exporter.recorder(config))
        app = create_app(self._engine)
        app.add_middleware(TraceContextMiddleware, begin=exporter.begin)
        self._server = server(app, lifespan="on")  # which closes the engine

    def __enter__(self) -> Proxy:
        self.client = OpenAI(base_url=f"{self._server.__enter__()}/v1", api_key="x", max_retries=0)
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self._server.__exit__(*error)
        self.exporter.close()

    def ask(self, **options: Any) -> Any:
        reply = self.client.chat.completions.create(
            model="emerge", messages=[{"role": "user", "content": PROMPT}], max_tokens=50, **options
        )
        if options.get("stream"):
            list(reply)
        assert self.exporter.flush(30)
        return reply


@pytest.fixture
def disputed(upstream: Any, says: Any) -> Any:
    upstream.script = {
        name: says(f"The answer is {text}.") for name, text in zip("abc", ("391", "392", "393"), strict=True)
    }
    upstream.script["frontier"] = says("The answer is 391.", prompt_tokens=30, completion_tokens=5)
    return upstream


def proxy(server: Any, panels: Any, receiver: Receiver, *, changes: dict[str, Any] | None = None) -> Proxy:
    config = panels(PANEL)
    up = config.providers["up"].model_copy(update={"send_trace_context": True})
    config = config.model_copy(update={"providers": {**config.providers, "up": up}, **(changes or {})})
    return Proxy(server, config, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})


@pytest.mark.parametrize("stream", [False, True])
def test_a_trace_shows_the_request_three_calls_and_one_escalation(
    server: Any, panels: Any, disputed: Any, receiver: Receiver, stream: bool
) -> None:
    caller = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"}
    with proxy(server, panels, receiver) as made:
        made.ask(extra_headers=caller, temperature=0.5, stream=stream)
    assert sorted(span.name for span in receiver.spans) == [
        "chat a",
        "chat b",
        "chat c",
        "chat frontier",
        "invoke_workflow emerge",
    ]
    request = receiver.span("invoke_workflow emerge")
    assert (request.trace_id, request.parent_id, request.kind, request.failed) == (TRACE, CALLER, SERVER, False)
    expected = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "emerge",
        "gen_ai.agent.name": "emerge",
        "http.response.status_code": 200,
        "emerge.model": "emerge",
        "emerge.strategy": "ensemble",
        "emerge.aggregator": "vote",
        "emerge.selected": ["4"],
        "emerge.escalated": True,
        "emerge.degraded": False,
        "emerge.calls": 4,
    }
    assert {name: request.attributes.get(name) for name in expected} == expected
    host, _, port = disputed.url.removeprefix("http://").partition("/")[0].partition(":")
    for name in ("a", "b", "c", "frontier"):
        call = receiver.span(f"chat {name}")
        assert (call.trace_id, call.parent_id, call.kind) == (TRACE, request.span_id, CLIENT)
        assert request.start <= call.start <= call.end <= request.end
        tokens = (30, 5) if name == "frontier" else (100, 10)
        if call.attributes["emerge.call.status"] == "cancelled":  # two had disagreed already
            continue
        expected = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": name,
            "gen_ai.response.model": name,
            "gen_ai.request.max_tokens": 50,
            "gen_ai.request.temperature": 0.5,
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": tokens[0],
            "gen_ai.usage.output_tokens": tokens[1],
            "server.address": host,
            "server.port": int(port),
            "emerge.call.role": "escalation" if name == "frontier" else "member",
            "emerge.call.provider": "up",
            "emerge.call.selected": name == "frontier",
            "emerge.call.cost_known": True,
        }
        assert {key: call.attributes.get(key) for key in expected} == expected
    assert receiver.resource["service.name"] == "emerge"
    assert receiver.resource["deployment.environment.name"] == "test"
    # Each upstream was sent the place of its own call's span.
    for body, headers in zip(disputed.bodies, disputed.headers, strict=True):
        span = receiver.span(f"chat {body['model']}")
        assert headers["traceparent"] == f"00-{TRACE}-{span.span_id}-01"
        assert headers["tracestate"] == "vendor=1"
    assert "aardvark" not in str(receiver.spans)


def test_metrics_count_tokens_and_time_of_each_call(
    server: Any, panels: Any, upstream: Any, says: Any, receiver: Receiver
) -> None:
    upstream.script = {"a": says("391"), "b": says("391"), "c": says(status=401, error="no key")}
    upstream.script["frontier"] = says("391")
    with proxy(server, panels, receiver) as made:
        for _ in range(2):
            made.ask()
    assert receiver.units == {"gen_ai.client.token.usage": "{token}", "gen_ai.client.operation.duration": "s"}
    tokens = {
        (found["gen_ai.request.model"], found["gen_ai.token.type"]): (count, total)
        for found, count, total in receiver.points("gen_ai.client.token.usage")
    }
    assert tokens["a", "input"] == (2, 200) and tokens["b", "output"] == (2, 20)
    assert not any(model == "c" for model, _ in tokens)
    counted = [(found, count) for found, count, _ in receiver.points("gen_ai.client.operation.duration")]
    (of_requests,) = [count for found, count in counted if found["gen_ai.operation.name"] == "invoke_workflow"]
    (failed,) = [found for found, _ in counted if found.get("error.type")]
    assert of_requests == 2
    assert (failed["gen_ai.request.model"], failed["error.type"]) == ("c", "auth")


def test_a_failed_request_and_a_failed_call_are_marked(
    server: Any, panels: Any, upstream: Any, says: Any, receiver: Receiver
) -> None:
    upstream.script = {name: says(status=500, error=f"no {PROMPT}") for name in (*"abc", "frontier")}
    changes = {
        "models": {name: each.model_copy(update={"max_retries": 0}) for name, each in panels(PANEL).models.items()}
    }
    with proxy(server, panels, receiver, changes=changes) as made:
        with pytest.raises(Exception, match="502"):
            made.ask()
        assert made.exporter.flush(30)
    request = receiver.span("invoke_workflow emerge")
    assert request.failed and request.attributes["http.response.status_code"] == 502
    assert request.attributes["error.type"] == "upstream_error"
    call = receiver.span("chat a")
    assert call.failed and call.attributes["error.type"] == "server"
    assert "aardvark" not in str(receiver.spans)  # an upstream may quote the prompt


def test_content_is_exported_where_the_config_logs_it(
    server: Any, panels: Any, disputed: Any, receiver: Receiver
) -> None:
    with proxy(server, panels, receiver, changes={"log_content": True, "trace": "full"}) as made:
        made.ask()
    request = receiver.span("invoke_workflow emerge").attributes
    assert json.loads(request["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}
    ]
    said = {"role": "assistant", "parts": [{"type": "text", "content": "The answer is 391."}], "finish_reason": "stop"}
    assert json.loads(request["gen_ai.output.messages"]) == [said]
    assert json.loads(receiver.span("chat frontier").attributes["gen_ai.output.messages"]) == [said]


def test_a_caller_that_does_not_sample_gets_no_spans(
    server: Any, panels: Any, disputed: Any, receiver: Receiver
) -> None:
    with proxy(server, panels, receiver) as made:
        made.ask(extra_headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
    assert receiver.spans == []
    assert receiver.points("gen_ai.client.token.usage")
    assert {headers["traceparent"][-2:] for headers in disputed.headers} == {"00"}


def test_nothing_is_sent_to_upstreams_unless_the_config_says_so(
    server: Any, panels: Any, disputed: Any, receiver: Receiver
) -> None:
    with Proxy(server, panels(PANEL), {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}) as made:
        made.ask(extra_headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    assert receiver.span("invoke_workflow emerge").parent_id == CALLER
    assert not any("traceparent" in headers for headers in disputed.headers)


def test_a_collector_that_hangs_is_waited_for_once(server: Any, panels: Any, disputed: Any, receiver: Receiver) -> None:
    receiver.hangs = True
    with proxy(server, panels, receiver) as made:
        for _ in range(3):
            assert made.client.chat.completions.create(
                model="emerge", messages=[{"role": "user", "content": PROMPT}]
            ).choices
        assert not made.exporter.flush(0.1)
        asked = receiver.exports
        assert not made.exporter.flush(1000)  # returns at once: nobody waits for it any more
        assert receiver.exports == asked
        receiver.released.set()


def test_what_protobuf_cannot_hold_costs_no_span(panels: Any, disputed: Any, receiver: Receiver) -> None:
    exporter = open_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
    assert exporter
    config = panels(PANEL).model_copy(update={"log_content": True, "trace": "full"})

    async def main() -> None:
        async with Engine(config, record=exporter.recorder(config)) as engine:
            await engine.run(ChatRequest.of("What is \ud800?", stop=("\udfff",)))

    asyncio.run(main())
    assert exporter.flush(30)
    exporter.close()
    assert len(receiver.spans) == 5
    messages = json.loads(receiver.span("invoke_workflow emerge").attributes["gen_ai.input.messages"])
    assert messages[0]["parts"][0]["content"] == "What is ??"


def test_no_part_of_an_address_that_may_be_secret_is_exported(panels: Any, disputed: Any, receiver: Receiver) -> None:
    exporter = open_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
    assert exporter
    config = panels(PANEL)
    secret = disputed.url.replace("http://", "http://me:hidden@") + "?token=hidden"
    up = config.providers["up"].model_copy(update={"base_url": secret, "headers": {"x-key": "hidden"}})
    config = config.model_copy(update={"providers": {**config.providers, "up": up}})

    async def main() -> None:
        async with Engine(config, record=exporter.recorder(config)) as engine:
            await engine.run(ChatRequest.of(PROMPT))

    asyncio.run(main())
    assert exporter.flush(30)
    exporter.close()
    assert receiver.span("chat frontier").attributes["server.address"] == "127.0.0.1"
    assert "hidden" not in f"{receiver.spans}{receiver.metrics}{receiver.resource}"


def test_an_engine_without_the_api_is_traced_too(panels: Any, disputed: Any, receiver: Receiver) -> None:
    exporter = open_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
    assert exporter
    config = panels(PANEL)

    async def main() -> None:
        async with Engine(config, record=exporter.recorder(config)) as engine:
            for _ in range(2):
                await engine.run(ChatRequest.of(PROMPT))

    asyncio.run(main())
    assert exporter.flush(30)
    exporter.close()
    requests = [span for span in receiver.spans if span.name == "invoke_workflow emerge"]
    assert len({span.trace_id for span in requests}) == 2
    assert len(receiver.spans) == 10


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, False, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, True, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, False),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False, False),
    ],
)
def test_the_standard_variables_say_what_is_exported(environ: dict[str, str], traces: bool, metrics: bool) -> None:
    assert exports(environ) == (traces, metrics)


def test_nothing_of_opentelemetry_is_imported_unless_asked_for() -> None:
    script = (
        "import sys; from emerge_core.telemetry.otel import open_telemetry; import emerge_core.fanout.calls\n"
        "assert open_telemetry({}) is None\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('opentelemetry', 'google', 'requests')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_missing_package_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "emerge_core.telemetry.otel.exporter", None)
    with caplog.at_level("WARNING", logger="emerge"):
        assert open_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}) is None
    assert "emerge-llm[otel]" in caplog.text


def test_a_judge_has_no_parameters_of_the_caller(panels: Any, upstream: Any, says: Any, receiver: Receiver) -> None:
    upstream.script = {name: says(f"A long answer that says {name}. " * 30) for name in "ab"}
    upstream.script["frontier"] = says('{"best": 1}')
    exporter = open_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
    assert exporter
    config = panels("{emerge: {members: [a, b], aggregator: {name: judge, judge: frontier}}}")

    async def main() -> None:
        async with Engine(config, record=exporter.recorder(config)) as engine:
            await engine.run(ChatRequest.of("Describe the sea.", seed=7))

    asyncio.run(main())
    assert exporter.flush(30)
    exporter.close()
    judge, member = receiver.span("chat frontier"), receiver.span("chat a")
    assert judge.attributes["emerge.call.role"] == "judge"
    assert "gen_ai.request.seed" not in judge.attributes
    assert member.attributes["gen_ai.request.seed"] == 7
