# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the storage's maintenance: one sentence for each mistake, what the program is told, and what its answers mean."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.drydock.registry.plugins.module_utils import _maintenance as maintenance

ROLE = Path(__file__).parents[3] / "roles/registry_maintenance"
SETTINGS: dict[str, Any] = {
    "host": "registry-1",
    "provider": "filesystem",
    "folder": "/srv/images",
    "s3": {},
    "unversioned_bucket": "",
    "retention": [],
    "daily": ["collect", "report"],
    "time": "03:17",
    "sharers": [],
    "wait_hours": 24,
    "second_look_seconds": 60,
    "trash_days": 7,
    "directory": "/etc/drydock/maintenance",
    "state_directory": "/var/lib/drydock/maintenance",
    "log_directory": "/var/log/drydock",
    "mirrors": ["hub"],
    "registry": {"socket": "/run/registry-a.sock"},
    "redis": {},
    "redis_password_file": "/etc/drydock/maintenance/redis.password",
}
RULE: dict[str, Any] = {"repositories": ["team-a/*"], "keep_newest": 10}

# Rules, and the beginnings of what is said of them.
RULES: dict[str, tuple[Any, list[str]]] = {
    "none": ([], []),
    "all keys": (
        [
            {
                "repositories": ["**"],
                "tags": ["v*"],
                "keep_tags": ["v1.?"],
                "keep_newest": 3,
                "keep_pushed_within_days": 30,
                "order": "semver",
                "untagged_after_days": 0,
            }
        ],
        [],
    ),
    "no list": ({"repositories": ["**"]}, ["registry_maintenance_retention is not a list"]),
    "no rule": (["team-a"], ["Rule 1 of registry_maintenance_retention is not a dictionary"]),
    "no pattern": ([{"keep_newest": 1}], ["Rule 1 of registry_maintenance_retention has no `repositories`"]),
    "an empty list": (
        [{**RULE, "repositories": []}],
        ["The list `repositories` of rule 1 of registry_maintenance_retention is empty"],
    ),
    "a pattern of nothing": (
        [{**RULE, "repositories": ["Team-A/*"]}],
        [
            "The list `repositories` of rule 1 of registry_maintenance_retention holds the pattern 'Team-A/*', which has upper"
        ],
    ),
    "a key that is misspelt": (
        [{**RULE, "keep_newst": 1}],
        ["Rule 1 of registry_maintenance_retention has the key 'keep_newst', which is none"],
    ),
    "pulled within no days": (
        [{**RULE, "keep_pulled_within_days": 0}],
        ["Rule 1 of registry_maintenance_retention has `keep_pulled_within_days: 0`: write a whole number from 1 on"],
    ),
    "no room for what was used": (
        [{**RULE, "keep_used_gib": 0.5}],
        ["Rule 1 of registry_maintenance_retention has `keep_used_gib: 0.5`: write a whole number from 1 on"],
    ),
    "a regular expression": (
        [{**RULE, "tags": ["^v[0-9]+$"]}],
        ["Rule 1 of registry_maintenance_retention has the pattern '^v[0-9]+$' in `tags`"],
    ),
    "one tag": (
        [{**RULE, "keep_tags": "latest"}],
        ["Rule 1 of registry_maintenance_retention has a `keep_tags` that is not"],
    ),
    "no tags": ([{**RULE, "tags": []}], ["Rule 1 of registry_maintenance_retention has an empty list `tags`"]),
    "a number in a list of tags": (
        [{**RULE, "keep_tags": [1.0]}],
        ["Rule 1 of registry_maintenance_retention has the pattern 1.0"],
    ),
    "nothing kept": (
        [{**RULE, "keep_newest": 0}],
        ["Rule 1 of registry_maintenance_retention has `keep_newest: 0`: write a whole number from 1 on"],
    ),
    "a switch for a number": (
        [{**RULE, "untagged_after_days": True}],
        ["Rule 1 of registry_maintenance_retention has `untagged"],
    ),
    "an order of its own": (
        [{**RULE, "order": "name"}],
        ["Rule 1 of registry_maintenance_retention has `order: 'name'`"],
    ),
    "no count to order for": (
        [{"repositories": ["**"], "keep_pushed_within_days": 1, "order": "date"}],
        ["Rule 1 of registry_maintenance_retention has `order: date`, but no `keep_newest`"],
    ),
    "a rule that keeps nothing": (
        [{"repositories": ["**"]}],
        ["Rule 1 of registry_maintenance_retention keeps nothing"],
    ),
    "a tag that the rule is not about": (
        [{**RULE, "tags": ["v*"], "keep_tags": ["latest", "v*-lts"]}],
        ["Rule 1 of registry_maintenance_retention keeps the tag 'latest', which its `tags` (v*) leave out"],
    ),
    "each mistake of each rule": (
        [{"keep_newest": 0}, {**RULE, "order": ""}],
        [
            "Rule 1 of registry_maintenance_retention has no `repositories`",
            "Rule 1 of registry_maintenance_retention has `keep_newest: 0`",
            "Rule 2 of registry_maintenance_retention has `order: ''`",
        ],
    ),
    "the same rule twice": (
        [RULE, {**RULE, "keep_newest": 2}],
        ["Rule 2 of registry_maintenance_retention is never asked: rule 1"],
    ),
    "everything first": (
        [{"repositories": ["**"], "keep_newest": 1}, RULE],
        ["Rule 2 of registry_maintenance_retention is never asked: rule 1"],
    ),
    "the narrower one first": (
        [RULE, {"repositories": ["team-a/**"], "keep_newest": 1}, {"repositories": ["**"], "keep_newest": 1}],
        [],
    ),
    "other tags": ([{**RULE, "tags": ["v*"]}, {**RULE, "tags": ["*"]}], []),
    "tags that an earlier rule has": (
        [{**RULE, "tags": ["v*", "r*"]}, {**RULE, "tags": ["v1.*"]}],
        ["Rule 2 of registry_maintenance_retention is never asked: rule 1"],
    ),
    "two words on images without a tag": (
        [{**RULE, "tags": ["v*"], "untagged_after_days": 1}, {**RULE, "untagged_after_days": 7}],
        ["Rule 2 of registry_maintenance_retention has `untagged_after_days`, which is never asked: rule 1"],
    ),
    "images without a tag first": (
        [{"repositories": ["**"], "untagged_after_days": 1}, RULE],
        ["Rule 2 of registry_maintenance_retention is never asked: rule 1"],
    ),
}


@pytest.mark.parametrize(("rules", "said"), RULES.values(), ids=RULES)
def test_rules(rules: Any, said: list[str]) -> None:
    found = maintenance.retention_problems(rules)
    assert [sentence[: len(start)] for sentence, start in zip(found, said)] == said
    assert len(found) == len(said), found
    assert all(sentence.endswith(".") for sentence in found)


COVERED = [
    ("**", "a", True),
    ("**", "a/**", True),
    ("a/**", "a/*", True),
    ("a/**", "a/b/c", True),
    ("a/**", "a", False),
    ("a/*", "a/**", False),
    ("*/b", "a/b", True),
    ("*", "*-x", True),
    ("*-x", "*", False),
    ("a/**/c", "a/b/*/c", True),
    ("a.b", "a-b", False),
]


@pytest.mark.parametrize(("general", "specific", "covered"), COVERED)
def test_what_a_pattern_covers(general: str, specific: str, covered: bool) -> None:
    rules = [{"repositories": [pattern], "keep_newest": 1} for pattern in (general, specific)]
    assert bool(maintenance.retention_problems(rules)) == covered


BUCKET = {"provider": "s3", "s3": {"bucket": "images", "region": "eu-central-1"}, "daily": []}
# What is set, and the beginning of what is said.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no bucket": ({"provider": "s3", "s3": {}}, "registry_maintenance_s3 has no bucket"),
    "another bucket without versions": (
        {**BUCKET, "unversioned_bucket": "image"},
        "registry_maintenance_unversioned_bucket is image, but the bucket is images",
    ),
    "a bucket for a folder": (
        {"unversioned_bucket": "images"},
        "registry_maintenance_unversioned_bucket is images, but the images are in no bucket",
    ),
    "two hosts and one bucket": (
        {**BUCKET, "daily": ["collect"], "sharers": ["registry-2"]},
        "registry_maintenance_daily is set for registry-1 and for registry-2, whose images are in the same bucket",
    ),
    "rules that are none": ({"daily": ["retention"]}, "registry_maintenance_daily has `retention`, but"),
    "a trash that keeps nothing": (
        {"trash_days": 0},
        "registry_maintenance_trash_days is 0: write a whole number from 1 on.",
    ),
    "a negative wait": ({"wait_hours": -1}, "registry_maintenance_wait_hours is -1"),
    "YAML's sexagesimal number": ({"time": 197}, "registry_maintenance_time is 197: write hour and minute in quotes"),
    "no hour": ({"time": "24:00"}, "registry_maintenance_time is '24:00'"),
    "pulls that nobody notes": (
        {"retention": [{"repositories": ["**"], "keep_pulled_within_days": 30}], "log_directory": ""},
        "registry_maintenance_retention has keep_pulled_within_days, but registry_maintenance_log_directory is empty",
    ),
    "pulls of a bucket": (
        {**BUCKET, "retention": [{"repositories": ["**"], "keep_pulled_within_days": 30}]},
        "registry_maintenance_retention has keep_pulled_within_days, but the images are in a bucket",
    ),
    "a relative path of logs": ({"log_directory": "log"}, "registry_maintenance_log_directory is 'log': write an"),
    "a relative path": ({"directory": "etc"}, "registry_maintenance_directory is 'etc': write an absolute path."),
}


@pytest.mark.parametrize(("settings", "said"), WRONG.values(), ids=WRONG)
def test_settings_that_cannot_work(settings: dict[str, Any], said: str) -> None:
    (found,) = maintenance.setting_problems({**SETTINGS, **settings})
    assert found.startswith(said)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        BUCKET,
        {**BUCKET, "unversioned_bucket": "images"},
        # Each host has its own folder, whatever its neighbours do.
        {"sharers": ["registry-2"]},
        {**BUCKET, "sharers": ["registry-2"]},
        {"daily": ["retention"], "retention": [RULE]},
        {"retention": [{"repositories": ["**"], "keep_pulled_within_days": 30}]},
        {"log_directory": ""},
        {"wait_hours": "0", "second_look_seconds": 0, "time": "00:00"},
        # For the argument specification to say.
        {"second_look_seconds": "soon"},
    ],
)
def test_settings_that_work(settings: dict[str, Any]) -> None:
    assert maintenance.setting_problems({**SETTINGS, **settings}) == []


def test_the_program_is_told_of_a_folder() -> None:
    rules = [{**RULE, "keep_tags": None}]
    assert maintenance.configuration({**SETTINGS, "retention": rules}) == {
        "storage": {"folder": "/srv/images"},
        "state_directory": "/var/lib/drydock/maintenance",
        "log_directory": "/var/log/drydock",
        "mirrors": ["hub"],
        "registry": {"socket": "/run/registry-a.sock"},
        "redis": None,
        "retention": [RULE],
        "link_age_seconds": 86400,
        "blob_wait_seconds": 86400,
        "second_look_seconds": 60,
        "trash_seconds": 604800,
    }


def test_the_program_is_told_of_a_bucket_and_of_redis_and_gets_no_secret() -> None:
    s3 = {
        "bucket": "images",
        "region": "eu-central-1",
        "root_directory": "/team/",
        "endpoint": "https://s3.example.com",
        "access_key": "AKIA",
        "secret_key": "deep secret",
    }
    redis = {"address": "cache:6379", "password": "secret of redis", "database": 2}
    told = maintenance.configuration(
        {**SETTINGS, **BUCKET, "s3": s3, "redis": redis, "registry": {}, "unversioned_bucket": "images"}
    )
    assert told["storage"] == {
        "s3": {
            "bucket": "images",
            "prefix": "team",
            "region": "eu-central-1",
            "endpoint": "https://s3.example.com",
            "path_style_enabled": True,
            "unversioned_enabled": True,
        }
    }
    assert told["redis"] == {
        "address": "cache:6379",
        "password_file": "/etc/drydock/maintenance/redis.password",
        "database": 2,
    }
    assert told["registry"] is None
    assert "secret" not in json.dumps(told).replace("redis.password", "")


WANTED = {"path": "/a", "content": "text", "owner": "root", "group": "999", "mode": "0640"}
SEEN = {
    "exists": True,
    "kind": "file",
    "mode": "0640",
    "uid": 0,
    "gid": 999,
    "user": "root",
    "group": "drydock",
    "content": "text",
}
NOTHING = {"exists": False, "kind": "", "mode": "", "uid": -1, "gid": -1, "user": "", "group": "", "content": ""}


@pytest.mark.parametrize(
    ("seen", "current"),
    [
        ({}, True),
        (NOTHING, False),
        *(
            ({key: value}, False)
            for key, value in {"mode": "0644", "uid": 1, "gid": 0, "content": "", "kind": "link"}.items()
        ),
    ],
)
def test_what_differs_is_written(seen: dict[str, Any], current: bool) -> None:
    found = {**SEEN, **seen}
    if "uid" in seen:
        found["user"] = "somebody"
    assert maintenance.outdated([WANTED], {"/a": found}) == ([] if current else ["/a"])


def test_folders_that_differ() -> None:
    folder = {key: value for key, value in WANTED.items() if key != "content"}
    seen = {**SEEN, "kind": "directory", "content": ""}
    assert maintenance.outdated([], {"/a": seen}, [folder]) == []
    assert maintenance.outdated([], {"/a": {**seen, "mode": "0755"}}, [folder]) == ["/a"]
    assert maintenance.outdated([], {"/a": SEEN}, [folder]) == ["/a"]
    # Others may have something in it.
    assert maintenance.outdated([], {"/a": seen}, [{**folder, "state": "absent_if_empty"}]) == []


def test_what_is_to_be_gone() -> None:
    wanted = [{"path": "/a", "state": "absent"}]
    assert maintenance.outdated(wanted, {"/a": SEEN}) == ["/a"]
    assert maintenance.outdated(wanted, {"/a": NOTHING}) == []


def test_the_whole_program_is_installed() -> None:
    files = {Path(one["path"]).name: one for one in maintenance.files([], "/usr/local/lib/drydock/drydock_store")}
    assert "__main__.py" in files
    assert set(files) == {path.name for path in maintenance.PROGRAM.rglob("*.py")}
    assert all(
        one["mode"] == "0644" and one["path"].startswith("/usr/local/lib/drydock/drydock_store/")
        for one in files.values()
    )


def test_files_without_content_are_not_to_be_there() -> None:
    own = [{"path": "/etc/unit", "content": "[Unit]"}, {"path": "/etc/keys", "content": ""}]
    found = {one["path"]: one["state"] for one in maintenance.files(own, "/program")}
    assert (found["/etc/unit"], found["/etc/keys"], found["/program/__main__.py"]) == ("present", "absent", "present")
    assert {one["state"] for one in maintenance.files(own, "/program", wanted=False)} == {"absent"}


# How the program ended, what it printed, and what that is: failed, changed, problems.
ENDED: dict[str, tuple[int, str, tuple[bool, bool, list[str]]]] = {
    "a report": (0, '{"command": "report", "problems": []}', (False, False, [])),
    "a plan": (0, '{"applied": false, "tags": [{"tag": "1"}], "problems": ["hint"]}', (False, False, ["hint"])),
    "nothing to do": (0, '{"applied": true, "links": [], "blobs": [], "emptied": {"files": 0}}', (False, False, [])),
    "tags went": (0, '{"applied": true, "tags": [{"tag": "1"}]}', (False, True, [])),
    "the trash was emptied": (
        0,
        '{"applied": true, "links": [], "blobs": [], "emptied": {"files": 3}}',
        (False, True, []),
    ),
    "defects": (1, '{"defects": [{"sentence": "One is lost."}], "problems": []}', (True, False, ["One is lost."])),
    "no defects": (0, '{"defects": [], "problems": []}', (False, False, [])),
    "refused": (2, '{"error": "The configuration is wrong."}', (True, False, ["The configuration is wrong."])),
    "silence": (4, "{}", (True, False, ["drydock_store ended with 4."])),
    "no program": (127, "", (True, False, ["drydock_store ended with 127 and gave no answer: not found"])),
    "no answer": (0, "Traceback", (True, False, ["drydock_store ended with 0 and gave no answer: not found"])),
}


@pytest.mark.parametrize(("status", "output", "meaning"), ENDED.values(), ids=ENDED)
def test_what_an_answer_means(status: int, output: str, meaning: tuple[bool, bool, list[str]]) -> None:
    found = maintenance.outcome({"rc": status, "stdout": output, "stderr": "sh: 1\nnot found\n"})
    assert (found["failed"], found["changed"], found["problems"]) == meaning
    assert found["status"] == status


@pytest.mark.parametrize("scheduler", ["systemd", "cron"])
def test_a_step_that_fails_keeps_no_other_from_its_work(tmp_path: Path, scheduler: str) -> None:
    lines = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    variables = {name: trust_as_template(value) if isinstance(value, str) else value for name, value in lines.items()}
    variables |= {
        "__registry_maintenance_daily": ["report", "check", "collect", "retention"],
        "__registry_maintenance_program": str(tmp_path / "python3"),
        "__registry_maintenance_configuration_path": "FILE",
    }
    program = tmp_path / "python3"
    program.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\ncase "$*" in *retention*) exit 5;; esac\n')
    program.chmod(0o755)

    def made(name: str) -> Any:
        return Templar(DataLoader(), variables).template(variables[name])

    if scheduler == "systemd":
        unit = made("__registry_maintenance_service_start")
        command, options = shlex.split(unit.replace("$$", "$"))[2:], ["-m", "drydock_store", "--config", "FILE"]
    else:
        command, options = [made("__registry_maintenance_cron_command")], []
    done = subprocess.run(["sh", "-c", *command], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    calls = (tmp_path / "calls").read_text().splitlines()
    steps = ["retention --apply", "collect --apply", "check"]
    assert calls[:3] == [" ".join([*options, step]) for step in steps]
    # Figures are told after it by systemd.
    assert (done.returncode, calls[3:]) == ((5, []) if scheduler == "systemd" else (0, ["report"]))
