"""Run by the AWS tools' own Python: an AWS account on a port, good enough for `sam deploy` and `sam delete`.

    python cloud.py FRONT PORT

FRONT is a script that teaches moto the Serverless transform and the resource types of the stack.
"""

import importlib.util
import sys
from typing import Any

path, port = sys.argv[1], int(sys.argv[2])
spec = importlib.util.spec_from_file_location("front", path)
assert spec and spec.loader
front = importlib.util.module_from_spec(spec)
spec.loader.exec_module(front)
front.ME = f"http://127.0.0.1:{port}"  # type: ignore[attr-defined]
expand = front.expand


def with_given(text: str, parameters: dict[str, str | None]) -> Any:
    """A parameter that is to stay as it was comes without a value: here it falls back to its default."""
    return expand(text, {name: value for name, value in parameters.items() if value is not None})


front.expand = with_given  # type: ignore[attr-defined]

from moto.server import DomainDispatcherApplication, create_backend_app  # type: ignore[attr-defined]  # noqa: E402
from werkzeug.serving import run_simple  # noqa: E402

run_simple("127.0.0.1", port, front.front(DomainDispatcherApplication(create_backend_app)), threaded=True)
