# SPDX-License-Identifier: GPL-3.0-or-later
"""Garbage goes, images stay, and undo brings back what went, byte by byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drydock_store import commands
from drydock_store.layout import blob_path, layer_path, parse, revision_path
from drydock_store.screen import shown
from drydock_store.store import StoreError

from tests.unit.store.model import digest_of, done, image, index, push, push_index
from tests.unit.store.places import DAY, Place, folder


def garbage(place: Place, repository: str, *contents: bytes) -> None:
    """Upload what no image needs."""
    for content in contents:
        done(place.registry.upload(repository, content))


def populate(place: Place) -> dict[str, list[str]]:
    """Push one image of each kind; returns them by repository."""
    registry = place.registry
    base = b"base layer"
    subject = image(base, b"app")
    signed = push(registry, "team-a/app", "1.0", base, b"app")
    push(registry, "team-a/app", f"sha256-{signed[7:]}.sig", b"signature")
    done(registry.push("team-a/app", [b"{}", b"sbom"], image(b"sbom", subject=subject)))
    several, platforms = push_index(registry, "team_b/a.b-c/multi", "latest", b"amd64", b"arm64")
    # One blob in two repositories, mounted; and the same blob under two digests.
    done(registry.mount("other", "team-a/app", digest_of(base)))
    mounted = push(registry, "other", "1", base)
    for content in (b"{}", b"twice"):
        done(registry.upload("alias", content))
    done(registry.upload("alias", b"twice", digest_of(b"twice", "sha512")))
    alias = done(registry.put_manifest("alias", image(b"twice", algorithm="sha512"), "1"))
    untagged = done(registry.push("untagged", [b"{}", b"nobody"], image(b"nobody")))
    return {
        "team-a/app": [signed, "1.0", f"sha256-{signed[7:]}.sig"],
        "team_b/a.b-c/multi": [several, "latest", *platforms],
        "other": [mounted, "1"],
        "alias": [alias, "1"],
        "untagged": [untagged],
    }


def lost(place: Place, images: dict[str, list[str]]) -> list[str]:
    found = (place.registry.missing(name, one) for name, several in images.items() for one in several)
    return [one for one in found if one]


def blobs(place: Place) -> set[str]:
    return {path for path in place.images() if path.startswith("blobs/")}


def test_images_of_each_kind_stay_and_garbage_goes(place: Place) -> None:
    images = populate(place)
    clean = blobs(place)
    garbage(place, "team-a/app", b"left behind", b"left behind too")
    garbage(place, "nothing-else", b"alone")
    upload = place.registry.upload("team-a/app", b"in flight")
    assert "received" in upload
    place.driver.age(3 * DAY)
    result = place.collect_all()
    assert result["problems"] == ["The registry was not asked for the images that stay: no `registry` is set."]
    assert not result["undone"]
    assert lost(place, images) == []
    assert blobs(place) == clean
    # The upload goes on as if nothing had been.
    done(upload)
    assert done(place.registry.has_blob("team-a/app", digest_of(b"in flight")))
    assert place.check() == []


def test_links_go_before_blobs_and_both_wait(place: Place) -> None:
    push(place.registry, "app", "1", b"layer")
    garbage(place, "app", b"garbage")
    link, blob = layer_path("app", digest_of(b"garbage")), blob_path(digest_of(b"garbage"))
    young, _ = place.collect()
    assert young["links"] == young["blobs"] == []
    assert young["waiting"] == {"links": 1, "blobs": 0, "size": 0}
    place.driver.age(2 * DAY)
    first, _ = place.collect()
    assert [one["digest"] for one in first["links"]] == [digest_of(b"garbage")]
    assert link not in place.images()
    assert blob in place.images()
    # It was seen without a link in the second look, and waits from then on.
    second, _ = place.collect()
    assert second["blobs"] == []
    assert second["waiting"] == {"links": 0, "blobs": 1, "size": len(b"garbage")}
    result = place.collect_all()
    assert [one["digest"] for one in result["blobs"]] == [digest_of(b"garbage")]
    assert result["size"] == len(b"garbage")
    assert blob not in place.images()


def test_a_plan_changes_nothing(place: Place) -> None:
    push(place.registry, "app", "1", b"layer")
    garbage(place, "app", b"garbage")
    place.driver.age(2 * DAY)
    before = place.driver.tree()
    result, status = place.collect(apply=False)
    assert status == 0
    assert [one["repository"] for one in result["links"]] == ["app"]
    assert place.driver.tree() == before


def test_undo_gives_everything_back(place: Place) -> None:
    populate(place)
    garbage(place, "team-a/app", b"left behind")
    place.driver.age(3 * DAY)
    before = place.images()
    first, _ = place.collect()
    memory = place.memory()
    memory.unreferenced = dict.fromkeys(memory.unreferenced, 0.0)
    memory.keep_seen()
    place.collect()
    assert place.images() != before
    result = place.undo()
    assert result["skipped"] == []
    assert result["files"] == 2
    assert place.images() == before
    assert first["run"]
    assert place.undo()["runs"] == []


def test_a_tag_that_was_pushed_again_stays_as_it_is(place: Place) -> None:
    push(place.registry, "app", "1", b"old")
    place.delete(tags=["app:1"])
    new = push(place.registry, "app", "1", b"new")
    result = place.undo()
    assert [one["reason"] for one in result["skipped"]] == ["the tag was pushed again since, and stays as it is"]
    assert place.driver.get("repositories/app/_manifests/tags/1/current/link") == new.encode()


def test_an_image_that_cannot_be_read_keeps_all_layers_of_its_repository(place: Place) -> None:
    push(place.registry, "app", "1", b"layer")
    digest = push(place.registry, "app", "2", b"other")
    garbage(place, "app", b"garbage")
    place.driver.age(2 * DAY)
    place.driver.delete(blob_path(digest))
    result, status = place.collect()
    assert result["links"] == []
    # A monitor reads the status alone.
    assert (status, place.collect(apply=False)[1]) == (commands.UNFINISHED, commands.UNFINISHED)
    assert result["problems"][0] == "app keeps all its layers: an image of it cannot be read; `check` says which."


def test_the_trash_is_emptied_after_its_time(place: Place) -> None:
    push(place.registry, "app", "1", b"layer")
    garbage(place, "app", b"garbage")
    place.driver.age(2 * DAY)
    place.collect()
    place.document["trash_seconds"] = 0
    store = place.store()
    store.open()
    assert len(store.runs()) == 1
    result, _ = later(place, 60)
    assert result["emptied"]["runs"] == 1
    assert [path for path in place.driver.tree() if "/trash/" in path] == []
    assert place.undo()["runs"] == []


def test_the_trash_is_counted_where_that_costs_nothing(place: Place) -> None:
    push(place.registry, "app", "1", b"layer")
    garbage(place, "app", b"garbage")
    place.driver.age(2 * DAY)
    assert figures(place)[0]["trash"] == 0
    place.collect_all()
    totals, screen = figures(place)
    if place.document["storage"].get("s3", {}).get("unversioned_enabled", True):
        assert totals["trash"] == len(b"garbage") + len(digest_of(b"garbage"))
        assert "In the trash: 78 B." in screen
    else:
        # Old versions of a bucket are asked for one by one.
        assert totals["trash"] is None
        assert "In the trash: versions of the bucket, which are not counted." in screen


def figures(place: Place) -> tuple[dict[str, Any], str]:
    result = commands.report(place.store(), place.memory(), place.settings)[0]
    return result["totals"], shown(result)


def later(place: Place, seconds: float) -> tuple[dict[str, Any], int]:
    """Collect when some time has gone by."""
    store = place.store()
    now = store.now
    store.now = lambda: now() + seconds  # type: ignore[method-assign]
    return place.collect(store=store)


def test_files_of_the_future_stop_everything(place: Place) -> None:
    push(place.registry, "app", "1", b"layer")
    place.driver.age(-7200)
    # Which of them is the newest differs by what a storage writes last.
    sentence = r"of the future, such as \S+/v2/(blobs|repositories)/\S+, which is dated 2\.0 hours ahead: the clock of this machine"
    with pytest.raises(StoreError, match=sentence):
        place.collect()


@pytest.mark.parametrize("renames", [True, False])
def test_every_path_of_the_layout_is_known(tmp_path: Any, renames: bool) -> None:
    place = folder(tmp_path, renames=renames)
    populate(place)
    assert {type(parse(path)).__name__ for path in place.driver.tree()} == {
        "Blob",
        "Layer",
        "Revision",
        "Tag",
        "TagIndex",
    }
    assert index(b"")


def test_what_is_behind_a_symbolic_link_may_need_any_blob(tmp_path: Path) -> None:
    place = folder(tmp_path)
    push(place.registry, "team/app", "1", b"layer")
    push(place.registry, "other", "1", b"another")
    place.driver.age(3 * DAY)
    root = tmp_path / "images/docker/registry/v2/repositories"
    # A registry follows it to the other disk.
    (root / "team").rename(tmp_path / "disk")
    (root / "team").symlink_to(tmp_path / "disk")
    result = place.collect_all()
    assert result["problems"][0].startswith("All blobs stay: repositories/team is a symbolic link or no regular file")
    assert place.registry.missing("team/app", "1") == ""
    (root / "team").unlink()
    (tmp_path / "disk").rename(root / "team")
    # A link to a manifest alone: what its image needs is not known.
    revisions = root / "team/app/_manifests/revisions/sha256"
    (one,) = revisions.iterdir()
    one.rename(tmp_path / "one")
    one.symlink_to(tmp_path / "one")
    place.document["retention"] = [{"repositories": ["**"], "untagged_after_days": 0, "keep_pushed_within_days": 1}]
    assert [tag["repository"] for tag in place.retention(apply=False)["tags"]] == ["other"]
    place.collect_all()
    assert place.registry.missing("team/app", "1") == ""


@pytest.mark.parametrize(
    "manifest",
    [
        # Go takes names in any case, so a registry has verified these layers.
        image(b"layer").replace(b'"digest"', b'"Digest"').replace(b'"layers"', b'"LAYERS"'),
        # Go reads 10,000 levels.
        image(b"layer")[:-1] + b', "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=["case", "depth"],
)
def test_manifests_that_only_go_reads(tmp_path: Path, manifest: bytes) -> None:
    place = folder(tmp_path)
    push(place.registry, "app", "1", b"layer")
    layer = layer_path("app", digest_of(b"layer"))
    blob = blob_path(digest_of(manifest))
    done(place.driver.put(blob, manifest))
    revision = revision_path("app", digest_of(manifest))
    done(place.driver.put(revision, digest_of(manifest).encode()))
    place.driver.delete(revision_path("app", digest_of(image(b"layer"))))
    place.driver.age(3 * DAY)
    place.collect_all()
    assert {layer, blob, blob_path(digest_of(b"layer"))} <= set(place.images())
