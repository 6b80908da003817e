# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: acme_reasons_to_order
short_description: Say why a certificate must be ordered from an ACME directory
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Compares the certificate in a lineage of certbot, and the lineage's renewal configuration, with what is wanted.
  - A certificate is due when a third of its lifetime is left, or half of it when that is shorter than ten days.
  - The answer is empty as long as the certificate serves on.
options:
  _input:
    description: The lineage's certificate as PEM text; empty when there is none.
    type: str
    required: true
  renewal:
    description: The text of the lineage's renewal configuration; empty when there is none.
    type: str
    required: true
  wanted:
    description:
      - What is wanted, with the keys V(names) (a list), V(key) (as in C(registry_tls_key)), V(options) (options of certbot's renewal
        configuration and their values) and V(renew_now).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show why an order is due
  ansible.builtin.debug:
    msg: >-
      {{ certificate | drydock.registry.acme_reasons_to_order(renewal=text, wanted={'names': ['registry.example.com'],
         'key': {'type': 'ECC'}, 'options': {'authenticator': 'webroot'}, 'renew_now': false}) }}
"""

RETURN = r"""
_value:
  description: One short clause for each reason; empty when the certificate serves on.
  type: list
  elements: str
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def acme_reasons_to_order(certificate: str, renewal: str, wanted: Mapping[str, Any]) -> list[str]:
    """The reasons as of now."""
    from ansible_collections.drydock.registry.plugins.module_utils._acme import reasons_to_order
    from ansible_collections.drydock.registry.plugins.module_utils._tls import library_problem

    problem = library_problem()
    if problem:
        raise AnsibleFilterError(problem)
    return reasons_to_order(str(certificate), str(renewal), wanted, datetime.datetime.now(datetime.timezone.utc))


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"acme_reasons_to_order": acme_reasons_to_order}
