"""CodeDeploy's hook before traffic: asks the new version of the proxy one real question.

CodeDeploy invokes it when a version is ready and before the alias moves. Unless the version answers with status 200,
the deployment fails and the alias stays where it is. boto3 is the runtime's own.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any

QUESTION: Mapping[str, Any] = {"messages": [{"role": "user", "content": "Reply with OK"}], "max_tokens": 16}
PRELUDE_END = b"\0" * 8  # after the JSON head of a streamed reply


def handler(event: Mapping[str, Any], context: object) -> None:
    import boto3

    status = "Failed"
    try:
        status = "Succeeded" if answers(boto3.client("lambda"), os.environ["NEW_VERSION"]) else "Failed"
    except Exception as fault:  # without a verdict CodeDeploy would wait for an hour
        _log("the check failed", error=type(fault).__name__)
    boto3.client("codedeploy").put_lifecycle_event_hook_execution_status(
        deploymentId=event["DeploymentId"],
        lifecycleEventHookExecutionId=event["LifecycleEventHookExecutionId"],
        status=status,
    )


def answers(client: Any, version: str) -> bool:
    """Whether the version (its ARN) lists its models, and the first of them (an ensemble, if there is one) answers."""
    status, listed = _ask(client, version, "GET", "/v1/models")
    if status != 200 or not listed.get("data"):
        _log("the new version serves no model", status=status)
        return False
    model = listed["data"][0]["id"]
    status, reply = _ask(client, version, "POST", "/v1/chat/completions", {**QUESTION, "model": model})
    error = reply.get("error") if isinstance(reply.get("error"), Mapping) else {}
    _log("the new version was asked", model=model, status=status, error=error.get("code") if error else None)
    return status == 200


def _ask(
    client: Any, version: str, method: str, path: str, body: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    done = client.invoke(FunctionName=version, Payload=json.dumps(_event(method, path, body)).encode())
    payload: bytes = done["Payload"].read()
    if done.get("FunctionError"):
        return 500, {}
    head, streamed, rest = payload.partition(PRELUDE_END)
    reply = json.loads(head)
    return int(reply["statusCode"]), json.loads(rest if streamed else reply["body"])


def _event(method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    """An event of API Gateway's REST proxy integration."""
    return {
        "path": path,
        "httpMethod": method,
        "headers": {"content-type": "application/json", "host": "pre-traffic.emerge"},
        "requestContext": {
            "requestId": f"pre-traffic-{uuid.uuid4()}",
            "requestTimeEpoch": int(time.time() * 1000),
            "authorizer": {"keyId": "pre-traffic"},
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def _log(message: str, **fields: Any) -> None:
    print(json.dumps({"message": message, **fields}))  # noqa: T201  (Lambda logs standard output)
