# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: access_password_users
short_description: Leave out the users who have a certificate instead of a password
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Leaves the others as they are and in their order.
options:
  _input:
    description:
      - Users, each a dictionary with C(name) and perhaps C(certificate_only).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
# [{name: alice}]
users: "{{ [{'name': 'alice'}, {'name': 'pipeline', 'certificate_only': true}] | drydock.registry.access_password_users }}"
"""

RETURN = r"""
_value:
  description: The users without C(certificate_only).
  type: list
  elements: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def access_password_users(users: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    from ansible_collections.drydock.registry.plugins.module_utils._access import password_users

    return password_users(users)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"access_password_users": access_password_users}
