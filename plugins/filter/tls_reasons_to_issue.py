# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_reasons_to_issue
short_description: Say why a certificate must be made anew
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Compares a certificate with its key, its CA, the wanted names and the days that must be left.
  - The answer is empty as long as the certificate serves on, so that a run that finds it so makes no further step.
options:
  _input:
    description: The certificate as PEM text; empty when there is none.
    type: str
    required: true
  key_fingerprint:
    description:
      - SHA-256 of the public key in the form that the modules of community.crypto return.
      - A certificate of another key is one to replace.
    type: str
    required: true
  days_left:
    description: Replace the certificate when fewer days than these are left.
    type: int
    required: true
  issuer:
    description: The CA's certificate as PEM text. Not read when O(ca=true).
    type: str
    default: ''
  alt_names:
    description: The wanted names, as V(DNS:registry.example.com) or V(IP:192.0.2.1). Not read when O(ca=true).
    type: list
    elements: str
    default: []
  ca:
    description: Whether this is the CA's own certificate, which signs itself.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show why the certificate is due
  ansible.builtin.debug:
    msg: >-
      {{ lookup('ansible.builtin.file', 'tls.crt')
         | drydock.registry.tls_reasons_to_issue(key_fingerprint=key['fingerprint']['sha256'], days_left=30,
             issuer=lookup('ansible.builtin.file', 'ca.crt'), alt_names=['DNS:registry.example.com']) }}
"""

RETURN = r"""
_value:
  description: One short clause for each reason; empty when the certificate serves on.
  type: list
  elements: str
"""

import datetime
from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def tls_reasons_to_issue(
    certificate: str,
    *,
    key_fingerprint: str,
    days_left: int,
    issuer: str = "",
    alt_names: Sequence[str] = (),
    ca: bool = False,
) -> list[str]:
    """The reasons as of now."""
    from ansible_collections.drydock.registry.plugins.module_utils._tls import library_problem, reasons_to_issue

    problem = library_problem()
    if problem:
        raise AnsibleFilterError(problem)
    return reasons_to_issue(
        str(certificate),
        key_fingerprint=str(key_fingerprint),
        days_left=int(days_left),
        issuer=str(issuer),
        alt_names=[str(name) for name in alt_names],
        ca=bool(ca),
        now=datetime.datetime.now(datetime.timezone.utc),
    )


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"tls_reasons_to_issue": tls_reasons_to_issue}
