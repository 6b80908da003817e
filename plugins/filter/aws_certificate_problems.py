# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_certificate_problems
short_description: Say what is wrong with a certificate that a load balancer is to get
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Checks, on the controller and without asking AWS, a certificate, its chain and its key that the role C(aws_load_balancer) imports.
  - Texts that are no PEM, a key of another certificate, other names, a chain out of order, dates.
options:
  _input:
    description: A dictionary with the texts V(certificate), V(chain) and V(key), and the name V(domain).
    type: dict
    required: true
notes:
  - No sentence holds anything of a private key.
"""

EXAMPLES = r"""
- name: Refuse a pair that does not fit
  ansible.builtin.assert:
    that: __aws_load_balancer_pair | drydock.registry.aws_certificate_problems | length == 0
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


def aws_certificate_problems(pair: Any) -> list[str]:
    """The problems of certificate, chain and key together."""
    from ansible_collections.drydock.registry.plugins.module_utils._aws_certificates import pair_problems

    if not isinstance(pair, Mapping):
        raise AnsibleFilterError("drydock.registry.aws_certificate_problems takes a dictionary.")
    certificate, chain, key, domain = (str(pair.get(name) or "") for name in ("certificate", "chain", "key", "domain"))
    return pair_problems(certificate, chain, key, domain, datetime.datetime.now(datetime.timezone.utc))


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_certificate_problems": aws_certificate_problems}
