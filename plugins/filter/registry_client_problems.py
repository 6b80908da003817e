# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: registry_client_problems
short_description: Say what is wrong with the settings of a registry's client
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Checks, on the controller and without any machine, what the argument specification of the role C(registry_client) cannot express.
  - An address with a scheme or a path, texts that are no certificates, a key that belongs to another certificate, a user without
    a password, runtimes that are not known.
options:
  _input:
    description:
      - The settings of the role C(registry_client), each without its prefix.
      - The keys are V(address), V(server_ca), V(username), V(password), V(certificate_name), V(certificate), V(key), V(runtimes),
        V(users), V(credential_helper) and V(credentials_directory).
    type: dict
    required: true
notes:
  - No sentence holds a password or anything of a private key.
"""

EXAMPLES = r"""
- name: Refuse settings that lead nowhere
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
  vars:
    problems: "{{ {'address': 'registry.example.com:5443', 'runtimes': ['docker']} | drydock.registry.registry_client_problems }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem, with the variable's name and the fix; empty when all is well.
  type: list
  elements: str
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def registry_client_problems(settings: Any) -> list[str]:
    """The problems of all settings together."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_client import client_problems

    if not isinstance(settings, Mapping):
        raise AnsibleFilterError("drydock.registry.registry_client_problems takes a dictionary of settings.")
    return client_problems(settings, datetime.datetime.now(datetime.timezone.utc))


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"registry_client_problems": registry_client_problems}
