# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module debian_rootfs decides, apart from what it runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

# `Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []`: apt-get --simulate, apt-get(8).
_INSTALLED = re.compile(r"^Inst (?P<name>\S+) (?:\[\S+\] )?\((?P<version>\S+) ", re.MULTILINE)

# `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)` or `/lib64/ld-linux-x86-64.so.2 (0x00007f…)`: ld.so(8), --list.
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(?P<path>/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)

# What a tag may hold: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]")


def packages_to_install(simulation: str) -> dict[str, str]:
    """The version of each package that `apt-get --simulate install` would install."""
    return {match["name"]: match["version"] for match in _INSTALLED.finditer(simulation)}


def linked_libraries(listing: str) -> list[str]:
    """The absolute paths that `ld.so --list PROGRAM` printed, in their order."""
    return [match["path"] for match in _LIBRARY.finditer(listing)]


def recipe_key(recipe: Mapping[str, object], packages: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that change when the recipe or the version of any package does."""
    text = json.dumps({"recipe": recipe, "packages": packages}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def image_tag(version: str, key: str) -> str:
    """A tag that tells a person the version and the engine the recipe: `2.8.2_ds1-1-0123456789ab`."""
    upstream = version.split(":", 1)[-1]
    return f"{_NOT_IN_TAG.sub('_', upstream)}-{key}"


def missing_packages(wanted: Sequence[str], packages: Mapping[str, str]) -> list[str]:
    """Those of the wanted packages that the simulation would not install."""
    return [name for name in wanted if name not in packages]
