"""Lambda authorizer: hashes a client's key to the digest by which API Gateway knows it.

The gateway looks the digest up in the usage plan, and throttles and counts by it; no key is stored
anywhere. Standard library only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

TOKEN = re.compile(r"emk_[A-Za-z0-9]{43,64}")  # at least 256 random bits in base 62


def handler(event: Any, context: object) -> dict[str, Any]:
    """An IAM policy for the whole stage. API Gateway caches it by token: a policy for one method would refuse
    the next one. Never raises: an exception would count as an error of the function."""
    given = event if isinstance(event, Mapping) else {}
    token = bearer(given)
    if token is None:
        return _policy("Deny", given, "unknown")
    digest = hashlib.sha256(token.encode()).hexdigest()
    allowed = _policy("Allow", given, digest[:12])
    return {**allowed, "context": {"keyId": digest[:12]}, "usageIdentifierKey": digest}


def bearer(event: Mapping[str, Any]) -> str | None:
    """The key of a TOKEN or a REQUEST event, or None if it does not have our form."""
    given = event.get("authorizationToken")
    headers = event.get("headers")
    if given is None and isinstance(headers, Mapping):
        given = {str(name).lower(): value for name, value in headers.items()}.get("authorization")
    scheme, _, token = str(given or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and TOKEN.fullmatch(token) else None


def _policy(effect: str, event: Mapping[str, Any], principal: str) -> dict[str, Any]:
    arn, _, path = str(event.get("methodArn") or "").partition("/")
    stage = f"{arn}/{path.split('/', 1)[0]}/*" if path else "*"
    if stage == "*":
        effect = "Deny"  # of an event that names no method
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": stage}
    return {"principalId": principal, "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}}
