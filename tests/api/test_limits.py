"""What is too much for one request: named, refused before it is looked into, and no danger to the server."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emerge_core.answers.json_schema import MAX_PATTERN
from emerge_core.api import limits
from emerge_core.api.body import parse_body, parse_json
from emerge_core.api.chat.parse import read_chat
from emerge_core.api.fields import shown
from emerge_core.errors import RequestError

USER = {"role": "user", "content": "hi"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def nested(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def wide(count: int) -> dict[str, Any]:
    return {"enum": [[index] for index in range(count)]}


def wants(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def tool(number: int, schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"f{number}", "parameters": schema}}


def calls(count: int) -> list[Any]:
    return [{"role": "assistant", "tool_calls": [{**CALL, "id": f"c{i}"} for i in range(count)]}, USER]


def parts(count: int, part: Any) -> list[Any]:
    return [{"role": "user", "content": [part] * count}]


TEXT = {"type": "text", "text": ""}
IMAGES = parts(limits.MAX_IMAGES // 2, IMAGE)
TOOLS = [tool(n, wide(limits.MAX_SCHEMA_PARTS // 2)) for n in range(3)]
TOOLS_PARTS = 3 * (limits.MAX_SCHEMA_PARTS // 2 + 4)  # tool, function, schema, enum
SCHEMA = "response_format.json_schema.schema"
PARAMETERS = "tools[0].function.parameters"

# What just passes, what is one too many, and the field that the error names.
BOUNDS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"messages": [USER] * limits.MAX_MESSAGES}, {"messages": [USER] * (limits.MAX_MESSAGES + 1)}, "messages"),
    (
        {"messages": parts(limits.MAX_PARTS, TEXT)},
        {"messages": parts(limits.MAX_PARTS + 1, TEXT)},
        "messages[0].content",
    ),
    ({"messages": IMAGES * 2}, {"messages": [*IMAGES, *IMAGES, *parts(1, IMAGE)]}, "messages[2]"),
    (
        {"messages": calls(limits.MAX_TOOL_CALLS)},
        {"messages": calls(limits.MAX_TOOL_CALLS + 1)},
        "messages[0].tool_calls",
    ),
    (
        {"tools": [tool(n, {}) for n in range(limits.MAX_TOOLS)]},
        {"tools": [tool(n, {}) for n in range(limits.MAX_TOOLS + 1)]},
        "tools",
    ),
    ({"stop": "x" * limits.MAX_STOP}, {"stop": "x" * (limits.MAX_STOP + 1)}, "stop"),
    ({"stop": ["a", "x" * limits.MAX_STOP]}, {"stop": ["a", "x" * (limits.MAX_STOP + 1)]}, "stop[1]"),
    ({"n": limits.MAX_N}, {"n": limits.MAX_N + 1}, "n"),
    (wants(nested(limits.MAX_SCHEMA_DEPTH - 1)), wants(nested(limits.MAX_SCHEMA_DEPTH)), SCHEMA),
    (wants(wide(limits.MAX_SCHEMA_PARTS - 2)), wants(wide(limits.MAX_SCHEMA_PARTS - 1)), SCHEMA),
    (wants({"pattern": "a" * MAX_PATTERN}), wants({"pattern": "a" * (MAX_PATTERN + 1)}), SCHEMA),
    (
        {"tools": [tool(0, {"patternProperties": {"a" * MAX_PATTERN: {}}})]},
        {"tools": [tool(0, {"patternProperties": {"a" * (MAX_PATTERN + 1): {}}})]},
        PARAMETERS,
    ),
    (
        {"tools": [*TOOLS, tool(9, wide(limits.MAX_TOOLS_PARTS - TOOLS_PARTS - 5))]},
        {"tools": [*TOOLS, tool(9, wide(limits.MAX_TOOLS_PARTS - TOOLS_PARTS - 4))]},
        "tools",
    ),
]


@pytest.mark.parametrize(("enough", "excess", "place"), BOUNDS, ids=[f"{i} {b[2]}" for i, b in enumerate(BOUNDS)])
def test_the_last_that_passes_and_the_first_that_does_not(
    enough: dict[str, Any], excess: dict[str, Any], place: str
) -> None:
    whole = {"model": "emerge", "messages": [USER]}
    asyncio.run(parse_body(json.dumps({**whole, **enough}).encode(), read_chat))
    with pytest.raises(RequestError) as refused:
        asyncio.run(parse_body(json.dumps({**whole, **excess}).encode(), read_chat))
    assert (refused.value.status, refused.value.param) == (400, place)
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b'{"a":[' + b"[]," * limits.MAX_CONTAINERS + b"1]}", "objects and lists"),
        (b'{"a":[' + b"{}," * limits.MAX_CONTAINERS + b"1]}", "objects and lists"),
        (b'{"a":[' + b"1," * (limits.MAX_VALUES + 1) + b"1]}", "values"),
        (b"{" + b'"":0,' * (limits.MAX_VALUES + 1) + b'"":0}', "values"),
        (b'["' * 2_000_000, "values"),
        (b"[" * 4_000_000, "objects and lists"),
        (b'{"a":' * 400_000, "values|objects and lists"),
    ],
)
def test_a_body_of_too_many_parts_is_refused_unparsed(raw: bytes, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was parsed")

    monkeypatch.setattr("emerge_core.api.body.json.loads", loads)
    with pytest.raises(RequestError, match=what):
        parse_json(raw)


def test_code_in_a_message_counts_as_one_string() -> None:
    code = 'if (a[{",' * 200_000
    raw = json.dumps({"messages": [{"role": "user", "content": code + '\\"[\\\\'}]}).encode()
    assert parse_json(raw)["messages"][0]["content"].startswith(code)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\[{,}]é\ud800', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a"\\[{,', max_size=4), inner),
    max_leaves=20,
)


@given(_JSON)
def test_what_stands_in_strings_is_never_counted(value: Any) -> None:
    """Bounds just met pass, whatever the strings are made of."""

    def count(node: Any) -> tuple[int, int]:
        children = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else None
        if children is None:
            return 0, 0
        inner = [count(child) for child in children]
        return 1 + sum(c for c, _ in inner), max(len(children) - 1, 0) + sum(v for _, v in inner)

    containers, commas = count(value)
    raw = json.dumps(value).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MAX_CONTAINERS", containers)
        patch.setattr(limits, "MAX_VALUES", commas + 1)
        limits.bound_structure(raw)
        if containers:
            patch.setattr(limits, "MAX_CONTAINERS", containers - 1)
            with pytest.raises(RequestError):
                limits.bound_structure(raw)


@pytest.mark.parametrize(
    "value", [list(range(10**6)), {"a": "b" * 10**6}, "c" * 10**6, [[["d"] * 1000] * 1000], 10**4000]
)
def test_a_value_is_shown_without_being_written_out(value: Any) -> None:
    assert len(shown(value)) <= 60


@pytest.mark.parametrize(
    "raw",
    [
        *(b'{"a": 1' + digits + b"}" for digits in (b"0" * 5_000, b"0" * 4_000_000, b"e999", b".5e" + b"9" * 400)),
        *(b'{"a": %s}' % word for word in (b"NaN", b"Infinity", b"-Infinity", b"nan")),
        *(b'{"a": "%s"}' % half for half in (b"\\ud800", b"\\uDFFF", b"\\ud800\\ud800", b"\xff", b"\xed\xa0\x80")),
        b'{"\\udc00": 1}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b"[" * 101 + b"]" * 101,
        b'{"a":' * 101 + b"1" + b"}" * 101,
        *(b"", b"null", b"[]", b'"x"', b"1", b"{", b'{"a":1,}', b"{'a':1}", b"{}{}", b"\x00"),
    ],
)
def test_bad_json_is_a_400_in_few_words(raw: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        parse_json(raw)
    assert refused.value.status == 400
    assert len(refused.value.message) < 300


def test_of_a_name_given_twice_the_last_value_counts() -> None:
    """One value goes on, so that no upstream can read another than the one that was checked."""
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}


def test_a_large_body_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(raw: bytes) -> dict[str, Any]:
        seen.append(threading.get_ident())
        return {"model": "m", "messages": [USER]}

    monkeypatch.setattr("emerge_core.api.body.parse_json", watched)
    for raw in (b"{}", b" " * 100_000):
        asyncio.run(parse_body(raw, read_chat))
    assert [ident == threading.get_ident() for ident in seen] == [True, False]


def test_over_http(serve: Callable[..., str]) -> None:
    url = f"{serve()}/v1/chat/completions"
    bodies: list[tuple[bytes, int]] = [
        (b"[" * 4_000_000, 400),
        (b'{"model": "emerge", "messages": "' + b"\\ud800" * 500_000 + b'"}', 400),
        (b"a" * (limits.MAX_BODY + 1), 413),
        (json.dumps({"model": "emerge", "messages": [USER] * (limits.MAX_MESSAGES + 1)}).encode(), 400),
    ]
    for raw, status in bodies:
        reply = httpx.post(url, content=raw, headers={"content-type": "application/json"}, timeout=20)
        assert reply.status_code == status, reply.text[:200]
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("raw", "headers", "status", "what"),
    [
        (gzip.compress(b'{"model": "emerge"}', mtime=0), {"content-encoding": "gzip"}, 415, "compressed"),
        (gzip.compress(b'{"model": "emerge"}', mtime=0), {}, 415, "compressed"),
        (b"anything", {"content-encoding": "br"}, 415, "compressed"),
        (b"\xef\xbb\xbf{}", {}, 400, "byte order mark"),
    ],
    ids=["gzip", "gzip-undeclared", "brotli", "byte-order-mark"],
)
def test_an_encoding_that_is_not_read_is_named(
    http: httpx.Client, raw: bytes, headers: dict[str, str], status: int, what: str
) -> None:
    reply = http.post("/v1/chat/completions", content=raw, headers=headers)
    assert reply.status_code == status
    assert what in reply.json()["error"]["message"]


def test_a_model_path_without_a_name_says_so(http: httpx.Client) -> None:
    reply = http.get("/v1/models/")
    assert reply.status_code == 404
    assert "names no model" in reply.json()["error"]["message"]
