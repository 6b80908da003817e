# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lays a report of _registry_status out for a terminal: one screen, problems first."""

from __future__ import annotations

import datetime
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._registry_status import (
    CRITICAL,
    WARNING,
    parsed,
    readable,
    size,
    span,
)

# With what Ansible puts before a line it stays below 100.
WIDTH = 94
_NARROWEST = 12


def _when(text: object) -> str:
    return readable(parsed(text)) or "-"


def _left(until: object, now: datetime.datetime) -> str:
    end = parsed(until)
    if end is None:
        return "-"
    return span(end - now) if end > now else "expired"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 3, 0)] + "..."


def table(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lines with aligned columns; the widest columns give way until a line fits."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    gaps = 2 * (len(widths) - 1)
    while sum(widths) + gaps > width and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return ["  ".join(_short(cell, size).ljust(size) for cell, size in zip(row, widths)).rstrip() for row in rows]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _head(report: Mapping[str, Any], width: int) -> list[str]:
    levels = [problem["level"] for problem in report["problems"]]
    counts = [
        _counted(levels.count(level), name)
        for level, name in ((CRITICAL, "critical problem"), (WARNING, "warning"))
        if level in levels
    ]
    title = f"{report['address']} on {report['host']}: {', '.join(counts) or 'all is well'}"
    lines = textwrap.wrap(f"{title} ({_when(report['checked'])})", width)
    for problem in report["problems"]:
        label = f"{problem['level'].upper():<10}"
        lines += textwrap.wrap(
            problem["message"],
            width,
            initial_indent=label,
            subsequent_indent=" " * len(label),
            # A path or an address is copied from the screen, so it stays whole.
            break_on_hyphens=False,
            break_long_words=False,
        )
    return lines


def _certificates(report: Mapping[str, Any], now: datetime.datetime) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for one in report["certificates"]:
        loaded = {True: "loaded", False: "NOT LOADED"}.get(one["loaded"], "")
        names = ", ".join(one["names"]) or one["subject"]
        note = "; ".join(part for part in (loaded, names) if part)
        rows.append((one["what"], _left(one["not_after"], now), _when(one["not_after"]), note))
    for one in report["crls"]:
        note = f"{one['revoked']} revoked"
        rows.append((f"{one['what']} revocations", _left(one["next_update"], now), _when(one["next_update"]), note))
    return [("CERTIFICATES", "LEFT", "UNTIL", ""), *rows] if rows else []


def _renewal(report: Mapping[str, Any], width: int) -> list[str]:
    renewal = report["renewal"]
    if not renewal:
        return []
    text = f"Last renewed {_when(renewal['issued'])}, installed {_when(renewal['installed'])}, by {renewal['by']}."
    timer = renewal["timer"]
    if timer:
        text += f" {timer['name']} is {timer['state'] or 'unknown'}"
        text += f", next {_when(renewal['next'])}." if renewal["next"] else "."
    elif renewal["next"]:
        text += f" The next is due from {_when(renewal['next'])} on."
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _users(report: Mapping[str, Any], now: datetime.datetime) -> list[Sequence[str]]:
    until = {client["name"]: _left(client["not_after"], now) for client in report["client_certificates"]}
    rows: list[Sequence[str]] = []
    names = {user["name"] for user in report["users"]}
    # A client whose certificate is good and who has no rights.
    others = [
        {"name": name, "access": "", "repositories": [], "password": False, "certificate": True}
        for name in sorted(set(until) - names)
    ]
    for user in [*report["users"], *others]:
        means = ["password"] if user["password"] else []
        if user["certificate"]:
            means.append(f"certificate ({until.get(user['name'], '-')})")
        where = ", ".join(user["repositories"]) or "-"
        rows.append((user["name"], user["access"] or "no rights", where, ", ".join(means) or "-"))
    if report["anonymous"]:
        rows.append(("(everybody)", "pull", ", ".join(report["anonymous"].get("repositories") or []) or "-", "nothing"))
    return [("USERS", "ACCESS", "REPOSITORIES", "LOG IN WITH"), *rows] if rows else []


def _for(container: Mapping[str, Any], now: datetime.datetime) -> str:
    started = parsed(container["started"])
    return span(now - started) if started and container["state"] == "running" else "-"


def _containers(report: Mapping[str, Any], now: datetime.datetime) -> list[Sequence[str]]:
    rows = [
        (
            one["name"],
            one["image"] or "-",
            one["state"] or "unknown",
            one["health"] or ("-" if one["answer"] is None else str(one["answer"] or "no answer")),
            _for(one, now),
        )
        for one in report["containers"]
    ]
    return [("CONTAINERS", "IMAGE", "STATE", "HEALTH", "RUNS FOR"), *rows] if rows else []


def _built(report: Mapping[str, Any], width: int) -> list[str]:
    why = {one["image"]: one["because"] for one in report["containers"] if one["because"]}
    sentences = [f"{image} was built on the host, for {because}." for image, because in why.items()]
    return [line for sentence in sentences for line in textwrap.wrap(sentence, width, break_on_hyphens=False)]


def _storage(report: Mapping[str, Any], width: int) -> list[str]:
    storage = report["storage"]
    if not storage:
        return []
    if storage["provider"] == "s3":
        place = f"the bucket {storage['bucket']}"
        place += f" in {storage['region']}" if storage["region"] else ""
        place += f", below {storage['prefix']}" if storage["prefix"] else ""
        text = f"Storage: {place}; S3 counts what is in it."
    elif storage["used_bytes"] is None:
        text = f"Storage: {storage['directory']}, not measured."
    else:
        used = size(storage["used_bytes"])
        more = "" if storage["used_is_complete"] else "more than "
        whole = " (a disk of its own)" if storage["own_file_system"] else ""
        text = (
            f"Storage: {storage['directory']}{whole} takes {more}{used}; {size(storage['free_bytes'])} of "
            f"{size(storage['total_bytes'])} are free ({storage['free_percent'] or 0} %)."
        )
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _maintenance(report: Mapping[str, Any], width: int) -> list[str]:
    found = report["maintenance"]
    if not found:
        return []
    totals = found["totals"]
    if totals:
        growth = totals["growth"]
        text = (
            f"In it: {_counted(totals['tags'], 'tag')} in {totals['repositories']} repositories, {_counted(totals['images'], 'image')}; "
            f"{size(totals['garbage'])} that no image needs"
        )
        # Old versions of a bucket are not counted.
        if totals["trash"] is not None:
            text += f", {size(totals['trash'])} in the trash"
        if growth is not None:
            text += f"; {size(abs(growth))} {'more' if growth >= 0 else 'less'} than {_when(found['since'])}"
        text += f" (counted {_when(found['time'])})."
    else:
        text = "What is in it was not counted yet: run playbooks/storage_report.yml."
    timer = found["timer"]
    if timer and timer["next"]:
        text += f" {timer['name']} runs next {_when(timer['next'])}."
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _backup(report: Mapping[str, Any], width: int) -> list[str]:
    found = report["backup"]
    if not found or not found["backup"]:
        return []
    last, drill = found["backup"], found["drill"]
    tried = f"last tried {_when(drill['time'])}" if drill else "not tried yet"
    text = f"Backup: {_when(last['time'])}, {size(last['size'])}, of which {size(last['added'])} were new; {tried}."
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _mirrors(report: Mapping[str, Any], width: int) -> list[str]:
    told = [
        one["name"] if one["left"] is None else f"{one['name']} ({one['left']} of {one['limit']} pulls left)"
        for one in report["mirrors"]
    ]
    return textwrap.wrap(f"Mirrors: {', '.join(told)}.", width, break_on_hyphens=False) if told else []


def screen(report: Mapping[str, Any], width: int = WIDTH) -> list[str]:
    """The lines of the screen."""
    now = parsed(report["checked"]) or datetime.datetime.now(datetime.timezone.utc)
    parts = [
        _head(report, width),
        [*table(_certificates(report, now), width), *_renewal(report, width)],
        table(_users(report, now), width),
        [
            *table(_containers(report, now), width),
            *_built(report, width),
            *_storage(report, width),
            *_maintenance(report, width),
            *_backup(report, width),
            *_mirrors(report, width),
        ],
    ]
    lines: list[str] = []
    for part in parts:
        lines += [*([""] if lines and part else []), *part]
    return lines
