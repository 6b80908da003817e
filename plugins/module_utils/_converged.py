# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a role has anything to do: what its inputs were when it last ran, against what they are.

A role's key stands for all that decides what it does and is not on the host: its variables, files on the controller, and the
collection itself. Variables may hold passwords, so the key is a slow and salted hash, like that of a password.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

# 16 MiB and about 50 ms.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024, "dklen": 32}
_CODE = ("playbooks", "plugins", "roles")
_LARGE_FILE_BYTES = 1024 * 1024
_DAY_SECONDS = 86400


def plain(value: object) -> Any:
    """Copy a value out of the containers in which Ansible hands it over, which render on access."""
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    return str(value)


@cache
def code_digest(root: Path) -> str:
    """Name the version of the collection by the content of what it runs."""
    total = hashlib.sha256()
    for path in code_files(root):
        content = path.read_bytes()
        total.update(f"{path.relative_to(root)} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def code_files(root: Path) -> Iterator[Path]:
    """Yield the files that decide what a run does."""
    for name in _CODE:
        for folder, folders, files in os.walk(root / name):
            folders[:] = sorted(set(folders) - {"__pycache__"})
            # An editor may leave links that lead nowhere.
            yield from (path for path in (Path(folder, file) for file in sorted(files)) if path.is_file())


def controller_file(path: str) -> str:
    """Say what a file on the controller holds; of a large one, when it was written is enough."""
    path = os.path.expanduser(path)
    try:
        status = os.stat(path)
        if status.st_size > _LARGE_FILE_BYTES:
            return f"{status.st_size} {status.st_mtime_ns}"
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def role_key(inputs: Mapping[str, Any], salt: str, code: str) -> str:
    """Return the key of a role's `variables` and `files`."""
    content = {
        "code": code,
        "variables": plain(inputs.get("variables") or {}),
        "files": {str(path): controller_file(str(path)) for path in inputs.get("files") or []},
    }
    text = json.dumps(content, sort_keys=True).encode()
    return hashlib.scrypt(text, salt=salt.encode(), **_SCRYPT).hex()


def converged(look: Mapping[str, Any], inputs: Mapping[str, Any], roles: Sequence[str], root: Path) -> list[str]:
    """Return those of the roles that have nothing to do: neither their inputs nor their things on the host differ."""
    found = []
    for role in roles:
        known = (look.get("keys") or {}).get(role)
        differences = (look.get("differences") or {}).get(role, ["not looked at"])
        # The hash is slow, so it comes last.
        if known and not differences and role_key(inputs[role], look["salt"], code_digest(root)) == known:
            found.append(str(role))
    return found


def to_keep(
    look: Mapping[str, Any], inputs: Mapping[str, Any], roles: Sequence[str], root: Path
) -> dict[str, dict[str, Any]]:
    """Return what the host shall keep of some roles: their keys, and until when they count."""
    return {
        str(role): {"key": role_key(inputs[role], look["salt"], code_digest(root)), "until": until(inputs[role])}
        for role in roles
    }


def until(inputs: Mapping[str, Any]) -> float:
    """Return when a role has to run anyway, in seconds since 1970: some days before something ends; 0 for never."""
    ends = str(inputs.get("ends") or "")
    if not ends:
        return 0
    end = datetime.datetime.fromisoformat(ends.replace("Z", "+00:00"))
    return max(1.0, end.timestamp() - float(inputs.get("days_before") or 0) * _DAY_SECONDS)


def to_write(files: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave the files whose content or mode on this machine is another one."""
    return [file for file in files if not is_as(str(file["path"]), str(file["content"]), str(file["mode"]))]


def is_as(path: str, content: str, mode: str) -> bool:
    """Tell whether a file holds a text and has a mode."""
    try:
        with open(os.path.expanduser(path), "rb") as stream:
            return stream.read() == content.encode() and os.fstat(stream.fileno()).st_mode & 0o7777 == int(mode, 8)
    except OSError:
        return False
