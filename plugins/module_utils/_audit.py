# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit log on a host, which nginx writes: read for a question, or added to by a run."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

# The folder is nginx's, and who writes may be root: never through a link, nor for good into a pipe that nobody reads.
_ADD = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE = re.compile(r"audit-(\d{4}-\d\d-\d\d)\.log")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?Z?)?")
# What a screen shows of a line beside time, event and user, in this order.
_SHOWN = ("method", "repository", "path", "reference", "digest", "from", "status", "address")
_HIDDEN = ("time", "event", "user", "agent", "request_id")


# ---- reading -------------------------------------------------------------------------------------------------------


def since_problem(since: str) -> str:
    """Say what is wrong with a time; empty where it is one."""
    if not since or _TIME.fullmatch(since):
        return ""
    return f"{since} is no time: write a day such as 2026-11-30, or a time in UTC such as 2026-11-30T17:00."


def wanted(line: Mapping[str, Any], *, user: str, repository: str, event: str, since: str) -> bool:
    """Tell whether a line is asked for. Texts of a length compare as times do."""
    time = str(line.get("time", ""))[:19]
    return (
        (not user or line.get("user") == user)
        and (not repository or fnmatchcase(str(line.get("repository", "")), repository))
        and (not event or line.get("event") == event)
        and time >= since.rstrip("Z")
    )


def parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Read lines. A disk that was full may have left half of one."""
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _open(path: str, flags: int) -> int:
    """Open a file of the folder, which belongs to nginx: root neither reads where a link leads nor waits for a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def last_lines(
    directory: Path, count: int, *, user: str, repository: str, event: str, since: str
) -> list[dict[str, Any]]:
    """Return the last lines that are asked for, the newest last. Files that are too old are not opened."""
    found: list[dict[str, Any]] = []
    days = sorted((name[1], path) for path in directory.iterdir() if (name := _FILE.fullmatch(path.name)))
    for day, path in reversed(days):
        if day < since[:10] or len(found) >= count:
            break
        with open(path, encoding="utf-8", errors="replace", opener=_open) as file:
            asked_for = (
                line
                for line in parsed(file)
                if wanted(line, user=user, repository=repository, event=event, since=since)
            )
            found = [*deque(asked_for, count - len(found)), *found]
    return found


def shown(line: Mapping[str, Any]) -> str:
    """Return a line as people read it. What a client has made up shows as JSON does: in one line, without control characters."""
    rest = [key for key in line if key not in (*_SHOWN, *_HIDDEN)]
    told = [f"{key}={_text(line[key])}" for key in (*_SHOWN, *sorted(rest)) if key in line]
    time = str(line.get("time", ""))[:19]
    return f"{_text(time):19}  {_text(line.get('event', '')):13}  {_text(line.get('user') or '-'):15}  {' '.join(told)}".rstrip()


def _text(value: Any) -> str:
    written = value if isinstance(value, str) else json.dumps(value)
    return written if written.isprintable() else json.dumps(written)


# ---- writing -------------------------------------------------------------------------------------------------------


def who(environment: Mapping[str, str]) -> str:
    """Say which account a run came by: the one that became root, or root."""
    return environment.get("SUDO_USER") or environment.get("USER") or ""


def record(directory: Path, event: str, user: str, at: float, **told: Sequence[str]) -> str:
    """Add a line to the log, where there is one; says what is wrong where that cannot be done."""
    moment = datetime.fromtimestamp(at, timezone.utc)
    about = {"time": f"{moment:%Y-%m-%dT%H:%M:%S+00:00}", "event": event, "user": user}
    text = json.dumps({**about, **{key: value for key, value in told.items() if value}}) + "\n"
    try:
        owner = directory.stat()
        file = os.open(directory / f"audit-{moment:%Y-%m-%d}.log", _ADD, 0o640)
        try:
            # nginx, whose folder it is, goes on writing.
            os.fchown(file, owner.st_uid, owner.st_gid)
            # By one call: nginx writes here as well.
            os.write(file, text.encode())
        finally:
            os.close(file)
    except FileNotFoundError:
        # Before the first run has made nginx.
        return ""
    except OSError as error:
        return f"The audit log in {directory} has no line of this change ({error.strerror})."
    return ""
