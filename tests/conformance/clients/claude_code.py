"""Claude Code, on messages."""

from __future__ import annotations

from tests.conformance.clients.coding_agent import ROOT_URL, edits, report_agent
from tests.conformance.clients.harness import MODEL, feature
from tests.conformance.coding import task

ALLOWED = ("--allowedTools", "Read,Edit")


def run(*options: str, **environ: str) -> None:
    edits(
        lambda path: ["claude", "-p", task(path), *ALLOWED, *options],
        environ={"ANTHROPIC_BASE_URL": ROOT_URL, **environ},
        home={},
    )


@feature("messages: edits a file")
def edit() -> None:
    run("--model", MODEL, ANTHROPIC_API_KEY="none")


@feature("messages: with a bearer token")
def token() -> None:
    run("--model", MODEL, ANTHROPIC_AUTH_TOKEN="none")


@feature("messages: its own model's name, by an alias")
def own_name() -> None:
    run(ANTHROPIC_API_KEY="none")


if __name__ == "__main__":
    report_agent("Claude Code", "@anthropic-ai/claude-code")
