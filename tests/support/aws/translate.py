"""Run by the AWS tools' own Python: the template as CloudFormation gets it.

Reads lines `{"parameters": {...}, "code": "…"}` from standard input and answers each with a line, the template;
`code` stands for the uploaded artifact, whose name changes with its content.
"""

import json
import sys
from pathlib import Path
from typing import Any

from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).parents[3] / "template.yaml"


class Region:
    region_name = "us-east-1"


def translate(parameters: dict[str, Any], code: str) -> Any:
    template = yaml_parse(TEMPLATE.read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = f"s3://artifacts/{code}"
    for name, parameter in template["Parameters"].items():
        parameters.setdefault(name, parameter.get("Default"))
    try:
        return Translator({}, Parser(), boto_session=Region()).translate(template, parameters)
    except InvalidDocumentException as fault:
        sys.exit("\n".join(cause.message for cause in fault.causes))


for line in sys.stdin:
    print(json.dumps(translate(**json.loads(line))), flush=True)
