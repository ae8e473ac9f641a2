"""What a function under the emulator talks to: SSM, and an upstream whose connections end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Aws(BaseHTTPRequestHandler):
    """SSM's GetParameter and GetParameters, as long as `works`."""

    protocol_version = "HTTP/1.1"
    config = ""
    works = True
    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not type(self).works:
            self._reply(500, {"__type": "InternalServerError"})
        elif self.headers["x-amz-target"].endswith("GetParameter"):
            self._reply(200, {"Parameter": {"Name": body["Name"], "Value": type(self).config, "Version": 1}})
        else:
            found = [{"Name": name, "Value": "sk-test", "Version": 1} for name in body["Names"]]
            self._reply(200, {"Parameters": found, "InvalidParameters": []})

    def _reply(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


class Cutting(BaseHTTPRequestHandler):
    """An upstream that, after every third reply, ends the connection without saying so."""

    protocol_version = "HTTP/1.1"
    served = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        content = b'{"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        type(self).served += 1
        self.close_connection = type(self).served % 3 == 0

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
