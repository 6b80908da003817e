#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch the registries of a host, and their disk.

    drydock-watch --no-room FILE [--storage FOLDER --reserve PERCENT] SOCKET...

A registry that hangs is ended, and Docker starts it again: one that holds its socket and does not answer its root page, which needs no
storage. However long a request takes, a registry that answers is left alone. nginx then sends the requests that were not answered to
the other one, where that is safe.

While the disk is read-only, or less of it is free than the reserve, FILE exists, and nginx accepts no new uploads. What an upload holds
to which nobody has added for an hour is removed: after a failed one, a registry would keep it for a week, and open for as long as it
runs.

It runs as the account of the registries, with no other rights.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PAUSE_SECONDS = 2.0
ANSWER_SECONDS = 5.0
# A host that stood still for a moment has not answered once.
SILENCES = 2
SWEEP_SECONDS = 3600.0
# nginx gives up a client that sends nothing for a quarter of that.
IDLE_SECONDS = 3600.0
REPOSITORIES = "docker/registry/v2/repositories"
_CREDENTIALS = struct.Struct("3i")


class Registry:
    """A registry, by its socket."""

    def __init__(self, path: str, seconds: float = ANSWER_SECONDS) -> None:
        self.path, self.seconds = path, seconds
        self.silences = 0
        # A number may become another process's; the descriptor is of the one that was last seen to listen.
        self.pid, self.process = 0, -1

    def hangs(self) -> bool:
        """Ask once. Tell whether it is there and has not answered for some time."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self.seconds)
            try:
                connection.connect(self.path)
                self._meet(connection)
                connection.sendall(b"GET / HTTP/1.0\r\nHost: registry\r\n\r\n")
                connection.recv(1)
            # Of the first kind where too many wait for it already. Python 3.9 has another name for the second.
            except (BlockingIOError, socket.timeout):
                self.silences += 1
            except OSError:
                # Nobody listens: Docker, or a run, is about to start it.
                self.silences = 0
            else:
                self.silences = 0
        return self.silences >= SILENCES

    def _meet(self, connection: socket.socket) -> None:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid = int(_CREDENTIALS.unpack(credentials)[0])
        if pid != self.pid:
            if self.process >= 0:
                os.close(self.process)
            self.pid, self.process = 0, -1
            self.process = os.pidfd_open(pid)
            self.pid = pid

    def end(self) -> None:
        """End it. Its container ends with it, for which Docker has the container's restart policy."""
        self.silences = 0
        if self.process >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.process, signal.SIGKILL)


def has_room(folder: str, percent: float) -> bool:
    """Tell whether a file system can be written to and so much of it is free, in bytes and in files, of what others than root may use."""
    space = os.statvfs(folder)
    if space.f_flag & os.ST_RDONLY:
        return False
    blocks = space.f_blocks - space.f_bfree + space.f_bavail
    return all(
        100 * free >= percent * total for free, total in ((space.f_bavail, blocks), (space.f_favail, space.f_files))
    )


def mark(path: Path, *, wanted: bool) -> bool:
    """Have a file there, or not. Tells whether that is new."""
    if wanted == path.exists():
        return False
    if wanted:
        path.touch()
    else:
        path.unlink()
    return True


def uploads(storage: str) -> Iterator[Path]:
    """Yield the folders of all uploads that have begun."""
    for folder, names, _files in os.walk(Path(storage, REPOSITORIES)):
        here = Path(folder)
        if here.name == "_uploads":
            yield from (here / name for name in names)
            names.clear()
        else:
            # The others that begin so are what is in a repository.
            names[:] = [name for name in names if not name.startswith("_") or name == "_uploads"]


def sweep(storage: str, before: float) -> int:
    """Remove the uploads to which nobody has added since then. Returns their number."""
    count = 0
    for folder in uploads(storage):
        # One that ends meanwhile.
        with contextlib.suppress(OSError):
            if all(path.lstat().st_mtime < before for path in (folder, *folder.rglob("*"))):
                # A registry keeps the file of a failed upload open, which would hold its space.
                with contextlib.suppress(FileNotFoundError):
                    os.truncate(folder / "data", 0)
                shutil.rmtree(folder)
                count += 1
    return count


def say(text: str) -> None:
    """Write a line to the journal."""
    print(text, flush=True)


def watch_disk(storage: str, reserve: float, no_room: Path) -> None:
    """See for ever that uploads leave room."""
    swept = -SWEEP_SECONDS
    # A disk that is away is so for long: each problem is said once.
    problem = ""
    while True:
        try:
            room = not storage or has_room(storage, reserve)
            if mark(no_room, wanted=not room):
                say(f"{storage or no_room}: {'there is room' if room else 'full or read-only, no room'} for uploads")
            if storage and time.monotonic() - swept > SWEEP_SECONDS:
                swept = time.monotonic()
                count = sweep(storage, time.time() - IDLE_SECONDS)
                if count:
                    say(f"{storage}: {count} uploads that nobody went on with are removed")
            problem = ""
        except OSError as error:
            if str(error) != problem:
                problem = str(error)
                say(f"{storage or no_room}: {problem}")
        time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Watch for ever."""
    parser = argparse.ArgumentParser(description="Watch the registries of this host, and their disk.")
    parser.add_argument("sockets", nargs="+", metavar="SOCKET")
    parser.add_argument("--no-room", type=Path, required=True)
    parser.add_argument("--storage", default="")
    parser.add_argument("--reserve", type=float, default=0.0)
    arguments = parser.parse_args()
    disk = (arguments.storage, arguments.reserve, arguments.no_room)
    # A disk may be slow, or hang as one on a network does.
    threading.Thread(target=watch_disk, args=disk, daemon=True).start()
    registries = [Registry(path) for path in arguments.sockets]
    while True:
        for registry in registries:
            if registry.hangs():
                say(f"{registry.path}: its registry does not answer; it is ended, and Docker starts it again")
                registry.end()
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
