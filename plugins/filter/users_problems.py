# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: users_problems
short_description: Say what is wrong with the users of a registry and their rights
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Checks users as M(drydock.registry.htpasswd) would, and what each may do, but on the controller and before anything is changed.
  - Checks that each pattern can match a repository. C(*) stands for anything within one part of a name, C(**) for any number of parts.
  - No sentence holds a password.
options:
  _input:
    description:
      - Users, each a dictionary with C(name); with C(password) or C(password_hash) where it is not to be generated; and with C(access),
        C(repositories) and C(certificate_only) where they differ from the defaults.
    type: list
    elements: dict
    required: true
  variable:
    description:
      - The name of the variable that holds the users. Each sentence names it.
    type: str
    required: true
  anonymous_repositories:
    description:
      - Patterns of the repositories that everybody may pull from.
    type: list
    elements: str
    default: ["**"]
  anonymous_variable:
    description:
      - The name of the variable that holds these patterns.
    type: str
    default: anonymous_repositories
seealso:
  - module: drydock.registry.htpasswd
"""

EXAMPLES = r"""
# One sentence about the colon and one about the upper-case letter
problems: >-
  {{ [{'name': 'al:ice', 'repositories': ['Team/*']}] | drydock.registry.users_problems(variable='registry_auth_users') }}
"""

RETURN = r"""
_value:
  description: One sentence for each problem. Empty when all is well.
  type: list
  elements: str
"""

from collections.abc import Callable, Sequence


def users_problems(
    users: object,
    variable: str,
    anonymous_repositories: object = ("**",),
    anonymous_variable: str = "anonymous_repositories",
) -> list[str]:
    from ansible_collections.drydock.registry.plugins.module_utils import _htpasswd
    from ansible_collections.drydock.registry.plugins.module_utils._access import access_problems, patterns_problems

    if isinstance(users, Sequence) and not users:
        problems = [f"{variable} is empty: give at least one user, such as [{{name: alice}}]."]
    else:
        problems = _htpasswd.users_problems(users, variable, password_optional=True) + access_problems(users, variable)
    return problems + patterns_problems(
        anonymous_repositories, anonymous_variable, "name at least one, or write ['**'] for all of them"
    )


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"users_problems": users_problems}
