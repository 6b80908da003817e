# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry's host tells of itself: as text for Prometheus, of what is there, with what is missing left out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TOTALS = {"size": 300, "garbage": 20, "tags": 4, "uploads_size": None, "growth": None}


@pytest.fixture(scope="module")
def collect(host_program: Callable[[str], Any]) -> Any:
    return host_program("registry_metrics/files/collect.py")


def lines(collect: Any, metrics: Any) -> list[str]:
    return [line for line in collect.rendered(metrics).splitlines() if not line.startswith("#")]


def test_the_text_is_what_prometheus_reads(collect: Any) -> None:
    metrics = [
        collect.single("one", "A value.", 1.5),
        collect.Metric("none", "Nothing.", []),
        collect.Metric("labelled", "With labels.", [({"a": 'quo"te\\back\nline', "b": ""}, 1796018324.25)]),
    ]
    assert collect.rendered(metrics) == (
        "# HELP one A value.\n# TYPE one gauge\none 1.5\n"
        "# HELP labelled With labels.\n# TYPE labelled gauge\n"
        'labelled{a="quo\\"te\\\\back\\nline",b=""} 1796018324.25\n'
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2030-01-01T00:00:00Z", 1893456000),
        ("2030-01-01T00:00:00+00:00", 1893456000),
        ("2030-01-01T00:00:00.123456789Z", 1893456000),
        ("2030-01-01T01:00:00.5+01:00", 1893456000),
        ("0001-01-01T00:00:00Z", 0),
        ("never", 0),
        (None, 0),
    ],
)
def test_moments(collect: Any, text: Any, seconds: int) -> None:
    assert collect.moment(text) == seconds


def test_containers_that_run_are_gone_or_stopped(collect: Any) -> None:
    inspected = [
        {"Name": "/a", "State": {"Running": True, "StartedAt": "2030-01-01T00:00:00.1Z"}},
        {"Name": "/b", "State": {"Running": False, "StartedAt": "2030-01-01T00:00:00.1Z"}},
    ]
    assert lines(collect, collect.containers(inspected, ["a", "b", "c"])) == [
        'drydock_container_running{container="a"} 1',
        'drydock_container_running{container="b"} 0',
        'drydock_container_running{container="c"} 0',
        'drydock_container_started_seconds{container="a"} 1893456000',
    ]


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ("LoadState=loaded\nActiveState=active\nResult=success\n", ['drydock_service_well{service="x"} 1']),
        ("LoadState=loaded\nActiveState=inactive\nResult=success\n", ['drydock_service_well{service="x"} 1']),
        ("LoadState=loaded\nActiveState=failed\nResult=exit-code\n", ['drydock_service_well{service="x"} 0']),
        ("LoadState=loaded\nActiveState=activating\nResult=timeout\n", ['drydock_service_well{service="x"} 0']),
        ("LoadState=not-found\nActiveState=inactive\nResult=success\n", []),
        ("", []),
    ],
)
def test_services(collect: Any, shown: str, told: list[str]) -> None:
    assert lines(collect, collect.services({"x": shown})) == told


def test_the_report_without_what_it_does_not_know(collect: Any) -> None:
    text = json.dumps({"time": "2030-01-01T00:00:00Z", "totals": TOTALS, "repositories": {}})
    assert lines(collect, collect.report(collect.read_report(text))) == [
        "drydock_report_seconds 1893456000",
        'drydock_stored_bytes{part="size"} 300',
        'drydock_stored_bytes{part="garbage"} 20',
        'drydock_stored{what="tags"} 4',
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"totals": 1}'])
def test_no_report_tells_nothing(collect: Any, text: str) -> None:
    assert [*collect.report(collect.read_report(text)), *collect.largest(collect.read_report(text), 9)[0].values] == []


@pytest.mark.parametrize(("most", "names"), [(0, []), (2, ["b", "a"]), (9, ["b", "a", "c", "d"])])
def test_the_largest_repositories_alone(collect: Any, most: int, names: list[str]) -> None:
    sizes = {"a": 5, "b": 9, "c": 5, "d": 1, "e": None}
    text = json.dumps({"totals": TOTALS, "repositories": {name: {"size": size} for name, size in sizes.items()}})
    found = lines(collect, collect.largest(collect.read_report(text), most))
    assert [line.split('"')[1] for line in found] == names


@pytest.mark.parametrize(
    ("now", "left"),
    [
        # The first five minutes of an hour are the first file's.
        (0, ["first", "second"]),
        (29, ["first", "second"]),
        (30, ["first"]),
        (270, ["first"]),
        (271, ["first", "second"]),
        (300, ["first", "second"]),
        (330, ["second"]),
        (3600 + 60, ["first"]),
    ],
)
def test_only_the_log_of_the_other_turn_is_emptied(collect: Any, tmp_path: Path, now: int, left: list[str]) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.log").write_text("line\n", encoding="utf-8")
    collect.empty_counted(tmp_path, 1893456000 + now)
    assert [name for name in ("first", "second") if (tmp_path / f"{name}.log").stat().st_size] == left


def test_a_log_that_is_not_there_is_nothing_to_empty(collect: Any, tmp_path: Path) -> None:
    collect.empty_counted(tmp_path, 60)
    assert list(tmp_path.iterdir()) == []


def test_what_a_link_leads_to_is_not_emptied(collect: Any, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("root", encoding="utf-8")
    (tmp_path / "second.log").symlink_to("shadow")
    with pytest.raises(OSError, match="symbolic links"):
        collect.empty_counted(tmp_path, 1893456000 + 60)
    assert (tmp_path / "shadow").read_text(encoding="utf-8") == "root"


def test_root_reads_no_link_and_waits_for_no_pipe(collect: Any, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("told", encoding="utf-8")
    (tmp_path / "link").symlink_to("text")
    os.mkfifo(tmp_path / "pipe")
    assert [collect._text(str(tmp_path / name)) for name in ("text", "link", "pipe", "none")] == ["told", "", "", ""]


def test_what_cannot_be_read_is_left_out(collect: Any, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no certificate", encoding="utf-8")
    files = {"gone": str(tmp_path / "gone"), "text": str(tmp_path / "text")}
    assert lines(collect, collect.certificates(files, files)) == []
    assert collect.file_system(str(tmp_path / "gone")) == []
    assert not collect.answers(str(tmp_path / "gone"))


def test_a_file_is_replaced_as_a_whole(collect: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    path.write_text("old", encoding="utf-8")
    before = path.stat().st_ino
    collect.write(path, "new\n", 0o640, path.stat().st_gid)
    assert path.read_text(encoding="utf-8") == "new\n"
    assert path.stat().st_ino != before
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["x.prom"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("", []),
        ("no JSON", []),
        ("[]", []),
        ('{"hub": {}, "odd": 1}', []),
        (
            '{"hub": {"limit": 100, "remaining": 76, "window_seconds": 60, "limit_at": 950}, "quay": {"problem_at": 7}}',
            [
                'drydock_mirror_limit{mirror="hub"} 100',
                'drydock_mirror_left{mirror="hub"} 76',
                'drydock_mirror_problem_seconds{mirror="quay"} 7',
            ],
        ),
        # It counts anew meanwhile.
        ('{"hub": {"limit": 100, "remaining": 76, "window_seconds": 60, "limit_at": 940}}', []),
    ],
)
def test_limits_of_other_registries(collect: Any, state: str, told: list[str]) -> None:
    assert lines(collect, collect.mirrors(state, 1000.0)) == told
