# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/security.md promises is tried, by tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
TESTS = {
    node.name
    for path in (ROOT / "tests").rglob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
}
ATTACKERS = [part for part in PAGE.split("\n## ")[1:] if "| Promise | Tried by |" in part]


@pytest.mark.parametrize("section", ATTACKERS, ids=lambda section: section.partition("\n")[0])
def test_each_promise_has_its_tests_and_each_attacker_his_limits(section: str) -> None:
    table = section.split("| Promise | Tried by |")[1].split("\n\n", maxsplit=1)[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    assert rows
    untried = [promise.strip() for promise, tried in rows if not re.findall(r"`test_\w+`", tried)]
    assert not untried
    assert "\nNot promised:" in section


def test_all_attackers_are_there() -> None:
    assert len(ATTACKERS) == 8


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/*.md")), ids=lambda path: str(path.name))
def test_tests_that_pages_name_exist(path: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", path.read_text(encoding="utf-8")))
    assert named <= TESTS
