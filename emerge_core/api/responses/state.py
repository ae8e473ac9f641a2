"""What a model wants back on the next turn, as a reasoning item.

Its `encrypted_content`, which clients return as it is, holds the fields of an assistant message in chat's shape.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from emerge_core.api.choices import state_of
from emerge_core.types import Completion

_PREFIX = "emerge1."
_FIELDS = ("reasoning_content", "thinking_blocks")


def reasoning_item(completion: Completion, id_: str) -> dict[str, Any] | None:
    """None if the model wants nothing back."""
    state = state_of(completion)
    if not state:
        return None
    packed = _PREFIX + base64.b64encode(json.dumps(state, separators=(",", ":")).encode()).decode()
    text = completion.reasoning_content
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"id": id_, "type": "reasoning", "summary": [], "content": content, "encrypted_content": packed}


def state_in(item: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a reasoning item of ours holds; none for one of another server."""
    packed = item.get("encrypted_content")
    if not isinstance(packed, str) or not packed.startswith(_PREFIX):
        return {}
    try:
        state = json.loads(base64.b64decode(packed.removeprefix(_PREFIX), validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    if not isinstance(state, dict):
        return {}
    reasoning, blocks = (state.get(name) for name in _FIELDS)
    kept = {"reasoning_content": reasoning} if isinstance(reasoning, str) else {}
    if isinstance(blocks, list) and all(isinstance(block, dict) for block in blocks):
        return {**kept, "thinking_blocks": blocks}
    return kept
