"""The console in front of the real engine, whose models are simulated or served by the scripted upstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from emerge_core.api import create_app
from emerge_core.config.schema import Config
from emerge_core.console import Console, History
from emerge_core.engine.engine import Engine
from tests.support.server import Server

Show = Callable[..., str]


@pytest.fixture
def show() -> Iterator[Show]:
    """`show(config)` serves the API and the console, and returns the root URL without a slash at its end."""
    with ExitStack() as running:

        def start(config: Config, *, keys: tuple[str, ...] = (), hosts: tuple[str, ...] = (), **options: Any) -> str:
            history = History()
            content = config.log_content and config.trace == "full"
            engine = Engine(config, environ={}, record=history.recorder(content=content))
            console = Console(engine=engine, history=history, **options)
            app = create_app(
                engine,
                api_keys=keys,
                allowed_hosts=hosts,
                more_routes=console.routes,
                open_paths=console.open_paths,
            )
            return running.enter_context(Server(app, lifespan="on"))

        yield start
