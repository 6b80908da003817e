# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: proxy_hosts
short_description: Write the names that nginx answers to as nginx.conf needs them
version_added: 0.1.0
author:
  - The drydock authors
description:
  - Names in lower case, IPv6 addresses in brackets, each once; V(localhost) brings its two addresses along.
options:
  _input:
    description: The name by which clients reach the registry. Without one, nginx answers to any name and the list is empty.
    type: str
    required: true
  names:
    description: Further names and addresses.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the names
  ansible.builtin.debug:
    msg: "{{ 'registry.example.com' | drydock.registry.proxy_hosts(['2001:db8::1']) }}" # registry.example.com, [2001:db8::1]
"""

RETURN = r"""
_value:
  description: The names and addresses.
  type: list
  elements: str
"""

from collections.abc import Callable, Sequence
from typing import Any


def proxy_hosts(domain: Any, names: Sequence[Any]) -> list[str]:
    """The names as nginx compares them with the request's."""
    from ansible_collections.drydock.registry.plugins.module_utils._proxy import hosts

    return hosts(str(domain or ""), [str(name) for name in names])


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"proxy_hosts": proxy_hosts}
