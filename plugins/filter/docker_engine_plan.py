# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: docker_engine_plan
short_description: Decide what the role docker_engine does on a host
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Says whether an engine is kept or installed, what its configuration becomes, what manages its service, and what is wrong with the
    settings or the host.
options:
  _input:
    description: What M(drydock.registry.host_look) has returned. Empty where no host was asked; then only the settings are looked at.
    type: dict
    required: true
  settings:
    description:
      - The settings of the role C(docker_engine), each without its prefix, which are V(provider), V(daemon), V(daemon_defaults),
        V(repository_url), V(repository_key), V(registry_credentials) and V(ecr_registries); and V(systems), what each system can be given.
    type: dict
    required: true
  system:
    description: The host's distribution and its major version, for instance V(Debian 12).
    type: str
    required: true
  host:
    description: The host's name, for messages.
    type: str
    required: true
"""

EXAMPLES = r"""
plan: "{{ look | drydock.registry.docker_engine_plan(settings, 'Debian 12', inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), one sentence each; C(kept), whether an engine that answers is left alone; C(answers) and C(version); C(installed),
      whether dockerd is there; C(installs) and C(installer).
    - C(existing), C(base) and C(wanted), the configuration as it was, without and with the keys of the settings; C(mode) of its file;
      C(config_newer), whether the file is newer than the daemon; and C(service_manager).
    - C(client_config), what Docker's clients read who pull from registries that ask, with passwords.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any


def docker_engine_plan(look: Mapping[str, Any], settings: Mapping[str, Any], system: str, host: str) -> dict[str, Any]:
    from ansible_collections.drydock.registry.plugins.module_utils._docker_engine import plan_of

    return plan_of(look, settings, system, host)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"docker_engine_plan": docker_engine_plan}
