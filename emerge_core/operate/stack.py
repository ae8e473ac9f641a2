"""A deployed stack, as CloudFormation describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from emerge_core.errors import EmergeError
from emerge_core.operate.aws import Client, code_of

NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """`outputs` and `parameters` are those of template.yaml."""

    name: str
    status: str = "ABSENT"
    arn: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def config_parameter(self) -> str:
        return self.outputs.get("ConfigParameter") or f"/emerge/{self.name}/config"

    @property
    def secrets_path(self) -> str:
        return self.outputs.get("SecretsPath") or f"/emerge/{self.name}/keys/"

    @property
    def parameters_path(self) -> str:
        """SSM parameters under it may be read by the function."""
        return f"/emerge/{self.name}/"

    @property
    def secrets_prefix(self) -> str:
        """The function may read the secrets of Secrets Manager whose names have this prefix."""
        return f"emerge/{self.name}/"

    @property
    def streams(self) -> bool:
        return self.parameters.get("ResponseMode") == "stream"

    @property
    def managed(self) -> bool:
        """Whether the function runs on Lambda Managed Instances."""
        return self.parameters.get("Compute") == "managed"

    @property
    def timeout_s(self) -> float:
        return float(self.parameters.get("Timeout", "60"))

    @property
    def extra_secrets(self) -> tuple[str, ...]:
        """ARNs of other secrets that the function may read."""
        given = self.parameters.get("ExtraSecretArns", "").split(",")
        return tuple(each.strip() for each in given if each.strip())

    @property
    def in_vpc(self) -> bool:
        return bool(self.parameters.get("VpcSubnetIds", "").strip(", "))

    @property
    def kms_key(self) -> str | None:
        return self.parameters.get("KmsKeyArn", "").strip() or None


def find_stack(client: Client, name: str) -> Stack:
    """Raises EmergeError if there is no such stack, or if it is not one of emerge's."""
    stack = find_or_absent(client, name)
    if stack.status == "ABSENT":
        region = client("cloudformation").meta.region_name
        raise EmergeError(f"there is no stack {name} in {region}: deploy it first, or check --stack and --region")
    if "UsagePlanId" not in stack.outputs:
        fault = f"is {stack.status}" if stack.status.endswith("_IN_PROGRESS") else "is not a stack of emerge"
        raise EmergeError(f"{name} {fault}: it has no output UsagePlanId")
    return stack


def find_or_absent(client: Client, name: str) -> Stack:
    """For what outlives a stack: one that is gone has a name and the paths that follow from it."""
    if not NAME.fullmatch(name):
        raise EmergeError(f"--stack {name}: a stack's name is a letter and then letters, digits and -")
    cloudformation = client("cloudformation")
    try:
        (found,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except cloudformation.exceptions.ClientError as fault:
        if code_of(fault) == "ValidationError" and "does not exist" in str(fault):
            return Stack(name=name)
        raise
    return Stack(
        name=name,
        status=found["StackStatus"],
        arn=found["StackId"],
        outputs={each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])},
        parameters={each["ParameterKey"]: each.get("ParameterValue", "") for each in found.get("Parameters", [])},
    )
