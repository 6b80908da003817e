# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make` says while it works."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_rehearsal_says_what_it_is_at_before_each_thing_that_takes_long(tmp_path: Path) -> None:
    # As where there is no virtual environment yet.
    plan = ["make", "--dry-run", "--no-print-directory", f"VENV={tmp_path}/none", "rehearsal"]
    done = subprocess.run(plan, cwd=ROOT, capture_output=True, text=True, check=True)
    commands = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    said = False
    long = 0
    for command in commands:
        if command.startswith("echo "):
            said = True
        elif re.search(r"/(pip install|ansible-playbook) ", command):
            assert said, command
            said = False
            long += 1
    assert long == 4
