# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_ecs_holds
short_description: Tell whether Amazon ECS has something as it is wanted
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Compares what the API describes with what is wanted. Only the keys that are wanted count, and the order of dictionaries in a list
    does not.
  - M(community.aws.ecs_taskdefinition) compares neither sizes nor the elements of lists, and M(community.aws.ecs_service) neither
    networks nor how deployments go, so that they would leave a difference there as it is.
options:
  _input:
    description:
      - What the API describes.
    type: dict
    required: true
  wanted:
    description:
      - What is wanted.
    type: dict
    required: true
  exact:
    description:
      - Below the top, where ECS adds many keys, other keys count as well unless they are empty. It is for task definitions, which ECS
        keeps as they are registered; to a service it adds what it chooses itself.
    type: bool
    default: false
"""

EXAMPLES = r"""
same: "{{ account['task_definition'] | drydock.registry.aws_ecs_holds({'cpu': '512'}, exact=true) }}"
"""

RETURN = r"""
_value:
  description: Whether it is.
  type: bool
"""

from collections.abc import Callable, Mapping
from typing import Any


def aws_ecs_holds(found: Mapping[str, Any], wanted: Mapping[str, Any], exact: bool = False) -> bool:
    """Tell whether what was found is what is wanted."""
    from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import holds

    return holds(found, wanted, exact)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_ecs_holds": aws_ecs_holds}
