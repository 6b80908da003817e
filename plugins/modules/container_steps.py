#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_steps
short_description: Look at a container, or do several steps with it, in one call
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - What M(drydock.registry.container) runs on the host. Use that module in playbooks.
  - Uses docker's command line and Python's standard library, and does in one call what would be a task each.
options:
  operation:
    description:
      - V(look) lists the container, the one that it replaces and those that it has replaced, and asks the running one once.
      - V(perform) does O(steps) in their order, up to the first that fails.
      - V(ask) asks until the container answers.
      - V(log) reads the end of its log.
    type: str
    choices: [look, perform, ask, log]
    required: true
  name:
    description: The container's name.
    type: str
    required: true
  image:
    description: The image that it shall run, whose id V(look) returns.
    type: str
    default: ""
  steps:
    description: Lists of a verb (V(rename), V(update), V(kill), V(wait), V(start), V(stop) or V(remove)), a container's name and
      an argument.
    type: list
    elements: list
    default: []
  url:
    description: What to ask. Nothing is asked where it is empty.
    type: str
    default: ""
  unix_socket:
    description: The unix socket to ask at.
    type: str
    default: ""
  storage:
    description: Whether what answers at O(unix_socket) is a registry, which has to read its storage, and for V(ask) to write to it as well.
    type: bool
    default: false
  header:
    description: The header of the answer that names the container which answers.
    type: str
    default: ""
  hostname:
    description: The host name of the container that has to answer; any where it is empty.
    type: str
    default: ""
  seconds:
    description: How long V(ask) goes on.
    type: int
    default: 0
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: partial
    details:
      - V(perform) does nothing in check mode.
  diff_mode:
    support: none
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing.
    support: none
    details:
      - M(drydock.registry.container) decides which steps are needed.
  platform:
    platforms: posix
seealso:
  - module: drydock.registry.container
"""

EXAMPLES = r"""
- name: List the containers of drydock-proxy
  drydock.registry.container_steps:
    operation: look
    name: drydock-proxy
    image: drydock/proxy:1.26
    url: https://127.0.0.1/healthz
    header: Drydock-Container

- name: Rename the running container
  drydock.registry.container_steps:
    operation: perform
    name: drydock-proxy
    steps:
      - [rename, drydock-proxy, drydock-proxy-old]
"""

RETURN = r"""
error:
  description: Docker's complaint where it does not answer, otherwise empty.
  type: str
  returned: with V(look)
library:
  description: Whether the host's Python has the library that M(community.docker.docker_container) needs.
  type: bool
  returned: with V(look)
image_id:
  description: The id of the image, empty where it is missing.
  type: str
  returned: with V(look)
containers:
  description: The containers, each as a list of name, id, state, image, network, specification and user.
  type: list
  elements: list
  returned: with V(look)
answer:
  description: The status (0 where nothing answers), the header, and the reason why nothing answers.
  type: list
  returned: with V(look)
limits:
  description: Of the running container, its limits, restart policy and networks, and whether it is paused.
  type: dict
  returned: with V(look)
done:
  description: Whether each step came to its end. A V(wait) may not.
  type: list
  elements: bool
  returned: with V(perform)
wrong:
  description: What is wrong with the answer, empty when all is well.
  type: str
  returned: with V(ask)
log:
  description: The last lines of the container.
  type: str
  returned: with V(log)
"""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils import _container_host as host
from ansible_collections.drydock.registry.plugins.module_utils import _storage_check
from ansible_collections.drydock.registry.plugins.module_utils._container import Answer, Step, StepFailed


def asked(options: Mapping[str, Any], problem: Callable[[str], str]) -> Answer:
    """Ask once, and what answers about its storage where it has one."""
    answer = host.asked(options["url"], options["unix_socket"], options["header"])
    return host.with_storage(answer, options["unix_socket"], problem) if options["storage"] else answer


def look(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is there."""
    answer = Answer(0, "", "")
    found: dict[str, Any] = {
        "limits": {},
        "error": "",
        "library": importlib.util.find_spec("requests") is not None,
        "image_id": "",
        "containers": [],
        "answer": answer,
    }
    try:
        containers = host.listed(options["name"])
    except StepFailed as failure:
        return {**found, "error": str(failure)}
    if options["image"]:
        found["image_id"] = host.image_id(options["image"])
    if any(one.name == options["name"] and one.state == "running" for one in containers):
        found["limits"] = host.limits(options["name"])
        if options["url"]:
            # To look changes nothing, so that one has not to write.
            answer = asked(options, _storage_check.read_problem)
    return {**found, "containers": containers, "answer": answer}


def ask(options: Mapping[str, Any]) -> str:
    """Ask until the container answers, and return what is wrong."""
    where = options["unix_socket"] or options["url"]
    return host.ask_until(
        lambda: asked(options, _storage_check.problem), where, options["hostname"], options["seconds"]
    )


def main() -> None:
    """Do what is asked for."""
    module = AnsibleModule(
        argument_spec={
            "operation": {"type": "str", "choices": ["look", "perform", "ask", "log"], "required": True},
            "name": {"type": "str", "required": True},
            "image": {"type": "str", "default": ""},
            "steps": {"type": "list", "elements": "list", "default": []},
            "url": {"type": "str", "default": ""},
            "unix_socket": {"type": "str", "default": ""},
            "storage": {"type": "bool", "default": False},
            "header": {"type": "str", "default": ""},
            "hostname": {"type": "str", "default": ""},
            "seconds": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    options = module.params
    if options["operation"] == "look":
        module.exit_json(changed=False, **look(options))
    if options["operation"] == "ask":
        module.exit_json(changed=False, wrong=ask(options))
    if options["operation"] == "log":
        module.exit_json(changed=False, log=host.log(options["name"]))
    steps = [Step(*(str(part) for part in step)) for step in options["steps"]]
    if module.check_mode:
        module.exit_json(changed=bool(steps), done=[])
    try:
        done = host.perform(steps)
    except StepFailed as failure:
        module.fail_json(msg=str(failure))
    module.exit_json(changed=bool(steps), done=done)


if __name__ == "__main__":
    main()
