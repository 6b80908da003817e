# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands. Each returns what it prints: a dictionary of plain values, and an exit status."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from drydock_store import check, retention
from drydock_store.change import Change, began, new_run, undo
from drydock_store.config import Config
from drydock_store.inventory import Inventory, look
from drydock_store.layout import blob_path, is_digest, layer_path, revision_path, tag_folder, tag_path
from drydock_store.manifests import ELSEWHERE, Manifest, read_manifest
from drydock_store.memory import Memory
from drydock_store.registry import Registry, Unreachable
from drydock_store.report import figures
from drydock_store.retention import DAY, Removal
from drydock_store.store import FULL, Store, StoreError, iso

FINE, FOUND, WRONG, UNUSABLE, LOCKED, UNFINISHED = range(6)
Result = dict[str, Any]
Outcome = tuple[Result, int]
Pause = Callable[[float], None]


# ----- what changes nothing -----------------------------------------------------------------------------------------


def report(store: Store, memory: Memory, settings: Config) -> Outcome:
    """Say what there is."""
    store.open()
    change = Change(store, memory, settings)
    found = change.look()
    going = _plan(found, memory, settings)
    memory.keep_seen()
    memory.learn_pulls(settings.log_directory, found)
    result = figures(store, found, memory.report, sum(size for _name, size in going["blobs"]))
    memory.keep_report(
        {
            "time": iso(found.time),
            "size": result["totals"]["size"],
            "repositories": {name: entry["size"] for name, entry in result["repositories"].items()},
        }
    )
    answer = {"command": "report", "time": iso(found.time), "problems": [], **result}
    memory.publish(answer)
    if settings.log_directory:
        # Apart from what nginx reads for quotas: of each tag, it may be much.
        answer["pulls"] = memory.pulls.figures(found)
    return answer, FINE


def check_store(
    store: Store, memory: Memory, settings: Config, *, digests: bool = False, pulls: int = 0, pause: Pause = time.sleep
) -> Outcome:
    """Look for defects, twice: a push that goes on looks like one. Also pull so many images from the registry, whichever it is."""
    store.open()
    registry = _registry(settings) if pulls else None
    if pulls and registry is None:
        raise StoreError("Nothing says which registry to pull from: set `registry`.")
    result = check.check(
        store,
        memory,
        digests=digests,
        wait=lambda: pause(settings.second_look_seconds),
        mirrors=settings.mirrors,
    )
    if registry:
        result["pulled"], defects = _pull(look(store, memory), registry, pulls, settings.mirrors)
        result["defects"] += defects
    return result, FOUND if result["defects"] else FINE


def _pull(
    found: Inventory, registry: Registry, count: int, mirrors: Sequence[str]
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Pull some images by their digests, with all that they consist of; returns how much that was, and what cannot be had."""
    # Of another registry's images, nobody may have pulled all.
    ours = ((name, one) for name, one in found.repositories.items() if name.split("/")[0] not in mirrors)
    tags = sorted((name, tag) for name, one in ours for tag in one.tags)
    pulled = {"images": 0, "parts": 0}
    defects = []
    for name, tag in random.sample(tags, min(count, len(tags))):
        pulled["images"] += 1
        # What is missing was found before, or is kept elsewhere.
        for digest in sorted(found.below(found.repositories[name].tags[tag].digest) & found.blobs.keys()):
            kind = "manifests" if digest in found.manifests else "blobs"
            try:
                wrong = registry.pull(name, kind, digest)
            except Unreachable as error:
                raise StoreError(str(error)) from error
            pulled["parts"] += 1
            if wrong:
                sentence = f"{name}:{tag} cannot be pulled: {wrong} for {digest}."
                defects.append(
                    {"kind": "not_served", "path": digest, "sentence": sentence, "images": [f"{name}:{tag}"]}
                )
    registry.close()
    return pulled, defects


# ----- retention and deleting by hand -------------------------------------------------------------------------------


def apply_retention(
    store: Store, memory: Memory, settings: Config, *, apply: bool, pause: Pause = time.sleep
) -> Outcome:
    """Remove what the rules do not keep."""

    def by_rules(found: Inventory) -> Removal:
        memory.learn_pulls(settings.log_directory, found)
        return retention.by_rules(found, settings.retention, memory.untagged, memory.pulls)

    return _remove(
        store,
        memory,
        settings,
        by_rules,
        apply,
        pause,
    )


def delete(
    store: Store,
    memory: Memory,
    settings: Config,
    named: Mapping[str, Sequence[str]],
    *,
    apply: bool,
    pause: Pause = time.sleep,
) -> Outcome:
    """Remove what somebody names."""
    return _remove(store, memory, settings, lambda found: retention.by_name(found, **named), apply, pause)


def _remove(
    store: Store, memory: Memory, settings: Config, decide: Callable[[Inventory], Removal], apply: bool, pause: Pause
) -> Outcome:
    store.open_to_change() if apply else store.open()
    with store.lock() if apply else nullcontext():
        change = Change(store, memory, settings, pause)
        found = change.first_look() if apply else change.look()
        removal = decide(found)
        memory.keep_seen()
        run = None
        frees = _frees(found, removal)
        kept = {
            "tags": sum(len(one.tags) for one in found.repositories.values()) - len(removal.tags),
            "images": sum(len(one.revisions) for one in found.repositories.values()) - len(removal.images),
        }
        if apply and (removal.tags or removal.images or removal.repositories):
            run = new_run(found.time)
            change.second_look(run, _take(store, found, run, removal))
        result = {
            "time": iso(found.time),
            "applied": apply,
            "run": run,
            "tags": [one._asdict() for one in removal.tags],
            "images": [one._asdict() for one in removal.images],
            "repositories": removal.repositories,
            "kept": kept,
            "frees": frees,
            "unmatched": removal.unmatched,
            "brought_back": change.brought_back,
            "problems": [*removal.problems, *change.problems],
        }
    return result, FINE if change.flushed and not removal.unfinished else UNFINISHED


def _take(store: Store, found: Inventory, run: str, removal: Removal) -> dict[str, float]:
    """Move what goes into the trash; returns how old each file was when that was decided."""
    planned: dict[str, float] = {}
    whole = set(removal.repositories)
    # An index before its platforms, and images before tags: a run that is killed in between leaves nothing that no later run finds.
    images = sorted(removal.images, key=lambda one: not _children(found, one.digest))
    paths = []
    for image in images:
        path = revision_path(image.repository, image.digest)
        planned[path] = found.repositories[image.repository].revisions[image.digest]
        if image.repository not in whole:
            paths.append(path)
    store.discard(run, paths)
    for tag in removal.tags:
        planned[tag_path(tag.repository, tag.tag)] = found.repositories[tag.repository].tags[tag.tag].time
        if tag.repository not in whole:
            store.discard_folder(run, tag_folder(tag.repository, tag.tag))
    for name in removal.repositories:
        repository = found.repositories[name]
        planned.update((layer_path(name, digest), at) for digest, at in repository.layers.items())
        store.discard_folder(run, f"repositories/{name}/_manifests")
        store.discard_folder(run, f"repositories/{name}/_layers")
        if found.time - max(repository.uploads.values(), default=0) > DAY:
            store.discard_folder(run, f"repositories/{name}/_uploads")
    return planned


def _children(found: Inventory, digest: str) -> tuple[str, ...]:
    manifest = found.manifests.get(digest)
    return manifest.children if manifest else ()


def _frees(found: Inventory, removal: Removal) -> int:
    """Return how many bytes only what goes refers to."""
    going: dict[str, set[str]] = {}
    for image in removal.images:
        going.setdefault(image.repository, set()).add(image.digest)
    if not going:
        return 0
    stays: set[str] = set()
    goes: set[str] = set()
    for name, repository in found.repositories.items():
        for digest in repository.revisions:
            manifest = found.manifests.get(digest)
            needs = {digest, *(manifest.blobs if manifest else ())}
            needs |= {repository.targets[one] for one in needs if one in repository.targets}
            (goes if digest in going.get(name, ()) else stays).update(needs)
    return sum(found.blobs[digest][0] for digest in goes - stays if digest in found.blobs)


# ----- garbage collection -------------------------------------------------------------------------------------------


def _plan(found: Inventory, memory: Memory, settings: Config) -> dict[str, Any]:
    """Say which links and blobs go now, and which wait."""
    links: list[tuple[str, str]] = []
    waiting = {"links": 0, "blobs": 0, "size": 0}
    problems = []
    if found.hidden:
        problems.append(
            f"All blobs stay: {min(found.hidden)} is a symbolic link or no regular file, so what images behind it need is not "
            "known; put what it leads to in its place, or remove it."
        )
    for name, repository in sorted(found.repositories.items()):
        if found.hides(name):
            continue
        if not found.knows_all(repository):
            problems.append(f"{name} keeps all its layers: an image of it cannot be read; `check` says which.")
            continue
        needed = found.needed_layers(repository)
        for digest, written in repository.layers.items():
            if digest not in needed:
                if found.time - written >= settings.link_age_seconds:
                    links.append((name, digest))
                else:
                    waiting["links"] += 1
    blobs: list[tuple[str, int]] = []
    _note_unreferenced(found, memory)
    for digest, seen in memory.unreferenced.items():
        size, written = found.blobs[digest]
        if found.time - max(seen, written) >= settings.blob_wait_seconds and not found.hidden:
            blobs.append((digest, size))
        else:
            waiting["blobs"] += 1
            waiting["size"] += size
    return {"links": links, "blobs": blobs, "waiting": waiting, "problems": problems}


def _note_unreferenced(found: Inventory, memory: Memory) -> None:
    """Note since when nothing refers to which blobs."""
    needed = found.needed_blobs()
    memory.unreferenced = {
        digest: min(memory.unreferenced.get(digest, found.time), found.time)
        for digest in found.blobs
        if digest not in needed
    }


def collect(store: Store, memory: Memory, settings: Config, *, apply: bool, pause: Pause = time.sleep) -> Outcome:
    """Move what nothing refers to into the trash."""
    store.open_to_change() if apply else store.open()
    registry = _registry(settings) if apply else None
    with store.lock() if apply else nullcontext():
        change = Change(store, memory, settings, pause)
        found = change.first_look() if apply else change.look()
        plan = _plan(found, memory, settings)
        memory.keep_seen()
        result: Result = {
            "time": iso(found.time),
            "applied": apply,
            "run": None,
            "links": [
                {"repository": name, "digest": digest, "reason": "no image of the repository refers to it"}
                for name, digest in plan["links"]
            ],
            "blobs": [
                {"digest": digest, "size": size, "reason": "nothing has referred to it for long enough"}
                for digest, size in plan["blobs"]
            ],
            "waiting": plan["waiting"],
            "size": sum(size for _name, size in plan["blobs"]),
            "brought_back": [],
            "emptied": {"runs": 0, "files": 0, "size": 0},
            "last_check": {"asked": 0, "missed": [], "done": False},
            "undone": False,
            "problems": [*plan["problems"]],
        }
        status = FINE
        if apply:
            status = _collect(change, found, plan, registry, result)
            result["brought_back"] = change.brought_back
            result["problems"] += change.problems
        # What had to stay on account of a problem is not collected: whoever reads the status alone has to know.
        if status == FINE and plan["problems"]:
            status = UNFINISHED
    return result, status


def _registry(settings: Config) -> Registry | None:
    """Ask before anything is changed, lest the last check be impossible afterwards."""
    if settings.registry is None:
        return None
    try:
        registry = Registry(settings.registry)
        registry.greet()
    except Unreachable as error:
        raise StoreError(f"{error} Nothing was changed, since the last check would have been impossible.") from error
    return registry


def _collect(change: Change, found: Inventory, plan: dict[str, Any], registry: Registry | None, result: Result) -> int:
    store = change.store
    status = FINE
    if plan["links"] or plan["blobs"]:
        run = result["run"] = new_run(found.time)
        planned = {layer_path(name, digest): found.repositories[name].layers[digest] for name, digest in plan["links"]}
        # Blobs last: a run that is killed in between has taken the less.
        _discard(change, found, run, list(planned), result)
        blobs = [blob_path(digest) for digest, _size in plan["blobs"]]
        _discard(change, found, run, blobs, result)
        planned.update((path, found.time) for path in blobs)
        before, found = found, change.second_look(run, planned)
        # What nothing refers to from now on begins to wait.
        _note_unreferenced(found, change.memory)
        change.memory.keep_seen()
        status = _last_check(change, before, found, planned, registry, result)
    else:
        result["last_check"]["done"] = True
    store.tidy(found.time - max(change.settings.link_age_seconds, 60))
    if status != FOUND:
        _empty_trash(change, found, result)
    return status if status != FINE or change.flushed else UNFINISHED


def _discard(change: Change, found: Inventory, run: str, paths: list[str], result: Result) -> None:
    """Move files into the trash; a disk that is full gets room from what has been there for long enough."""
    try:
        change.store.discard(run, paths)
    except OSError as error:
        if error.errno not in FULL:
            raise
        _empty_trash(change, found, result)
        if not result["emptied"]["runs"]:
            raise StoreError(
                f"The disk of {change.store.name} is full, and the trash holds nothing older than "
                f"{change.settings.trash_seconds / DAY:g} days: make room, or have the trash emptied sooner."
            ) from error
        change.store.discard(run, paths)


def _empty_trash(change: Change, found: Inventory, result: Result) -> None:
    emptied = change.empty_trash(found.time)
    result["emptied"] = {key: count + emptied[key] for key, count in result["emptied"].items()}


def _last_check(
    change: Change,
    before: Inventory,
    found: Inventory,
    taken: Iterable[str],
    registry: Registry | None,
    result: Result,
) -> int:
    """Ask for all tags that stay; where one cannot be had on account of this run, bring back all that it took."""
    broken = _broken(found)
    # What somebody deletes just now is no loss: only what this run took is.
    missed = {
        (name, tag) for name, tag in broken - _broken(before) if not _lacks(change.store, name, tag).isdisjoint(taken)
    }
    status = FINE
    if registry is None:
        change.problems.append("The registry was not asked for the images that stay: no `registry` is set.")
    else:
        tags = [(name, tag) for name, one in sorted(found.repositories.items()) for tag in sorted(one.tags)]
        asked, gone, trouble = registry.missed(one for one in tags if one not in broken)
        result["last_check"].update(asked=asked, done=not trouble)
        for name, tag in gone:
            lacks = _lacks(change.store, name, tag)
            if not lacks or not lacks.isdisjoint(taken):
                missed.add((name, tag))
        if trouble:
            change.problems.append(f"{trouble} Not all images that stay could be asked for; run `check`.")
            status = UNFINISHED
    if not missed:
        return status
    names = result["last_check"]["missed"] = sorted(f"{name}:{tag}" for name, tag in missed)
    back, _skipped = undo(change.store, [result["run"]])
    change.brought_back += back
    result["undone"] = True
    change.problems.append(
        f"{len(names)} images that stay could not be had afterwards ({', '.join(names[:5])}), so all that this run "
        "took was brought back: run `check`, and look into the registry's log."
    )
    return FOUND


def _broken(found: Inventory) -> set[tuple[str, str]]:
    """Return the tags of which something is missing."""
    broken = set()
    for name, repository in found.repositories.items():
        for tag, tagged in repository.tags.items():
            whole = tagged.digest in repository.revisions
            queue = [tagged.digest]
            while queue and whole:
                digest = queue.pop()
                manifest = found.manifests.get(digest)
                whole = manifest is not None and repository.targets.get(digest, digest) in found.blobs
                if whole and manifest:
                    queue += [child for child in manifest.children if child in repository.revisions]
                    whole = all(
                        repository.targets.get(blob, blob) in found.blobs and blob in repository.layers
                        for blob, size in zip(manifest.blobs, manifest.sizes)
                        if size != ELSEWHERE
                    )
            if not whole:
                broken.add((name, tag))
    return broken


def _lacks(store: Store, name: str, tag: str) -> set[str]:
    """Return the files that a tag leads to and that are missing, the tag's own if it is gone."""

    def text(path: str) -> str:
        found = (store.read(path) or b"").decode("ascii", "replace")
        return found if is_digest(found) else ""

    digest = text(tag_path(name, tag))
    lacking = set() if digest else {tag_path(name, tag)}
    queue = [digest] if digest else []
    while queue:
        digest = queue.pop()
        content = store.read(blob_path(digest))
        if content is None:
            lacking.add(blob_path(digest))
        if store.stat(revision_path(name, digest)) is None:
            lacking.add(revision_path(name, digest))
        manifest = read_manifest(digest, content or b"")
        if not isinstance(manifest, Manifest):
            continue
        queue += manifest.children
        for blob, size in zip(manifest.blobs, manifest.sizes):
            target = text(layer_path(name, blob))
            if not target and size != ELSEWHERE:
                lacking.add(layer_path(name, blob))
            if target and store.stat(blob_path(target)) is None:
                lacking.add(blob_path(target))
    return lacking


# ----- undo ---------------------------------------------------------------------------------------------------------


def undo_runs(store: Store, memory: Memory, settings: Config, asked: Sequence[str], *, apply: bool) -> Outcome:
    """Bring back what runs took."""
    store.open_to_change() if apply else store.open()
    there = [run for run in store.runs() if began(run) is not None]
    unknown = [run for run in asked if run not in there]
    if unknown:
        raise StoreError(
            f"The trash has nothing of {', '.join(unknown)}: it has {', '.join(there) or 'nothing at all'}, and keeps it for "
            f"{settings.trash_seconds / DAY:g} days."
        )
    runs = list(asked) or there
    with store.lock() if apply else nullcontext():
        result: Result = {
            "time": iso(store.now()),
            "applied": apply,
            "runs": runs,
            "files": 0,
            "size": 0,
            "skipped": [],
            "problems": [],
        }
        if apply:
            back, result["skipped"] = undo(store, runs)
            rest = [run for run in there if run not in runs]
            if rest:
                # What a later collection took of these images.
                back += Change(store, memory, settings).bring_back_needed(rest)
            items = (store.stat(path) for path in back)
        else:
            items = (
                item
                for run in runs
                for item in store.look_into_trash(run, (one for one in store.discarded(run) if not store.stat(one)))
            )
        found = [item for item in items if item is not None]
        result["files"] = len(found)
        result["size"] = sum(item.size for item in found)
    return result, FOUND if result["skipped"] else FINE
