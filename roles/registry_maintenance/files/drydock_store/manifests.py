# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a manifest refers to. It never changes, so it is read once."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from drydock_store.layout import is_digest
from drydock_store.store import SMALL

# A layer that is kept at an address of its own (base layers of Windows): registries do not ask for it.
ELSEWHERE = -1
UNSAID = -2


class Manifest(NamedTuple):
    """What a manifest refers to."""

    size: int
    # Configuration and layers, and how many bytes each has.
    blobs: tuple[str, ...]
    sizes: tuple[int, ...]
    # The manifests of an index.
    children: tuple[str, ...]
    # The image that this is about: a signature, an attestation.
    subject: str


def read_manifest(digest: str, content: bytes) -> Manifest | str:
    """Return what a manifest refers to, or what is wrong with it."""
    if len(content) > SMALL:
        return "it is larger than any manifest"
    algorithm, _separator, value = digest.partition(":")
    try:
        if hashlib.new(algorithm, content).hexdigest() != value:
            return "its content is not what its digest says"
    except ValueError:
        return f"its digest is of an unknown kind ({algorithm})"
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return "it is no JSON, or too deep"
    if not isinstance(document, dict):
        return "it is no manifest"
    blobs: dict[str, int] = {}
    children: dict[str, None] = {}
    subject = ""
    for key, value_of in document.items():
        # By form, not by media type: a kind of manifest that comes later has its references in descriptors, too.
        for descriptor in value_of if isinstance(value_of, list) else [value_of]:
            named = _digest_of(descriptor)
            if not named:
                continue
            # Registries are as lenient about the case of a name as Go is.
            if key.casefold() == "subject":
                subject = named
            elif key.casefold() == "manifests":
                children[named] = None
            else:
                blobs[named] = _size_of(descriptor)
    return Manifest(len(content), tuple(blobs), tuple(blobs.values()), tuple(children), subject)


def _digest_of(descriptor: Any) -> str:
    if not isinstance(descriptor, dict):
        return ""
    folded = {key.casefold(): value for key, value in descriptor.items()}
    found = folded.get("digest", folded.get("blobsum"))
    return sys.intern(found) if isinstance(found, str) and is_digest(found) else ""


def _size_of(descriptor: dict[str, Any]) -> int:
    if descriptor.get("urls"):
        return ELSEWHERE
    size = descriptor.get("size")
    return size if isinstance(size, int) and size >= 0 else UNSAID


def as_line(digest: str, manifest: Manifest) -> str:
    """Write it for the next run."""
    return json.dumps([digest, *manifest], separators=(",", ":"))


def from_lines(lines: Iterable[str]) -> dict[str, Manifest]:
    """Read what an earlier run has written."""
    found = {}
    for line in lines:
        digest, size, blobs, sizes, children, subject = json.loads(line)
        found[sys.intern(digest)] = Manifest(
            size, tuple(map(sys.intern, blobs)), tuple(sizes), tuple(map(sys.intern, children)), subject
        )
    return found
