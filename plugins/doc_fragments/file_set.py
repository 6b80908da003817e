# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options of modules that write files which belong together."""

    DOCUMENTATION = r"""
options:
  directories:
    description:
      - Folders to create where they are missing, and whose owner and mode are repaired.
      - Folders above them that are missing are created with mode V(0755).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - The absolute path of the folder.
        type: path
        required: true
      owner:
        description:
          - The user that owns it, by name or number. Without it an existing folder keeps its owner.
        type: str
      group:
        description:
          - The group that owns it, by name or number. Without it an existing folder keeps its group.
        type: str
      mode:
        description:
          - The mode as an octal number in quotes, such as V("0750").
          - Without it an existing folder keeps its mode, and a new one gets V(0755).
        type: raw
      state:
        description:
          - V(absent_if_empty) removes the folder if nothing is left in it.
        type: str
        choices: [present, absent_if_empty]
        default: present
  files:
    description:
      - The files. Each lies in a folder that exists or is one of O(directories).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - The absolute path of the file. A symbolic link at this path is replaced by the file.
        type: path
        required: true
      content:
        description:
          - The whole content as text. It is required unless O(files[].state=absent) or O(files[].keep=true).
        type: str
      owner:
        description:
          - The user that owns it, by name or number. Without it an existing file keeps its owner.
        type: str
      group:
        description:
          - The group that owns it, by name or number. Without it an existing file keeps its group.
        type: str
      mode:
        description:
          - The mode as an octal number in quotes, such as V("0640").
          - Without it an existing file keeps its mode, and a new one gets V(0600).
        type: raw
      state:
        description:
          - Whether the file is to exist.
        type: str
        choices: [present, absent]
        default: present
      keep:
        description:
          - Leaves the content of an existing file alone. Its owner and mode are repaired all the same.
          - Without O(files[].content) something else makes the file, and a missing one stays missing.
        type: bool
        default: false
      secret:
        description:
          - Never shows the content in a diff, in returned values or in the log of the host.
        type: bool
        default: false
"""
