# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: client_ca_revocations
short_description: Say which revocations are still to be written down
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Leaves out certificates that are revoked already, so that a second run has nothing to do.
options:
  _input:
    description:
      - The CA's folder on the controller.
    type: path
    required: true
  names:
    description:
      - Whose certificates are to be revoked.
    type: list
    elements: str
    required: true
  reason:
    description:
      - Why.
    type: str
    required: true
  keep_newest:
    description:
      - Whether the newest certificate of each name stays valid.
    type: bool
    default: false
"""

EXAMPLES = r"""
# [{name: ci, file: 0A1B.json, content: '{"date": "20260131120000Z", "reason": "superseded"}'}]
revocations: "{{ '/credentials/clients' | drydock.registry.client_ca_revocations(names=['ci'], reason='superseded') }}"
"""

RETURN = r"""
_value:
  description: For each certificate a dictionary with C(name), and C(file) and C(content) of its record.
  type: list
  elements: dict
"""

import datetime
from collections.abc import Callable, Sequence
from typing import Any


def client_ca_revocations(
    directory: str, names: Sequence[str], reason: str, keep_newest: bool = False
) -> list[dict[str, Any]]:
    from ansible_collections.drydock.registry.plugins.module_utils._client_ca import read_state, revocations

    # What is wrong with the key has been told before, and is of no matter here.
    state = read_state(directory, "")
    now = datetime.datetime.now(datetime.timezone.utc)
    return revocations(state, names, str(reason), now, keep_newest=keep_newest)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"client_ca_revocations": client_ca_revocations}
