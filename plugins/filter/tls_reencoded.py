# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_reencoded
short_description: Write a certificate and its key anew
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Writes PEM anew from what Python's cryptography has read of it. Programs differ in which PEM they read, for instance without a line
    break between two certificates, and all of them read this.
  - The result holds the private key.
options:
  _input:
    description: A dictionary with C(certificate), C(private_key) and C(ca_certificate), all of them PEM.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Install a certificate
  ansible.builtin.copy:
    content: "{{ (pair | drydock.registry.tls_reencoded)['certificate'] }}"
    dest: /etc/ssl/tls.crt
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The same keys; empty where nothing can be read.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def tls_reencoded(provided: Mapping[str, Any]) -> dict[str, str]:
    """The pair as all programs read it."""
    from ansible_collections.drydock.registry.plugins.module_utils._tls import library_problem, reencoded

    problem = library_problem()
    if problem:
        raise AnsibleFilterError(problem)
    return reencoded(provided)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"tls_reencoded": tls_reencoded}
