# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan
type: aggregate
short_description: End a dry run with a list of what a run would do
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - After a run with C(--check), lists what a run would make, change, remove or replace, and on request writes the same as JSON and ends
    with an exit code of its own, by which a schedule notices drift.
  - What a thing is called is what its task is called. Tasks whose modules have no dry run say by themselves what they would do.
  - Without C(--check) it does nothing.
requirements:
  - "C(callbacks_enabled = drydock.registry.plan) in ansible.cfg, or C(ANSIBLE_CALLBACKS_ENABLED=drydock.registry.plan)."
options:
  path:
    description:
      - A file for the list as JSON, with C(complete), C(count) by action and C(changes), each with C(action), C(host), C(role), C(task)
        and C(details).
      - When left out, none is written.
    type: path
    env:
      - name: DRYDOCK_PLAN_PATH
    ini:
      - section: drydock_plan
        key: path
  exit_code:
    description:
      - The exit code of a dry run that failed nowhere and found something to do.
      - 0 is as without this plugin; 1 to 8 and 250 mean other things to Ansible.
    type: int
    default: 0
    env:
      - name: DRYDOCK_PLAN_EXIT_CODE
    ini:
      - section: drydock_plan
        key: exit_code
"""

EXAMPLES = r"""
# Is everything as the inventory says? 0: yes; 10: no; anything else: the question had no answer.
# DRYDOCK_PLAN_EXIT_CODE=10 DRYDOCK_PLAN_PATH=plan.json ansible-playbook drydock.registry.site -i inventories/mine --check
"""

import json
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible_collections.drydock.registry.plugins.module_utils._plan import Change, as_json, change_of, screen


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The plugin as Ansible finds it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "drydock.registry.plan"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._changes: list[Change] = []
        if not context.CLIARGS.get("check"):
            self.disabled = True

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note what a task would change."""
        if result.result.get("changed"):
            role = result.task._role.get_name() if result.task._role else ""
            self._changes.append(
                change_of(result.host.get_name(), role.rpartition(".")[2], result.task.get_name(), result.result)
            )

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Say it all."""
        complete = not stats.failures and not stats.dark
        # Output that programs read as JSON stays whole.
        if "json" not in C.DEFAULT_STDOUT_CALLBACK:
            for line in ("", *screen(self._changes, complete)):
                self._display.display(line)
        path = self.get_option("path")
        if path:
            text = json.dumps(as_json(self._changes, complete), indent=2)
            Path(path).write_text(f"{text}\n", encoding="utf-8")
        code = self.get_option("exit_code")
        if code and complete and self._changes:
            # What goes on around it tidies up and lets this pass, as it is no error.
            raise SystemExit(code)
