"""The template as `sam local start-api` understands it: `python local.py TEMPLATE OUT`, by the AWS tools' own Python.

SAM's local gateway knows one scheme of security for a method and no usage plan. The deployed one wants
authorizer and key, so the copy for this machine asks the authorizer alone, which lets any well-formed key in.
"""

import json
import sys
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse


def local(template: dict[str, Any]) -> dict[str, Any]:
    for verbs in template["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"].values():
        for method in verbs.values():
            method["security"] = [{"bearer": []}] if method["security"] else []
    return template


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(json.dumps(local(yaml_parse(source.read_text())), indent=1))
