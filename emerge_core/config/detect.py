"""The config if the user gives none: made of the providers whose keys are set, a local Ollama, or a simulated panel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Literal, NamedTuple

from emerge_core.config.schema import (
    AggregatorConfig,
    Config,
    EmbedderConfig,
    EnsembleConfig,
    MemberConfig,
    ModelConfig,
    PriceConfig,
    ProviderConfig,
    StrategyConfig,
)
from emerge_core.config.variables import OPEN_ENDED
from emerge_core.errors import ConfigError
from emerge_core.provider_kinds import KINDS
from emerge_core.types import FORMS

# No model of a provider is called so.
PANEL_NAME, WRITE_NAME, CHAT_NAME = "emerge-panel", "emerge-write", "emerge-chat"
PANEL_SIZE = 3  # local models are added up to here; a fourth member gains nothing on average


class Known(NamedTuple):
    variable: str  # the environment variable that its key is usually in
    provider: str
    model: str  # small and quick: a panel of such is what the product is about
    family: str
    kind: str = "openai"
    base_url: str | None = None
    embedder: str | None = None  # served under its own name, so that clients that ask for it find it


KNOWN = (
    Known("OPENAI_API_KEY", "openai", "gpt-4.1-mini", "gpt", embedder="text-embedding-3-small"),
    Known("ANTHROPIC_API_KEY", "anthropic", "claude-haiku-4-5", "claude", "anthropic"),
    Known(
        "GEMINI_API_KEY",
        "gemini",
        "gemini-2.5-flash",
        "gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai/",
    ),
    Known("MISTRAL_API_KEY", "mistral", "mistral-small-latest", "mistral", base_url="https://api.mistral.ai/v1"),
    Known("GROQ_API_KEY", "groq", "llama-3.3-70b-versatile", "llama", base_url="https://api.groq.com/openai/v1"),
    Known("DEEPSEEK_API_KEY", "deepseek", "deepseek-chat", "deepseek", base_url="https://api.deepseek.com/v1"),
    Known("XAI_API_KEY", "xai", "grok-4-1-fast-non-reasoning", "grok", base_url="https://api.x.ai/v1"),
)

# Whose model writes prose from the others' replies: the strongest that is there. Without measurements of one's own,
# what a token of output costs ranks these models best; so the dearest comes first (list prices of November 2026).
WRITERS = ("anthropic", "gemini", "openai", "groq", "mistral", "deepseek", "xai")
BEDROCK_WRITER = "qwen3-32b"

# Small models of three makers that need neither an inference profile nor a Marketplace subscription.
BEDROCK_PANEL = {
    "gpt-oss-20b": ("openai.gpt-oss-20b-1:0", "gpt-oss"),
    "qwen3-32b": ("qwen.qwen3-32b-v1:0", "qwen"),
    "ministral-3-14b": ("mistral.ministral-3-14b-instruct", "mistral"),
}
AWS_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)

NOT_FOR_CHAT = re.compile(r"embed|bge|minilm|e5-|rerank|[:-]cloud$")
EMBEDS = re.compile(r"embed|bge-(?!rerank)|minilm|e5-")


OpenEnded = Literal["merge", "fallback"]
"""How prose is answered: one model writes it from all replies, or one model writes it alone."""


def default_config(open_ended: OpenEnded = "merge") -> Config:
    """Three simulated models: no network, no key, no cost, and answers that show what a panel does."""
    accuracies = {"sim-a": ("sim-alder", 0.85), "sim-b": ("sim-birch", 0.8), "sim-c": ("sim-cedar", 0.75)}
    return Config(
        providers={"simulated": ProviderConfig(kind="simulated")},
        models={
            name: ModelConfig(provider="simulated", model=name, family=family, accuracy=accuracy)
            for name, (family, accuracy) in accuracies.items()
        },
        embedders={"sim-embed": EmbedderConfig(provider="simulated", model="sim-embed")},
        ensembles=_ensembles(
            tuple(MemberConfig(model=name) for name in accuracies), writer="sim-a", open_ended=open_ended
        ),
        default="emerge",
    )


def detect_config(environ: Mapping[str, str], ollama_models: Sequence[str] = ()) -> tuple[Config, str]:
    """One small model of each provider with a key, then local ones up to a panel of three. Raises ConfigError if
    EMERGE_OPEN_ENDED has an unknown value."""
    open_ended = _open_ended(environ)
    providers: dict[str, ProviderConfig] = {}
    models: dict[str, ModelConfig] = {}
    embedders: dict[str, EmbedderConfig] = {}
    for known in KNOWN:
        if environ.get(known.variable, "").strip():
            providers[known.provider] = ProviderConfig(
                kind=known.kind, base_url=known.base_url, api_key=f"env:{known.variable}"
            )
            models[known.model] = ModelConfig(provider=known.provider, model=known.model, family=known.family)
            if known.embedder:
                embedders[known.embedder] = EmbedderConfig(provider=known.provider, model=known.embedder)
    for name in _diverse(ollama_models, max(PANEL_SIZE - len(models), 0)):
        providers["ollama"] = ProviderConfig(kind="ollama", base_url=KINDS["ollama"].base_url)
        models[_config_name(name)] = ModelConfig(
            provider="ollama", model=name, family=family_of(name), price=PriceConfig(input=0, output=0)
        )
    for name in filter(EMBEDS.search, ollama_models if "ollama" in providers else ()):
        free = PriceConfig(input=0, output=0)
        embedders[_config_name(name)] = EmbedderConfig(provider="ollama", model=name, price=free)
    if not models and (region := bedrock_region(environ)):
        providers["bedrock"] = ProviderConfig(kind="bedrock", region=region)
        for name, (model, family) in BEDROCK_PANEL.items():
            models[name] = ModelConfig(provider="bedrock", model=model, family=family)
    if not models:
        return default_config(open_ended), "the simulated panel (no provider's key in the environment, no local Ollama)"
    config = Config(
        providers=providers,
        models=models,
        embedders=embedders,
        ensembles=_ensembles(_panel(models), writer=_writer(models), open_ended=open_ended),
        default="emerge",
    )
    return config, ", ".join(f"{model.provider} ({model.model})" for model in models.values())


def bedrock_region(environ: Mapping[str, str]) -> str | None:
    """The Region of Bedrock, if the environment names one and holds AWS credentials, and botocore is installed."""
    region = (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "").strip()
    found = any(environ.get(name, "").strip() for name in AWS_CREDENTIALS)
    return region if region and found and find_spec("botocore") else None


def family_of(model: str) -> str:
    """`library/qwen2.5:7b` → qwen."""
    found = re.match(r"[a-z]+", model.rsplit("/", 1)[-1].lower())
    return found[0] if found else model


def _ensembles(panel: tuple[MemberConfig, ...], *, writer: str, open_ended: OpenEnded) -> dict[str, EnsembleConfig]:
    """`emerge` sends what can be counted to the panel, which votes on it. Prose has no vote: `writer` writes it from
    the replies of all, live from its first token. With one model, or if `open_ended` says so, one model writes it
    alone, and the next one only if it fails."""
    models = dict.fromkeys([writer, *(member.model for member in panel)])
    if open_ended == "fallback" or len(models) == 1:
        name = CHAT_NAME
        prose = EnsembleConfig(
            members=tuple(MemberConfig(model=model) for model in models), strategy=StrategyConfig(name="fallback")
        )
    else:
        name = WRITE_NAME
        prose = EnsembleConfig(members=panel, aggregator=AggregatorConfig(name="merge", merger=writer))
    routes = dict.fromkeys(map(str, FORMS), PANEL_NAME)
    return {
        "emerge": EnsembleConfig(routes={**routes, "open_ended": name}),
        PANEL_NAME: EnsembleConfig(members=panel),
        name: prose,
    }


def _open_ended(environ: Mapping[str, str]) -> OpenEnded:
    value = environ.get(OPEN_ENDED, "").strip().lower()
    if value in ("", "merge"):
        return "merge"
    if value == "fallback":
        return "fallback"
    raise ConfigError(f"{OPEN_ENDED}: must be `merge` or `fallback`, not {value!r}")


def _writer(models: Mapping[str, ModelConfig]) -> str:
    """The strongest of the models; of local ones the first."""
    if BEDROCK_WRITER in models:
        return BEDROCK_WRITER
    of_provider = {model.provider: name for name, model in reversed(list(models.items()))}
    return next((of_provider[each] for each in WRITERS if each in of_provider), next(iter(models)))


def _panel(models: Mapping[str, ModelConfig]) -> tuple[MemberConfig, ...]:
    if len(models) > 1:
        return tuple(MemberConfig(model=name) for name in models)
    (only,) = models  # alone it is asked three times, and its samples vote
    return tuple(MemberConfig(model=only, temperature=temperature) for temperature in (None, 0.7, 1.0))


def _diverse(names: Sequence[str], count: int) -> list[str]:
    """Chat models, a new family before a second one of the same."""
    usable = [name for name in names if not NOT_FOR_CHAT.search(name.lower())]
    first_of_family = {family_of(name): name for name in reversed(usable)}
    return sorted(usable, key=lambda name: first_of_family[family_of(name)] != name)[:count]


def _config_name(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9._:/-]", "-", model).lstrip("._:/-")[:128] or "local"
