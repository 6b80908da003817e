# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: acme_reach_problems
short_description: Say what keeps an order at an ACME directory from succeeding
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Reads what a host found out about the ACME directory and about its own names, before an order spends any of the directory's limits.
options:
  _input:
    description: What C(acme_reach.py) of the role C(registry_tls) printed, parsed.
    type: dict
    required: true
  wanted:
    description: For the sentences, with the keys V(host), V(directory), V(profile) and V(webroot).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse to order
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
  vars:
    problems: "{{ report['stdout'] | from_json | drydock.registry.acme_reach_problems(wanted=wanted) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the fix; empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any


def acme_reach_problems(report: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The problems of the directory and of each name."""
    from ansible_collections.drydock.registry.plugins.module_utils._acme import reach_problems

    return reach_problems(report, wanted)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"acme_reach_problems": acme_reach_problems}
