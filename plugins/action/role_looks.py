# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Optional

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.drydock.registry.plugins import filter as filters
from ansible_collections.drydock.registry.plugins import module_utils
from ansible_collections.drydock.registry.plugins.action.validate_settings import specification_problems, wanted
from ansible_collections.drydock.registry.plugins.module_utils._role_looks import answers_to, missing_facts, together

# Ansible imports an action before it starts the process of a task, and filters in nearly every one of these processes, without keeping what
# it compiles. So the roles' filters and what most of them work with are imported here, once for all tasks that follow.
for _found in pkgutil.iter_modules(filters.__path__):
    importlib.import_module(f"{filters.__name__}.{_found.name}")
for _name in ("_htpasswd", "_libraries", "_proxy", "_registry_config", "_tls", "_verify"):
    importlib.import_module(f"{module_utils.__name__}.{_name}")

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "roles": {"type": "raw", "required": True},
    "known": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Ask a host the questions of several roles by one call."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Collect the questions, ask, and hand out the answers."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        roles = wanted(options["roles"], variables.get("ansible_run_tags"), variables.get("ansible_skip_tags"))
        questions, answers = self._ask(roles, variables)
        if answers.get("failed"):
            # Where settings are of a wrong type, there may be no question: the validation, which comes next, reports them.
            fine = [role for role in roles if not specification_problems(role, variables, self._templar)]
            if fine != roles:
                questions, answers = self._ask(fine, variables)
        if answers.get("failed"):
            return answers
        looks = {role: answers_to(question, answers) for role, question in questions.items()}
        kept = ("ansible_facts", "warnings", "deprecations")
        return {
            **{name: answers[name] for name in kept if name in answers},
            "changed": False,
            "looks": {**options["known"], **looks},
        }

    def _ask(self, roles: list[str], variables: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Return the roles' questions, and the answers to all of them."""
        try:
            questions = {role: self._questions(role, variables) for role in roles}
        except AnsibleError as error:
            return {}, {"failed": True, "msg": str(error)}
        asked = {**together(questions.values()), "facts": missing_facts(variables.get("ansible_facts") or {})}
        answers = self._execute_module(module_name="drydock.registry.host_look", module_args=asked, task_vars=variables)
        return questions, dict(answers)

    def _questions(self, role: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        name = f"__{role}_questions"
        if name not in variables:
            raise AnsibleError(f"The play does not know {name}: import the role {role}, or leave it out of roles.")
        questions: dict[str, Any] = self._templar.template(variables[name])
        return questions
