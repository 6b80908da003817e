# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: library_problems
short_description: Say which Python libraries a host lacks and cannot get from its packages
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Packages of a Linux distribution bring libraries to the distribution's own Python only. For any other Python the sentence says which
    command of pip helps.
options:
  _input:
    description: What M(drydock.registry.host_look) has returned as C(libraries). Empty where the host was not asked.
    type: dict
    required: true
  names:
    description: The libraries that are needed, as a Python imports them.
    type: list
    elements: str
    required: true
  host:
    description: The host's name.
    type: str
    required: true
"""

EXAMPLES = r"""
problems: "{{ look.libraries | drydock.registry.library_problems(['passlib', 'bcrypt'], inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: No sentence, or one that names all libraries.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def library_problems(found: Mapping[str, Any], names: Sequence[str], host: str) -> list[str]:
    from ansible_collections.drydock.registry.plugins.module_utils._libraries import problems

    return problems(found, names, host) if found else []


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"library_problems": library_problems}
