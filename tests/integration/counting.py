# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tasks a run starts, told by a callback of Ansible."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
