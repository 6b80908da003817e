# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images made of Debian packages: which packages apt would take, how such an image is called, and its archive."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

# `'http://.../nginx_1.22.1-9_amd64.deb' nginx_1%3a1.22.1-9_amd64.deb 527412 SHA256:...`: apt-get(8), --print-uris.
_DOWNLOAD = re.compile(r"^'[^']*' (?P<name>[^\s_]+)_(?P<version>[^\s_]+)_[^\s_]+\.deb \d+", re.MULTILINE)

# `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)` or `/lib64/ld-linux-x86-64.so.2 (0x00007f…)`: ld.so(8), --list.
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(?P<path>/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)

# What a tag may hold: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]")

NOT_KNOWN_YET = "not-known-yet"
NO_APT = "This host has no apt-get, so no image can be built from Debian packages here."
# Root's alone: what apt computes from the host's package lists, and what a build works in.
CACHE = "/var/cache/drydock"
# What apt computes a plan from.
APT_READS = ("/etc/apt", "/var/lib/apt/lists", "/var/lib/dpkg/arch", "/usr/bin/apt-get")

# It is raised when the module itself puts something else into an image.
_RECIPE = 3
# It holds the version of the first package.
VERSION_LABEL = "org.opencontainers.image.version"
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}

# Where an image says what it is made of, in the form of https://cyclonedx.org/docs/1.6/json/
PARTS = "usr/share/sbom.cdx.json"
# The format for dpkg-query(1) that tells all of a package but the sum of its file.
PACKAGE_FORMAT = r"${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}"

RunCommand = Callable[[list[str]], "tuple[int, str, str]"]


@dataclass(frozen=True)
class Recipe:
    """What an image is made of, as the caller says it."""

    name: str
    packages: list[str]
    programs: list[str]
    links: dict[str, str]
    entrypoint: str
    stop_signal: str
    labels: dict[str, str]

    def all_packages(self) -> list[str]:
        """The packages, and the CA certificates, which are always wanted: a registry talks to S3 and to token servers."""
        return [*self.packages, "ca-certificates"]


@dataclass(frozen=True)
class Plan:
    """The image that the host's package lists give, or why they give none."""

    reference: str
    version: str
    problem: str = ""


@dataclass(frozen=True)
class Package:
    """A package of which something is in an image. Debian tells of a vulnerability by the name of the source."""

    # Of its file.
    sha256: str
    name: str
    version: str
    architecture: str
    source: str
    source_version: str

    def url(self, distribution: str, release: str) -> str:
        """Return the name that scanners know it by: https://github.com/package-url/purl-spec"""
        source = self.source if self.source_version == self.version else f"{self.source}@{self.source_version}"
        qualifiers = {"arch": self.architecture, "distro": f"{distribution}-{release}", "upstream": source}
        name, version = (urllib.parse.quote(text, safe=":") for text in (self.name, self.version))
        return f"pkg:deb/{distribution}/{name}@{version}?" + "&".join(
            f"{key}={urllib.parse.quote(value, safe=':')}" for key, value in qualifiers.items()
        )


# The options of the recipe, which both modules take.
RECIPE_OPTIONS: dict[str, dict[str, object]] = {
    "packages": {"type": "list", "elements": "str", "required": True},
    "programs": {"type": "list", "elements": "str", "required": True},
    "links": {"type": "dict", "default": {}},
    "entrypoint": {"type": "str", "required": True},
    "stop_signal": {"type": "str", "default": ""},
    "labels": {"type": "dict", "default": {}},
}
# What says something about an image and makes no other one.
NOTES_OPTION: dict[str, object] = {"type": "dict", "default": {}}


def recipe_of(name: str, options: Mapping[str, object]) -> Recipe:
    """Read a recipe from a module's options."""
    return Recipe(name=name, **{key: options[key] for key in RECIPE_OPTIONS})  # type: ignore[arg-type]


def packages_to_download(listing: str) -> dict[str, str]:
    """The version of each package that `apt-get --print-uris install` would download."""
    return {
        urllib.parse.unquote(match["name"]): urllib.parse.unquote(match["version"])
        for match in _DOWNLOAD.finditer(listing)
    }


def linked_libraries(listing: str) -> list[str]:
    """The absolute paths that `ld.so --list PROGRAM` printed, in their order."""
    return [match["path"] for match in _LIBRARY.finditer(listing)]


def recipe_key(recipe: Recipe, packages: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that change when the recipe or the version of any package does."""
    text = json.dumps([_RECIPE, recipe.__dict__, ACCOUNTS, dict(packages)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def image_tag(version: str, key: str) -> str:
    """A tag that tells a person the version and the engine the recipe: `2.8.2_ds1-1-0123456789ab`."""
    upstream = version.split(":", 1)[-1]
    return f"{_NOT_IN_TAG.sub('_', upstream)}-{key}"


def missing_packages(wanted: Sequence[str], packages: Mapping[str, str]) -> list[str]:
    """Those of the wanted packages that apt would not download."""
    return [name for name in wanted if name not in packages]


def states_of(places: Sequence[str]) -> list[list[object]]:
    """Name, size and second of each file in some places, by which apt itself tells whether a list has changed."""
    paths = [
        os.path.join(folder, name) for place in places for folder, _folders, names in os.walk(place) for name in names
    ]
    paths += [place for place in places if os.path.isfile(place)]
    states: list[list[object]] = []
    for path in sorted(paths):
        # One that has gone meanwhile, or a link that leads nowhere.
        with contextlib.suppress(OSError):
            state = os.stat(path)
            states.append([path, state.st_size, int(state.st_mtime)])
    return states


def kept_packages(path: str, read: list[object]) -> Optional[dict[str, str]]:
    """The packages that apt found when it last read the same; nothing where it did not, or where a killed run left half a file."""
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
        packages: dict[str, str] = kept["packages"]
    except (OSError, ValueError):
        return None
    return packages if kept["read"] == read else None


class Apt:
    """apt-get in an empty system, with the sources, keys, pins and proxies of the host: it resolves the whole tree.

    `scratch` is a folder of this call. What apt computes from the package lists is kept in a folder of its own, as apt does for
    the system; apt checks it against the lists each time. Without it, each call reads all lists anew, which takes a second.
    With it, resolving them still takes most of a second, so the packages are kept as well, as long as nothing that apt reads differs.
    """

    def __init__(self, run: RunCommand, scratch: str, cache: Optional[str], reads: Sequence[str] = APT_READS) -> None:
        self.run = run
        self.scratch = scratch
        self.reads = reads
        self.archives = os.path.join(scratch, "archives")
        self.cache = cache or scratch
        self.status = os.path.join(self.cache, "status")

    def command(self, *arguments: str) -> list[str]:
        """One call of apt-get."""
        os.makedirs(os.path.join(self.archives, "partial"), exist_ok=True)
        os.makedirs(self.cache, mode=0o755, exist_ok=True)
        if not os.path.exists(self.status):
            with open(self.status, "w", encoding="utf-8"):
                pass
        return [
            *("apt-get", "--yes", "--quiet", "--no-install-recommends"),
            *("-o", f"Dir::State::status={self.status}"),
            *("-o", f"Dir::State::extended_states={self.scratch}/extended_states"),
            *("-o", f"Dir::Cache::archives={self.archives}"),
            *("-o", f"Dir::Cache::pkgcache={self.cache}/pkgcache.bin"),
            # One kept file does.
            *("-o", "Dir::Cache::srcpkgcache="),
            # The scratch folder is root's alone, so apt's own unprivileged downloader has no way in.
            *("-o", "APT::Sandbox::User=root"),
            # The host's configuration may ask for hooks after each installation.
            *("-o", "DPkg::Post-Invoke="),
            *arguments,
        ]

    def plan(self, recipe: Recipe) -> Plan:
        """The image that the host's package lists give today."""
        wanted = recipe.all_packages()
        path = os.path.join(self.cache, f"{recipe.name.replace('/', '_')}.json")
        read = [wanted, states_of(self.reads)]
        found = kept_packages(path, read)
        if found is None:
            # Half of what --simulate takes, which also orders the installation.
            code, out, err = self.run(self.command("--print-uris", "install", *wanted))
            found = packages_to_download(out)
            missing = missing_packages(wanted, found)
            if code != 0 or missing:
                problem = plan_problem(recipe, err.strip() or f"no package {' '.join(missing)}")
                return Plan(f"{recipe.name}:{NOT_KNOWN_YET}", "", problem)
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"read": read, "packages": found}, file)
        version = found[recipe.packages[0]]
        return Plan(f"{recipe.name}:{image_tag(version, recipe_key(recipe, found))}", version)

    def download(self, recipe: Recipe) -> tuple[int, str, str]:
        """Download the packages into the folder `archives`; apt checks their signatures."""
        return self.run(self.command("--download-only", "install", *recipe.all_packages()))


def plan_problem(recipe: Recipe, problem: str) -> str:
    """The sentence for a plan that apt did not make."""
    return f"apt-get cannot install {' '.join(recipe.all_packages())} from this host's sources: {problem}"


def image_configuration(
    recipe: Recipe, version: str, notes: Mapping[str, str], *, architecture: str, layer: str, created: str
) -> bytes:
    """The configuration of an image of one layer, whose SHA-256 sum is `layer`.

    https://github.com/moby/docker-image-spec/blob/main/spec.md
    """
    settings: dict[str, object] = {
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Entrypoint": [recipe.entrypoint],
        "Labels": {**notes, **recipe.labels, VERSION_LABEL: version},
    }
    if recipe.stop_signal:
        settings["StopSignal"] = recipe.stop_signal
    configuration = {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        "history": [{"created": created, "created_by": "drydock.registry.debian_image"}],
    }
    return json.dumps(configuration, sort_keys=True).encode()


def owners(listings: Mapping[str, str], paths: Iterable[str]) -> set[str]:
    """Return which of the packages hold these paths, by what tar lists of each: `./lib/x` is `/usr/lib/x` where /usr is merged."""

    def merged(path: str) -> str:
        return re.sub(r"^/(bin|lib|lib64|sbin)/", r"/usr/\1/", path)

    wanted = {merged(path) for path in paths}
    return {
        package
        for package, listing in listings.items()
        if wanted & {merged(line.lstrip(".")) for line in listing.splitlines()}
    }


def parts_list(reference: str, packages: Iterable[Package], distribution: str, release: str) -> bytes:
    """Return the list of what an image is made of. It has no time, so that the same packages give the same list."""
    components = [
        {
            "type": "library",
            "bom-ref": package.url(distribution, release),
            "name": package.name,
            "version": package.version,
            "purl": package.url(distribution, release),
            "hashes": [{"alg": "SHA-256", "content": package.sha256}],
        }
        for package in sorted(packages, key=lambda package: package.name)
    ]
    name, _colon, tag = reference.rpartition(":")
    image = {"type": "container", "bom-ref": reference, "name": name, "version": tag}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": image},
        "components": components,
        "dependencies": [{"ref": reference, "dependsOn": [component["bom-ref"] for component in components]}],
    }
    return json.dumps(document, indent=1).encode()


def archive_manifest(reference: str, configuration: str, layer: str) -> bytes:
    """manifest.json of an archive that `docker load` takes, with the names of its two other members."""
    return json.dumps([{"Config": configuration, "RepoTags": [reference], "Layers": [layer]}]).encode()
