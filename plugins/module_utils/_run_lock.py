# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on a host: who holds the lock, and whether that run is gone.

The lock is a file on the host. The run is a process on the controller, and only the controller can tell whether it still runs.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional, TypedDict

PATH = "/run/drydock-run.lock"
# Of a run on another controller nothing is known but when it began.
FOREIGN_SECONDS = 1800
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
    "path": {"type": "path", "default": PATH},
    "run": {"type": "dict"},
    "gone": {"type": "dict"},
}


class Holder(TypedDict):
    """A run: where and as whom, and since when it holds the lock in seconds since 1970."""

    controller: str
    space: str
    user: str
    process: int
    started: str
    since: float


def parse(text: str) -> Optional[Holder]:
    """Read a lock; what a run that was killed has left half-written is nobody's."""
    try:
        content = json.loads(text)
        return Holder(
            controller=str(content["controller"]),
            space=str(content["space"]),
            user=str(content["user"]),
            process=int(content["process"]),
            started=str(content["started"]),
            since=float(content["since"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def same_run(one: Holder, other: Holder) -> bool:
    """Tell whether both are the same run."""
    return all(one[key] == other[key] for key in ("space", "process", "started"))


def may_take(current: Optional[Holder], mine: Holder, now: float, gone: Optional[Holder] = None) -> bool:
    """Tell whether a run may hold the lock that another holds; `gone` is one of which its controller knows that it has ended."""
    if current is None or same_run(current, mine):
        return True
    if gone is not None and same_run(current, gone):
        return True
    # On the same controller, that one says whether the run is gone.
    return current["space"] != mine["space"] and not 0 <= now - current["since"] < FOREIGN_SECONDS


# ---- on the host ----


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open the file and keep other processes of the host out, until it is closed."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            # Whoever had it before may have removed it.
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read(path: str) -> Optional[Holder]:
    """Say who holds the lock."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return parse(stream.read())
    except FileNotFoundError:
        return None


def hold(path: str, mine: Holder, gone: Optional[Holder] = None, check: bool = False) -> Optional[Holder]:
    """Take the lock; where another run holds it, return that run."""
    now = time.time()
    if check:
        current = read(path)
        return None if may_take(current, mine, now, gone) else current
    with opened(path) as descriptor:
        current = parse(os.pread(descriptor, 65536, 0).decode("utf-8", errors="replace"))
        if not may_take(current, mine, now, gone):
            return current
        since = current["since"] if current is not None and same_run(current, mine) else now
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({**mine, "since": since}).encode(), 0)
    return None


def release(path: str, mine: Holder, check: bool = False) -> bool:
    """Let go of the lock; tell whether this run held it."""
    current = read(path)
    if current is None or not same_run(current, mine):
        return False
    if not check:
        with opened(path) as descriptor:
            # Another run may have taken it over in between.
            current = parse(os.pread(descriptor, 65536, 0).decode("utf-8", errors="replace"))
            if current is None or same_run(current, mine):
                os.unlink(path)
    return True


# ---- on the controller ----


def text_of(path: str) -> str:
    """Read a file of the kernel; nothing where the system has none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def space() -> str:
    """Name what process numbers count in: this start of this machine, and the container where it is one."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{text_of('/proc/sys/kernel/random/boot_id') or socket.gethostname()} {namespace}".strip()


def started(process: int) -> str:
    """Say when a process has started, in the kernel's own count; its number alone may be another's by now."""
    # `PID (NAME) STATE ...`, and a name may have spaces and brackets.
    fields = text_of(f"/proc/{process}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def runs(process: int) -> bool:
    """Tell whether a process runs. One that has ended and waits for its parent does not."""
    stat = text_of(f"/proc/{process}/stat")
    if stat:
        return stat.rpartition(")")[2].split()[0] not in "ZX"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def this_run(process: int) -> Holder:
    """Describe the run that a process is."""
    return Holder(
        controller=socket.gethostname(),
        space=space(),
        user=os.environ.get("SUDO_USER") or getpass.getuser(),
        process=process,
        started=started(process),
        since=0.0,
    )


def is_gone(holder: Holder) -> bool:
    """Tell whether a run of this controller has ended; of others nobody here knows."""
    if holder["space"] != space():
        return False
    return not runs(holder["process"]) or started(holder["process"]) != holder["started"]


def refusal(host: str, path: str, holder: dict[str, Any]) -> str:
    """Say who holds the lock of a host."""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(holder["since"])))
    return (
        f"{host} is being changed by another run since {since}: user {holder['user']} on {holder['controller']}, "
        f"process {holder['process']}. Wait until it has ended; if it is gone, delete {path} on {host}."
    )
