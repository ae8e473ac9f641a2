"""W3C trace context: which headers are read, and what is sent on."""

from __future__ import annotations

import pytest

from emerge_core.telemetry.trace_context import SpanPlace, headers_of_call, read, request_span

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PLACE = SpanPlace(int(TRACE, 16), int(SPAN, 16), True)


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f" 00-{TRACE}-{SPAN}-00 ", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
    ],
)
def test_a_valid_header(header: str, sampled: bool) -> None:
    assert read(header) == PLACE._replace(sampled=sampled)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-zz",
        f"00-{TRACE}-{SPAN}-01\r\nx: y",
    ],
)
def test_a_header_that_is_none(header: str) -> None:
    assert read(header) is None


def test_the_state_goes_along_if_it_can_be_sent() -> None:
    header = f"00-{TRACE}-{SPAN}-01"
    kept = read(header, "vendor=1,other=2")
    assert kept and kept.headers() == {"traceparent": header, "tracestate": "vendor=1,other=2"}
    for state in ("x" * 513, "a=\r\nb", "ä=1"):
        dropped = read(header, state)
        assert dropped and dropped.headers() == {"traceparent": header}


def test_a_child_has_one_place_and_every_child_another() -> None:
    assert PLACE.child("1") == PLACE.child("1")
    children = {PLACE.child(str(number)).span_id for number in range(100)}
    assert len(children) == 100 and PLACE.span_id not in children
    assert read(PLACE.child("1").headers()["traceparent"]) == PLACE.child("1")


def test_without_a_span_nothing_is_sent() -> None:
    assert headers_of_call("1") == {}
    token = request_span.set(PLACE)
    try:
        assert headers_of_call("1") == PLACE.child("1").headers()
    finally:
        request_span.reset(token)
