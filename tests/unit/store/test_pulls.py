# SPDX-License-Identifier: GPL-3.0-or-later
"""When images were pulled: what nginx notes is read once, kept, and decides what stays."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from drydock_store import commands
from drydock_store.config import config
from drydock_store.inventory import Inventory, Tagged
from drydock_store.manifests import Manifest
from drydock_store.memory import Memory
from drydock_store.pulls import Pulls
from drydock_store.retention import DAY, by_rules
from drydock_store.screen import shown

from tests.unit.store.model import push
from tests.unit.store.places import folder

NOW = datetime(2026, 11, 30, 12, tzinfo=timezone.utc).timestamp()
ONE, TWO, PLATFORM = (f"sha256:{digit * 64}" for digit in "12a")


def inventory(now: float = NOW) -> Inventory:
    """A repository of two images, one of which has two tags, and one a platform."""
    found = Inventory(now)
    repository = found.repository("team/app")
    repository.tags = {"1.0": Tagged(ONE, NOW - 400 * DAY), "latest": Tagged(TWO, 0), "2.0": Tagged(TWO, 0)}
    repository.revisions = dict.fromkeys((ONE, TWO, PLATFORM), NOW - 400 * DAY)
    found.manifests = {
        digest: Manifest(1, (), (), (PLATFORM,) if digest == ONE else (), "") for digest in repository.revisions
    }
    return found


def note(logs: Path, *pulls: tuple[float, str, str]) -> None:
    """Write what nginx notes: how many days ago, the method, and what was asked for."""
    for days, method, reference in pulls:
        at = NOW - days * DAY
        day = f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d}"
        with (logs / f"pulls-{day}.log").open("a") as file:
            file.write(f"{at:.3f} {method} /v2/team/app/manifests/{reference}\n")


def tags(logs: Path, memory: Memory, now: float = NOW) -> dict[str, Any]:
    """Return what a report would say of the tags: the day, and how often in this month."""
    found = inventory(now)
    memory.learn_pulls(str(logs), found)
    of = memory.pulls.figures(found)["repositories"].get("team/app", {"tags": {}})
    return {tag: (said["last"][5:10], said["this_month"]) for tag, said in of["tags"].items()}


def memory_in(folder: Path) -> Memory:
    return Memory(str(folder / "state"), "storage")


def test_pulls_by_tag_and_by_digest_count_once_each(tmp_path: Path) -> None:
    assert tags(tmp_path, memory_in(tmp_path)) == {}
    note(tmp_path, (40, "GET", "1.0"), (3, "GET", "1.0"), (2, "GET", ONE), (2, "GET", PLATFORM), (0, "HEAD", "1.0"))
    assert tags(tmp_path, memory_in(tmp_path)) == {"1.0": ("11-30", 2)}
    note(tmp_path, (1, "GET", TWO), (1, "GET", "latest"))
    assert tags(tmp_path, memory_in(tmp_path)) == {
        "1.0": ("11-30", 2),
        "latest": ("11-29", 2),
        "2.0": ("11-29", 1),
    }


def test_what_was_read_is_kept_and_its_files_go(tmp_path: Path) -> None:
    note(tmp_path, (5, "GET", "1.0"), (1, "GET", "1.0"), (0, "GET", "1.0"))
    for _ in range(2):
        assert tags(tmp_path, memory_in(tmp_path)) == {"1.0": ("11-30", 3)}
    # nginx may still write what belongs to yesterday.
    assert sorted(path.name for path in tmp_path.glob("*.log")) == ["pulls-2026-11-29.log", "pulls-2026-11-30.log"]
    note(tmp_path, (1, "GET", "1.0"), (0, "GET", "1.0"))
    assert tags(tmp_path, memory_in(tmp_path)) == {"1.0": ("11-30", 5)}
    # Another month counts anew, and what was last stays.
    assert tags(tmp_path, memory_in(tmp_path), NOW + 3 * DAY) == {"1.0": ("11-30", 0)}
    assert list(tmp_path.glob("*.log")) == []


def test_half_a_line_is_read_when_it_is_whole_and_what_is_none_never(tmp_path: Path) -> None:
    log = tmp_path / "pulls-2026-11-30.log"
    line = f"{NOW:.3f} GET /v2/team/app/manifests/1.0\n"
    log.write_text(f"{line[:30]}{line}\x00\n{line}{line[:20]}")
    assert tags(tmp_path, memory_in(tmp_path)) == {"1.0": ("11-30", 1)}
    with log.open("a") as file:
        file.write(line[20:])
    assert tags(tmp_path, memory_in(tmp_path)) == {"1.0": ("11-30", 2)}


def test_what_is_deleted_is_forgotten(tmp_path: Path) -> None:
    note(tmp_path, (0, "GET", "gone"), (0, "GET", "1.0"))
    memory = memory_in(tmp_path)
    tags(tmp_path, memory)
    assert memory.pulls.of == {"team/app": {"1.0": (NOW, 1)}}
    memory.learn_pulls(str(tmp_path), Inventory(NOW))
    assert memory_in(tmp_path).pulls.of == {}


def test_what_is_pushed_and_pulled_during_a_look_is_not_forgotten(tmp_path: Path) -> None:
    memory = memory_in(tmp_path)
    note(tmp_path, (-0.01, "GET", "1.0"))
    memory.learn_pulls(str(tmp_path), Inventory(NOW))
    assert memory.pulls.figures(Inventory(NOW))["repositories"] == {}
    assert tags(tmp_path, memory_in(tmp_path), NOW + DAY / 4) == {"1.0": ("11-30", 1)}


@pytest.mark.parametrize(
    ("since", "pulled", "going"),
    [
        # Nobody has noted for so long.
        (None, {}, ""),
        (9, {}, ""),
        (11, {}, "1.0 2.0 latest"),
        (11, {"1.0": 9}, "2.0 latest"),
        (11, {"1.0": 11}, "1.0 2.0 latest"),
        # By the digest that two tags have.
        (11, {TWO: 1}, "1.0"),
        (11, {PLATFORM: 1}, "1.0 2.0 latest"),
    ],
)
def test_pulled_lately_stays(since: float | None, pulled: dict[str, float], going: str) -> None:
    pulls = Pulls(NOW - since * DAY if since else 0, "2026-11", {})
    pulls.of = {"team/app": {one: (NOW - days * DAY, 1) for one, days in pulled.items()}}
    rule = {"repositories": ["**"], "keep_pulled_within_days": 10}
    rules = config({"storage": {"folder": "/x"}, "state_directory": "/x", "retention": [rule]}).retention
    found = by_rules(inventory(), rules, {}, pulls)
    assert " ".join(one.tag for one in found.tags) == going
    assert [sentence.startswith("Rule 1 keeps all its tags so far") for sentence in found.problems] == [True] * (
        since is None or since < 10
    )


def test_what_was_just_pushed_has_had_no_time_to_be_pulled() -> None:
    found = inventory()
    found.repository("team/app").tags["2.0"] = Tagged(TWO, NOW - 1 * DAY)
    rule = {"repositories": ["**"], "keep_pulled_within_days": 10}
    rules = config({"storage": {"folder": "/x"}, "state_directory": "/x", "retention": [rule]}).retention
    assert [one.tag for one in by_rules(found, rules, {}, Pulls(NOW - 11 * DAY)).tags] == [
        "1.0",
        "latest",
    ]


def test_a_rule_that_waits_until_pulls_are_known_is_no_failure(tmp_path: Path) -> None:
    rule = {"repositories": ["**"], "keep_pulled_within_days": 10}
    place = folder(tmp_path, log_directory=str(tmp_path), retention=[rule])
    push(place.registry, "team/app", "1.0", b"layer")
    result, status = commands.apply_retention(place.store(), place.memory(), place.settings, apply=True)
    assert (status, result["tags"]) == (commands.FINE, [])
    assert ["Rule 1 keeps all its tags so far" in sentence for sentence in result["problems"]] == [True]


def test_report_says_it(tmp_path: Path) -> None:
    place = folder(tmp_path, log_directory=str(tmp_path))
    push(place.registry, "team/app", "1.0", b"layer")
    push(place.registry, "other", "1.0", b"layer")
    now = datetime.now(timezone.utc)
    line = f"{int(now.timestamp())}.000 GET /v2/team/app/manifests/1.0\n"
    (tmp_path / f"pulls-{now:%Y-%m-%d}.log").write_text(line)
    report = commands.report(place.store(), place.memory(), place.settings)[0]
    of = report["pulls"]["repositories"]["team/app"]
    assert of == {
        "last": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "this_month": 1,
        "tags": {"1.0": {"last": of["last"], "this_month": 1}},
    }
    screen = shown(report)
    assert f"1 of the tags were not pulled since {now:%Y-%m-%d}" in screen
    rows = {row.split()[0]: row.split()[-2:] for row in screen.splitlines() if row.startswith(("team/app", "other"))}
    assert rows["team/app"] == [f"{now:%Y-%m-%d}", "1"]
    assert rows["other"][-1] == "never"
    # nginx reads this file for quotas: what there may be much of is not in it.
    assert "pulls" not in json.loads((tmp_path / "state/report.json").read_text())
