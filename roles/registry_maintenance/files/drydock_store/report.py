# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from drydock_store.inventory import Inventory, Repository
from drydock_store.store import Store, iso

_LARGEST = 10


def figures(store: Store, found: Inventory, last: Optional[Mapping[str, Any]], collectable: int) -> dict[str, Any]:
    """Return what there is, in all and in each repository."""
    # The one repository that has a blob, or None where several have it.
    owners: dict[str, Optional[str]] = {}
    referenced: set[str] = set()
    held: dict[str, set[str]] = {}
    for name, repository in found.repositories.items():
        needed = _needed(found, repository)
        referenced |= needed
        # What a link leads to that no image needs counts, too, as long as the link is there.
        held[name] = needed | {repository.targets.get(digest, digest) for digest in repository.layers}
        for digest in held[name]:
            owners[digest] = None if digest in owners else name
    size_of = found.blobs
    before = (last or {}).get("repositories", {})
    repositories: dict[str, Any] = {}
    for name, repository in sorted(found.repositories.items()):
        size = sum(size_of[digest][0] for digest in held[name] if digest in size_of)
        alone = sum(size_of[digest][0] for digest in held[name] if digest in size_of and owners[digest] == name)
        times = [tagged.pushed for tagged in repository.tags.values()] or list(repository.revisions.values())
        led = found.stays(repository)
        repositories[name] = {
            "tags": len(repository.tags),
            "images": len(repository.revisions),
            "untagged": sum(digest not in led for digest in repository.revisions),
            "size": size,
            "alone": alone,
            "shared": size - alone,
            "growth": size - before.get(name, 0) if last else None,
            "oldest": iso(min(times)) if times else None,
            "newest": iso(max(times)) if times else None,
        }
        held[name] = set()
    total = sum(size for size, _time in size_of.values())
    needed_size = sum(size for digest, (size, _time) in size_of.items() if digest in referenced)
    every = found.repositories.values()
    return {
        "totals": {
            "repositories": len(found.repositories),
            "tags": sum(len(one.tags) for one in every),
            "images": sum(len(one.revisions) for one in every),
            "blobs": len(size_of),
            "size": total,
            "referenced": needed_size,
            "garbage": total - needed_size,
            "collectable": collectable,
            "trash": store.trash_size(),
            "uploads": sum(len(one.uploads) for one in every),
            "uploads_size": sum(one.uploads_size for one in every),
            "growth": total - last["size"] if last else None,
        },
        "since": last["time"] if last else None,
        "repositories": repositories,
        "largest": _largest(found),
    }


def _needed(found: Inventory, repository: Repository) -> set[str]:
    """Return the blobs that images of a repository need."""
    needed = set(repository.revisions)
    for manifest in found.manifests_of(repository):
        needed.update(manifest.blobs)
    return {repository.targets.get(digest, digest) for digest in needed}


def _largest(found: Inventory) -> list[dict[str, Any]]:
    sizes = []
    for name, repository in found.repositories.items():
        known: dict[str, int] = {}
        for tag, tagged in repository.tags.items():
            if tagged.digest not in known:
                known[tagged.digest] = _size(found, repository, tagged.digest)
            sizes.append((-known[tagged.digest], name, tag, tagged.digest))
    return [
        {"repository": name, "tag": tag, "digest": digest, "size": -size}
        for size, name, tag, digest in sorted(sizes)[:_LARGEST]
    ]


def _size(found: Inventory, repository: Repository, digest: str) -> int:
    """Return how many bytes an image has, with all its platforms."""
    blobs = {repository.targets.get(one, one) for one in found.below(digest)}
    return sum(found.blobs[blob][0] for blob in blobs if blob in found.blobs)
