# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a storage holds: a look at all of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple, Optional

from drydock_store import layout
from drydock_store.layout import (
    Blob,
    Foreign,
    Layer,
    Revision,
    Tag,
    TagIndex,
    Temporary,
    Upload,
    blob_path,
    parse,
    tag_path,
)
from drydock_store.manifests import Manifest, read_manifest
from drydock_store.memory import Memory
from drydock_store.store import Item, Store

# Files of the future say that the clock was changed: ages mean nothing then.
CLOCK_SECONDS = 600


class Tagged(NamedTuple):
    """What a tag means, and when its link was written."""

    digest: str
    time: float
    # When it had been pushed, where its link was written again since it came back from the trash.
    before: Optional[float] = None

    @property
    def pushed(self) -> float:
        """Return when it was pushed."""
        return self.time if self.before is None else self.before


class Repository:
    """What a repository holds."""

    __slots__ = ("indexed", "layers", "revisions", "tags", "targets", "uploads", "uploads_size")

    def __init__(self) -> None:
        # Digest to the time when its link was written.
        self.layers: dict[str, float] = {}
        self.revisions: dict[str, float] = {}
        self.tags: dict[str, Tagged] = {}
        # Names of all tags that have any file.
        self.indexed: set[str] = set()
        # Where a link leads whose name is not the blob's own digest: sha512 to sha256.
        self.targets: dict[str, str] = {}
        self.uploads: dict[str, float] = {}
        self.uploads_size = 0


class Inventory:
    """What a storage held at a time."""

    def __init__(self, time: float) -> None:
        self.time = time
        self.repositories: dict[str, Repository] = {}
        # Size and time of each.
        self.blobs: dict[str, tuple[int, float]] = {}
        self.manifests: dict[str, Manifest] = {}
        # Manifests that cannot be read, and why.
        self.unreadable: dict[str, str] = {}
        # Links that hold no digest.
        self.unreadable_links: set[str] = set()
        self.foreign: list[Item] = []
        # Symbolic links and the like among repositories: what a registry finds behind them is not known.
        self.hidden: list[str] = []
        self.links = 0
        # When the newest file was written, and which one that is.
        self.newest = (0.0, "")

    def repository(self, name: str) -> Repository:
        """Return a repository, a new one where there was none."""
        found = self.repositories.get(name)
        if found is None:
            found = self.repositories[name] = Repository()
        return found

    # ----- what is needed --------------------------------------------------------------------------------------------

    def knows_all(self, repository: Repository) -> bool:
        """Tell whether it is known what each image of a repository refers to."""
        return all(digest in self.manifests for digest in repository.revisions)

    def hides(self, name: str) -> bool:
        """Tell whether something of a repository is behind a symbolic link."""
        return any(path.startswith(f"{layout.REPOSITORIES}/{name}/_") for path in self.hidden)

    def manifests_of(self, repository: Repository) -> list[Manifest]:
        """Return what is known of the images of a repository."""
        return [self.manifests[digest] for digest in repository.revisions if digest in self.manifests]

    def below(self, digest: str) -> set[str]:
        """Return the digests of an image and of all that is below it, through indexes of indexes."""
        queue, below = [digest], set[str]()
        while queue:
            one = queue.pop()
            below.add(one)
            manifest = self.manifests.get(one)
            if manifest:
                below.update(manifest.blobs)
                queue += [child for child in manifest.children if child not in below]
        return below

    def needed_layers(self, repository: Repository) -> set[str]:
        """Return the digests that images of a repository refer to, by whatever name."""
        needed = set(repository.revisions)
        for manifest in self.manifests_of(repository):
            needed.update(manifest.blobs, manifest.children)
            needed.add(manifest.subject)
        needed.update([repository.targets[digest] for digest in needed if digest in repository.targets])
        return needed

    def needed_blobs(self) -> set[str]:
        """Return the digests of blobs that anything leads to: a link, a tag, an image."""
        needed: set[str] = set()
        for repository in self.repositories.values():
            needed.update(repository.layers, repository.revisions, repository.targets.values())
            needed.update(tagged.digest for tagged in repository.tags.values())
            for manifest in self.manifests_of(repository):
                needed.update(manifest.blobs, manifest.children)
        return needed

    def stays(self, repository: Repository) -> set[str]:
        """Return the images that a tag or an index of a repository leads to."""
        led = {tagged.digest for tagged in repository.tags.values()}
        for manifest in self.manifests_of(repository):
            led.update(manifest.children)
        return led


def look(store: Store, memory: Memory, *, foreign: bool = False) -> Inventory:
    """Look at all of a storage: links before blobs, since registries write them in the other order."""
    found = Inventory(store.now())
    _links(store, found, foreign=foreign)
    _tags(store, found)
    read_manifests(store, found, memory)
    _blobs(store, found, foreign=foreign)
    return found


def look_to_copy(store: Store, memory: Memory) -> Inventory:
    """Look so that all that a tag leads to is found with it: what tags mean first, then links, then blobs."""
    early = Inventory(store.now())
    _links(store, early, foreign=False)
    _tags(store, early)
    found = Inventory(early.time)
    found.unreadable_links |= early.unreadable_links
    _links(store, found, foreign=False)
    for name, repository in found.repositories.items():
        tags = early.repositories[name].tags if name in early.repositories else {}
        # One that came meanwhile is for the next copy, as is one that was being written.
        repository.tags = {tag: tags[tag] for tag in repository.tags if tag in tags}
    read_manifests(store, found, memory)
    _blobs(store, found, foreign=False)
    return found


def _blobs(store: Store, found: Inventory, *, foreign: bool) -> None:
    for item in store.files(layout.BLOBS, foreign=foreign):
        thing = parse(item.path)
        if isinstance(thing, Blob) and not item.special:
            found.blobs[thing.digest] = (item.size, item.time)
            found.newest = max(found.newest, (item.time, item.path))
        else:
            _other(found, item, thing)


def _other(found: Inventory, item: Item, thing: layout.Thing) -> None:
    # What is being written is nobody's business; a day later it was left behind.
    if not isinstance(thing, Temporary) or item.special or found.time - item.time > 86400:
        found.foreign.append(item)


def _links(store: Store, found: Inventory, *, foreign: bool) -> None:
    other: dict[str, Layer | Revision] = {}
    for item in store.files(layout.REPOSITORIES, foreign=foreign):
        thing = parse(item.path)
        if item.special:
            found.hidden.append(item.path)
        if item.special or isinstance(thing, (Foreign, Temporary, Blob)):
            _other(found, item, thing)
            continue
        found.newest = max(found.newest, (item.time, item.path))
        repository = found.repository(thing.repository)
        if isinstance(thing, Upload):
            repository.uploads[thing.upload] = max(item.time, repository.uploads.get(thing.upload, 0))
            repository.uploads_size += item.size
            continue
        found.links += 1
        if isinstance(thing, Tag):
            repository.indexed.add(thing.tag)
            # What it leads to is read below.
            repository.tags[thing.tag] = Tagged("", item.time)
            continue
        if isinstance(thing, TagIndex):
            repository.indexed.add(thing.tag)
            continue
        (repository.layers if isinstance(thing, Layer) else repository.revisions)[thing.digest] = item.time
        if not thing.digest.startswith("sha256:"):
            other[item.path] = thing
        elif item.size != len(thing.digest):
            found.unreadable_links.add(item.path)
    for path, content in store.read_many(other):
        target = _target(content)
        if target:
            found.repository(other[path].repository).targets[other[path].digest] = target
        elif content is not None:
            found.unreadable_links.add(path)


def _target(content: bytes | None) -> str:
    text = (content or b"").decode("ascii", "replace")
    return sys.intern(text) if layout.is_digest(text) else ""


def _tags(store: Store, found: Inventory) -> None:
    paths = {tag_path(name, tag): (name, tag) for name, one in found.repositories.items() for tag in one.tags}
    for path, content, before in store.read_links(paths):
        name, tag = paths[path]
        tags = found.repositories[name].tags
        target = _target(content)
        if target:
            tags[tag] = Tagged(target, tags[tag].time, before)
            continue
        del tags[tag]
        if content is not None:
            found.unreadable_links.add(path)


def read_manifests(store: Store, found: Inventory, memory: Memory) -> None:
    """Read the manifests that no earlier run has read."""
    wanted = {digest: "" for repository in found.repositories.values() for digest in repository.revisions}
    for repository in found.repositories.values():
        wanted.update((digest, target) for digest, target in repository.targets.items() if digest in wanted)
    new = {}
    for digest, target in wanted.items():
        known = memory.manifests.get(digest)
        if known:
            found.manifests[digest] = known
        elif digest not in found.manifests:
            new[blob_path(target or digest)] = digest
    for path, content in store.read_many(new):
        digest = new[path]
        manifest = "its blob is missing" if content is None else read_manifest(digest, content)
        if isinstance(manifest, Manifest):
            found.manifests[digest] = manifest
        else:
            found.unreadable[digest] = manifest
    memory.manifests.update(found.manifests)


def images_of(found: Inventory, digests: Iterable[str]) -> dict[str, list[str]]:
    """Return which images need each of some blobs, as `repository:tag` or `repository@digest`."""
    wanted = {digest: set[str]() for digest in digests}
    for name, repository in found.repositories.items() if wanted else ():
        names: dict[str, set[str]] = {}
        for tag, tagged in repository.tags.items():
            names.setdefault(tagged.digest, set()).add(f"{name}:{tag}")
        for digest in repository.revisions:
            of_it = names.get(digest)
            below = found.below(digest)
            for one in below | {repository.targets.get(one, one) for one in below}:
                if one in wanted:
                    wanted[one] |= of_it or {f"{name}@{digest}"}
        for digest, tags in names.items():
            if digest in wanted:
                wanted[digest] |= tags
    # A platform without a tag is named by what has one.
    return {
        digest: sorted({one for one in images if ":" in one.partition("@")[0]} or images)
        for digest, images in wanted.items()
    }
