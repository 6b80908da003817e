# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: client_ca_unknown_names
short_description: Say which names are no users of the registry
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - A certificate for such a name would open nothing.
options:
  _input:
    description:
      - The names that are to get a certificate.
    type: list
    elements: str
    required: true
  users:
    description:
      - The users of the registry, each a dictionary with C(name).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
# One sentence that says what to add
problems: "{{ ['ci'] | drydock.registry.client_ca_unknown_names(users=[{'name': 'alice'}]) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem. Empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._client_ca import unknown_names_problems


def client_ca_unknown_names(names: Iterable[str], users: Iterable[Mapping[str, Any]]) -> list[str]:
    return unknown_names_problems(names, users)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"client_ca_unknown_names": client_ca_unknown_names}
