# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a registry keeps what: distribution's layout, the same in 2.8 and 3.x. All paths are relative to `docker/registry/v2`."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple, Union

ROOT = "docker/registry/v2"
BLOBS = "blobs"
REPOSITORIES = "repositories"
# What is ours; registries look at the other two only.
OURS = "drydock"

_HEX = re.compile(r"[0-9a-f]{32,}")
_ALGORITHM = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*")
_DIGEST = re.compile(rf"{_ALGORITHM.pattern}:{_HEX.pattern}")
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$")
# Signatures, attestations and lists of parts, as cosign tags them, and referrers, as the OCI specification does.
_ATTACHED = re.compile(r"(sha256|sha512)-([0-9a-f]{64,128})(?:\.[a-z0-9]+)?")


class Blob(NamedTuple):
    """Content."""

    digest: str


class Layer(NamedTuple):
    """A link that gives a repository a blob."""

    repository: str
    digest: str


class Revision(NamedTuple):
    """A link that gives a repository a manifest."""

    repository: str
    digest: str


class Tag(NamedTuple):
    """The link that says which manifest a tag means."""

    repository: str
    tag: str


class TagIndex(NamedTuple):
    """A manifest that a tag meant at some time."""

    repository: str
    tag: str
    digest: str


class Upload(NamedTuple):
    """A file of an upload that is not finished."""

    repository: str
    upload: str


class Temporary(NamedTuple):
    """What a registry is writing, or was when it ended."""

    path: str


class Foreign(NamedTuple):
    """Something that no registry writes."""

    path: str


Thing = Union[Blob, Layer, Revision, Tag, TagIndex, Upload, Temporary, Foreign]


def is_digest(text: str) -> bool:
    """Tell whether a text is a digest."""
    return _DIGEST.fullmatch(text) is not None


def _digest(algorithm: str, value: str) -> str:
    # One object for each digest, however many links have it.
    return sys.intern(f"{algorithm}:{value}") if _ALGORITHM.fullmatch(algorithm) and _HEX.fullmatch(value) else ""


def parse(path: str) -> Thing:
    """Say what a file is."""
    parts = path.split("/")
    thing = _blob(parts) if parts[0] == BLOBS else _of_repository(path) if parts[0] == REPOSITORIES else None
    if thing is not None:
        return thing
    return Temporary(path) if _TEMPORARY.search(path) else Foreign(path)


def _blob(parts: list[str]) -> Blob | None:
    if len(parts) != 5 or parts[4] != "data" or parts[3][:2] != parts[2]:
        return None
    digest = _digest(parts[1], parts[3])
    return Blob(digest) if digest else None


def _of_repository(path: str) -> Thing | None:
    # No part of a repository's name begins with an underscore.
    end = path.find("/_")
    if end <= len(REPOSITORIES):
        return None
    name = path[len(REPOSITORIES) + 1 : end]
    parts = path[end + 1 :].split("/")
    if parts[0] == "_uploads":
        return Upload(name, parts[1]) if len(parts) > 2 else None
    if parts[-1] != "link":
        return None
    if parts[0] == "_layers" and len(parts) == 4:
        digest = _digest(parts[1], parts[2])
        return Layer(name, digest) if digest else None
    if parts[0] != "_manifests":
        return None
    if parts[1] == "revisions" and len(parts) == 5:
        digest = _digest(parts[2], parts[3])
        return Revision(name, digest) if digest else None
    if parts[1] == "tags" and parts[3:] == ["current", "link"]:
        return Tag(name, parts[2])
    if parts[1] == "tags" and len(parts) == 7 and parts[3] == "index":
        digest = _digest(parts[4], parts[5])
        return TagIndex(name, parts[2], digest) if digest else None
    return None


def blob_path(digest: str) -> str:
    """Return where a blob lies."""
    algorithm, _separator, value = digest.partition(":")
    return f"{BLOBS}/{algorithm}/{value[:2]}/{value}/data"


def layer_path(repository: str, digest: str) -> str:
    """Return where the link to a blob lies."""
    return f"{REPOSITORIES}/{repository}/_layers/{digest.replace(':', '/', 1)}/link"


def revision_path(repository: str, digest: str) -> str:
    """Return where the link to a manifest lies."""
    return f"{REPOSITORIES}/{repository}/_manifests/revisions/{digest.replace(':', '/', 1)}/link"


def tag_folder(repository: str, tag: str) -> str:
    """Return where all of a tag lies."""
    return f"{REPOSITORIES}/{repository}/_manifests/tags/{tag}"


def tag_path(repository: str, tag: str) -> str:
    """Return where a tag's link lies."""
    return f"{tag_folder(repository, tag)}/current/link"


def attached_to(tag: str) -> str:
    """Return the digest of the image that a tag of a signature or of referrers belongs to, or nothing."""
    found = _ATTACHED.fullmatch(tag)
    return f"{found[1]}:{found[2]}" if found else ""


def repository_matches(pattern: str, repository: str) -> bool:
    """Compare a name with a pattern as access rules do: `*` within one part, `**` for any number of parts."""
    parts = (
        ".+" if part == "**" else "[^/]*".join(map(re.escape, re.split(r"\*+", part))) for part in pattern.split("/")
    )
    return re.fullmatch("/".join(parts), repository) is not None
