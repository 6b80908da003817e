# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: access_problems
short_description: Say what is wrong with the rights of users
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Checks access words, patterns of repositories, and users who have a certificate instead of a password.
  - Names and passwords are checked by P(drydock.registry.htpasswd_problems#filter).
options:
  _input:
    description:
      - Users, each a dictionary with C(name) and, where they differ from the defaults, C(access), C(repositories) and C(certificate_only).
    type: list
    elements: dict
    required: true
  variable:
    description:
      - The name of the variable that holds the users. Each sentence names it.
    type: str
    required: true
seealso:
  - plugin: drydock.registry.access_document
    plugin_type: filter
"""

EXAMPLES = r"""
# One sentence about the unknown word
problems: "{{ [{'name': 'alice', 'access': 'write'}] | drydock.registry.access_problems(variable='registry_auth_users') }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem. Empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.drydock.registry.plugins.module_utils import _access


def access_problems(users: object, variable: str) -> list[str]:
    return _access.access_problems(users, variable)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"access_problems": access_problems}
