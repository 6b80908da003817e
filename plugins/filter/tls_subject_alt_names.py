# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_subject_alt_names
short_description: The names of a server's certificate
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Turns host names and IP addresses into the list that community.crypto takes as C(subject_alt_name).
  - Each name comes once, in lower case. V(localhost) brings V(127.0.0.1) and V(::1) along.
options:
  _input:
    description: The host name or IP address that clients use.
    type: str
    required: true
  names:
    description: Further host names and IP addresses.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the names of a certificate for localhost
  ansible.builtin.debug:
    msg: "{{ 'localhost' | drydock.registry.tls_subject_alt_names(['registry.example.com']) }}"
  # ["DNS:localhost", "DNS:registry.example.com", "IP:127.0.0.1", "IP:::1"]
"""

RETURN = r"""
_value:
  description: The names, each as V(DNS:name) or V(IP:address).
  type: list
  elements: str
"""

from collections.abc import Callable, Sequence
from typing import Any


def tls_subject_alt_names(domain: str, names: Sequence[str] = ()) -> list[str]:
    """The names with their kinds."""
    from ansible_collections.drydock.registry.plugins.module_utils._tls import subject_alt_names

    return subject_alt_names(str(domain), [str(name) for name in names])


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"tls_subject_alt_names": tls_subject_alt_names}
