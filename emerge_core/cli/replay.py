"""`emerge replay`: serves recorded answers as upstreams, in the wire format of every provider kind."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from emerge_core.cli._listen import listen, root_url
from emerge_core.cli._options import Parsers, add_command, not_negative, port
from emerge_core.evals.tables import columns
from emerge_core.provider_kinds import KINDS


def add(parsers: Parsers) -> None:
    parser = add_command(
        parsers,
        "replay",
        help="serve recorded answers as upstreams",
        description="Serves recorded answers behind the providers' own APIs: one task at the root, several under "
        "/t/TASK/. The model's name picks the recorded answer. The printed addresses are base URLs for a config or an "
        "official client.",
        exits={0: "stopped"},
        run=run,
    )
    parser.add_argument("--recordings", metavar="DIR", type=Path, required=True, help="the directory of recordings")
    parser.add_argument("--task", metavar="T", help="serve this task alone, at the root (default: all)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, required=True, metavar="N", help="0 takes a free one")
    parser.add_argument(
        "--speed",
        type=not_negative,
        default=1.0,
        metavar="X",
        help="scale of the simulated latency, 0 = none (default: 1)",
    )


def run(args: argparse.Namespace) -> int:
    import uvicorn

    from emerge_core.evals.recordings.recording import Recordings
    from emerge_core.evals.replay.server import replay_app

    recordings = Recordings(args.recordings)
    tasks = recordings.choose(args.task)
    with listen(args.host, args.port) as listener:
        app = replay_app(recordings, args.task, speed=args.speed)
        root = root_url(*listener.getsockname()[:2])
        print(f"emerge replays {args.recordings} at {root}; base URLs:")
        print("\n".join(columns(base_urls(root, tasks), indent="  ")), flush=True)
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


def base_urls(root: str, tasks: Sequence[str]) -> list[tuple[str, str, str]]:
    """Task, provider kind and base URL, as a config or the kind's official client takes it."""
    return [
        (task, name, (root if len(tasks) == 1 else f"{root}/t/{task}") + kind.base_path)
        for task in tasks
        for name, kind in KINDS.items()
        if kind.replay_wire
    ]
