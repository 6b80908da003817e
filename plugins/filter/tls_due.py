# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_due
short_description: Say whether a key or a certificate of a server or of its CA has to be made anew
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Answers from what one call of M(drydock.registry.host_look) has seen, so that a run in which nothing is due makes no further call.
  - Never needs a private key, only whether the keys on the host belong to the certificates.
options:
  _input:
    description:
      - C(certificate) and C(ca), the certificates as PEM texts, empty where there are none; and C(pairs), whether the host could load each
        of them with its key.
    type: dict
    required: true
  key:
    description: The wanted kind of the server's key, C(type) V(ECC) or V(RSA), and C(curve) or C(size).
    type: dict
    required: true
  alt_names:
    description: The wanted names, as V(DNS:registry.example.com) or V(IP:192.0.2.1).
    type: list
    elements: str
    required: true
  valid_days:
    description: The days that a new certificate is valid, which the CA has to outlive.
    type: int
    required: true
  renew_before_days:
    description: The certificate is due when fewer days than these are left.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Make what is due
  ansible.builtin.include_tasks: make.yml
  when: >-
    {'certificate': look.files['/etc/web/tls.crt'].content, 'ca': look.files['/etc/web/ca.crt'].content, 'pairs': look.pairs.values()}
    | drydock.registry.tls_due(key={'type': 'ECC'}, alt_names=['DNS:www.example.com'], valid_days=90, renew_before_days=30)
"""

RETURN = r"""
_value:
  description: Whether anything has to be made.
  type: bool
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def tls_due(
    found: Mapping[str, Any],
    key: Mapping[str, Any],
    alt_names: Sequence[str],
    valid_days: int,
    renew_before_days: int,
) -> bool:
    """The answer as of now."""
    from ansible_collections.drydock.registry.plugins.module_utils._tls import is_due, library_problem

    problem = library_problem()
    if problem:
        raise AnsibleFilterError(problem)
    return is_due(
        certificate=str(found["certificate"]),
        ca=str(found["ca"]),
        pairs_load=all(found["pairs"]),
        key=key,
        alt_names=[str(name) for name in alt_names],
        valid_days=int(valid_days),
        renew_before_days=int(renew_before_days),
        now=datetime.datetime.now(datetime.timezone.utc),
    )


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"tls_due": tls_due}
