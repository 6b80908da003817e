# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: client_ca_table
short_description: Lay client certificates out for a person
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - One line each, with name, serial number, end, days left and revocation.
options:
  _input:
    description:
      - Certificates, as P(drydock.registry.client_ca_state#filter) returns them in C(certificates).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
lines: "{{ certificates | drydock.registry.client_ca_table }}"
"""

RETURN = r"""
_value:
  description: The lines of the table.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._client_ca import table


def client_ca_table(certificates: Iterable[Mapping[str, Any]]) -> list[str]:
    return table(certificates)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"client_ca_table": client_ca_table}
