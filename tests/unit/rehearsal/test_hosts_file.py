# SPDX-License-Identifier: GPL-3.0-or-later
"""The block in /etc/hosts is ours, and the rest is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from aws_stand_in.hosts_file import HostsFile, with_records

REST = "127.0.0.1 localhost\n::1 localhost\n"
BLOCK = "# BEGIN drydock rehearsal\n198.51.100.10 a.test\n# END drydock rehearsal\n"


@pytest.mark.parametrize(
    ("text", "records", "expected"),
    [
        (REST, [], REST),
        (REST, [("a.test", "198.51.100.10")], REST + BLOCK),
        (REST + BLOCK, [("a.test", "198.51.100.10")], REST + BLOCK),
        (REST + BLOCK, [], REST),
        (BLOCK + REST, [], REST),
        (BLOCK + REST, [("a.test", "198.51.100.10")], REST + BLOCK),
        ("", [("a.test", "198.51.100.10")], BLOCK),
        (REST.rstrip(), [("a.test", "198.51.100.10")], REST + BLOCK),
    ],
)
def test_with_records(text: str, records: list[tuple[str, str]], expected: str) -> None:
    assert with_records(text, records) == expected


def test_records_are_in_order() -> None:
    lines = with_records("", [("b.test", "1.1.1.1"), ("a.test", "2.2.2.2")]).splitlines()
    assert lines[1:3] == ["2.2.2.2 a.test", "1.1.1.1 b.test"]


def test_the_file_stays_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(REST, encoding="utf-8")
    inode = path.stat().st_ino
    hosts_file = HostsFile(path)
    hosts_file.write([("a.test", "198.51.100.10")])
    assert path.read_text(encoding="utf-8") == REST + BLOCK
    hosts_file.write([])
    assert path.read_text(encoding="utf-8") == REST
    assert path.stat().st_ino == inode
