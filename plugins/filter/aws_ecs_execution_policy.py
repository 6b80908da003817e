# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_ecs_execution_policy
short_description: Write the IAM policy of the role with which Amazon ECS starts a registry's tasks
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Allows what ECS does before a task runs, and nothing else. It reads the secrets, writes into the log group, and pulls from the
    repositories in ECR that images are in.
options:
  _input:
    description:
      - C(partition), C(region) and C(account_id).
    type: dict
    required: true
  secrets:
    description:
      - The names of the secrets.
    type: list
    elements: str
    required: true
  log_group:
    description:
      - The name of the log group.
    type: str
    required: true
  images:
    description:
      - The images.
    type: list
    elements: str
    required: true
  kms_key_arn:
    description:
      - The ARN of the KMS key that encrypts the secrets. Empty with the one that AWS manages, which needs no permission.
    type: str
    default: ""
  image_credentials:
    description:
      - The ARNs of secrets with credentials for registries that images come from, by those registries' names.
    type: dict
    default: {}
  pull_through_prefixes:
    description:
      - What repositories in ECR begin with that are pull-through caches.
    type: list
    elements: str
    default: []
seealso:
  - name: The execution role
    description: What ECS does with it.
    link: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
"""

EXAMPLES = r"""
policy: >-
  {{ account | drydock.registry.aws_ecs_execution_policy(secrets=['drydock-registry-ecs-1'], log_group='/drydock/drydock-registry',
     images=['docker.io/library/registry:3']) }}
"""

RETURN = r"""
_value:
  description: The policy.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def aws_ecs_execution_policy(
    where: Mapping[str, str],
    secrets: Sequence[str],
    log_group: str,
    images: Sequence[str],
    kms_key_arn: str = "",
    image_credentials: Mapping[str, str] | None = None,
    pull_through_prefixes: Sequence[str] = (),
) -> dict[str, Any]:
    """The policy of the execution role."""
    from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import execution_policy

    return execution_policy(
        where, secrets, log_group, images, kms_key_arn, (image_credentials or {}).values(), pull_through_prefixes
    )


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_ecs_execution_policy": aws_ecs_execution_policy}
