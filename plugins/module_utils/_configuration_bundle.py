# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack what a host needs to configure itself: collections, their settings and the versions of Python's packages.

The same content makes the same bytes, so that their hash names the content.
"""

from __future__ import annotations

import fnmatch
import gzip
import html
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple, Optional
from urllib.parse import unquote, urlsplit

try:
    from packaging.requirements import Requirement
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename
    from packaging.version import InvalidVersion, Version
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


# ----- what pip may install of them -------------------------------------------------------------

# Where pip itself looks unless it is told otherwise, and the answers that an index may give:
# https://packaging.python.org/en/latest/specifications/simple-repository-api/
PYPI = "https://pypi.org/simple"
ACCEPTED = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
LINK = re.compile(r"""<a\s[^>]*?href\s*=\s*["']([^"']+)["']""", re.IGNORECASE)
SHA256 = re.compile("[0-9a-f]{64}")
# What hosts are: Linux with glibc, of these processors, with a Python that Ansible runs with.
PLATFORMS = re.compile(r"any|(?:many)?linux\w*_(?:x86_64|aarch64)")
PYTHON_MINOR = 11


def listed_files(page: bytes) -> list[tuple[str, str]]:
    """Return the files that an index lists, each with its SHA-256, which is empty where it tells none."""
    text = page.decode(errors="replace")
    if text.lstrip().startswith("{"):
        return [(str(each["filename"]), str(each["hashes"].get("sha256", ""))) for each in json.loads(text)["files"]]
    found = []
    for link in LINK.findall(text):
        parts = urlsplit(html.unescape(link))
        kind, _sign, digest = parts.fragment.partition("=")
        found.append((unquote(parts.path.rpartition("/")[2]), digest if kind == "sha256" else ""))
    return found


def fits_hosts(name: str, version: str) -> bool:
    """Tell whether a file is a built package of this version that a host could install."""
    try:
        _name, built, _build, tags = parse_wheel_filename(name)
        return built == Version(version) and any(_fits_host(tag) for tag in tags)
    except (InvalidWheelFilename, InvalidVersion):
        return False


def _fits_host(tag: Any) -> bool:
    if not PLATFORMS.fullmatch(tag.platform):
        return False
    if re.fullmatch(r"py(?:2\.)?3\d*", tag.interpreter):
        return True
    minor = re.fullmatch(r"cp3(\d+)", tag.interpreter)
    if not minor:
        return False
    return str(tag.abi) == "abi3" or (int(minor[1]) >= PYTHON_MINOR and tag.abi in {tag.interpreter, "none"})


def with_hashes(
    pins: Sequence[str], known: Mapping[str, Sequence[str]], ask: Callable[[str], bytes]
) -> dict[str, list[str]]:
    """Return for each pin the hashes of what may be installed for it.

    An index may get further files of a version at any time. So it is asked once for each pin, and its answer counts for as long as
    somebody keeps it: the same pins are the same text, and a file that came later is installed by nobody.
    """
    return {pin: list(known.get(pin, ())) or _told_hashes(pin, ask) for pin in pins}


def _told_hashes(pin: str, ask: Callable[[str], bytes]) -> list[str]:
    name, _sign, version = pin.partition("==")
    page = ask(name)
    try:
        listed = listed_files(page)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleProblem(
            f"The index does not answer with a list of files of {name}: correct aws_autoscaling_pip_index_url."
        ) from error
    files = [(file, digest) for file, digest in listed if fits_hosts(file, version)]
    if not files:
        raise BundleProblem(f"The index has no built package of {pin} for hosts of Linux.")
    if not all(SHA256.fullmatch(digest) for _file, digest in files):
        raise BundleProblem(f"The index does not say the SHA-256 of {files[0][0]}.")
    return sorted({digest for _file, digest in files})


def requirements(pins: Sequence[str], hashes: Mapping[str, Sequence[str]]) -> bytes:
    """Return a requirements.txt, with which pip installs what has these hashes, where there are some."""
    lines = [" \\\n    ".join([pin, *(f"--hash=sha256:{digest}" for digest in hashes.get(pin, ()))]) for pin in pins]
    return "".join(f"{line}\n" for line in lines).encode()


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
    packages: bytes,
    settings: Mapping[str, Any],
) -> dict[str, bytes]:
    """Return the files of a bundle by their paths in it; `packages` is its requirements.txt."""
    result: dict[str, bytes] = {}
    for wanted in collections:
        below = "collections/ansible_collections/" + wanted.name.replace(".", "/")
        for name, path in collection_files(find_collection(wanted, paths), wanted.leave_out):
            result[f"{below}/{name}"] = path.read_bytes()
    for name, source in files.items():
        result[name] = Path(source).read_bytes()
    result["requirements.txt"] = packages
    result["settings.json"] = as_json(settings)
    return result
