# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time: who may take the lock of a host, and when a run is gone."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _run_lock as run_lock
from ansible_collections.drydock.registry.plugins.module_utils._run_lock import Holder


def a_run(**changes: Any) -> Holder:
    base = Holder(controller="laptop", space="boot 1", user="alice", process=7, started="70", since=0.0)
    return {**base, **changes}  # type: ignore[typeddict-item]


MINE = a_run()
# Who holds it, of whom the controller knows that it is gone, and whether this run may take it.
LOCKS: dict[str, tuple[Holder | None, Holder | None, bool]] = {
    "nobody": (None, None, True),
    "this run": (a_run(since=999.0), None, True),
    "another process": (a_run(process=8, since=999.0), None, False),
    "another process, long ago": (a_run(process=8, since=1.0), None, False),
    "another process that is gone": (a_run(process=8, since=999.0), a_run(process=8), True),
    "another process than the one that is gone": (a_run(process=9, since=999.0), a_run(process=8), False),
    "a process of the same number before": (a_run(started="69", since=999.0), None, False),
    "another controller": (a_run(space="boot 2", since=9_999.0), None, False),
    "another controller, before half an hour is over": (a_run(space="boot 2", since=10_000.0 - 1799), None, False),
    "another controller, half an hour ago": (a_run(space="boot 2", since=10_000.0 - 1800), None, True),
    "another controller, in the future": (a_run(space="boot 2", since=10_001.0), None, True),
}


@pytest.mark.parametrize("name", LOCKS)
def test_who_may_take_the_lock(name: str) -> None:
    current, gone, may = LOCKS[name]
    assert run_lock.may_take(current, MINE, 10_000.0, gone) is may


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"process": "x"}', '{"controller": "laptop", "proc'])
def test_a_lock_that_cannot_be_read_is_nobodys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock"
    path.write_text(text, encoding="utf-8")
    assert run_lock.parse(text) is None
    assert run_lock.hold(str(path), MINE) is None
    assert json.loads(path.read_text(encoding="utf-8"))["user"] == "alice"


def test_taken_once_and_again_and_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    other = a_run(process=8)
    assert run_lock.hold(str(path), MINE) is None
    assert path.stat().st_mode & 0o777 == 0o600
    first = run_lock.read(str(path))
    assert first is not None
    assert abs(first["since"] - time.time()) < 60
    assert run_lock.hold(str(path), other) == first
    # Again by the same run, since the same time.
    assert run_lock.hold(str(path), MINE) is None
    assert run_lock.read(str(path)) == first
    assert not run_lock.release(str(path), other)
    assert path.exists()
    assert run_lock.release(str(path), MINE)
    assert not path.exists()
    assert not run_lock.release(str(path), MINE)
    assert run_lock.hold(str(path), other) is None


def test_a_run_that_is_gone_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    other = a_run(process=8)
    run_lock.hold(path, other)
    assert run_lock.hold(path, MINE) is not None
    assert run_lock.hold(path, MINE, gone=other) is None
    # The name of the one that is gone may be longer than the next one's.
    found = run_lock.read(path)
    assert found is not None
    assert run_lock.same_run(found, MINE)


def test_a_dry_run_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert run_lock.hold(str(path), MINE, check=True) is None
    assert not path.exists()
    run_lock.hold(str(path), a_run(process=8))
    found = run_lock.hold(str(path), MINE, check=True)
    assert found is not None
    assert found["process"] == 8
    run_lock.release(str(path), a_run(process=8), check=True)
    assert path.exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        run_lock.hold(str(tmp_path / "lock"), MINE)


def test_one_of_many_gets_it(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    inside: set[int] = set()
    together: list[set[int]] = []

    def compete(process: int) -> None:
        for _ in range(5):
            while run_lock.hold(path, a_run(process=process)) is not None:
                time.sleep(0.001)
            inside.add(process)
            together.append(set(inside))
            inside.remove(process)
            run_lock.release(path, a_run(process=process))

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(together) == 40
    assert all(len(holders) == 1 for holders in together)
    assert not Path(path).exists()


def test_this_process_is_not_gone() -> None:
    mine = run_lock.this_run(os.getpid())
    assert mine["space"]
    assert mine["started"].isdigit()
    assert not run_lock.is_gone(mine)
    # Its number was another's before.
    assert run_lock.is_gone({**mine, "started": "1"})
    # Whatever numbers there are elsewhere.
    assert not run_lock.is_gone({**mine, "space": "elsewhere", "started": "1"})


def test_a_process_that_has_ended_is_gone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        run = run_lock.this_run(process.pid)
        assert not run_lock.is_gone(run)
        process.kill()
        # Nobody has asked for its result yet, so its number is still there.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert run_lock.is_gone(run)
    assert run_lock.is_gone(run)


def test_the_sentence_says_who_and_since_when() -> None:
    said = run_lock.refusal("web1", "/run/x.lock", dict(a_run(since=1_795_970_739.6)))
    assert said == (
        "web1 is being changed by another run since 2026-11-29 16:45:39 UTC: user alice on laptop, process 7. "
        "Wait until it has ended; if it is gone, delete /run/x.lock on web1."
    )
