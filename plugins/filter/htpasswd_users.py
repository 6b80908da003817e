# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: htpasswd_users
short_description: Complete users with their generated passwords and a bcrypt cost
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Makes from the users of an inventory what M(drydock.registry.htpasswd) takes as O(drydock.registry.htpasswd#module:users).
options:
  _input:
    description:
      - Users, each a dictionary with C(name) and, where it is not generated, C(password).
    type: list
    elements: dict
    required: true
  directory:
    description:
      - The directory of the files that keep generated passwords.
    type: str
    required: true
  passwords:
    description:
      - The generated passwords by the path of their file, as P(drydock.registry.htpasswd_files#filter) names it.
    type: dict
    required: true
  cost:
    description:
      - The bcrypt cost of passwords that are given.
    type: int
    required: true
  generated_cost:
    description:
      - The bcrypt cost of passwords that are generated.
    type: int
    required: true
seealso:
  - module: drydock.registry.htpasswd
  - plugin: drydock.registry.htpasswd_files
    plugin_type: filter
"""

EXAMPLES = r"""
# [{name: pipeline, password: <that of the file>, cost: 5}]
users: >-
  {{ [{'name': 'pipeline'}]
  | drydock.registry.htpasswd_users(directory='/c', passwords={'/c/pipeline.password': the_password}, cost=10, generated_cost=5) }}
"""

RETURN = r"""
_value:
  description: For each user a dictionary with C(name), C(password) and C(cost).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def htpasswd_users(
    users: Sequence[Mapping[str, Any]],
    directory: str,
    passwords: Mapping[str, str],
    cost: int,
    generated_cost: int,
) -> list[dict[str, Any]]:
    from ansible_collections.drydock.registry.plugins.module_utils._htpasswd import join_passwords

    return join_passwords(users, directory, passwords, cost, generated_cost)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"htpasswd_users": htpasswd_users}
