# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tasks a run starts, told by a callback of Ansible, and how often it enters the host."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deployment import Deployment, Run, results

# The plays of playbooks/provision.yml, which site.yml runs first.
PROVISION = ("Provide the machines", "Wait until the machines can be worked on")


@contextmanager
def counted(environment: dict[str, str], folder: Path, plays: tuple[str, ...] = PROVISION) -> Iterator[Counter[str]]:
    """Count, by their roles, the tasks that a run with this environment starts in some plays. They are there when the block has ended."""
    path = folder / "tasks.json"
    more = {
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callbacks")),
        "ANSIBLE_CALLBACKS_ENABLED": "count_tasks",
        "COUNT_TASKS": str(path),
    }
    found: Counter[str] = Counter()
    environment.update(more)
    try:
        yield found
    finally:
        for name in more:
            del environment[name]
    found.update(
        task["role"] or "playbooks" for task in json.loads(path.read_text(encoding="utf-8")) if task["play"] in plays
    )
    print(f"{found.total()} tasks: {dict(found.most_common())}")


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
