"""The console's routes: which need a key, what the page may load, and what is imported before it is opened."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from emerge_core.config import default_config, parse_config
from emerge_core.console.routes import FILES, PAGE

ROOT = Path(__file__).parents[2]
HEADERS = {"x-emerge-progress": "calls"}
QUESTION = {"model": "emerge", "stream": True, "messages": [{"role": "user", "content": "What is 3 + 4 * (7 - 2)?"}]}
FAILING = """
providers: {sim: {kind: simulated}, away: {kind: openai, base_url: "http://127.0.0.1:9/v1", max_retries: 0}}
models: {a: {provider: sim, model: sim-a, accuracy: 1}, b: {provider: away, model: b}}
ensembles: {emerge: {members: [a, b], early_decision: false}}
"""


def events(url: str, body: dict[str, Any] = QUESTION, **headers: str) -> list[tuple[str, Any]]:
    reply = httpx.post(f"{url}/console/api/ask", json=body, headers={**HEADERS, **headers})
    assert reply.status_code == 200, reply.text
    found = []
    for event in reply.text.split("\n\n"):
        kind = "emerge" if event.startswith("event: emerge\n") else "chunk"
        data = event.partition("data: ")[2]
        if data and data != "[DONE]":
            found.append((kind, json.loads(data)))
    return found


def test_the_page_and_every_file_it_names_are_served(show: Any) -> None:
    url = show(default_config())
    page = httpx.get(url + "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = set(re.findall(r'(?:href|src)="(console/[^"]+)"', page.text))
    for path in FILES:
        reply = httpx.get(url + path)
        assert reply.status_code == 200
        named |= {f"console/{name}" for name in re.findall(r'from "\./([^"]+)"', reply.text)}
    assert {f"/{name}" for name in named} | {"/"} == set(FILES)
    assert {path.name for path in PAGE.iterdir()} == {name for name, _ in FILES.values()}


def test_the_page_runs_its_own_scripts_alone(show: Any) -> None:
    reply = httpx.get(show(default_config()) + "/")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert reply.headers["x-frame-options"] == "DENY"
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=|https?://", reply.text)
    for path in PAGE.glob("*.js"):
        assert "innerHTML" not in path.read_text()


def test_the_page_needs_no_key_and_what_it_shows_does(show: Any) -> None:
    url = show(default_config(), keys=("right",))
    assert httpx.get(url + "/").status_code == 200
    assert httpx.head(url + "/").status_code == 200
    for path in ("config", "requests"):
        assert httpx.get(f"{url}/console/api/{path}").status_code == 401
        wrong = httpx.get(f"{url}/console/api/{path}", headers={"authorization": "Bearer wrong"})
        assert wrong.status_code == 401
        right = httpx.get(f"{url}/console/api/{path}", headers={"authorization": "Bearer right"})
        assert right.status_code == 200
    assert httpx.post(f"{url}/console/api/ask", json=QUESTION, headers=HEADERS).status_code == 401
    assert httpx.get(f"{url}/v1/models").status_code == 401


@pytest.mark.parametrize("path", ["/", "/console/app.js", "/console/api/config"])
def test_other_hosts_are_refused(show: Any, path: str) -> None:
    reply = httpx.get(show(default_config()) + path, headers={"host": "attacker.example"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "host_not_allowed")


def test_asking_wants_a_header_that_no_form_can_send(show: Any) -> None:
    url = show(default_config())
    reply = httpx.post(f"{url}/console/api/ask", json=QUESTION)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "x-emerge-progress")
    assert httpx.get(f"{url}/console/api/requests").json()["count"] == 0


def test_a_request_can_be_watched(show: Any) -> None:
    found = events(show(default_config()))
    told = [data for kind, data in found if kind == "emerge"]
    assert [each["event"] for each in told] == ["open", *["began"] * 3, *["ended"] * 3, "reply"]
    assert (told[0]["served_by"], told[0]["route"]["form"]) == ("emerge-panel", "short")
    assert [member["model"] for member in told[0]["members"]] == ["sim-a", "sim-b", "sim-c"]
    assert {each["model"]: each["key"] for each in told[4:7]} == {"sim-a": "23", "sim-b": "3", "sim-c": "23"}
    chunks = [data for kind, data in found if kind == "chunk"]
    said = "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks)
    assert said == told[-1]["reply"]["choices"][0]["message"]["content"] == "The answer is 23."
    assert chunks[-1]["emerge"]["agreement"] == pytest.approx(2 / 3)


def test_ordinary_clients_see_no_events(show: Any) -> None:
    url = show(default_config())
    reply = httpx.post(f"{url}/v1/chat/completions", json=QUESTION, headers=HEADERS)
    assert "event: emerge" not in reply.text


def test_a_member_that_fails_is_told_with_its_error(show: Any) -> None:
    told = [data for kind, data in events(show(parse_config(FAILING, source="test"))) if kind == "emerge"]
    ended = {each["model"]: each for each in told if each["event"] == "ended"}
    assert (ended["b"]["status"], ended["b"]["usable"]) == ("error", False)
    assert ended["b"]["error"].startswith("connection")
    assert ended["a"]["usable"]


def test_an_unknown_name_is_an_ordinary_error(show: Any) -> None:
    body = {**QUESTION, "model": "nobody"}
    reply = httpx.post(f"{show(default_config())}/console/api/ask", json=body, headers=HEADERS)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


def test_the_config_is_shown_without_secrets(show: Any) -> None:
    text = """
providers: {up: {kind: openai, base_url: "http://user:hidden@127.0.0.1:9/v1", api_key: env:SECRET_NAME, headers: {x-a: hidden}}}
models: {m: {provider: up, model: gpt-4o-mini, price: {input: 1, output: 2}}}
ensembles: {e: {members: [m]}, all: {routes: {json: e, short: m}}}
baseline: m
"""  # noqa: E501
    url = show(parse_config(text, source="test"), warnings=lambda config: ["look out"], workers=2)
    reply = httpx.get(f"{url}/console/api/config")
    assert not re.search("hidden|SECRET", reply.text)
    found = reply.json()
    assert (found["default"], found["baseline"], found["workers"]) == ("e", "m", 2)
    assert found["warnings"] == ["look out"]
    assert found["models"][0]["host"] == "127.0.0.1:9"
    assert found["models"][0]["price"] == {"input": 1.0, "output": 2.0, "cached_input": 1.0}
    routes = {"tools": "e", "json": "e", "choices": "e", "short": "m", "open_ended": "e"}
    assert found["ensembles"][1] == {"name": "all", "routes": routes}


def test_a_tuning_is_shown_or_what_is_wrong_with_its_file(show: Any, tmp_path: Path) -> None:
    point = {"members": ["a", "b"], "aggregator": "vote", "accuracy_cv": 0.8, "ci95": [0.7, 0.9], "cost_per_1000": 0.5}
    file = tmp_path / "tuning.json"
    file.write_text(json.dumps({"task": "sums", "tried": 9, "frontier": [point], "chosen": 0}))
    shown = httpx.get(show(default_config(), tuning=file) + "/console/api/config").json()["tuning"]
    assert (shown["task"], shown["points"][0]["chosen"], shown["points"][0]["accuracy_cv"]) == ("sums", True, 0.8)
    file.write_text("[]")
    broken = httpx.get(show(default_config(), tuning=file) + "/console/api/config").json()["tuning"]
    assert broken == {"fault": "tuning.json is not what `emerge tune --json` writes"}


def test_nothing_of_the_page_is_imported_before_it_is_opened() -> None:
    code = """
import sys
from emerge_core.cli._observers import Observers
observers = Observers(console=True, metrics=False)
class Stub:
    status = breakers = None
observers.routes(Stub(), workers=1, tuning=None)
print(*sorted(name for name in sys.modules if name.startswith("emerge_core.console") or name.endswith("prometheus")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    package = "emerge_core.console"
    assert done.stdout.split() == [package, f"{package}.history", f"{package}.routes"]
