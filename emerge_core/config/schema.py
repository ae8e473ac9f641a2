"""The shape of a config: what a user may write, with its defaults.

Pydantic models, because a config is untrusted input; frozen, because it is shared by all requests.
Cross references (a member that names no model, and so on) are checked in `references`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_after_validator_function

from emerge_core.aggregators.registry import AGGREGATORS
from emerge_core.provider_kinds import KINDS
from emerge_core.strategies.registry import STRATEGIES

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
UsagePolicy = Literal["selected", "sum"]


@dataclass(frozen=True)
class NamedIn:
    """A validator: the value is the name of a row in `table`. The table is read when a value is checked."""

    table: Mapping[str, object]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.table)}

    def _check(self, name: str) -> str:
        if name not in self.table:
            raise PydanticCustomError("unknown_name", "must be one of {known}", {"known": ", ".join(self.table)})
        return name


KindName = Annotated[str, NamedIn(KINDS)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, value: Any) -> Any:
        """`embedders:` with nothing after it means the default."""
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None or key not in cls.model_fields}
        return value


class BreakerConfig(Section):
    """When a model counts as down: after so many failed calls in a row (0: never). It is left alone for
    `cooldown_s`, then one call tries it again; each time that this fails, it is left alone twice as long."""

    failures: Annotated[int, Field(ge=0)] = 5
    cooldown_s: Annotated[float, Field(gt=0)] = 10.0


class GuardrailConfig(Section):
    """A guardrail of Amazon Bedrock, by its id or ARN, that checks every request of the provider."""

    id: Annotated[str, Field(pattern=r"^([a-z0-9]+|arn:aws[a-z-]*:bedrock:[a-z0-9-]+:[0-9]{12}:guardrail/[a-z0-9]+)$")]
    version: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,7}|DRAFT)$")] = "DRAFT"


class ProviderConfig(Section):
    """An API that we can call. `api_key` is a reference (env:NAME), never a key itself."""

    kind: KindName
    base_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    api_key: Annotated[str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|(ssm|secret):\S+)$")] | None = None
    headers: dict[str, str] = {}
    ca_file: str | None = None
    pass_through: tuple[str, ...] = ()  # fields of a request that choose what is billed, and may reach this provider
    connect_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    first_byte_timeout_s: Annotated[float, Field(gt=0)] | None = None  # of a reply: all its headers
    timeout_s: Annotated[float, Field(gt=0)] | None = None  # of one attempt, for models that name none
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2  # of a call, for models that name none
    breaker: BreakerConfig = BreakerConfig()
    region: Annotated[str, Field(pattern=r"^[a-z]{2,4}(-[a-z]+)+-[0-9]+$")] | None = (
        None  # bedrock only: else AWS_REGION
    )
    guardrail: GuardrailConfig | None = None  # bedrock only
    service_tier: Literal["priority", "default", "flex", "reserved"] | None = None  # bedrock only
    seed: int = 0  # simulated only: the panel's seed
    correlation: Probability = 0.0  # simulated only: how often its models err on the same questions

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Without the values of headers, and without what a URL holds beside its place."""
        for name, value in super().__repr_args__():
            if name == "headers":
                yield name, dict.fromkeys(value, "…")
            elif name == "base_url" and value:
                yield (
                    name,
                    urlsplit(value)._replace(netloc=urlsplit(value).netloc.rpartition("@")[2], query="").geturl(),
                )
            else:
                yield name, value

    @model_validator(mode="before")
    @classmethod
    def _local_has_an_address(cls, value: Any) -> Any:
        kind = KINDS.get(str(value.get("kind"))) if isinstance(value, dict) else None
        if kind and kind.local and value.get("base_url") is None:
            return {**value, "base_url": kind.base_url}
        return value


class PriceConfig(Section):
    """US dollars per million tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached_input: Annotated[float, Field(ge=0)] | None = None  # else as input
    cache_write: Annotated[float, Field(ge=0)] | None = None  # else as input


class Supports(Section):
    """Capabilities; None = unknown, and then it is asked."""

    tools: bool | None = None
    images: bool | None = None
    json_schema: bool | None = None
    logprobs: bool | None = None


class ModelConfig(Section):
    provider: Name
    model: str
    family: str | None = None
    price: PriceConfig | None = None
    supports: Supports = Supports()
    context: Annotated[int, Field(gt=0)] | None = None  # tokens
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    max_retries: Annotated[int, Field(ge=0, le=10)] | None = None
    accuracy: Probability | None = None  # simulated only: how often the model is right

    def retries_at(self, provider: ProviderConfig) -> int:
        return provider.max_retries if self.max_retries is None else self.max_retries

    def timeout_at(self, provider: ProviderConfig) -> float | None:
        """Seconds that one attempt may take; None: as long as the request has."""
        return self.timeout_s or provider.timeout_s


class EmbedderConfig(Section):
    provider: Name
    model: str
    price: PriceConfig | None = None


class MemberConfig(Section):
    model: Name
    weight: Annotated[float, Field(gt=0)] = 1.0
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    reliability: Probability | None = None
    calibration: tuple[tuple[Probability, Probability], ...] = ()


class StrategyConfig(Section):
    name: Annotated[str, NamedIn(STRATEGIES)] = "ensemble"
    stop: Literal["substantive", "agree"] = "substantive"
    order: Literal["cost", "config"] = "cost"


class AggregatorConfig(Section):
    name: Annotated[str, NamedIn(AGGREGATORS)] = "adaptive"
    judge: Name | None = None  # judge: the model that picks
    two_orders: bool = False  # judge: ask in two orders, fall back where they differ
    merger: Name | None = None  # merge, adaptive: the model that writes
    embedder: Name | None = None  # consensus, adaptive: else the built-in one
    near: Probability = 0.5  # adaptive: mean similarity from which prose counts as close in meaning


PANEL = "panel"  # as an escalation's target: every member


class EscalateConfig(Section):
    """One step of what follows a dispute. `to` is a model, or `panel`: every member judges the dispute."""

    to: Name | None = None  # None for `abstain` only
    below_agreement: Annotated[float, Field(gt=0, le=1)] = 1.0
    final: Literal["replace", "vote", "adjudicate", "abstain"] = "replace"


class StragglersConfig(Section):
    """How long slow members are waited for once `after` usable answers are there."""

    after: Annotated[int, Field(ge=1)]
    grace_s: Annotated[float, Field(ge=0)] = 1.0


class EnsembleConfig(Section):
    """A panel, its strategy and its aggregator; or `routes` alone, which name the ensemble for each form."""

    members: Annotated[tuple[MemberConfig, ...], Field(min_length=1, max_length=32)] = ()
    # Form of the request → ensemble or model that serves it. The first one serves the forms that are not named.
    routes: Annotated[dict[str, Name], Field(min_length=1)] = {}
    strategy: StrategyConfig = StrategyConfig()
    aggregator: AggregatorConfig = AggregatorConfig()
    deadline_s: Annotated[float, Field(gt=0, le=900)] = 25.0
    min_answers: Annotated[int, Field(ge=1)] = 1
    max_calls: Annotated[int, Field(ge=1, le=200)] = 24  # upstream attempts in one request, retries included
    early_decision: bool = True
    stragglers: StragglersConfig | None = None  # None: every member is waited for until the deadline
    escalate: Annotated[tuple[EscalateConfig, ...], Field(min_length=1, max_length=8)] = ()  # one step, or several
    answer_key: tuple[Annotated[str, Field(pattern=r"^/")], ...] = ()
    usage: UsagePolicy | None = None  # None: as the config says for all

    @property
    def targets(self) -> tuple[str, ...]:
        """The models that escalation steps ask, without repetition."""
        return tuple(dict.fromkeys(step.to for step in self.escalate if step.to and step.to != PANEL))

    @field_validator("escalate", mode="before")
    @classmethod
    def _one_step_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @field_validator("members", mode="before")
    @classmethod
    def _names_are_members(cls, value: Any) -> Any:
        return (
            [{"model": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value
        )

    @field_validator("strategy", "aggregator", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Config(Section):
    """A whole config. Names of models, embedders, ensembles and aliases are keys of the mappings."""

    providers: dict[Name, ProviderConfig]
    models: dict[Name, ModelConfig]
    embedders: dict[Name, EmbedderConfig] = {}
    ensembles: dict[Name, EnsembleConfig] = {}
    default: Name | None = None
    aliases: dict[Annotated[str, Field(min_length=1, max_length=128)], Name] = {}  # `*` stands for any characters
    baseline: Name | None = None  # a model: the trace tells what each request would have cost there
    usage: UsagePolicy = "selected"  # `usage` of a reply: the selected call's tokens, or all that were consumed
    abstention: Annotated[str, Field(min_length=1)] = "The models do not agree on an answer."
    trace: Literal["off", "summary", "full"] = "summary"
    log_content: bool = False  # with `trace: full`: prompts and answers too go to the log
