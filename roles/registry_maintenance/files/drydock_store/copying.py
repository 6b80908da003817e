# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies a storage into another one while registries serve.

A registry writes blobs first, then links to them, and what a tag means last. So the source is read in the other order, which finds all
that a tag leads to, and the target is written in the same one. An image gets its link in the target when all of it is there: so each
image in the target is whole at any moment, whenever a copy ends and whatever the source lacks. Uploads that go on stay out.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, NamedTuple, Optional, TypeVar

from drydock_store.change import Change, new_run
from drydock_store.commands import FINE, FOUND, Outcome, Pause
from drydock_store.config import Config
from drydock_store.inventory import Inventory, Repository, look, look_to_copy
from drydock_store.layout import (
    OURS,
    REPOSITORIES,
    Tag,
    attached_to,
    blob_path,
    layer_path,
    parse,
    repository_matches,
    revision_path,
    tag_folder,
    tag_path,
)
from drydock_store.manifests import ELSEWHERE
from drydock_store.memory import Memory
from drydock_store.screen import size as shown_size
from drydock_store.store import Store, StoreError, iso

# What a finished copy says of itself, in its target.
_MARKER = f"{OURS}/copy.json"
# A tag that moves while its old image is deleted is found by another pass; what two passes lack is not there.
_PASSES = 5
_TELL_SECONDS = 10
# Below this share of its images, a source has lost something rather than that somebody has tidied up.
_LEAST_LEFT = 0.5

One = TypeVar("One")


class Options(NamedTuple):
    """What a copy is to do."""

    apply: bool = False
    # Take away from the target what the source does not have.
    mirror: bool = False
    # Only these: patterns of names, and tags as `repository:tag`, with what belongs to their images.
    repositories: Sequence[str] = ()
    tags: Sequence[str] = ()
    # The target whose images may be replaced although they are no copy of the source.
    replace: str = ""
    # Bytes in a second, or 0 for as many as there can be.
    limit: int = 0
    # Write nothing into the source, not even a lock.
    unlocked: bool = False


class _Damaged(Exception):
    """What a blob holds is not what its digest says."""


class Brake:
    """Lets so many bytes pass in a second."""

    def __init__(self, limit: int, pause: Pause, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        """Wait until that many may pass."""
        if not self._limit:
            return
        with self._lock:
            now = self._clock()
            begins = max(self._free_at, now)
            self._free_at = begins + count / self._limit
        if begins > now:
            self._pause(begins - now)


def copy(
    source: Store,
    target: Store,
    memory: Memory,
    settings: Config,
    options: Options,
    *,
    pause: Pause = time.sleep,
    tell: Callable[[str], None] = lambda _text: None,
) -> Outcome:
    """Copy a storage, or say what would be copied."""
    return _Copy(source, target, memory, settings, options, pause, tell).run()


class _Copy:
    def __init__(
        self,
        source: Store,
        target: Store,
        memory: Memory,
        settings: Config,
        options: Options,
        pause: Pause,
        tell: Callable[[str], None],
    ) -> None:
        self._source = source
        self._target = target
        self._memory = memory
        self._settings = settings
        self._options = options
        self._pause = pause
        self._tell = tell
        self._brake = Brake(options.limit, pause)
        self._lock = threading.Lock()
        self._restores = False
        self._told_at = 0.0
        self._blobs = self._size = self._unread = self._links = 0
        self._to_copy = (0, 0)
        self._tags: set[str] = set()
        self._damaged: set[str] = set()

    def run(self) -> Outcome:
        """Copy, and say what was done."""
        options = self._options
        self._source.open()
        self._check_source()
        fresh = self._target.blank()
        if options.apply:
            self._target.open_to_fill()
            if options.mirror:
                self._target.open_to_change()
        elif not fresh:
            self._target.open()
        with (
            self._source.lock() if options.apply and not options.unlocked else nullcontext(),
            self._target.lock() if options.apply else nullcontext(),
        ):
            return self._run(fresh=fresh)

    def _run(self, *, fresh: bool) -> Outcome:
        options = self._options
        left: set[str] = set()
        removed = None
        for number in range(_PASSES):
            found = look_to_copy(self._source, self._memory)
            # What is still to be made cannot be looked at.
            have = Inventory(0) if fresh and not options.apply else look(self._target, self._memory)
            self._memory.keep_manifests(found.manifests)
            chosen = self._chosen(found)
            if number == 0 and options.mirror:
                self._check_target(found, have, fresh=fresh)
            wanted = self._wanted(chosen, have)
            if number == 0 and options.mirror:
                self._mark(found, have, ended=False)
            self._damaged.clear()
            self._copy_blobs(chosen, have, wanted)
            self._write_links(chosen, have)
            before, left = left, self._left(chosen, have)
            if not left or left == before or not options.apply:
                break
            self._pause(1)
        if options.mirror:
            removed = self._remove(found, have)
            self._mark(found, have, ended=True)
        self._wait()
        return self._result(found, left, removed)

    def _result(self, found: Inventory, left: set[str], removed: Optional[dict[str, Any]]) -> Outcome:
        problems = []
        if left:
            names = sorted(left)
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            problems.append(
                f"{len(names)} images are not whole in {self._source.name}, and were left out: {', '.join(names[:5])}{more}. Run "
                "`check` there; what the target has of them stays."
            )
        if self._damaged:
            problems.append(
                f"{len(self._damaged)} blobs of {self._source.name} do not have the content that their digests say, such as "
                f"{min(self._damaged)}: nothing was made of them."
            )
        result = {
            "time": iso(found.time),
            "applied": self._options.apply,
            "run": removed["run"] if removed else None,
            "source": self._source.name,
            "target": self._target.name,
            "files": self._blobs + self._links,
            "size": self._size,
            "copied": {"blobs": self._blobs, "links": self._links, "unread": self._unread},
            "tags": sorted(self._tags),
            "left_out": sorted(left),
            "removed": removed or {"tags": [], "images": 0, "blobs": 0, "size": 0},
            "problems": problems,
        }
        return result, FOUND if problems else FINE

    # ----- what is refused -------------------------------------------------------------------------------------------

    def _check_source(self) -> None:
        """Refuse to restore from a copy that is not finished."""
        marker = _read_marker(self._source)
        self._restores = self._source.past or marker is not None
        if marker and not marker.get("ended") and self._options.mirror:
            raise StoreError(
                f"The copy in {self._source.name} was begun at {marker.get('began')} and not finished: run the backup again, or leave "
                "--mirror out to copy the images that it has."
            )

    def _check_target(self, found: Inventory, have: Inventory, *, fresh: bool) -> None:
        """Refuse to take away what is no copy of the source."""
        name, replace = self._target.name, self._options.replace
        if replace and replace != name:
            raise StoreError(
                f"--replace names {replace}, and the target is {name}: write its name to have it replaced."
            )
        if replace or fresh or not have.repositories:
            return
        remedy = f"name it with `--replace {name}` to have its images replaced; they can be brought back by undo"
        marker = None if self._restores else _read_marker(self._target)
        if marker is None:
            raise StoreError(f"{name} holds images that are no copy of {self._source.name}: {remedy}.")
        if marker.get("of") != self._source.name:
            raise StoreError(f"{name} is a copy of {marker.get('of')}, and not of {self._source.name}: {remedy}.")
        written = self._target.stat(_MARKER)
        at, path = have.newest
        # A clock that was ahead once has dated images of the source so.
        if marker.get("ended") and written and at > max(written.time, marker.get("ahead") or 0) + 1:
            raise StoreError(
                f"{name} holds something newer than the last copy, {path} of {iso(at)}, so it is in use: {remedy}."
            )
        images = sum(len(one.revisions) for one in have.repositories.values())
        stay = sum(
            len(one.revisions.keys() & found.repositories[name_of].revisions.keys())
            for name_of, one in have.repositories.items()
            if name_of in found.repositories
        )
        if stay < _LEAST_LEFT * images:
            raise StoreError(
                f"{self._source.name} has {stay} of the {images} images in {name}, as if something had been lost: look at it first. "
                f"If they were deleted, {remedy}."
            )

    def _mark(self, found: Inventory, have: Inventory, *, ended: bool) -> None:
        """Note of whose images the target holds a copy, and whether all of it. What is restored is nobody's copy."""
        if not self._options.apply or self._restores:
            return
        newest = max(found.newest[0], have.newest[0])
        marker = {
            "of": self._source.name,
            "began": iso(found.time),
            "ended": iso(self._source.now()) if ended else None,
            "ahead": newest if newest > self._target.now() else None,
        }
        self._target.write(_MARKER, json.dumps(marker).encode(), self._target.now())

    # ----- what is copied --------------------------------------------------------------------------------------------

    def _chosen(self, found: Inventory) -> Inventory:
        """Return what was asked for; an image comes with its platforms, and with what is about it."""
        patterns, tags = self._options.repositories, self._options.tags
        if not patterns and not tags:
            return found
        chosen = Inventory(found.time)
        chosen.blobs, chosen.manifests = found.blobs, found.manifests
        chosen.unreadable_links = found.unreadable_links
        for name, repository in found.repositories.items():
            if any(repository_matches(pattern, name) for pattern in patterns):
                chosen.repositories[name] = repository
        for asked in tags:
            name, _separator, tag = asked.rpartition(":")
            repository = found.repositories.get(name, Repository())
            if tag not in repository.tags:
                raise StoreError(f"{self._source.name} has no {asked}: `report --json` there lists what it has.")
            if chosen.repositories.get(name) is not repository:
                _choose_tag(found, repository, chosen.repository(name), tag)
        if not chosen.repositories:
            raise StoreError(f"{self._source.name} has no repository that fits {', '.join(patterns)}.")
        return chosen

    def _wanted(self, found: Inventory, have: Inventory) -> list[str]:
        """Return the blobs that the target lacks, or raise StoreError where they have no room there."""
        wanted = [
            digest
            for digest in found.needed_blobs()
            if digest in found.blobs and have.blobs.get(digest, (-1, 0.0))[0] != found.blobs[digest][0]
        ]
        size = sum(found.blobs[digest][0] for digest in wanted)
        room = self._target.room() if self._options.apply and not self._target.shares(self._source) else None
        if room is not None and size > room:
            raise StoreError(
                f"{self._target.name} has {shown_size(room)} free, and {shown_size(size)} are to be copied: make room first."
            )
        self._to_copy = len(wanted), size
        return wanted

    def _copy_blobs(self, found: Inventory, have: Inventory, wanted: Sequence[str]) -> None:
        self._together(lambda digest: self._copy_blob(digest, found, have), wanted)
        self._wait()

    def _copy_blob(self, digest: str, found: Inventory, have: Inventory) -> None:
        size, at = found.blobs[digest]
        path = blob_path(digest)
        unread = 0
        if self._options.apply:
            if self._target.adopt(self._source, path):
                unread = 1
            else:
                try:
                    self._target.fill(path, self._checked(digest, self._source.chunks(path)), size, at)
                except FileNotFoundError:
                    # Collected meanwhile, where the source is not locked.
                    return
                except _Damaged:
                    self._damaged.add(digest)
                    return
        with self._lock:
            have.blobs[digest] = (size, at)
            self._blobs += 1
            self._size += size
            self._unread += unread
            now = time.monotonic()
            if self._options.apply and now - self._told_at >= _TELL_SECONDS:
                self._told_at = now
                self._tell(
                    f"{self._blobs} of {self._to_copy[0]} blobs, {shown_size(self._size)} of {shown_size(self._to_copy[1])}"
                )

    def _checked(self, digest: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Let content pass, and raise _Damaged at its end if it is not what its digest says."""
        algorithm, _separator, value = digest.partition(":")
        summed = hashlib.new(algorithm)
        for chunk in chunks:
            summed.update(chunk)
            self._brake.take(len(chunk))
            yield chunk
        if summed.hexdigest() != value:
            raise _Damaged

    def _write_links(self, found: Inventory, have: Inventory) -> None:
        """Write what leads to content: links to layers, then to images of which all is there, then tags."""
        self._write(self._layers(found, have))
        while True:
            # Platforms before the index that has them.
            images = list(self._images(found, have))
            if not images:
                break
            self._write(images)
        self._write(self._tag_indexes(found, have))
        self._write(self._tag_links(found, have))

    def _layers(self, found: Inventory, have: Inventory) -> Iterator[tuple[str, str, float]]:
        for name, repository in found.repositories.items():
            mine = have.repository(name)
            for digest, at in repository.layers.items():
                target = repository.targets.get(digest, digest)
                known = digest in mine.layers and mine.targets.get(digest, digest) == target
                if target in have.blobs and not known:
                    yield layer_path(name, digest), target, at
                    mine.layers[digest] = at
                    if target != digest:
                        mine.targets[digest] = target

    def _images(self, found: Inventory, have: Inventory) -> Iterator[tuple[str, str, float]]:
        for name, repository in found.repositories.items():
            mine = have.repository(name)
            # Of another registry's image, nobody may have asked for some platforms; they come when somebody does.
            theirs = self._is_mirrored(name)
            for digest, at in repository.revisions.items():
                if digest not in mine.revisions and _is_whole(found, have, repository, mine, digest, theirs=theirs):
                    yield revision_path(name, digest), repository.targets.get(digest, digest), at
                    mine.revisions[digest] = at

    def _moved_tags(self, found: Inventory, have: Inventory) -> Iterator[tuple[str, str]]:
        for name, repository in found.repositories.items():
            mine = have.repository(name)
            for tag, tagged in repository.tags.items():
                known = mine.tags.get(tag)
                if tagged.digest in mine.revisions and (known is None or known.digest != tagged.digest):
                    yield name, tag

    def _tag_indexes(self, found: Inventory, have: Inventory) -> Iterator[tuple[str, str, float]]:
        for name, tag in self._moved_tags(found, have):
            tagged = found.repositories[name].tags[tag]
            path = f"{tag_folder(name, tag)}/index/{tagged.digest.replace(':', '/', 1)}/link"
            yield path, tagged.digest, tagged.pushed

    def _tag_links(self, found: Inventory, have: Inventory) -> Iterator[tuple[str, str, float]]:
        for name, tag in self._moved_tags(found, have):
            tagged = found.repositories[name].tags[tag]
            yield tag_path(name, tag), tagged.digest, tagged.pushed
            have.repository(name).tags[tag] = tagged
            have.repository(name).indexed.add(tag)
            self._tags.add(f"{name}:{tag}")

    def _is_mirrored(self, name: str) -> bool:
        return name.split("/", 1)[0] in self._settings.mirrors

    def _write(self, links: Iterable[tuple[str, str, float]]) -> None:
        """Write links that may be there in any order, and wait until they are."""
        todo = list(links)
        self._links += len(todo)
        if self._options.apply and todo:
            self._together(lambda one: self._target.write(one[0], one[1].encode(), one[2]), todo)
            self._wait()

    def _wait(self) -> None:
        if self._options.apply:
            self._target.barrier()

    def _together(self, work: Callable[[One], None], of: Iterable[One]) -> None:
        threads = max(self._source.threads, self._target.threads)
        if threads == 1:
            for one in of:
                work(one)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _done in pool.map(work, of):
                pass

    def _left(self, found: Inventory, have: Inventory) -> set[str]:
        """Name the images that the source has and the target has not; what was deleted meanwhile is none."""
        left = set()
        for name, repository in found.repositories.items():
            if self._is_mirrored(name):
                # Of another registry's images, it is no loss that nobody has pulled all of one.
                continue
            mine = have.repository(name)
            for digest in repository.revisions.keys() - mine.revisions.keys():
                if self._source.stat(revision_path(name, digest)):
                    left.add(f"{name}@{digest}")
            for tag, tagged in repository.tags.items():
                known = mine.tags.get(tag)
                if (known is None or known.digest != tagged.digest) and self._source.stat(tag_path(name, tag)):
                    left.add(f"{name}:{tag}")
        for path in found.unreadable_links:
            thing = parse(path)
            if isinstance(thing, Tag) and thing.repository in found.repositories and self._source.stat(path):
                left.add(f"{thing.repository}:{thing.tag}")
        return left

    # ----- what goes from the target ---------------------------------------------------------------------------------

    def _remove(self, found: Inventory, have: Inventory) -> dict[str, Any]:
        """Move what the source does not have into the target's trash, and empty that of what has been there for long enough."""
        tags: list[tuple[str, str]] = []
        images: list[tuple[str, str]] = []
        layers: list[tuple[str, str]] = []
        for name, mine in have.repositories.items():
            repository = found.repositories.get(name, Repository())
            gone = [tag for tag in mine.tags if tag not in repository.indexed]
            tags += [(name, tag) for tag in gone]
            for tag in gone:
                del mine.tags[tag]
            while True:
                # An index before its platforms.
                extra = mine.revisions.keys() - repository.revisions.keys() - have.stays(mine)
                if not extra:
                    break
                images += [(name, digest) for digest in sorted(extra)]
                for digest in extra:
                    del mine.revisions[digest]
            if have.knows_all(mine):
                extra = mine.layers.keys() - repository.layers.keys() - have.needed_layers(mine)
                layers += [(name, digest) for digest in sorted(extra)]
                for digest in extra:
                    del mine.layers[digest]
        blobs: set[str] = set()
        if all(have.knows_all(mine) for mine in have.repositories.values()):
            blobs = have.blobs.keys() - found.blobs.keys() - have.needed_blobs() - found.needed_blobs()
        run = None
        if self._options.apply:
            run = self._discard(found, have, tags, images, layers, blobs)
        return {
            "run": run,
            "tags": sorted(f"{name}:{tag}" for name, tag in tags),
            "images": len(images),
            "blobs": len(blobs),
            "size": sum(have.blobs[digest][0] for digest in blobs),
        }

    def _discard(
        self,
        found: Inventory,
        have: Inventory,
        tags: Sequence[tuple[str, str]],
        images: Sequence[tuple[str, str]],
        layers: Sequence[tuple[str, str]],
        blobs: set[str],
    ) -> Optional[str]:
        target = self._target
        run = None
        if tags or images or layers or blobs:
            run = new_run(target.now())
            # Registries list a repository by its folders.
            whole = have.repositories.keys() - found.repositories.keys()
            for name in sorted(whole):
                target.discard_folder(run, f"{REPOSITORIES}/{name}/_manifests")
                target.discard_folder(run, f"{REPOSITORIES}/{name}/_layers")
            for name, tag in tags:
                if name not in whole:
                    target.discard_folder(run, tag_folder(name, tag))
            target.discard(run, [revision_path(*one) for one in images if one[0] not in whole])
            target.discard(run, [layer_path(*one) for one in layers if one[0] not in whole])
            target.discard(run, map(blob_path, sorted(blobs)))
            target.settle(run)
        if not self._restores:
            # A copy that was killed has taken nothing that the source had.
            for one in target.runs():
                target.settle(one)
            Change(target, self._memory, self._settings).empty_trash(target.now())
        return run


def _is_whole(
    found: Inventory, have: Inventory, repository: Repository, mine: Repository, digest: str, *, theirs: bool
) -> bool:
    """Tell whether the target has all that an image refers to; of theirs, what the source has of it."""
    manifest = found.manifests.get(digest)
    return (
        manifest is not None
        and repository.targets.get(digest, digest) in have.blobs
        and all(
            blob in mine.layers and mine.targets.get(blob, blob) in have.blobs
            for blob, size in zip(manifest.blobs, manifest.sizes)
            if size != ELSEWHERE
        )
        and all(child in mine.revisions for child in manifest.children if not theirs or child in repository.revisions)
    )


def _choose_tag(found: Inventory, repository: Repository, chosen: Repository, tag: str) -> None:
    """Choose a tag with its image, its platforms, and signatures and other referrers of these."""
    tags, images = {tag}, found.below(repository.tags[tag].digest)
    while True:
        more = {
            one
            for one, manifest in found.manifests.items()
            if one in repository.revisions and manifest.subject in images
        }
        about = {one for one in repository.tags if attached_to(one) in images}
        added = more | {digest for one in about for digest in found.below(repository.tags[one].digest)}
        added |= {digest for one in more for digest in found.below(one)}
        if added <= images and about <= tags:
            break
        tags |= about
        images |= added
    for one in tags:
        chosen.tags[one] = repository.tags[one]
        chosen.indexed.add(one)
    chosen.revisions.update((one, at) for one, at in repository.revisions.items() if one in images)
    chosen.layers.update((one, at) for one, at in repository.layers.items() if one in images)
    chosen.targets.update(repository.targets)


def _read_marker(store: Store) -> Optional[dict[str, Any]]:
    content = store.read(_MARKER)
    if content is None:
        return None
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StoreError(f"{store.shown}/{_MARKER} is none of ours: remove it.")
    return found
