"""What streamed replies are made of: lines of bytes, and server-sent events in them.

Bytes are cut before they are decoded, and at line ends that the format knows only: a character may be split
between two reads, and some characters that Unicode calls line ends may stand inside a JSON string.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

from emerge_core.providers.errors import bad_response

MAX_LINE = 16_000_000  # bytes
_DRAIN_S = 0.1
_BOM = b"\xef\xbb\xbf"


async def lines(received: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Whole lines, without their ends and without a byte order mark before the first; what follows the last line
    feed is a line too. Raises UpstreamError for a line of more than `MAX_LINE` bytes."""
    begun: list[bytes] = []  # the pieces of a line that is not whole yet, joined once
    size, first_line = 0, True
    async for chunk in received:
        first, *more = chunk.split(b"\n")
        begun.append(first)
        size += len(first)
        for piece in more:
            line = b"".join(begun).removesuffix(b"\r")
            yield line.removeprefix(_BOM) if first_line else line
            begun, size, first_line = [piece], len(piece), False
        if size > MAX_LINE:
            raise bad_response(f"a line of the upstream's stream is longer than {MAX_LINE:,} bytes: cut off")
        if len(begun) > 4096:
            begun = [b"".join(begun)]
    if rest := b"".join(begun):
        rest = rest.removesuffix(b"\r")
        yield rest.removeprefix(_BOM) if first_line else rest


async def events(received: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The data of each event: the formats that we read say all that matters there.

    Source: WHATWG HTML, 9.2.6 "Interpreting an event stream". Unlike there, an event at the very end
    needs no blank line: its reader knows whether it is whole.
    """
    data: list[bytes] = []
    size = 0
    async with aclosing(lines(received)) as found:
        async for line in found:
            if line.startswith(b"data:"):
                data.append(line[len(b"data:") :].removeprefix(b" "))
                size += len(line)
                if size > MAX_LINE:
                    raise bad_response(f"an event of the upstream's stream is longer than {MAX_LINE:,} bytes: cut off")
            elif not line and data:
                yield b"\n".join(data)
                data, size = [], 0
    if data:
        yield b"\n".join(data)


async def drain(received: AsyncIterator[bytes]) -> None:
    """Reads what follows the last event, so that the connection can be used again; not for long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in received:
                pass
