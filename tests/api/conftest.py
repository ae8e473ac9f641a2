"""A scripted engine behind the real application on a real server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from emerge_core.api import create_app
from emerge_core.engine.engine import Engine
from tests.support.fake_engine import Scripted, failed, reply, trace
from tests.support.server import Server, Stage


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    on = Stage()
    with Server(on) as on.url:
        yield on


@pytest.fixture
def through(panels: Any) -> Iterator[Callable[..., str]]:
    """`through(ensembles, **models)` puts the real engine between a client and the scripted upstream, and
    gives the base URL. Its connections are closed at the server's shutdown."""
    with ExitStack() as running:

        def start(ensembles: str, **models: Any) -> str:
            engine = Engine(panels(ensembles, **models), environ={})
            return f"{running.enter_context(Server(create_app(engine), lifespan='on'))}/v1"

        yield start


@pytest.fixture
def serve(stage: Stage, engine: Scripted) -> Callable[..., str]:
    """`serve(**options of create_app)` puts the application on and gives its root URL."""

    def start(**options: Any) -> str:
        stage.app = create_app(engine, **options)
        return stage.url

    return start


@pytest.fixture
def url(serve: Callable[..., str]) -> str:
    return serve()


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def ask(http: httpx.Client) -> Callable[..., httpx.Response]:
    """Posts a chat completion: a good one, changed by keywords; a field set to `...` is left out."""

    def post(headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
        body = {"model": "emerge", "messages": [{"role": "user", "content": "6 x 7?"}], **changes}
        body = {name: value for name, value in body.items() if value is not ...}
        return http.post("/v1/chat/completions", json=body, headers=headers)

    return post


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for what happens in the server's thread."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.005)

    return wait


@pytest.fixture
def make() -> Any:
    """The builders `make.trace`, `make.reply`, `make.failed`."""

    class Make:
        trace = staticmethod(trace)
        reply = staticmethod(reply)
        failed = staticmethod(failed)

    return Make
