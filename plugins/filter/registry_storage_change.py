# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter around changes of a registry's storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

import yaml

DOCUMENTATION = r"""
name: registry_storage_change
author:
  - The drydock authors
short_description: Tells whether another configuration keeps images in another place
description:
  - Compares the storage of two configurations of a registry by driver, bucket or folder, and root directory.
  - What only says how a storage is reached, such as keys, is not compared and not told.
options:
  _input:
    description: The configuration to come.
    type: dict
    required: true
  old:
    description: The text of the C(config.yml) that is there, empty for none.
    type: str
    required: true
  old_directory:
    description: The folder on the host that the registries mount now, empty where it is not known.
    type: str
    required: true
  directory:
    description: The folder on the host that they would mount.
    type: str
    required: true
  host:
    description: The host's name, for the sentence.
    type: str
    required: true
  has_images:
    description: Whether the new folder holds images.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Say what would happen to the images
  ansible.builtin.debug:
    msg: "{{ new | drydock.registry.registry_storage_change(old_text, '/srv/a', '/srv/b', inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description:
    - A dictionary with C(changes), whether the place is another one, and C(problem), a sentence on what would be out of sight, or an
      empty text.
  type: dict
"""


def registry_storage_change(
    config: Mapping[str, Any],
    old: str,
    old_directory: str,
    directory: str,
    host: str,
    *,
    has_images: bool = False,
) -> dict[str, Any]:
    """Compare two places."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_storage import change_problem, place_of

    try:
        before = yaml.safe_load(old)
    except yaml.YAMLError:
        before = None
    there = place_of(before, old_directory) if isinstance(before, Mapping) else None
    wanted = place_of(config, directory)
    return {
        "changes": None not in (there, wanted) and there != wanted,
        "problem": change_problem(there, wanted, host, has_images=has_images),
    }


class FilterModule:
    """A filter for the registry's storage."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"registry_storage_change": registry_storage_change}
