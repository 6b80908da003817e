# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: registry_client_mirrors
short_description: Write mirrors as the script has them that makes a machine a client
version_added: 0.1.0
author:
  - The drydock authors
description:
  - A line for each mirror, of the registry that is mirrored and the first part that names of its images have here; and where Docker finds
    the mirror of Docker Hub.
positional: address
options:
  _input:
    description: The mirrors, as C(registry_client_mirrors) of the role C(registry_client).
    type: list
    elements: dict
    required: true
  address:
    description: The registry's address, as in the names of images.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show where Docker finds images of Docker Hub
  ansible.builtin.debug:
    msg: "{{ ([{'registry': 'docker.io'}] | drydock.registry.registry_client_mirrors('mirror.example.com'))['docker'] }}"
"""

RETURN = r"""
_value:
  description: The texts C(lines) and C(docker); the second is empty where Docker has no mirror.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def registry_client_mirrors(mirrors: Sequence[Mapping[str, Any]], address: Any) -> dict[str, str]:
    """The mirrors as the script reads them."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_client import mirror_texts

    return mirror_texts(mirrors, str(address))


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"registry_client_mirrors": registry_client_mirrors}
