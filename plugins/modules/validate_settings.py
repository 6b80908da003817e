#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The action plugin of the same name does all of it.

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_settings
short_description: Report all that is wrong with the settings of some roles of this collection
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Validates the variables of each role against its argument specification, as Ansible does when it runs the role, and evaluates the list
    C(ROLE_problems), in which the role says what else is wrong with its settings and with the host it has looked at.
  - Fails with all sentences of all roles, one a line. Sets nothing and asks the host nothing.
  - What the play does not know, it takes from the defaults and variables of the roles.
  - Sentences about argument specifications never show the value of an option that is C(no_log) there.
options:
  roles:
    description:
      - Names of roles of this collection, without the collection's, as a list.
      - Or a dictionary of these names with the tag of each, for plays that are run with C(--tags) and C(--skip-tags). A role whose tag
        such a run leaves out is not validated.
    type: raw
    required: true
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
    support: none
  bypass_host_loop:
    support: none
  check_mode:
    support: full
  connection:
    support: none
  delegation:
    support: none
  diff_mode:
    support: none
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing.
    support: full
  platform:
    platforms: posix
seealso:
  - module: ansible.builtin.validate_argument_spec
"""

EXAMPLES = r"""
- name: Look at the host for TLS
  ansible.builtin.import_role:
    name: drydock.registry.registry_tls
    tasks_from: look

- name: Validate the settings
  drydock.registry.validate_settings:
    roles: [registry_tls, registry_auth]

- name: Validate the settings of those roles that run
  drydock.registry.validate_settings:
    roles: {registry_tls: tls, registry_auth: users}
  tags: [always]
"""

RETURN = r"""
problems:
  description: The sentences.
  type: list
  elements: str
  returned: always
  sample: ["registry_tls_valid_days is 0: write at least 1."]
"""
