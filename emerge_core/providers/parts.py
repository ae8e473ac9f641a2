"""Pieces of OpenAI messages that more than one adapter has to take apart or to put together."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from emerge_core.providers.errors import bad_response, unsupported
from emerge_core.types import Delta, EmbeddingRequest, JsonObject, TokenLogprob, TopLogprob, Usage, text_of

MAX_EMBEDDINGS = 40_000_000  # bytes of a reply: 2,048 vectors of 3,072 numbers in base64 take 34 million
# Fields that choose what is billed, behind the config's back: another model, a dearer tier, a paid search, several
# answers, or another account. They reach a provider only if its `pass_through` lists them.
BILLING_FIELDS = frozenset(
    (
        *("models", "provider", "plugins", "route", "transforms", "preset", "fallbacks", "service_tier", "speed"),
        *("web_search_options", "search_parameters", "enable_search", "best_of", "num_retries", "mcp_servers"),
        *("api_key", "api_base", "base_url", "api_version", "custom_llm_provider", "model_list", "deployment_id"),
        *("extra_body", "extra_headers", "container", "inference_geo"),
    )
)
MAX_DELTA_LOGPROBS = 500
MAX_CALLS = 1_000  # tool calls, or blocks of content, of one reply
_MOST_TOKENS = 1_000_000_000  # a count above this is a fault of the upstream, not a usage


def content_text(content: Any) -> str | None:
    """The text of a reply's content, or None if it has none. Raises UpstreamError if the content is not text."""
    if content is not None and not isinstance(content, (str, list)):
        raise bad_response("the content of the upstream's message is not text")
    return None if content is None else text_of(content)


def block_text(text: Any) -> str:
    """The text of a block of content; "" if it has none. Raises UpstreamError if it is not text."""
    if text is not None and not isinstance(text, str):
        raise bad_response("the content of the upstream's message is not text")
    return text or ""


def unfenced(text: str) -> str:
    """JSON that was asked for, without the Markdown code fence that models without a JSON mode put
    around it; any other text as it is."""
    inner = text.strip()
    if not (inner.startswith("```") and inner.endswith("```") and inner.count("```") == 2):
        return text
    first, _, rest = inner[3:-3].partition("\n")
    whole = rest.strip() and first.strip().lower() in ("", "json")
    return rest.strip() if whole else text


def texts_of(request: EmbeddingRequest) -> tuple[str, ...]:
    texts = request.texts
    if texts is None:
        raise unsupported("this provider embeds texts, not token ids", param="input")
    return texts


def vectors_of(rows: Any, expected: int) -> list[list[float]]:
    """The vectors of a reply. Raises UpstreamError unless there is one per text, all of one length, of finite
    numbers: anything else would spoil every comparison."""
    if not isinstance(rows, list) or len(rows) != expected:
        raise bad_response("the upstream's reply does not have one embedding per text")
    try:
        vectors = [[float(number) for number in row] for row in rows]
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_response("an embedding in the upstream's reply is malformed") from error
    if len({len(vector) for vector in vectors}) > 1 or not all(vectors):
        raise bad_response("the embeddings in the upstream's reply are empty or of different lengths")
    if not all(math.isfinite(sum(vector)) for vector in vectors) and not _all_finite(vectors):
        raise bad_response("an embedding in the upstream's reply has a number that is not finite")
    return vectors


def _all_finite(vectors: list[list[float]]) -> bool:
    """A sum is quick, but may overflow where every number is finite."""
    return all(math.isfinite(number) for vector in vectors for number in vector)


def json_instruction(schema: JsonObject | None) -> str:
    """The instruction for a model that has no native way to reply in JSON. Whether it obeys is checked later."""
    if not schema:
        return "Reply with one JSON object and nothing else: no code fence, no text around it."
    text = json.dumps(schema, ensure_ascii=False)
    return (
        f"Reply with JSON and nothing else: no code fence, no text around it. It must satisfy this JSON schema:\n{text}"
    )


class Image(NamedTuple):
    """`data` is base64 text, and `media_type` its type, for a data URL; else `url` is set."""

    url: str | None
    media_type: str = ""
    data: str = ""


class Document(NamedTuple):
    """A file that stands in the request. `data` is base64 text, and `media_type` its type."""

    media_type: str
    data: str
    name: str | None = None


def pieces(content: Any) -> Iterator[str | Image | Document]:
    """The texts, images and files of a message's content in their order, whatever form it has."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, (list, tuple)):
        for part in content:
            yield _piece(part)


def _piece(part: Any) -> str | Image | Document:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return str(part[kind])
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, Mapping) else image
        if isinstance(url, str):
            return _image(url)
    file = part.get("file") if kind == "file" else None
    if isinstance(file, Mapping) and isinstance(file.get("file_data"), str):
        name = file.get("filename")
        return Document(*_data_url(file["file_data"], "a file"), name=name if isinstance(name, str) else None)
    raise unsupported(f"this provider takes no content part of type {kind!r}", param="messages")


def _image(url: str) -> Image:
    if not url.startswith("data:"):
        return Image(url=url)
    media_type, data = _data_url(url, "an image")
    return Image(url=None, media_type=media_type, data=data)


def _data_url(url: str, what: str) -> tuple[str, str]:
    """The media type and the base64 text of a data: URL."""
    head, _, data = url.removeprefix("data:").partition(",")
    media_type, *flags = head.split(";")
    if not url.startswith("data:") or "base64" not in flags:
        raise unsupported(f"{what} in a data: URL must be base64", param="messages")
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise unsupported(f"{what} in a data: URL is not valid base64", param="messages") from error
    return media_type, data


def function_of(tool: JsonObject) -> Mapping[str, Any]:
    """The function of a tool or of a tool call; empty for any other kind of tool."""
    function = tool.get("function")
    return function if isinstance(function, Mapping) else {}


def check_calls(count: int) -> None:
    """Raises UpstreamError for more tool calls than anybody could carry out."""
    if count > MAX_CALLS:
        raise bad_response(f"the upstream's reply has more than {MAX_CALLS:,} tool calls", provoked=True)


def arguments_object(arguments: Any) -> dict[str, Any]:
    """A call's arguments as an object: providers that take no text need one, even if it is broken."""
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return {"arguments": arguments}
    return dict(value) if isinstance(value, Mapping) else {} if value is None else {"arguments": value}


def alternatives(tokens: list[Any]) -> int:
    """How many alternatives each token comes with, by the first one."""
    first = tokens[0].get("top_logprobs") if tokens and isinstance(tokens[0], Mapping) else None
    return len(first) if isinstance(first, list) else 0


def logprobs_of(content: Any) -> tuple[TokenLogprob, ...] | None:
    """OpenAI's list of token logprobs (Ollama has the same); None where it is missing or malformed."""
    try:
        return (
            tuple(
                TokenLogprob(
                    token=str(entry["token"]),
                    logprob=_logprob(entry["logprob"]),
                    top=tuple(
                        TopLogprob(str(top["token"]), _logprob(top["logprob"]))
                        for top in entry.get("top_logprobs") or ()
                    ),
                )
                for entry in content
            )
            or None
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def with_logprobs(delta: Delta, content: list[Any]) -> Iterator[Delta]:
    """The delta with the logprobs of its tokens; if they are many, further deltas carry the rest, so that none of them
    takes long to encode."""
    logprobs = logprobs_of(content)
    yield replace(delta, logprobs=logprobs[:MAX_DELTA_LOGPROBS]) if logprobs else delta
    for start in range(MAX_DELTA_LOGPROBS, len(logprobs or ()), MAX_DELTA_LOGPROBS):
        yield Delta(logprobs=(logprobs or ())[start : start + MAX_DELTA_LOGPROBS])


def _logprob(value: Any) -> float:
    number = float(value)
    if math.isnan(number):
        raise ValueError("not a number")
    return max(number, -9999.0)  # OpenAI's own "very unlikely"; JSON has no infinity


def count(counts: Any, *path: str) -> int:
    """A token count, 0 where it is absent. Raises ValueError for what cannot be one."""
    value = counts
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_TOKENS:
        raise ValueError("not a token count")
    return value


def whole_usage(
    *, input_tokens: int, output_tokens: int, cached: int = 0, cache_write: int = 0, reasoning: int = 0
) -> Usage:
    """A usage whose parts are not larger than their wholes."""
    cached = min(cached, input_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        cache_write_tokens=min(cache_write, input_tokens - cached),
        reasoning_tokens=min(reasoning, output_tokens),
    )
