"""A web server for tests: any ASGI application on a free port of loopback."""

from __future__ import annotations

import threading
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send


class Server(uvicorn.Server):
    """A uvicorn server in a thread, on a free port, gone when the block ends."""

    def __init__(self, app: Any, *, lifespan: Literal["on", "off"] = "off") -> None:
        config = uvicorn.Config(app, port=0, log_level="critical", lifespan=lifespan, timeout_graceful_shutdown=1)
        super().__init__(config)

    def __enter__(self) -> str:
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        while not (self.started and self.servers):
            if not self.thread.is_alive():
                raise RuntimeError("the test server did not start")
            threading.Event().wait(0.005)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def __exit__(self, *_: object) -> None:
        self.should_exit = True
        self.thread.join(10)


class Stage:
    """One server for all tests, which serves whatever application is on."""

    app: ASGIApp
    url: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)
