# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: access_patterns_problems
short_description: Say what is wrong with patterns of repositories
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Checks that each pattern can match a repository. C(*) stands for anything within one part of a name, C(**) for any number of parts.
options:
  _input:
    description:
      - The patterns.
    type: list
    elements: str
    required: true
  variable:
    description:
      - The name of the variable that holds the patterns. Each sentence names it.
    type: str
    required: true
"""

EXAMPLES = r"""
# One sentence about the upper-case letter
problems: "{{ ['Public/*'] | drydock.registry.access_patterns_problems(variable='registry_auth_anonymous_repositories') }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem. Empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.drydock.registry.plugins.module_utils._access import patterns_problems


def access_patterns_problems(patterns: object, variable: str) -> list[str]:
    return patterns_problems(patterns, variable, "name at least one, or write ['**'] for all of them")


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"access_patterns_problems": access_patterns_problems}
