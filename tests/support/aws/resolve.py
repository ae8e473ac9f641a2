"""What CloudFormation makes of a translated template with given parameters: conditions decided, functions
computed. References to resources stay as they are; inside a text they are `<LogicalId>` or `<LogicalId.Attribute>`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PSEUDO = {
    "AWS::StackName": "mine",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING = object()


class Resolver:
    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        self._template = template
        self._given = {name: each.get("Default") for name, each in template["Parameters"].items()}
        unknown = set(parameters) - set(self._given)
        assert not unknown, unknown
        self._given |= parameters

    def template(self) -> dict[str, Any]:
        """Resources and outputs whose condition holds."""
        return {
            part: {
                name: self.value(each)
                for name, each in self._template[part].items()
                if "Condition" not in each or self.holds(each["Condition"])
            }
            for part in ("Resources", "Outputs")
        }

    def broken_rules(self) -> list[str]:
        rules = self._template.get("Rules", {}).values()
        asserted = [each for rule in rules if self._test(rule["RuleCondition"]) for each in rule["Assertions"]]
        return [each["AssertDescription"] for each in asserted if not self._test(each["Assert"])]

    def holds(self, condition: str) -> bool:
        return self._test(self._template["Conditions"][condition])

    def value(self, given: Any) -> Any:
        if isinstance(given, list):
            return [each for each in map(self.value, given) if each is not NOTHING]
        if not isinstance(given, dict):
            return given
        if len(given) == 1:
            ((function, argument),) = given.items()
            compute = {
                "Ref": self._ref,
                "Fn::If": self._if,
                "Fn::Sub": self._sub,
                "Fn::Join": self._join,
                "Fn::Select": self._select,
                "Fn::Split": self._split,
            }.get(function)
            if compute:
                return compute(argument)
        resolved = {name: self.value(each) for name, each in given.items()}
        return {name: each for name, each in resolved.items() if each is not NOTHING}

    def _test(self, given: Any) -> bool:
        ((function, argument),) = given.items()
        if function == "Condition":
            return self.holds(argument)
        if function == "Fn::Equals":
            one, other = map(self.value, argument)
            return str(one) == str(other)
        tests = [self._test(each) for each in argument]
        return {"Fn::Not": lambda: not tests[0], "Fn::And": lambda: all(tests), "Fn::Or": lambda: any(tests)}[
            function
        ]()

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in self._given:
            listed = "List" in self._template["Parameters"][name]["Type"]
            return self._given[name].split(",") if listed else self._given[name]
        return PSEUDO.get(name, {"Ref": name})

    def _if(self, argument: Any) -> Any:
        condition, yes, no = argument
        return self.value(yes if self.holds(condition) else no)

    def _sub(self, argument: Any) -> str:
        text, more = (argument, {}) if isinstance(argument, str) else argument
        known = {name: self.value(each) for name, each in more.items()}

        def replaced(found: re.Match[str]) -> str:
            value = known[found[1]] if found[1] in known else self._ref(found[1])
            return f"<{value.get('Ref', found[1])}>" if isinstance(value, dict) else str(value)

        return re.sub(r"\$\{([^}]+)\}", replaced, text)

    def _join(self, argument: Any) -> str:
        separator, parts = argument
        return str(separator).join(map(str, self.value(parts)))

    def _select(self, argument: Any) -> Any:
        index, parts = argument
        return self.value(parts)[int(index)]

    def _split(self, argument: Any) -> list[str]:
        separator, text = argument
        return str(self.value(text)).split(separator)
