"""A chat completion whose panel can be watched: an ordinary stream of chunks, with events about the calls in between.

Only a request with the header `x-emerge-progress: calls` is answered. A web page of another origin cannot send that
header without a preflight, which is refused, so it cannot spend money through a server that asks for no key.

Events, each `event: emerge` with JSON: `open` (who serves, and the members), `began` and `ended` (of a call), and
`reply` (the whole reply, as a client that does not stream receives it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from emerge_core.answers import Extractor, candidate
from emerge_core.api.body import check_content_type, parse_body, receive_body
from emerge_core.api.chat.encode import completion_json, encode
from emerge_core.api.chat.events import ChunkStream
from emerge_core.api.chat.parse import ChatParams, read_chat
from emerge_core.api.choices import tool_calls_json
from emerge_core.api.endpoint import check_panel
from emerge_core.api.errors import encode_json, invalid
from emerge_core.api.request_headers import limits_of
from emerge_core.api.trace_object import error_line, rounded, usage_json
from emerge_core.immutable import immutable
from emerge_core.strategies.routing import Serving, serving
from emerge_core.types import Call, Decision, Delta, JsonObject, Member, Role, Sink, Trace

HEADER = "x-emerge-progress"


@immutable(frozen=True, slots=True, kw_only=True)
class Event(Delta):
    """An event about the request, on its way to the stream between parts of the answer."""

    fields: JsonObject = field(default_factory=dict)


class AskEndpoint:
    """`engine` has the interface of `Engine`."""

    def __init__(self, engine: Any, *, keepalive_s: float) -> None:
        self._engine = engine
        self._keepalive_s = keepalive_s

    async def __call__(self, http: Request) -> Response:
        if http.headers.get(HEADER) != "calls":
            raise invalid(HEADER, f"This route is the console's: send {HEADER}: calls, or use /v1/chat/completions.")
        check_content_type(http)
        params: ChatParams = await parse_body(await receive_body(http), read_chat)
        limits = limits_of(http)
        config = self._engine.config
        check_panel(config, params.model, params.request)
        served = serving(config, params.model, params.request)
        if served is None:
            raise AssertionError("check_panel refuses unknown names")

        async def work(live: Sink | None) -> Trace:
            watch = _Watch(live or (lambda _: None), params, served)
            request_id = http.scope["state"]["request_id"]
            trace: Trace = await self._engine.run(
                params.request, params.model, limits=limits, request_id=request_id, live=live, progress=watch
            )
            return trace

        headers = {"x-emerge-ensemble": params.model}
        return _PanelStream(params, work=work, level="full", keepalive_s=self._keepalive_s, headers=headers)


class _Watch:
    """Turns what happens to the calls into events."""

    def __init__(self, sink: Sink, params: ChatParams, served: Serving) -> None:
        self._sink = sink
        self._extractor = Extractor.of(params.request, served.ensemble.answer_key)
        members = [{"model": member.model, "weight": member.weight} for member in served.ensemble.members]
        route = served.route._asdict() if served.route else None
        self._emit("open", served_by=served.name, route=route, strategy=served.ensemble.strategy.name, members=members)

    def began(self, call_id: str, role: Role, model: str) -> None:
        self._emit("began", id=call_id, role=role, model=model)

    def ended(self, call: Call) -> None:
        done = call.completion
        found = candidate(self._extractor, call, call.member or Member(model=call.model))
        self._emit(
            "ended",
            id=call.id,
            role=call.role,
            model=call.model,
            provider=call.provider,
            status=call.status,
            usable=found.usable,
            error=error_line(call, found),
            key=found.key.value if found.key else None,
            text=done.text if done.text is not None else done.refusal,
            tool_calls=tool_calls_json(done) or None,
            attempts=done.attempts,
            began_ms=round(call.began_ms, 2),
            latency_ms=round(done.latency_ms, 2),
            usage=usage_json(done.usage) if done.usage else None,
            cost_usd=rounded(done.cost.usd),
            cost_known=done.cost.known,
            cost_estimated=done.cost.estimated,
        )

    def _emit(self, event: str, **fields: Any) -> None:
        self._sink(Event(fields={"event": event, **fields}))


class _PanelStream(ChunkStream):
    def __init__(self, params: ChatParams, **options: Any) -> None:
        super().__init__(params, **options)
        self._asked = params.request

    def delta_events(self, delta: Delta) -> Iterator[bytes]:
        if isinstance(delta, Event):
            yield _event(delta.fields)
        else:
            yield from super().delta_events(delta)

    def final_events(self, trace: Trace, decision: Decision) -> Iterator[bytes]:
        encoded = encode(trace, decision, self._asked, self.level)
        yield _event({"event": "reply", "reply": completion_json(encoded, self._asked)})
        yield from super().final_events(trace, decision)


def _event(fields: Mapping[str, Any]) -> bytes:
    return b"event: emerge\ndata: " + encode_json(fields) + b"\n\n"
