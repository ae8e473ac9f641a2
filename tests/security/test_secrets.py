"""Planted secrets: known values wherever a secret can stand, upstreams that tell back all they were sent, and
every log at its most talkative. None of the values may come out anywhere."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from emerge_core.api import create_app
from emerge_core.cli import main
from emerge_core.config import Config, parse_config, resolve_key
from emerge_core.config.aws import AwsSource
from emerge_core.config.schema import ProviderConfig
from emerge_core.engine.engine import Engine
from emerge_core.errors import ConfigError
from emerge_core.providers import make_provider
from emerge_core.providers.errors import Scrubber
from emerge_core.telemetry.lines import JsonFormatter
from emerge_core.types import ChatRequest, UpstreamError

KEY = "sk-planted-KEY/9f+e2"
HEADER = "planted-HEADER-51ab"
BEARER = "planted-BEARER-77cd"
PASSWORD = "planted-PASSWORD%213"  # as it stands in a URL
QUERY = "planted-QUERY-04aa"
FILE = "planted-FILE-6b2e"
CLIENT = "planted-CLIENT-3c1d"
PROMPT = "planted-PROMPT-e0f4"
ANSWER = "planted-ANSWER-b8d7"
SECRETS = [KEY, HEADER, BEARER, PASSWORD, "planted-PASSWORD!3", QUERY, FILE, CLIENT]
KINDS = ("openai", "anthropic", "ollama")

MODES = (
    *("good", "error401", "error400", "error429", "error500", "plain", "html", "told_in_200", "garbage"),
    *("wrong_shape", "redirect", "headers", "cut", "event", "refused_param", "slow"),
)


def spellings(secret: str) -> set[str]:
    raw = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(raw).decode().rstrip("="),
        base64.b64encode(b"planted:" + raw).decode().rstrip("="),
        base64.b64encode(b"x:" + raw).decode().rstrip("="),
    }


def found_in(text: str, secrets: list[str]) -> list[str]:
    return sorted({secret for secret in secrets for spelt in spellings(secret) if spelt in text})


class TellTale:
    """An upstream in three wire formats that puts all it was sent into its reply."""

    def __init__(self) -> None:
        self.mode = "good"
        self.heard = ""

    async def answer(self, request: Request) -> Response:
        sent = json.loads(await request.body())
        told = f"you sent {request.url} {dict(request.headers)} {json.dumps(dict(request.headers))}"
        self.heard += told
        error: dict[str, Any] = {"message": told, "type": told, "code": told, "param": told, "detail": told}
        kind = next(kind for kind in KINDS if request.url.path.startswith(f"/{kind}"))
        match self.mode:
            case "error401" | "error400" | "error429" | "error500":
                return JSONResponse({"error": error}, int(self.mode[-3:]), {"retry-after": "0"})
            case "plain":
                return PlainTextResponse(told, 503)
            case "html":
                return Response(f"<html>{told}</html>", 502, {"x-told": quote(told)}, media_type="text/html")
            case "told_in_200":
                return JSONResponse({"error": error, "type": "error"})
            case "garbage":
                return PlainTextResponse(told)
            case "wrong_shape":
                return JSONResponse({"choices": told, "content": told, "message": told, "model": told})
            case "redirect":
                return Response(told, 307, {"location": f"http://127.0.0.1:9/?{quote(told)}"})
            case "headers":
                return Response("", 429, {"retry-after": quote(told), "content-type": quote(told)})
            case "refused_param":
                return JSONResponse({"error": {**error, "message": f"unsupported parameter temperature {told}"}}, 400)
            case "slow":
                await asyncio.sleep(30)
            case "cut" | "event":
                return StreamingResponse(self._events(kind, error), media_type="text/event-stream")
        return JSONResponse(_good(kind)) if not sent.get("stream") else StreamingResponse(_streamed(kind))

    async def _events(self, kind: str, error: dict[str, Any]) -> AsyncIterator[bytes]:
        line = json.dumps({"type": "error", "error": error})
        yield f"{line}\n".encode() if kind == "ollama" else f"data: {line}\n\n".encode()
        if self.mode == "cut":
            raise ConnectionError(line)


def _good(kind: str) -> dict[str, Any]:
    if kind == "openai":
        return {"choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}], "model": "m"}
    if kind == "anthropic":
        return {"content": [{"type": "text", "text": ANSWER}], "stop_reason": "end_turn", "model": "m"}
    return {"message": {"content": ANSWER}, "done": True, "model": "m"}


async def _streamed(kind: str) -> AsyncIterator[bytes]:
    if kind == "ollama":
        yield json.dumps(_good(kind)).encode() + b"\n"
    else:
        whole: dict[str, Any] = {**_good(kind), "type": "message"}
        yield b"data: " + json.dumps(whole).encode() + b"\n\n"
        yield b'data: {"type": "message_stop"}\n\n' if kind == "anthropic" else b"data: [DONE]\n\n"


def document(url: str) -> dict[str, Any]:
    host = url.removeprefix("http://")
    providers: dict[str, Any] = {
        kind: {
            "kind": kind,
            "base_url": f"{url}/{kind}",
            "api_key": "env:PLANTED_KEY",
            "headers": {"x-planted": HEADER, "x-also": f"Bearer {BEARER}"},
        }
        for kind in KINDS
    }
    # A user in the URL is sent as Basic authorization, in place of the key.
    providers |= {
        f"basic-{kind}": {**providers[kind], "base_url": f"http://planted:{PASSWORD}@{host}/{kind}"} for kind in KINDS
    }
    providers["missing"] = {**providers["openai"], "api_key": "env:NOT_THERE"}
    providers["nofile"] = {**providers["openai"], "ca_file": f"/nowhere/{FILE}.pem"}
    providers["unreachable"] = {**providers["openai"], "base_url": f"http://x:{PASSWORD}@127.0.0.1:9/?t={QUERY}"}
    models = {f"m-{name}": {"provider": name, "model": "m", "max_retries": 0} for name in providers}
    return {
        "providers": providers,
        "models": models,
        "embedders": {"e": {"provider": "openai", "model": "e"}},
        "ensembles": {
            "all": {"members": [f"m-{kind}" for kind in KINDS], "deadline_s": 20},
            "judged": {"members": ["m-openai", "m-ollama"], "aggregator": {"name": "judge", "judge": "m-anthropic"}},
        },
        "trace": "full",
    }


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> Iterator[io.StringIO]:
    """All that is logged, in full text with tracebacks and as JSON lines, by every logger, at DEBUG."""
    out = io.StringIO()
    handlers = [logging.StreamHandler(out), logging.StreamHandler(out)]
    handlers[1].setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    yield out
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


@pytest.fixture
def telltale(server: Any) -> Iterator[tuple[TellTale, str]]:
    upstream = TellTale()
    with server(Starlette(routes=[Route("/{path:path}", upstream.answer, methods=["POST"])])) as url:
        yield upstream, url


@asynccontextmanager
async def client_of(config: Config) -> AsyncIterator[httpx.AsyncClient]:
    engine = Engine(config, environ={"PLANTED_KEY": KEY})
    app = create_app(engine, api_keys=[CLIENT], keepalive_s=0.05)
    transport = httpx.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {CLIENT}"}
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://emerge", headers=headers) as client:
            yield client
    finally:
        await engine.aclose()


def body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": f"Say {PROMPT}"}], **more}


@pytest.mark.parametrize("mode", MODES)
def test_no_reply_and_no_log_holds_a_secret(
    mode: str, telltale: tuple[TellTale, str], everything: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    upstream, url = telltale
    upstream.mode = mode
    config = parse_config(json.dumps(document(url)), source="test")
    told: list[str] = []

    async def run() -> None:
        headers = {"x-emerge-deadline": "1" if mode == "slow" else "9", "x-emerge-trace": "full"}
        async with client_of(config) as client:
            for stream in (False, True):
                for model in (*(f"m-{name}" for name in config.providers), "all", "judged", CLIENT, KEY):
                    if mode == "slow" and model not in ("all", "m-missing"):
                        continue
                    asked = body(model, stream=stream, temperature=0.5)
                    reply = await client.post("/v1/chat/completions", json=asked, headers=headers)
                    named = CLIENT if model == CLIENT else KEY if model == KEY else ""  # said by the client itself
                    told.append(
                        f"{reply.headers} {reply.text}".replace(named, "") if named else str(reply.headers) + reply.text
                    )
            for path, model in (("/v1/responses", "all"), ("/v1/embeddings", "e")):
                reply = await client.post(path, json={"model": model, "input": PROMPT}, headers=headers)
                told.append(reply.text)
            for path in ("/v1/models", "/v1/models/all", "/v1/emerge/status", "/healthz", "/openapi.json", "/nowhere"):
                reply = await client.get(path)
                told.append(f"{reply.headers} {reply.text}")

    asyncio.run(run())
    sent = {KEY, HEADER, BEARER, "planted-PASSWORD!3"} if mode != "slow" else {KEY, HEADER, BEARER}
    assert sent <= set(found_in(upstream.heard, SECRETS))
    printed = capfd.readouterr()
    for text, where in (("\n".join(told), "replies"), (printed.out, "stdout"), (printed.err, "stderr")):
        assert found_in(text, SECRETS) == [], where
    logged = everything.getvalue()
    assert "request" in logged
    assert found_in(logged, [*SECRETS, PROMPT, ANSWER]) == []


def test_no_object_shows_a_secret() -> None:
    config = parse_config(json.dumps(document("http://127.0.0.1:9")), source="test")
    engine = Engine(config, environ={"PLANTED_KEY": KEY})
    shown: list[object] = [config, engine, create_app(engine, api_keys=[CLIENT])]
    for name, provider in config.providers.items():
        shown.append(provider)
        if name != "nofile":
            made = make_provider(provider, api_key=resolve_key("env:K", {"K": KEY}), models={})
            shown += [made, *(part for part in vars(made).values() if not isinstance(part, str))]
    text = "\n".join(f"{each!r} {each}" for each in shown)
    assert "x-planted" in text  # a header's name is no secret, and helps
    assert found_in(text, SECRETS[:-1]) == [FILE]  # where a file lies may be shown to who owns the config
    assert CLIENT not in text


def _written(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(json.dumps(config))
    return path


def test_check_prints_no_secret(
    tmp_path: Path,
    telltale: tuple[TellTale, str],
    everything: io.StringIO,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream, url = telltale
    monkeypatch.setenv("PLANTED_KEY", KEY)
    path = tmp_path / "emerge.yaml"
    main(["check", "--config", str(_written(path, document(url)))])  # one file of it cannot be read
    assert "providers.nofile.ca_file" in capfd.readouterr().err
    readable = document(url)
    for kind, name in (("providers", "nofile"), ("models", "m-nofile")):
        del readable[kind][name]
    _written(path, readable)
    for mode, more in (("good", []), ("good", ["--live"]), ("error401", ["--live"]), ("garbage", ["--live"])):
        upstream.mode = mode
        main(["check", "--config", str(path), *more])
    printed = capfd.readouterr()
    assert "m-openai" in printed.out
    secrets = [secret for secret in SECRETS if secret != FILE]
    assert found_in(printed.out + printed.err + everything.getvalue(), secrets) == []


@pytest.mark.parametrize(
    "text",
    [
        "providers: {p: {kind: openai, api_key: SECRET}}",
        "providers: {p: {kind: openai, api_key: env:SECRET}}",
        "providers: {p: {kind: openai, api_key: [SECRET]}}",
        "providers: {p: {kind: SECRET}}",
        "providers: {p: {kind: openai, base_url: SECRET}}",
        "providers: {p: {kind: openai, headers: SECRET}}",
        "providers: {p: {kind: openai, headers: {a: [SECRET]}}}",
        "providers: {p: {kind: openai, ca_file: [SECRET]}}",
        "providers: {p: {kind: openai, seed: SECRET}}",
        "providers: SECRET",
        "SECRET",
        "- SECRET",
        "providers: {p: {kind: openai, api_key: *SECRET}}",
        "providers: {p: {kind: openai, api_key: !SECRET x}}",
        "providers: {p: {kind: openai, api_key: !SECRET!x x}}",
        "providers: {p: {kind: openai, api_key: 'SECRET",
        'providers: {p: {kind: openai, api_key: "\\SECRET"}}',
        "providers:\n  p: {kind: openai}\n api_key: SECRET",
        "providers:\n\tp: SECRET",
        "providers: {p: {kind: openai, api_key:SECRET}}",
        "%SECRET\n---\na: 1",
        "models: {m: {provider: p, model: SECRET, price: SECRET}}",
        "ensembles: {e: {members: [{model: m, weight: SECRET}]}}",
        "ensembles: {e: {members: SECRET, aggregator: SECRET, strategy: SECRET, deadline_s: SECRET}}",
        "default: {a: SECRET}",
        "trace: SECRET",
    ],
)
def test_an_error_in_a_config_repeats_no_value(text: str) -> None:
    secret = "sk-planted-9e2f71c0"
    with pytest.raises(ConfigError) as refused:
        parse_config(text.replace("SECRET", secret), source="emerge.yaml")
    assert secret not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_key_given_as_the_name_of_a_variable_is_not_taken() -> None:
    with pytest.raises(ValueError, match="api_key") as refused:
        ProviderConfig(kind="openai", api_key="env:sk-planted-9e2f71c0")
    assert "sk-planted" not in str(refused.value)


@pytest.mark.parametrize("fails", ["get_parameter", "get_parameters", "get_secret_value", None])
def test_what_aws_says_stays_there(fails: str | None, everything: io.StringIO) -> None:
    text = json.dumps(
        {
            "providers": {
                "a": {"kind": "openai", "api_key": "ssm:/emerge/s/keys/a"},
                "b": {"kind": "openai", "api_key": "secret:emerge/s/b"},
            },
            "models": {"m": {"provider": "a", "model": "m"}},
        }
    )

    class Client:
        exceptions = SimpleNamespace(ParameterNotFound=KeyError, ResourceNotFoundException=KeyError)

        def __getattr__(self, name: str) -> Any:
            def call(**_: Any) -> Any:
                if name == fails:
                    raise RuntimeError(f"the values were {KEY} and {PASSWORD}")
                return {
                    "get_parameter": {"Parameter": {"Value": text, "Version": 3}},
                    "get_parameters": {"Parameters": [{"Name": "/emerge/s/keys/a", "Value": KEY}]},
                    "get_secret_value": {"SecretString": PASSWORD},
                }[name]

            return call

    source = AwsSource("/emerge/s/config", default=None, client=lambda service: Client())
    if fails == "get_parameter":
        with pytest.raises(ConfigError) as refused:
            source.read()
        told = str(refused.value)
        assert refused.value.__suppress_context__
    elif fails:
        told = source.read().fault or ""
        assert "RuntimeError" in told
    else:
        found = source.read()
        assert found.key("ssm:/emerge/s/keys/a") == KEY
        told = repr(found) + str(found)
    assert found_in(told + everything.getvalue(), SECRETS) == []


def test_nothing_of_what_is_sent_is_logged_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    """Not even by the event loop, in its debug mode, when the call fails."""
    provider = make_provider(
        ProviderConfig(kind="openai", base_url=f"http://user:{PASSWORD}@127.0.0.1:9"), api_key=KEY, models={}
    )
    request = ChatRequest(messages=({"role": "user", "content": "a private question"},))
    with caplog.at_level(logging.DEBUG), pytest.raises(UpstreamError):
        asyncio.run(provider.complete("m", request, timeout_s=5), debug=True)
    assert found_in(caplog.text, [*SECRETS, "a private question"]) == []


def test_a_key_that_an_upstream_changes_or_cuts_is_still_redacted() -> None:
    key = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
    scrub = Scrubber(key, {}, None)
    for shown in (key, key.upper(), key.lower(), key[:20], key[:14] + "…", key[-16:], "…" + key[-13:]):
        text = scrub(f"Incorrect API key provided: {shown}. And {shown} again.")
        assert "[redacted]" in text
        assert key[:12].lower() not in text.lower()
        assert key[-12:].lower() not in text.lower()
    assert scrub("sk-proj-other stays, as 0123456789 does") == "sk-proj-other stays, as 0123456789 does"


@pytest.mark.parametrize("part", [slice(0, 12), slice(0, 25), slice(-12, None), slice(-25, None), slice(0, None)])
def test_an_upstream_that_repeats_the_key_without_end_costs_no_time(part: slice) -> None:
    """A RecursionError, or a hang, if each place is looked for anew."""
    secret = "sk-proj-Ab3dEf6hIjKlMnOpQrStUvWxYz0123456789"
    told = Scrubber(secret, {})(f"İ{secret[part]} " * 400_000)
    assert secret[part].lower() not in told.lower()
    assert told.startswith("İ[redacted] İ[redacted]")
    assert len(told) <= 500
