# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tags and images go by rules, or because somebody names them, and what hangs together with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drydock_store import commands
from drydock_store.config import config
from drydock_store.inventory import Inventory, Tagged
from drydock_store.manifests import Manifest
from drydock_store.pulls import Pulls
from drydock_store.retention import DAY, GIB, by_rules

from tests.unit.store.model import digest_of, done, image, index, push, push_index
from tests.unit.store.places import Place, folder

NOW = 1000 * DAY


def going(rules: list[dict[str, Any]], tags: dict[str, float], images: dict[str, str] | None = None) -> str:
    """Return which tags go, of tags that are so many days old."""
    found = Inventory(NOW)
    repository = found.repository("team/app")
    for tag, days in tags.items():
        digest = (images or {}).get(tag, tag)
        repository.tags[tag] = Tagged(digest, NOW - days * DAY)
        repository.revisions[digest] = NOW - days * DAY
        found.manifests[digest] = Manifest(1, (), (), (), "")
    settings = config({"storage": {"folder": "/x"}, "state_directory": "/x", "retention": rules})
    return " ".join(one.tag for one in by_rules(found, settings.retention, {}, Pulls()).tags)


TEAM = {"repositories": ["team/*"]}


@pytest.mark.parametrize(
    ("rules", "tags", "expected"),
    [
        ([], {"a": 400}, ""),
        ([{"repositories": ["other/*"], "keep_newest": 1}], {"a": 4, "b": 3}, ""),
        ([{**TEAM, "keep_newest": 2}], {"a": 3, "b": 2, "c": 1}, "a"),
        ([{**TEAM, "keep_pushed_within_days": 2}], {"a": 3, "b": 1}, "a"),
        ([{**TEAM, "keep_tags": ["v*", "latest"]}], {"v1": 9, "latest": 9, "dev": 1}, "dev"),
        # Any of them keeps a tag.
        (
            [{**TEAM, "keep_newest": 1, "keep_tags": ["v?"], "keep_pushed_within_days": 2}],
            {"v1": 9, "x": 1, "y": 0, "z": 9},
            "z",
        ),
        # The first rule that names a tag decides, and others of the repository stay.
        ([{**TEAM, "tags": ["dev-*"], "keep_newest": 1}], {"dev-1": 2, "dev-2": 1, "v1": 9}, "dev-1"),
        (
            [{**TEAM, "tags": ["dev-*"], "keep_newest": 1}, {**TEAM, "keep_pushed_within_days": 5}],
            {"dev-1": 2, "dev-2": 1, "v1": 9, "v2": 1},
            "dev-1 v1",
        ),
        ([{**TEAM, "keep_newest": 1, "order": "semver"}], {"v1.10.0": 9, "v1.9.0": 1, "latest": 99}, "v1.9.0"),
        ([{**TEAM, "keep_newest": 1, "order": "semver"}], {"2.0.0-rc.1": 1, "2.0.0": 9}, "2.0.0-rc.1"),
        (
            [{**TEAM, "keep_newest": 1, "order": "semver"}],
            {"2.0.0-rc.2": 9, "2.0.0-rc.10": 10, "2.0.0-alpha": 1},
            "2.0.0-alpha 2.0.0-rc.2",
        ),
        ([{**TEAM, "keep_newest": 1, "order": "date"}], {"build-2026-11-02": 9, "20261101": 1, "x": 99}, "20261101"),
        # Rules that say nothing about tags keep them.
        ([{**TEAM, "untagged_after_days": 1}], {"a": 400}, ""),
    ],
)
def test_rules(rules: list[dict[str, Any]], tags: dict[str, float], expected: str) -> None:
    assert going(rules, tags) == expected


def test_an_image_with_several_tags_counts_once() -> None:
    images = {"1": "one", "1.0": "one", "2": "two", "3": "three"}
    assert going([{**TEAM, "keep_newest": 2}], {"1": 2, "1.0": 2, "2": 3, "3": 1}, images) == "2"


@pytest.mark.parametrize(
    ("gib", "pulled", "expected"),
    [
        (9, {}, ""),
        # All repositories of the rule together, those that were used last, and what they share once.
        (4, {}, ""),
        (3, {}, "hub/a:1"),
        (2, {}, "hub/a:1 hub/b:1"),
        (1, {}, "hub/a:1 hub/a:2 hub/b:1"),
        (3, {"hub/a": {"1": 2}}, "hub/b:1"),
        (3, {"hub/a": {"a1": 2}}, "hub/b:1"),
    ],
)
def test_what_was_used_last_stays_as_far_as_it_fits(
    gib: int, pulled: dict[str, dict[str, float]], expected: str
) -> None:
    found = Inventory(NOW)
    for name, tag, days in (("hub/a", "1", 9), ("hub/a", "2", 1), ("hub/b", "1", 5), ("other/a", "1", 99)):
        digest = f"{name[-1]}{tag}" if name.startswith("hub") else "other"
        repository = found.repository(name)
        repository.tags[tag] = Tagged(digest, NOW - days * DAY)
        repository.revisions[digest] = NOW - days * DAY
        # Of each, 1 GiB is its own and 1 GiB is shared; the platform that nobody has pulled is not there.
        found.manifests[digest] = Manifest(1, ("base", f"of {digest}", "missing"), (GIB, GIB, GIB), (), "")
        found.blobs |= {"base": (GIB, 0.0), f"of {digest}": (GIB, 0.0)}
    rules = [{"repositories": ["hub/**"], "keep_used_gib": gib}]
    settings = config({"storage": {"folder": "/x"}, "state_directory": "/x", "retention": rules})
    asked = {name: {one: (NOW - days * DAY, 1) for one, days in tags.items()} for name, tags in pulled.items()}
    removal = by_rules(found, settings.retention, {}, Pulls(since=1, of=asked))
    assert " ".join(f"{one.repository}:{one.tag}" for one in removal.tags) == expected


def left(place: Place, repository: str) -> set[str]:
    """Return which images and tags a repository has."""
    paths = (path.split("/") for path in place.images() if path.startswith(f"repositories/{repository}/_manifests/"))
    names = {parts[-2] if "revisions" in parts else parts[-3] for parts in paths if "index" not in parts}
    return {name[:12] for name in names}


def short(*digests: str) -> set[str]:
    return {digest[7:19] for digest in digests}


def test_what_hangs_on_an_image_goes_with_it_and_never_before(tmp_path: Path) -> None:
    place = folder(tmp_path, retention=[{"repositories": ["app"], "keep_newest": 1}])
    registry = place.registry
    images = {}
    for number in ("1", "2"):
        layers = (f"amd{number}".encode(), f"arm{number}".encode())
        top, platforms = push_index(registry, "app", number, *layers)
        signature = push(registry, "app", f"sha256-{top[7:]}.sig", f"sig{number}".encode())
        sbom = done(
            registry.push(
                "app", [b"{}", f"sbom{number}".encode()], image(f"sbom{number}".encode(), subject=image(layers[0]))
            )
        )
        images[number] = {*short(top, *platforms, signature, sbom), f"sha256-{top[7:]}.sig"[:12]}
        place.driver.age(60)
    place.driver.age(10 * DAY)
    plan = place.retention(apply=False)
    assert left(place, "app") == {*images["1"], *images["2"], "1", "2"}
    result = place.retention()
    assert [one["tag"][:6] for one in result["tags"]] == ["1", "sha256"]
    assert len(result["images"]) == 5
    assert plan["frees"] == result["frees"] > 0
    assert result["kept"] == {"tags": 2, "images": 5}
    assert left(place, "app") == {*images["2"], "2"}
    assert place.registry.missing("app", "2") == ""
    # All that the plan said is what is freed.
    before = sum(map(len, place.images().values()))
    place.collect_all()
    blobs = sum(len(content) for path, content in place.images().items() if path.startswith("blobs/"))
    assert before > blobs
    assert place.check() == []


def test_a_platform_that_another_index_or_a_tag_needs_stays(tmp_path: Path) -> None:
    place = folder(tmp_path, retention=[{"repositories": ["**"], "tags": ["old"], "keep_pushed_within_days": 1}])
    push_index(place.registry, "app", "old", b"amd", b"arm")
    push_index(place.registry, "app", "new", b"amd", b"other")
    done(place.registry.put_manifest("app", image(b"arm"), "arm"))
    place.driver.age(3 * DAY)
    result = place.retention()
    assert len(result["images"]) == 1
    assert place.registry.missing("app", "new") == place.registry.missing("app", "arm") == ""


def test_untagged_images_wait_from_when_they_were_seen(tmp_path: Path) -> None:
    place = folder(tmp_path, retention=[{"repositories": ["**"], "untagged_after_days": 2}])
    push(place.registry, "app", "1", b"old")
    place.driver.age(30 * DAY)
    push(place.registry, "app", "1", b"new")
    assert place.retention()["images"] == []
    memory = place.memory()
    assert list(memory.untagged) == [f"app@{digest_of(image(b'old'))}"]
    memory.untagged = dict.fromkeys(memory.untagged, 0.0)
    memory.keep_seen()
    assert [one["digest"] for one in place.retention()["images"]] == [digest_of(image(b"old"))]
    assert place.registry.missing("app", "1") == ""


def test_patterns_that_match_nothing_are_named(tmp_path: Path) -> None:
    place = folder(tmp_path, retention=[{"repositories": ["nobody/*", "app"], "keep_newest": 1}])
    push(place.registry, "app", "1", b"layer")
    assert place.retention(apply=False)["unmatched"] == ["nobody/*"]
    assert place.delete(apply=False, tags=["app:9", "app:1"])["unmatched"] == ["app:9"]


def test_a_tag_that_came_back_is_as_old_as_its_push(place: Place) -> None:
    place.document["retention"] = [{"repositories": ["app"], "keep_newest": 1}]
    push(place.registry, "app", "old", b"old")
    place.driver.age(9 * DAY)
    push(place.registry, "app", "new", b"new")
    place.driver.age(3 * DAY)
    # Twice: what has come back once goes again.
    for _ in range(2):
        place.delete(tags=["app:old"])
        place.undo()
        assert [tag["tag"] for tag in place.retention(apply=False)["tags"]] == ["old"]
    # Who pushes it again makes it the newest one.
    push(place.registry, "app", "old", b"old")
    assert [tag["tag"] for tag in place.retention(apply=False)["tags"]] == ["new"]


def test_delete_takes_a_tag_an_image_or_a_repository(place: Place) -> None:
    registry = place.registry
    one = push(registry, "app", "1", b"one")
    done(registry.put_manifest("app", image(b"one"), "also"))
    push(registry, "app", "2", b"two")
    push(registry, "app/sub", "1", b"one")
    top, platforms = push_index(registry, "multi", "latest", b"amd", b"arm")
    place.driver.age(2 * DAY)
    before = place.images()
    assert [gone["tag"] for gone in place.delete(tags=["app:a*"])["tags"]] == ["also"]
    assert left(place, "app") == {*short(one, digest_of(image(b"two"))), "1", "2"}
    place.delete(images=["app:1"])
    assert left(place, "app") == {*short(digest_of(image(b"two"))), "2"}
    # What an index needs stays, and the reason is said.
    result = place.delete(images=[f"multi@{platforms[0]}"])
    assert result["images"] == []
    assert result["problems"] == [f"multi@{platforms[0]} stays: an index or a tag leads to it."]
    named = {"images": [f"multi@{platforms[0]}"]}
    assert commands.delete(place.store(), place.memory(), place.settings, named, apply=False)[1] == commands.UNFINISHED
    assert registry.missing("multi", "latest") == ""
    place.delete(images=[f"multi@{top}"])
    assert left(place, "multi") == set()
    place.delete(repositories=["app"])
    assert [path for path in place.images() if path.startswith("repositories/app/_")] == []
    assert registry.missing("app/sub", "1") == ""
    place.undo()
    assert place.images() == before


@pytest.mark.parametrize(
    ("rule", "stay"),
    [
        ({"keep_newest": 1}, False),
        ({"tags": ["v*"], "keep_newest": 1}, True),
        ({"keep_newest": 1, "keep_tags": ["sha256-*"]}, True),
        ({"untagged_after_days": 1}, True),
    ],
)
def test_signatures_without_an_image_go_by_a_rule_alone(tmp_path: Path, rule: dict[str, Any], stay: bool) -> None:
    place = folder(tmp_path, retention=[{"repositories": ["**"], **rule}])
    signed = push(place.registry, "app", "v1", b"layer")
    # COSIGN_REPOSITORY keeps those of all images in one place.
    for digest in (signed, digest_of(b"of another registry")):
        push(place.registry, "signatures", f"sha256-{digest[7:]}.sig", digest.encode())
    place.driver.age(3 * DAY)
    place.retention()
    assert place.registry.missing("signatures", f"sha256-{signed[7:]}.sig") == ""
    left_over = f"sha256-{digest_of(b'of another registry')[7:]}.sig"
    assert (place.registry.missing("signatures", left_over) == "") == stay


def test_platforms_that_wait_for_their_index_are_not_untagged(tmp_path: Path) -> None:
    place = folder(tmp_path, retention=[{"repositories": ["**"], "untagged_after_days": 0}])
    done(place.registry.push("app", [b"{}", b"amd"], image(b"amd")))
    place.retention()
    done(place.registry.put_manifest("app", index(image(b"amd")), "1"))
    assert place.registry.missing("app", "1") == ""
    place.driver.age(DAY)
    done(place.registry.delete_manifest("app", digest_of(index(image(b"amd")))))
    assert [one["digest"] for one in place.retention()["images"]] == [digest_of(image(b"amd"))]
