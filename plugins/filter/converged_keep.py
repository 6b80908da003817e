# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: converged_keep
short_description: Say what a host shall keep of roles that ran to their end
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Makes the option C(keep) of the module M(drydock.registry.host_state).
options:
  _input:
    description: The registered result of the module's first call.
    type: dict
    required: true
  inputs:
    description:
      - By role, C(variables), C(files) as for P(drydock.registry.converged_roles#filter), and optionally C(ends), a time in ISO 8601, and
        C(days_before), so many days before which the role has to run anyway.
    type: dict
    required: true
  roles:
    description: The roles.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
keep: >-
  {{ look | drydock.registry.converged_keep(inputs={'web': {'variables': {'web_port': 443}, 'files': []}}, roles=['web']) }}
"""

RETURN = r"""
_value:
  description: By role, C(key) and C(until).
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._converged import to_keep

# The checkout or the installed collection.
ROOT = Path(__file__).resolve().parents[2]


def converged_keep(
    look: Mapping[str, Any], inputs: Mapping[str, Any], roles: Sequence[str]
) -> dict[str, dict[str, Any]]:
    return to_keep(look, inputs, roles, ROOT)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"converged_keep": converged_keep}
