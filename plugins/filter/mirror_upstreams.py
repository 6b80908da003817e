# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mirror_upstreams
short_description: Write mirrors of other registries as the program needs them that asks those
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Each with the address at which it is asked, and with its login. The result is as secret as the passwords.
options:
  _input:
    description: The upstreams, as C(registry_mirror_upstreams) of the role C(registry_mirror).
    type: list
    elements: dict
    required: true
  fresh_seconds:
    description: For how long it is not asked again what a tag means, where an upstream does not say.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Say where Docker Hub is asked
  ansible.builtin.debug:
    msg: "{{ ([{'name': 'hub', 'registry': 'docker.io'}] | drydock.registry.mirror_upstreams(60))[0]['url'] }}"
"""

RETURN = r"""
_value:
  description: The upstreams.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def mirror_upstreams(upstreams: Sequence[Mapping[str, Any]], fresh_seconds: Any) -> list[dict[str, Any]]:
    """The upstreams as the program reads them."""
    from ansible_collections.drydock.registry.plugins.module_utils._mirror import for_program

    return for_program(upstreams, int(fresh_seconds))


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"mirror_upstreams": mirror_upstreams}
