"""The shape of a config: what a user may write, with its defaults.

Pydantic models, because a config is untrusted input; frozen, because it is shared by all requests.
Cross references (a member that names no model, and so on) are checked in `references`. The text below
a field documents it: `reference` makes the tables of this room's README from it.
"""

from __future__ import annotations

import re
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
from emerge_core.types import Form

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


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_HEADERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _is_url(text: str) -> bool:
    """Whether requests can be sent there: a scheme, a host, and a port that exists."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in text
    except ValueError:
        return False


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
    """When a model counts as down, and for how long it is then not called."""

    failures: Annotated[int, Field(ge=0)] = 5
    """failed calls in a row after which the model counts as down; 0: never"""
    cooldown_s: Annotated[float, Field(gt=0)] = 10.0
    """seconds until one call tries it again; each failed try doubles the pause, five times at most"""


class GuardrailConfig(Section):
    """A guardrail of Amazon Bedrock, by its id or ARN, that checks every request of the provider."""

    id: Annotated[str, Field(pattern=r"^([a-z0-9]+|arn:aws[a-z-]*:bedrock:[a-z0-9-]+:[0-9]{12}:guardrail/[a-z0-9]+)$")]
    """its id or ARN"""
    version: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,7}|DRAFT)$")] = "DRAFT"
    """a number, or `DRAFT`"""


class ProviderConfig(Section):
    """An API that we can call. `api_key` is a reference (env:NAME), never a key itself."""

    kind: KindName
    """which API it speaks"""
    base_url: str | None = None
    """where the API is, if not at its maker's own address"""
    api_key: Annotated[str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|(ssm|secret):\S+)$")] | None = None
    """a reference to the key, never the key itself: `env:NAME`, `ssm:/path`, `secret:NAME_OR_ARN`, or
    `secret:NAME_OR_ARN#field` for a field of a JSON secret (`ssm:` and `secret:` on AWS only)"""
    headers: dict[str, str] = {}
    """sent with every request; a value may be a reference, as for `api_key`"""
    ca_file: str | None = None
    """certificates (PEM) to trust instead of the system's"""
    pass_through: tuple[str, ...] = ()
    """fields of a request that choose what is billed, such as `service_tier`, and may reach this provider"""
    send_trace_context: bool = False
    """send the W3C headers `traceparent` and `tracestate` too, if spans are exported (OpenTelemetry)"""
    connect_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """seconds for the connection and the TLS handshake"""
    first_byte_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """seconds until a reply begins (a reply that is not streamed begins when it is complete)"""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """seconds for one attempt, for models that name none"""
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    """attempts after the first one (408, 409, 429, 5xx, broken connections), for models that name none; never
    sooner than `Retry-After`, never beyond the deadline or `max_calls`"""
    breaker: BreakerConfig = BreakerConfig()
    """when a model of this provider counts as down; see `breaker` below"""
    region: Annotated[str, Field(pattern=r"^[a-z]{2,4}(-[a-z]+)+-[0-9]+$")] | None = None
    """bedrock only: the AWS Region; else `AWS_REGION`"""
    guardrail: GuardrailConfig | None = None
    """bedrock only: a guardrail for every request; see `guardrail` below"""
    service_tier: Literal["priority", "default", "flex", "reserved"] | None = None
    """bedrock only: Amazon's service tier for every request"""
    seed: int = 0
    """simulated only: changes which questions its models get wrong"""
    correlation: Probability = 0.0
    """simulated only: how often its models err on the same questions"""

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not _is_url(value):
            raise PydanticCustomError("url", "must be a URL that starts with http:// or https://")
        return value

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _HEADER_NAME.fullmatch(name):
                raise PydanticCustomError("header", "has a name that HTTP does not allow")
            if _NOT_IN_HEADERS.search(text):
                raise PydanticCustomError("header", "has a value with a line break or another control character")
        return value

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
    """for input tokens"""
    output: Annotated[float, Field(ge=0)]
    """for output tokens, reasoning included"""
    cached_input: Annotated[float, Field(ge=0)] | None = None
    """for input tokens read from the provider's cache; else as `input`"""
    cache_write: Annotated[float, Field(ge=0)] | None = None
    """for input tokens written to the provider's cache; else as `input`"""


class Supports(Section):
    """What a model can do. It is not asked for what is `false`; what is not said is tried."""

    tools: bool | None = None
    """tool calls"""
    images: bool | None = None
    """images in messages"""
    json_schema: bool | None = None
    """`response_format` with a schema"""
    logprobs: bool | None = None
    """token probabilities"""


class ModelConfig(Section):
    """A model of a provider, under the name that ensembles and clients call it by."""

    provider: Name
    """a provider of this config"""
    model: str
    """the provider's name for it"""
    family: str | None = None
    """models of one family tend to err together: `check` warns if two are in one panel"""
    price: PriceConfig | None = None
    """US dollars per million tokens, if the price catalogue does not know it or you pay another; see `price` below"""
    supports: Supports = Supports()
    """what it can do; see `supports` below"""
    context: Annotated[int, Field(gt=0)] | None = None
    """size of its context in tokens: longer requests are not sent to it"""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """seconds for one attempt; else the provider's"""
    max_retries: Annotated[int, Field(ge=0, le=10)] | None = None
    """attempts after the first one; else the provider's"""
    accuracy: Probability | None = None
    """simulated only: how often it is right"""

    def retries_at(self, provider: ProviderConfig) -> int:
        return provider.max_retries if self.max_retries is None else self.max_retries

    def timeout_at(self, provider: ProviderConfig) -> float | None:
        """Seconds that one attempt may take; None: as long as the request has."""
        return self.timeout_s or provider.timeout_s


class EmbedderConfig(Section):
    """A model for `/v1/embeddings`, and for the aggregators that compare meanings."""

    provider: Name
    """a provider of this config"""
    model: str
    """the provider's name for it"""
    price: PriceConfig | None = None
    """as for a model"""


class MemberConfig(Section):
    """A model's place in a panel. A name alone is `{model: name}`."""

    model: Name
    """a model of this config"""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """what its vote counts"""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """instead of the client's, so that several samples of one model differ"""
    reliability: Probability | None = None
    """how often it is right: its confidence if it has no calibrated token probabilities"""
    calibration: tuple[tuple[Probability, Probability], ...] = ()
    """`[[upper bound of a probability, accuracy up to it], …]`, ascending, the last bound 1.0: turns the probability
    of its answer's tokens into confidence; `tune` measures it"""


class StrategyConfig(Section):
    """Which members are asked, and when it is enough. A name alone is `{name: …}`."""

    name: Annotated[str, NamedIn(STRATEGIES)] = "ensemble"
    """see the table of strategies"""
    stop: Literal["substantive", "agree"] = "substantive"
    """cascade: stop at a usable answer without a hedge, or when two answers say the same"""
    order: Literal["cost", "config"] = "cost"
    """cascade: by list price, input plus output, unknown ones last; or as they stand in the config"""


class AggregatorConfig(Section):
    """How the answers become one. A name alone is `{name: …}`."""

    name: Annotated[str, NamedIn(AGGREGATORS)] = "adaptive"
    """see the table of aggregators"""
    judge: Name | None = None
    """the model that picks"""
    two_orders: bool = False
    """judge: ask twice, with the candidates in opposite orders; if the picks differ, vote instead"""
    merger: Name | None = None
    """the model that writes the answer"""
    embedder: Name | None = None
    """an embedder of this config to compare meanings with; else the built-in one, which needs no network"""
    near: Probability = 0.5
    """adaptive: mean similarity from which prose counts as close in meaning"""


PANEL = "panel"  # as an escalation's target: every member


class EscalateConfig(Section):
    """One step of what follows a dispute."""

    to: Name | None = None
    """the model that is asked, or `panel`: every member judges the dispute; none with `final: abstain`"""
    below_agreement: Annotated[float, Field(gt=0, le=1)] = 1.0
    """the step is taken if the agreement is below this share of the weight asked"""
    final: Literal["replace", "vote", "adjudicate", "abstain"] = "replace"
    """`replace`: its answer is the reply; `vote`: it joins the vote; `adjudicate`: it is shown the distinct answers and
    settles them; `abstain`: the reply says that the models do not agree"""


class StragglersConfig(Section):
    """How long slow members are waited for. Without it, until the deadline."""

    after: Annotated[int, Field(ge=1)]
    """usable answers after which the wait for the others is limited"""
    grace_s: Annotated[float, Field(ge=0)] = 1.0
    """seconds that it then still lasts"""


class EnsembleConfig(Section):
    """A panel, its strategy and its aggregator; or `routes` alone, which name the ensemble for each form."""

    members: Annotated[tuple[MemberConfig, ...], Field(min_length=1, max_length=32)] = ()
    """names of models, or `{model, weight, …}`; see `member` below"""
    routes: Annotated[dict[str, Name], Field(min_length=1)] = {}
    """instead of everything else: which ensemble or model serves which form of request (`tools`, `json`, `choices`,
    `short`, `open_ended`); the first one serves the forms that are not named"""
    strategy: StrategyConfig = StrategyConfig()
    """which members are asked; see `strategy` below"""
    aggregator: AggregatorConfig = AggregatorConfig()
    """how the answers become one; see `aggregator` below"""
    deadline_s: Annotated[float, Field(gt=0, le=900)] = 25.0
    """seconds until the client receives the first useful text: of a reply that does not stream live, for all of it"""
    stream_idle_s: Annotated[float, Field(gt=0, le=900)] = 30.0
    """seconds of silence after which an answer that streams live is cut off"""
    min_answers: Annotated[int, Field(ge=1)] = 1
    """fewer usable answers than this are an error"""
    max_calls: Annotated[int, Field(ge=1, le=200)] = 24
    """upstream attempts in one request, retries included"""
    early_decision: bool = True
    """stop when the members still out cannot change the answer"""
    stragglers: StragglersConfig | None = None
    """limits the wait for slow members; see `stragglers` below"""
    escalate: Annotated[tuple[EscalateConfig, ...], Field(min_length=1, max_length=8)] = ()
    """what follows a dispute: one step, or a list of them; see `escalate` below"""
    answer_key: tuple[Annotated[str, Field(pattern=r"^/")], ...] = ()
    """for JSON answers: the JSON pointers that are the vote; else every short leaf"""
    usage: UsagePolicy | None = None
    """as `usage` of the config, for this ensemble"""

    def route(self, form: Form) -> str:
        """The ensemble or model that serves requests of this form. Of an ensemble with routes."""
        return self.routes.get(form) or next(iter(self.routes.values()))

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
    """by name; see `provider` below"""
    models: dict[Name, ModelConfig]
    """by name; see `model` below"""
    embedders: dict[Name, EmbedderConfig] = {}
    """by name; see `embedder` below"""
    ensembles: dict[Name, EnsembleConfig] = {}
    """by name; see `ensemble` below"""
    default: Name | None = None
    """the ensemble or model that serves requests that name none, as in `Engine.run`; else the first ensemble"""
    aliases: dict[Annotated[str, Field(min_length=1, max_length=128)], Name] = {}
    """names that clients already send → ensemble or model; `*` stands for any characters"""
    baseline: Name | None = None
    """a model: the reply says what the same request would have cost there, without asking it: the selected call's
    tokens at its price (for a merged or adjudicated answer, a member's input tokens and the final answer's output)"""
    usage: UsagePolicy = "selected"
    """which tokens a reply's `usage` counts: the winning call's (which clients manage their context by), or all that
    were consumed; the `emerge` object always has both"""
    abstention: Annotated[str, Field(min_length=1)] = "The models do not agree on an answer."
    """what the reply says with `final: abstain`"""
    trace: Literal["off", "summary", "full"] = "summary"
    """how much the `emerge` object of a reply holds; `full` adds answer keys and texts"""
    log_content: bool = False
    """with `trace: full`: prompts and answers go to the log too"""
