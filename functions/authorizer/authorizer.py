"""Lambda authorizer: turns a client's key into the digest that API Gateway knows it by.

The gateway looks the digest up in the usage plan, and throttles and counts by it; no key is stored
anywhere. Standard library only.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

TOKEN = re.compile(r"emk_[A-Za-z0-9]{43,64}")  # at least 256 random bits in base 62


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """An IAM policy for the whole stage. API Gateway caches it by token: a policy for one method would
    refuse the next one. Raises exactly "Unauthorized", which API Gateway answers as a 401."""
    token = bearer(event)
    if token is None:
        raise Exception("Unauthorized")  # the text is API Gateway's protocol
    digest = hashlib.sha256(token.encode()).hexdigest()
    arn, _, path = event["methodArn"].partition("/")
    stage = path.split("/", 1)[0]
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": f"{arn}/{stage}/*"}
    return {
        "principalId": digest[:12],
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"keyId": digest[:12]},
        "usageIdentifierKey": digest,
    }


def bearer(event: dict[str, Any]) -> str | None:
    """The key of a TOKEN or a REQUEST event, or None where it is not of our form."""
    given = event.get("authorizationToken")
    if given is None:
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        given = headers.get("authorization")
    scheme, _, token = str(given or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and TOKEN.fullmatch(token) else None
