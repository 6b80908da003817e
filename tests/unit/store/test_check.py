# SPDX-License-Identifier: GPL-3.0-or-later
"""Each defect gets exactly one sentence, a healthy storage none, also while somebody pushes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from drydock_store import commands
from drydock_store.inventory import look
from drydock_store.layout import blob_path, layer_path, revision_path, tag_path
from drydock_store.registry import Registry

from tests.unit.store.model import Files, digest_of, done, image, index, push, push_index
from tests.unit.store.places import DAY, Place, folder

LAYER = digest_of(b"layer")
IMAGE = digest_of(image(b"layer"))
OTHER = digest_of(image(b"layer", b"more"))
ARM = digest_of(image(b"arm"))


def store_with_images(directory: Path) -> Place:
    """Push two images that share a layer with another repository, and one of two platforms."""
    place = folder(directory)
    push(place.registry, "app", "1", b"layer")
    push(place.registry, "app", "2", b"layer", b"more")
    push(place.registry, "lib/x", "1", b"layer", b"more")
    push_index(place.registry, "multi", "latest", b"amd", b"arm")
    return place


def remove(place: Place, path: str) -> None:
    assert place.driver.delete(path)


def write(place: Place, path: str, content: bytes) -> None:
    done(place.driver.put(path, content))


def link_to_nowhere(place: Place, path: str) -> None:
    assert isinstance(place.driver, Files)
    (place.driver.root / path).symlink_to("/etc/hostname")


# What is broken, how many seconds ago, the kind, whose path, and the images that the sentence names.
DEFECTS: list[tuple[Callable[[Place], None], str, str, list[str]]] = [
    (lambda p: remove(p, blob_path(LAYER)), "missing_blob", blob_path(LAYER), ["app:1", "app:2", "lib/x:1"]),
    (lambda p: remove(p, blob_path(IMAGE)), "missing_blob", blob_path(IMAGE), ["app:1"]),
    (lambda p: write(p, blob_path(LAYER), b"lay"), "truncated_blob", blob_path(LAYER), ["app:1", "app:2", "lib/x:1"]),
    (lambda p: write(p, blob_path(IMAGE), b"{}"), "truncated_blob", blob_path(IMAGE), ["app:1"]),
    (lambda p: write(p, blob_path(LAYER), b"lAyer"), "wrong_digest", blob_path(LAYER), ["app:1", "app:2", "lib/x:1"]),
    (lambda p: remove(p, revision_path("app", IMAGE)), "dangling_tag", tag_path("app", "1"), ["app:1"]),
    (lambda p: remove(p, revision_path("multi", ARM)), "dangling_link", revision_path("multi", ARM), []),
    (lambda p: remove(p, layer_path("lib/x", LAYER)), "dangling_link", layer_path("lib/x", LAYER), []),
    (
        lambda p: write(p, layer_path("app", digest_of(b"nothing")), digest_of(b"nothing").encode()),
        "dangling_link",
        layer_path("app", digest_of(b"nothing")),
        [],
    ),
    (
        lambda p: write(p, layer_path("app", LAYER), b"sha256:"),
        "unreadable_link",
        layer_path("app", LAYER),
        ["app:1", "app:2", "lib/x:1"],
    ),
    (
        lambda p: write(p, layer_path("app", LAYER), OTHER.encode()),
        "unreadable_link",
        layer_path("app", LAYER),
        ["app:1", "app:2", "lib/x:1"],
    ),
    (lambda p: write(p, tag_path("app", "1"), b""), "unreadable_link", tag_path("app", "1"), ["app:1"]),
    (lambda p: remove(p, tag_path("app", "1")), "dangling_tag", "repositories/app/_manifests/tags/1", ["app:1"]),
    (lambda p: write(p, "repositories/app/notes.txt", b"?"), "foreign_file", "repositories/app/notes.txt", []),
    (lambda p: write(p, "backup/x", b"?"), "foreign_file", "backup", []),
    (lambda p: link_to_nowhere(p, "repositories/app/_layers/x"), "foreign_file", "repositories/app/_layers/x", []),
]


@pytest.mark.parametrize(
    ("plant", "kind", "path", "images"), DEFECTS, ids=[f"{kind} {path[-20:]}" for _, kind, path, _ in DEFECTS]
)
def test_each_defect_has_one_sentence(
    tmp_path: Path, plant: Callable[[Place], None], kind: str, path: str, images: list[str]
) -> None:
    place = store_with_images(tmp_path)
    assert place.check(digests=True) == []
    plant(place)
    before = place.driver.tree()
    found = place.check(digests=True)
    assert [(one["kind"], one["path"]) for one in found] == [(kind, path)]
    assert set(images) <= set(found[0]["images"])
    assert found[0]["sentence"].startswith(f"{path} ")
    assert found[0]["sentence"].endswith(".")
    assert "{" not in found[0]["sentence"]
    assert place.driver.tree() == before


def test_a_push_that_goes_on_is_no_defect(tmp_path: Path) -> None:
    place = store_with_images(tmp_path)
    length = sum(1 for _ in place.registry.push("app", [b"{}", b"new"], image(b"new"), "3"))
    for count in range(1, length):
        layer = str(count).encode()
        pushes = place.registry.push("app", [b"{}", layer], image(layer), f"t{count}")
        for _ in range(count):
            next(pushes)
        assert place.check(pause=lambda _, rest=pushes: done(rest) and None) == []  # type: ignore[misc]


def test_a_manifest_that_was_never_read_and_cannot_be(tmp_path: Path) -> None:
    place = store_with_images(tmp_path)
    write(place, blob_path(IMAGE), b"x" * len(image(b"layer")))
    [found] = place.check()
    assert (found["kind"], found["path"], found["images"]) == ("unreadable_manifest", blob_path(IMAGE), ["app:1"])


def test_what_is_mended_before_the_second_look_is_no_defect(tmp_path: Path) -> None:
    place = store_with_images(tmp_path)
    remove(place, blob_path(LAYER))
    assert place.check(pause=lambda _: done(place.registry.upload("app", b"layer")) and None) == []


def test_a_file_that_a_registry_left_behind_is_foreign_after_a_day(tmp_path: Path) -> None:
    place = store_with_images(tmp_path)
    left = f"{layer_path('app', LAYER)}.{'0' * 8}-0000-0000-0000-{'0' * 12}.tmp"
    write(place, left, b"sha")
    assert place.check() == []
    place.driver.age(2 * DAY)
    assert [one["path"] for one in place.check()] == [left]


def test_an_index_may_be_of_an_index(tmp_path: Path) -> None:
    place = store_with_images(tmp_path)
    _, platforms = push_index(place.registry, "deep", "inner", b"amd", b"arm")
    done(place.registry.put_manifest("deep", index(index(image(b"amd"), image(b"arm"))), "outer"))
    remove(place, blob_path(digest_of(b"arm")))
    [found] = place.check()
    assert {"deep:inner", "deep:outer", "multi:latest"} <= set(found["images"])
    assert platforms


def test_images_of_other_registries_are_not_pulled(tmp_path: Path) -> None:
    place = store_with_images(tmp_path)
    nobody = Registry({"socket": "/nowhere"})
    store = place.store()
    store.open()
    pulled, defects = commands._pull(look(store, place.memory()), nobody, 9, ("app", "lib", "multi"))
    assert (pulled, defects) == ({"images": 0, "parts": 0}, [])
