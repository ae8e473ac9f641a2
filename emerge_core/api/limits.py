"""What a request may hold at most. Counted before anything heavier looks at it, so that no body, however
it is made, keeps the event loop or the memory busy for long.

The figures are OpenAI's own where it has one (messages, tools, tool calls); the others lie well beyond what
clients send.
"""

from __future__ import annotations

import re
from typing import Any

from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body, shown
from emerge_core.errors import RequestError

MAX_BODY = 4_500_000  # bytes: what fits through API Gateway and Lambda with room for the envelope
MAX_DEPTH = 100
MAX_CONTAINERS = 50_000  # objects and lists in the whole body
MAX_VALUES = 400_000  # in the whole body

MAX_MESSAGES = 2_048
MAX_PARTS = 2_048  # of one message's content
MAX_IMAGES = 500  # in the whole request
MAX_TOOL_CALLS = 128  # of one message
MAX_TOOLS = 128
MAX_STOP = 1_000  # characters of one stop sequence
MAX_N = 128

MAX_SCHEMA_DEPTH = 64
MAX_SCHEMA_PARTS = 5_000  # objects and lists in one schema
MAX_TOOLS_PARTS = 10_000  # objects and lists in all tools of a request

# Unknown fields are passed on by name, named in upstreams' errors, and listed in replies and logs.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_IMAGE = ("image_url", "input_image")


def bound_structure(raw: bytes) -> None:
    """Raises RequestError for JSON with more objects, lists or values than any client sends: parsing it would hold
    up other requests. Strings do not count, however much code they quote."""
    if _containers(raw) <= MAX_CONTAINERS and raw.count(b",") <= MAX_VALUES:
        return
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 4 * (MAX_VALUES + MAX_CONTAINERS):  # two for a name and two for its value
        raise _too_many("values", MAX_VALUES)
    outside = b"".join(plain.split(b'"')[::2])
    if _containers(outside) > MAX_CONTAINERS:
        raise _too_many("objects and lists", MAX_CONTAINERS)
    if outside.count(b",") > MAX_VALUES:
        raise _too_many("values", MAX_VALUES)


def too_large() -> RequestError:
    return RequestError(
        f"The request body is larger than {MAX_BODY} bytes. Shorten the messages, or send images by URL.",
        status=413,
        code="request_too_large",
    )


def bound_request(body: Body) -> None:
    """Raises RequestError, a 400 with `param`, at the first thing that is too many or too long, in chat
    completions' shape or in responses'. Values of a wrong type are ignored here: the parser refuses them."""
    for name in body:
        if not _FIELD.fullmatch(name):
            raise invalid(None, f"{shown(name)} is not the name of a field: leave it out.")
    images = 0
    for name in ("messages", "input"):
        listed = _list(body.get(name))
        if any(isinstance(item, dict) for item in listed[:1]):  # else it is of tokens or texts to embed
            _at_most(listed, name, MAX_MESSAGES, "items")
        for index, message in enumerate(listed):
            if isinstance(message, dict):
                images += _bound_message(message, f"{name}[{index}]")
                if images > MAX_IMAGES:
                    raise invalid(f"{name}[{index}]", f"The request holds more than {MAX_IMAGES} images: send fewer.")
    parts = _parts(body.get("tools"), "tools", MAX_SCHEMA_DEPTH + 4)
    if parts > MAX_TOOLS_PARTS:
        raise invalid("tools", f"`tools` holds more than {MAX_TOOLS_PARTS} objects and lists: simplify the parameters.")
    stop = body.get("stop")
    for place, text in [("stop", stop), *((f"stop[{index}]", item) for index, item in enumerate(_list(stop)[:4]))]:
        if isinstance(text, str) and len(text) > MAX_STOP:
            raise invalid(place, f"`{place}` has {len(text)} characters, and at most {MAX_STOP} are taken: shorten it.")


def bound_schema(schema: Body, place: str) -> None:
    """Raises RequestError for a schema that is too large to be checked, or to check replies against, in little time."""
    if _parts(schema, place, MAX_SCHEMA_DEPTH) > MAX_SCHEMA_PARTS:
        raise invalid(place, f"`{place}` holds more than {MAX_SCHEMA_PARTS} objects and lists: simplify it.")


def _bound_message(message: Body, place: str) -> int:
    """The number of its images."""
    _at_most(message.get("tool_calls"), f"{place}.tool_calls", MAX_TOOL_CALLS, "items")
    content = message.get("content")
    _at_most(content, f"{place}.content", MAX_PARTS, "items")
    return sum(isinstance(part, dict) and part.get("type") in _IMAGE for part in _list(content))


def _parts(value: Any, place: str, levels: int) -> int:
    """The number of objects and lists in a value of at most `levels` levels."""
    level, count, depth = [value], 0, 0
    while level := [node for node in level if isinstance(node, (dict, list))]:
        depth, count = depth + 1, count + len(level)
        if depth > levels:
            raise invalid(place, f"`{place}` is nested more than {levels} levels deep: flatten it.")
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
    return count


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _at_most(value: Any, place: str, most: int, what: str) -> None:
    if len(_list(value)) > most:
        raise invalid(place, f"`{place}` must hold at most {most} {what}, not {len(value)}.")


def _too_many(what: str, most: int) -> RequestError:
    return invalid(None, f"The body holds more than {most} {what}: send less at once.")


def _containers(raw: bytes) -> int:
    return raw.count(b"{") + raw.count(b"[")
