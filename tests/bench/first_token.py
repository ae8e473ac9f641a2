"""Time from the upstream's first token to the client's, for prose through the config that is detected without one.

.venv/bin/python -m tests.bench.first_token [ROUNDS]

Scripted upstreams answer word by word and note when they send their first word. The official OpenAI client asks
`emerge serve`, a process of its own, and notes when the first word arrives. For `EMERGE_OPEN_ENDED=fallback` the
figure is counted from the first member's first word, for `merge` from the merger's.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from emerge_core.config import Config, detect_config
from tests.support.server import Server

KEYS = {"OPENAI_API_KEY": "k", "GEMINI_API_KEY": "k", "GROQ_API_KEY": "k"}
MESSAGES: Any = [{"role": "user", "content": "Write a short story about a lighthouse keeper."}]
PROSE = "The keeper of {} climbed the stairs as every night and lit the lamp for ships that never came"
MEMBER_S, MERGER_S, PAUSE_S = 0.05, 0.08, 0.01
SHOWS_DRAFTS = "draft replies"  # of the merger's instructions


class Upstream:
    """Answers every model; `first_words` are the times at which the last speaker's first word left, by round."""

    def __init__(self, *, merges: bool) -> None:
        self.merges = merges
        self.first_words: list[float] = []

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        merging = SHOWS_DRAFTS in json.dumps(body["messages"])
        if not body.get("stream"):
            await asyncio.sleep(MEMBER_S)
            message = {"role": "assistant", "content": PROSE.format(f"the {body['model']} rock")}
            return JSONResponse({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        return StreamingResponse(self._words(body["model"], merging), media_type="text/event-stream")

    async def _words(self, model: str, merging: bool) -> AsyncIterator[str]:
        await asyncio.sleep(MERGER_S if merging else MEMBER_S)
        for number, word in enumerate(PROSE.format("all" if merging else f"the {model} rock").split()):
            if number == 0 and merging == self.merges:
                self.first_words.append(time.perf_counter())
            yield _event({"content": f"{word} "})
            await asyncio.sleep(PAUSE_S)
        yield _event({}, "stop")
        yield "data: [DONE]\n\n"


def _event(delta: dict[str, str], finish: str | None = None) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]})}\n\n"


@contextmanager
def serving(config: Config, folder: Path) -> Iterator[str]:
    """The URL of `emerge serve` with this config."""
    file = folder / "emerge.json"
    file.write_text(json.dumps(config.model_dump(mode="json", exclude_unset=True)))
    process = subprocess.Popen(
        [sys.executable, "-m", "emerge_core", "serve", "--config", str(file), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **KEYS},
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


async def measured(open_ended: str, rounds: int) -> list[float]:
    """Milliseconds from the upstream's first word to the client's, by round."""
    scripted = Upstream(merges=open_ended == "merge")
    found = []
    app = Starlette(routes=[Route("/v1/chat/completions", scripted.chat, methods=["POST"])])
    with Server(app) as url, tempfile.TemporaryDirectory() as folder:
        config, _ = detect_config({**KEYS, "EMERGE_OPEN_ENDED": open_ended})
        providers = {name: each.model_copy(update={"base_url": f"{url}/v1"}) for name, each in config.providers.items()}
        with serving(config.model_copy(update={"providers": providers}), Path(folder)) as served:
            async with openai.AsyncOpenAI(base_url=served, api_key="none", max_retries=0) as client:
                for number in range(rounds + 3):
                    scripted.first_words.clear()
                    first = 0.0
                    async for chunk in await client.chat.completions.create(
                        model="emerge", messages=MESSAGES, stream=True
                    ):
                        if not first and chunk.choices and chunk.choices[0].delta.content:
                            first = time.perf_counter()
                    if number >= 3:  # the first ones open connections
                        found.append((first - scripted.first_words[0]) * 1000)
    return found


def main(rounds: int = 40) -> int:
    for open_ended in ("fallback", "merge"):
        found = sorted(asyncio.run(measured(open_ended, rounds)))
        print(
            f"{open_ended:9s} first token after the upstream's: median {statistics.median(found):.1f} ms, "
            f"fastest {found[0]:.1f}, 90 % within {found[int(0.9 * len(found))]:.1f} ({len(found)} requests)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
