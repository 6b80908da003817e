# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_outputs
short_description: Gather what others need to know of a deployment on AWS
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Every id, name, address and ARN that the roles return, by the role, without what only a run itself needs.
options:
  _input:
    description:
      - The results of the roles by the names of their variables, such as C(aws_network_result).
    type: dict
    required: true
  about:
    description:
      - What is said of the whole deployment.
    type: dict
    default: {}
  flat:
    description:
      - Whether to return one text for each thing, C(network/vpc_id), as parameters of SSM are. Lists become texts with commas.
    type: bool
    default: false
"""

EXAMPLES = r"""
outputs: "{{ {'aws_storage_result': aws_storage_result} | drydock.registry.aws_outputs({'deployment': 'prod'}) }}"
"""

RETURN = r"""
_value:
  description: The outputs.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

# What is so during a run, on this machine, or no id, name, address or ARN.
_LEFT_OUT = {"refreshing", "known_hosts", "client_ca_certificate", "adopted", "idle_timeout_seconds"}


def aws_outputs(
    results: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any] | None = None, flat: bool = False
) -> dict[str, Any]:
    """What the roles returned, by role."""
    outputs: dict[str, Any] = dict(about or {})
    for variable, result in sorted(results.items()):
        role = variable.removeprefix("aws_").removesuffix("_result")
        outputs[role] = {key: value for key, value in result.items() if key not in _LEFT_OUT}
    return _flat(outputs) if flat else outputs


def _flat(outputs: Mapping[str, Any], beginning: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in outputs.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{beginning}{key}/")
        elif not isinstance(value, (list, tuple)):
            found[f"{beginning}{key}"] = str(value)
        elif not any(isinstance(each, Mapping) for each in value):
            found[f"{beginning}{key}"] = ",".join(map(str, value))
    return found


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_outputs": aws_outputs}
