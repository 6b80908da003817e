#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: audit_lines
short_description: Read the last lines of a registry's audit log
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Reads the files C(audit-YYYY-MM-DD.log) that the nginx of the role P(drydock.registry.registry_proxy#role) writes, the newest first,
    until there are enough lines.
  - Nothing is changed. Lines that are no JSON, as a full disk may leave one, are passed over.
options:
  directory:
    description: The folder of the files.
    type: path
    required: true
  count:
    description: How many lines at most.
    type: int
    default: 50
  user:
    description: Only lines of this user.
    type: str
    default: ""
  repository:
    description: Only lines about repositories that this pattern fits, with C(*) for any characters.
    type: str
    default: ""
  event:
    description: Only lines of this event, such as V(push), V(delete) or V(refused_login).
    type: str
    default: ""
  since:
    description: Only lines from this day or time on, in UTC, such as V(2026-11-30) or V(2026-11-30T17:00).
    type: str
    default: ""
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
"""

EXAMPLES = r"""
- name: Look who has deleted something today
  drydock.registry.audit_lines:
    directory: /var/log/drydock
    event: delete
    since: "2026-11-30"
  register: deleted
"""

RETURN = r"""
lines:
  description: The lines, the newest last.
  type: list
  elements: dict
  returned: success
screen:
  description: The same for people, one text for each.
  type: list
  elements: str
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.drydock.registry.plugins.module_utils._audit import last_lines, shown, since_problem


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "count": {"type": "int", "default": 50},
            **{key: {"type": "str", "default": ""} for key in ("user", "repository", "event", "since")},
        },
        supports_check_mode=True,
    )
    asked = module.params
    if asked["count"] < 1:
        module.fail_json(msg=f"count is {asked['count']}: write how many lines, from 1 on.")
    if since_problem(asked["since"]):
        module.fail_json(msg=f"since: {since_problem(asked['since'])}")
    try:
        lines = last_lines(
            Path(asked["directory"]),
            asked["count"],
            **{key: asked[key] for key in ("user", "repository", "event", "since")},
        )
    except OSError as error:
        module.fail_json(
            msg=f"The audit log in {asked['directory']} cannot be read ({error.strerror}): has site.yml run on this host?"
        )
    module.exit_json(changed=False, lines=lines, screen=[shown(line) for line in lines])


if __name__ == "__main__":
    main()
