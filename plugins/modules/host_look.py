#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_look
short_description: Answer several questions about a host in one call
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Looks at files, folders, accounts, Python libraries, programs, listening ports, package lists and Docker, and changes nothing.
  - Works on a bare host, in a dry run and as any user. What is not there is an answer and no error.
  - Needs Python's own library only. A task that needs one of these answers alone is better written with M(ansible.builtin.stat),
    M(ansible.builtin.slurp) or M(ansible.builtin.getent); a role that needs ten of them saves nine calls.
options:
  files:
    description:
      - Paths to look at. The content of regular files of at most 1 MiB is returned as text, so write C(no_log) where a file is secret.
    type: list
    elements: path
    default: []
  pairs:
    description: Certificates and their private keys, to see whether a TLS server could load them. The keys stay on the host.
    type: list
    elements: dict
    default: []
    suboptions:
      certificate:
        description: The path of the certificate, with the server's own as the first one.
        type: path
        required: true
      key:
        description: The path of the private key.
        type: path
        required: true
  nearest:
    description: Paths of which to find the nearest file or folder that exists, which is where a new one would be made.
    type: list
    elements: str
    default: []
  foreign:
    description:
      - Files or folders in which to find something that is not an account's, however deep.
      - What a container of ours has mounted was looked at when the container was made, and is not read again where O(docker) is true.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file or folder.
        type: path
        required: true
      account:
        description: The name of the account. Where it does not exist, nothing is its own.
        type: str
        required: true
  libraries:
    description: Names that the host's Python shall be able to import.
    type: list
    elements: str
    default: []
  accounts:
    description: Names of accounts.
    type: list
    elements: str
    default: []
  programs:
    description: Names of programs to find on the path of root.
    type: list
    elements: str
    default: []
  units:
    description: Names of units of systemd.
    type: list
    elements: str
    default: []
  listeners:
    description: Whether to list the TCP sockets that accept connections.
    type: bool
    default: false
  docker:
    description: Whether to ask Docker at its usual socket.
    type: bool
    default: false
  package_lists:
    description: Whether to look at the package lists of apt.
    type: bool
    default: false
  images:
    description:
      - Images to look for, as M(drydock.registry.image) would first. One that would have to be run to learn its version, or needs package
        lists that are older than a day, has no answer, and neither has the provider V(archive) or one that does not exist.
      - What apt computes from its lists for it is kept for the next look, but not by a dry run.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Short name of the image.
        type: str
        required: true
      provider:
        description: As of M(drydock.registry.image).
        type: str
        default: auto
      reference:
        description: As of M(drydock.registry.image).
        type: str
        default: ""
      debian:
        description: As of M(drydock.registry.image).
        type: dict
        suboptions:
          packages:
            description: The packages that hold the programs.
            type: list
            elements: str
            required: true
          programs:
            description: Absolute paths of the programs.
            type: list
            elements: str
            required: true
          links:
            description: Symbolic links to add.
            type: dict
            default: {}
          entrypoint:
            description: The program that a container runs.
            type: str
            required: true
          stop_signal:
            description: The signal that ends it gracefully.
            type: str
            default: ""
      version_command:
        description: As of M(drydock.registry.image).
        type: list
        elements: str
        default: []
  containers:
    description: Containers to look at, as M(drydock.registry.container) would first, and to ask once where they run.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The container's name.
        type: str
        required: true
      url:
        description: What to ask it. Nothing is asked where it is empty.
        type: str
        default: ""
      unix_socket:
        description: The unix socket to ask at.
        type: str
        default: ""
      header:
        description: The header of the answer that names the container which answers.
        type: str
        default: ""
  facts:
    description:
      - Whether to gather the facts C(distribution), C(pkg_mgr), C(platform), C(python) and C(service_mgr), as M(ansible.builtin.setup) does
        with these subsets.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing.
    support: full
  platform:
    platforms: posix
seealso:
  - module: ansible.builtin.stat
  - module: ansible.builtin.slurp
"""

EXAMPLES = r"""
- name: Look at what is there
  drydock.registry.host_look:
    files: [/etc/web/web.conf]
    nearest: [/srv/web/data]
    accounts: [web]
    docker: true
  register: look

- name: Reject a folder that cannot be written
  ansible.builtin.assert:
    that: look.nearest['/srv/web/data'].writable
    fail_msg: "{{ look.nearest['/srv/web/data'].path }} cannot be written."
"""

RETURN = r"""
user:
  description: Who asked, C(uid) and C(name).
  type: dict
  returned: success
  sample: {uid: 0, name: root}
files:
  description:
    - By path, C(exists), C(kind) (V(file), V(directory), V(link), V(other) or empty), C(target) of a link, C(mode) such as V(0640),
      C(uid), C(gid), C(user), C(group), C(size), C(mtime), C(content), and C(error), why it could not be read.
    - Of a link, owner and mode are the link's own and the content is that of the file it leads to.
    - Without anything there, numbers of accounts are -1.
  type: dict
  returned: success
  sample:
    /etc/web/web.conf:
      exists: true
      kind: file
      target: ""
      mode: "0640"
      uid: 0
      gid: 0
      user: root
      group: root
      size: 8
      mtime: 1.0
      content: "port 80\n"
      error: ""
pairs:
  description: By the path of the certificate, whether both can be read and belong together.
  type: dict
  returned: success
  sample: {/etc/web/tls.crt: true}
nearest:
  description:
    - By path, C(path) of what exists at or above it, its C(kind), whether it is C(writable) for who asked, and its owner, C(uid) and
      C(user). A relative path has an empty C(path).
  type: dict
  returned: success
  sample: {/srv/web/data: {path: /srv, kind: directory, writable: true, uid: 0, user: root}}
foreign:
  description: By path, the first thing found that is not the account's, or an empty text.
  type: dict
  returned: success
  sample: {/srv/web/data: /srv/web/data/index.html}
libraries:
  description:
    - C(present) and C(missing), lists of names; C(system), whether the system's packages can bring the missing ones to this Python; and
      C(python), its path.
  type: dict
  returned: success
  sample: {present: [requests], missing: [passlib], system: true, python: /usr/bin/python3}
accounts:
  description: By name, C(uid) and C(gid), or null.
  type: dict
  returned: success
  sample: {web: {uid: 998, gid: 998}}
programs:
  description: By name, the path, or an empty text.
  type: dict
  returned: success
  sample: {docker: /usr/bin/docker}
units:
  description: By name, whether systemd has it C(active), and C(enabled) for the next start. Both are false without systemd.
  type: dict
  returned: success
  sample: {web.timer: {active: true, enabled: true}}
listeners:
  description:
    - The sockets, each with C(address), C(port) and C(program), whose name is empty where who asked may not know it.
    - Sockets of containers with a network of their own are not among them.
  type: list
  elements: dict
  returned: when O(listeners) is true
  sample: [{address: 0.0.0.0, port: 443, program: nginx}]
docker:
  description:
    - C(answers); C(client), the path of the program C(docker); C(version); C(swarm), whether it is part of one; C(live_restore), whether
      containers outlive a restart of it; C(error), why it does not answer; C(containers), those whose names begin with C(drydock-), running
      or not; and C(others), the names of others that run.
    - Each of the first has C(name), C(id), C(state), C(image), C(image_id), C(ports), which are published ports of the host, C(network),
      C(labels) and C(mounts), by the path in the container the one on the host.
  type: dict
  returned: when O(docker) is true
  sample:
    answers: true
    client: /usr/bin/docker
    version: 26.1.5
    swarm: false
    live_restore: true
    error: ""
    containers: []
    others: [shop]
images:
  description: By name, C(asked), what was asked, and C(found), the answer of M(drydock.registry.image_look).
  type: dict
  returned: when O(images) is set
  sample: {}
containers:
  description:
    - By name, C(asked), what was asked, C(containers), C(limits) and C(answer), as M(drydock.registry.container_steps) returns them.
      Nothing where Docker does not answer.
  type: dict
  returned: when O(containers) is set
  sample: {}
package_lists:
  description:
    - C(there), whether there are any, and C(age_seconds), which is -1 where there are none.
  type: dict
  returned: when O(package_lists) is true
  sample: {there: true, age_seconds: 3600}
"""

import os
from pathlib import PurePath
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.facts import ansible_collector, default_collectors
from ansible.module_utils.facts.namespace import PrefixFactNamespace
from ansible_collections.drydock.registry.plugins.module_utils import (
    _container_host,
    _host_look,
    _image,
    _image_look,
)

# As the role common takes them: older ones are refreshed, and then there may be another image.
LISTS_SECONDS = 86400
FACTS = ("distribution", "pkg_mgr", "platform", "python", "service_mgr")


def facts(module: AnsibleModule) -> dict[str, Any]:
    """Gather what the module setup gathers with these subsets."""
    collector = ansible_collector.get_ansible_collector(
        all_collector_classes=default_collectors.collectors,
        namespace=PrefixFactNamespace(namespace_name="ansible", prefix="ansible_"),
        gather_subset=["!all", "!min", *FACTS],
        minimal_gather_subset=frozenset(),
    )
    gathered: dict[str, Any] = collector.collect(module=module)
    return gathered


def ask(path: str) -> Any:
    return _host_look.ask_docker(_host_look.DOCKER_SOCKET, path)


def image(module: AnsibleModule, asked: dict[str, Any], lists_are_young: bool) -> dict[str, Any]:
    """What the host says of an image; nothing where more than a look is needed, which the image's own task does."""
    question = _image.first_question(asked["provider"], asked["reference"])
    if question.plan != "never" and not lists_are_young:
        return {}
    wanted = {
        "reference": question.reference,
        "ids": question.ids,
        "plan": question.plan,
        "debian": _image.built_options(asked["name"], asked["debian"]) if question.plan != "never" else None,
    }
    found = _image_look.look(
        wanted,
        ask,
        lambda recipe: _image_look.plan(
            module.run_command, module.tmpdir, recipe, apt=True, makes_cache=not module.check_mode
        ),
    )
    version = found.pop("version")
    if not found["reference"] or (asked["version_command"] and not version):
        return {}
    answer = {**_image.Found().__dict__, **found, "version_output": version if asked["version_command"] else ""}
    return {asked["name"]: {"asked": asked, "found": answer}}


def images(module: AnsibleModule) -> dict[str, Any]:
    young = 0 <= _host_look.package_lists()["age_seconds"] < LISTS_SECONDS
    found: dict[str, Any] = {}
    for asked in module.params["images"]:
        if asked["provider"] in {"auto", "pull", "debian"}:
            try:
                found.update(image(module, asked, young and _host_look.program("apt-get") != ""))
            except (OSError, ValueError):
                continue
    return found


def containers(asked: list[dict[str, str]]) -> dict[str, Any]:
    try:
        return _container_host.seen(asked, ask)
    except (OSError, ValueError):
        return {}


def parents(path: str) -> set[str]:
    """Return a path and all that it lies in."""
    return {path, *(str(parent) for parent in PurePath(path).parents)}


_NAMES: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
_SWITCH: dict[str, Any] = {"type": "bool", "default": False}
ARGUMENT_SPEC: dict[str, Any] = {
    "files": {"type": "list", "elements": "path", "default": []},
    "pairs": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "certificate": {"type": "path", "required": True},
            "key": {"type": "path", "required": True, "no_log": False},
        },
    },
    "nearest": _NAMES,
    "foreign": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": {"type": "path", "required": True}, "account": {"type": "str", "required": True}},
    },
    "libraries": _NAMES,
    "accounts": _NAMES,
    "programs": _NAMES,
    "units": _NAMES,
    "listeners": _SWITCH,
    "docker": _SWITCH,
    "package_lists": _SWITCH,
    "images": {"type": "list", "elements": "dict", "default": [], "options": _image.ASKED_OPTIONS},
    "containers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            **{name: {"type": "str", "default": ""} for name in ("url", "unix_socket", "header")},
        },
    },
    "facts": _SWITCH,
}


def look(parameters: dict[str, Any]) -> dict[str, Any]:
    uid = os.geteuid()
    answer: dict[str, Any] = {
        "changed": False,
        "user": {"uid": uid, "name": _host_look.user_name(uid)},
        "files": {path: _host_look.file(path) for path in parameters["files"]},
        "pairs": {
            pair["certificate"]: _host_look.pair_loads(pair["certificate"], pair["key"]) for pair in parameters["pairs"]
        },
        "nearest": {path: _host_look.nearest(path) for path in parameters["nearest"]},
        "libraries": _host_look.libraries(parameters["libraries"]),
        "accounts": {name: _host_look.account(name) for name in parameters["accounts"]},
        "programs": {name: _host_look.program(name) for name in parameters["programs"]},
        "units": _host_look.units(parameters["units"]),
    }
    if parameters["listeners"]:
        answer["listeners"] = _host_look.listeners()
    if parameters["docker"]:
        answer["docker"] = _host_look.docker()
    mounted = {
        source
        for container in (answer["docker"]["containers"] if parameters["docker"] else [])
        for source in container["mounts"].values()
    }
    answer["foreign"] = {
        one["path"]: "" if mounted & parents(one["path"]) else _host_look.foreign(one["path"], one["account"])
        for one in parameters["foreign"]
    }
    if parameters["package_lists"]:
        answer["package_lists"] = _host_look.package_lists()
    return answer


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    answer = look(module.params)
    if module.params["facts"]:
        answer["ansible_facts"] = facts(module)
    if module.params["images"]:
        answer["images"] = images(module)
    if module.params["containers"]:
        answer["containers"] = containers(module.params["containers"])
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
