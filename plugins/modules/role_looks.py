#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation of the action plugin of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: role_looks
short_description: Answer the questions of several roles about a host in one call
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Asks a host by one call of M(drydock.registry.host_look) what several roles want to know, and hands out to each role the answers to its
    own questions. Changes nothing.
  - The questions of the role C(web) are the dict C(__web_questions), which holds options of M(drydock.registry.host_look). The play has to
    know it, by importing the role.
  - Gathers the few facts that the roles of this collection use where the play has not gathered them.
options:
  roles:
    description:
      - The roles, or a dict of roles and the tag of each. A role that C(--tags) or C(--skip-tags) leave out is not asked for.
    type: raw
    required: true
  known:
    description: What an earlier look of this run returned as RV(looks), to which this one adds.
    type: dict
    default: {}
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
  - module: drydock.registry.host_look
"""

EXAMPLES = r"""
- name: Look at the host for two roles
  drydock.registry.role_looks:
    roles: {web: web, database: db}
  register: first

- name: Look at it again for one of them
  drydock.registry.role_looks:
    roles: [web]
    known: "{{ first['looks'] }}"
  register: second
"""

RETURN = r"""
looks:
  description: By role, what M(drydock.registry.host_look) returns for its questions.
  type: dict
  returned: success
  sample: {web: {user: {uid: 0, name: root}, programs: {nginx: /usr/sbin/nginx}}}
"""
