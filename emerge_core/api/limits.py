"""What a request may hold at most. Counted before anything heavier looks at it, so that no body, however
it is made, keeps the event loop or the memory busy for long.

The figures are OpenAI's own where it has one (messages, tools, tool calls); the others lie well beyond what
clients send.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from emerge_core.api.errors import invalid
from emerge_core.api.fields import Body
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
MAX_SCHEMAS_PARTS = 10_000  # in all schemas of a request
MAX_PATTERN = 1_000  # characters of one regular expression


def bound_structure(raw: bytes) -> None:
    """Refuses JSON of more objects, lists or values than any client sends: the parser would make each of
    them, holding everybody else up. Strings do not count, however much code they quote."""
    if _containers(raw) <= MAX_CONTAINERS and raw.count(b",") <= MAX_VALUES:
        return
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 4 * MAX_VALUES:  # two for a name and two for its value
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
    """Raises RequestError, a 400 with `param`, at the first thing that is too many or too long. Shapes are
    not checked here: what has a wrong type is passed over."""
    _bound_messages(body.get("messages"))
    _at_most(body.get("tools"), "tools", MAX_TOOLS, "tools")
    stop = body.get("stop")
    for place, text in [("stop", stop), *((f"stop[{index}]", item) for index, item in enumerate(_list(stop)[:4]))]:
        if isinstance(text, str) and len(text) > MAX_STOP:
            raise invalid(place, f"`{place}` has {len(text)} characters, and at most {MAX_STOP} are taken: shorten it.")
    bound_schemas(_schemas(body))


def bound_schemas(schemas: Iterable[tuple[str, Any]]) -> None:
    """The schemas of one request, each with its place."""
    total = 0
    for place, schema in schemas:
        total += _bound_schema(schema, place)
        if total > MAX_SCHEMAS_PARTS:
            raise invalid(
                place, f"The schemas of this request hold more than {MAX_SCHEMAS_PARTS} parts: simplify them."
            )


def _bound_messages(messages: Any) -> None:
    _at_most(messages, "messages", MAX_MESSAGES, "messages")
    images = 0
    for index, message in enumerate(_list(messages)):
        if not isinstance(message, dict):
            continue
        place = f"messages[{index}]"
        _at_most(message.get("tool_calls"), f"{place}.tool_calls", MAX_TOOL_CALLS, "tool calls")
        content = message.get("content")
        _at_most(content, f"{place}.content", MAX_PARTS, "parts")
        images += sum(isinstance(part, dict) and part.get("type") == "image_url" for part in _list(content))
        if images > MAX_IMAGES:
            raise invalid(f"{place}.content", f"The request holds more than {MAX_IMAGES} images: send fewer.")


def _schemas(body: Body) -> Iterator[tuple[str, Any]]:
    for index, tool in enumerate(_list(body.get("tools"))):
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            yield f"tools[{index}].function.parameters", function.get("parameters")
    wanted = body.get("response_format")
    wanted = wanted.get("json_schema") if isinstance(wanted, dict) else None
    if isinstance(wanted, dict):
        yield "response_format.json_schema.schema", wanted.get("schema")


def _bound_schema(schema: Any, place: str) -> int:
    """The number of its objects and lists."""
    level, count, depth = [schema], 0, 0
    while level:
        level = [child for node in level for child in _children(node, place) if isinstance(child, (dict, list))]
        depth, count = depth + 1, count + len(level)
        if depth > MAX_SCHEMA_DEPTH:
            raise invalid(place, f"`{place}` is nested more than {MAX_SCHEMA_DEPTH} levels deep: flatten it.")
        if count > MAX_SCHEMA_PARTS:
            raise invalid(place, f"`{place}` holds more than {MAX_SCHEMA_PARTS} objects and lists: simplify it.")
    return count


def _children(node: Any, place: str) -> Any:
    if not isinstance(node, dict):
        return node if isinstance(node, list) else ()
    patterns = node.get("patternProperties")
    for pattern in (node.get("pattern"), *(patterns if isinstance(patterns, dict) else ())):
        if isinstance(pattern, str) and len(pattern) > MAX_PATTERN:
            raise invalid(place, f"`{place}` has a pattern of {len(pattern)} characters: at most {MAX_PATTERN}.")
    return node.values()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _at_most(value: Any, place: str, most: int, what: str) -> None:
    if len(_list(value)) > most:
        raise invalid(place, f"`{place}` must hold at most {most} {what}, not {len(value)}.")


def _too_many(what: str, most: int) -> RequestError:
    return invalid(None, f"The body holds more than {most} {what}: send less at once.")


def _containers(raw: bytes) -> int:
    return raw.count(b"{") + raw.count(b"[")
