# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at this machine, and validate the settings of each role on hosts: well, and with all of a wrong type. Print what is said.

A program of its own, since Ansible's loader of collections, which templates need, is there once and for all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).parents[3]
init_plugin_loader([str(ROOT / ".venv/collections")])

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator  # noqa: E402 (after the loader)
from ansible.module_utils.common.yaml import yaml_load  # noqa: E402
from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.playbook.task import Task  # noqa: E402
from ansible.template import Templar  # noqa: E402
from ansible_collections.drydock.registry.plugins.action import role_looks, validate_settings  # noqa: E402
from ansible_collections.drydock.registry.plugins.module_utils._host_look import docker  # noqa: E402
from ansible_collections.drydock.registry.plugins.modules import host_look  # noqa: E402

ON_HOSTS = (
    "docker_engine",
    "registry_tls",
    "registry_auth",
    "registry_server",
    "registry_proxy",
    "registry_maintenance",
    "registry_metrics",
    "registry_mirror",
    "registry_backup",
)
LOADER = DataLoader()


class Looks(role_looks.ActionModule):
    """Asks this machine, in this process, and neither Docker nor for ports."""

    def _execute_module(self, module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        checked = ArgumentSpecValidator(host_look.ARGUMENT_SPEC).validate(module_args)
        if checked.error_messages:
            return {"failed": True, "msg": checked.error_messages[0]}
        answers = host_look.look({**checked.validated_parameters, "docker": False, "listeners": False})
        return {**answers, "docker": docker("/nowhere"), "listeners": [], "images": {}, "containers": {}}


def options(role: str) -> dict[str, str]:
    """Return the types of a role's options. A `raw` one has any."""
    spec = yaml_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    found = spec["argument_specs"]["main"]["options"]
    types = {name: option.get("type", "str") for name, option in found.items()}
    return {name: kind for name, kind in types.items() if kind != "raw"}


def known() -> dict[str, Any]:
    """Return what a play knows that has imported the roles."""
    variables: dict[str, Any] = {
        "inventory_hostname": "registry.example.com",
        "drydock_domain": "registry.example.com",
        "drydock_credentials_directory": "/nowhere",
        "ansible_check_mode": False,
        "playbook_dir": "/nowhere",
        "ansible_facts": {"service_mgr": "systemd"},
        "registry_auth_users": [{"name": "ann"}],
        "registry_backup_repository": "/mnt/backup",
        "registry_backup_password": "long enough",
        "registry_mirror_upstreams": [{"name": "hub", "registry": "docker.io"}],
    }
    for role in ("common", *ON_HOSTS):
        for folder in ("defaults", "vars"):
            path = ROOT / "roles" / role / folder / "main.yml"
            content = LOADER.load_from_file(str(path), cache="none", trusted_as_template=True) if path.exists() else {}
            variables = {**content, **variables}
    return variables


def run(action: type[Any], variables: dict[str, Any], roles: list[str]) -> dict[str, Any]:
    """Run one of the two actions."""
    task = Task()
    task.args = {"roles": roles}
    result: dict[str, Any] = action(
        task=task,
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere")),
        play_context=None,
        loader=LOADER,
        templar=Templar(loader=LOADER, variables=variables),
        shared_loader_obj=None,
    ).run(task_vars=variables)
    return result


def said(role: str, variables: dict[str, Any]) -> list[str]:
    """Return why nothing could be looked at, or what the validation says after that."""
    looked = run(Looks, variables, ["common", role])
    if looked.get("failed"):
        return [str(looked["msg"])]
    problems: list[str] = run(validate_settings.ActionModule, {**variables, "__common_looks": looked}, [role])[
        "problems"
    ]
    return problems


def main() -> None:
    """Print a JSON object: by role, the names of the options, and the sentences about good and about wrong ones."""
    variables = known()
    # No mapping is a list, and no list or mapping is anything else. Secrets are masked, so that no word of a sentence may be in them.
    values: dict[str, Any] = {"dict": ["§"]}
    found = {}
    for role in ON_HOSTS:
        wrong = {name: values.get(kind, {"§": ["§"]}) for name, kind in options(role).items()}
        found[role] = {"names": [*wrong], "well": said(role, variables), "wrong": said(role, {**variables, **wrong})}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
