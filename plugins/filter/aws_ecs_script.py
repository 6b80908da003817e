# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_ecs_script
short_description: Write the shell script that puts files into the volumes of a task of Amazon ECS
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - The script takes what the files hold from variables and writes it with the shell's own commands, so that no command line holds any
    of it. It needs C(chmod) besides.
  - It runs as root without capabilities, whom empty volumes of ECS belong to. Files are readable by root's group, and the folders in
    O(writable) can be written by it.
options:
  _input:
    description:
      - What the files hold, by name.
    type: dict
    required: true
  volumes:
    description:
      - For each volume the names of the files in it. Names that the input does not have are left out.
    type: dict
    required: true
  writable:
    description:
      - The volumes in which other containers write.
    type: list
    elements: str
    required: true
  root:
    description:
      - The folder in which the volumes are mounted.
    type: str
    default: /volumes
seealso:
  - plugin: drydock.registry.aws_ecs_secrets
    plugin_type: filter
    description: Has the same variables.
"""

EXAMPLES = r"""
script: "{{ files | drydock.registry.aws_ecs_script(volumes={'registry': ['config.yml']}, writable=['scratch']) }}"
"""

RETURN = r"""
_value:
  description: The script.
  type: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import FilesError, writing_script


def aws_ecs_script(
    files: Mapping[str, Any], volumes: Mapping[str, Sequence[str]], writable: Sequence[str], root: str = "/volumes"
) -> str:
    """The script that writes all files."""
    try:
        return writing_script(files, volumes, writable, root)
    except FilesError as error:
        raise AnsibleFilterError(f"drydock.registry.aws_ecs_script: {error}") from error


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_ecs_script": aws_ecs_script}
