# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_ecs_packed
short_description: Bring files into a task of Amazon ECS by secrets and a shell script
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - ECS has no files from secrets, but variables. So files are packed into secrets of Secrets Manager, a container gets them as
    variables, and a shell script in it writes them into volumes.
  - Each secret is a JSON object of at most 64 KiB, as large as Secrets Manager takes. A file that is too large for one variable is cut
    into several. As few secrets are made as hold all files, since each is paid for.
  - The script writes with the shell's own commands, so that no command line holds any of the files. It needs C(chmod) besides, and runs as
    root without capabilities. Files are readable by root's group, and it can write in the folders of O(writable).
options:
  _input:
    description:
      - What the files hold, by name.
    type: dict
    required: true
  prefix:
    description:
      - What the secrets' names begin with. A number follows.
    type: str
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
  found:
    description:
      - What the account has, by name, as M(drydock.registry.aws_preflight) tells it. The version of one that has other content is
        C(not-known-yet), as in a dry run.
    type: dict
    required: true
  root:
    description:
      - The folder in which the volumes are mounted.
    type: str
    default: /volumes
seealso:
  - name: Secrets of Secrets Manager in a container
    description: What a reference is made of.
    link: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
"""

EXAMPLES = r"""
packed: >-
  {{ {'config.yml': 'version: 0.1'}
     | drydock.registry.aws_ecs_packed(prefix='drydock-registry-ecs-', volumes={'registry': ['config.yml']}, writable=['scratch'],
       found=account['secrets']) }}
"""

RETURN = r"""
_value:
  description: What Secrets Manager and the task definition need.
  type: dict
  contains:
    secrets:
      description: The secrets, each with C(name), C(content), C(checksum) and C(variables), the names of the variables in it.
      type: list
      elements: dict
    references:
      description:
        - What C(secrets) of the container says, each with C(name) and C(valueFrom). Each variable names its secret, the version of that,
          and the key in it.
        - With the version, all tasks of one revision have the same files, whenever they start, and a rollback brings back those of before.
      type: list
      elements: dict
    script:
      description: The shell script that the container runs.
      type: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def aws_ecs_packed(
    files: Mapping[str, Any],
    prefix: str,
    volumes: Mapping[str, Sequence[str]],
    writable: Sequence[str],
    found: Mapping[str, Mapping[str, Any]],
    root: str = "/volumes",
) -> dict[str, Any]:
    """The secrets that hold all files, and what takes the files out of them again."""
    from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import (
        FilesError,
        secret_references,
        secrets_of,
        writing_script,
    )

    try:
        packed = secrets_of(files)
        script = writing_script(files, volumes, writable, root)
    except FilesError as error:
        raise AnsibleFilterError(f"drydock.registry.aws_ecs_packed: {error}") from error
    secrets = [
        {
            "name": f"{prefix}{number}",
            "content": secret.content,
            "checksum": secret.checksum,
            "variables": list(secret.variables),
        }
        for number, secret in enumerate(packed, start=1)
    ]
    return {"secrets": secrets, "references": secret_references(secrets, found), "script": script}


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_ecs_packed": aws_ecs_packed}
