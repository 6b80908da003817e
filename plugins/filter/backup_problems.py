# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for backups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: backup_problems
author:
  - The drydock authors
short_description: Finds what is wrong with the settings of the backup
version_added: 0.1.0
description:
  - Returns one sentence for each problem. None quotes a password.
options:
  _input:
    description:
      - C(host) and whether it has C(systemd); C(repository), C(password), C(environment), C(keep), C(limit_mib), C(time), C(provider),
        C(folder), C(frozen) and C(paths), as the inputs of the role registry_backup say them; C(report), what the program has noted in
        C(report_path), empty where nobody has looked.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Reject settings that cannot work
  ansible.builtin.assert:
    that: settings | drydock.registry.backup_problems | length == 0
"""

RETURN = r"""
_value:
  description: The sentences. Empty when nothing is wrong.
  type: list
  elements: str
"""


def backup_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return all sentences about the settings."""
    from ansible_collections.drydock.registry.plugins.module_utils._backup import backup_problems as problems

    return problems(settings)


class FilterModule:
    """Offers the filter to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"backup_problems": backup_problems}
