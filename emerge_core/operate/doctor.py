"""The health of a deployed stack: one check after another, each with what to do about a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, Literal, NamedTuple

from emerge_core.config.advice import warnings
from emerge_core.config.aws import field_of
from emerge_core.config.keys import secret_references, split_field
from emerge_core.config.load import parse_config
from emerge_core.config.problems import shown_place
from emerge_core.config.schema import Config
from emerge_core.errors import EmergeError
from emerge_core.operate import function, keys
from emerge_core.operate.aws import Client, code_of, explained
from emerge_core.operate.compute_costs import PER_VCPU, ZONES
from emerge_core.operate.configs import Deployed, pull
from emerge_core.operate.preflight import longest_s, preflight
from emerge_core.operate.stack import Stack

SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
FEW = 100  # concurrent requests: fewer deserve a warning
AT_ONCE = 4  # models called at a time
PROBE: dict[str, Any] = {"messages": [{"role": "user", "content": "Reply with OK"}], "max_tokens": 16}


class Check(NamedTuple):
    about: str
    state: Literal["ok", "warn", "fail", "skip"]
    finding: str


def examine(stack: Stack, client: Client, *, live: bool = True) -> Iterator[Check]:
    """Runs the checks. `live` calls each model once through the function, for sixteen tokens at most."""
    yield _stack(stack)
    config, checks = _config(stack, client)
    yield from checks
    panel_on_bedrock = not config and stack.parameters.get("DefaultPanel") == "bedrock"
    if config:
        yield from _checked("secrets", lambda: _secrets(config, client))
    replies: list[function.Reply] = []
    yield from _checked("function", lambda: _function(stack, client, replies))
    if config and not live:
        yield Check("models", "skip", "not called (--no-live)")
    elif config and (not replies or replies[0].error):
        yield Check("models", "skip", "not called: the function does not answer")
    elif config:
        yield from _models(list(config.models), list(config.embedders), stack, client)
    elif live and panel_on_bedrock and replies and not replies[0].error:
        yield from _checked("models", lambda: _models(_served(stack, client), [], stack, client))
    yield from _checked("keys", lambda: _keys(stack, client))
    if stack.managed:
        yield from _checked("capacity", lambda: _capacity(stack, client))
        yield from _checked("saturation", lambda: _saturation(stack, client))
    else:
        yield from _checked("concurrency", lambda: _concurrency(stack, client, config))
    yield from _checked("alarms", lambda: _alarms(stack, client))
    if stack.parameters.get("AccessLog") == "on":
        yield from _checked("access log", lambda: _access_log(client))


def _checked(about: str, check: Callable[[], Iterable[Check]]) -> list[Check]:
    """A call that AWS refuses is a failed check; the others are still made."""
    try:
        with explained():
            return list(check())
    except EmergeError as fault:
        return [Check(about, "fail", str(fault))]


def _stack(stack: Stack) -> Check:
    mode = "stream" if stack.streams else "buffered"
    mode += ", compute managed" if stack.managed else ""
    finding = f"{stack.name} is {stack.status}, {mode}, a request has at most {longest_s(stack):g} s"
    return Check("stack", "ok" if stack.status in SETTLED else "warn", finding)


def _config(stack: Stack, client: Client) -> tuple[Config | None, list[Check]]:
    try:
        with explained():
            deployed = pull(stack, client)
        if deployed is None:
            return None, [_default(stack)]
        config = parse_config(deployed.text, source=stack.config_parameter)
    except EmergeError as fault:
        return None, [Check("config", "fail", str(fault))]
    return config, _checked("config", lambda: _fit(config, deployed, stack, client))


def _default(stack: Stack) -> Check:
    """What serves until the first push."""
    push = f"`emerge config push --stack {stack.name} FILE`"
    if stack.parameters.get("DefaultPanel") == "bedrock":
        return Check("config", "ok", f"none is pushed, the default panel on Bedrock serves; your own: {push}")
    return Check("config", "warn", f"none is pushed, the simulated panel serves: {push}")


def _fit(config: Config, deployed: Deployed, stack: Stack, client: Client) -> Iterator[Check]:
    problems, doubts = preflight(config, stack, client)
    for place, fault in problems:
        yield Check("config", "fail", f"{shown_place(place)}: {fault}")
    if not problems:
        panels = ", ".join(config.ensembles) or "no ensemble"
        yield Check("config", "ok", f"version {deployed.version} of {deployed.changed:%Y-%m-%d %H:%M %Z}: {panels}")
    for doubt in [*doubts, *warnings(config)]:
        yield Check("config", "warn", doubt)


def _secrets(config: Config, client: Client) -> Iterator[Check]:
    """Whether these credentials (not the function's) can read and decrypt them."""
    held = [each for each in secret_references(config) if not each.startswith("env:")]
    if not held:
        yield Check("secrets", "ok", "the config refers to none")
    for reference in held:
        try:
            there = bool(_value(reference, client).strip())
            yield Check(
                "secrets",
                "ok" if there else "fail",
                reference + ("" if there else " is empty, or has no such field: set it again"),
            )
        except client("ssm").exceptions.ClientError as fault:
            yield Check("secrets", "fail", f"{reference} cannot be read by these credentials ({code_of(fault)})")


def _value(reference: str, client: Client) -> str:
    kind, _, name = reference.partition(":")
    if kind == "ssm":
        return str(client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    secret, field = split_field(reference)
    text = str(client("secretsmanager").get_secret_value(SecretId=secret).get("SecretString") or "")
    return field_of(text, field) or ""


def _function(stack: Stack, client: Client, replies: list[function.Reply]) -> Iterator[Check]:
    """Appends the function's reply, if there is one, to `replies`."""
    reply = function.ask(stack, client, "GET", "/v1/emerge/status")
    replies.append(reply)
    if reply.error:
        yield Check("function", "fail", reply.error)
        return
    config = reply.body.get("config", {})
    mode, wanted = reply.body.get("response_mode"), "stream" if stack.streams else "buffered"
    if config.get("error"):
        finding = f"version {config.get('version')} serves on, because the last refresh failed: {config['error']}"
        yield Check("function", "fail", finding)
    elif mode != wanted:
        yield Check("function", "fail", f"it answers in mode {mode}, the stack says {wanted}: deploy again")
    elif stack.managed and reply.body.get("compute") != "managed":
        finding = "it answers, but not by the runtime loop: Lambda runs a process for each request (see infra/SCALE.md)"
        yield Check("function", "fail", finding)
    else:
        yield Check("function", "ok", f"it answers; config version {config.get('version')} serves")


def _served(stack: Stack, client: Client) -> list[str]:
    """The models of the config that the function serves, ensembles and aliases left out."""
    listed = function.ask(stack, client, "GET", "/v1/models").body["data"]
    return [each["id"] for each in listed if each["owned_by"] != "emerge"]


def _models(models: Sequence[str], embedders: Sequence[str], stack: Stack, client: Client) -> Iterator[Check]:
    asked: list[tuple[str, str, dict[str, Any]]] = []
    asked += [(f"model {name}", "/v1/chat/completions", {**PROBE, "model": name}) for name in models]
    asked += [(f"embedder {name}", "/v1/embeddings", {"model": name, "input": "OK"}) for name in embedders]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda each: _answers(*each, stack=stack, client=client), asked)


def _answers(about: str, path: str, body: Mapping[str, Any], *, stack: Stack, client: Client) -> Check:
    began = perf_counter()
    try:
        with explained():
            reply = function.ask(stack, client, "POST", path, body)
    except EmergeError as fault:
        return Check(about, "fail", str(fault))
    if reply.error:
        return Check(about, "fail", reply.error)
    return Check(about, "ok", f"answers ({(perf_counter() - began) * 1000:.0f} ms with the way there)")


def _keys(stack: Stack, client: Client) -> Iterator[Check]:
    count = len(keys.listed(stack, client))
    if count:
        yield Check("keys", "ok", f"{count} client key" + ("s" if count > 1 else ""))
    else:
        yield Check("keys", "warn", f"no client has a key: `emerge keys create --stack {stack.name} NAME`")


def _concurrency(stack: Stack, client: Client, config: Config | None) -> Iterator[Check]:
    limits = client("lambda").get_account_settings()["AccountLimit"]
    reserved = client("lambda").get_function_concurrency(FunctionName=stack.outputs["ProxyFunctionName"])
    own = reserved.get("ReservedConcurrentExecutions")
    most = own if own is not None else limits["UnreservedConcurrentExecutions"]
    slowest = max((each.deadline_s for each in config.ensembles.values()), default=25.0) if config else 25.0
    whose = "reserved for this function" if own is not None else "shared with the account's other functions"
    allows = f"{most / 2:g} requests/s of 2 s each, {most / slowest:.3g} of {slowest:g} s"
    finding = (
        f"{most:g} requests at once ({whose}; the account's limit is {limits['ConcurrentExecutions']:g}): {allows}"
    )
    if most < FEW:
        fix = "raise ReservedConcurrency" if own is not None else "ask for more at Service Quotas (AWS Lambda)"
        yield Check("concurrency", "warn", f"{finding}; {fix}")
    else:
        yield Check("concurrency", "ok", finding)


def _capacity(stack: Stack, client: Client) -> Iterator[Check]:
    """Whether the capacity provider of managed instances is active, and how many requests its environments carry."""
    name = stack.outputs["CapacityProviderName"]
    provider = client("lambda").get_capacity_provider(CapacityProviderName=name)["CapacityProvider"]
    if provider["State"] != "Active":
        yield Check("capacity", "fail", f"capacity provider {name} is {provider['State']}")
        return
    scaling = client("lambda").get_function_scaling_config(
        FunctionName=stack.outputs["ProxyFunctionName"], Qualifier=stack.outputs["ProxyAlias"]
    )["AppliedFunctionScalingConfig"]
    least, most = scaling["MinExecutionEnvironments"], scaling["MaxExecutionEnvironments"]
    each = int(stack.parameters.get("ManagedConcurrency", "64"))
    vcpus = int(stack.parameters.get("ManagedMemorySize", "2048")) / 1024
    vcpus /= float(stack.parameters.get("ManagedMemoryPerVCpu", "2"))
    finding = f"{least} to {most} environments of {each} requests at once: {least * each} without scaling"
    if each > PER_VCPU * vcpus:
        advised = f"AWS advises at most {PER_VCPU} per vCPU, and an environment has {vcpus:g}"
        yield Check("capacity", "warn", f"{finding}; {advised}: lower ManagedConcurrency or raise ManagedMemorySize")
    elif least < ZONES:
        yield Check(
            "capacity", "warn", f"{finding}; fewer than {ZONES} do not cover three zones: ManagedMinEnvironments"
        )
    else:
        yield Check("capacity", "ok", finding)


THROTTLES = {  # the metric of each reason, and what mends it
    "ConcurrencyThrottles": "raise ManagedMinEnvironments",
    "CPUThrottles": "lower ManagedConcurrency or raise ManagedMinEnvironments",
    "MemoryThrottles": "raise ManagedMemorySize or lower ManagedConcurrency",
    "DiskThrottles": "the environments' disk is full",
}
LEVELS = {  # in percent: the metric, where a warning begins, what mends it
    "ExecutionEnvironmentCPUUtilization": (80.0, "lower ManagedConcurrency or raise ManagedMinEnvironments"),
    "ExecutionEnvironmentMemoryUtilization": (85.0, "raise ManagedMemorySize or lower ManagedConcurrency"),
}
IN_USE, LIMIT = "ExecutionEnvironmentConcurrency", "ExecutionEnvironmentConcurrencyLimit"
FULL = 0.8  # of the requests at once that an environment may have


def _saturation(stack: Stack, client: Client) -> Iterator[Check]:
    """Throttles by their reason, and how full the environments were, in the last hour."""
    statistics = dict.fromkeys(THROTTLES, "Sum") | dict.fromkeys((*LEVELS, IN_USE, LIMIT), "Maximum")
    found = _last_hour(client, stack.outputs["ProxyFunctionName"], statistics)
    in_use, limit = found.get(IN_USE, 0.0), found.get(LIMIT, 0.0)
    faults = [
        f"{found[metric]:g} requests were throttled ({metric}): {fix}"
        for metric, fix in THROTTLES.items()
        if found.get(metric)
    ]
    faults += [
        f"{metric} was {found[metric]:.0f} %: {fix}"
        for metric, (most, fix) in LEVELS.items()
        if found.get(metric, 0.0) > most
    ]
    if in_use > FULL * limit:
        faults.append(f"an environment had {in_use:g} of {limit:g} requests at once: raise ManagedMinEnvironments")
    for fault in faults:
        yield Check("saturation", "warn", f"in the last hour {fault}")
    if not faults:
        seen = f"at most {in_use:g} of {limit:g} requests at once in an environment" if limit else "no requests"
        yield Check("saturation", "ok", f"in the last hour no throttles, {seen}")


def _last_hour(client: Client, function_name: str, statistics: Mapping[str, str]) -> dict[str, float]:
    """The highest value of each metric that has any, whatever the version and the capacity provider."""
    names = {f"m{number}": metric for number, metric in enumerate(statistics)}
    now = datetime.now(UTC)
    queries = [
        {
            "Id": name,
            "Expression": f'SEARCH(\'Namespace="AWS/Lambda" FunctionName="{function_name}" '
            f"MetricName=\"{metric}\"', '{statistics[metric]}', 3600)",
        }
        for name, metric in names.items()
    ]
    results = client("cloudwatch").get_metric_data(
        MetricDataQueries=queries, StartTime=now - timedelta(hours=1), EndTime=now
    )["MetricDataResults"]
    found: dict[str, float] = {}
    for each in results:
        for value in each["Values"]:
            found[names[each["Id"]]] = max(found.get(names[each["Id"]], value), value)
    return found


def _alarms(stack: Stack, client: Client) -> Iterator[Check]:
    names = []
    pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack.name)
    for page in pages:
        resources = page["StackResourceSummaries"]
        names += [each["PhysicalResourceId"] for each in resources if each["ResourceType"] == "AWS::CloudWatch::Alarm"]
    found: list[Any] = []
    for start in range(0, len(names), 100):
        found += client("cloudwatch").describe_alarms(AlarmNames=names[start : start + 100])["MetricAlarms"]
    raised = [each for each in found if each["StateValue"] == "ALARM"]
    for each in raised:
        yield Check("alarms", "fail", f"{each['AlarmName']}: {each.get('AlarmDescription') or 'no description'}")
    if not raised:
        yield Check("alarms", "ok", f"none of {len(found)} is raised")


def _access_log(client: Client) -> Iterator[Check]:
    """API Gateway writes logs with one role for the whole account and Region."""
    role = client("apigateway").get_account().get("cloudwatchRoleArn")
    if role:
        yield Check("access log", "ok", f"API Gateway writes it as {role}")
    else:
        fix = "deploy with ApiGatewayLogsRole=create, or set the account's CloudWatch role"
        yield Check("access log", "fail", f"API Gateway has no role to write logs with in this account: {fix}")
