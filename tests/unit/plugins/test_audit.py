# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of an audit log, what of it is shown, and what a run adds."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _audit
from drydock_store import audit

ASKED = {"user": "", "repository": "", "event": "", "since": ""}
LINES = {
    "2026-11-28": [{"time": "2026-11-28T10:00:00+00:00", "event": "push", "user": "alice", "repository": "team-a/app"}],
    "2026-11-29": [
        {"time": "2026-11-29T10:00:00+00:00", "event": "push", "user": "bob", "repository": "team-b/app"},
        {"time": "2026-11-29T11:00:00+00:00", "event": "delete", "user": "alice", "repository": "team-b/app"},
    ],
    "2026-11-30": [{"time": "2026-11-30T10:00:00+00:00", "event": "refused_login", "user": "bob"}],
}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Return a folder with logs of three days, and what does not belong there."""
    for day, lines in LINES.items():
        text = "\n".join(json.dumps(line) for line in lines)
        # As a full disk leaves it.
        (tmp_path / f"audit-{day}.log").write_text(f'{text}\n{{"time": "2026-11-\n\n[1]\n')
    (tmp_path / "pulls-2026-11-30.log").write_text("1.0 GET /v2/x/manifests/y\n")
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "count", "expected"),
    [
        ({}, 50, ["28T10", "29T10", "29T11", "30T10"]),
        ({}, 2, ["29T11", "30T10"]),
        ({"user": "alice"}, 50, ["28T10", "29T11"]),
        ({"user": "alice"}, 1, ["29T11"]),
        ({"repository": "team-b/*"}, 50, ["29T10", "29T11"]),
        ({"repository": "team-a/app", "user": "bob"}, 50, []),
        ({"event": "refused_login"}, 50, ["30T10"]),
        ({"since": "2026-11-29"}, 50, ["29T10", "29T11", "30T10"]),
        ({"since": "2026-11-29T10:30"}, 50, ["29T11", "30T10"]),
        ({"since": "2026-11-29T11:00:00Z"}, 50, ["29T11", "30T10"]),
        ({"since": "2026-12-01"}, 50, []),
    ],
)
def test_last_lines(logs: Path, asked: dict[str, str], count: int, expected: list[str]) -> None:
    assert [one["time"][8:13] for one in _audit.last_lines(logs, count, **{**ASKED, **asked})] == expected


@pytest.mark.parametrize(
    ("since", "fine"),
    [
        ("", True),
        ("2026-11-30", True),
        ("2026-11-30T17:00", True),
        ("2026-11-30T17:00:05Z", True),
        ("yesterday", False),
        ("2026-11-30 17:00", False),
        ("20261130", False),
    ],
)
def test_times(since: str, fine: bool) -> None:
    assert (_audit.since_problem(since) == "") is fine


def test_a_line_is_shown_in_one_line_whatever_a_client_has_made_up() -> None:
    line = {**LINES["2026-11-29"][1], "reference": "x\ny\x1b[2J", "status": 202, "agent": "curl", "request_id": "1"}
    assert _audit.shown(line) == (
        '2026-11-29T11:00:00  delete         alice            repository=team-b/app reference="x\\ny\\u001b[2J" status=202'
    )
    assert _audit.shown({"event": "lost", "count": 3}).split() == ["lost", "-", "count=3"]


def test_a_change_adds_a_line_where_there_is_a_log(tmp_path: Path) -> None:
    at = datetime(2026, 11, 30, 23, 59, 59, tzinfo=timezone.utc).timestamp()
    for _ in range(2):
        assert _audit.record(tmp_path, "users", "root", at, added=["alice"], removed=[]) == ""
    (log,) = tmp_path.iterdir()
    assert log.name == "audit-2026-11-30.log"
    assert log.stat().st_mode & 0o777 == 0o640
    assert [json.loads(line) for line in log.read_text().splitlines()] == [
        {"time": "2026-11-30T23:59:59+00:00", "event": "users", "user": "root", "added": ["alice"]}
    ] * 2
    assert _audit.record(tmp_path / "none", "users", "root", at) == ""
    assert "has no line of this change" in _audit.record(log, "users", "root", at)


def test_runs_of_ansible_and_of_the_storage_write_alike(tmp_path: Path) -> None:
    """Hosts run the program without the collection, so each has a writer of its own."""
    at = datetime(2026, 11, 30, 23, 59, 59, tzinfo=timezone.utc).timestamp()
    assert _audit.record(tmp_path, "users", "root", at, added=["alice"]) == ""
    line = audit.line("collect", {"run": "1", "links": ["a", "b"], "blobs": []}, 0, at, "root")
    assert audit.record(str(tmp_path), line, at) == ""
    common = {"time": "2026-11-30T23:59:59+00:00", "user": "root"}
    (log,) = tmp_path.iterdir()
    assert [json.loads(line) for line in log.read_text().splitlines()] == [
        {**common, "event": "users", "added": ["alice"]},
        {**common, "event": "collect", "status": 0, "links": 2, "run": "1"},
    ]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_is_neither_written_nor_read(tmp_path: Path, kind: str) -> None:
    """The folder belongs to nginx, and root would give it whatever a link leads to."""
    (tmp_path / "shadow").write_text('{"user": "root"}')
    (tmp_path / "shadow").chmod(0o600)
    log = tmp_path / "audit-2026-11-30.log"
    log.symlink_to("shadow") if kind == "link" else os.mkfifo(log)
    at = datetime(2026, 11, 30, tzinfo=timezone.utc).timestamp()
    assert "has no line of this change" in _audit.record(tmp_path, "users", "root", at)
    assert "has no line of this run" in audit.record(str(tmp_path), "{}\n", at)
    assert (tmp_path / "shadow").read_text() == '{"user": "root"}'
    with pytest.raises(OSError, match="symbolic links") if kind == "link" else nullcontext():
        assert _audit.last_lines(tmp_path, 9, user="", repository="", event="", since="") == []


def test_who_became_root() -> None:
    assert _audit.who({"SUDO_USER": "alice", "USER": "root"}) == "alice"
    assert _audit.who({"USER": "root"}) == "root"
    assert _audit.who({}) == ""
