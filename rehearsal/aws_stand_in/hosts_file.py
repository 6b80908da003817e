# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of Route 53 in /etc/hosts, so that the names of a rehearsal resolve on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

BEGIN = "# BEGIN drydock rehearsal"
END = "# END drydock rehearsal"
_BLOCK = re.compile(rf"^{BEGIN}$.*?^{END}$\n?", re.MULTILINE | re.DOTALL)


def with_records(text: str, records: Iterable[tuple[str, str]]) -> str:
    """Return the text of a hosts file with a block of records (name, address), and without one if there are none."""
    kept = _BLOCK.sub("", text)
    lines = [f"{address} {name}" for name, address in sorted(records)]
    if not lines:
        return kept
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return kept + "\n".join([BEGIN, *lines, END]) + "\n"


class HostsFile:
    """A hosts file with the block of a rehearsal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()

    def write(self, records: Iterable[tuple[str, str]]) -> None:
        """Replace the block."""
        with self._lock:
            old = self.path.read_text(encoding="utf-8")
            new = with_records(old, records)
            if new != old:
                # In place: in a container it is a mount, which cannot be renamed over.
                self.path.write_text(new, encoding="utf-8")
