"""Signatures that an upstream can recompute, from credentials that are looked up off the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.credentials import Credentials, RefreshableCredentials

from emerge_core.errors import ConfigError
from emerge_core.providers.bedrock.signing import Signer
from tests.support.aws.bedrock_upstream import KEY_ID, REGION, SECRET, TOKEN, chain_of, signature_fault

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
MODELS = (
    "us.anthropic.claude-3-5-haiku-20241022-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
    "amazon.nova-lite-v1:0",
)


def url_of(model: str) -> str:
    return f"https://{HOST}/model/{quote(model, safe='')}/converse"


def fault(url: str, body: bytes, headers: Mapping[str, str]) -> str | None:
    found = {name.lower(): value for name, value in headers.items()} | {"host": HOST}
    return signature_fault("POST", urlsplit(url).path, found, body, {KEY_ID: SECRET})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_the_signature_is_right_for_the_path_as_it_stands(model: str, token: str | None) -> None:
    async def main() -> None:
        signer = Signer(REGION, chain=lambda: Credentials(KEY_ID, SECRET, token))
        body = b'{"messages": []}'
        made = await signer.headers(url_of(model), body, {"content-type": "application/json"})
        assert fault(url_of(model), body, made) is None
        assert fault(url_of(model), body + b" ", made) == "InvalidSignatureException"
        assert fault(url_of(model).replace("%3A", ":").replace("/converse", "/converse2"), body, made) is not None
        assert made.get("X-Amz-Security-Token") == token

    asyncio.run(main())


def test_no_credentials_say_what_to_set() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
            await Signer(REGION, chain=lambda: None).headers(url_of("m"), b"", {})

    asyncio.run(main())


def test_a_chain_that_fails_or_hangs_is_an_error_and_tried_again() -> None:
    release = threading.Event()

    def hanging() -> Any:
        release.wait(30)
        return Credentials(KEY_ID, SECRET)

    def failing() -> Any:
        raise OSError("secret details")

    async def main() -> None:
        with pytest.raises(ConfigError, match=r"\(OSError\)"):
            await Signer(REGION, chain=failing).headers(url_of("m"), b"", {})
        signer = Signer(REGION, chain=hanging, lookup_s=0.05)
        with pytest.raises(ConfigError, match="within"):
            await signer.headers(url_of("m"), b"", {})
        release.set()
        made = None
        while made is None:  # a loaded machine may take longer than one look-up is given
            with suppress(ConfigError):
                made = await signer.headers(url_of("m"), b"", {})
        assert fault(url_of("m"), b"", made) is None

    asyncio.run(main())


def test_many_requests_look_up_once_and_one_that_leaves_harms_no_other() -> None:
    looked = 0
    release = threading.Event()

    def chain() -> Any:
        nonlocal looked
        looked += 1
        release.wait(30)
        return Credentials(KEY_ID, SECRET)

    async def main() -> None:
        signer = Signer(REGION, chain=chain)
        waiting = [asyncio.create_task(signer.headers(url_of("m"), b"", {})) for _ in range(8)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        release.set()
        made = await asyncio.gather(*waiting[1:])
        assert all(fault(url_of("m"), b"", each) is None for each in made)
        await signer.headers(url_of("m"), b"", {})
        assert looked == 1

    asyncio.run(main())


def test_credentials_are_renewed_before_they_expire_and_when_they_are_refused() -> None:
    refreshed = 0

    def refresh() -> dict[str, str]:
        nonlocal refreshed
        refreshed += 1
        expiry = datetime.now(UTC) + timedelta(hours=2)
        return {"access_key": KEY_ID, "secret_key": SECRET, "token": TOKEN, "expiry_time": expiry.isoformat()}

    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    old = {"access_key": "OLD", "secret_key": "OLD", "token": "OLD", "expiry_time": soon}
    found = RefreshableCredentials.create_from_metadata(old, refresh, "test")
    later = Credentials("LATER", SECRET)

    async def main() -> None:
        signer = Signer(REGION, chain=chain_of(found, later))
        assert fault(url_of("m"), b"", await signer.headers(url_of("m"), b"", {})) is None
        await signer.headers(url_of("m"), b"", {})
        assert refreshed == 1
        signer.forget()
        assert "Credential=LATER/" in (await signer.headers(url_of("m"), b"", {}))["Authorization"]

    asyncio.run(main())


def test_nothing_is_looked_up_before_the_first_request() -> None:
    def chain() -> Any:
        raise AssertionError("looked up")

    Signer(REGION, chain=chain)
