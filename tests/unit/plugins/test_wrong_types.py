# SPDX-License-Identifier: GPL-3.0-or-later
"""Each setting of a wrong type is named by a sentence, although hosts are looked at before settings are validated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_each_setting_of_a_wrong_type_is_named() -> None:
    program = Path(__file__).with_name("wrong_types.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True, timeout=300)
    roles = json.loads(done.stdout)
    assert sum(len(role["names"]) for role in roles.values()) > 100
    for role, found in roles.items():
        assert (role, found["well"]) == (role, [])
        unnamed = [name for name in found["names"] if not any(name in sentence for sentence in found["wrong"])]
        assert (role, unnamed) == (role, [])
