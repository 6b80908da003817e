# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_plan
short_description: Say what a client can try at a registry with these users and settings
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Picks the first user whose password is known and who may do everything, or else the first whose password is known.
  - Tells what cannot be tried, and why.
options:
  _input:
    description: Users, as C(registry_auth_users) has them.
    type: list
    elements: dict
    required: true
  client_certificates:
    description: Which client certificates the registry asks for; with V(required) no password is needed.
    type: str
    choices: ["off", optional, required, both]
    default: "off"
  delete_enabled:
    description: Whether the registry deletes, unless O(config) says it.
    type: bool
    default: true
  config:
    description: What is merged into the registry's configuration.
    type: dict
    default: {}
"""

EXAMPLES = r"""
# user: {name: alice, password: x, access: admin}, login_enabled: true, push_enabled: true, delete_enabled: true, unchecked: ''
plan: "{{ [{'name': 'bob'}, {'name': 'alice', 'password': 'x', 'access': 'admin'}] | drydock.registry.verify_plan }}"
"""

RETURN = r"""
_value:
  description:
    - The C(user), with an empty name where none is let in; C(login_enabled), C(push_enabled) and C(delete_enabled).
    - C(unchecked) says what is left out and why, and is empty where nothing is.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional


def verify_plan(
    users: Sequence[Mapping[str, Any]],
    client_certificates: str = "off",
    delete_enabled: object = True,
    config: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """What can be tried."""
    from ansible_collections.drydock.registry.plugins.module_utils._access import is_true
    from ansible_collections.drydock.registry.plugins.module_utils._verify import plan

    return plan(users, client_certificates, is_true(delete_enabled), config or {})


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"verify_plan": verify_plan}
