# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_problems
short_description: Say what is wrong with the TLS settings of a registry
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Checks, on the controller and without any host, what the argument specification of the role C(registry_tls) cannot express.
  - Names that are no host names, periods that contradict each other, directories that expose the CA's key, and a provided pair
    that no nginx would load or no client would trust; for V(acme) an account, a directory and names that no order would succeed with.
options:
  _input:
    description:
      - The settings of the role C(registry_tls), each without its prefix.
      - The keys are V(provider), V(domain), V(names), V(directory), V(ca_directory), V(valid_days), V(renew_before_days),
        V(ca_valid_days), V(provided), V(key) and V(acme), a dictionary of the settings that begin with C(registry_tls_acme_).
    type: dict
    required: true
notes:
  - No sentence holds anything of a private key.
"""

EXAMPLES = r"""
- name: Refuse settings that lead nowhere
  ansible.builtin.assert:
    that: __registry_tls_problems | length == 0
    fail_msg: "{{ __registry_tls_problems | join(' ') }}"
  vars:
    __registry_tls_problems: "{{ __registry_tls_settings | drydock.registry.tls_problems }}"
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


def tls_problems(settings: Any) -> list[str]:
    """The problems of all settings together."""
    from ansible_collections.drydock.registry.plugins.module_utils import _acme, _tls

    if not isinstance(settings, Mapping):
        raise AnsibleFilterError("drydock.registry.tls_problems takes a dictionary of settings.")
    problems = _tls.settings_problems(settings, datetime.datetime.now(datetime.timezone.utc))
    return problems + (_acme.settings_problems(settings) if settings["provider"] == "acme" else [])


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"tls_problems": tls_problems}
