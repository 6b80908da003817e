# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment from nothing with the Ansible that runs this file; `make newest` takes the newest that this machine's Pythons allow.

What a deployment is, the other tests tell with the default one. Here it has to come up, be verified, stay as it is, and do nothing
that a later Ansible will refuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment import SHARED, Deployment, deployed_hosts, results


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A host with nothing installed on it."""
    made = Deployment("newest", tmp_path_factory.mktemp("newest"))
    made.inventories = (Path(__file__).with_name("inventory"), SHARED / "inventory")
    with deployed_hosts(made):
        yield made


def deprecations(stdout: str, stderr: str) -> list[Any]:
    """Return what Ansible says about things that are on their way out, beside the tasks and in their results."""
    plays = json.loads(stdout[stdout.index("{") :])["plays"]
    answers = [answer for play in plays for task in play["tasks"] for answer in task["hosts"].values()]
    said = [line for line in stderr.splitlines() if "deprecat" in line.lower()]
    return said + [warning for answer in answers for warning in answer.get("deprecations") or []]


@pytest.mark.parametrize("run", ["on a bare host", "again"])
def test_deployment(deployment: Deployment, run: str) -> None:
    with deployment.start("site.yml") as process:
        stdout, stderr = process.communicate(timeout=900)
    done = results(process.returncode, stdout, stderr)
    assert done.returncode == 0, "\n".join(done.failures)
    assert not deprecations(stdout, stderr)
    if run == "again":
        assert not done.changed
