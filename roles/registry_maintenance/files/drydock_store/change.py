# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that changes something does around it: a look before, a second look after, and what has to come back.

Registries go on writing meanwhile. Nothing is taken away but into the trash, and whatever turns out to be needed comes back: what
somebody pushed after the look that decided, and what something that was pushed since leads to. A run that is killed leaves that to
the next one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Optional

from drydock_store import redis
from drydock_store.config import Config
from drydock_store.inventory import CLOCK_SECONDS, Inventory, Tagged, look, read_manifests
from drydock_store.layout import Blob, Layer, Revision, Tag, TagIndex, attached_to, blob_path, parse
from drydock_store.manifests import Manifest, read_manifest
from drydock_store.memory import Memory
from drydock_store.store import Store, StoreError

_RUN_TIME = "%Y%m%dT%H%M%SZ"
# What leads to something comes back after it.
_ORDER = {Blob: 0, Layer: 1, Revision: 2, TagIndex: 3, Tag: 4}


def new_run(now: float) -> str:
    """Return a name for a run, which says when it began."""
    return f"{datetime.fromtimestamp(now, timezone.utc):{_RUN_TIME}}-{secrets.token_hex(2)}"


def began(run: str) -> Optional[float]:
    """Return when a run began."""
    try:
        return datetime.strptime(run.partition("-")[0], _RUN_TIME).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


class Change:
    """A run that may change something, while it has the lock."""

    def __init__(
        self, store: Store, memory: Memory, settings: Config, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.store = store
        self.memory = memory
        self.settings = settings
        self.problems: list[str] = []
        self.brought_back: list[str] = []
        # Whether all descriptors of what went were deleted.
        self.flushed = True
        self._pause = pause

    def first_look(self) -> Inventory:
        """Look at the storage, and complete what a run that was killed has left."""
        if self.settings.redis is not None:
            try:
                redis.greet(self.settings.redis)
            except redis.RedisError as error:
                raise StoreError(str(error)) from error
        found = self.look()
        written, path = found.newest
        if written > found.time + CLOCK_SECONDS:
            raise StoreError(
                f"{self.store.name} holds files of the future, such as {self.store.shown}/{path}, which is dated "
                f"{(written - found.time) / 3600:.1f} hours ahead: the clock of this machine is behind, or was ahead once. Set it right, "
                "and `touch` such files where it is; nothing is taken away while the age of files is not known."
            )
        for run in self.store.runs():
            began_at = began(run)
            if began_at is None:
                continue
            settled = self.store.settled(run)
            taken = list(self.store.discarded(run))
            flushed = settled or self.flush(taken)
            # Nobody knows what that run had seen: whatever is younger than it is.
            back = self._bring_back(run, taken, found, {} if settled else dict.fromkeys(taken, began_at - 1))
            if back:
                self.brought_back += back
                self.problems.append(f"{len(back)} files that run {run} had taken were needed and have come back.")
            if flushed:
                self.store.settle(run)
        return found

    def look(self) -> Inventory:
        """Look at the storage, and remember what was read."""
        found = look(self.store, self.memory)
        self.memory.keep_manifests(found.manifests)
        return found

    def bring_back_needed(self, runs: Iterable[str]) -> list[str]:
        """Look at the storage, and bring back what is needed of some runs."""
        found = self.look()
        taken = {run: list(self.store.discarded(run)) for run in runs}
        back: list[str] = []
        while True:
            # A manifest may be in the trash of a later run than the links to its layers.
            more = [path for run, paths in taken.items() for path in self._bring_back(run, paths, found, {})]
            if not more:
                return back
            back += more

    def second_look(self, run: str, planned: Mapping[str, float]) -> Inventory:
        """Wait, look again, and bring back what is needed after all."""
        self.flush(planned)
        self._pause(self.settings.second_look_seconds)
        found = self.look()
        taken = list(self.store.discarded(run))
        known = {path: planned.get(path, -1.0) for path in taken}
        self.brought_back += self._bring_back(run, taken, found, known)
        # A registry may have read one of them just before it went, and noted it just after the first time.
        if self.flush(planned):
            self.store.settle(run)
        return found

    def flush(self, paths: Iterable[str]) -> bool:
        """Delete what Redis knows of what went. Where that fails the run stays unsettled, so that the next one does it."""
        if self.settings.redis is None:
            return True
        try:
            redis.flush(self.settings.redis, map(parse, paths))
        except redis.RedisError as error:
            self.flushed = False
            self.problems.append(str(error))
            return False
        return True

    def _bring_back(self, run: str, paths: list[str], found: Inventory, known: Mapping[str, float]) -> list[str]:
        """Bring back what is needed of what went, and what is newer than it was known to be when it was decided about."""
        if not paths:
            return []
        back: list[str] = []
        again: set[tuple[str, str]] = set()
        links = [path for path in known if isinstance(parse(path), (Tag, Layer, Revision))]
        for item in self.store.look_into_trash(run, links):
            if item.time > known[item.path]:
                self._restore(run, item.path, found, back, again)
        while True:
            read_manifests(self.store, found, self.memory)
            blobs = found.needed_blobs()
            layers = {name: found.needed_layers(repository) for name, repository in found.repositories.items()}
            stays = {name: found.stays(repository) for name, repository in found.repositories.items()}
            before = len(back)
            done = set(back)
            for path in paths:
                if path not in done and self._is_needed(path, found, blobs, layers, stays, again):
                    self._restore(run, path, found, back, again)
            if len(back) == before:
                return sorted(back)

    def _is_needed(
        self,
        path: str,
        found: Inventory,
        blobs: set[str],
        layers: Mapping[str, set[str]],
        stays: Mapping[str, set[str]],
        again: set[tuple[str, str]],
    ) -> bool:
        thing = parse(path)
        if isinstance(thing, Blob):
            return thing.digest in blobs and thing.digest not in found.blobs
        if not isinstance(thing, (Layer, Revision, Tag, TagIndex)) or thing.repository not in found.repositories:
            return False
        repository = found.repositories[thing.repository]
        if isinstance(thing, Layer):
            return thing.digest in layers[thing.repository] and thing.digest not in repository.layers
        if isinstance(thing, Revision):
            if thing.digest in repository.revisions:
                return False
            # What hung on an image that is back comes with it.
            return thing.digest in stays[thing.repository] or (
                bool(again) and (thing.repository, self._subject(thing.digest)) in again
            )
        if isinstance(thing, Tag):
            return thing.tag not in repository.tags and (thing.repository, attached_to(thing.tag)) in again
        return thing.tag in repository.tags and thing.tag not in repository.indexed

    def _subject(self, digest: str) -> str:
        known = self.memory.manifests.get(digest)
        if known:
            return known.subject
        read = read_manifest(digest, self.store.read(blob_path(digest)) or b"")
        return read.subject if isinstance(read, Manifest) else ""

    def _restore(self, run: str, path: str, found: Inventory, back: list[str], again: set[tuple[str, str]]) -> None:
        if self.store.restore(run, path):
            back.append(path)
        item = self.store.stat(path)
        thing = parse(path)
        if item is None or not isinstance(thing, (Blob, Layer, Revision, Tag)):
            return
        if isinstance(thing, Blob):
            found.blobs[thing.digest] = (item.size, item.time)
            return
        repository = found.repository(thing.repository)
        if isinstance(thing, Layer):
            repository.layers[thing.digest] = item.time
        elif isinstance(thing, Revision):
            repository.revisions[thing.digest] = item.time
            again.add((thing.repository, thing.digest))
        else:
            digest = (self.store.read(path) or b"").decode("ascii", "replace")
            repository.tags[thing.tag] = Tagged(digest, item.time)

    def empty_trash(self, now: float) -> dict[str, int]:
        """Empty the trash of runs that are old enough."""
        emptied = {"runs": 0, "files": 0, "size": 0}
        for run in self.store.runs():
            at = began(run)
            if at is not None and now - at > self.settings.trash_seconds and self.store.settled(run):
                files, size = self.store.forget(run)
                emptied = {
                    "runs": emptied["runs"] + 1,
                    "files": emptied["files"] + files,
                    "size": emptied["size"] + size,
                }
        return emptied


def undo(store: Store, runs: Iterable[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Bring back all that runs took, and say what could not come back."""
    back: list[str] = []
    skipped: list[dict[str, str]] = []
    # The newest first: what it took lay over what an older one took.
    for run in sorted(runs, reverse=True):
        for path in sorted(store.discarded(run), key=lambda one: (_ORDER.get(type(parse(one)), 5), one)):
            if store.restore(run, path):
                back.append(path)
            elif store.stat(path) is None:
                skipped.append({"path": path, "reason": "the trash does not have it any more"})
            elif isinstance(parse(path), Tag):
                skipped.append({"path": path, "reason": "the tag was pushed again since, and stays as it is"})
        store.forget(run)
    return back, skipped
