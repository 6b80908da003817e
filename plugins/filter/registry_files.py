# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for the files that a registry's configuration names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Callable
from urllib.parse import urlsplit

DOCUMENTATION = r"""
name: registry_files
author:
  - The drydock authors
short_description: Lists files as file_set writes them
description:
  - Makes what M(drydock.registry.file_set) takes of names and contents, readable for root and a group alone.
options:
  _input:
    description: The content of each file by its name.
    type: dict
    required: true
  directory:
    description: The folder to write them to.
    type: path
    required: true
  group:
    description: The group that may read them.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write a key that the configuration names
  drydock.registry.file_set:
    directories: [{path: /etc/drydock/registry/files, owner: root, group: drydock, mode: "0750"}]
    files: "{{ {'gcs.json': vault_gcs} | drydock.registry.registry_files('/etc/drydock/registry/files', 'drydock') }}"
"""

RETURN = r"""
_value:
  description: Entries of the option C(files) of that module.
  type: list
  elements: dict
"""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def registry_files(files: Mapping[str, Any], directory: str, group: object) -> list[dict[str, Any]]:
    """Return what file_set writes."""
    return [
        {
            "path": f"{directory}/{name}",
            "content": str(content),
            "owner": "root",
            "group": str(group),
            "mode": "0640",
            "secret": True,
        }
        for name, content in sorted(files.items())
    ]


def registry_files_problems(files: Mapping[str, Any], certificates: str, proxy: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each thing that is wrong with the files, the authorities and the proxy. None has a content in it."""
    problems = []
    for name, content in files.items():
        if not _NAME.fullmatch(str(name)):
            problems.append(
                f"registry_server_files: `{name}` is no name of a file; use letters, digits, dots and dashes."
            )
        elif not isinstance(content, str) or not content.strip():
            problems.append(
                f"registry_server_files.{name}: has no text in it; write the file's content, or "
                "\"{{ lookup('ansible.builtin.file', 'path/on/the/controller') }}\"."
            )
    if certificates and (not _CERTIFICATE.search(certificates) or "PRIVATE KEY" in certificates):
        problems.append(
            "registry_server_ca_certificates: holds no certificate in PEM, or a private key; write the authorities' certificates alone, "
            "each from BEGIN CERTIFICATE to END CERTIFICATE."
        )
    for name in ("http", "https"):
        address = str(proxy.get(name) or "")
        try:
            url = urlsplit(address)
            fine = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
        except ValueError:
            fine, url = False, urlsplit("")
        if address and not fine:
            problems.append(
                f"registry_server_outgoing_proxy.{name}: is no URL of a proxy; write one like http://proxy.example.com:3128."
            )
        elif url.password or url.username:
            problems.append(
                f"registry_server_outgoing_proxy.{name}: has a password, which `docker inspect` would show; let the proxy admit the "
                "host by its address, and leave the password out."
            )
    return problems


class FilterModule:
    """Filters for the registry's files."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"registry_files": registry_files, "registry_files_problems": registry_files_problems}
