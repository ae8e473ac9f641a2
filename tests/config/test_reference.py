"""The reference page is made from the schema, and every setting and variable stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emerge_core.config import parse_config
from emerge_core.config.reference import PAGE, SECTIONS, field_texts, page
from emerge_core.config.schema import Section
from emerge_core.config.variables import VARIABLES

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_schema_says() -> None:
    text = PAGE.read_text()
    assert text == page(text), "run: python -m emerge_core.config.reference"


def test_every_section_stands_in_it() -> None:
    assert set(SECTIONS.values()) == set(Section.__subclasses__())


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_is_explained(name: str) -> None:
    section = SECTIONS[name]
    assert section.__doc__
    assert set(field_texts(section)) == set(section.model_fields)


def test_every_setting_of_a_table_of_parts_is_described() -> None:
    text = PAGE.read_text()
    for name in ("vote", "consensus", "confidence", "judge", "merge", "adaptive"):
        assert text.count(f"| `{name}` |") >= 2


def test_the_example_is_a_config() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    assert parse_config(example, source="README").ensembles["emerge"].targets == ("big",)


def test_environment_variables_are_named_in_one_module() -> None:
    own = ROOT / "emerge_core" / "config" / "variables.py"
    spelled = {}
    for folder in ("emerge_core", "functions"):
        for path in (ROOT / folder).rglob("*.py"):
            if path != own and (found := re.findall(r"\"(EMERGE_[A-Z_]+)\"", path.read_text())):
                spelled[path.name] = found
    assert spelled == {}
    template = set(re.findall(r"^ +(EMERGE_[A-Z_]+):", (ROOT / "template.yaml").read_text(), re.M))
    assert template <= set(VARIABLES)
