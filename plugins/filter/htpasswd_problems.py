# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: htpasswd_problems
short_description: Say what is wrong with a list of users
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Checks users as M(drydock.registry.htpasswd) would, but on the controller and before anything is changed.
  - No sentence holds a password.
options:
  _input:
    description:
      - Users, each a dictionary with C(name) and, where it is not to be generated, C(password).
    type: list
    elements: dict
    required: true
  variable:
    description:
      - The name of the variable that holds the users. Each sentence names it.
    type: str
    required: true
seealso:
  - module: drydock.registry.htpasswd
"""

EXAMPLES = r"""
# One sentence about the colon
problems: "{{ [{'name': 'al:ice'}] | drydock.registry.htpasswd_problems(variable='registry_auth_users') }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem. Empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable, Sequence

from ansible_collections.drydock.registry.plugins.module_utils._htpasswd import users_problems


def htpasswd_problems(users: object, variable: str) -> list[str]:
    if isinstance(users, Sequence) and not users:
        return [f"{variable} is empty: give at least one user, such as [{{name: alice}}]."]
    return users_problems(users, variable, password_optional=True)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"htpasswd_problems": htpasswd_problems}
