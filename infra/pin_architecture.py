"""Binds a built template to the architecture that its artifact was built for, so that no other can be deployed.

    python pin_architecture.py .aws-sam/build

The artifact holds compiled libraries: built for one architecture and deployed for another, the function would not
start. The AWS tools' own Python runs this, after `sam build`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse


def pin(build: Path) -> str:
    """Returns the architecture."""
    architecture = (build / "ProxyFunction" / "architecture").read_text().strip()
    template = build / "template.yaml"
    document: dict[str, Any] = yaml_parse(template.read_text())
    document["Parameters"]["Architecture"] |= {"Default": architecture, "AllowedValues": [architecture]}
    template.write_text(json.dumps(document, indent=1))
    return architecture


if __name__ == "__main__":
    print(f"built for {pin(Path(sys.argv[1]))}")  # noqa: T201
