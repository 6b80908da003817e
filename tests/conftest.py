# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends a test run with what each part of it took."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath

import pytest

_seconds: dict[str, float] = defaultdict(float)
_counts: dict[str, int] = defaultdict(int)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the time of a test, its preparation and its cleaning up."""
    path = PurePosixPath(report.nodeid.partition("::")[0])
    # A folder of unit tests is a part, and so is a file of integration tests.
    part = str(path if "integration" in path.parts else path.parent)
    _seconds[part] += report.duration
    _counts[part] += report.when == "call"
    for what, seconds in report.user_properties:
        if what.startswith("part: ") and report.when == "call":
            _seconds[what.removeprefix("part: ")] = float(str(seconds))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not _seconds:
        return
    terminalreporter.section("what each part took")
    for part, seconds in sorted(_seconds.items()):
        tests = f"  {_counts[part]} tests" if part in _counts else ""
        terminalreporter.write_line(f"{seconds:7.1f} s  {part}{tests}")
