#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which image a host has, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_look
short_description: Look which image a host has
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Looks for an image by its name, else for the one that the host's apt sources give (see M(drydock.registry.debian_image)).
  - Changes nothing and works on a host without Docker. It is what the action M(drydock.registry.image) asks first.
options:
  reference:
    description:
      - The image to look for. Empty where only O(debian) counts.
    type: str
    default: ""
  ids:
    description:
      - The image of O(reference) counts only where its id is one of these; any id where the list is empty.
    type: list
    elements: str
    default: []
  debian:
    description:
      - The image to plan where O(reference) is not there.
    type: dict
    suboptions:
      name:
        description: The image's name without a tag.
        type: str
        required: true
      packages:
        description: The packages to take files from.
        type: list
        elements: str
        required: true
      programs:
        description: Absolute paths of the programs.
        type: list
        elements: str
        required: true
      links:
        description: Symbolic links to add, as a dict of absolute path to target.
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
      labels:
        description: Labels of the image.
        type: dict
        default: {}
  plan:
    description:
      - When O(debian) is planned. With V(if_built), only where the host has an image of the labels of O(debian) already.
    type: str
    choices: [always, if_built]
    default: always
  registry:
    description:
      - Asks the registry of O(reference), through Docker, whether it would hand out the image where the host has none. Nothing is pulled.
    type: bool
    default: false
  version_command:
    description:
      - Runs this in the image that was found, without a network, and returns what it printed. An image that was built here says its version
        by a label, and nothing is run.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Changes nothing in either mode.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Whether a second call changes nothing.
  platform:
    support: full
    platforms: posix
    description: The host's operating system family.
"""

EXAMPLES = r"""
- name: Look for an image
  drydock.registry.image_look:
    reference: docker.io/library/nginx:stable
    version_command: [nginx, -v]
  register: image
"""

RETURN = r"""
answers:
  description: Whether Docker answers.
  returned: always
  type: bool
error:
  description: Why Docker does not answer; empty where it does.
  returned: always
  type: str
apt:
  description: Whether the host has apt-get, with which images can be built.
  returned: always
  type: bool
reference:
  description: The image that was found; empty where there is none.
  returned: always
  type: str
id:
  description: Its id; empty where there is none.
  returned: always
  type: str
planned:
  description: The image of O(debian); empty where it was not planned.
  returned: always
  type: str
problem:
  description: Why it could not be planned; empty where it was or was not asked for.
  returned: always
  type: str
in_registry:
  description: Whether the registry would hand out O(reference); false where it was not asked.
  returned: always
  type: bool
because:
  description:
    - Of the image that was built here, or else of one of an earlier version, why no other one was pulled; empty where there is none.
  returned: always
  type: str
version_output:
  description: What O(version_command) printed, or the version of the package that an image was built of; empty where no image was found.
  returned: always
  type: str
"""

import base64
import http.client
import json
import os
import shutil
import urllib.parse
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._debian_image import RECIPE_OPTIONS, Plan, Recipe
from ansible_collections.drydock.registry.plugins.module_utils._host_look import DOCKER_SOCKET, ask_docker
from ansible_collections.drydock.registry.plugins.module_utils._image_look import look, plan
from ansible_collections.drydock.registry.plugins.module_utils._unix_connection import UnixConnection


def credentials(reference: str) -> str:
    """What `docker login` has kept for the image's registry, as the engine takes it: https://docs.docker.com/reference/api/engine/#authentication"""
    host, slash, _path = reference.partition("/")
    is_host = bool(slash) and (any(sign in host for sign in ".:") or host == "localhost")
    registry = host if is_host and host != "docker.io" else "https://index.docker.io/v1/"
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        kept = json.loads((folder / "config.json").read_text(encoding="utf-8"))["auths"][registry]["auth"]
        user, _colon, password = base64.b64decode(kept).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    about = {"username": user, "password": password, "serveraddress": registry}
    return base64.urlsafe_b64encode(json.dumps(about).encode()).decode()


def in_registry(reference: str) -> bool:
    """What a pull would begin with: https://docs.docker.com/reference/api/engine/"""
    connection = UnixConnection(DOCKER_SOCKET, 20)
    try:
        address = f"/distribution/{urllib.parse.quote(reference, safe='/:@')}/json"
        connection.request("GET", address, headers={"X-Registry-Auth": credentials(reference)})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def version(module: AnsibleModule, reference: str, command: list[str]) -> str:
    """What the command prints in the image."""
    argv = ["docker", "run", "--rm", "--network", "none", "--entrypoint", command[0], reference, *command[1:]]
    code, out, err = module.run_command(argv)
    if code != 0:
        reason = err.strip() or out.strip()
        module.fail_json(msg=f"`{' '.join(command)}` in the image {reference} ended with {code}: {reason}")
    # nginx prints its version on standard error.
    return "\n".join(part.strip() for part in (out, err) if part.strip())


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "reference": {"type": "str", "default": ""},
            "ids": {"type": "list", "elements": "str", "default": []},
            "debian": {"type": "dict", "options": {"name": {"type": "str", "required": True}, **RECIPE_OPTIONS}},
            "plan": {"type": "str", "choices": ["always", "if_built"], "default": "always"},
            "registry": {"type": "bool", "default": False},
            "version_command": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    asked = module.params
    apt = shutil.which("apt-get") is not None

    def plan_for(recipe: Recipe) -> Plan:
        return plan(module.run_command, module.tmpdir, recipe, apt=apt, makes_cache=not module.check_mode)

    error, found = "", dict.fromkeys(("reference", "id", "planned", "problem", "because", "version"), "")
    try:
        found = look(asked, lambda path: ask_docker(DOCKER_SOCKET, path), plan_for)
    except OSError as failure:
        error = f"{DOCKER_SOCKET}: {failure.strerror or failure}"
    except ValueError as failure:
        error = str(failure)
    output = found.pop("version")
    if found["reference"] and asked["version_command"] and not output:
        output = version(module, found["reference"], asked["version_command"])
    asks = (not found["reference"] or found["because"]) and asked["reference"] and asked["registry"] and not error
    module.exit_json(
        changed=False,
        answers=not error,
        error=error,
        apt=apt,
        in_registry=bool(asks) and in_registry(asked["reference"]),
        version_output=output,
        **found,
    )


if __name__ == "__main__":
    main()
