# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program that watches registries notices, and what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NOW = 1_900_000_000.0
# Listens, and answers the first so many that ask.
LISTENER = """
import socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen(int(sys.argv[3]))
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    connection, _ = listening.accept()
    connection.recv(100)
    connection.sendall(b"HTTP/1.0 503 busy\\r\\n\\r\\n")
    connection.close()
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def watch(host_program: Callable[[str], Any]) -> Any:
    return host_program("registry_server/files/watch.py")


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    # A path of a unix socket may be 108 characters long at most.
    return str(tmp_path_factory.mktemp("w") / "s")


@pytest.fixture
def listener(path: str, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    answers, backlog = request.param
    command = [sys.executable, "-c", LISTENER, path, str(answers), str(backlog)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize(
    "listener", [(1, 9), (0, 9), (1, 0)], indirect=True, ids=["later", "from the start", "crowded"]
)
def test_a_registry_that_hangs_is_ended_and_no_other(watch: Any, path: str, listener: subprocess.Popen[str]) -> None:
    registry = watch.Registry(path, 0.2)
    asked = [registry.hangs() for _ in range(4)]
    # What answers, if only that it is not well, is left alone; one silence may be the host's.
    assert asked in ([False, False, True, True], [False, True, True, True])
    registry.end()
    assert listener.wait(10) == -signal.SIGKILL
    assert [registry.hangs() for _ in range(3)] == [False] * 3
    registry.end()


def test_a_registry_that_is_not_there_does_not_hang(watch: Any, path: str) -> None:
    registry = watch.Registry(path, 0.2)
    assert not any(registry.hangs() for _ in range(3))


Space = namedtuple("Space", "f_blocks f_bfree f_bavail f_files f_favail f_flag", defaults=[0])


@pytest.mark.parametrize(
    ("space", "room", "room_without_a_reserve"),
    [
        # What root alone may use counts for nothing: 5 of 95.
        (Space(100, 10, 5, 100, 50), True, True),
        (Space(100, 9, 4, 100, 50), False, True),
        (Space(100, 50, 50, 100, 4), False, True),
        (Space(100, 50, 50, 100, 5), True, True),
        # btrfs has no fixed number of files.
        (Space(100, 50, 50, 0, 0), True, True),
        (Space(100, 50, 50, 100, 50, os.ST_RDONLY), False, False),
    ],
)
def test_room(
    watch: Any, monkeypatch: pytest.MonkeyPatch, space: Space, *, room: bool, room_without_a_reserve: bool
) -> None:
    monkeypatch.setattr(watch.os, "statvfs", lambda _folder: space)
    assert watch.has_room("/srv", 5) == room
    assert watch.has_room("/srv", 0) == room_without_a_reserve


def test_the_mark_is_made_and_removed_once(watch: Any, tmp_path: Path) -> None:
    path = tmp_path / "no-room"
    changes = [watch.mark(path, wanted=wanted) for wanted in (False, True, True, False)]
    assert changes == [False, True, False, True]
    assert not path.exists()


def test_a_disk_that_is_away_is_said_once(
    watch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    looks = iter([OSError(5, "I/O error"), OSError(5, "I/O error"), True, OSError(5, "I/O error"), KeyboardInterrupt()])

    def has_room(_folder: str, _percent: float) -> bool:
        found = next(looks)
        if isinstance(found, BaseException):
            raise found
        return True

    monkeypatch.setattr(watch, "has_room", has_room)
    monkeypatch.setattr(watch.time, "sleep", lambda _seconds: None)
    with pytest.raises(KeyboardInterrupt):
        watch.watch_disk(str(tmp_path), 5, tmp_path / "no-room")
    assert capsys.readouterr().out.count("I/O error") == 2


def test_sweep_takes_what_nobody_goes_on_with(watch: Any, tmp_path: Path) -> None:
    repositories = tmp_path / "docker/registry/v2/repositories"
    old, new, writing = (
        repositories / "team/app/_uploads/old",
        repositories / "team/app/_uploads/new",
        repositories / "team/app/deep/_uploads/writing",
    )
    kept = repositories / "team/app/_layers/sha256/_uploads/no-upload"
    for folder, data_written in ((old, NOW - 4000), (new, NOW - 10), (writing, NOW - 10), (kept, NOW - 4000)):
        (folder / "hashstates/sha256").mkdir(parents=True)
        data = folder / "data"
        data.write_bytes(b"x" * 100)
        (folder / "startedat").write_text("once")
        for one in (*folder.rglob("*"), folder):
            os.utime(one, (NOW - 4000, NOW - 4000))
        os.utime(data, (data_written, data_written))
    # One that has begun just now.
    os.utime(new, (NOW, NOW))
    # As a registry does after an upload that failed.
    with (old / "data").open("rb") as held:
        assert watch.sweep(str(tmp_path), NOW - 3600) == 1
        assert os.fstat(held.fileno()).st_size == 0
    assert [folder.exists() for folder in (old, new, writing, kept)] == [False, True, True, True]
    assert watch.sweep(str(tmp_path), NOW - 3600) == 0
    assert watch.sweep(str(tmp_path / "nothing"), NOW) == 0
