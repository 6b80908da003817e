# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python libraries that modules need on a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# passlib itself does not work with newer releases of bcrypt; libpass is its maintained fork.
PIP_NAMES = {"passlib": "libpass"}


def problems(found: Mapping[str, Any], names: Sequence[str], host: str) -> list[str]:
    """Say which libraries a host's Python lacks and cannot get from the distribution's packages, in at most one sentence."""
    missing = [name for name in names if name in found["missing"]]
    if found["system"] or not missing:
        return []
    python = found["python"]
    pip = f"{python} -m pip install {' '.join(PIP_NAMES.get(name, name) for name in missing)}"
    return [
        f"{python} on {host} lacks {', '.join(missing)}; run `{pip}` or set ansible_python_interpreter to a Python that has it."
    ]
