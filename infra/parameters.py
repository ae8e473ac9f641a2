"""The parameters of template.yaml as a Markdown table, for README.md: `python infra/parameters.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).resolve().parent.parent / "template.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    name: str
    default: str
    values: tuple[str, ...]  # the allowed ones, if they are listed
    description: str


class _Loader(yaml.SafeLoader):
    """Reads `!Ref` and the like as nothing: parameters hold none of them."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def parameters(template: Path = TEMPLATE) -> list[Parameter]:
    found: dict[str, Any] = yaml.load(template.read_text(), _Loader)["Parameters"]  # noqa: S506  (a SafeLoader)
    return [
        Parameter(
            name=name,
            default=str(each.get("Default", "")),
            values=tuple(map(str, each.get("AllowedValues", ()))),
            description=each["Description"],
        )
        for name, each in found.items()
    ]


def table() -> str:
    rows = ["| parameter | default | meaning |", "|---|---|---|"]
    for each in parameters():
        listed = f" ({', '.join(f'`{value}`' for value in each.values)})" if each.values else ""
        rows.append(f"| `{each.name}` | {f'`{each.default}`' if each.default else '–'} | {each.description}{listed} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())  # noqa: T201
