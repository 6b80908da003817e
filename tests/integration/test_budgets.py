# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits to the number of tasks that runs start, and to how often they enter the host: that is what their time is made of.

What a run takes is printed, and never asserted.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from deployment import Deployment, Run, deployed_hosts, results

ALONE = "alone.test"


class Counted(NamedTuple):
    """What a run did, the roles of the tasks that it started, and how often it entered the host."""

    run: Run
    tasks: Counter[str]
    entered: int


class Counting(Deployment):
    """Hosts whose runs are counted."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.tasks, self.entered = folder / "tasks.json", folder / "entered"
        self.environment |= {
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callbacks")),
            "ANSIBLE_CALLBACKS_ENABLED": "count_tasks",
            "COUNT_TASKS": str(self.tasks),
            "TEST_HOST_ENTERED": str(self.entered),
        }

    def counted(self, playbook: str | Path, *options: str) -> Counted:
        """Run a playbook that has to succeed."""
        self.entered.write_text("", encoding="utf-8")
        start = time.monotonic()
        with self.start(str(playbook), *options) as process:
            stdout, stderr = process.communicate(timeout=900)
        seconds = time.monotonic() - start
        done = results(process.returncode, stdout, stderr)
        assert done.returncode == 0, "\n".join(done.failures)
        started = json.loads(self.tasks.read_text(encoding="utf-8"))
        found = Counted(
            done,
            Counter(task["role"] or "playbooks" for task in started),
            len(self.entered.read_text(encoding="utf-8").splitlines()),
        )
        print(
            f"{Path(playbook).name} {' '.join(options)}: {found.tasks.total()} tasks, {len(done.changed)} changed, the host entered "
            f"{found.entered} times, {seconds:.0f} s: {dict(found.tasks.most_common())}"
        )
        return found

    def alone(self, role: str, **variables: Any) -> Counted:
        """Run a role in a play of somebody's own."""
        play = {
            "hosts": ALONE,
            "become": True,
            "gather_facts": False,
            "vars": variables,
            "roles": [f"drydock.registry.{role}"],
        }
        path = self.folder / f"{role}.yml"
        path.write_text(yaml.safe_dump([play]), encoding="utf-8")
        return self.counted(path)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    """Start the hosts, on which nothing is installed."""
    made = Counting("budgets", tmp_path_factory.mktemp("budgets"))
    made.passwords = {"alice": "first pass of hers"}
    made.settings["registry_auth_users"] = [{"name": "alice", "password": "first pass of hers", "access": "admin"}]
    with deployed_hosts(made):
        yield made


# The role, what it may start on a host where nothing is installed, and what where nothing differs.
ROLES = {"docker_engine": 30, "registry_tls": 35, "registry_auth": 25}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_alone(deployment: Counting, role: str) -> None:
    cold = deployment.alone(role)
    assert cold.run.changed
    assert cold.tasks.total() <= ROLES[role], cold.tasks
    again = deployment.alone(role)
    assert again.run.changed == []
    assert again.tasks.total() <= ROLES[role], again.tasks


def test_a_registry_on_a_host_where_nothing_is_installed(deployment: Counting) -> None:
    cold = deployment.counted("site.yml")
    assert cold.tasks.total() <= 150, cold.tasks
    assert deployment.status("/v2/", user="alice") == 200


def test_a_second_run(deployment: Counting) -> None:
    again = deployment.counted("site.yml")
    assert again.run.changed == []
    assert again.tasks.total() <= 110, again.tasks
    assert again.tasks["common"] <= 25
    assert again.entered <= 25


def test_one_changed_user(deployment: Counting) -> None:
    new = "second pass of hers"
    deployment.settings["registry_auth_users"][0]["password"] = deployment.passwords["alice"] = new
    changed = deployment.counted("site.yml")
    assert changed.run.roles() == {"registry_auth", "registry_proxy"}
    # Handlers as well.
    assert changed.tasks.total() <= 115, changed.tasks
    assert changed.tasks["common"] <= 25
    assert deployment.status("/v2/", user="alice") == 200
