"""Optional parameters that a model refuses, and the requests without them.

A refusal is remembered for an hour, and for every client, only if the provider names the parameter as one that the
model does not have. That a *value* is refused, or any other 400 that mentions a parameter, concerns that one request:
a client can provoke it, and must not be able to switch a parameter off for others.

Why a parameter is left out is shown in words that are known here: the part of the provider's message that one of the
forms below matched, whose only names are those of parameters that were sent. The rest of the message could quote a
request, and is not kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar

from emerge_core.providers.clock import SteadyClock
from emerge_core.providers.transport.exchange import Reply
from emerge_core.providers.transport.resend import may_send_again
from emerge_core.types import CallError, UpstreamError

REMEMBERED_S = 3600.0  # one wasted request an hour
MAX_REASON = 200
DEVELOPER = "the role developer"  # which a model may refuse like a parameter
LIMITS = frozenset(("max_tokens", "max_completion_tokens"))  # one stands in for the other; both are never dropped

Wire = TypeVar("Wire")

_NAME = r"""["'`]?[A-Za-z_][\w.\[\]]*["'`]?"""
_NAMES = rf"\[?(?P<names>{_NAME}(?:(?:, and |, | and ){_NAME})*)\]?"
_THING = r"(?:parameter|field|argument|key|property|option|name)s?"
_PREFIX = r"(?:[\w.]*(?:Error|Exception)?: )?"
_UNSUPPORTED = tuple(
    re.compile(rf"{_PREFIX}{any_word}(?P<known>{form})", re.IGNORECASE)
    for any_word, form in (
        ("", rf"un(?:supported|known|recogni[sz]ed|expected) (?:request )?{_THING}(?: supplied| provided)?:? {_NAMES}"),
        (r"(?:[\w.]+\(\) got an )?", rf"unexpected keyword arguments? {_NAMES}"),
        ("", rf"Invalid JSON payload received\. Unknown name {_NAMES}: Cannot find field"),
        (
            "",
            rf"(?:the )?(?:{_THING} )?{_NAMES} (?:is|are) "
            r"(?:unsupported|deprecated|not (?:supported|permitted|allowed|recogni[sz]ed|available|accepted))",
        ),
        ("", rf"{_NAMES}: Extra (?:inputs|fields) (?:are )?not permitted"),
        ("", rf"Extra (?:inputs|fields) (?:are )?not permitted: {_NAMES}"),
        ("", rf"Additional properties are not allowed \({_NAMES} (?:was|were) unexpected\)"),
        (
            r"(?:this model|[\w./:-]+) ",
            rf"(?:does not|doesn't) (?:accept|support) (?:the )?(?:{_THING}:? )?{_NAMES}",
        ),
    )
)
_NOT_TAKEN = re.compile(
    r"unsupported|(not|n't) (support|accept|recogni[sz]e)|deprecated|not permitted|extra (inputs|fields)|"
    r"unrecogni[sz]ed|(unknown|unexpected) (parameter|field|(keyword )?argument|name|key|property|option)|"
    r"cannot find field|additional propert|cannot both|not (allowed|available|compatible)|incompatible",
    re.IGNORECASE,
)
_DEMANDS = {  # state of earlier turns that is missing, or that this model cannot read
    "thought_signature": re.compile(r"thought_?\s?signature", re.IGNORECASE),
    "reasoning_content": re.compile(r"reasoning_content", re.IGNORECASE),
    "thinking": re.compile(r"signature|thinking.{0,40}block|different conversation", re.IGNORECASE),
}
_ENVELOPES = ("body", "request", "params")  # what servers put before the name of a parameter
_NESTED = {"output_config.effort": "effort", "output_config.format": "format"}
_ROLE = re.compile(r"developer|\brole\b", re.IGNORECASE)
_ROLE_UNKNOWN = re.compile(r"messages\[?\.?\d*\]?\.role: unknown variant|unexpected message role", re.IGNORECASE)


class Refusal(NamedTuple):
    """What a 400 says against: parameters that the model does not have (`lasting`), or this request's values.

    `reason` says why a lasting refusal was taken for one, in words that cannot be a client's.
    """

    params: frozenset[str]
    lasting: bool
    reason: str = ""


class Learnt(NamedTuple):
    """A parameter that is left out of requests to a model."""

    model: str  # the upstream's name of it
    param: str
    reason: str
    status: int | None  # of the reply that refused it
    forgotten_in_s: float


NONE = Refusal(frozenset(), lasting=False)


def refusal_of(error: CallError, sent: Collection[str]) -> Refusal:
    """Which of the optional parameters that were sent the model refuses, if that is the fault."""
    if error.status not in (400, 422) or error.message.lower().startswith("invalid schema"):
        return NONE  # the schema's fault, not the parameter's
    message = error.message[:500]
    for name, demand in _DEMANDS.items():
        if name in sent and demand.search(message):
            return Refusal(frozenset((name,)), lasting=False)
    if DEVELOPER in sent and _ROLE.search(message):
        unknown = _ROLE_UNKNOWN.match(message)
        return Refusal(frozenset((DEVELOPER,)), lasting=bool(unknown), reason=unknown[0] if unknown else "")
    names, reason = _unsupported(message)
    named = frozenset(map(_top_level, names))
    if not named <= set(sent):
        named = frozenset()  # a client can have made up one of them, commas and all
    param = _known(error.param, sent)
    if error.param is not None and param is None:
        return NONE
    if param is not None and error.code in ("unsupported_parameter", "unknown_parameter"):
        reason = reason if named else error.code
        named |= {param}
    if named and (param is None or param in named):
        return Refusal(named, lasting=True, reason=reason[:MAX_REASON])
    if not _NOT_TAKEN.search(f"{error.code} {message}"):
        return NONE
    if param is not None:
        return Refusal(frozenset((param,)), lasting=False)
    mentioned = [word for word in re.findall(r"[A-Za-z_]\w*", message[:300]) if word in sent]
    # "`temperature` and `top_p` cannot both be specified": the first stays
    return Refusal(frozenset(mentioned[-1:]), lasting=False)


def _known(param: str | None, sent: Collection[str]) -> str | None:
    """The parameter that an error names."""
    name = _top_level(param) if param else None
    return name if name in sent else None


def _top_level(path: str) -> str:
    """The parameter at a path such as `body.verbosity`. What stands deeper is a client's own: `metadata.seed` is
    returned as it is, and is no parameter."""
    if path in _NESTED:
        return _NESTED[path]
    first, dot, rest = path.partition(".")
    return rest if dot and first in _ENVELOPES else path


def _unsupported(message: str) -> tuple[list[str], str]:
    """The names that a provider's message lists as parameters that it does not have, and the known words around them.
    The words may be shown if every name is one that was sent."""
    if message.startswith("["):
        return _forbidden(message), "extra_forbidden"
    for form in _UNSUPPORTED:
        if found := form.match(message):
            names = re.findall(_NAME, found["names"])
            return [name.strip("\"'`[]") for name in names if name != "and"], found["known"]
    return [], ""


def _forbidden(message: str) -> list[str]:
    """Of a list of validation errors, as FastAPI servers give it."""
    try:
        errors: Any = json.loads(message)
    except ValueError:
        return []
    places = [each.get("loc") for each in errors if isinstance(each, Mapping) and each.get("type") == "extra_forbidden"]
    return [".".join(map(str, place)) for place in places if isinstance(place, list) and place]


class _Memory(NamedTuple):
    until: float
    reason: str
    status: int | None


class Refusals:
    """What the models of one provider refused. `parts` names what goes when a parameter of several parts is refused."""

    def __init__(
        self, parts: Mapping[str, frozenset[str]] | None = None, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._parts = parts or {}
        self._clock = clock or SteadyClock()
        self._learnt: dict[str, dict[str, _Memory]] = {}  # by model and parameter

    async def ask(
        self,
        model: str,
        prepare: Callable[[frozenset[str]], tuple[Wire, Collection[str]]],
        send: Callable[[Wire], Awaitable[Reply]],
    ) -> tuple[Wire, Reply, int]:
        """What was sent, the reply, and how many requests it took. `prepare` builds the request without the refused
        parameters and says which optional ones are in it."""
        attempts, dropped = 0, frozenset[str]()
        while True:
            attempts += 1
            refused = self.known(model) | dropped
            wire, sent = prepare(refused)
            try:
                return wire, await send(wire), attempts
            except UpstreamError as failure:
                refusal = refusal_of(failure.error, sent)
                params = frozenset(part for name in refusal.params for part in self._parts.get(name, (name,)))
                if not params - refused or refused | params >= LIMITS or not may_send_again():
                    raise
                dropped |= params
                if refusal.lasting:
                    memory = _Memory(self._clock() + REMEMBERED_S, refusal.reason, failure.error.status)
                    self._learnt.setdefault(model, {}).update(dict.fromkeys(params, memory))

    def known(self, model: str) -> frozenset[str]:
        """The parameters that are left out of requests to this model now."""
        learnt = self._learnt.get(model)
        if not learnt:
            return frozenset()
        now = self._clock()
        return frozenset(param for param, memory in learnt.items() if memory.until > now)

    def status(self) -> list[Learnt]:
        """For `/v1/emerge/status`."""
        now = self._clock()
        return [
            Learnt(model, param, memory.reason, memory.status, round(memory.until - now, 1))
            for model, memories in self._learnt.items()
            for param, memory in sorted(memories.items())
            if memory.until > now
        ]
