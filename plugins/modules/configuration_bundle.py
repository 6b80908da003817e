#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration_bundle
short_description: Pack what a host needs to configure itself
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Writes a tar.gz with collections as Ansible runs them here, settings for their playbooks, further files, and the exact versions
    of Python's packages that run them here.
  - The same content always makes the same file, so that RV(sha256) names the content.
  - It runs on the controller, with the Python that runs Ansible.
options:
  path:
    description:
      - Where the file is written. Only its owner may read it, since settings may hold secrets.
      - Its folder is made where it is missing, and only its owner may look into it.
    type: path
    required: true
  collections:
    description:
      - The collections to pack. Of each, the folders C(meta), C(playbooks), C(plugins) and C(roles) are taken, without what Python
        and editors leave there and without hidden files.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The collection's full name.
        type: str
        required: true
      path:
        description: Its folder. When empty, it is looked for in O(collections_paths), then beside Python's packages.
        type: str
        default: ""
      leave_out:
        description: Patterns of paths below the collection, such as V(roles/aws_*), that are left out. A star stands for no slash.
        type: list
        elements: str
        default: []
  collections_paths:
    description: Where collections are looked for, as Ansible's setting C(collections_path).
    type: list
    elements: path
    default: []
  files:
    description: Further files on the controller, by their paths in the bundle.
    type: dict
    default: {}
  packages:
    description: Packages of Python that the host needs. They and all that they need are pinned to the versions that are installed here.
    type: list
    elements: str
    default: []
  variables:
    description: Variables for the playbooks, a dictionary as JSON, which become part of C(settings.json) in the bundle.
    type: json
    default: "{}"
  boot:
    description: What the program that unpacks the bundle has to know, as JSON, which becomes part of C(settings.json) as well.
    type: json
    default: "{}"
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix
requirements:
  - packaging, which ansible-core brings
"""

EXAMPLES = r"""
- name: Pack the collection that configures hosts
  drydock.registry.configuration_bundle:
    path: /srv/bundle.tar.gz
    collections:
      - name: drydock.registry
        leave_out: ["roles/aws_*"]
      - name: community.docker
    collections_paths: "{{ lookup('ansible.builtin.config', 'COLLECTIONS_PATHS') }}"
    packages: [ansible-core, requests]
    variables: "{{ {'drydock_domain': 'registry.example.com'} | to_json }}"
  no_log: true
  register: bundle
"""

RETURN = r"""
path:
  description: Where the bundle is.
  returned: always
  type: str
  sample: /srv/bundle.tar.gz
sha256:
  description: The hash of the file, which names its content.
  returned: always
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
size_bytes:
  description: How large it is.
  returned: always
  type: int
  sample: 912345
collection_version:
  description: The version of the first collection.
  returned: always
  type: str
  sample: 0.1.0
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.drydock.registry.plugins.module_utils._configuration_bundle import (
    HAS_PACKAGING,
    BundleProblem,
    Wanted,
    bundle_files,
    collection_version,
    find_collection,
    pack,
)

FORMAT = 1

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "collections": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "path": {"type": "str", "default": ""},
            "leave_out": {"type": "list", "elements": "str", "default": []},
        },
    },
    "collections_paths": {"type": "list", "elements": "path", "default": []},
    "files": {"type": "dict", "default": {}},
    "packages": {"type": "list", "elements": "str", "default": []},
    # They may hold secrets, and a module's parameters go to the log. As one text, since each value of a dictionary would be starred out
    # of the result as well, a 3 in the hash too.
    "variables": {"type": "json", "default": "{}", "no_log": True},
    "boot": {"type": "json", "default": "{}", "no_log": True},
}


def is_written(path: Path, content: bytes) -> bool:
    """Tell whether the file is there, whole, and nobody else's to read."""
    return path.is_file() and not path.stat().st_mode & 0o077 and path.read_bytes() == content


def write(module: AnsibleModule, path: Path, content: bytes) -> None:
    """Put the file in its place at once."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
    module.atomic_move(str(new), str(path))
    path.chmod(0o600)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if not HAS_PACKAGING:
        module.fail_json(msg=missing_required_lib("packaging"))
    parameters = module.params
    wanted = [Wanted(each["name"], each["path"], each["leave_out"]) for each in parameters["collections"]]
    # As Ansible does: its own setting first, then where Python finds packages.
    paths = [*parameters["collections_paths"], *filter(None, sys.path)]
    try:
        version = collection_version(find_collection(wanted[0], paths)) if wanted else ""
        settings = {
            "format": FORMAT,
            "collection_version": version,
            "boot": json.loads(parameters["boot"]),
            "variables": json.loads(parameters["variables"]),
        }
        content = pack(bundle_files(wanted, paths, parameters["files"], parameters["packages"], settings))
    except BundleProblem as problem:
        module.fail_json(msg=str(problem))
    except json.JSONDecodeError as error:
        module.fail_json(
            msg=f"Either `variables` or `boot` is no JSON ({error.msg}): write a dictionary with `| to_json`."
        )
    except OSError as error:
        module.fail_json(msg=f"The bundle cannot be packed: {error.filename}: {error.strerror}.")
    path = Path(parameters["path"])
    changed = not is_written(path, content)
    if changed and not module.check_mode:
        try:
            write(module, path, content)
        except OSError as error:
            module.fail_json(msg=f"The bundle cannot be written to {path}: {error.strerror}.")
    module.exit_json(
        changed=changed,
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        collection_version=version,
    )


if __name__ == "__main__":
    main()
