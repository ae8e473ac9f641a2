"""What each kind of provider is and can: one row per kind, and the only place that tells kinds apart.

Plain data, below every other room, so that the config can check a provider against its row and the
pricing, the adapters, the replay server and the commands can read what they need from it.

Adding a kind: a module with `make(config, api_key=..., models=...)` and a row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """`module` has a function `make` that returns a `providers.Provider`.

    `settings` are the keys of a provider in the config that this kind alone uses, `unused` those that
    it does not use though other kinds do; a config that sets a key for nothing is refused.
    """

    module: str
    key: Literal["required", "optional", "none"] = "optional"  # required: at its own address only
    base_url: str | None = None  # where it is asked if the config names no other place
    local: bool = False  # its own address is this machine: the config is told so, and prices are unknown
    in_process: bool = False  # answers without a network, at no cost
    embeddings: bool = True
    logprobs: bool = True
    longest_tool_name: int | None = None  # in characters; None: any
    counts_tokens: bool = False  # it counts the tokens of a request, at no cost: see providers.TokenCounter
    catalogue: str | None = None  # its id in the price catalogue
    settings: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    model_settings: frozenset[str] = frozenset()  # keys of a model in the config that this kind alone uses
    state: frozenset[str] = frozenset()  # what its messages carry from turn to turn, by the names on a message
    chat_path: str = ""  # of the chat endpoint, from the server's root
    stream_path: str = ""  # of the streaming endpoint, if that is another
    base_path: str = ""  # the part of `chat_path` that a base URL ends with
    replay_wire: str | None = None  # module:class that writes recorded replies in its wire format
    priming: tuple[str, ...] = ()  # modules, beside its adapter, that its first request imports


_UPSTREAM_SETTINGS = frozenset(
    (
        "base_url",
        "api_key",
        "headers",
        "ca_file",
        "connect_timeout_s",
        "first_byte_timeout_s",
        "pass_through",
        "send_trace_context",
    )
)

KINDS: dict[str, ProviderKind] = {
    "openai": ProviderKind(
        module="emerge_core.providers.openai.adapter",
        key="required",
        base_url="https://api.openai.com/v1",
        catalogue="openai",
        longest_tool_name=64,
        state=frozenset(("reasoning_content", "extra_content")),
        chat_path="/v1/chat/completions",
        base_path="/v1",
        replay_wire="emerge_core.evals.replay.wire:OpenAIWire",
    ),
    "anthropic": ProviderKind(
        module="emerge_core.providers.anthropic.adapter",
        key="required",
        base_url="https://api.anthropic.com",
        embeddings=False,
        logprobs=False,
        counts_tokens=True,
        catalogue="anthropic",
        longest_tool_name=128,
        state=frozenset(("thinking_blocks",)),
        chat_path="/v1/messages",
        replay_wire="emerge_core.evals.replay.wire:AnthropicWire",
    ),
    "ollama": ProviderKind(
        module="emerge_core.providers.ollama.adapter",
        base_url="http://127.0.0.1:11434",
        local=True,
        chat_path="/api/chat",
        replay_wire="emerge_core.evals.replay.wire:OllamaWire",
    ),
    "bedrock": ProviderKind(
        module="emerge_core.providers.bedrock.adapter",
        logprobs=False,
        catalogue="aws",
        longest_tool_name=64,
        state=frozenset(("thinking_blocks",)),
        settings=frozenset(("region", "guardrail", "service_tier")),
        chat_path="/model/{model}/converse",
        stream_path="/model/{model}/converse-stream",
        replay_wire="emerge_core.evals.replay.converse:ConverseWire",
        priming=("botocore.session",),
    ),
    "simulated": ProviderKind(
        module="emerge_core.providers.simulated.adapter",
        key="none",
        in_process=True,
        settings=frozenset(("seed", "correlation")),
        unused=_UPSTREAM_SETTINGS,
        model_settings=frozenset(("accuracy",)),
    ),
}


def users_of(setting: str) -> list[str]:
    """The kinds that alone use this key of a provider or of a model; empty if every kind may."""
    return [name for name, kind in KINDS.items() if setting in kind.settings | kind.model_settings]
