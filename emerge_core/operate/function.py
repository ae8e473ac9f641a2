"""Invokes the deployed function with an event of API Gateway's form, so that checks run where requests do."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emerge_core.errors import EmergeError
from emerge_core.operate.aws import Client, without_page
from emerge_core.operate.stack import Stack

PRELUDE_END = b"\0" * 8  # after the JSON head of a streamed reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    body: Any  # parsed JSON, or text

    @property
    def error(self) -> str | None:
        """The message of an error reply."""
        if self.status < 400:
            return None
        error = self.body.get("error") if isinstance(self.body, Mapping) else None
        if not isinstance(error, Mapping) or "message" not in error:
            return f"HTTP {self.status}"
        return without_page(str(error["message"]))


def ask(stack: Stack, client: Client, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
    """Invokes the alias that serves. Raises EmergeError if the function itself fails."""
    done = client("lambda").invoke(
        FunctionName=stack.outputs["ProxyFunctionName"],
        Qualifier=stack.outputs["ProxyAlias"],
        Payload=json.dumps(_event(method, path, body)).encode(),
    )
    payload = done["Payload"].read()
    if done.get("FunctionError"):
        raise EmergeError(f"the function crashed ({_error_type(payload)}): see its log group")
    return _reply(payload)


def _event(method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    headers = {"content-type": "application/json", "host": "doctor.emerge"}
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "requestId": f"doctor-{uuid.uuid4()}",
            "stage": "doctor",
            "path": f"/doctor{path}",
            "httpMethod": method,
            "protocol": "HTTP/1.1",
            "requestTimeEpoch": int(time.time() * 1000),
            "identity": {"sourceIp": "127.0.0.1", "userAgent": "emerge doctor"},
            "authorizer": {"keyId": "doctor", "principalId": "doctor"},
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def _reply(payload: bytes) -> Reply:
    """A buffered function returns a proxy reply in JSON; a streaming one a JSON head, eight NUL bytes and the body."""
    head, streamed, rest = payload.partition(PRELUDE_END)
    try:
        reply = json.loads(head)
        status = int(reply["statusCode"])
        content = rest if streamed else reply.get("body", "").encode()
        if not streamed and reply.get("isBase64Encoded"):
            content = base64.b64decode(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EmergeError("the function's reply is not one of emerge's: is its code what was built?") from None
    try:
        return Reply(status=status, body=json.loads(content))
    except ValueError:
        return Reply(status=status, body=content.decode(errors="replace"))


def _error_type(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["errorType"])
    except (ValueError, KeyError, TypeError):
        return "no cause given"
