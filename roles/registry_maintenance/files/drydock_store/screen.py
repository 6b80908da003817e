# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command has found, for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_LINES = 50


def shown(result: dict[str, Any]) -> str:
    """Return the screen of a command."""
    lines = {
        "validate": _validate,
        "report": _report,
        "check": _check,
        "retention": _removal,
        "delete": _removal,
        "collect": _collect,
        "undo": _undo,
        "copy": _copy,
    }[result["command"]](result)
    return "\n".join(lines)


def size(count: int) -> str:
    """Write a size as people read it."""
    number = float(abs(count))
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{'-' if count < 0 else ''}{number:.{0 if unit == 'B' else 1}f} {unit}"


def _validate(_result: dict[str, Any]) -> list[str]:
    return ["The configuration is valid."]


def _report(result: dict[str, Any]) -> list[str]:
    totals = result["totals"]
    trash = "versions of the bucket, which are not counted" if totals["trash"] is None else size(totals["trash"])
    growth = f", {size(totals['growth'])} more than {result['since']}" if totals["growth"] is not None else ""
    lines = [
        (
            f"{totals['repositories']} repositories, {totals['tags']} tags, {totals['images']} images, {totals['blobs']} blobs: "
            f"{size(totals['size'])}{growth}."
        ),
        (
            f"No image refers to {size(totals['garbage'])}; `collect` would free {size(totals['collectable'])} now. "
            f"In the trash: {trash}. {totals['uploads']} uploads: {size(totals['uploads_size'])}."
        ),
    ]
    rows = sorted(result["repositories"].items(), key=lambda row: -row[1]["size"])
    pulls = result.get("pulls") or {"since": None, "repositories": {}}
    if pulls["since"]:
        never = totals["tags"] - sum(len(one["tags"]) for one in pulls["repositories"].values())
        lines.append(f"{never} of the tags were not pulled since {pulls['since'][:10]}, when that was first noted.")
    if rows:
        width = max(len(name) for name, *_rest in rows[:_LINES])
        lines += [
            "",
            (
                f"{'repository':{width}}  {'tags':>6} {'images':>6} {'size':>11} {'alone':>11} {'growth':>11}  "
                f"{'newest':10}  {'pulled':10}  this month"
            ),
        ]
        lines += [
            f"{name:{width}}  {row['tags']:>6} {row['images']:>6} {size(row['size']):>11} {size(row['alone']):>11} "
            f"{'' if row['growth'] is None else size(row['growth']):>11}  {(row['newest'] or '')[:10]:10}  "
            f"{_pulled(pulls, name)}"
            for name, row in rows[:_LINES]
        ]
        lines += _more(len(rows))
    if result["largest"]:
        lines += ["", "Largest images:"]
        lines += [f"  {one['repository']}:{one['tag']}  {size(one['size'])}" for one in result["largest"]]
    return lines


def _pulled(pulls: dict[str, Any], name: str) -> str:
    of = pulls["repositories"].get(name)
    return f"{of['last'][:10]}  {of['this_month']:>10}" if of else f"{'never' if pulls['since'] else '':10}  {'':>10}"


def _check(result: dict[str, Any]) -> list[str]:
    checked = result["checked"]
    read = f", {size(checked['bytes'])} read" if checked["bytes"] else ""
    lines = [defect["sentence"] for defect in result["defects"]]
    found = f"{len(lines)} defects" if lines else "No defects"
    pulled = result.get("pulled")
    if pulled:
        lines.append(f"{pulled['images']} tags were pulled from the registry, in {pulled['parts']} parts.")
    return [
        *lines,
        f"{found}. Checked: {checked['blobs']} blobs, {checked['links']} links, {checked['manifests']} manifests{read}.",
    ]


def _removal(result: dict[str, Any]) -> list[str]:
    would = "went" if result["applied"] else "would go"
    lines = [f"tag {one['repository']}:{one['tag']} {would}: {one['reason']}" for one in result["tags"][:_LINES]]
    lines += _more(len(result["tags"]))
    lines += [
        f"image {one['repository']}@{one['digest']} {would}: {one['reason']}" for one in result["images"][:_LINES]
    ]
    lines += _more(len(result["images"]))
    lines += [f"{pattern} matches nothing." for pattern in result["unmatched"]]
    lines.append(
        f"{len(result['tags'])} tags and {len(result['images'])} images {would}; {result['kept']['tags']} tags and "
        f"{result['kept']['images']} images stay. `collect` frees {size(result['frees'])} of it later."
    )
    return [*lines, *_ending(result)]


def _collect(result: dict[str, Any]) -> list[str]:
    would = "went into the trash" if result["applied"] else "would go"
    waiting = result["waiting"]
    lines = [f"link {one['repository']} {one['digest']} {would}: {one['reason']}" for one in result["links"][:_LINES]]
    lines += _more(len(result["links"]))
    lines += [
        f"blob {one['digest']} ({size(one['size'])}) {would}: {one['reason']}" for one in result["blobs"][:_LINES]
    ]
    lines += _more(len(result["blobs"]))
    lines.append(
        f"{len(result['links'])} links and {len(result['blobs'])} blobs ({size(result['size'])}) {would}; "
        f"{waiting['links']} links and {waiting['blobs']} blobs ({size(waiting['size'])}) wait."
    )
    if result["emptied"]["runs"]:
        lines.append(
            f"The trash of {result['emptied']['runs']} earlier runs was emptied: {size(result['emptied']['size'])}."
        )
    if result["last_check"]["asked"]:
        lines.append(
            f"The registry was asked for {result['last_check']['asked']} tags: {len(result['last_check']['missed'])} missing."
        )
    return [*lines, *_ending(result)]


def _ending(result: dict[str, Any]) -> list[str]:
    lines = []
    if result["brought_back"]:
        lines.append(f"{len(result['brought_back'])} files were needed after all, and have come back.")
    if not result["applied"]:
        lines.append("Nothing was changed: add --apply to do it.")
    elif result["run"] and not result.get("undone"):
        lines.append(f"`undo --apply {result['run']}` brings it back.")
    return lines


def _undo(result: dict[str, Any]) -> list[str]:
    lines: Iterable[str] = (f"{one['path']} stays away: {one['reason']}." for one in result["skipped"])
    came = "came back" if result["applied"] else "would come back: add --apply to do it"
    return [*lines, f"{result['files']} files ({size(result['size'])}) of {len(result['runs'])} runs {came}."]


def _copy(result: dict[str, Any]) -> list[str]:
    applied, removed = result["applied"], result["removed"]
    went = "went into its trash" if applied else "would go from it"
    lines = [f"tag {one}" for one in result["tags"][:_LINES]]
    lines += _more(len(result["tags"]))
    lines += [f"tag {one} {went}" for one in removed["tags"][:_LINES]]
    lines += _more(len(removed["tags"]))
    copied = result["copied"]
    unread = f", {copied['unread']} of them without reading them" if copied["unread"] else ""
    lines.append(
        f"{result['source']} to {result['target']}: {copied['blobs']} blobs ({size(result['size'])}{unread}), {copied['links']} links and "
        f"{len(result['tags'])} tags {'were' if applied else 'would be'} written."
    )
    if removed["tags"] or removed["images"] or removed["blobs"]:
        lines.append(
            f"{len(removed['tags'])} tags, {removed['images']} images and {removed['blobs']} blobs ({size(removed['size'])}) that the "
            f"source does not have {went}."
        )
    if not applied:
        lines.append("Nothing was changed: add --apply to do it.")
    return lines


def _more(count: int) -> list[str]:
    return [f"... and {count - _LINES} more; --json lists all."] if count > _LINES else []
