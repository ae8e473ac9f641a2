"""Compaction: a coding agent asks for its conversation in a form that takes less room, as a `compaction_trigger` item.

Nothing is stored here, so the item that goes back holds a summary which the models themselves write. The agent sends
it in place of what it sums up, and it then stands in the conversation as a user's message.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from emerge_core.types import Completion

TRIGGER = "compaction_trigger"
COMPACTION = "compaction"
_PREFIX = "emerge1."
_REQUEST = (
    "The conversation up to here will be replaced by your summary of it. Write down what is needed to go on: "
    "the task and every instruction that still holds, decisions and their reasons, files, commands and facts by their "
    "exact names, what is done and what is left to do. Reply with the summary alone."
)
_INTRODUCTION = "A summary of the conversation before this point:\n\n"


def is_asked(value: Any) -> bool:
    """Whether the input ends with a trigger."""
    last = value[-1] if isinstance(value, list) and value else None
    return isinstance(last, Mapping) and last.get("type") == TRIGGER


def request_message() -> dict[str, Any]:
    return {"role": "user", "content": _REQUEST}


def item(completion: Completion, id_: str) -> dict[str, Any]:
    summary = completion.text or completion.refusal or ""
    packed = base64.b64encode(json.dumps({"summary": summary}).encode()).decode()
    return {"id": id_, "type": COMPACTION, "encrypted_content": _PREFIX + packed}


def summary_message(sent: Mapping[str, Any]) -> dict[str, Any] | None:
    """The message that an item of ours stands for; None for one of another server, which only its models can read."""
    packed = sent.get("encrypted_content")
    if not isinstance(packed, str) or not packed.startswith(_PREFIX):
        return None
    try:
        summary = json.loads(base64.b64decode(packed.removeprefix(_PREFIX), validate=True))["summary"]
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        return None
    return {"role": "user", "content": _INTRODUCTION + summary} if isinstance(summary, str) else None
