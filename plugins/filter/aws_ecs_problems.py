# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_ecs_problems
short_description: Say what is wrong with the settings of a registry on Amazon ECS
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Checks, without asking AWS, what the role C(aws_ecs) is told. Sizes that Fargate does not offer, numbers of tasks that do not go
    together, images that ECS cannot pull, and with O(files) what is missing or too large.
  - No sentence quotes what a file holds.
options:
  _input:
    description:
      - The settings, each without the prefix C(aws_ecs_). C(launch_type), C(cpu), C(memory_mib), C(min_tasks), C(max_tasks),
        C(desired_tasks), C(registry_image), C(proxy_image), C(log_retention_days), C(cpu_target_percent),
        C(requests_target_per_task), C(stop_seconds), C(capacity_provider), C(image_credentials).
    type: dict
    required: true
  files:
    description:
      - The files of the task, by name. Without them they are not judged.
    type: dict
  required:
    description:
      - The names of files that have to be there.
    type: list
    elements: str
    default: []
  registry_version:
    description:
      - The registry's line, V(2.8) or V(3).
    type: str
    default: "3"
  static_keys:
    description:
      - Whether the registry's configuration has keys for S3.
    type: bool
    default: false
seealso:
  - name: Task sizes of Fargate
    description: Which sizes there are.
    link: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
"""

EXAMPLES = r"""
problems: "{{ settings | drydock.registry.aws_ecs_problems }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem. Empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def aws_ecs_problems(
    settings: Mapping[str, Any],
    files: Mapping[str, Any] | None = None,
    required: Sequence[str] = (),
    registry_version: str = "3",
    static_keys: bool = False,
) -> list[str]:
    """One sentence for each problem."""
    from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import files_problems, settings_problems

    problems = settings_problems(settings)
    if files is not None:
        problems += files_problems(files, required, registry_version, static_keys)
    return problems


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_ecs_problems": aws_ecs_problems}
