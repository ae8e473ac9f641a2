"""Writes the template in the form that `sam local start-api` can serve: `python local.py TEMPLATE OUT`.

SAM's local gateway supports one security scheme for a method, and no usage plan. The deployed API requires the
authorizer and a key; the local copy requires the authorizer alone, which accepts any key of the right form. It has no
method for preflights, which depends on a parameter. The AWS tools' own Python runs this.
"""

import json
import sys
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse


def local(template: dict[str, Any]) -> dict[str, Any]:
    for verbs in template["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"].values():
        verbs.pop("options", None)
        for method in verbs.values():
            method["security"] = [{"bearer": []}] if method["security"] else []
    return template


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(json.dumps(local(yaml_parse(source.read_text())), indent=1))
