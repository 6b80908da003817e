# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: client_ca_state
short_description: Say what the folder of a CA for client certificates holds, and what is due
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Reads the folder each time it is used and changes nothing.
  - Returns no private key and no passphrase.
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
  valid_days:
    description:
      - How many days a client's certificate is valid. The CA's certificate is due when it has fewer left.
    type: int
    required: true
  crl_valid_days:
    description:
      - How many days a CRL is valid. It is due when less than half are left.
    type: int
    required: true
  server_ca_file:
    description:
      - The certificate of the server's CA that a bundle brings along; it may be missing.
    type: path
    required: true
  ca_valid_days:
    description:
      - How many days the CA's certificate is valid.
    type: int
    default: 3650
  issue:
    description:
      - Who is to get a certificate, as a list or a text with commas.
    type: raw
    default: []
  renew:
    description:
      - Who is to get another certificate.
    type: raw
    default: []
  revoke:
    description:
      - Who is to lose all certificates.
    type: raw
    default: []
  ephemeral:
    description:
      - A certificate that is not written down, with C(name), whom it is for, and C(directory), the folder that it is put into.
      - Without it, none is asked for.
    type: dict
    default: {}
"""

EXAMPLES = r"""
# Every certificate that was issued
certificates: >-
  {{ ('/credentials/clients' | drydock.registry.client_ca_state(passphrase='', valid_days=90, crl_valid_days=365,
     server_ca_file='/credentials/ca.crt'))['certificates'] }}
"""

RETURN = r"""
_value:
  description:
    - The CA, its CRL, its certificates, the lines of a C(table) of them, what a run has to do, and in C(problems) a sentence for each
      thing that is wrong with the settings, the folder, or what is asked for.
  type: dict
"""

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError


def client_ca_state(
    directory: str,
    passphrase: str,
    valid_days: int,
    crl_valid_days: int,
    server_ca_file: str,
    ca_valid_days: int = 3650,
    issue: object = (),
    renew: object = (),
    revoke: object = (),
    ephemeral: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    from ansible_collections.drydock.registry.plugins.module_utils._client_ca import (
        ephemeral_problems,
        names,
        read_state,
        request_problems,
        settings_problems,
        summary,
    )
    from ansible_collections.drydock.registry.plugins.module_utils._tls import library_problem

    problem = library_problem()
    if problem:
        raise AnsibleFilterError(problem)
    wrong = settings_problems(directory, int(valid_days), int(ca_valid_days), int(crl_valid_days))
    state = read_state(directory, str(passphrase))
    asked = request_problems(state, names(issue), names(renew), names(revoke))
    if ephemeral:
        asked += ephemeral_problems(state, str(ephemeral["name"]), str(ephemeral["directory"]))
    state.problems = wrong or state.problems or asked
    server_ca = Path(server_ca_file)
    return summary(
        state,
        int(valid_days),
        int(crl_valid_days),
        server_ca.read_bytes() if server_ca.is_file() else b"",
        datetime.datetime.now(datetime.timezone.utc),
    )


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"client_ca_state": client_ca_state}
