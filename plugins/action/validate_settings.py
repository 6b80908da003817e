# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from ansible.errors import AnsibleError
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase
from ansible_collections.drydock.registry.plugins.module_utils._settings import spec_problems, unique

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {"roles": {"type": "raw", "required": True}}

# The checkout or the installed collection.
ROLES = Path(__file__).resolve().parents[2] / "roles"


def wanted(roles: Any, run: Optional[Iterable[str]], skip: Optional[Iterable[str]]) -> list[str]:
    """Return the roles that a run with some tags runs."""
    if not isinstance(roles, (list, Mapping)) or not roles:
        raise AnsibleError("roles is no list of names and no dictionary of names and tags.")
    names = [str(role) for role in roles]
    if not isinstance(roles, Mapping):
        return names
    chosen, left_out = set(run or ["all"]), set(skip or [])
    return [
        name
        for name in names
        if (roles[name] == "always" or chosen & {"all", "tagged", roles[name]})
        and not left_out & {"all", "tagged", roles[name]}
    ]


def specification_problems(role: str, variables: Mapping[str, Any], templar: Any) -> list[str]:
    """Validate a role's variables, as Ansible does when it runs the role."""
    # Plain values, which Ansible's own loader would take long to wrap.
    content = yaml_load((ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    options = content["argument_specs"]["main"].get("options") or {}
    values: dict[str, Any] = {}
    said: list[str] = []
    templar = templar.copy_with_new_env(available_variables=variables)
    for name in options:
        if name not in variables:
            continue
        try:
            values[name] = templar.template(variables[name])
        except AnsibleError as error:
            said.append(f"{name}: {error}")
    # One that cannot be read is not one that is missing.
    readable = {name: option for name, option in options.items() if name in values or name not in variables}
    return said + spec_problems(readable, values)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Validate the settings of some roles, on the controller alone."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"roles"})

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Collect all sentences before the first of them ends the run."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        roles = wanted(self._task.args.get("roles"), known.get("ansible_run_tags"), known.get("ansible_skip_tags"))
        unknown = [role for role in roles if not (ROLES / role / "meta" / "argument_specs.yml").is_file()]
        if unknown:
            raise AnsibleError(f"This collection has no role {' and no role '.join(unknown)}.")

        variables = self._variables(roles, known)
        said: list[str] = []
        for role in roles:
            said += specification_problems(role, variables, self._templar)
        unclear: list[str] = []
        for role in roles:
            found, error = self._of_role(role, variables)
            said += found
            unclear += error
        # What is wrong may be the reason why a role cannot say what else is.
        problems = unique(said or unclear)
        result.update(changed=False, problems=problems)
        if problems:
            result.update(failed=True, msg="\n".join(problems))
        return result

    def _load(self, path: Path) -> dict[str, Any]:
        """Read a YAML file of the collection; nothing where it is not there."""
        # Without the loader's cache, from which it would copy.
        content = (
            self._loader.load_from_file(str(path), cache="none", trusted_as_template=True) if path.is_file() else None
        )
        return content if isinstance(content, dict) else {}

    def _variables(self, roles: list[str], known: dict[str, Any]) -> dict[str, Any]:
        """Add to what the play knows what the roles and those that they depend on say by themselves."""
        # Roles that the play imports have brought theirs along.
        needed = [role for role in roles if f"{role}_problems" not in known]
        for role in needed:
            for dependency in self._load(ROLES / role / "meta" / "main.yml").get("dependencies") or []:
                name = str(dependency["role"]).rpartition(".")[2]
                if name not in needed:
                    needed.append(name)
        variables: dict[str, Any] = {}
        for folder in ("defaults", "vars"):
            for role in needed:
                variables.update(self._load(ROLES / role / folder / "main.yml"))
        variables.update(known)
        return variables

    def _of_role(self, role: str, variables: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Return what a role says is wrong, and why it cannot say it."""
        name = f"{role}_problems"
        if name not in variables:
            return [], []
        own = {**variables, "role_name": role, "role_path": str(ROLES / role)}
        templar = self._templar.copy_with_new_env(available_variables=own)
        try:
            found = templar.template(own[name])
        except AnsibleError as error:
            return [], [f"{name}: {error}"]
        return [str(sentence) for sentence in found], []
