# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees that a registry has written at random: images stay whole, a plan changes nothing, and undo gives all back byte by byte."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.store.model import Registry, digest_of, done, image, index, push
from tests.unit.store.places import DAY, Place, folder

NAMES = ("a", "team/app", "team_b/x.y-z", "team/app/sub")
TAGS = ("1", "2", "latest", "old")
CONTENTS = [f"layer {number}".encode() for number in range(6)]
RULES = [
    {"repositories": ["team/*"], "tags": ["old", "1"], "keep_newest": 1, "untagged_after_days": 3},
    {"repositories": ["**"], "tags": ["o*"], "keep_pushed_within_days": 4},
]


def grow(place: Place, chance: random.Random) -> None:
    """Let clients do what they do, over some days."""
    registry = place.registry
    pushed: dict[str, list[bytes]] = {name: [] for name in NAMES}

    def one(name: str) -> None:
        layers = chance.sample(CONTENTS, chance.randint(1, 3))
        subject = chance.choice(pushed[name]) if pushed[name] and chance.random() < 0.3 else None
        manifest = image(*layers, config=chance.choice([b"{}", name.encode()]), subject=subject)
        tag = chance.choice([*TAGS, ""])
        done(registry.push(name, [b"{}", name.encode(), *layers], manifest, tag))
        pushed[name].append(manifest)

    def several(name: str) -> None:
        if pushed[name]:
            manifest = index(*chance.sample(pushed[name], min(len(pushed[name]), 2)))
            done(registry.put_manifest(name, manifest, chance.choice(TAGS)))

    def signature(name: str) -> None:
        if pushed[name]:
            push(registry, name, f"sha256-{digest_of(chance.choice(pushed[name]))[7:]}.sig", chance.choice(CONTENTS))

    def garbage(name: str) -> None:
        done(registry.upload(name, f"garbage {chance.randint(0, 9)}".encode()))

    def alias(name: str) -> None:
        content = chance.choice(CONTENTS)
        done(registry.upload(name, content, digest_of(content, "sha512")))

    acts: list[Callable[[str], None]] = [one, one, one, several, signature, garbage, alias]
    for _ in range(25):
        chance.choice(acts)(chance.choice(NAMES))
        if chance.random() < 0.3:
            place.driver.age(chance.randint(1, 3) * DAY)
    place.driver.age(2 * DAY)


def whole(place: Place) -> dict[tuple[str, str], str]:
    """Return all tags, and what is missing of each."""
    registry: Registry = place.registry
    tags = [(name, tag) for name in NAMES for tag in place.driver.names(f"repositories/{name}/_manifests/tags")]
    return {(name, tag): registry.missing(name, tag) for name, tag in tags}


@pytest.mark.parametrize("seed", range(12))
def test_plan_apply_and_undo(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    place = folder(tmp_path, renames=chance.random() < 0.5, retention=RULES)
    grow(place, chance)
    before = place.images()
    assert set(whole(place).values()) <= {""}
    tags = whole(place)
    planned = place.retention(apply=False)
    plan = place.collect(apply=False)[0]
    assert place.images() == before
    collected = place.collect()[0]
    assert collected["links"] == plan["links"]
    assert whole(place) == tags
    removed = place.retention()
    assert removed["tags"] == planned["tags"]
    gone = {(one["repository"], one["tag"]) for one in removed["tags"]}
    assert whole(place) == {one: "" for one in tags if one not in gone}
    place.collect_all()
    assert whole(place) == {one: "" for one in tags if one not in gone}
    assert place.check(digests=True) == []
    # All that no image needs is away.
    place.collect_all()
    assert place.collect(apply=False)[0]["waiting"]["blobs"] == 0
    result = place.undo()
    assert result["skipped"] == []
    assert place.images() == before
