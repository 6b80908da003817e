# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: access_document
short_description: Turn users into the document of rights that a proxy reads
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Holds no password. A user without C(access) may push, one without C(repositories) may use all of them.
options:
  _input:
    description:
      - Users, each a dictionary with C(name) and, where they differ from the defaults, C(access) and C(repositories).
    type: list
    elements: dict
    required: true
  anonymous_pull_enabled:
    description:
      - Whether anybody may pull without credentials.
    type: bool
    required: true
  anonymous_repositories:
    description:
      - The patterns of the repositories that anybody may pull from.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
# {"anonymous": null, "users": {"alice": {"access": "pull", "repositories": ["**"]}}}
document: >-
  {{ [{'name': 'alice', 'access': 'pull'}]
     | drydock.registry.access_document(anonymous_pull_enabled=false, anonymous_repositories=['**']) | to_json }}
"""

RETURN = r"""
_value:
  description:
    - The key C(anonymous) is none or a dictionary with C(repositories).
    - The key C(users) has for each name a dictionary with C(access) and C(repositories).
  type: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def access_document(
    users: Iterable[Mapping[str, Any]],
    anonymous_pull_enabled: bool,
    anonymous_repositories: Iterable[str],
) -> dict[str, Any]:
    from ansible_collections.drydock.registry.plugins.module_utils import _access

    return _access.access_document(users, anonymous_pull_enabled, anonymous_repositories)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"access_document": access_document}
