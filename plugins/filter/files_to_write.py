# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: files_to_write
short_description: Leave of some files on the controller those that are not there as they shall be
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Compares content and mode. Reads and writes nothing else.
options:
  _input:
    description: Files, each a dictionary with C(path), C(content) and C(mode), such as V(0600).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Write what differs
  ansible.builtin.copy:
    content: "{{ item.content }}"
    dest: "{{ item.path }}"
    mode: "{{ item.mode }}"
  loop: "{{ [{'path': '/tmp/a', 'content': 'a', 'mode': '0600'}] | drydock.registry.files_to_write }}"
"""

RETURN = r"""
_value:
  description: The files that are missing or differ.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._converged import to_write


def files_to_write(files: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return to_write(files)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"files_to_write": files_to_write}
