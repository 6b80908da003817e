# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down every task that a run starts, for tests that set a limit to their number."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: count_tasks
type: notification
short_description: Count the tasks of a run
description:
  - Writes a JSON list with play, role, module and name of each task that was started, handlers and skipped ones included, to the file that
    the variable C(COUNT_TASKS) of the environment names.
author: The authors of drydock.registry
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """A counter."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "count_tasks"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.started: list[dict[str, Any]] = []
        self.play = ""

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self.play = play.get_name()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002 (Ansible's signature)
        role = task._role.get_name(include_role_fqcn=False) if task._role else ""
        name = task.get_name(include_role_fqcn=False)
        self.started.append({"play": self.play, "role": role, "module": task.action, "name": name})

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, False)

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002 (Ansible's signature)
        Path(os.environ["COUNT_TASKS"]).write_text(json.dumps(self.started, indent=1), encoding="utf-8")
