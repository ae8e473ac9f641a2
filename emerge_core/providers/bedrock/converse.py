"""OpenAI's chat request as the body of Bedrock's Converse operation.

Converse has one shape for every maker's model. What it lacks (a seed, penalties, log probabilities) is
dropped by name; what only some models take (a forced tool, a JSON schema) is sent until the model
refuses it. The shapes are those of botocore's service model `bedrock-runtime`, against whose validator
the tests hold every body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emerge_core.providers.bedrock.messages import called, conversation, step_without_thinking
from emerge_core.providers.bedrock.outcomes import OPTIONAL
from emerge_core.providers.errors import unsupported
from emerge_core.providers.parts import function_of, json_instruction
from emerge_core.types import ChatRequest, JsonObject

REPLY_TOOL = "reply"

# Models that enforce a JSON schema themselves (Bedrock user guide, "Get validated JSON results from models").
_ENFORCES_SCHEMAS = re.compile(
    r"claude-(haiku|sonnet|opus)-(4-[5-9]|[5-9])|\b(qwen|deepseek|mistral|google|nvidia|minimax|moonshot\w*|openai)\."
)
_CLAUDE = re.compile(r"\banthropic\.")
_GPT_OSS = re.compile(r"\bopenai\.")
_NOVA = re.compile(r"\bamazon\.nova")
_NOVA_2 = re.compile(r"\bamazon\.nova-2")
_REASONS_BY_EFFORT = re.compile(r"claude-(opus-4-[5-9]|(haiku|sonnet)-4-[6-9]|(haiku|sonnet|opus)-[5-9])")
_CLAUDE_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_THREE_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


@dataclass(frozen=True, slots=True)
class Wire:
    """A translated request, with what is needed to read its reply."""

    body: dict[str, Any]
    dropped: tuple[str, ...]
    sent: frozenset[str]  # the optional parameters in the body
    text_in_tool: bool = False  # the text of the reply is the input of the forced tool
    wants_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What the config adds to every request of a provider."""

    guardrail_id: str | None = None
    guardrail_version: str | None = None
    service_tier: str | None = None


def to_wire(
    model: str, request: ChatRequest, *, refused: frozenset[str] = frozenset(), extras: Extras | None = None
) -> Wire:
    """`refused` holds the optional parameters that this model has refused before. Raises UpstreamError
    (`unsupported`) for content that Converse cannot carry."""
    thinking, step_lacks_it = _thinking(model, request), step_without_thinking(request.messages)
    system, turns = conversation(request.messages, thinking=not (thinking and step_lacks_it))
    tools = [_tool(tool) for tool in request.tools if request.tool_choice != "none"]
    choice = _choice(request) if tools else None
    schema = request.json_schema
    text_format: dict[str, Any] | None = None
    text_in_tool = False
    if schema and _ENFORCES_SCHEMAS.search(model) and "textFormat" not in refused:
        text_format = _text_format(request, schema)
    elif schema and not request.tools and schema.get("type") == "object" and "toolChoice" not in refused:
        tools = [_spec(REPLY_TOOL, "Give the whole answer.", schema)]
        choice = {"tool": {"name": REPLY_TOOL}}
        text_in_tool = True
    if request.wants_json and text_format is None and not text_in_tool:
        system.append({"text": json_instruction(schema)})

    dropped = [name for name, value in _never(request).items() if value is not None]
    if not tools and (names := called(request.messages)):
        # Calls in the conversation need their tools, and Converse cannot forbid calling them again.
        tools = [_spec(name, None, {"type": "object"}) for name in names]
        if request.tool_choice == "none":
            dropped.append("tool_choice")
    if thinking and step_lacks_it:
        thinking = None  # the model would refuse the step; named in dropped_params
    stop = [text for text in request.stop if text.strip()]
    if len(stop) < len(request.stop):
        dropped.append("stop")
    effort = request.extra.get("reasoning_effort")
    optional: dict[str, Any] = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": stop or None,
        "toolChoice": choice,
        "textFormat": text_format,
        "effort": _effort(model, effort),
        "thinking": thinking,
        "topK": request.extra.get("top_k") if _CLAUDE.search(model) or _NOVA.search(model) else None,
    }
    if request.temperature is not None and request.temperature > 1:
        optional["temperature"] = 1.0  # the end of Converse's scale; named, because it was changed
        dropped.append("temperature")
    sent = {name: value for name, value in optional.items() if value is not None and name not in refused}
    dropped += [OPTIONAL[name] for name, value in optional.items() if value is not None and name in refused]
    carried = {"reasoning_effort": "effort", "top_k": "topK", "thinking": "thinking"}
    dropped += [name for name in request.extra if carried.get(name) not in sent]

    body = _body(model, system, turns, tools, sent, request.max_tokens, extras or Extras())
    return Wire(
        body=body,
        dropped=tuple(dict.fromkeys(dropped)),
        sent=frozenset(sent),
        text_in_tool=text_in_tool,
        wants_json=request.wants_json,
    )


def _body(
    model: str,
    system: list[dict[str, Any]],
    turns: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    sent: Mapping[str, Any],
    max_tokens: int | None,
    extras: Extras,
) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": turns}
    if system:
        body["system"] = system
    inference = {name: sent[name] for name in ("temperature", "topP", "stopSequences") if name in sent}
    if max_tokens is not None:
        inference["maxTokens"] = max_tokens
    if inference:
        body["inferenceConfig"] = inference
    if tools:
        body["toolConfig"] = {"tools": tools} | ({"toolChoice": sent["toolChoice"]} if "toolChoice" in sent else {})
    output = {"textFormat": sent["textFormat"]} if "textFormat" in sent else {}
    own: dict[str, Any] = {}
    if "effort" in sent:
        if _GPT_OSS.search(model):
            own["reasoning_effort"] = sent["effort"]
        elif _NOVA_2.search(model):
            own["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": sent["effort"]}
        else:
            output["effort"] = sent["effort"]
    if "thinking" in sent:
        own["thinking"] = sent["thinking"]
    if "topK" in sent:
        own |= {"top_k": sent["topK"]} if _CLAUDE.search(model) else {"inferenceConfig": {"topK": sent["topK"]}}
    if output:
        body["outputConfig"] = output
    if own:
        body["additionalModelRequestFields"] = own
    if extras.guardrail_id is not None:
        body["guardrailConfig"] = {
            "guardrailIdentifier": extras.guardrail_id,
            "guardrailVersion": extras.guardrail_version or "DRAFT",
        }
    if extras.service_tier is not None:
        body["serviceTier"] = {"type": extras.service_tier}
    return body


def _never(request: ChatRequest) -> dict[str, Any]:
    """The parameters that Converse has no place for."""
    return {
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "seed": request.seed,
        "logprobs": request.logprobs or None,
        "top_logprobs": request.top_logprobs,
        "parallel_tool_calls": True if request.tools and request.parallel_tool_calls is False else None,
    }


def _thinking(model: str, request: ChatRequest) -> Any:
    """Anthropic's own parameter, which its models take on Bedrock too."""
    wanted = request.extra.get("thinking")
    return wanted if _CLAUDE.search(model) and isinstance(wanted, Mapping) else None


def _effort(model: str, effort: Any) -> str | None:
    if _REASONS_BY_EFFORT.search(model):
        return _CLAUDE_EFFORTS.get(str(effort))
    if _GPT_OSS.search(model) or _NOVA_2.search(model):
        return _THREE_EFFORTS.get(str(effort))
    return None


def _tool(tool: JsonObject) -> dict[str, Any]:
    function = function_of(tool)
    name, description = function.get("name"), function.get("description")
    if not isinstance(name, str):
        raise unsupported(f"Bedrock takes function tools only, not {tool.get('type')!r}", param="tools")
    parameters = function.get("parameters")
    return _spec(name, description if isinstance(description, str) else None, parameters or {})


def _spec(name: str, description: str | None, parameters: JsonObject) -> dict[str, Any]:
    schema = dict(parameters)
    schema.setdefault("type", "object")
    spec: dict[str, Any] = {"name": name, "inputSchema": {"json": schema}}
    if description:
        spec["description"] = description
    return {"toolSpec": spec}


def _choice(request: ChatRequest) -> dict[str, Any] | None:
    wanted = request.tool_choice
    if isinstance(wanted, Mapping):
        return {"tool": {"name": function_of(wanted).get("name")}}
    return {"any": {}} if wanted == "required" else None  # auto is Converse's default


def _text_format(request: ChatRequest, schema: JsonObject) -> dict[str, Any]:
    wanted = (request.response_format or {}).get("json_schema")
    name = wanted.get("name") if isinstance(wanted, Mapping) else None
    definition = {"schema": json.dumps(schema, ensure_ascii=False)} | ({"name": name} if isinstance(name, str) else {})
    return {"type": "json_schema", "structure": {"jsonSchema": definition}}
