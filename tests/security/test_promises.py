"""`infra/SECURITY.md` names the tests that hold its promises: they are there."""

from __future__ import annotations

import re

from tests.support.paths import ROOT

TEXT = (ROOT / "infra/SECURITY.md").read_text()
NAMED = re.compile(r"`(?P<file>tests/[\w/.-]+)?(?:::(?P<test>test_\w+))?`")


def test_every_test_that_is_named_exists() -> None:
    file, found = "", 0
    for named in NAMED.finditer(TEXT):
        file = named["file"] or file
        assert (ROOT / file).exists(), file
        if named["test"]:
            found += 1
            assert f"def {named['test']}(" in (ROOT / file).read_text(), (file, named["test"])
    assert found > 20


def test_each_row_of_promises_names_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| what | how |")]
    assert rows
    assert [row for row in rows if "`tests/" not in row] == []


def test_references_are_named_as_the_config_reads_them() -> None:
    for file in ("infra/SECURITY.md", ".github/SECURITY.md", "README.md", "infra/README.md"):
        assert "secretsmanager:" not in (ROOT / file).read_text().replace("arn:aws:secretsmanager:", "")
    assert "](../infra/SECURITY.md)" in (ROOT / ".github/SECURITY.md").read_text()
