# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for defects. It changes nothing, and reports what it has found twice: pushes and deletes go on meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from drydock_store.inventory import Inventory, Repository, images_of, look
from drydock_store.layout import (
    BLOBS,
    OURS,
    REPOSITORIES,
    Blob,
    Layer,
    Revision,
    Tag,
    blob_path,
    layer_path,
    parse,
    revision_path,
    tag_folder,
    tag_path,
)
from drydock_store.manifests import ELSEWHERE
from drydock_store.memory import Memory
from drydock_store.store import Store, iso


class Defect(NamedTuple):
    """Something that is wrong with a file."""

    kind: str
    path: str
    # What is wrong, and what to do.
    what: str
    # What is affected: a blob's digest, or images.
    blob: str = ""
    images: tuple[str, ...] = ()


_PUSH = "push them again"


def check(
    store: Store, memory: Memory, *, digests: bool, wait: Callable[[], None], mirrors: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the defects, and how much was looked at.

    Of images below the names of mirrors, what nobody has pulled yet is no defect: it comes from the other registry.
    """
    found = look(store, memory, foreign=True)
    checked = {
        "blobs": len(found.blobs),
        "links": found.links,
        "manifests": len(found.manifests),
        "bytes": 0,
    }
    defects = _defects(store, found, mirrors)
    if digests:
        defects.update(_contents(store, found, defects, checked))
    if defects:
        wait()
        found = look(store, memory, foreign=True)
        again = _defects(store, found, mirrors)
        suspects = {path: defect for path, defect in defects.items() if path not in again}
        for path, defect in suspects.items():
            if digests and defect.kind in ("wrong_digest", "unreadable_link"):
                again.update(_contents_of(store, [path], checked))
        defects = {
            path: again[path] for path, defect in defects.items() if path in again and again[path].kind == defect.kind
        }
    memory.keep_manifests(found.manifests)
    named = images_of(found, {defect.blob for defect in defects.values() if defect.blob})
    return {
        "time": iso(found.time),
        "defects": [
            {
                "kind": defect.kind,
                "path": path,
                "sentence": f"{path} {_sentence(defect, list(defect.images) or named.get(defect.blob, []))}",
                "images": list(defect.images) or named.get(defect.blob, []),
            }
            for path, defect in sorted(defects.items())
        ],
        "checked": checked,
        "problems": [],
    }


def _sentence(defect: Defect, images: list[str]) -> str:
    affected = (
        f" ({', '.join(images[:5])}{f' and {len(images) - 5} more' if len(images) > 5 else ''})" if images else ""
    )
    return f"{defect.what.replace('{images}', affected)}."


def _defects(store: Store, found: Inventory, mirrors: Sequence[str]) -> dict[str, Defect]:
    """Return what can be told without reading all content, by path: one defect for each."""
    defects: dict[str, Defect] = {}

    def say(kind: str, path: str, what: str, blob: str = "", images: Iterable[str] = ()) -> None:
        defects.setdefault(path, Defect(kind, path, what, blob, tuple(images)))

    for path in found.unreadable_links:
        thing = parse(path)
        names = [f"{thing.repository}:{thing.tag}"] if isinstance(thing, Tag) else []
        blob = thing.digest if isinstance(thing, (Layer, Revision)) else ""
        say("unreadable_link", path, f"holds no digest: images{{images}} cannot be pulled; {_PUSH}", blob, names)
    for name, repository in found.repositories.items():
        _repository(found, name, repository, say, whole=name.split("/")[0] not in mirrors)
    for digest, why in found.unreadable.items():
        if digest in found.blobs:
            say(
                "unreadable_manifest",
                blob_path(digest),
                f"is no manifest ({why}){{images}}: delete these images and {_PUSH}",
                digest,
            )
    for item in found.foreign:
        what = "is no regular file, and never followed" if item.special else "is nothing that a registry has written"
        say("foreign_file", item.path, f"{what}: remove it, or move it elsewhere")
    for name in store.top():
        if name not in (BLOBS, REPOSITORIES, OURS):
            say("foreign_file", name, "is nothing that a registry has written: remove it, or move it elsewhere")
    return defects


def _repository(found: Inventory, name: str, repository: Repository, say: Callable[..., None], *, whole: bool) -> None:
    for tag, tagged in repository.tags.items():
        if tagged.digest not in repository.revisions:
            say(
                "dangling_tag",
                tag_path(name, tag),
                f"leads to {tagged.digest}, which the repository does not have{{images}}: delete the tag, or push it again",
                images=[f"{name}:{tag}"],
            )
    for tag in repository.indexed - set(repository.tags):
        if tag_path(name, tag) not in found.unreadable_links:
            say(
                "dangling_tag",
                tag_folder(name, tag),
                "does not say what the tag means{images}: delete the tag, or push it again",
                images=[f"{name}:{tag}"],
            )
    needed: set[str] = set()
    for digest in repository.revisions:
        manifest = found.manifests.get(digest)
        if repository.targets.get(digest, digest) not in found.blobs:
            _missing(repository.targets.get(digest, digest), say)
        if not manifest:
            continue
        lies = found.blobs.get(repository.targets.get(digest, digest))
        if lies and lies[0] != manifest.size:
            what = f"has {lies[0]} bytes in place of {manifest.size}{{images}}: remove the file and {_PUSH}"
            say("truncated_blob", blob_path(repository.targets.get(digest, digest)), what, digest)
        for child in manifest.children if whole else ():
            if child not in repository.revisions:
                say(
                    "dangling_link",
                    revision_path(name, child),
                    f"is missing, though an index leads to it: pulls of that platform fail{{images}}; {_PUSH}",
                    child,
                    [f"{name}@{digest}"],
                )
        for blob, size in zip(manifest.blobs, manifest.sizes):
            if size == ELSEWHERE:
                continue
            needed.add(blob)
            if not whole and blob not in repository.layers:
                continue
            target = repository.targets.get(blob, blob)
            if target not in found.blobs:
                if blob.startswith("sha256:") or blob in repository.targets:
                    _missing(target, say)
            elif 0 <= size != found.blobs[target][0]:
                say(
                    "truncated_blob",
                    blob_path(target),
                    f"has {found.blobs[target][0]} bytes in place of {size}{{images}}: remove the file and {_PUSH}",
                    target,
                )
            if blob not in repository.layers and target in found.blobs:
                say(
                    "dangling_link",
                    layer_path(name, blob),
                    f"is missing, though an image needs it{{images}}: {_PUSH}",
                    images=[f"{name}@{digest}"],
                )
    for digest in repository.layers:
        target = repository.targets.get(digest, digest)
        if digest not in needed and target not in found.blobs and target not in repository.revisions:
            say(
                "dangling_link",
                layer_path(name, digest),
                "leads to a blob that is not there; no image needs it: `collect` removes it",
            )


def _missing(digest: str, say: Callable[..., None]) -> None:
    say(
        "missing_blob",
        blob_path(digest),
        f"is missing{{images}}: bring it back by `undo` if `collect` took it, or {_PUSH}",
        digest,
    )


def _contents(store: Store, found: Inventory, known: dict[str, Defect], checked: dict[str, int]) -> dict[str, Defect]:
    """Read everything."""
    paths = [blob_path(digest) for digest in found.blobs]
    for name, repository in found.repositories.items():
        paths += [layer_path(name, digest) for digest in repository.layers]
        paths += [revision_path(name, digest) for digest in repository.revisions]
    return _contents_of(store, (path for path in paths if path not in known), checked)


def _contents_of(store: Store, paths: Iterable[str], checked: dict[str, int]) -> dict[str, Defect]:
    defects: dict[str, Defect] = {}
    links: dict[str, str] = {}
    for path in paths:
        thing = parse(path)
        if not isinstance(thing, Blob):
            if isinstance(thing, (Layer, Revision)):
                links[path] = thing.digest
            continue
        algorithm, _separator, value = thing.digest.partition(":")
        try:
            total = hashlib.new(algorithm)
            for chunk in store.chunks(path):
                total.update(chunk)
                checked["bytes"] += len(chunk)
        except (FileNotFoundError, ValueError):
            continue
        if total.hexdigest() != value:
            what = f"is not what its digest says{{images}}: remove the file and {_PUSH}"
            defects[path] = Defect("wrong_digest", path, what, thing.digest)
    for path, content in store.read_many(links):
        digest = links[path]
        if content is not None and digest.startswith("sha256:") and content != digest.encode():
            what = f"does not hold its own digest: images{{images}} cannot be pulled; {_PUSH}"
            defects[path] = Defect("unreadable_link", path, what, digest)
    return defects
