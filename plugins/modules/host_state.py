#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state
short_description: Look once at all that some roles make and read on a host
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Looks at files with owner, group, mode and content, at Docker's containers with their settings and images, at accounts,
    Python libraries and servers behind unix sockets, and tells what differs from what an earlier run has left.
  - With O(keep) it keeps the state of some roles for later looks, together with a key that stands for their inputs.
  - Changes nothing but the file that it keeps, which lies where a start of the host removes it.
options:
  footprints:
    description:
      - What each role makes and reads, by the role's name.
      - The keys of each are lists. C(trees) are folders that count with all that is in them, and C(files) are files or patterns.
        Of C(places) owner and mode count and no content, whatever else names them; of C(dated), files or patterns, the date.
        Of C(owned) the owner counts, and of those that are not there the owner of the nearest folder that is.
        Of C(fresh) counts whether the youngest of these paths was written within a day.
        C(containers) and C(networks) are names in Docker, C(sockets) unix sockets at which something answers C(GET /).
        C(accounts) and C(libraries) are names. C(engine) is a switch, with which Docker's own version and settings count.
    type: dict
    required: true
  path:
    description: Where the states are kept. A file that others could have written or read is not believed.
    type: path
    default: /run/drydock-converged.json
  salt:
    description: With O(keep), the salt that the keys were made with, as an earlier look has returned it.
    type: str
    default: ""
  keep:
    description:
      - The roles whose states shall be kept, each with C(key), which stands for its inputs, and C(until), seconds since 1970 after
        which the state no longer counts, 0 for no such end.
      - Others stay as they were kept before.
    type: dict
    default: {}
  forget:
    description: The roles of which nothing shall be known any more, since they are about to run and may be interrupted.
    type: list
    elements: str
    default: []
  keep_hours:
    description: After so many hours no state counts any more.
    type: int
    default: 24
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details:
      - A dry run looks and keeps nothing.
  diff_mode:
    support: none
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing.
    support: full
    details:
      - What is kept is no change of the host.
  platform:
    platforms: posix
notes:
  - The file holds checksums of secrets, which are long and random, and none of passwords.
"""

EXAMPLES = r"""
- name: Look whether anything differs
  drydock.registry.host_state:
    footprints:
      web:
        trees: [/etc/web]
        containers: [web]
  register: look

- name: Remember how it is now
  drydock.registry.host_state:
    footprints:
      web:
        trees: [/etc/web]
        containers: [web]
    salt: "{{ look.salt }}"
    keep:
      web:
        key: "{{ 'version 1' | ansible.builtin.hash('sha256') }}"
        until: 0
"""

RETURN = r"""
differences:
  description: For each role the things that differ from what was kept, or a sentence on why nothing could be compared.
  type: dict
  returned: success
  sample: {web: [/etc/web/web.conf]}
keys:
  description: For each role of which something was kept, the key.
  type: dict
  returned: success
salt:
  description: The salt that the keys were made with; a new one where nothing was kept.
  type: str
  returned: success
"""

import os
import secrets
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._host_state import (
    Kept,
    is_private,
    parse_kept,
    problems,
    reasons,
    render_kept,
    state_of,
)


def read(path: str) -> str:
    """Return what was kept, or nothing where somebody else may have written or read it."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read() if is_private(os.fstat(stream.fileno()), os.geteuid()) else ""
    except (OSError, ValueError):
        return ""


def write(path: str, text: str) -> None:
    """Replace the file in one step."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".drydock-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def run(module: AnsibleModule) -> dict[str, Any]:
    parameters = module.params
    footprints = parameters["footprints"]
    wrong = problems(footprints)
    if wrong:
        module.fail_json(msg=" ".join(wrong))

    salt, kept = parse_kept(read(parameters["path"]))
    now = time.time()
    states = {role: state_of(footprint) for role, footprint in footprints.items()}
    keep = parameters["keep"]
    latest = now + parameters["keep_hours"] * 3600
    if keep:
        if salt != parameters["salt"]:
            salt, kept = parameters["salt"], {}
        for role, entry in keep.items():
            until = float(entry.get("until") or 0)
            kept[role] = Kept(key=str(entry["key"]), until=min(until or latest, latest), state=states[role])
    for role in parameters["forget"]:
        kept.pop(role, None)
    if (keep or parameters["forget"]) and not module.check_mode:
        try:
            write(parameters["path"], render_kept(salt, kept))
        except OSError as error:
            module.fail_json(msg=f"{parameters['path']} cannot be written: {error.strerror}.")
    return {
        "changed": False,
        "differences": reasons(footprints, states, kept, now, latest),
        "keys": {role: entry["key"] for role, entry in kept.items()},
        "salt": salt or secrets.token_hex(16),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "footprints": {"type": "dict", "required": True},
            "path": {"type": "path", "default": "/run/drydock-converged.json"},
            "salt": {"type": "str", "default": ""},
            # The keys are slow hashes, and nobody needs to see them.
            "keep": {"type": "dict", "default": {}, "no_log": False},
            "forget": {"type": "list", "elements": "str", "default": []},
            "keep_hours": {"type": "int", "default": 24, "no_log": False},
        },
        supports_check_mode=True,
    )
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
