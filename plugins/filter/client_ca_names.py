# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: client_ca_names
short_description: Take a list, or a text with commas, as names
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - So that names can be given on a command line as well as in YAML.
options:
  _input:
    description:
      - The list or the text.
    type: raw
    required: true
"""

EXAMPLES = r"""
# [ci, build]
names: "{{ 'ci, build' | drydock.registry.client_ca_names }}"
"""

RETURN = r"""
_value:
  description: The names.
  type: list
  elements: str
"""

from collections.abc import Callable


def client_ca_names(value: object) -> list[str]:
    from ansible_collections.drydock.registry.plugins.module_utils._client_ca import names

    return names(value)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"client_ca_names": client_ca_names}
