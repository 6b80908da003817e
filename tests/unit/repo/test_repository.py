# SPDX-License-Identifier: GPL-3.0-or-later
"""This repository keeps its own rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from repository_rules import RULES, Rule

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository(rule: Rule) -> None:
    problems = list(rule(ROOT))
    assert not problems, "\n".join([str(rule.__doc__), *problems])
