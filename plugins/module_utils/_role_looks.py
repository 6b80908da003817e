# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The questions of several roles about a host as one, and of the answers those that each role has asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

# The facts that roles use, by the names of `ansible_facts`.
FACTS = ("architecture", "distribution", "pkg_mgr", "python", "service_mgr")
# By what each answer to such a list is found.
_KEYS: dict[str, Callable[[Any], str]] = {
    "files": str,
    "pairs": lambda pair: pair["certificate"],
    "nearest": str,
    "foreign": lambda one: one["path"],
    "accounts": str,
    "programs": str,
    "units": str,
    "images": lambda image: image["name"],
    "containers": lambda container: container["name"],
}


def together(questions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one set of questions, each of them once."""
    merged: dict[str, Any] = {}
    for asked in questions:
        for name, value in asked.items():
            if isinstance(value, list):
                known = merged.setdefault(name, [])
                known += [one for one in value if one not in known]
            else:
                merged[name] = merged.get(name, False) or value
    return merged


def answers_to(asked: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers that one role would have got had it asked alone."""
    found: dict[str, Any] = {"user": answers["user"]}
    for name, value in asked.items():
        if name in _KEYS:
            keys = map(_KEYS[name], value)
            # Of images and containers some have no answer.
            found[name] = {key: answers[name][key] for key in keys if key in answers[name]}
        elif name == "libraries":
            found[name] = {
                **answers[name],
                "present": [one for one in value if one in answers[name]["present"]],
                "missing": [one for one in value if one in answers[name]["missing"]],
            }
        elif value:
            found[name] = answers[name]
    return found


def missing_facts(facts: Mapping[str, Any]) -> bool:
    """Tell whether somebody has to gather facts."""
    return any(name not in facts for name in FACTS)
