"""opencode, on chat completions."""

from __future__ import annotations

import json

from tests.conformance.clients.coding_agent import edits, report_agent
from tests.conformance.clients.harness import BASE_URL, MODEL, feature
from tests.conformance.coding import task

CONFIG = {
    "autoupdate": False,
    "provider": {
        "emerge": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": BASE_URL, "apiKey": "none"},
            "models": {MODEL: {}},
        }
    },
}


@feature("chat: edits a file")
def edit() -> None:
    edits(
        lambda path: ["opencode", "run", "--model", f"emerge/{MODEL}", task(path)],
        environ={"OPENCODE_DISABLE_MODELS_FETCH": "1"},
        home={".config/opencode/opencode.json": json.dumps(CONFIG)},
    )


if __name__ == "__main__":
    report_agent("opencode", "opencode-ai")
