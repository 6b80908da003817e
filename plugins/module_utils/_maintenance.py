# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the storage's maintenance: what is wrong with them, what drydock_store is told, and what its answers mean.

It runs on the controller and touches no storage.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Optional

from ansible_collections.drydock.registry.plugins.module_utils._access import (
    EVERYTHING,
    is_true,
    patterns_problems,
    shown_value,
)

VARIABLE = "registry_maintenance_retention"
KEEPS = ("keep_tags", "keep_newest", "keep_pushed_within_days", "keep_pulled_within_days", "keep_used_gib")
COUNTS = {
    "keep_newest": 1,
    "keep_pushed_within_days": 1,
    "keep_pulled_within_days": 1,
    "keep_used_gib": 1,
    "untagged_after_days": 0,
}
ORDERS = ("pushed", "semver", "date")
KNOWN = ("repositories", "tags", *KEEPS, "order", "untagged_after_days")
ALL_TAGS = "*"
_TAG_PATTERN = re.compile(r"[A-Za-z0-9_.*?-]{1,128}")
_WILDCARD = re.compile(r"[*?]")
_HOUR, _DAY = 3600, 86400

# The program, which lies beside the role and not among the plugins: hosts run it by themselves.
PROGRAM = Path(__file__).resolve().parents[2] / "roles/registry_maintenance/files/drydock_store"

Rule = Mapping[str, Any]


# ---- rules ---------------------------------------------------------------------------------------------------------


def retention_problems(rules: object) -> list[str]:
    """Say what is wrong with the rules, one sentence each; rules that contradict each other only where each is fine alone."""
    if isinstance(rules, (str, Mapping)) or not isinstance(rules, Sequence):
        return [f"{VARIABLE} is not a list: write each rule as an entry that begins with `- repositories:`."]
    problems = [problem for number, rule in enumerate(rules, 1) for problem in _rule_problems(rule, f"Rule {number}")]
    return problems or _contradictions(rules)


def _rule_problems(rule: object, label: str) -> list[str]:
    label = f"{label} of {VARIABLE}"
    if not isinstance(rule, Mapping):
        return [f"{label} is not a dictionary: write `repositories:` and what to keep of them."]
    problems = [_unknown(label, str(key)) for key in rule if key not in KNOWN]
    if "repositories" not in rule:
        problems.append(
            f"{label} has no `repositories`: write the patterns that it is for, such as [team-a/*], or ['**']."
        )
    else:
        remedy = "name at least one, or '**' for all of them"
        problems += patterns_problems(rule["repositories"], f"The list `repositories` of {_lower(label)}", remedy)
    for key in ("tags", "keep_tags"):
        problems += _tag_problems(label, key, rule.get(key))
    for key, least in COUNTS.items():
        if rule.get(key) is not None and not _is_count(rule[key], least):
            problems.append(f"{label} has `{key}: {shown_value(rule[key])}`: write a whole number from {least} on.")
    if rule.get("order") is not None and rule["order"] not in ORDERS:
        problems.append(
            f"{label} has `order: {shown_value(rule['order'])}`: write {', '.join(ORDERS[:-1])} or {ORDERS[-1]}."
        )
    return problems or _senseless(label, rule)


def _senseless(label: str, rule: Rule) -> list[str]:
    """Say where each key is fine and the rule as a whole means nothing."""
    problems = []
    if not any(rule.get(key) for key in KEEPS) and rule.get("untagged_after_days") is None:
        problems.append(
            f"{label} keeps nothing: add {', '.join(KEEPS[:-1])} or {KEEPS[-1]} (or untagged_after_days, which is about images "
            "without a tag alone), or leave the rule out."
        )
    if rule.get("order") not in (None, "pushed") and not rule.get("keep_newest"):
        problems.append(
            f"{label} has `order: {rule['order']}`, but no `keep_newest` that it would be for: add it, or leave `order` out."
        )
    tags = [str(tag) for tag in rule.get("tags") or [ALL_TAGS]]
    return problems + [
        f"{label} keeps the tag '{kept}', which its `tags` ({', '.join(tags)}) leave out: add it there, or leave it out."
        for kept in map(str, rule.get("keep_tags") or [])
        if not _WILDCARD.search(kept) and not any(fnmatchcase(kept, tag) for tag in tags)
    ]


def _unknown(label: str, key: str) -> str:
    return f"{label} has the key '{key}', which is none: use {', '.join(KNOWN[:-1])} and {KNOWN[-1]}."


def _tag_problems(label: str, key: str, patterns: object) -> list[str]:
    if patterns is None:
        return []
    if isinstance(patterns, (str, Mapping)) or not isinstance(patterns, Sequence):
        return [f"{label} has a `{key}` that is not a list: write [{shown_value(patterns)}]."]
    if key == "tags" and not patterns:
        return [f"{label} has an empty list `tags`: name at least one pattern, or leave `tags` out for all of them."]
    return [
        f"{label} has the pattern {shown_value(pattern)} in `{key}`: write letters, digits, '.', '_' and '-', in quotes, "
        "with '*' for any characters and '?' for one; it is no regular expression."
        for pattern in patterns
        if not isinstance(pattern, str) or not _TAG_PATTERN.fullmatch(pattern)
    ]


def _contradictions(rules: Sequence[Rule]) -> list[str]:
    """Say which rules nothing ever reaches, as the first that fits decides, and which say twice when untagged images go."""
    problems = []
    for number, rule in enumerate(rules, 1):
        for earlier, other in enumerate(rules[: number - 1], 1):
            if not _cover(other["repositories"], rule["repositories"], _covers_repository):
                continue
            label = f"Rule {number} of {VARIABLE}"
            reaches_tags = not _cover(other.get("tags") or [ALL_TAGS], rule.get("tags") or [ALL_TAGS], _covers_tag)
            decides_tags = any(rule.get(key) for key in KEEPS)
            if decides_tags and not reaches_tags:
                problems.append(
                    f"{label} is never asked: rule {earlier} is for the same repositories and tags and comes first; put the "
                    "narrower rule first, or make one of the two."
                )
                break
            if rule.get("untagged_after_days") is not None:
                problems.append(
                    f"{label} has `untagged_after_days`, which is never asked: rule {earlier}, the first one for these repositories, "
                    "decides when images without a tag go; write it there."
                )
                break
    return problems


def _cover(general: Iterable[object], specific: Iterable[object], covers: Any) -> bool:
    """Tell whether each specific pattern is covered by one of the general ones."""
    return all(any(covers(str(one), str(other)) for one in general) for other in specific)


def _covers_repository(general: str, specific: str) -> bool:
    """Tell whether a pattern matches all that another one does, by names that stand for what its wildcards match."""
    names = {specific.replace(EVERYTHING, parts).replace("*", "0x0") for parts in ("0x0", "0x0/0y0")}
    return all(_matches(general.split("/"), name.split("/")) for name in names)


def _matches(pattern: Sequence[str], name: Sequence[str]) -> bool:
    """Compare parts of a pattern with those of a name."""
    if not pattern or not name:
        return not pattern and not name
    if pattern[0] == EVERYTHING:
        return any(_matches(pattern[1:], name[taken:]) for taken in range(1, len(name) + 1))
    return fnmatchcase(name[0], pattern[0]) and _matches(pattern[1:], name[1:])


def _covers_tag(general: str, specific: str) -> bool:
    return all(fnmatchcase(specific.replace("*", sample).replace("?", "0"), general) for sample in ("", "0x0"))


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


# ---- what drydock_store is told ------------------------------------------------------------------------------------


def setting_problems(settings: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the settings beside the rules, one sentence each."""
    provider, s3 = str(settings["provider"]), settings["s3"] or {}
    bucket, unversioned = str(s3.get("bucket") or ""), str(settings["unversioned_bucket"] or "")
    daily, sharers = list(settings["daily"] or []), list(settings["sharers"] or [])
    problems = []
    if provider == "s3" and not bucket:
        problems.append("registry_maintenance_s3 has no bucket, although the images are in one: write its name there.")
    if unversioned and unversioned != (bucket if provider == "s3" else ""):
        where = f"the bucket is {bucket}" if provider == "s3" and bucket else "the images are in no bucket"
        problems.append(
            f"registry_maintenance_unversioned_bucket is {unversioned}, but {where}: write the name of the bucket whose objects may be "
            "collected although it keeps no versions, or nothing."
        )
    if daily and provider == "s3" and sharers:
        problems.append(
            f"registry_maintenance_daily is set for {settings['host']} and for {', '.join(sharers)}, whose images are in the same bucket: "
            "set it for one of them, and write [] for the others."
        )
    if _asks_for_pulls(settings["retention"]) and (provider == "s3" or not settings["log_directory"]):
        because = "the images are in a bucket" if provider == "s3" else "registry_maintenance_log_directory is empty"
        problems.append(
            f"{VARIABLE} has keep_pulled_within_days, but {because}, so nobody knows what was pulled: use keep_pushed_within_days; "
            "pulls are noted by the nginx of a host that keeps its images in a folder."
        )
    if "retention" in daily and not settings["retention"]:
        problems.append(
            f"registry_maintenance_daily has `retention`, but {VARIABLE} has no rule that it could apply: write one, or leave it out."
        )
    # What is no number at all, the argument specification says.
    problems += [
        f"registry_maintenance_{name} is {settings[name]}: write a whole number from {least} on."
        for name, least in (("wait_hours", 0), ("second_look_seconds", 0), ("trash_days", 1))
        if re.fullmatch(r"-?[0-9]+", str(settings[name])) and int(settings[name]) < least
    ]
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", str(settings["time"])):
        problems.append(
            f"registry_maintenance_time is {shown_value(settings['time'])}: write hour and minute in quotes, such as '03:17'."
        )
    problems += [
        f"registry_maintenance_{name} is {shown_value(settings[name])}: write an absolute path."
        for name in ("directory", "state_directory", "log_directory")
        if not str(settings[name] or ("/" if name == "log_directory" else "")).startswith("/")
    ]
    return problems


def _asks_for_pulls(rules: object) -> bool:
    return isinstance(rules, Sequence) and any(
        isinstance(rule, Mapping) and rule.get("keep_pulled_within_days") is not None for rule in rules
    )


def configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the program reads, from settings in which nothing is wrong."""
    redis = settings["redis"] or {}
    wait = int(settings["wait_hours"]) * _HOUR
    return {
        "storage": _s3(settings) if settings["provider"] == "s3" else {"folder": str(settings["folder"])},
        "state_directory": str(settings["state_directory"]),
        "log_directory": str(settings["log_directory"] or ""),
        "mirrors": [str(name) for name in settings["mirrors"]],
        "registry": settings["registry"] or None,
        "redis": {
            "address": str(redis["address"]),
            "password_file": str(settings["redis_password_file"]) if redis.get("password") else "",
            "database": int(redis.get("database") or 0),
        }
        if redis
        else None,
        "retention": [
            {key: value for key, value in rule.items() if value is not None} for rule in settings["retention"]
        ],
        "link_age_seconds": wait,
        "blob_wait_seconds": wait,
        "second_look_seconds": int(settings["second_look_seconds"]),
        "trash_seconds": int(settings["trash_days"]) * _DAY,
    }


def _s3(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where the bucket is, in the program's words for what the registries' settings say."""
    s3 = settings["s3"]
    endpoint = str(s3.get("endpoint") or "")
    return {
        "s3": {
            "bucket": str(s3["bucket"]),
            "prefix": str(s3.get("root_directory") or "").strip("/"),
            "region": str(s3.get("region") or ""),
            "endpoint": endpoint,
            # As the registries have it.
            "path_style_enabled": is_true(s3.get("path_style_enabled", bool(endpoint))),
            "unversioned_enabled": str(settings["unversioned_bucket"] or "") == str(s3["bucket"]),
        }
    }


# ---- the program on the host ---------------------------------------------------------------------------------------


def files(own: Iterable[Mapping[str, Any]], directory: str, *, wanted: bool = True) -> list[dict[str, Any]]:
    """List the program's files, and those beside it, as file_set writes them. Those without content are not to be there."""
    program = [
        {
            "path": f"{directory}/{path.name}",
            "content": path.read_text(encoding="utf-8"),
            "owner": "root",
            "group": "root",
            "mode": "0644",
        }
        for path in sorted(PROGRAM.glob("*.py"))
    ]
    return [
        {**one, "state": "present" if wanted and one["content"] else "absent"} for one in itertools.chain(program, own)
    ]


def outdated(
    files: Sequence[Mapping[str, Any]],
    seen: Mapping[str, Mapping[str, Any]],
    directories: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """List what file_set would make, remove or repair, from what host_look has seen. A folder that may go is no reason by itself."""
    wanted = [("file", one) for one in files]
    wanted += [("directory", one) for one in directories if one.get("state", "present") == "present"]
    return [str(one["path"]) for kind, one in wanted if not _is_current(kind, one, seen[one["path"]])]


def _is_current(kind: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    if wanted.get("state", "present") == "absent":
        return not found["exists"]
    return (
        found["kind"] == kind
        and found["mode"] == wanted["mode"]
        and str(wanted["owner"]) in {str(found["user"]), str(found["uid"])}
        and str(wanted["group"]) in {str(found["group"]), str(found["gid"])}
        and (kind == "directory" or found["content"] == wanted["content"])
    )


# ---- answers -------------------------------------------------------------------------------------------------------


def outcome(done: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a run of the program with --json has done, from its exit status and its output."""
    answer = _answer(str(done.get("stdout") or ""))
    status = int(done.get("rc", -1))
    said = [str(problem) for problem in (answer or {}).get("problems") or []]
    said += [str(defect["sentence"]) for defect in (answer or {}).get("defects") or []]
    if answer and answer.get("error"):
        said.insert(0, str(answer["error"]))
    if answer is None:
        last = (str(done.get("stderr") or "").strip() or "it said nothing").splitlines()[-1]
        said = [f"drydock_store ended with {status} and gave no answer: {last}"]
    elif status != 0 and not said:
        said = [f"drydock_store ended with {status}."]
    return {
        "answer": answer or {},
        "status": status,
        "failed": status != 0 or answer is None,
        "changed": bool(answer and answer.get("applied") and _moved(answer)),
        "problems": said,
    }


def _answer(text: str) -> Optional[dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _moved(answer: Mapping[str, Any]) -> bool:
    """Tell whether an applied run has changed the storage."""
    emptied = answer.get("emptied") or {}
    return any(answer.get(key) for key in ("run", "tags", "images", "links", "blobs", "files")) or bool(
        emptied.get("files")
    )
