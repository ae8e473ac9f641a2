"""`emerge replay`: recorded answers as upstreams, in OpenAI's, Anthropic's and Ollama's formats."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "replay",
        help="serve recorded answers as upstreams",
        description="Serves recorded answers behind OpenAI's, Anthropic's and Ollama's APIs: one task at the root, "
        "several under /t/TASK/. The model's name picks the recorded answer.",
    )
    parser.add_argument("--recordings", metavar="DIR", type=Path, required=True, help="the directory of recordings")
    parser.add_argument("--task", metavar="T", help="serve this task alone, at the root (default: all)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, metavar="N", help="0 takes a free one")
    parser.add_argument(
        "--speed", type=speed, default=1.0, metavar="X", help="scale of the simulated latency, 0 = none (default: 1)"
    )
    parser.set_defaults(run=run)


def speed(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1000:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def run(args: argparse.Namespace) -> int:
    import uvicorn

    from emerge_core.cli.serve import base_url, listen
    from emerge_core.evals.recordings.recording import Recordings
    from emerge_core.evals.replay.server import replay_app

    recordings = Recordings(args.recordings)
    tasks = recordings.choose(args.task)
    with listen(args.host, args.port) as listener:
        app = replay_app(recordings, args.task, speed=args.speed)
        root = base_url(*listener.getsockname()[:2]).removesuffix("/v1")
        print(f"emerge replays {args.recordings} at {root}")
        for task in tasks:
            place = root if len(tasks) == 1 else f"{root}/t/{task}"
            print(f"  {task}: OpenAI {place}/v1, Anthropic {place}/v1/messages, Ollama {place}/api/chat")
        sys.stdout.flush()
        try:
            # Idle connections are kept long: none may be closed at the moment when a client reuses it.
            config = uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_keep_alive=600,
                timeout_graceful_shutdown=2,
            )
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has shut down in order, then passes the signal on
            print("stopped", file=sys.stderr)
    return 0
