"""Clients of one AWS Region for the operator's commands, and AWS's errors in the operator's terms."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from emerge_core.errors import EmergeError, MissingExtraError

Client = Callable[[str], Any]  # a service's name → its boto3 client

DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError")
STALE = (
    *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"),
    *("InvalidSignatureException", "SignatureDoesNotMatch"),
)
QUOTES_VALUES = ("PutParameter",)  # operations whose errors may repeat what was sent
HTML = re.compile(r"<!doctype\b|<html\b|<head\b|<body\b|<center\b|<h1\b", re.IGNORECASE)


def connect(region: str | None = None, profile: str | None = None) -> Client:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise MissingExtraError("this command needs boto3", extra="aws") from None
    session = boto3.Session(region_name=region or os.environ.get("AWS_REGION"), profile_name=profile)
    if session.region_name is None:
        raise EmergeError("no AWS Region: give --region, or set AWS_REGION")
    # An invocation may last as long as the function's timeout, and is not to be sent twice.
    patient = {"lambda": Config(read_timeout=905, connect_timeout=5, retries={"total_max_attempts": 1})}
    usual = Config(read_timeout=20, connect_timeout=5, retries={"mode": "standard", "total_max_attempts": 5})
    return cache(lambda service: session.client(service, config=patient.get(service, usual)))


@contextmanager
def explained() -> Iterator[None]:
    """Turns botocore's exceptions into EmergeErrors that say what to do."""
    try:
        from botocore import exceptions
    except ImportError:
        raise MissingExtraError("this command needs boto3", extra="aws") from None
    try:
        yield
    except exceptions.ClientError as fault:
        raise EmergeError(_client_error(fault)) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise EmergeError("no AWS credentials: give --profile, or set AWS_PROFILE or AWS_ACCESS_KEY_ID") from None
    except exceptions.BotoCoreError as fault:  # its texts hold addresses and names, never a value
        raise EmergeError(f"the call to AWS failed: {fault}") from None


def _client_error(fault: Any) -> str:
    operation, error = fault.operation_name, fault.response.get("Error", {})
    code = error.get("Code", "unknown")
    if code in DENIED:
        return f"these AWS credentials may not call {operation}: grant it, or use another --profile"
    if code in STALE:
        return f"AWS rejects these credentials ({code}): sign in again, or use another --profile"
    if operation in QUOTES_VALUES:
        return f"{operation} failed: {code}"
    return f"{operation} failed: {code}: {without_page(error.get('Message') or '')}".rstrip(": ")


def without_page(message: str) -> str:
    """A message that quotes an HTML page, of a gateway for example, without the page."""
    start = HTML.search(message)
    return message if start is None else f"{message[: start.start()].rstrip(' :')} (an HTML page)".strip()


def code_of(fault: Exception) -> str:
    """AWS's error code, or the exception's class if there is none."""
    response = getattr(fault, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(fault).__name__)
