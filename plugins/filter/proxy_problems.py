# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: proxy_problems
short_description: Say what is wrong with the settings of the nginx in front of a registry
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Checks, on the controller and without any host, what the argument specification of the role C(registry_proxy) cannot express.
  - Names that are no host names, ports that are none, and a CA of client certificates or a list of revoked ones that nginx could
    not use.
options:
  _input:
    description:
      - The settings of the role C(registry_proxy), each without its prefix.
      - The keys are V(domain), V(names), V(https_port), V(http_port), V(listen_address), V(trusted_networks),
        V(client_networks), V(cors_origins), V(keepalive_seconds), V(realm), V(client_certificates),
        V(client_ca_certificate), V(client_crl), V(reload_program), V(password_cache_seconds),
        V(failed_logins_per_second), V(immutable_tags), V(quotas), V(storage_report),
        V(mirrors) and V(blob_directory).
    type: dict
    required: true
  client_ca_may_come:
    description: Whether the CA and its list may be empty for now, as in a dry run before the CA is made.
    type: bool
    default: false
  if_inet6:
    description:
      - The content of the host's C(/proc/net/if_inet6), its IPv6 addresses; it is empty where the host has none.
      - Without it, no host is looked at.
    type: str
"""

EXAMPLES = r"""
- name: Refuse settings that lead nowhere
  ansible.builtin.assert:
    that: __registry_proxy_problems | length == 0
    fail_msg: "{{ __registry_proxy_problems | join(' ') }}"
  vars:
    __registry_proxy_problems: "{{ __registry_proxy_settings | drydock.registry.proxy_problems(client_ca_may_come=ansible_check_mode) }}"
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


def proxy_problems(settings: Any, client_ca_may_come: bool = False, if_inet6: str | None = None) -> list[str]:
    """The problems of all settings together."""
    from ansible_collections.drydock.registry.plugins.module_utils._proxy import settings_problems

    if not isinstance(settings, Mapping):
        raise AnsibleFilterError("drydock.registry.proxy_problems takes a dictionary of settings.")
    now = datetime.datetime.now(datetime.timezone.utc)
    return settings_problems(settings, now, client_ca_may_come=client_ca_may_come, if_inet6=if_inet6)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"proxy_problems": proxy_problems}
