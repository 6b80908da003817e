# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: htpasswd_hashed_users
short_description: Give users the hashes of a htpasswd file in place of their passwords
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Whoever gets these users can check passwords and does not know them.
  - Users that the file does not have stay without a hash.
options:
  _input:
    description:
      - Users, each a dictionary with C(name) and whatever else they have.
    type: list
    elements: dict
    required: true
  text:
    description:
      - What the htpasswd file holds.
    type: str
    required: true
"""

EXAMPLES = r"""
# [{name: alice, access: admin, password_hash: $2y$10$...}]
users: >-
  {{ [{'name': 'alice', 'access': 'admin', 'password': vault_drydock_alice_password}]
  | drydock.registry.htpasswd_hashed_users(lookup('ansible.builtin.file', 'htpasswd')) }}
"""

RETURN = r"""
_value:
  description:
    - The users in their order, without C(password) and with C(password_hash).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def htpasswd_hashed_users(users: Sequence[Mapping[str, Any]], text: str) -> list[dict[str, Any]]:
    from ansible_collections.drydock.registry.plugins.module_utils._htpasswd import hashed_users

    return hashed_users(users, text)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"htpasswd_hashed_users": htpasswd_hashed_users}
