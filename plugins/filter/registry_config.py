# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters around the registry's config.yml; the documentation lies in the .yml files beside this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

from ansible.errors import AnsibleFilterError

if TYPE_CHECKING:
    from ansible_collections.drydock.registry.plugins.module_utils._registry_config import Config


def registry_config(settings: Mapping[str, Any], version: object, overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the content of config.yml."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_config import SettingsError, build_config

    for name, value in (("settings", settings), ("overrides", {} if overrides is None else overrides)):
        if not isinstance(value, Mapping):
            raise AnsibleFilterError(f"drydock.registry.registry_config: {name} must be a mapping.")
    try:
        return build_config(settings, version, overrides)
    except SettingsError as error:
        raise AnsibleFilterError(f"drydock.registry.registry_config: {error}") from error


def registry_config_problems(
    config: Mapping[str, Any],
    version: object,
    overrides: Mapping[str, Any] | None = None,
    variable: str = "registry_server_config",
    *,
    built: bool = False,
    files: Sequence[str] | None = None,
) -> list[str]:
    """Return one sentence for each problem."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_config import SettingsError, find_problems

    try:
        return find_problems(config, version, overrides, variable, built=built, files=files)
    except SettingsError as error:
        raise AnsibleFilterError(f"drydock.registry.registry_config_problems: {error}") from error


def registry_config_connections(config: Mapping[str, Any]) -> list[str]:
    """Return the parts that connect to other hosts."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_config import connections

    return connections(config)


def registry_root_type(config: Mapping[str, Any], version: object) -> str:
    """Return the media type of a registry's answer to `GET /v2/`."""
    from ansible_collections.drydock.registry.plugins.module_utils._registry_config import root_type

    return root_type(config, version)


class FilterModule:
    """Filters for the registry's configuration."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "registry_config": registry_config,
            "registry_config_connections": registry_config_connections,
            "registry_config_problems": registry_config_problems,
            "registry_root_type": registry_root_type,
        }
