# SPDX-License-Identifier: GPL-3.0-or-later
"""Shares the tests out among workers, and ends a run with what each part of it took."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# The longest first, so that no worker is left with one of them at the end; the other integration tests follow by their names, and then
# the unit tests, which are short.
LONGEST_FIRST = (
    "test_rehearsal.py",
    "test_molecule.py",
    "test_aws_ecs.py",
    "test_lifecycle.py",
    "test_never_down.py",
    "test_aws_autoscaling.py",
    "test_passwords.py",
    "test_aws_load_balancer.py",
    "test_access.py",
    "test_certificates.py",
    "test_second_run.py",
    "test_aws_autoscaling_boot.py",
    "test_status.py",
    "test_blobs.py",
    "test_aws_patience.py",
    "test_local.py",
    "test_ways.py",
    "test_aws_network.py",
    "test_aws_clients.py",
    "test_client_ca.py",
    "test_aws_instance.py",
    "test_refusals.py",
)
# There is one rehearsal on a machine at a time. One worker runs all that need it, so that none waits for another's.
TOGETHER = dict.fromkeys(("test_stand_ins.py", "test_fleet.py", "test_fleet_network.py"), "test_rehearsal.py")

CPU = pytest.StashKey[float]()

_seconds: dict[str, float] = defaultdict(float)
# Of the tests and the programs that they started and waited for; not of what Docker's daemon started.
_cpu_seconds: dict[str, float] = defaultdict(float)
_counts: dict[str, int] = defaultdict(int)


class Scheduler(LoadFileScheduling):  # type: ignore[misc]
    """One worker runs all tests of a file, which share hosts. Molecule's scenarios have hosts of their own."""

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(super()._split_scope(nodeid))
        if path.name == "test_molecule.py":
            return nodeid
        return str(path.with_name(TOGETHER.get(path.name, path.name)))


def pytest_configure(config: pytest.Config) -> None:
    """Give the runs of Ansible a folder for what they know of hosts; workers have the environment of the process that starts them."""
    if hasattr(config, "workerinput"):
        return
    folder = tempfile.mkdtemp(prefix="drydock-test-hosts-")
    config.add_cleanup(lambda: shutil.rmtree(folder))
    os.environ["DRYDOCK_TEST_HOSTS"] = folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler:
    """Take the place of xdist's own ways."""
    return Scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}

    def place(item: pytest.Item) -> tuple[bool, int]:
        return "unit" in item.path.parts, places.get(TOGETHER.get(item.path.name, item.path.name), len(places))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Begin to count the CPU seconds of a test."""
    item.stash[CPU] = cpu_seconds()
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Write down with the last report of a test what CPU it took."""
    if call.when == "teardown":
        item.user_properties.append(("cpu", round(cpu_seconds() - item.stash[CPU], 2)))


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the time of a test, its preparation and its cleaning up."""
    path = PurePosixPath(report.nodeid.partition("::")[0])
    # A folder of unit tests is a part, and so is a file of integration tests.
    part = str(path if "integration" in path.parts else path.parent)
    _seconds[part] += report.duration
    _counts[part] += report.when == "call"
    if report.when == "teardown":
        _cpu_seconds[part] += sum(float(str(seconds)) for what, seconds in report.user_properties if what == "cpu")
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
        cpu = f"{_cpu_seconds[part]:7.1f} s of CPU" if part in _cpu_seconds else " " * 16
        terminalreporter.write_line(f"{seconds:7.1f} s {cpu}  {part}{tests}")
