# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: htpasswd_stored_problems
short_description: Say what is wrong with passwords that were generated earlier
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Finds the empty file of a run that was killed and the file that somebody edited. No sentence holds a password.
options:
  _input:
    description:
      - Passwords by the path of the file that keeps them.
    type: dict
    required: true
"""

EXAMPLES = r"""
# One sentence that tells to delete the file
problems: "{{ {'/credentials/alice.password': ''} | drydock.registry.htpasswd_stored_problems }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem. Empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping


def htpasswd_stored_problems(passwords: Mapping[str, str]) -> list[str]:
    from ansible_collections.drydock.registry.plugins.module_utils._htpasswd import stored_problems

    return stored_problems(passwords)


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"htpasswd_stored_problems": htpasswd_stored_problems}
