"""What a cold start costs, and what each saving brings.

    make build && .venv/bin/python tests/bench/coldstart.py [.aws-sam/build/ProxyFunction] [PANEL]

The built artifact is started by Python 3.13 and Lambda's own runtime client (in stream mode by its wrapper),
against a stub of the Runtime API, of SSM and of the providers, all on this machine. Processor time of the
function's process, median: what a busy machine changes least. Lambda gives 1,769 MB one processor, and less
memory its share of it; its init phase is known to be faster than that.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.aws.remotes import Aws, serving
from tests.support.aws_lambda.emulator import stack
from tests.support.aws_lambda.function import QUESTION, event
from tests.support.aws_lambda.process import Runtime, runtime
from tests.support.paths import ROOT, TOOLS

ARTIFACT = ROOT / ".aws-sam" / "build" / "ProxyFunction"
RUNS = max(int(3 * float(os.environ.get("EMERGE_BENCH_SCALE", "1"))), 1)
PYTHON = TOOLS / "python3.13"
CLIENT = (str(PYTHON), "-m", "awslambdaric", "app.handler")
TICKS = os.sysconf("SC_CLK_TCK")
CONFIG = """
providers:
  openai: {{kind: openai, base_url: "{url}/v1", api_key: "ssm:/emerge/test/keys/up"}}
  anthropic: {{kind: anthropic, base_url: "{url}", api_key: "ssm:/emerge/test/keys/up"}}
  ollama: {{kind: ollama, base_url: "{url}"}}
  aws: {{kind: bedrock, base_url: "{url}"}}
models:
  a: {{provider: openai, model: gpt-4o-mini}}
  b: {{provider: openai, model: gpt-4o-mini}}
  c: {{provider: anthropic, model: claude-3-5-haiku-latest}}
  d: {{provider: ollama, model: any}}
  e: {{provider: aws, model: "openai.gpt-oss-20b-1:0", family: gpt-oss}}
  f: {{provider: aws, model: "qwen.qwen3-32b-v1:0", family: qwen}}
ensembles: {{emerge: {{members: {members}, early_decision: false}}}}
"""
PANELS = {
    "OpenAI alone": "[a, b]",
    "OpenAI, Anthropic, Ollama": "[a, c, d]",
    "those and Bedrock": "[a, c, d, e]",
    "Bedrock alone": "[e, f]",
}


class Providers(BaseHTTPRequestHandler):
    """Answers in the wire format of the path."""

    protocol_version = "HTTP/1.1"
    replies: ClassVar[dict[str, Any]] = {
        "/v1/chat/completions": {
            "choices": [{"message": {"role": "assistant", "content": "391"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
        },
        "/v1/messages": {
            "id": "x",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "391"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 9, "output_tokens": 1},
        },
        "/api/chat": {"message": {"role": "assistant", "content": "391"}, "done": True, "done_reason": "stop"},
    }
    converse: ClassVar[dict[str, Any]] = {
        "output": {"message": {"role": "assistant", "content": [{"text": "391"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 9, "outputTokens": 1, "totalTokens": 10},
    }

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        path = self.path.partition("?")[0]
        content = json.dumps(self.converse if path.startswith("/model/") else self.replies[path]).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def processor_ms(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / TICKS


async def started(
    task: Path, aws: str, *, mode: str = "buffered", kind: str = "on-demand"
) -> tuple[float, float, float]:
    """Processor time of init, of the first request and of each of the nine after it, ms."""
    changes = {"EMERGE_CONFIG": "ssm:/emerge/test/config", "EMERGE_RESPONSE_MODE": mode, "AWS_ENDPOINT_URL": aws}
    environ = stack(task, **changes, AWS_LAMBDA_INITIALIZATION_TYPE=kind)
    wrapped = (str(task / "runtime-wrapper"), str(PYTHON.resolve()), "/var/runtime/bootstrap.py")
    with tempfile.TemporaryDirectory() as folder:
        command = wrapped if mode == "stream" else CLIENT
        async with runtime(Path(folder), command=command, environ=environ) as function:
            if kind == "snap-start":
                await function.stub.snapshot.wait()
            marks = [await settled(function, asked=0 if kind == "snap-start" else 1)]
            function.stub.restore.set()
            for number in range(10):
                taken = await function.stub.call(event("POST", "/v1/chat/completions", QUESTION))
                assert b"391" in taken.body, function.log.read_text()[-2000:]
                marks.append(await settled(function, asked=number + 2))
    return marks[0], marks[1] - marks[0], (marks[10] - marks[1]) / 9


async def settled(function: Runtime, asked: int) -> float:
    """Processor time once the function has asked for its next invocation."""
    while function.stub.asked < asked:
        await asyncio.sleep(0.002)
    return processor_ms(function.process.pid)


async def first_request_ms(task: Path, panel: str, **options: str) -> float:
    """Processor time of a panel's first request, median."""
    with serving(Providers) as url, serving(Aws) as aws:
        Aws.config = CONFIG.format(url=url, members=PANELS[panel])
        return statistics.median([(await started(task, aws, **options))[1] for _ in range(RUNS)])


def size_mb(task: Path) -> float:
    return sum(file.stat().st_size for file in task.rglob("*") if file.is_file()) / 1e6


async def main() -> None:
    task = Path(sys.argv[1]).resolve() if sys.argv[1:] else ARTIFACT
    if not (task / "app.py").exists():
        sys.exit(f"{task} is no built artifact: make build")
    with serving(Providers) as url, serving(Aws) as aws, tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain")
        shutil.copytree(task, plain, ignore=shutil.ignore_patterns("__pycache__"))
        variants: dict[str, tuple[Path, dict[str, str]]] = {
            "no bytecode": (plain, {}),
            "bytecode (as built)": (task, {}),
            "as built, in stream mode": (task, {"mode": "stream"}),
            "as built, provisioned": (task, {"kind": "provisioned-concurrency"}),
            "as built, provisioned, in stream mode": (task, {"mode": "stream", "kind": "provisioned-concurrency"}),
            "as built, from a primed snapshot": (task, {"kind": "snap-start"}),
        }
        print(f"The artifact is {size_mb(task):.0f} MB unzipped.")
        print("| panel | start | init, ms | first request, ms | a client waits for, ms | later requests, ms |")
        print("|---|---|---|---|---|---|")
        for panel, members in PANELS.items():
            if sys.argv[2:] and panel != sys.argv[2]:
                continue
            Aws.config = CONFIG.format(url=url, members=members)
            for name, (code, options) in variants.items():
                runs = [await started(code, aws, **options) for _ in range(RUNS)]
                init, first, later = (statistics.median(run[part] for run in runs) for part in range(3))
                before = f"{init:.0f}, before any request" if options.get("kind") else f"{init:.0f}"
                whole = first + (0 if options.get("kind") else init)
                print(f"| {panel} | {name} | {before} | {first:.0f} | {whole:.0f} | {later:.1f} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
