# SPDX-License-Identifier: GPL-3.0-or-later
"""All that is wrong with settings is said at once, and no secret with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar, trust_as_template
from ansible_collections.drydock.registry.plugins.action import validate_settings
from ansible_collections.drydock.registry.plugins.module_utils._settings import spec_problems

OPTIONS: dict[str, Any] = {
    "web_port": {"type": "int", "required": True},
    "web_mode": {"type": "str", "choices": ["open", "closed"]},
    "web_token": {"type": "int", "no_log": True},
    "web_word": {"type": "str", "choices": ["a", "b"], "no_log": True},
    "web_users": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            "cost": {"type": "int"},
        },
    },
    "web_storage": {
        "type": "dict",
        "options": {
            "bucket": {"type": "str"},
            "keys": {"type": "dict", "no_log": True, "options": {"size": {"type": "int"}}},
        },
    },
}

SETTINGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all well": (
        {"web_port": 443, "web_mode": "open", "web_users": [{"name": "alice", "password": "s3cret"}]},
        [],
    ),
    "a number as text": ({"web_port": "443"}, []),
    "missing": ({}, ["missing required arguments: web_port"]),
    "no number": ({"web_port": "https"}, ["argument 'web_port' is of type str and we were unable to convert to int"]),
    "no choice": ({"web_port": 1, "web_mode": "ajar"}, ["value of web_mode must be one of: open, closed, got: ajar"]),
    "two at once": ({"web_port": "x", "web_mode": "ajar"}, ["unable to convert to int", "got: ajar"]),
    "a text that is a mapping": (
        {"web_port": 1, "web_mode": {"open": True}},
        ["web_mode is a mapping", "got: {'open'"],
    ),
    "a text that is a list, deep down": (
        {"web_port": 1, "web_users": [{"name": ["s3cret"]}], "web_storage": {"bucket": ["a"]}},
        ["name is a list; write a text.", "bucket is a list; write a text."],
    ),
    "a misspelt key": (
        {"web_port": 1, "web_users": [{"name": "a", "passwort": "s3cret"}]},
        ["unknown: web_users.passwort. Supported parameters include: cost, name, password."],
    ),
    "a missing key": (
        {"web_port": 1, "web_users": [{"password": "s3cret"}]},
        ["missing required arguments: name found in web_users"],
    ),
    "a secret that is no number": ({"web_port": 1, "web_token": "s3cret"}, ["unable to convert to int"]),
    "a secret that is no choice": ({"web_port": 1, "web_word": "s3cret"}, ["must be one of"]),
    "a secret in a place of another": (
        {"web_port": 1, "web_users": [{"name": "a", "password": "s3cret", "cost": "s3cret"}]},
        ["unable to convert to int"],
    ),
    "secrets in a list that is a mapping": ({"web_port": 1, "web_users": {"name": "a", "password": "s3cret"}}, [""]),
    "secrets below a secret": (
        {"web_port": 1, "web_storage": {"bucket": "b", "keys": {"size": "s3cret"}}},
        ["unable to convert to int"],
    ),
    "an empty secret": (
        {"web_port": "x", "web_users": [{"name": "a", "password": ""}]},
        ["type str and we were unable"],
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_specifications_say(name: str) -> None:
    values, wanted = SETTINGS[name]
    said = spec_problems(OPTIONS, values)
    assert len(said) == len(wanted), said
    for part, problem in zip(wanted, said):
        assert part in problem
    assert "s3cret" not in "\n".join(said)


def test_values_stay_as_they_are() -> None:
    values = {"web_port": "443", "web_users": [{"name": "a", "cost": "5"}]}
    assert spec_problems(OPTIONS, values) == []
    assert values == {"web_port": "443", "web_users": [{"name": "a", "cost": "5"}]}


def role(root: Path, name: str, **files: Any) -> None:
    contents = {"defaults": {}, "vars": {}, "meta": {"dependencies": []}, **files}
    for folder, content in contents.items():
        path = root / name / ("meta/argument_specs.yml" if folder == "specs" else f"{folder}/main.yml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.fixture
def roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two roles, one of which depends on a third."""
    monkeypatch.setattr(validate_settings, "ROLES", tmp_path)
    role(
        tmp_path,
        "web",
        specs={"argument_specs": {"main": {"options": OPTIONS}}},
        defaults={"web_port": 443, "web_users": []},
        vars={
            "web_problems": "{{ ['web_port is too low.'] if web_port | int < 80 else [] }}",
        },
    )
    role(
        tmp_path,
        "mail",
        specs={"argument_specs": {"main": {"options": {"mail_host": {"type": "str"}}}}},
        defaults={"mail_host": "{{ drydock_domain }}"},
        vars={
            "mail_problems": "{{ [mail_host ~ ' is no name.'] if ' ' in mail_host else __mail_look }}",
            "__mail_look": "{{ (__mail_found | default({}))['problems'] | default([]) }}",
        },
        meta={"dependencies": [{"role": "drydock.registry.base"}]},
    )
    role(tmp_path, "base", defaults={"drydock_domain": "registry.example.com"})
    return tmp_path


def run(names: list[str] | dict[str, str], **variables: Any) -> dict[str, Any]:
    loader = DataLoader()
    task = Task()
    task.args = {"roles": names}
    action = validate_settings.ActionModule(
        task=task,
        # It is never used, only asked for its temporary folder.
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere")),
        play_context=None,
        loader=loader,
        templar=Templar(loader=loader, variables=variables),
        shared_loader_obj=None,
    )
    return action.run(task_vars=variables)


BOTH = ["web", "mail"]
RUNS: dict[str, tuple[list[str], dict[str, Any], list[str]]] = {
    "nothing wrong": (BOTH, {}, []),
    "of a role": (BOTH, {"web_port": 7}, ["web_port is too low."]),
    "of a look": (BOTH, {"__mail_found": {"problems": ["No room."]}}, ["No room."]),
    "of a role that is not asked": (["mail"], {"web_port": 7}, []),
    "of several roles": (BOTH, {"web_port": 7, "mail_host": "a b"}, ["web_port is too low.", "a b is no name."]),
    "of specifications and of roles, in this order": (
        BOTH,
        {"web_mode": "ajar", "web_port": 7, "mail_host": "a b"},
        ["value of web_mode must be one of: open, closed, got: ajar", "web_port is too low.", "a b is no name."],
    ),
    # A wrong type is the reason why the role cannot go on, so of that only the type is said.
    "of a value that the role cannot read": (
        BOTH,
        {"mail_host": ["a"], "web_port": "x"},
        [
            "argument 'web_port' is of type str and we were unable to convert to int",
            "mail_host is a list; write a text.",
            "web_port is too low.",
        ],
    ),
    "the same of two": (["mail", "mail"], {"mail_host": "a b"}, ["a b is no name."]),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("roles")
def test_a_run(name: str) -> None:
    names, variables, wanted = RUNS[name]
    result = run(names, **variables)
    assert len(result["problems"]) == len(wanted), result["problems"]
    for part, problem in zip(wanted, result["problems"]):
        assert part in problem
    assert result.get("failed", False) is bool(wanted)
    assert result["changed"] is False
    if wanted:
        assert result["msg"] == "\n".join(result["problems"])


TAGS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "all": (["all"], [], ["web", "mail"]),
    "one": (["http"], [], ["web"]),
    "both": (["http", "smtp"], [], ["web", "mail"]),
    "tagged": (["tagged"], [], ["web", "mail"]),
    "untagged": (["untagged"], [], []),
    "another": (["dns"], [], []),
    "all but one": (["all"], ["http"], ["mail"]),
    "one and not the same": (["http"], ["http"], []),
    "not what is tagged": (["all"], ["tagged"], []),
}


@pytest.mark.parametrize("name", TAGS)
def test_roles_that_a_run_leaves_out_are_not_validated(name: str) -> None:
    chosen, skipped, names = TAGS[name]
    assert validate_settings.wanted({"web": "http", "mail": "smtp"}, chosen, skipped) == names
    # Without tags of theirs, they are always validated.
    assert validate_settings.wanted(["web", "mail"], chosen, skipped) == ["web", "mail"]


@pytest.mark.usefixtures("roles")
def test_a_run_with_tags() -> None:
    tags = {"web": "http", "mail": "smtp"}
    assert run(tags, web_port=7, mail_host="a b")["problems"] == ["web_port is too low.", "a b is no name."]
    only = run(tags, web_port=7, mail_host="a b", ansible_run_tags=["smtp"], ansible_skip_tags=[])
    assert only["problems"] == ["a b is no name."]


@pytest.mark.parametrize("roles", [None, "web", [], {}, 7])
def test_what_is_no_list_of_roles(roles: Any) -> None:
    with pytest.raises(AnsibleError, match="no list of names"):
        run(roles)


@pytest.mark.usefixtures("roles")
def test_a_variable_that_is_not_there_is_named() -> None:
    result = run(BOTH, mail_host=trust_as_template("{{ vault_mail_host }}"), web_port=7)
    assert result["failed"]
    assert result["problems"][0].startswith("mail_host: ")
    assert "'vault_mail_host' is undefined" in result["problems"][0]
    assert result["problems"][1:] == ["web_port is too low."]


def test_a_role_that_cannot_say_its_problems_is_named(roles: Path) -> None:
    (roles / "web" / "vars" / "main.yml").write_text("web_problems: '{{ nowhere }}'\n", encoding="utf-8")
    result = run(["web"])
    assert result["failed"]
    assert result["problems"] == ["web_problems: 'nowhere' is undefined"]


@pytest.mark.usefixtures("roles")
def test_a_role_that_is_none() -> None:
    with pytest.raises(AnsibleError, match="no role nobody"):
        run(["web", "nobody"])


def test_the_roles_of_a_host_before_any_look(tmp_path: Path) -> None:
    """As plays use them that change no host: with the roles' own defaults, only what nobody can know is wrong."""
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {
            "drydock_domain": "registry.example.com",
            "drydock_credentials_directory": str(tmp_path),
            "registry_mirror_upstreams": [{"name": "hub", "registry": "docker.io"}],
        },
        "tasks": [
            {
                "drydock.registry.validate_settings": {
                    "roles": [
                        "docker_engine",
                        "registry_tls",
                        "registry_auth",
                        "registry_server",
                        "registry_proxy",
                        "registry_maintenance",
                        "registry_metrics",
                        "registry_mirror",
                    ]
                },
                "register": "found",
                "failed_when": "found.problems != ['registry_auth_users is empty: give at least one user, such as [{name: alice}].']",
            }
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "--inventory=web1,", tmp_path / "play.yml"],
        cwd=Path(__file__).parents[3],
        env={key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
