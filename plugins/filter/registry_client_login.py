# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: registry_client_login
short_description: Write a login as Docker's configuration and as a credential helper want it
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Returns the entry of a registry in the C(auths) of a C(config.json), and what C(docker-credential-x) reads for C(store) and
    writes for C(get), as JSON texts.
positional: username, password
options:
  _input:
    description: The registry's address, as in the names of images.
    type: str
    required: true
  username:
    description: The user; an empty one makes empty texts.
    type: str
    required: true
  password:
    description: The user's password.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Hand a login to a credential helper
  ansible.builtin.command:
    argv: [docker-credential-pass, store]
    stdin: "{{ ('registry.example.com' | drydock.registry.registry_client_login('ci', vault_drydock_ci_password))['helper'] }}"
  changed_when: true
  no_log: true
"""

RETURN = r"""
_value:
  description: The JSON texts C(entry) and C(helper).
  type: dict
"""

from collections.abc import Callable
from typing import Any


def registry_client_login(address: Any, username: Any, password: Any) -> dict[str, str]:
    """The login in both forms."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_client import login_texts

    return login_texts(str(address), str(username), str(password))


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"registry_client_login": registry_client_login}
