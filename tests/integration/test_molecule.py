# SPDX-License-Identifier: GPL-3.0-or-later
"""Each Molecule scenario is a test: `molecule test -s NAME`, on hosts that are containers on the local Docker.

Scenarios have hosts of their own, so they can run side by side (pytest -n 2).
One scenario alone: `pytest tests/integration/test_molecule.py -k NAME`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import machine
import pytest

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
# A scenario that hangs is ended; the slowest takes a few minutes.
LIMIT_SECONDS = 1800
TAIL_LINES = 60
FAILURE_LINES = 12


class Run(NamedTuple):
    """What became of one scenario."""

    returncode: int
    output: str
    seconds: float


def hosts(scenario: str) -> list[str]:
    """Return the containers of a scenario's hosts, by the names that molecule/shared gives them."""
    beginning = f"name=^/?drydock-{machine.CHECKOUT}-{scenario}-"
    command = ["docker", "container", "ls", "--all", "--quiet", "--filter", beginning]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def run(scenario: str, folder: Path) -> Run:
    """Run a scenario on new hosts with Molecule as a user would; its state is in a new folder.

    Docker removes the hosts: that takes less of everything than two runs of Ansible.
    """
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_HOME": str(ROOT / ".ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(folder),
    }
    # The checkout's own settings count, not those of whoever runs the tests.
    environment.pop("ANSIBLE_CONFIG", None)
    start = time.monotonic()
    # What a test run that was killed may have left.
    machine.remove(*hosts(scenario))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "molecule", "test", "--destroy=never", "--scenario-name", scenario],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    finally:
        machine.remove(*hosts(scenario))
    return Run(done.returncode, done.stdout, time.monotonic() - start)


def excerpt(output: str) -> str:
    """Return what was said about each failed task, the expected refusals among them, and the end."""
    lines = output.splitlines()
    failures: list[str] = []
    task = ""
    for number, line in enumerate(lines):
        if line.startswith("TASK ["):
            task = line
        elif line.startswith("fatal: ["):
            failures += [task, *lines[number : number + FAILURE_LINES], "..."]
    return "\n".join([*failures, *lines[-TAIL_LINES:]])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    done = run(scenario, tmp_path)
    record_property(f"part: molecule test -s {scenario}", round(done.seconds, 1))
    assert done.returncode == 0, f"molecule test -s {scenario} ended with {done.returncode}:\n{excerpt(done.output)}"
