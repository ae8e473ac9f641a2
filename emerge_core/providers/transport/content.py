"""How much a streamed reply may say: its content is bounded, and its framing by the content.

A stream wraps every token in an event of some hundred bytes, with log probabilities of some thousand, so the bytes
on the wire say little about the length of an answer; but an upstream that sends framing alone must end, too.
"""

from __future__ import annotations

from emerge_core.providers.errors import bad_response
from emerge_core.types import UpstreamError

MAX_CONTENT = 8_000_000  # bytes of text, arguments and reasoning
MAX_LOGPROBS = 1_000_000  # log probabilities, alternatives included
FRAMING = 8_000_000  # bytes on the wire that need no content
RATIO = 4_096  # bytes on the wire per byte of content


class Content:
    """What was received of one reply so far."""

    def __init__(self) -> None:
        self.size = 0
        self.logprobs = 0

    def add(self, *texts: str) -> None:
        """Raises UpstreamError beyond `MAX_CONTENT`."""
        self.size += sum(map(len, texts))
        if self.size > MAX_CONTENT:
            raise too_large(MAX_CONTENT)

    def add_logprobs(self, tokens: int, alternatives: int) -> None:
        """Raises UpstreamError beyond `MAX_LOGPROBS`."""
        self.logprobs += tokens * (1 + alternatives)
        if self.logprobs > MAX_LOGPROBS:
            raise bad_response(
                f"the upstream's reply has more than {MAX_LOGPROBS:,} log probabilities: cut off", provoked=True
            )

    def check_wire(self, received: int) -> None:
        """Raises UpstreamError if so many bytes on the wire are out of proportion to the content."""
        if received > FRAMING + RATIO * (self.size + self.logprobs):
            raise bad_response(f"the upstream sent {received:,} bytes with next to no content in them: cut off")


def too_large(limit: int) -> UpstreamError:
    return bad_response(f"the upstream's reply is larger than {limit:,} bytes: cut off", provoked=True)
