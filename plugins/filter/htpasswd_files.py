# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: htpasswd_files
short_description: Name the file that keeps each user's generated password
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Reads and writes nothing.
options:
  _input:
    description:
      - Users, each a dictionary with C(name) and, where it is not to be generated, C(password).
    type: list
    elements: dict
    required: true
  directory:
    description:
      - The directory of the files.
    type: str
    required: true
"""

EXAMPLES = r"""
# [{name: alice, password_file: ''}, {name: pipeline, password_file: credentials/pipeline.password}]
files: >-
  {{ [{'name': 'alice', 'password': vault_drydock_alice_password}, {'name': 'pipeline'}]
  | drydock.registry.htpasswd_files(directory='credentials') }}
"""

RETURN = r"""
_value:
  description:
    - For each user a dictionary with C(name) and C(password_file), which is empty for a user whose password is given.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def htpasswd_files(users: Sequence[Mapping[str, Any]], directory: str) -> list[dict[str, str]]:
    from ansible_collections.drydock.registry.plugins.module_utils._htpasswd import password_files

    return password_files(users, directory)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"htpasswd_files": htpasswd_files}
