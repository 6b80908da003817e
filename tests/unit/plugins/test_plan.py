# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dry run's list says of the results of tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._plan import ACTIONS, Change, as_json, change_of, screen

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("task", "result", "action", "details"),
    [
        ("bucket | Create the bucket with this deployment's tag", {}, "made", []),
        ("apply | Import the public key", {}, "made", []),
        ("provider_own | Ensure the VPC exists", {}, "made", []),
        ("instance | Ensure the instance runs", {}, "made", []),
        ("bucket | Set access, encryption, versioning and tags", {}, "changed", []),
        ("apply | Ensure the role has only this policy", {}, "changed", []),
        ("Run | all of it | Delete the record", {}, "removed", []),
        ("remove | Schedule the deletion of the KMS key", {}, "removed", []),
        ("refresh | Replace outdated hosts one after the other", {}, "replaced", []),
        ("apply | Install the configuration", {"diff": {"before": "", "after": "x"}}, "made", []),
        ("files | Write the files", {"diff": [{"before": "old", "after": "new"}]}, "changed", []),
        ("files | Write the files", {"diff": [{"before": "", "after": "new"}]}, "made", []),
        ("files | Write the files", {"diff": {"prepared": "x"}}, "changed", []),
        (
            "apply | Report what a dry run would change",
            {"msg": "A run would make the bucket images; block public access."},
            "made",
            ["A run would make the bucket images; block public access."],
        ),
        (
            "apply | Report what a dry run would change",
            {"msg": "A run would disable ACLs."},
            "changed",
            ["A run would disable ACLs."],
        ),
        (
            "remove | Report what a dry run would delete",
            {"msg": "A run would delete the bucket images."},
            "removed",
            None,
        ),
        ("apply | Set tags", {"msg": "All items completed"}, "changed", []),
        (
            "remove | Delete the subnets",
            {
                "results": [
                    {"changed": True, "item": "subnet-1"},
                    {"changed": False, "item": "subnet-2"},
                    {"changed": True, "item": {"secret": 1}, "_ansible_item_label": "subnet-3"},
                    {"changed": True, "item": {"secret": 1}},
                ]
            },
            "removed",
            ["subnet-1", "subnet-3"],
        ),
    ],
)
def test_a_task_says_what_it_would_do(
    task: str, result: dict[str, Any], action: str, details: list[str] | None
) -> None:
    change = change_of("localhost", "aws_storage", task, result)
    assert change.action == action
    assert change.task == task.rpartition(" | ")[2]
    assert details is None or list(change.details) == details


CHANGES = [
    Change("replaced", "localhost", "aws_autoscaling", "Replace outdated hosts"),
    Change("made", "prod-registry", "", "Create the folder", ("/srv",)),
]


def test_people_read_it_in_order() -> None:
    assert screen(CHANGES, complete=True) == [
        "PLAN: 1 made, 1 replaced",
        "  made      prod-registry  Create the folder",
        "                           - /srv",
        "  replaced  localhost      aws_autoscaling: Replace outdated hosts",
    ]


def test_programs_read_it_as_it_came() -> None:
    plan = as_json(CHANGES, complete=True)
    assert list(plan["count"]) == list(ACTIONS)
    assert plan["count"] == {"made": 1, "changed": 0, "removed": 0, "replaced": 1}
    assert [each["details"] for each in plan["changes"]] == [[], ["/srv"]]
    assert plan["complete"]


@pytest.mark.parametrize(
    ("complete", "lines"),
    [
        (True, ["PLAN: nothing would change"]),
        (False, ["PLAN: unknown", "  The dry run failed, so there may be more."]),
    ],
)
def test_nothing_is_not_the_same_as_a_failure(complete: bool, lines: list[str]) -> None:
    assert screen([], complete) == lines


@pytest.mark.parametrize("output", ["default", "ansible.posix.json"])
def test_a_dry_run_ends_with_it_and_leaves_output_for_programs_whole(output: str, tmp_path: Path) -> None:
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {}, "changed_when": True}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "--check", "--inventory=web1,", tmp_path / "play.yml"],
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": output},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Callback dispatch" not in done.stdout + done.stderr
    if output == "default":
        assert "PLAN: 1 changed" in done.stdout
    else:
        assert json.loads(done.stdout)["stats"]["web1"]["changed"] == 1
