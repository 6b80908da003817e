# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: converged_roles
short_description: Find the roles that have nothing to do
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - A role has nothing to do where neither its inputs, nor files on the controller, nor the collection, nor what it makes and reads
    on the host have changed since it last ran there to its end.
options:
  _input:
    description: The registered result of the module M(drydock.registry.host_state).
    type: dict
    required: true
  inputs:
    description:
      - By role, C(variables), all that it is told, and C(files), paths on the controller whose content counts.
    type: dict
    required: true
  roles:
    description: The roles that are asked about.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
# [web]
roles: >-
  {{ look | drydock.registry.converged_roles(inputs={'web': {'variables': {'web_port': 443}, 'files': []}}, roles=['web']) }}
"""

RETURN = r"""
_value:
  description: The names of these roles.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._converged import converged

# The checkout or the installed collection.
ROOT = Path(__file__).resolve().parents[2]


def converged_roles(look: Mapping[str, Any], inputs: Mapping[str, Any], roles: Sequence[str]) -> list[str]:
    return converged(look, inputs, roles, ROOT)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"converged_roles": converged_roles}
