"""Reads the logs of other tools: what was asked of which model, what it answered, and how the tool scored that.

| tool | file |
|---|---|
| lm-evaluation-harness | `samples_*.jsonl`, written with `--log_samples`; the model is the folder's name |
| inspect-ai | `.eval` or `.json` logs |
| OpenAI's batch API | the input file and the output file, joined on `custom_id` |
| Anthropic's message batches | the requests (`custom_id`, `params`) and the results |
| LiteLLM | JSON lines of its standard logging payload |
| promptfoo | `.json` or `.jsonl` output of an evaluation |
"""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from emerge_core.errors import EmergeError, MissingExtraError

Row = Mapping[str, Any]

RIGHT_METRICS = ("exact_match", "acc", "pass@1", "em")  # of lm-evaluation-harness: 1 right, 0 wrong
GRADES = {"C": 1, "I": 0}  # of inspect-ai; partial credit and no answer are not verdicts
STOPS = {"max_tokens": "length", "model_length": "length", "content_filter": "content_filter"}  # of inspect-ai
NUMBER_MARK = "####"  # before the number in answers of gsm8k


class LogFile(NamedTuple):
    """A file, and the model to record it under if the file does not say, or another name is wanted."""

    path: Path
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedReply:
    """One call. `request` is the body of a chat completion without `model`; `reply` has fields of a recorded row."""

    model: str
    request: Row
    reply: Row
    answers: tuple[str, ...] = ()
    tool: str = ""


@dataclass(slots=True)
class Logs:
    """The calls that some files hold. `skipped` counts entries that are no calls, by reason."""

    replies: list[LoggedReply] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def read_logs(files: Sequence[LogFile]) -> Logs:
    """Raises EmergeError if a file cannot be read or its format is not known."""
    logs = Logs()
    read = [(file, entries) for file in files for entries in [list(_entries(file.path))]]
    batches = _batch_requests(entries for _, entries in read)
    for file, entries in read:
        if not entries:
            raise EmergeError(f"{file.path} holds no JSON objects")
        parse = _format_of(entries[0])
        if parse is None:
            raise EmergeError(
                f"{file.path}: no log of a known tool; read are those of lm-evaluation-harness, inspect-ai, OpenAI and "
                "Anthropic batches, LiteLLM and promptfoo"
            )
        for entry in entries:
            try:
                parse(entry, file, batches, logs)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                logs.skip("entries of a shape that is not known")
    return logs


Parse = Callable[[Row, LogFile, Mapping[str, Row], Logs], None]


def _format_of(entry: Row) -> Parse | None:
    """By the keys that a format's entries have."""
    entry = entry.get("standard_logging_object") or entry
    for keys, parse in (
        ({"doc_id", "resps", "arguments"}, _lm_eval),
        ({"eval", "samples"}, _inspect),
        ({"custom_id", "body"}, _batch_request),
        ({"custom_id", "params"}, _batch_request),
        ({"custom_id", "response"}, _openai_batch),
        ({"custom_id", "result"}, _anthropic_batch),
        ({"call_type", "messages", "response"}, _litellm),
        ({"provider", "prompt", "response"}, _promptfoo),
        ({"provider", "prompt", "error"}, _promptfoo),
    ):
        if keys <= entry.keys():
            return parse
    return None


def _lm_eval(entry: Row, file: LogFile, _: Mapping[str, Row], logs: Logs) -> None:
    arguments, replies = entry["arguments"], entry["resps"]
    first = next(iter(arguments.values()), {}) if isinstance(arguments, Mapping) else arguments[0]
    prompt = first.get("arg_0") if isinstance(first, Mapping) else first[0]
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        (prompt,) = prompt  # messages as JSON: `--apply_chat_template` with a model behind an API
    text = replies[0] if replies else None
    text = text[0] if isinstance(text, list) and text else text
    if not isinstance(text, str) or len(arguments) > 1:
        logs.skip("log-likelihoods, not replies")
        return
    target = entry.get("target")
    targets = target if isinstance(target, list) else [target]
    answers = (str(each).rsplit(NUMBER_MARK, 1)[-1].strip() for each in targets if isinstance(each, (str, int, float)))
    scores = [entry[name] for name in RIGHT_METRICS if isinstance(entry.get(name), (int, float))]
    logs.replies.append(
        LoggedReply(
            model=file.model or _folder_model(file.path),
            request=_request_of(prompt),
            reply={"response_text": text, **({"correct": int(max(scores) >= 1)} if scores else {})},
            answers=tuple(filter(None, answers)),
            tool="lm-evaluation-harness",
        )
    )


def _folder_model(path: Path) -> str:
    """The harness writes into a folder named after the model, with `__` for `/`."""
    return path.resolve().parent.name.replace("__", "/")


def _inspect(entry: Row, file: LogFile, _: Mapping[str, Row], logs: Logs) -> None:
    model = file.model or _inspect_model(str(entry["eval"].get("model", "")))
    for sample in entry["samples"] or ():
        output = sample.get("output") or {}
        choice = next(iter(output.get("choices") or ()), None)
        if sample.get("error") or choice is None:
            logs.skip("failed samples")
            continue
        messages = [_plain_message(each) for each in sample.get("messages") or ()]
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        if not messages:
            messages = _request_of(sample.get("input"))["messages"]
        if any(message["role"] in ("assistant", "tool") for message in messages):
            logs.skip("samples of several turns")
            continue
        usage = output.get("usage") or {}
        counts = {name: usage[name] for name in ("input_tokens", "output_tokens") if name in usage}
        reply: dict[str, Any] = {
            "response_text": _text(choice["message"].get("content")),
            "finish_reason": STOPS.get(choice.get("stop_reason"), "stop"),
        }
        if counts:
            reply |= {"usage": counts, "completion_tokens": counts.get("output_tokens", 0)}
        if isinstance(output.get("time"), (int, float)):
            reply["latency_ms"] = round(output["time"] * 1000, 1)
        values = [score.get("value") for score in (sample.get("scores") or {}).values()]
        verdicts = [GRADES.get(value, value) if isinstance(value, str) else value for value in values]
        if verdicts and verdicts[0] in (0, 1):
            reply["correct"] = int(verdicts[0])
        target = sample.get("target")
        answers = tuple(str(each) for each in (target if isinstance(target, list) else [target]) if each)
        logs.replies.append(
            LoggedReply(model=model, request={"messages": messages}, reply=reply, answers=answers, tool="inspect-ai")
        )


def _inspect_model(name: str) -> str:
    """Without the provider, and without the service of `openai-api/<service>/<model>`."""
    provider, _, model = name.partition("/")
    return model.partition("/")[2] if provider == "openai-api" else model or name


def _batch_request(entry: Row, file: LogFile, _: Mapping[str, Row], logs: Logs) -> None:
    """Requests are read by `_batch_requests`."""


def _batch_requests(files: Iterable[Sequence[Row]]) -> dict[str, Row]:
    """The bodies of batch requests by their `custom_id`."""
    found: dict[str, Row] = {}
    for entries in files:
        for entry in entries:
            body = entry.get("body") if isinstance(entry.get("body"), Mapping) else entry.get("params")
            if "custom_id" in entry and isinstance(body, Mapping):
                found[str(entry["custom_id"])] = body
    return found


def _openai_batch(entry: Row, file: LogFile, requests: Mapping[str, Row], logs: Logs) -> None:
    body = (entry.get("response") or {}).get("body") or {}
    choice = next(iter(body.get("choices") or ()), None)
    request = requests.get(str(entry["custom_id"]))
    if request is None or choice is None:
        logs.skip("results without their request: give the batch's input file, too" if choice else "failed requests")
        return
    usage = body.get("usage") or {}
    reply = _openai_reply(choice, usage.get("prompt_tokens"), usage.get("completion_tokens"))
    model = file.model or str(body.get("model") or request.get("model"))
    logs.replies.append(LoggedReply(model=model, request=_chat_request(request), reply=reply, tool="OpenAI batch"))


def _anthropic_batch(entry: Row, file: LogFile, requests: Mapping[str, Row], logs: Logs) -> None:
    result = entry["result"]
    request = requests.get(str(entry["custom_id"]))
    if result.get("type") != "succeeded":
        logs.skip("failed requests")
        return
    if request is None:
        logs.skip("results without their request: give the batch's requests, too")
        return
    message, system = result["message"], request.get("system")
    messages = [{"role": "system", "content": _text(system)}] if system else []
    messages += [{"role": each["role"], "content": _text(each.get("content"))} for each in request["messages"]]
    usage = message.get("usage") or {}
    reply = {
        "response_text": _text(message.get("content")),
        "finish_reason": {"max_tokens": "length", "refusal": "content_filter"}.get(message.get("stop_reason"), "stop"),
        **_usage(usage.get("input_tokens"), usage.get("output_tokens")),
    }
    model = file.model or str(message.get("model") or request.get("model"))
    logs.replies.append(LoggedReply(model=model, request={"messages": messages}, reply=reply, tool="Anthropic batch"))


def _litellm(entry: Row, file: LogFile, _: Mapping[str, Row], logs: Logs) -> None:
    entry = entry.get("standard_logging_object") or entry
    response = entry.get("response")
    choice = next(iter(response.get("choices") or ()), None) if isinstance(response, Mapping) else None
    if entry.get("status") == "failure" or choice is None or not isinstance(entry.get("messages"), (list, str)):
        logs.skip("failed calls, or calls whose content was not logged")
        return
    reply = _openai_reply(choice, entry.get("prompt_tokens"), entry.get("completion_tokens"))
    if isinstance(entry.get("response_cost"), (int, float)):
        reply["cost_usd"] = entry["response_cost"]
    if isinstance(entry.get("startTime"), (int, float)) and isinstance(entry.get("endTime"), (int, float)):
        reply["latency_ms"] = round((entry["endTime"] - entry["startTime"]) * 1000, 1)
    request = {**(entry.get("model_parameters") or {}), **_request_of(entry["messages"])}
    model = file.model or str(entry["model"]).split("/", 1)[-1]
    logs.replies.append(LoggedReply(model=model, request=_chat_request(request), reply=reply, tool="LiteLLM"))


def _promptfoo(entry: Row, file: LogFile, _: Mapping[str, Row], logs: Logs) -> None:
    response, prompt = entry.get("response") or {}, entry["prompt"]
    output, provider = response.get("output"), entry["provider"]
    if output is None or response.get("error"):
        logs.skip("failed calls")
        return
    usage = response.get("tokenUsage") or {}
    reply: dict[str, Any] = {"response_text": output if isinstance(output, str) else json.dumps(output)}
    reply |= _usage(usage.get("prompt"), usage.get("completion"))
    if isinstance(response.get("cost"), (int, float)):
        reply["cost_usd"] = response["cost"]
    if isinstance(entry.get("latencyMs"), (int, float)):
        reply["latency_ms"] = float(entry["latencyMs"])
    if (entry.get("testCase") or {}).get("assert") and isinstance(entry.get("success"), bool):
        reply["correct"] = int(entry["success"])
    named = provider.get("label") or provider.get("id") if isinstance(provider, Mapping) else provider
    raw = prompt.get("raw") if isinstance(prompt, Mapping) else prompt
    model = file.model or str(named).rsplit(":", 1)[-1]
    logs.replies.append(LoggedReply(model=model, request=_request_of(raw), reply=reply, tool="promptfoo"))


def _openai_reply(choice: Row, input_tokens: Any, output_tokens: Any) -> dict[str, Any]:
    message = choice.get("message") or {}
    reply: dict[str, Any] = {
        "response_text": message.get("content") or "",
        "finish_reason": choice.get("finish_reason") or "stop",
        **_usage(input_tokens, output_tokens),
    }
    calls = message.get("tool_calls") or ()
    if calls:
        reply["tool_calls"] = [{"id": each.get("id") or "", **_called(each["function"])} for each in calls]
    return reply


def _called(function: Row) -> dict[str, str]:
    return {"name": str(function["name"]), "arguments": str(function["arguments"])}


def _usage(input_tokens: Any, output_tokens: Any) -> dict[str, Any]:
    if not isinstance(output_tokens, int):
        return {}
    counts = {"output_tokens": output_tokens, **({"input_tokens": input_tokens} if input_tokens else {})}
    return {"usage": counts, "completion_tokens": output_tokens}


def _request_of(prompt: Any) -> dict[str, Any]:
    """A prompt, or a list of messages, also written as JSON, as the body of a chat completion."""
    if isinstance(prompt, str) and prompt.lstrip().startswith("[{"):
        with suppress(ValueError):
            prompt = json.loads(prompt)
    if isinstance(prompt, list):
        return {"messages": [_plain_message(message) for message in prompt]}
    return {"messages": [{"role": "user", "content": str(prompt)}]}


def _plain_message(message: Row) -> dict[str, Any]:
    return {"role": str(message["role"]), "content": _text(message.get("content"))}


def _chat_request(body: Row) -> dict[str, Any]:
    """What of a body decides the answer's form; the rest differs from tool to tool."""
    return {name: body[name] for name in ("messages", "tools", "tool_choice", "response_format") if body.get(name)}


def _text(content: Any) -> str:
    """Text, or the text of content parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, Mapping))


def _entries(path: Path) -> Iterator[Row]:
    """The JSON objects of a file: lines, one document, a list, an inspect-ai archive, or an evaluation's results."""
    try:
        raw = path.read_bytes()
        if zipfile.is_zipfile(path):
            yield _archive(path)
            return
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, zipfile.BadZipFile, NotImplementedError, KeyError) as error:
        raise EmergeError(f"{path}: cannot be read: {error}") from error
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, Mapping) and isinstance(whole.get("results"), Mapping) and "evalId" in whole:  # promptfoo
        whole = whole["results"].get("results")
    if isinstance(whole, Mapping):
        yield whole
    elif isinstance(whole, list):
        yield from (each for each in whole if isinstance(each, Mapping))
    else:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    found = json.loads(line)
                except ValueError as error:
                    raise EmergeError(f"{path}:{number}: not JSON: {error}") from error
                if isinstance(found, Mapping):
                    yield found


def _archive(path: Path) -> Row:
    """An inspect-ai archive as its JSON log would be. Raises zipfile.BadZipFile if it is damaged."""
    try:
        if sys.version_info >= (3, 14):
            return _unpacked(zipfile.ZipFile(path))
        try:
            from backports.zstd import ZstdError
            from backports.zstd import zipfile as archives  # the standard library knows no zstd before 3.14
        except ImportError:
            return _unpacked(zipfile.ZipFile(path))
        try:
            return _unpacked(archives.ZipFile(path))
        except (archives.BadZipFile, ZstdError) as error:
            raise zipfile.BadZipFile(str(error)) from error
    except NotImplementedError as error:
        needs = f"{path} is compressed; reading it needs backports.zstd (or convert it: inspect log convert --to json)"
        raise MissingExtraError(needs, extra="eval") from error


def _unpacked(archive: Any) -> Row:
    with archive:
        names = archive.namelist()
        head = "header.json" if "header.json" in names else "_journal/start.json"
        header = json.loads(archive.read(head))
        samples = [json.loads(archive.read(name)) for name in sorted(names) if name.startswith("samples/")]
    return {**header, "samples": samples}
