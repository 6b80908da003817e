#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: htpasswd
short_description: Manage all users of a htpasswd file with bcrypt hashes, and files that go with it
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Makes a htpasswd file hold exactly the users that are given, each with a bcrypt hash of the password.
  - The file is owned as a whole. Users that are not given, hashes other than bcrypt, comments and malformed lines
    vanish from it.
  - A stored hash that matches the password and has the wanted cost is kept as it is, so that a second run
    changes nothing and a changed password touches the line of its user alone.
  - The file is replaced by an atomic rename. A server that reads it never sees half of it.
  - O(files), such as the users' rights, are written together with it, all of them or none, as M(drydock.registry.file_set) does.
  - All hashes of a file are verified and made in one task, on all cores of the host.
options:
  path:
    description:
      - The htpasswd file. Its directory exists or is one of O(directories). A symbolic link is followed.
    type: path
    required: true
  owner:
    description:
      - The user that owns the htpasswd file, by name or number. Without it an existing file keeps its owner.
    type: str
  group:
    description:
      - The group that owns the htpasswd file, by name or number. Without it an existing file keeps its group.
    type: str
  mode:
    description:
      - The mode of the htpasswd file as an octal number in quotes, such as V("0640").
      - Without it an existing file keeps its mode, and a new one gets V(0600).
    type: raw
  users:
    description:
      - All users of the file. An empty list makes an empty file, which lets nobody in.
      - Users that are in the file keep their place. New ones follow in the order given.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The user's name, at most 255 bytes, without colon, slash, spaces and control characters, and not
            beginning with V(#).
        type: str
        required: true
      password:
        description:
          - The password, at most 72 bytes in UTF-8, since bcrypt ignores the rest, and without control characters.
          - Put digits in quotes. YAML reads V(0123) as the number 83.
          - Either this or O(users[].password_hash) is required.
        type: str
      password_hash:
        description:
          - The bcrypt hash of the password, beginning with C($2y$), C($2b$) or C($2a$), which is written as it is.
        type: str
      cost:
        description:
          - The bcrypt cost of this user's hash.
          - Defaults to O(cost).
        type: int
  cost:
    description:
      - The bcrypt cost, from 4 to 31. One more doubles the time of each login and of each attack.
        One check takes about 2.4 ms at V(5), 74 ms at V(10) and 295 ms at V(12).
      - A stored hash with another cost is made anew.
    type: int
    default: 10
  audit_directory:
    description:
      - The folder of the audit log, where a change adds a line with the names of users that were added, removed and changed, and with the
        other files that changed. Where the folder is missing, no line is written.
      - Who made the change is the account that became root, as C(SUDO_USER) has it.
    type: path
    version_added: 0.1.0
extends_documentation_fragment:
  - drydock.registry.file_set
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details:
      - Works before the folders, the accounts and the Python libraries exist. Without the libraries, stored hashes of the wanted cost are
        taken to match.
  diff_mode:
    support: full
    details:
      - Shows the names of users that are added, removed and changed. Never shows a hash or a password.
  idempotent:
    description:
      - When run twice in a row with the same arguments, the second run changes nothing.
    support: full
  platform:
    platforms: posix
requirements:
  - passlib 1.7.4 with bcrypt 3.1 to 4 (C(apt-get install python3-passlib python3-bcrypt)), or its maintained fork
    libpass with any bcrypt (C(pip install libpass bcrypt))
notes:
  - A user whose name is also somebody's password is masked in the returned values, as Ansible masks every password.
seealso:
  - module: community.general.htpasswd
    description: Manages one user of a file per task and leaves the others alone.
"""

EXAMPLES = r"""
- name: Let exactly alice and bob in
  drydock.registry.htpasswd:
    path: /etc/drydock/auth/htpasswd
    owner: root
    group: drydock
    mode: "0640"
    users:
      - name: alice
        password: "{{ vault_drydock_alice_password }}"
      - name: bob
        password: "{{ vault_drydock_bob_password }}"

- name: Write the users and their rights by one task
  drydock.registry.htpasswd:
    path: /etc/drydock/auth/htpasswd
    group: drydock
    mode: "0640"
    users: "{{ users }}"
    directories:
      - {path: /etc/drydock/auth, owner: root, group: drydock, mode: "0750"}
    files:
      - path: /etc/drydock/auth/access.json
        content: "{{ rights | ansible.builtin.to_nice_json }}\n"
        group: drydock
        mode: "0640"

- name: A long random password needs no slow hash
  drydock.registry.htpasswd:
    path: /etc/drydock/auth/htpasswd
    mode: "0640"
    cost: 12
    users:
      - name: alice
        password: "{{ vault_drydock_alice_password }}"
      - name: pipeline
        password: "{{ lookup('ansible.builtin.password', 'credentials/pipeline', length=32) }}"
        cost: 5
"""

RETURN = r"""
changed_files:
  description: The paths of files that were written or removed, or whose owner or mode was repaired, the htpasswd file among them.
  type: list
  elements: str
  returned: success
  sample: [/etc/drydock/auth/htpasswd]
created:
  description: The paths of files and folders that did not exist before.
  type: list
  elements: str
  returned: success
  sample: []
users:
  description: The names of all users of the file, in its order.
  type: list
  elements: str
  returned: success
  sample: [alice, bob]
added:
  description: The names of users that were not in the file.
  type: list
  elements: str
  returned: success
  sample: [bob]
removed:
  description: The names of users that were in the file and are no more.
  type: list
  elements: str
  returned: success
  sample: [carol]
changed_users:
  description: The names of users whose stored hash did not match the password, had another cost or was not bcrypt.
  type: list
  elements: str
  returned: success
  sample: []
kept:
  description: The names of users whose line stays as it is.
  type: list
  elements: str
  returned: success
  sample: [alice]
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._audit import record, who
from ansible_collections.drydock.registry.plugins.module_utils._file_set import (
    DIRECTORIES_OPTION,
    FILES_OPTION,
    RIGHTS_OPTIONS,
    Refused,
    execute,
    make_plan,
    read_parameters,
    without_secrets,
)
from ansible_collections.drydock.registry.plugins.module_utils._htpasswd import (
    LibraryError,
    Passlib,
    Plan,
    User,
    available_cores,
    cost_problem,
    load_passlib,
    make_text,
    plan,
    users_problems,
)


def read(path: str) -> str:
    """Read the file as it is; bytes that are no UTF-8 survive only to be seen as malformed."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise Refused(f"The file {path} cannot be read ({error.strerror}): run as a user who may read it.") from error


def library(check_mode: bool) -> Passlib | None:
    """Load what hashes passwords. A dry run may come before the task that installs it."""
    try:
        return load_passlib(sys.executable)
    except LibraryError as error:
        if check_mode:
            return None
        raise Refused(str(error)) from error


def compare(parameters: Mapping[str, Any], text: str, passlib: Passlib | None) -> Plan:
    users = [
        User(
            name=user["name"],
            password=user["password"] or "",
            cost=parameters["cost"] if user["cost"] is None else user["cost"],
            password_hash=user["password_hash"] or "",
        )
        for user in parameters["users"]
    ]
    return plan(text, users, passlib.verify if passlib else lambda _password, _hashed: True, available_cores())


def run(parameters: Mapping[str, Any], check_mode: bool, relabel: Any) -> dict[str, Any]:
    problems = users_problems(parameters["users"], "users")
    if cost_problem(parameters["cost"]):
        problems.append(f"The option cost {cost_problem(parameters['cost'])}.")
    path = os.path.realpath(parameters["path"])
    if os.path.isdir(path):
        problems.append(f"The path {path} is a directory: name a file in it.")
    if problems:
        raise Refused(" ".join(problems))

    stored = read(path)
    passlib = library(check_mode)
    todo = compare(parameters, stored, passlib)
    shown = todo.diff()
    if not todo.changed:
        text = stored
    elif check_mode or passlib is None:
        text = f"{shown[1]}not hashed in a dry run\n"
    else:
        text = make_text(todo, passlib.hash, available_cores())

    users_file = {
        "path": path,
        "content": text,
        "state": "present",
        "keep": False,
        "secret": True,
        **{key: parameters[key] for key in RIGHTS_OPTIONS},
    }
    file_set = read_parameters(
        {"directories": parameters["directories"], "files": [users_file, *parameters["files"]]}, check_mode
    )
    changes = make_plan(file_set, check_mode)
    if not check_mode:
        execute(changes, relabel)
    unwritten = ""
    if changes.changed and not check_mode and parameters.get("audit_directory"):
        unwritten = record(
            Path(parameters["audit_directory"]),
            "users",
            who(os.environ),
            time.time(),
            added=todo.added,
            removed=todo.removed,
            changed=todo.changed_users,
            files=changes.changed_files,
        )
    return {
        "changed": changes.changed,
        "changed_files": changes.changed_files,
        "created": changes.created,
        "users": todo.order,
        "added": todo.added,
        "removed": todo.removed,
        "changed_users": todo.changed_users,
        "kept": todo.kept,
        "unwritten": unwritten,
        "diff": changes.diff(shown={path: (f"{path} (users)", *shown)}),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "users": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "password": {"type": "str", "no_log": True},
                    "password_hash": {"type": "str", "no_log": True},
                    "cost": {"type": "int"},
                },
            },
            "cost": {"type": "int", "default": 10},
            "audit_directory": {"type": "path"},
            "directories": DIRECTORIES_OPTION,
            "files": FILES_OPTION,
            **RIGHTS_OPTIONS,
        },
        supports_check_mode=True,
        # The parameters hold secrets: they do not belong into the log of the host.
        no_log=True,
    )
    relabel = (lambda path: module.set_default_selinux_context(path, False)) if module.selinux_enabled() else None
    invocation = {"module_args": without_secrets(module.params)}
    try:
        result = run(module.params, module.check_mode, relabel)
    except Refused as error:
        module.fail_json(msg=str(error), invocation=invocation)
    unwritten = result.pop("unwritten")
    if unwritten:
        module.warn(unwritten)
    module.exit_json(**result, invocation=invocation)


if __name__ == "__main__":
    main()
