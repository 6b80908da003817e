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
      - Runs this in the image that was found, without a network, and returns what it printed.
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
  description: What O(version_command) printed; empty where no image was found.
  returned: always
  type: str
"""

import base64
import http.client
import json
import os
import shutil
import tempfile
import urllib.parse

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._debian_image import (
    CACHE,
    NO_APT,
    RECIPE_OPTIONS,
    Apt,
    Plan,
    Recipe,
    recipe_of,
)
from ansible_collections.drydock.registry.plugins.module_utils._image import BECAUSE
from ansible_collections.drydock.registry.plugins.module_utils._unix_connection import UnixConnection

SOCKET = "/var/run/docker.sock"


class Look:
    """The questions to Docker."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.error = "" if shutil.which("docker") else "there is no program `docker`"

    def docker(self, *arguments: str) -> tuple[int, str, str]:
        if self.error:
            return 1, "", self.error
        code, out, err = self.module.run_command(["docker", *arguments])
        return code, out.strip(), err.strip()

    def image(self, reference: str) -> tuple[str, str]:
        """Its id, and why it was built here; both empty where it is not there."""
        code, out, err = self.docker("image", "inspect", "--format", "{{.Id}} {{json .Config}}", reference)
        if code != 0 and "no such image" not in err.lower():
            self.error = err or f"docker image inspect ended with {code}"
        if code != 0:
            return "", ""
        image_id, _blank, configuration = out.partition(" ")
        labels = (json.loads(configuration) or {}).get("Labels") or {}
        return image_id, labels.get(BECAUSE, "")

    def first_of(self, labels: dict[str, str]) -> str:
        """The id of the newest image with these labels."""
        filters = [part for key, value in labels.items() for part in ("--filter", f"label={key}={value}")]
        code, out, err = self.docker("image", "ls", "--quiet", *filters)
        if code != 0:
            self.error = err or f"docker image ls ended with {code}"
        return out.partition("\n")[0]

    def in_registry(self, reference: str) -> bool:
        """What a pull would begin with: https://docs.docker.com/reference/api/engine/"""
        connection = UnixConnection(SOCKET, 20)
        try:
            address = f"/distribution/{urllib.parse.quote(reference, safe='/:@')}/json"
            connection.request("GET", address, headers={"X-Registry-Auth": credentials(reference)})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def version(self, reference: str, command: list[str]) -> str:
        code, out, err = self.docker(
            *("run", "--rm", "--network", "none", "--entrypoint", command[0], reference, *command[1:])
        )
        if code != 0:
            self.module.fail_json(msg=f"`{' '.join(command)}` in the image {reference} ended with {code}: {err or out}")
        # nginx prints its version on standard error.
        return "\n".join(part for part in (out, err) if part)


def credentials(reference: str) -> str:
    """What `docker login` has kept for the image's registry, as the engine takes it: https://docs.docker.com/reference/api/engine/#authentication"""
    host, slash, _path = reference.partition("/")
    is_host = bool(slash) and (any(sign in host for sign in ".:") or host == "localhost")
    registry = host if is_host and host != "docker.io" else "https://index.docker.io/v1/"
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            kept = json.load(file)["auths"][registry]["auth"]
        user, _colon, password = base64.b64decode(kept).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    about = {"username": user, "password": password, "serveraddress": registry}
    return base64.urlsafe_b64encode(json.dumps(about).encode()).decode()


def plan(module: AnsibleModule, recipe: Recipe, apt: bool) -> Plan:
    """The image that apt gives. What apt computes for it is kept for the next call, but not by a dry run."""
    if not apt:
        return Plan("", "", NO_APT)
    cache = os.path.join(CACHE, "apt")
    usable = os.geteuid() == 0 and (not module.check_mode or os.path.isdir(cache))
    with tempfile.TemporaryDirectory(prefix="drydock-image-", dir=module.tmpdir) as scratch:
        return Apt(module.run_command, scratch, cache if usable else None).plan(recipe)


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
    asked, debian = module.params, module.params["debian"]
    look = Look(module)
    result = dict.fromkeys(("reference", "id", "planned", "problem", "version_output", "because"), "")
    in_registry = False
    apt = shutil.which("apt-get") is not None

    found = look.image(asked["reference"])[0] if asked["reference"] else ""
    if found and (not asked["ids"] or found in asked["ids"]):
        result.update(reference=asked["reference"], id=found)
    elif debian is not None:
        recipe = recipe_of(debian["name"], debian)
        built_here = look.first_of(recipe.labels)
        if asked["plan"] == "always" or built_here:
            planned = plan(module, recipe, apt)
            result.update(planned=planned.reference, problem=planned.problem)
            found, because = look.image(planned.reference) if built_here and not planned.problem else ("", "")
            if found:
                result.update(reference=planned.reference, id=found)
            elif built_here:
                because = look.image(built_here)[1]
            result.update(because=because)
    if (not result["reference"] or result["because"]) and asked["reference"] and asked["registry"] and not look.error:
        in_registry = look.in_registry(asked["reference"])
    if result["reference"] and asked["version_command"]:
        result["version_output"] = look.version(result["reference"], asked["version_command"])
    module.exit_json(
        changed=False, answers=not look.error, error=look.error, apt=apt, in_registry=in_registry, **result
    )


if __name__ == "__main__":
    main()
