# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: client_ca_ephemeral_problems
short_description: Say why a CA cannot make a certificate that is not written down
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - No sentence holds a passphrase.
options:
  _input:
    description:
      - The CA's folder on the controller.
    type: path
    required: true
  passphrase:
    description:
      - The passphrase of the CA's key; empty for a key without one.
    type: str
    required: true
  name:
    description:
      - Whom the certificate is for.
    type: str
    required: true
  directory:
    description:
      - The folder that it is put into.
    type: path
    required: true
"""

EXAMPLES = r"""
# One sentence about the name
problems: >-
  {{ '/credentials/clients' | drydock.registry.client_ca_ephemeral_problems(passphrase='', name='no name', directory='/tmp') }}
"""

RETURN = r"""
_value:
  description: One sentence for each problem. Empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.drydock.registry.plugins.module_utils._client_ca import ephemeral_problems, read_state
from ansible_collections.drydock.registry.plugins.module_utils._tls import library_problem


def client_ca_ephemeral_problems(directory_of_ca: str, passphrase: str, name: str, directory: str) -> list[str]:
    problem = library_problem()
    if problem:
        return [problem]
    return ephemeral_problems(read_state(directory_of_ca, str(passphrase)), name, directory)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"client_ca_ephemeral_problems": client_ca_ephemeral_problems}
