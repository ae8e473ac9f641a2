"""`emerge chat`: talk to an ensemble in the terminal, and see under each answer how its panel voted."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from emerge_core.cli._options import DONE, FAILED, Parsers, add_command, add_config
from emerge_core.cli._output import styled
from emerge_core.config import Config, find_config
from emerge_core.errors import EmergeError

if TYPE_CHECKING:
    from emerge_core.engine.engine import Engine
    from emerge_core.types import ChatRequest, Delta, Trace

BAR = 24  # characters of a whole bar
KEY = 28  # characters of an answer that are shown beside its bar
HELP = "Enter asks, /new forgets the conversation, Ctrl-D ends."


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "chat",
        help="talk to an ensemble in the terminal",
        description="Asks an ensemble and shows its answer as it is written; below it, how the panel voted, what it "
        "cost and how long it took. A question that is given, or piped in, is answered alone: the answer goes to "
        "standard output, and the votes to standard error if standard output is no terminal.",
        exits={1: "there is no answer"},
        run=run,
    )
    parser.add_argument("question", nargs="?", help="ask this alone (default: what is piped in, else a conversation)")
    add_config(parser)
    parser.add_argument("--ensemble", metavar="NAME", help="an ensemble, a model or an alias (default: the config's)")
    parser.add_argument("--system", metavar="TEXT", help="a system message that comes first")


def run(args: argparse.Namespace) -> int:
    config, source = find_config(args.config, os.environ)
    from emerge_core.config import ensemble_of

    if args.ensemble and ensemble_of(config, args.ensemble) is None:
        raise EmergeError(f"there is no ensemble, model or alias {args.ensemble!r}: {', '.join(config.ensembles)}")
    system = [{"role": "system", "content": args.system}] if args.system else []
    question = args.question
    if question is None and not sys.stdin.isatty():
        question = sys.stdin.read().strip()
    if question is not None:
        if not question.strip():
            raise EmergeError("the question is empty")
        return asyncio.run(_once(config, args.ensemble, [*system, {"role": "user", "content": question}]))
    print(f"{source}. {HELP}", file=sys.stderr)
    return _converse(config, args.ensemble, system)


async def _once(config: Config, name: str | None, messages: list[dict[str, str]]) -> int:
    from emerge_core.engine.engine import Engine

    async with Engine(config, record=_unrecorded) as engine:
        trace = await _ask(engine, name, messages)
    return DONE if trace.decision else FAILED


def _converse(config: Config, name: str | None, system: list[dict[str, str]]) -> int:
    """Ctrl-C stops an answer, and at the prompt the command."""
    from emerge_core.engine.engine import Engine

    messages = list(system)
    engine = Engine(config, record=_unrecorded)
    with asyncio.Runner() as runner:
        try:
            while (line := _read_line()) is not None:
                if line == "/new":
                    messages = list(system)
                elif line:
                    asked = {"role": "user", "content": line}
                    try:
                        trace = runner.run(_ask(engine, name, [*messages, asked]))
                    except KeyboardInterrupt:
                        print("\nstopped: what was asked so far may be billed", file=sys.stderr)
                        continue
                    if trace.decision:
                        said = trace.decision.message.text or trace.decision.message.refusal or ""
                        messages += [asked, {"role": "assistant", "content": said}]
        finally:
            runner.run(engine.aclose())
    return DONE


def _read_line() -> str | None:
    """A line that the user typed; None at the end of the input."""
    try:
        return input(styled("> ", "bold", sys.stdout)).strip()
    except EOFError:
        print()
        return None


async def _ask(engine: Engine, name: str | None, messages: Sequence[dict[str, str]]) -> Trace:
    """Prints the answer as it comes, and then what is to be known about it."""
    from emerge_core.types import ChatRequest

    live = _Live(sys.stdout)
    trace = await engine.run(ChatRequest(messages=tuple(messages)), name, live=live)
    aside = sys.stdout if sys.stdout.isatty() else sys.stderr
    if trace.decision is None:
        live.finish("")
        reason = trace.failure.message if trace.failure else "there is no answer"
        print(f"{styled('no answer:', 'red', sys.stderr)} {_printable(reason)}", file=sys.stderr)
    else:
        live.finish(trace.decision.message.text or trace.decision.message.refusal or "")
    print(*report(trace, engine.config, aside), sep="\n", file=aside, flush=True)
    return trace


class _Live:
    """Prints an answer as it is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = 0

    def __call__(self, delta: Delta) -> None:
        self._write(delta.text or delta.refusal)

    def finish(self, whole: str) -> None:
        """Prints what has not been printed of the whole answer, and ends the line."""
        rest = whole[self._shown :]
        self._write(rest)
        if self._shown and not whole.endswith("\n"):
            self._stream.write("\n")
            self._stream.flush()

    def _write(self, text: str) -> None:
        self._shown += len(text)
        self._stream.write(_printable(text))
        self._stream.flush()


def report(trace: Trace, config: Config, stream: TextIO) -> Iterator[str]:
    """The votes as bars, the members that gave no vote, and one line of figures."""
    decision = trace.decision
    votes = decision.votes if decision else ()
    total = max(sum(c.member.weight for c in trace.candidates if c.call.status != "skipped"), 1e-9)
    keys = [_cut(group.key.value) for group in votes]
    width = max(map(len, keys), default=0)
    for number, (key, group) in enumerate(zip(keys, votes, strict=True)):
        bar = "█" * round(BAR * group.weight / total)
        bar = styled(bar, "yellow" if number else "green", stream) + "·" * (BAR - len(bar))
        names = ", ".join(group.members)
        yield f"  {key:<{width}}  {bar}  {group.weight:g} of {total:g}  {names}"
    for candidate in trace.candidates:
        if candidate.call.status == "cancelled":
            yield f"  cancelled  {candidate.call.model}: the others had decided"
        elif not candidate.usable and candidate.call.status != "skipped":
            yield f"  no vote  {candidate.call.model}: {_printable(str(candidate.why_unusable))}"
    for call in trace.calls:
        if call.role not in ("member", "embed") and call.status != "skipped":
            chosen = " gave the answer" if decision and call.id in decision.selected else ""
            yield f"  {call.role}  {call.model}{chosen}"
    yield f"  {' · '.join(_figures(trace, config))}"


def _figures(trace: Trace, config: Config) -> Iterator[str]:
    decision = trace.decision
    if decision and decision.agreement is not None:
        yield f"{100 * decision.agreement:.0f} % agree"
    calls = sum(call.status != "skipped" for call in trace.calls)
    yield f"{calls} call{'' if calls == 1 else 's'}"
    cost = trace.cost
    about = "" if cost.known else "at least "
    saved = ""
    if cost.known and trace.baseline and trace.baseline.known and trace.baseline.usd > 0:
        saved = f", {trace.baseline.usd:.6f} at {config.baseline}"
    yield f"{about}{cost.usd:.6f} USD{saved}"
    yield f"{trace.latency_ms:.0f} ms"


def _cut(key: str) -> str:
    line = " ".join(_printable(key).split())
    return line if len(line) <= KEY else f"{line[: KEY - 1]}…"


def _printable(text: str) -> str:
    """`text` without control characters but line breaks and tabs: a reply must not steer the terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else " " for each in text)


def _unrecorded(request: ChatRequest, trace: Trace) -> None:
    """No log line: the report says it."""
