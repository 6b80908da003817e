#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: htpasswd
short_description: Manage all users of a htpasswd file with bcrypt hashes
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
  - All hashes of a file are verified and made in one task, on all cores of the host.
options:
  path:
    description:
      - The htpasswd file. Its directory must exist. A symbolic link is followed.
    type: path
    required: true
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
extends_documentation_fragment:
  - ansible.builtin.files
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
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
  - When O(mode) is left out, a new file gets mode V(0600).
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
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._htpasswd import (
    LibraryError,
    User,
    available_cores,
    cost_problem,
    execute,
    load_passlib,
    plan,
    users_problems,
)


def read(path: str) -> str:
    """Read the file as it is; bytes that are no UTF-8 survive only to be seen as malformed."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def write(module: AnsibleModule, path: str, text: str) -> None:
    """Replace the file in one step."""
    # In the same directory, since a rename is atomic only within one file system.
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".htpasswd-")
    module.add_cleanup_file(temporary)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    # A new file is nobody else's until its owner and mode are set.
    previous = os.umask(0o077)
    try:
        module.atomic_move(temporary, path, unsafe_writes=module.params["unsafe_writes"])
    finally:
        os.umask(previous)


def run(module: AnsibleModule) -> dict[str, Any]:
    parameters = module.params
    path = os.path.realpath(parameters["path"])

    problems = users_problems(parameters["users"], "users")
    if cost_problem(parameters["cost"]):
        problems.append(f"The option cost {cost_problem(parameters['cost'])}.")
    if os.path.isdir(path):
        problems.append(f"The path {path} is a directory: name a file in it.")
    directory = os.path.dirname(path)
    # A dry run may come before the task that makes the directory.
    if not module.check_mode and not os.path.isdir(directory):
        problems.append(f"The directory {directory} does not exist: make it before this task.")
    if problems:
        module.fail_json(msg=" ".join(problems))

    users = [
        User(
            name=user["name"],
            password=user["password"] or "",
            cost=parameters["cost"] if user["cost"] is None else user["cost"],
            password_hash=user["password_hash"] or "",
        )
        for user in parameters["users"]
    ]
    exists = os.path.exists(path)
    workers = available_cores()
    try:
        text = read(path)
        library = load_passlib(sys.executable)
    except OSError as error:
        module.fail_json(msg=f"The file {path} cannot be read ({error.strerror}): run as a user who may read it.")
    except LibraryError as error:
        module.fail_json(msg=str(error))

    todo = plan(text, users, library.verify, workers)
    changed = todo.changed or not exists
    if changed and not module.check_mode:
        try:
            write(module, path, execute(todo, library.hash, workers))
        except OSError as error:
            module.fail_json(msg=f"The file {path} cannot be written: {error.strerror}.")

    before, after = todo.diff()
    label = f"{path} (users)"
    attributes_diff: dict[str, Any] = {}
    if exists or not module.check_mode:
        parameters = dict(parameters, path=path)
        if not exists and parameters["mode"] is None:
            parameters["mode"] = "0600"
        attributes = module.load_file_common_arguments(parameters)
        changed = module.set_fs_attributes_if_different(attributes, changed, attributes_diff)

    return {
        "changed": changed,
        "users": todo.order,
        "added": todo.added,
        "removed": todo.removed,
        "changed_users": todo.changed_users,
        "kept": todo.kept,
        "diff": [
            {"before_header": label, "after_header": label, "before": before, "after": after},
            attributes_diff,
        ],
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
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
