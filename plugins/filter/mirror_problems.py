# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mirror_problems
short_description: Say what is wrong with the settings of mirrors of other registries
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Checks, on the controller and without any host, what the argument specification of the role C(registry_mirror) cannot express.
  - Names that no repository can have, registries that are this one, two mirrors that cannot be told apart, half of a login.
options:
  _input:
    description:
      - The settings of the role C(registry_mirror), each without its prefix.
      - The keys are V(upstreams), V(fresh_seconds), V(never), V(prefetch), V(prefetch_platforms), V(storage_directory), V(domain),
        V(names), V(https_port) and V(outgoing_proxy).
    type: dict
    required: true
  mirrored:
    description: The names that are or were mirrors' on the host so far.
    type: list
    elements: str
    default: []
  found:
    description: The names of mirrors below which the host has repositories.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Refuse settings that lead nowhere
  ansible.builtin.assert:
    that: __registry_mirror_problems | length == 0
    fail_msg: "{{ __registry_mirror_problems | join(' ') }}"
  vars:
    __registry_mirror_problems: "{{ __registry_mirror_settings | drydock.registry.mirror_problems }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable's name and the fix; empty when all is well. None quotes a password.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def mirror_problems(settings: Any, mirrored: Sequence[str] = (), found: Sequence[str] = ()) -> list[str]:
    """The problems of all settings together."""
    from ansible_collections.drydock.registry.plugins.module_utils._mirror import settings_problems, taken_problems

    if not isinstance(settings, Mapping):
        raise AnsibleFilterError("drydock.registry.mirror_problems takes a dictionary of settings.")
    return [*settings_problems(settings), *taken_problems(settings["upstreams"], mirrored, found)]


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"mirror_problems": mirror_problems}
