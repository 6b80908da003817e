# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: proxy_loaded_conf
short_description: Write what nginx.conf includes, for an nginx that is never reloaded
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - On hosts the program that reloads nginx writes C(loaded.conf). Where each change brings another container, it is made with the rest.
  - It names all that nginx reads, and holds the secret under which nginx remembers right passwords, made of the private key.
options:
  _input:
    description:
      - All files that nginx reads, by name.
    type: dict
    required: true
  folder:
    description:
      - Where nginx finds them.
    type: str
    required: true
"""

EXAMPLES = r"""
loaded: "{{ files | drydock.registry.proxy_loaded_conf('/etc/drydock/proxy') }}"
"""

RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""

from collections.abc import Callable, Mapping
from typing import Any


def proxy_loaded_conf(files: Mapping[str, str], folder: str) -> str:
    """The text of loaded.conf."""
    from ansible_collections.drydock.registry.plugins.module_utils._proxy_loaded import loaded_conf

    return loaded_conf(files, folder)


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"proxy_loaded_conf": proxy_loaded_conf}
