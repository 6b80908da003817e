# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: status_screen
short_description: Lay a report on a registry out for a terminal
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Makes one screen of a report of the filter P(drydock.registry.status_report#filter), problems first, in aligned columns.
options:
  _input:
    description: The report.
    type: dict
    required: true
  width:
    description: How many characters a line may have. A word that is longer, such as a path in a problem, stays whole.
    type: int
    default: 94
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ report | drydock.registry.status_screen }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def status_screen(report: Any, width: int = 94) -> list[str]:
    """The lines of one host's screen."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_status_screen import screen

    if not isinstance(report, Mapping):
        raise AnsibleFilterError("drydock.registry.status_screen takes a report of drydock.registry.status_report.")
    return screen(report, width)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"status_screen": status_screen}
