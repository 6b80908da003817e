#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Write files that belong together, all of them or none
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Makes files and their folders have the wanted content, owner and mode, in one task.
  - New files are written into a staging folder of mode 0700 on the same file system. The program of O(check) reads the whole new set
    there. Only then each file is renamed into its place. A reader never sees half of a file.
  - When the check fails, or when a file cannot be written or renamed, everything stays as it was.
  - The staging folder is removed in every case. One that a killed run has left is removed by the next run.
options:
  check:
    description:
      - A command that reads the new files before they replace the old ones.
      - It runs only when a file is going to be written or removed, and not in check mode.
    type: dict
    suboptions:
      folder:
        description:
          - The folder that is staged as it is going to be, with all files in it, those of other tasks as well.
        type: path
        required: true
      argv:
        description:
          - The command. C({staged}) in it stands for the path of the staged folder.
          - It succeeds by ending with 0. Otherwise what it prints is the error message of this task.
        type: list
        elements: str
        required: true
      seconds:
        description:
          - How long the command may take.
        type: int
        default: 120
extends_documentation_fragment:
  - drydock.registry.file_set
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details:
      - Works before the folders, users and groups exist. Does not run O(check).
  diff_mode:
    support: full
    details:
      - Shows only that a file with O(files[].secret) changes.
  idempotent:
    description:
      - When run twice in a row with the same arguments, the second run changes nothing.
    support: full
  platform:
    platforms: posix
notes:
  - The content comes from the controller as text. Read a file of a role by the lookup P(ansible.builtin.file#lookup), and render
    a template by the lookup P(ansible.builtin.template#lookup).
  - A run that is killed between two renames leaves some files new and some old, each of them whole. The next run completes it.
seealso:
  - module: ansible.builtin.copy
    description: Writes one file.
"""

EXAMPLES = r"""
- name: Install nginx's configuration and its certificate after nginx has checked both
  drydock.registry.file_set:
    directories:
      - {path: /etc/nginx/tls, owner: root, group: www-data, mode: "0750"}
    files:
      - path: /etc/nginx/nginx.conf
        content: "{{ lookup('ansible.builtin.template', 'nginx.conf.j2') }}"
        owner: root
        group: root
        mode: "0644"
      - path: /etc/nginx/tls/tls.key
        content: "{{ vault_tls_key }}"
        owner: root
        group: www-data
        mode: "0640"
        secret: true
      - path: /etc/nginx/sites-enabled/default
        state: absent
    check:
      folder: /etc/nginx
      argv: [nginx, -t, -q, -p, "{staged}", -c, "{staged}/nginx.conf"]

- name: Keep a secret that was generated once
  drydock.registry.file_set:
    files:
      - path: /var/lib/drydock/http.secret
        content: "{{ lookup('ansible.builtin.password', '/dev/null', length=64) }}"
        mode: "0600"
        keep: true
        secret: true
"""

RETURN = r"""
changed_files:
  description: The paths of files that were written or removed, or whose owner or mode was repaired.
  type: list
  elements: str
  returned: success
  sample: [/etc/nginx/nginx.conf]
created:
  description: The paths of files and folders that did not exist before.
  type: list
  elements: str
  returned: success
  sample: []
"""

from collections.abc import Callable
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._file_set import (
    CHECK_OPTION,
    DIRECTORIES_OPTION,
    FILES_OPTION,
    Refused,
    execute,
    make_plan,
    read_parameters,
    without_secrets,
)


def run(module: AnsibleModule) -> dict[str, Any]:
    try:
        plan = make_plan(read_parameters(module.params, module.check_mode), module.check_mode)
        if not module.check_mode:
            execute(plan, relabel(module))
    except Refused as error:
        module.fail_json(msg=str(error), invocation=invocation(module))
    return {
        "changed": plan.changed,
        "changed_files": plan.changed_files,
        "created": plan.created,
        "diff": plan.diff(),
        "invocation": invocation(module),
    }


def relabel(module: AnsibleModule) -> Optional[Callable[[str], object]]:
    """Return what gives a file the security context of its place, on hosts that have such."""
    return (lambda path: module.set_default_selinux_context(path, False)) if module.selinux_enabled() else None


def invocation(module: AnsibleModule) -> dict[str, Any]:
    return {"module_args": without_secrets(module.params)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={"directories": DIRECTORIES_OPTION, "files": FILES_OPTION, "check": CHECK_OPTION},
        supports_check_mode=True,
        # The parameters may hold secrets: they do not belong into the log of the host.
        no_log=True,
    )
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
