# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits to the number of tasks that a role starts in somebody's own play. What a whole run may start, test_second_run.py says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from counting import Counted, Counting
from deployment import deployed_hosts

ALONE = "alone.test"


class Alone(Counting):
    """A host for roles by themselves."""

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
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """Start the host, on which nothing is installed."""
    made = Alone("budgets", tmp_path_factory.mktemp("budgets"))
    with deployed_hosts(made):
        yield made


# The role, what it may start on a host where nothing is installed, and what where nothing differs.
ROLES = {"docker_engine": 30, "registry_tls": 35, "registry_auth": 25}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_alone(host: Alone, role: str) -> None:
    cold = host.alone(role)
    assert cold.run.changed
    assert cold.tasks.total() <= ROLES[role], cold.tasks
    again = host.alone(role)
    assert again.run.changed == []
    assert again.tasks.total() <= ROLES[role], again.tasks
