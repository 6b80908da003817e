# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log, which nginx writes: a line for each run that is applied, whether it finds something to take or not."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drydock_store.store import iso

# Never through a link, nor for good into a pipe that nobody reads.
_ADD = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What of an answer is counted, and what is told as it is.
_COUNTED = ("tags", "images", "links", "blobs", "brought_back")
_TOLD = ("run", "runs", "files", "size", "undone")


def who(environment: Mapping[str, str]) -> str:
    """Say who runs this: whoever became root for it, the timer, or an account."""
    by_timer = "drydock-storage.timer" if "INVOCATION_ID" in environment else ""
    return environment.get("SUDO_USER") or by_timer or environment.get("USER") or ""


def line(command: str, result: Mapping[str, Any], status: int, at: float, user: str) -> str:
    """Write the line of a run."""
    about: dict[str, Any] = {
        # As nginx writes it.
        "time": iso(at).replace("Z", "+00:00"),
        "event": command,
        "user": user,
        "status": status,
    }
    about.update({key: len(result[key]) for key in _COUNTED if result.get(key)})
    about.update({key: result[key] for key in _TOLD if result.get(key)})
    return json.dumps(about) + "\n"


def record(directory: str, text: str, at: float) -> str:
    """Add a line; says what is wrong where that cannot be done."""
    path = Path(directory) / f"audit-{iso(at)[:10]}.log"
    try:
        file = os.open(path, _ADD, 0o640)
        try:
            # By one call: nginx writes here as well.
            os.write(file, text.encode())
        finally:
            os.close(file)
    except OSError as error:
        return f"log_directory: the audit log in {directory} has no line of this run ({error.strerror})."
    return ""
