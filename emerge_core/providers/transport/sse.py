"""What streamed replies are made of: lines of bytes, and server-sent events in them.

Bytes are cut before they are decoded, and at line feeds only: a character may be split between two
reads, and some characters that Unicode calls line ends may stand inside a JSON string.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

_DRAIN_S = 0.1


async def lines(received: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Whole lines, without their ends; what follows the last line feed is a line too."""
    begun: list[bytes] = []  # of a line that is not whole yet: joined once, however small its pieces are
    async for chunk in received:
        first, *more = chunk.split(b"\n")
        begun.append(first)
        for piece in more:
            yield b"".join(begun).removesuffix(b"\r")
            begun = [piece]
    if rest := b"".join(begun):
        yield rest.removesuffix(b"\r")


async def events(received: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The data of each event: the formats that we read say all that matters there.

    Source: WHATWG HTML, 9.2.6 "Interpreting an event stream". Unlike there, an event at the very end
    needs no blank line: its reader knows whether it is whole.
    """
    data: list[bytes] = []
    async with aclosing(lines(received)) as found:
        async for line in found:
            if line.startswith(b"data:"):
                data.append(line[len(b"data:") :].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data = []
    if data:
        yield b"\n".join(data)


async def drain(received: AsyncIterator[bytes]) -> None:
    """Reads what follows the last event, so that the connection can be used again; not for long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in received:
                pass
