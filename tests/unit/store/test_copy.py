# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies between storages, whole at any moment, while a registry goes on writing and deleting."""

from __future__ import annotations

import copy as copies
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drydock_store import commands, copying
from drydock_store import config as configuration
from drydock_store.config import Config, ConfigError, config, store_of
from drydock_store.copying import Brake, Options
from drydock_store.layout import ROOT, blob_path, layer_path, revision_path, tag_path
from drydock_store.memory import Memory
from drydock_store.store import Item, Locked, Store, StoreError, iso

from tests.unit.store.model import (
    Driver,
    Files,
    Objects,
    Refused,
    Registry,
    Steps,
    digest_of,
    done,
    image,
    index,
    push,
    push_index,
)
from tests.unit.store.places import DAY, Place, bucket, folder, no_pause

CONFIG = b"{}"


class Pair:
    """A storage, and where it is copied to."""

    def __init__(self, source: Place, target: Place) -> None:
        self.source = source
        self.target = target
        self.to = target.document["storage"]
        self.document = source.document

    @property
    def settings(self) -> Config:
        return config(self.document)

    def target_store(self) -> Store:
        return configuration.place("--to", json.dumps(self.to))

    def copy(
        self,
        *,
        source: Store | None = None,
        target: Store | None = None,
        pause: Callable[[float], None] = no_pause,
        **options: Any,
    ) -> tuple[dict[str, Any], int]:
        settings = self.settings
        return copying.copy(
            source or store_of(settings),
            target or self.target_store(),
            Memory(settings.state_directory, settings.storage_name),
            settings,
            Options(**{"apply": True, **options}),
            pause=pause,
        )

    def mirror(self, **options: Any) -> dict[str, Any]:
        """Mirror, with nothing left out."""
        result, status = self.copy(mirror=True, **options)
        assert (result["problems"], status) == ([], commands.FINE)
        return result

    def back(self) -> Pair:
        """Return the way back."""
        return Pair(self.target, self.source)


def empty_folder(directory: Path, name: str = "target", **settings: Any) -> Place:
    """Return a folder in which nothing is."""
    place = folder(directory / name, **settings)
    shutil.rmtree(place.driver.folder / "docker")  # type: ignore[attr-defined]
    return place


def empty_bucket(directory: Path, name: str = "other", *, versioned: bool = True) -> Place:
    """Return a second bucket."""
    import boto3  # noqa: PLC0415

    client = boto3.client("s3", region_name="eu-central-1")
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    if versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3 = {"bucket": name, "region": "eu-central-1", "threads": 2, "unversioned_enabled": not versioned}
    return Place(Objects(client, name), {"storage": {"s3": s3}, "state_directory": str(directory / "state")})


@pytest.fixture(params=["folder to folder", "folder to bucket", "bucket to folder", "bucket to bucket"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Provide each direction."""
    source, target = request.param.split(" to ")
    if "bucket" in request.param:
        request.getfixturevalue("aws")
    return Pair(
        folder(tmp_path) if source == "folder" else bucket(tmp_path),
        empty_folder(tmp_path) if target == "folder" else empty_bucket(tmp_path),
    )


@pytest.fixture
def folders(tmp_path: Path) -> Pair:
    """Provide two folders."""
    return Pair(folder(tmp_path), empty_folder(tmp_path))


def fill(registry: Registry) -> None:
    """Push images of several kinds."""
    push(registry, "app", "1", b"layer", b"another")
    push(registry, "app", "2", b"layer")
    push(registry, "team/lib", "1", b"sha512", algorithm="sha256")
    push_index(registry, "app", "all", b"amd64", b"arm64")
    signed = digest_of(image(b"layer"))
    push(registry, "app", f"{signed.replace(':', '-')}.sig", b"signature")
    push(registry, "app", "about", b"sbom", subject=image(b"layer"))
    done(registry.push("app", [CONFIG, b"no tag"], image(b"no tag")))


def whole(place: Place) -> None:
    """Check that a storage has no defect."""
    assert place.check(digests=True) == []


def without_history(place: Place) -> dict[str, bytes]:
    """Return all but what tags meant before."""
    return {path: content for path, content in place.images().items() if "/index/" not in path}


# ----- one copy ------------------------------------------------------------------------------------------------------


def test_a_copy_is_the_same_in_each_direction(pair: Pair) -> None:
    registry = pair.source.registry
    push(registry, "app", "1", b"layer", b"another")
    push_index(registry, "team/lib", "all", b"amd64", b"arm64")
    pair.source.driver.age(30 * DAY)
    plan, status = pair.copy(apply=False, mirror=True)
    assert status == commands.FINE
    assert pair.target.images() == {}
    result = pair.mirror()
    for key in ("files", "size", "tags", "removed"):
        assert result[key] == plan[key]
    assert result["tags"] == ["app:1", "team/lib:all"]
    # Between buckets of one place, S3 copies by itself.
    buckets = all(isinstance(one.driver, Objects) for one in (pair.source, pair.target))
    assert result["copied"]["unread"] == (result["copied"]["blobs"] if buckets else 0)
    assert pair.target.images() == pair.source.images()
    whole(pair.target)
    # Tags are as old as they were.
    pair.target.document["retention"] = [{"repositories": ["**"], "keep_pushed_within_days": 7}]
    assert len(pair.target.retention(apply=False)["tags"]) == 2
    # A second copy takes what is new, and takes away what is gone: not the layer, which another image has.
    push(registry, "app", "2", b"layer", b"new")
    done(registry.delete_tag("app", "1"))
    done(registry.delete_manifest("app", digest_of(image(b"layer", b"another"))))
    result = pair.mirror()
    # A layer and a manifest; links to the layer and to the image, and the two of the tag.
    assert (result["copied"]["blobs"], result["copied"]["links"]) == (2, 4)
    assert result["size"] == len(b"new") + len(image(b"layer", b"new"))
    assert (result["removed"]["tags"], result["removed"]["images"]) == (["app:1"], 1)
    assert pair.target.images() == pair.source.images()
    whole(pair.target)
    again = pair.mirror()
    assert (again["files"], again["tags"], again["run"]) == (0, [], None)


def test_a_link_by_another_digest_leads_to_the_same_layer(folders: Pair) -> None:
    registry = folders.source.registry
    done(registry.upload("app", CONFIG))
    done(registry.upload("app", b"layer", digest_of(b"layer", "sha512")))
    done(registry.put_manifest("app", image(b"layer", algorithm="sha512"), "1"))
    folders.mirror()
    assert folders.target.registry.missing("app", "1") == ""
    whole(folders.target)


def test_uploads_and_what_is_ours_stay_out(tmp_path: Path) -> None:
    pair = Pair(folder(tmp_path), empty_folder(tmp_path))
    push(pair.source.registry, "app", "1", b"layer")
    done(pair.source.driver.put("repositories/app/_uploads/one/data", b"half"))
    pair.source.delete(tags=["app:1"])
    pair.mirror()
    assert not [path for path in pair.target.driver.tree() if "_uploads" in path or "trash" in path]


@pytest.mark.usefixtures("aws")
def test_large_layers_go_in_parts_and_not_at_all_where_they_are_damaged(tmp_path: Path) -> None:
    large = bytes(range(256)) * 40_000
    source, middle, end = folder(tmp_path), empty_bucket(tmp_path), empty_folder(tmp_path)
    push(source.registry, "app", "1", large)
    Pair(source, middle).mirror()
    assert middle.driver.get(blob_path(digest_of(large))) == large
    Pair(middle, end).mirror()
    assert end.images() == source.images()
    # As large, and not the same.
    done(middle.driver.put(blob_path(digest_of(large)), large[::-1]))
    (source.driver.root / blob_path(digest_of(large))).write_bytes(large[::-1])  # type: ignore[attr-defined]
    for pair in (Pair(middle, empty_folder(tmp_path, "third")), Pair(source, empty_bucket(tmp_path, "fourth"))):
        result, status = pair.copy()
        assert (result["left_out"], status) == (["app:1", f"app@{digest_of(image(large))}"], commands.FOUND)
        assert not pair.target.driver.exists(blob_path(digest_of(large)))


# ----- parts ---------------------------------------------------------------------------------------------------------


def test_a_tag_comes_with_its_platforms_and_what_is_about_it(folders: Pair) -> None:
    registry = folders.source.registry
    fill(registry)
    result, status = folders.copy(tags=["app:2"])
    assert status == commands.FINE
    signature = f"{digest_of(image(b'layer')).replace(':', '-')}.sig"
    assert result["tags"] == ["app:2", f"app:{signature}"]
    # That which is about it has a tag of its own, which nobody asked for; it came all the same.
    assert folders.target.registry.missing("app", digest_of(image(b"sbom", subject=image(b"layer")))) == ""
    assert folders.target.registry.missing("app", "1") != ""
    whole(folders.target)
    folders.copy(tags=["app:all"])
    assert folders.target.registry.missing("app", "all") == ""
    whole(folders.target)


def test_repositories_are_chosen_by_patterns(folders: Pair) -> None:
    fill(folders.source.registry)
    result, _status = folders.copy(repositories=["team/*"])
    assert result["tags"] == ["team/lib:1"]
    with pytest.raises(StoreError, match="none/\\*"):
        folders.copy(repositories=["none/*"])
    with pytest.raises(StoreError, match="has no app:9"):
        folders.copy(tags=["app:9"])


def test_a_part_that_comes_back_takes_nothing_away(folders: Pair) -> None:
    fill(folders.source.registry)
    folders.mirror()
    folders.source.delete(images=["app:1"])
    push(folders.source.registry, "app", "new", b"new")
    result, _status = folders.back().copy(tags=["app:1"])
    assert result["tags"] == ["app:1"]
    assert folders.source.registry.missing("app", "1") == ""
    assert folders.source.registry.missing("app", "new") == ""
    whole(folders.source)


# ----- a mirror ------------------------------------------------------------------------------------------------------


def test_what_was_deleted_goes_and_can_be_brought_back(folders: Pair) -> None:
    registry = folders.source.registry
    fill(registry)
    folders.mirror()
    done(registry.delete_tag("app", "1"))
    push(registry, "app", "2", b"moved")
    folders.source.driver.delete("repositories/team")
    result = folders.mirror()
    assert result["removed"]["tags"] == ["app:1", "team/lib:1"]
    assert without_history(folders.target) == without_history(folders.source)
    whole(folders.target)
    assert folders.target.undo(result["run"])["files"] > 0
    assert folders.target.registry.missing("team/lib", "1") == ""


def test_what_the_source_has_lost_stays_in_the_target(folders: Pair) -> None:
    registry = folders.source.registry
    fill(registry)
    folders.mirror()
    folders.source.driver.delete(blob_path(digest_of(b"another")))
    folders.source.driver.delete(layer_path("app", digest_of(b"amd64")))
    folders.source.driver.delete(revision_path("app", digest_of(image(b"layer"))))
    result, status = folders.copy(mirror=True)
    assert folders.target.registry.missing("app", "1") == ""
    assert folders.target.registry.missing("app", "2") == ""
    assert folders.target.registry.missing("app", "all") == ""
    whole(folders.target)
    assert (result["removed"]["tags"], status) == ([], commands.FINE)


def test_what_is_damaged_is_left_out_and_named(folders: Pair) -> None:
    fill(folders.source.registry)
    (folders.source.driver.root / blob_path(digest_of(b"another"))).write_bytes(b"ANOTHER")  # type: ignore[attr-defined]
    folders.source.driver.delete(blob_path(digest_of(b"amd64")))
    result, status = folders.copy(mirror=True)
    assert status == commands.FOUND
    lacking = {
        digest_of(image(b"layer", b"another")),
        digest_of(image(b"amd64")),
        digest_of(index(image(b"amd64"), image(b"arm64"))),
    }
    assert result["left_out"] == sorted({"app:1", "app:all", *(f"app@{one}" for one in lacking)})
    assert digest_of(b"another") in result["problems"][1]
    whole(folders.target)
    # Somebody pushes it again, once what is damaged is gone.
    folders.source.driver.delete(blob_path(digest_of(b"another")))
    folders.source.driver.delete(layer_path("app", digest_of(b"another")))
    push(folders.source.registry, "app", "1", b"layer", b"another")
    assert folders.copy(mirror=True)[0]["tags"] == ["app:1"]


def test_what_nobody_has_pulled_of_another_registrys_image_is_no_loss(folders: Pair) -> None:
    fill(folders.source.registry)
    folders.source.driver.delete(blob_path(digest_of(b"amd64")))
    folders.source.document["mirrors"] = ["app"]
    folders.mirror()
    # What is there is whole, and what is not whole comes again from there.
    assert folders.target.registry.missing("app", "1") == ""
    whole(folders.target)


def test_platforms_that_nobody_has_asked_another_registry_for_keep_no_image_out(folders: Pair) -> None:
    _index, platforms = push_index(folders.source.registry, "hub/app", "all", b"amd64", b"arm64")
    for path in (
        revision_path("hub/app", platforms[1]),
        layer_path("hub/app", digest_of(b"arm64")),
        blob_path(platforms[1]),
        blob_path(digest_of(b"arm64")),
    ):
        folders.source.driver.delete(path)
    folders.source.document["mirrors"] = folders.target.document["mirrors"] = ["hub"]
    whole(folders.source)
    folders.mirror()
    assert folders.target.images() == folders.source.images()
    whole(folders.target)
    # Of an image of one's own, that would be a loss.
    folders.source.document["mirrors"] = []
    shutil.rmtree(folders.target.driver.root)  # type: ignore[attr-defined]
    assert folders.copy()[0]["left_out"][0] == "hub/app:all"


# ----- what is refused -----------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Pair:
    """Provide a folder with images and its copy."""
    pair = Pair(folder(tmp_path), empty_folder(tmp_path))
    fill(pair.source.registry)
    pair.mirror()
    return pair


def refused(pair: Pair, sentence: str, **options: Any) -> None:
    """Check that a copy is refused, and changes nothing."""
    before = pair.target.images()
    with pytest.raises(StoreError, match=sentence):
        pair.copy(mirror=True, **options)
    assert pair.target.images() == before


def test_another_storages_copy_is_not_overwritten(two: Pair, tmp_path: Path) -> None:
    other = folder(tmp_path / "other")
    fill(other.registry)
    refused(Pair(other, two.target), f"is a copy of {two.source.store().name}, and not of {other.store().name}")


def test_a_registry_that_is_in_use_is_not_overwritten(two: Pair) -> None:
    two.target.driver.age(100)
    push(two.target.registry, "app", "here", b"here")
    refused(two, "holds something newer than the last copy")
    refused(two, "--replace names /wrong", replace="/wrong")
    result = two.mirror(replace=str(two.target.driver.folder))  # type: ignore[attr-defined]
    assert result["removed"]["tags"] == ["app:here"]


def test_what_a_clock_that_was_ahead_has_dated_is_no_use(two: Pair) -> None:
    push(two.source.registry, "app", "ahead", b"ahead")
    two.source.driver.age(-400 * DAY)
    two.mirror()
    two.mirror()
    two.target.driver.age(-DAY)
    refused(two, "holds something newer than the last copy")


def test_images_that_are_no_copy_are_not_overwritten(tmp_path: Path) -> None:
    pair = Pair(folder(tmp_path), folder(tmp_path / "other"))
    fill(pair.source.registry)
    push(pair.target.registry, "app", "here", b"here")
    refused(pair, "holds images that are no copy of")


def test_a_source_that_lost_most_of_it_takes_nothing_away(two: Pair) -> None:
    two.source.driver.delete("repositories/app")
    refused(two, "has 1 of the 9 images")


def test_a_source_that_is_not_there_takes_nothing_away(two: Pair) -> None:
    two.source.driver.delete("")
    refused(two, "holds no registry's storage")


def test_a_restore_names_what_it_replaces(two: Pair) -> None:
    back = two.back()
    refused(back, "holds images that are no copy of")
    before = two.source.images()
    push(two.source.registry, "app", "newer", b"newer")
    plan, _status = back.copy(apply=False, mirror=True, replace=back.target.store().name)
    assert plan["removed"]["tags"] == ["app:newer"]
    back.mirror(replace=back.target.store().name)
    assert two.source.images() == before
    # It is in use again, so the next restore has to name it as well.
    refused(back, "holds images that are no copy of")
    two.mirror()


def test_a_copy_that_was_not_finished_is_not_restored_from(two: Pair) -> None:
    push(two.source.registry, "app", "next", b"next")
    with pytest.raises(Killed):
        two.copy(mirror=True, target=Dying(two.target_store(), 3).store)
    back = Pair(two.target, empty_folder(Path(two.document["state_directory"]), "new"))
    refused(back, "and not finished")
    assert back.copy()[1] == commands.FINE
    assert back.target.registry.missing("app", "1") == ""


def test_a_target_without_room_is_refused_before(two: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    push(two.source.registry, "app", "large", bytes(3000))
    target = two.target_store()
    monkeypatch.setattr(target, "room", lambda: 2048)
    refused(two, r"has 2.0 KiB free, and 3\.\d KiB are to be copied", target=target)
    # It is as good a copy as it was.
    assert Pair(two.target, empty_folder(tmp_path, "new")).mirror()["tags"]


def test_a_target_that_shares_blobs_needs_room_where_it_cannot(two: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    push(two.source.registry, "app", "large", bytes(3000))
    two.to = {**two.to, "link_enabled": True}
    target = two.target_store()
    assert target.room()
    monkeypatch.setattr(target, "room", lambda: 2048)
    # As on another file system.
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(target, "shares", lambda _source: False)
        refused(two, "has 2.0 KiB free", target=target)
    two.mirror(target=target)


def test_a_target_that_is_not_mounted_is_refused(tmp_path: Path) -> None:
    pair = Pair(folder(tmp_path), folder(tmp_path / "other"))
    shutil.rmtree(pair.target.driver.folder)  # type: ignore[attr-defined]
    push(pair.source.registry, "app", "1", b"layer")
    with pytest.raises(StoreError, match="make it, or mount"):
        pair.copy()


def test_collection_and_copies_keep_each_other_out(two: Pair) -> None:
    source = two.source.store()
    source.open()
    with source.lock():
        with pytest.raises(Locked):
            two.copy()
        assert two.copy(unlocked=True)[1] == commands.FINE


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("images", "--to.folder: images is no absolute path"),
        ('{"folder": "/a", "s3": {"bucket": "b"}}', "--to needs exactly one of"),
        ('{"s3": {"bucket": "b", "at": "yesterday"}}', "write 'yesterday' as a time"),
        ("{", "--to: { is no JSON"),
        ("s3:///images", "--to.s3.bucket is missing"),
    ],
)
def test_a_place_that_is_wrong_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configuration.place("--to", text)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/mnt/backup", "/mnt/backup"),
        ("s3://bucket/some/prefix/", "s3://bucket/some/prefix"),
        ('{"s3": {"bucket": "b", "at": "2026-11-30T01:00:00Z"}}', "s3://b of 2026-11-30T01:00:00Z"),
    ],
)
def test_places_are_named_as_people_write_them(text: str, name: str) -> None:
    assert configuration.place("--to", text).name == name


@pytest.mark.usefixtures("aws")
def test_nothing_is_written_into_the_past(folders: Pair) -> None:
    fill(folders.source.registry)
    with pytest.raises(StoreError, match="nothing can be written into the past"):
        folders.copy(target=configuration.place("--to", '{"s3": {"bucket": "b", "at": "2026-11-30T01:00:00Z"}}'))


# ----- what happens meanwhile ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """What SIGKILL does: nothing happens any more."""


class Dying:
    """Ends a copy before it changes something for the given time."""

    def __init__(self, store: Store, step: int) -> None:
        self.store = store
        self._left = step
        for name in ("write", "fill", "adopt", "discard", "discard_folder", "settle", "forget"):
            setattr(store, name, self._counted(getattr(store, name)))

    def _counted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Killed
            return original(*arguments)

        return counted


def test_a_copy_that_is_killed_leaves_whole_images_and_the_next_one_goes_on(fast: Path) -> None:
    source = folder(fast)
    fill(source.registry)
    first = Pair(source, empty_folder(fast, "first"))
    first.mirror()
    done(source.registry.delete_tag("app", "1"))
    done(source.registry.delete_manifest("app", digest_of(image(b"layer", b"another"))))
    push(source.registry, "app", "2", b"moved")
    push_index(source.registry, "app", "all", b"amd64", b"riscv64")
    steps = 0
    while True:
        shutil.rmtree(fast / "again", ignore_errors=True)
        shutil.copytree(fast / "first", fast / "again")
        pair = Pair(
            source,
            Place(Files.__new__(Files), json.loads(json.dumps(first.target.document).replace("/first/", "/again/"))),
        )
        driver = pair.target.driver
        assert isinstance(driver, Files)
        driver.folder = fast / "again" / "images"
        driver.root = driver.folder / ROOT
        try:
            pair.copy(mirror=True, target=Dying(pair.target_store(), steps).store)
            break
        except Killed:
            whole(pair.target)
            pair.mirror()
            images = pair.target.images()
            assert {path: images.get(path) for path in source.images()} == source.images()
            whole(pair.target)
        # Some of the moments: all of them take half a minute.
        steps += 5
    assert steps >= 40


class Busy:
    """Calls back whenever a copy has read something from its source."""

    def __init__(self, store: Store, reached: Callable[[int], None]) -> None:
        self.store = store
        self.count = 0
        self._reached = reached
        files, read = store.files, store.read

        def busy_files(under: str, **options: Any) -> Iterator[Item]:
            self.stop()
            for number, item in enumerate(files(under, **options)):
                yield item
                if number % 3 == 0:
                    self.stop()
            self.stop()

        def busy_read(path: str) -> bytes | None:
            self.stop()
            return read(path)

        store.files = busy_files  # type: ignore[method-assign]
        store.read = busy_read  # type: ignore[method-assign]

    def stop(self) -> None:
        """Let something else happen."""
        self._reached(self.count)
        self.count += 1


def mounted(registry: Registry) -> Steps:
    yield from registry.mount("lib", "app", digest_of(b"kept"))
    yield from registry.push("lib", [CONFIG], image(b"kept"), "new")


def moved_and_deleted(registry: Registry) -> Steps:
    """Move a tag, and delete the image that it had."""
    yield from registry.push("app", [CONFIG, b"next"], image(b"next"), "moving")
    yield from registry.delete_manifest("app", digest_of(image(b"moving")))


def index_deleted(registry: Registry) -> Steps:
    """Delete an index, then its platforms."""
    yield from registry.delete_manifest("app", digest_of(index(image(b"amd64"), image(b"arm64"))))
    yield from registry.delete_manifest("app", digest_of(image(b"amd64")))
    yield from registry.delete_manifest("app", digest_of(image(b"arm64")))


def indexed(registry: Registry) -> Steps:
    yield from registry.push("app", [CONFIG, b"riscv64"], image(b"riscv64"))
    yield from registry.put_manifest("app", index(image(b"riscv64"), image(b"kept")), "new")


REQUESTS: dict[str, Callable[[Registry], Steps]] = {
    "push": lambda r: r.push("app", [CONFIG, b"new"], image(b"new"), "new"),
    "push of a tag that moves": lambda r: r.push("app", [CONFIG, b"next"], image(b"next"), "moving"),
    "push of a tag that moves, and DELETE of its image": moved_and_deleted,
    "push of the same": lambda r: r.push("app", [CONFIG, b"kept"], image(b"kept"), "kept"),
    "push of an index": indexed,
    "mount, push": mounted,
    "DELETE a tag": lambda r: r.delete_tag("app", "going"),
    "DELETE by digest": lambda r: r.delete_manifest("app", digest_of(image(b"going"))),
    "DELETE of an index and its platforms": index_deleted,
}


def prepare(place: Place) -> None:
    registry = place.registry
    push(registry, "app", "kept", b"kept")
    push(registry, "lib", "kept", b"other")
    push(registry, "app", "moving", b"moving")
    push(registry, "app", "going", b"going")
    push_index(registry, "app", "all", b"amd64", b"arm64")


def expected(name: str) -> list[tuple[str, str]]:
    """Return what is complete before and is not deleted."""
    tags = [("app", "kept"), ("lib", "kept"), ("app", "moving")]
    if "DELETE a tag" not in name and "by digest" not in name:
        tags.append(("app", "going"))
    if "of an index and" not in name:
        tags.append(("app", "all"))
    return tags


def interleaved(source: Place, name: str, at: int, count: int, copy: Callable[[Store], None]) -> int:
    """Copy, and do a part of a request at some moment and the rest a little later; returns how many moments there were."""
    steps = REQUESTS[name](source.registry)

    def reached(number: int) -> None:
        # The first half at once, the second one three moments later.
        if number in (at, at + 3):
            try:
                for _ in zip(range(count if number == at else 10_000), steps):
                    pass
            except Refused:
                pass

    busy = Busy(source.store(), reached)
    copy(busy.store)
    return busy.count


def lacks(target: Place, name: str) -> list[str]:
    """Say what a copy lacks, and which of its tags lead to something that is not whole."""
    registry = target.registry
    tags = {
        (path.split("/")[1], path.split("/")[4])
        for path in target.driver.tree()
        if path.startswith("repositories/") and path.endswith("/current/link")
    }
    return [problem for one in [*expected(name), *sorted(tags)] if (problem := registry.missing(*one))]


def trees(directory: Path, *, renames: bool) -> Iterator[tuple[str, int, int, Place]]:
    """Yield each request, at some moments and after some steps, each with a fresh tree."""
    template = folder(directory / "template", renames=renames)
    prepare(template)
    for name, request in REQUESTS.items():
        length = sum(1 for _ in request(fresh(template, directory).registry)) + 1
        for at, count in itertools.product(range(0, 60, 2), range(1, length + 1, 2)):
            if (at // 2 + 3 * (count // 2) + 7 * renames) % 14 == 0:
                yield name, at, count, fresh(template, directory)


def fresh(template: Place, directory: Path) -> Place:
    shutil.rmtree(directory / "copy", ignore_errors=True)
    shutil.copytree(directory / "template", directory / "copy")
    driver = copies.copy(template.driver)
    assert isinstance(driver, Files)
    driver.folder, driver.root = directory / "copy" / "images", directory / "copy" / "images" / ROOT
    return Place(driver, json.loads(json.dumps(template.document).replace("/template/", "/copy/")))


@pytest.mark.parametrize("renames", [False, True], ids=["2.8", "3.x"])
def test_images_are_whole_in_a_copy_whatever_happens_meanwhile(fast: Path, renames: bool) -> None:
    problems = []
    tried = 0
    for name, at, count, source in trees(fast, renames=renames):
        shutil.rmtree(fast / "target", ignore_errors=True)
        pair = Pair(source, empty_folder(fast))
        interleaved(source, name, at, count, lambda store, pair=pair: _copied(pair, store))  # type: ignore[misc]
        tried += 1
        found = lacks(pair.target, name) + [one["sentence"] for one in pair.target.check()]
        if found:
            problems.append(f"{name}, {count} steps at moment {at}: {found}")
    assert problems == []
    assert tried > 40


def _copied(pair: Pair, store: Store) -> None:
    pair.copy(source=store, mirror=True)


def test_in_the_order_of_the_folder_images_are_lost(fast: Path) -> None:
    """What a program for any files does: `blobs` comes before `repositories`, and layers before tags."""
    lost = set()
    for name, at, count, source in trees(fast, renames=False):
        shutil.rmtree(fast / "target", ignore_errors=True)
        target = empty_folder(fast)
        interleaved(source, name, at, count, lambda store, target=target: _by_name(store, target.driver))  # type: ignore[misc]
        if lacks(target, name):
            lost.add(name)
    assert lost >= {"push", "push of a tag that moves", "push of an index"}


def _by_name(store: Store, to: Driver) -> None:
    store.open()
    for under in ("blobs", "repositories"):
        for item in sorted(store.files(under), key=lambda one: one.path.split("/")):
            content = store.read(item.path)
            if content is not None:
                done(to.put(item.path, content))


# ----- the past ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("aws")
def test_a_bucket_comes_back_as_it_was(tmp_path: Path) -> None:
    place = bucket(tmp_path)
    push(place.registry, "app", "1", b"layer")
    push_index(place.registry, "app", "all", b"amd64")
    before = without_history(place)
    place.driver.age(3600)
    push(place.registry, "app", "1", b"moved")
    place.driver.delete("blobs")
    place.driver.delete("repositories")
    assert place.images() == {}
    now = place.store().now()
    s3 = place.document["storage"]["s3"]
    pair = Pair(Place(place.driver, {**place.document, "storage": {"s3": {**s3, "at": iso(now - 1800)}}}), place)
    result = pair.mirror()
    assert result["copied"]["unread"] == result["copied"]["blobs"] > 0
    assert without_history(place) == before
    whole(place)
    # What is there now is replaced only if it is named, and then there is nothing to do.
    with pytest.raises(StoreError, match="holds images that are no copy"):
        pair.copy(mirror=True)
    assert pair.mirror(replace=place.store().name)["files"] == 0


@pytest.mark.usefixtures("aws")
def test_a_bucket_without_versions_has_no_past(tmp_path: Path) -> None:
    place = bucket(tmp_path, versioned=False)
    push(place.registry, "app", "1", b"layer")
    s3 = {**place.document["storage"]["s3"], "at": "2026-11-30T01:00:00Z"}
    with pytest.raises(StoreError, match="keeps no versions"):
        Pair(Place(place.driver, {**place.document, "storage": {"s3": s3}}), empty_folder(tmp_path)).copy()


# ----- details -------------------------------------------------------------------------------------------------------


def test_a_target_on_the_same_file_system_shares_blobs_if_it_may(tmp_path: Path) -> None:
    pair = Pair(folder(tmp_path), empty_folder(tmp_path))
    pair.to = {**pair.to, "link_enabled": True}
    fill(pair.source.registry)
    result = pair.mirror()
    assert result["copied"]["unread"] == result["copied"]["blobs"]
    for content, shared in ((blob_path(digest_of(b"layer")), True), (tag_path("app", "1"), False)):
        one, other = ((place.driver.root / content).stat() for place in (pair.source, pair.target))  # type: ignore[attr-defined]
        assert (one.st_ino == other.st_ino) == shared
        assert one.st_mtime == pytest.approx(other.st_mtime, abs=1e-5)


def test_no_more_bytes_pass_than_may() -> None:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    brake = Brake(100, pause, lambda: now[0])
    for _ in range(11):
        brake.take(50)
    assert now[0] == 5.0
    Brake(0, pause, lambda: now[0]).take(1 << 40)
    assert now[0] == 5.0


def test_nothing_leads_to_content_before_it_is_there_for_good(tmp_path: Path) -> None:
    pair = Pair(folder(tmp_path), empty_folder(tmp_path))
    fill(pair.source.registry)
    target = pair.target_store()
    order: list[str] = []
    fill_any, barrier = target.fill, target.barrier

    def noted(path: str, *rest: Any) -> None:
        order.append(_kind(path))
        fill_any(path, *rest)

    def waited() -> None:
        order.append("barrier")
        barrier()

    target.fill = noted  # type: ignore[method-assign, assignment]
    target.barrier = waited  # type: ignore[method-assign]
    pair.copy(target=target)
    stages = [kind for kind, _group in itertools.groupby(order)]
    kinds = [kind for kind in stages if kind != "barrier"]
    # Platforms before their index.
    assert kinds == ["blob", "layer", "revision", "revision", "index", "tag"]
    assert all(one == "barrier" for one in stages[1::2])


def _kind(path: str) -> str:
    if path.startswith("blobs/"):
        return "blob"
    if "/_layers/" in path:
        return "layer"
    if "/revisions/" in path:
        return "revision"
    return "tag" if path.endswith("/current/link") else "index"


def test_the_audit_log_tells_of_what_came_and_not_of_what_was_copied(two: Pair, tmp_path: Path) -> None:
    from drydock_store.__main__ import main  # noqa: PLC0415

    path, logs, target = tmp_path / "config.json", tmp_path / "logs", str(two.target.driver.folder)  # type: ignore[attr-defined]
    logs.mkdir()
    path.write_text(json.dumps({**two.document, "log_directory": str(logs)}), encoding="utf-8")
    copy = ["--config", str(path), "copy", "--apply"]
    assert main([*copy, "--to", target]) == commands.FINE
    assert list(logs.iterdir()) == []
    two.source.delete(tags=["app:1"])
    assert main([*copy, "--from", target, "--tag", "app:1"]) == commands.FINE
    [log] = logs.iterdir()
    [line] = log.read_text(encoding="utf-8").splitlines()
    assert (json.loads(line)["event"], json.loads(line)["tags"]) == ("copy", 1)


def test_the_command_line(two: Pair, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from drydock_store.__main__ import main  # noqa: PLC0415

    path = tmp_path / "config.json"
    path.write_text(json.dumps(two.document), encoding="utf-8")
    push(two.source.registry, "app", "3", b"three")
    copy = ["--config", str(path), "copy", "--to", str(two.target.driver.folder)]  # type: ignore[attr-defined]
    assert main([*copy, "--mirror"]) == commands.FINE
    shown = capsys.readouterr().out
    assert "tag app:3\n" in shown
    assert "2 blobs" in shown
    assert "add --apply" in shown
    assert main([*copy, "--mirror", "--apply", "--limit", "100", "--json"]) == commands.FINE
    assert json.loads(capsys.readouterr().out)["tags"] == ["app:3"]
    for words, sentence in (
        (["--mirror", "--tag", "app:1"], "--mirror is about all images"),
        (["--replace", "/x"], "add --mirror"),
        (["--limit", "-1"], "write 1 or more MiB"),
        (["--tag", "app"], "write it as REPOSITORY:TAG"),
        (["--to", ""], "say where to by --to, or where from by --from"),
        (["--to", str(two.source.driver.folder)], "is the storage itself"),  # type: ignore[attr-defined]
    ):
        assert main([*copy, *words]) == commands.WRONG
        assert sentence in capsys.readouterr().err
