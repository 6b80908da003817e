# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_ecs_secrets
short_description: Pack files into secrets that a container of Amazon ECS gets as variables
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Each secret is a JSON object of at most 64 KiB, as large as Secrets Manager takes. A file that is too large for one variable is cut
    into several. As few secrets are made as hold all files, since each is paid for.
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
seealso:
  - plugin: drydock.registry.aws_ecs_script
    plugin_type: filter
    description: Writes the files in the container.
  - plugin: drydock.registry.aws_ecs_references
    plugin_type: filter
    description: Names the variables in the task definition.
"""

EXAMPLES = r"""
secrets: "{{ {'htpasswd': 'alice:...'} | drydock.registry.aws_ecs_secrets(prefix='drydock-registry-ecs-') }}"
"""

RETURN = r"""
_value:
  description: The secrets, each with C(name), C(content), C(checksum) and C(variables), the names of the variables in it.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import FilesError, secrets_of


def aws_ecs_secrets(files: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The secrets that hold all files."""
    try:
        secrets = secrets_of(files)
    except FilesError as error:
        raise AnsibleFilterError(f"drydock.registry.aws_ecs_secrets: {error}") from error
    return [
        {
            "name": f"{prefix}{number}",
            "content": secret.content,
            "checksum": secret.checksum,
            "variables": list(secret.variables),
        }
        for number, secret in enumerate(secrets, start=1)
    ]


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_ecs_secrets": aws_ecs_secrets}
