"""Codex, on responses."""

from __future__ import annotations

from tests.conformance.clients.coding_agent import edits, report_agent
from tests.conformance.clients.harness import BASE_URL, MODEL, feature
from tests.conformance.coding import KNOWN_TO_AGENTS, task

PROVIDER = f"""
model_provider = "emerge"
[model_providers.emerge]
name = "emerge"
base_url = "{BASE_URL}"
env_key = "EMERGE_KEY"
wire_api = "responses"
"""


def run(model: str, *options: str, config: str = "", **environ: str) -> None:
    edits(
        lambda path: ["codex", "exec", "--sandbox", "danger-full-access", "-m", model, *options, task(path)],
        environ=environ,
        home={".codex/config.toml": config},
    )


KNOWN = [name for name in KNOWN_TO_AGENTS[MODEL or "emerge"] if name.startswith("gpt")]
NAMES = ("a name of the config", "a name that it knows", "a newer model's name")
for name, described in zip((MODEL, *KNOWN), NAMES, strict=True):

    @feature(f"responses: openai_base_url, {described}")
    def base_url(name: str = name) -> None:
        run(name, "-c", f'openai_base_url="{BASE_URL}"', CODEX_API_KEY="none")

    @feature(f"responses: model_providers, {described}")
    def provider(name: str = name) -> None:
        run(name, config=PROVIDER, EMERGE_KEY="none")


if __name__ == "__main__":
    report_agent("Codex", "@openai/codex")
