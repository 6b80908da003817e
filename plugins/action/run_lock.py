# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from typing import Any, Optional

from ansible.plugins.action import ActionBase
from ansible_collections.drydock.registry.plugins.module_utils._run_lock import (
    ARGUMENT_SPEC,
    PATH,
    is_gone,
    refusal,
    this_run,
)

__all__ = ["ARGUMENT_SPEC", "ActionModule"]


class ActionModule(ActionBase):  # type: ignore[misc]
    """Take the host's lock for this run, and know of runs on this controller whether they are gone."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"state", "path"})

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Ask for the lock, and once more where the run that holds it is gone."""
        super().run(tmp, task_vars)
        # A task runs in a process of its own, whose parent is the run.
        arguments = {**self._task.args, "run": this_run(os.getppid())}
        result = self._call(arguments, task_vars)
        other = result.get("held_by")
        if other and is_gone(other):
            result = self._call({**arguments, "gone": other}, task_vars)
            other = result.get("held_by")
        if other:
            host = (task_vars or {}).get("inventory_hostname", "The host")
            result.update(failed=True, msg=refusal(host, arguments.get("path", PATH), other))
        return result

    def _call(self, arguments: dict[str, Any], task_vars: Optional[dict[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="drydock.registry.run_lock", module_args=arguments, task_vars=task_vars
        )
        return result
