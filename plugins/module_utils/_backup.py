# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the settings of the backup."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

KEEPS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_KINDS = ("azure", "b2", "gs", "local", "rclone", "rest", "s3", "sftp", "swift")


def backup_problems(settings: Mapping[str, Any]) -> list[str]:
    """Say what is wrong, one sentence each. None quotes a password, also not one in the repository's address."""
    problems = [
        *_restore_problems(settings["host"], settings["report_path"], str(settings["report"])),
        *_repository_problems(str(settings["repository"] or "")),
    ]
    if not settings["systemd"]:
        problems.append(
            f"registry_backup_repository is set, and {settings['host']} has no systemd, whose timers back it up: leave it out there."
        )
    password = settings["password"]
    if not password:
        problems.append(
            "registry_backup_password is empty: generate one, such as by `openssl rand -base64 32`, and keep it in a vault and elsewhere; "
            "without it no backup can be read."
        )
    elif "\n" in str(password):
        problems.append("registry_backup_password has several lines: write one.")
    problems += [
        f"registry_backup_environment has {name!r}: write the name of a variable, such as AWS_ACCESS_KEY_ID, and its value."
        for name, value in (settings["environment"] or {}).items()
        if value is None or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name))
    ]
    keep = settings["keep"] or {}
    problems += [
        f"registry_backup_keep has {name}: {count}: write a number from 1 on, or leave it out."
        for name, count in keep.items()
        if name in KEEPS and count is not None and re.fullmatch(r"-?[0-9]+", str(count)) and int(count) < 1
    ]
    if re.fullmatch(r"-[0-9]+", str(settings["limit_mib"])):
        problems.append(
            f"registry_backup_limit_mib is {settings['limit_mib']}: write a number of MiB, or 0 for no limit."
        )
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", str(settings["time"])):
        problems.append(
            f"registry_backup_time is {settings['time']}: write hour and minute in quotes, such as '01:47'."
        )
    problems += [
        f"registry_backup_paths has {path}: write an absolute path."
        for path in settings["paths"]
        if not str(path).startswith("/")
    ]
    if settings["provider"] == "filesystem":
        problems += [
            f"registry_backup_paths has {path}, and the images are in {settings['folder']}: leave out what holds or is a part of them, as "
            "they are saved apart, each whole."
            for path in settings["paths"]
            if _overlap(str(path), str(settings["folder"])) or _overlap(str(path), str(settings["frozen"]))
        ]
        problems += _frozen_problems(str(settings["folder"]), str(settings["frozen"]))
    return problems


def _restore_problems(host: str, path: str, report: str) -> list[str]:
    """Say that a restore was not finished, which must neither be served nor backed up."""
    try:
        found = json.loads(report or "{}")
    except ValueError:
        return []
    if not isinstance(found, dict) or not found.get("restoring"):
        return []
    sentence = f"{host} has a part of backup {found['restoring']}, whose restore was not finished: run restore.yml again, so that no "
    return [
        f"{sentence}half of it is served. If what is there is to be served all the same, remove {path} on the host first."
    ]


def _repository_problems(repository: str) -> list[str]:
    if not repository:
        return [
            "registry_backup_repository is empty: write where backups go, such as /mnt/backup, sftp:USER@HOST:/FOLDER or rest:https://HOST/."
        ]
    kind, colon, _rest = repository.partition(":")
    if repository.startswith("/") or (colon and kind in _KINDS):
        return []
    return [
        f"registry_backup_repository begins with neither / nor one of {', '.join(f'{one}:' for one in _KINDS)}: write it as restic does."
    ]


def _overlap(one: str, other: str) -> bool:
    """Tell whether one of two folders is in the other."""
    first, second = (f"{path.rstrip('/')}/" for path in (one, other))
    return first.startswith(second) or second.startswith(first)


def _frozen_problems(folder: str, frozen: str) -> list[str]:
    if not frozen.startswith("/"):
        return [f"registry_backup_frozen_directory is {frozen}: write an absolute path."]
    if f"{frozen}/".startswith(f"{folder}/docker/") or frozen.rstrip("/") == folder.rstrip("/"):
        return [
            f"registry_backup_frozen_directory is {frozen}, where registries keep their images: write another folder on that file system."
        ]
    return []
