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
  hashes_path:
    description:
      - Where hashes of these packages are kept, as an index told them when it was asked once. The bundle holds them, and C(pip) installs
        nothing else. Files that the index gets later change nothing. When empty, the bundle has none.
      - Without this file the index is asked again.
    type: path
  index_url:
    description: The index, as C(pip) takes it. When empty, PyPI.
    type: str
    default: ""
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
  - with O(hashes_path) a way to the index, where something is not known yet
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
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.urls import open_url
from ansible_collections.drydock.registry.plugins.module_utils._configuration_bundle import (
    ACCEPTED,
    HAS_PACKAGING,
    PYPI,
    BundleProblem,
    Wanted,
    bundle_files,
    collection_version,
    find_collection,
    pack,
    pinned,
    requirements,
    with_hashes,
)

FORMAT = 1
INDEX_SECONDS = 30

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
    "hashes_path": {"type": "path"},
    # It may hold a password.
    "index_url": {"type": "str", "default": "", "no_log": True},
    # They may hold secrets, and a module's parameters go to the log. As one text, since each value of a dictionary would be starred out
    # of the result as well, a 3 in the hash too.
    "variables": {"type": "json", "default": "{}", "no_log": True},
    "boot": {"type": "json", "default": "{}", "no_log": True},
}


def is_written(path: Path, content: bytes) -> bool:
    """Tell whether the file is there, whole, and nobody else's to read."""
    return path.is_file() and not path.stat().st_mode & 0o077 and path.read_bytes() == content


def asking(index_url: str) -> Callable[[str], bytes]:
    """Return what asks an index for the files of a package."""
    parts = urlsplit(index_url)
    address = index_name(index_url).rstrip("/")

    def ask(name: str) -> bytes:
        try:
            answer = open_url(
                f"{address}/{name}/",
                headers={"Accept": ACCEPTED},
                timeout=INDEX_SECONDS,
                url_username=unquote(parts.username) if parts.username else None,
                url_password=unquote(parts.password) if parts.password else None,
                force_basic_auth=bool(parts.username),
                # As pip's is.
                ca_path=os.environ.get("PIP_CERT") or None,
            )
            content: bytes = answer.read()
        except (OSError, ValueError) as error:
            raise BundleProblem(
                f"{address} does not tell the hashes of {name} ({error}), and hosts are to install nothing else: correct the index "
                "(aws_autoscaling_pip_index_url), or do without them (aws_autoscaling_pip_hashes_enabled: false)."
            ) from error
        return content

    return ask


def known_hashes(path: Path, index_url: str) -> dict[str, list[str]]:
    """Return the hashes that an index has told before."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return dict(kept["packages"]) if kept["index"] == index_name(index_url) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def index_name(index_url: str) -> str:
    """Tell an index from another one, without whom it is asked as."""
    parts = urlsplit(index_url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def packages(module: AnsibleModule) -> bytes:
    """Return the bundle's requirements.txt, and keep the hashes that are in it."""
    pins = pinned(module.params["packages"])
    if not module.params["hashes_path"]:
        return requirements(pins, {})
    path, index_url = Path(module.params["hashes_path"]), module.params["index_url"] or PYPI
    known = known_hashes(path, index_url)
    hashes = with_hashes(pins, known, asking(index_url))
    if hashes != known and not module.check_mode:
        kept = {"index": index_name(index_url), "packages": hashes}
        write(module, path, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())
    return requirements(pins, hashes)


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
        content = pack(bundle_files(wanted, paths, parameters["files"], packages(module), settings))
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
