# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mirror_names
short_description: Write mirrors of other registries as nginx needs them
version_added: 0.1.0
author:
  - The drydock authors
description:
  - By which first part of a repository's name, by which host names, and by which value of containerd's C(ns) each is meant.
  - Nothing in it is secret. The list is empty where something is wrong with the upstreams, which P(drydock.registry.mirror_problems#filter)
    says.
options:
  _input:
    description: The upstreams, as C(registry_mirror_upstreams) of the role C(registry_mirror).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show by which names the mirrors are meant
  ansible.builtin.debug:
    msg: "{{ [{'name': 'hub', 'registry': 'docker.io'}] | drydock.registry.mirror_names }}"
"""

RETURN = r"""
_value:
  description: The mirrors, each with V(name), V(url), V(hosts) and V(names).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def mirror_names(upstreams: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mirrors as nginx reads them."""
    from ansible_collections.drydock.registry.plugins.module_utils._mirror import for_proxy

    return for_proxy(upstreams)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"mirror_names": mirror_names}
