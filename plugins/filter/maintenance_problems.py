# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for the maintenance of the storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: maintenance_problems
author:
  - The drydock authors
short_description: Finds what is wrong with the settings of the storage's maintenance
version_added: 0.1.0
description:
  - Returns one sentence for each problem with the settings and with the rules of retention, those that contradict each other among them.
options:
  _input:
    description:
      - C(host), C(provider), C(folder), C(s3), C(unversioned_bucket), C(retention), C(daily), C(time), C(sharers), C(wait_hours),
        C(second_look_seconds), C(trash_days), C(directory) and C(state_directory), as the inputs of the role registry_maintenance say them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Reject settings that cannot work
  ansible.builtin.assert:
    that: settings | drydock.registry.maintenance_problems | length == 0
"""

RETURN = r"""
_value:
  description: The sentences. Empty when nothing is wrong.
  type: list
  elements: str
"""


def maintenance_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return all sentences about the settings."""
    from ansible_collections.drydock.registry.plugins.module_utils import _maintenance

    return _maintenance.setting_problems(settings) + _maintenance.retention_problems(settings["retention"])


def maintenance_configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the program reads."""
    from ansible_collections.drydock.registry.plugins.module_utils._maintenance import configuration

    return configuration(settings)


def maintenance_files(own: Sequence[Mapping[str, Any]], directory: str, wanted: bool = True) -> list[dict[str, Any]]:
    """List the program's files and those that it has beside it."""
    from ansible_collections.drydock.registry.plugins.module_utils._maintenance import files

    return files(own, directory, wanted=wanted)


def maintenance_outdated(
    files: Sequence[Mapping[str, Any]],
    seen: Mapping[str, Mapping[str, Any]],
    directories: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """List what file_set would change."""
    from ansible_collections.drydock.registry.plugins.module_utils._maintenance import outdated

    return outdated(files, seen, directories)


def maintenance_outcome(done: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a run of the program has done."""
    from ansible_collections.drydock.registry.plugins.module_utils._maintenance import outcome

    return outcome(done)


class FilterModule:
    """The filters as Ansible finds them."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "maintenance_problems": maintenance_problems,
            "maintenance_configuration": maintenance_configuration,
            "maintenance_files": maintenance_files,
            "maintenance_outdated": maintenance_outdated,
            "maintenance_outcome": maintenance_outcome,
        }
