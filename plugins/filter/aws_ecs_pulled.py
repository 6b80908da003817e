# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_ecs_pulled
short_description: Say with which secrets ECS pulls the images of containers
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Gives each container whose image comes from a registry that asks who pulls the secret that is to be used there.
options:
  _input:
    description:
      - The containers of a task definition.
    type: list
    elements: dict
    required: true
  credentials:
    description:
      - The ARNs of secrets by the names of registries. An image without a registry in its name is C(docker.io)'s.
    type: dict
    required: true
seealso:
  - name: Private registries
    description: What ECS does with it.
    link: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/private-auth.html
"""

EXAMPLES = r"""
containers: >-
  {{ containers | drydock.registry.aws_ecs_pulled(
       {'docker.io': 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:docker-hub-AbCdEf'}) }}
"""

RETURN = r"""
_value:
  description: The containers.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_ecs_pulled": aws_ecs_pulled}


def aws_ecs_pulled(containers: Sequence[Mapping[str, Any]], credentials: Mapping[str, str]) -> list[dict[str, Any]]:
    """The containers with their secrets."""
    from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import with_credentials

    return with_credentials(containers, credentials)
