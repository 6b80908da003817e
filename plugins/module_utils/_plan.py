# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dry run says that a run would do: one line for each thing, told from the results of tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

ACTIONS = ("made", "changed", "removed", "replaced")
# What a task does, by how its name begins, which says the outcome.
_VERBS = {
    "made": "Add Allocate Associate Create Generate Import Install Issue Order Register Request Start Upload",
    "removed": "Delete Deregister Disassociate Release Remove Revoke Schedule Terminate",
    "replaced": "Rename Replace",
}
_ACTION_OF = {verb: action for action, verbs in _VERBS.items() for verb in verbs.split()}
# What a role says itself where a module has no dry run: "A run would make the bucket images; block public access."
_SAID = re.compile(r"\bwould (make|create|delete|remove|terminate|replace)\b")
_SAID_OF = {"make": "made", "create": "made", "replace": "replaced"}
_EXISTS = re.compile(r"^Ensure .*\b(?:exists|runs)\b")


class Change(NamedTuple):
    """One thing that a run would do."""

    action: str
    host: str
    role: str
    task: str
    details: tuple[str, ...] = ()


def change_of(host: str, role: str, task: str, result: Mapping[str, Any]) -> Change:
    """Tell from a task's result what a run would do. The name is as Ansible shows it: `stem | Create the bucket`."""
    name = task.rpartition(" | ")[2]
    said = result.get("msg")
    message = said if isinstance(said, str) and "would" in said else ""
    return Change(_action(name, message, result), host, role, name, tuple(_details(message, result)))


def _action(name: str, message: str, result: Mapping[str, Any]) -> str:
    found = _SAID.search(message)
    if found:
        return _SAID_OF.get(found[1], "removed")
    verb = name.partition(" ")[0]
    if verb in _ACTION_OF:
        return _ACTION_OF[verb]
    if _EXISTS.match(name) or _is_new(result):
        return "made"
    return "changed"


def _is_new(result: Mapping[str, Any]) -> bool:
    """Nothing is there before, where the module shows a difference. Of a file, that is how Ansible's modules say so."""
    shown = result.get("diff")
    differences = [each for each in (shown if isinstance(shown, list) else [shown]) if isinstance(each, Mapping)]
    before = [each["before"] for each in differences if "before" in each]
    return bool(before) and not any(before)


def _details(message: str, result: Mapping[str, Any]) -> Iterable[str]:
    """What the role says, or which of several things a loop would change."""
    if message:
        yield message.strip()
    for each in result.get("results", []):
        if isinstance(each, Mapping) and each.get("changed"):
            label = each.get("_ansible_item_label", each.get("item", ""))
            if isinstance(label, (str, int)) and str(label):
                yield str(label)


def as_json(changes: Sequence[Change], complete: bool) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "complete": complete,
        "count": {action: sum(change.action == action for change in changes) for action in ACTIONS},
        "changes": [{**change._asdict(), "details": list(change.details)} for change in changes],
    }


def screen(changes: Sequence[Change], complete: bool) -> list[str]:
    """The plan for people."""
    counts = as_json(changes, complete)["count"]
    head = ", ".join(f"{count} {action}" for action, count in counts.items() if count) or (
        "nothing would change" if complete else "unknown"
    )
    lines = [f"PLAN: {head}"]
    width = max((len(change.host) for change in changes), default=0)
    for action in ACTIONS:
        for change in changes:
            if change.action == action:
                where = f"{change.role}: " if change.role else ""
                lines.append(f"  {action:<8}  {change.host:<{width}}  {where}{change.task}")
                lines += [f"  {'':<8}  {'':<{width}}  - {detail}" for detail in change.details]
    if not complete:
        lines.append("  The dry run failed, so there may be more.")
    return lines
