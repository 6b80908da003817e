#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_lock
short_description: Let one run at a time change a host
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Takes or releases a lock, which is a file on the host that names the run. A run is one process of C(ansible-playbook).
  - Fails at once where another run holds the lock, and says who runs it, where and since when. Nobody waits for it.
  - The run that holds the lock may take it again.
  - A lock whose run is gone is taken over. On the controller where that run was, it is gone when its process is. Of a run on another
    controller only its age is known, and a lock of half an hour counts no longer.
  - A start of the host removes the lock.
options:
  state:
    description: V(held) takes the lock, V(released) removes it where this run holds it.
    type: str
    choices: [held, released]
    default: held
  path:
    description: The file. Its folder should be in memory, so that a start of the host empties it.
    type: path
    default: /run/drydock-run.lock
  run:
    description: The run. The action plugin sets it; there is no need to write it.
    type: dict
  gone:
    description: A run that has ended without removing its lock. The action plugin sets it.
    type: dict
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.conn
  - ansible.builtin.action_common_attributes.flow
attributes:
  action:
    support: full
  async:
    support: none
  become:
    support: full
  bypass_host_loop:
    support: none
  check_mode:
    support: full
    details:
      - A dry run takes no lock, and fails where another run holds it.
  connection:
    support: full
  delegation:
    support: full
  diff_mode:
    support: none
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing.
    support: full
    details:
      - The lock is no change of the host.
  platform:
    platforms: posix
"""

EXAMPLES = r"""
- name: Change a host while nobody else does
  block:
    - name: Lock the host
      drydock.registry.run_lock:

    - name: Run the registry
      ansible.builtin.include_role:
        name: drydock.registry.registry_server
  always:
    - name: Unlock the host
      drydock.registry.run_lock:
        state: released
"""

RETURN = r"""
held_by:
  description:
    - The other run that holds the lock, C(controller), C(user), C(process), C(since) in seconds since 1970, and C(space) and C(started),
      which tell its process from others of the same number.
  type: dict
  returned: when another run holds it
  sample: {controller: laptop, user: alice, process: 4711, since: 1795970739.6, space: "", started: ""}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._run_lock import (
    ARGUMENT_SPEC,
    Holder,
    hold,
    parse,
    release,
)


def holder(module: AnsibleModule, name: str) -> Holder:
    """Read a run that the action plugin has sent."""
    found = parse(module.jsonify(module.params[name]))
    if found:
        return found
    module.fail_json(msg=f"{name} names no run: this module is called by its action plugin.")
    raise AssertionError("fail_json ends the process")


def run(module: AnsibleModule) -> dict[str, Any]:
    path = module.params["path"]
    mine = holder(module, "run")
    if module.params["state"] == "released":
        release(path, mine, module.check_mode)
        return {"changed": False}
    gone = holder(module, "gone") if module.params["gone"] else None
    other = hold(path, mine, gone, module.check_mode)
    return {"changed": False, "held_by": other} if other else {"changed": False}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module)
    except OSError as error:
        module.fail_json(
            msg=f"The lock {module.params['path']} cannot be used: {error.strerror}. Write `become: true` into the play."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
