# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_ecs_references
short_description: Name variables of secrets in a task definition of Amazon ECS
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Returns what C(secrets) of a container says. Each variable names its secret, the version of that, and the key in it.
  - With the version, all tasks of one revision have the same files, whenever they start, and a rollback brings back those of before.
options:
  _input:
    description:
      - The secrets, as P(drydock.registry.aws_ecs_secrets#filter) packs them.
    type: list
    elements: dict
    required: true
  found:
    description:
      - What the account has, by name, as M(drydock.registry.aws_preflight) tells it. The version of one that has other content is
        C(not-known-yet), as in a dry run.
    type: dict
    required: true
seealso:
  - name: Secrets of Secrets Manager in a container
    description: What a reference is made of.
    link: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
"""

EXAMPLES = r"""
secrets: "{{ packed | drydock.registry.aws_ecs_references(found=account['secrets']) }}"
"""

RETURN = r"""
_value:
  description: The references, each with C(name) and C(valueFrom).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import secret_references


def aws_ecs_references(
    secrets: Sequence[Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str]]:
    """The references to all variables."""
    return secret_references(secrets, found)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_ecs_references": aws_ecs_references}
