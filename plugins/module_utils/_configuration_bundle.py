# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack what a host needs to configure itself: collections, their settings and the versions of Python's packages.

The same content makes the same bytes, so that their hash names the content.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple, Optional

try:
    from packaging.requirements import Requirement
except ImportError:  # the module says what to install
    HAS_PACKAGING = False
else:
    HAS_PACKAGING = True

# What of a collection runs; the rest, such as tests, documentation and inventories, is for people.
KEPT = ("meta", "playbooks", "plugins", "roles")
# What Python, editors and interrupted runs leave behind.
LEFT_OUT = ("__pycache__", "*.pyc", "*.retry", "*~", ".*")


class BundleProblem(Exception):
    """What cannot be packed; the text is a sentence for the user."""


class Wanted(NamedTuple):
    """A collection to pack: its name, its folder where it is not to be looked for, and what is left out of it."""

    name: str
    path: str = ""
    leave_out: Sequence[str] = ()


class Package(NamedTuple):
    """An installed package of Python."""

    name: str
    version: str
    requires: Sequence[str]


# ----- collections ------------------------------------------------------------------------------


def find_collection(wanted: Wanted, paths: Sequence[str]) -> Path:
    """Return the folder of a collection: the first one, as Ansible takes it."""
    below = Path("ansible_collections", *wanted.name.split("."))
    for candidate in [Path(wanted.path)] if wanted.path else [Path(path) / below for path in paths]:
        if (candidate / "plugins").is_dir() or (candidate / "roles").is_dir():
            return candidate.resolve()
    where = wanted.path or ", ".join(paths)
    raise BundleProblem(
        f"The collection {wanted.name} is not in {where}: install it with `ansible-galaxy collection install {wanted.name}`."
    )


def collection_version(folder: Path) -> str:
    """Return the version of an installed collection, or of a checkout."""
    manifest = folder / "MANIFEST.json"
    if manifest.is_file():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    galaxy = folder / "galaxy.yml"
    found = (
        re.search(r"^version: *[\"']?([\w.+-]+)", galaxy.read_text(encoding="utf-8"), re.MULTILINE)
        if galaxy.is_file()
        else None
    )
    if not found:
        raise BundleProblem(
            f"{folder} has neither a MANIFEST.json nor a galaxy.yml with a version: install the collection anew."
        )
    return found[1]


def collection_files(folder: Path, leave_out: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield the files that run, by their paths below the collection."""
    for part in KEPT:
        yield from _files_below(folder / part, part, leave_out)


def _files_below(folder: Path, name: str, leave_out: Sequence[str]) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        below = f"{name}/{path.name}"
        if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in LEFT_OUT):
            continue
        if any(_fits(below, pattern) for pattern in leave_out):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files_below(path, below, leave_out)
        elif path.is_file():
            # What a link names is packed in its place.
            yield below, path


def _fits(name: str, pattern: str) -> bool:
    """Compare part by part, so that a star stands for anything in one part and for no slash."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


# ----- packages of Python -----------------------------------------------------------------------


def installed_package(name: str) -> Optional[Package]:
    """Look at a package of the Python that this runs in."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return Package(str(found.metadata["Name"]), found.version, list(found.requires or ()))


def pinned(names: Sequence[str], look: Callable[[str], Optional[Package]] = installed_package) -> list[str]:
    """Return these packages and all that they need, each in the version that is installed here."""
    versions: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        package = look(name)
        if package is None:
            raise BundleProblem(f"The controller's Python lacks {name}: run `pip install -r requirements.txt`.")
        key = re.sub(r"[-_.]+", "-", package.name).lower()
        if key not in versions:
            versions[key] = package.version
            waiting += [
                required.name
                for required in map(Requirement, package.requires)
                if not required.marker or required.marker.evaluate({"extra": ""})
            ]
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


# ----- the archive ------------------------------------------------------------------------------


def as_json(content: Any) -> bytes:
    """Write JSON in which the same content is the same text."""
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar.gz that depends on nothing but these files."""
    tar = io.BytesIO()
    # What belongs to nobody and has no date is the same wherever it is packed.
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(tar.getvalue(), compresslevel=9, mtime=0)


def bundle_files(
    collections: Sequence[Wanted],
    paths: Sequence[str],
    files: Mapping[str, str],
    packages: Sequence[str],
    settings: Mapping[str, Any],
) -> dict[str, bytes]:
    """Return the files of a bundle by their paths in it."""
    result: dict[str, bytes] = {}
    for wanted in collections:
        below = "collections/ansible_collections/" + wanted.name.replace(".", "/")
        for name, path in collection_files(find_collection(wanted, paths), wanted.leave_out):
            result[f"{below}/{name}"] = path.read_bytes()
    for name, source in files.items():
        result[name] = Path(source).read_bytes()
    result["requirements.txt"] = "".join(f"{line}\n" for line in pinned(packages)).encode()
    result["settings.json"] = as_json(settings)
    return result
