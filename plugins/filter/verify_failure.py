# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_failure
short_description: Say what it means that a client's check of a registry failed
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Compares what a client met with what the registry's host meets. Where the host is answered and the client is not, it is the way
    between them; where they see different certificates, the name leads elsewhere; where a certificate is for another time, it is a clock.
options:
  _input:
    description: The client's failed result of M(drydock.registry.registry_probe).
    type: dict
    required: true
  inside:
    description: The result on the registry's host, empty where it was not asked.
    type: dict
    default: {}
  client:
    description: What to call the client.
    type: str
    required: true
  host:
    description: What to call the host.
    type: str
    required: true
  url:
    description: The registry's URL.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say what failed
  ansible.builtin.fail:
    msg: >-
      {{ (outside | drydock.registry.verify_failure(inside=inside, client='this machine', host=inventory_hostname,
          url='https://registry.example.com'))['message'] }}
"""

RETURN = r"""
_value:
  description: The C(message), and whether C(logs) of the containers would tell more.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any


def verify_failure(
    outside: Mapping[str, Any], inside: Mapping[str, Any], client: str, host: str, url: str
) -> dict[str, Any]:
    """What the failure means."""
    from ansible_collections.drydock.registry.plugins.module_utils._verify import explained

    return explained(outside, inside, client, host, url)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"verify_failure": verify_failure}
