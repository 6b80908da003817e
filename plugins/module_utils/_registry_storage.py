# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a registry keeps its images, and what another place would mean for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._registry_config import STORAGE_SWITCHES

_BUCKETS = ("bucket", "container")
_STOP = "`docker stop drydock-registry-a drydock-registry-b`"
ANYWAY = "registry_server_storage_change_enabled"


@dataclass(frozen=True)
class Place:
    """A storage, without what only says how it is reached."""

    driver: str
    # The folder on the host, or the bucket.
    name: str
    root: str = ""

    def __str__(self) -> str:
        return self.address if self.driver != "filesystem" else f"the folder {self.name}"

    @property
    def address(self) -> str:
        """As the AWS command line writes it."""
        if self.driver == "filesystem":
            return self.name
        return "/".join(part for part in (f"{self.driver}://{self.name}", self.root) if part)


def place_of(config: Mapping[str, Any], directory: str) -> Place | None:
    """Read a place from a config.yml. A container knows its folder by another name than the host, which is the one to say."""
    storage = config.get("storage")
    if not isinstance(storage, Mapping):
        return None
    for driver, parameters in storage.items():
        if driver in STORAGE_SWITCHES:
            continue
        given = parameters if isinstance(parameters, Mapping) else {}
        if driver == "filesystem":
            return Place(driver, directory.rstrip("/")) if directory else None
        name = next((str(given[key]) for key in _BUCKETS if given.get(key)), "")
        return Place("s3" if driver == "s3aws" else str(driver), name, str(given.get("rootdirectory") or "").strip("/"))
    return None


def _commands(old: Place, new: Place) -> str:
    if old.driver == new.driver == "filesystem":
        return f"{_STOP}, `mkdir -p {new.name}`, `cp -a {old.name}/. {new.name}/`"
    if {old.driver, new.driver} <= {"filesystem", "s3"}:
        return f"{_STOP}, `aws s3 sync {old.address} {new.address}`"
    return f"{_STOP}, then copy all of {old.address} to {new.address}"


def change_problem(old: Place | None, new: Place | None, host: str, *, has_images: bool) -> str:
    """Return what is wrong with a change of the place, or nothing. has_images is about the new folder."""
    if old is None or new is None or old == new or (new.driver == "filesystem" and has_images):
        return ""
    variable = (
        "registry_server_storage_provider"
        if old.driver != new.driver
        else {"filesystem": "registry_server_filesystem_directory", "s3": "registry_server_s3"}.get(
            new.driver, "registry_server_config"
        )
    )
    seen = "run again" if new.driver == "filesystem" else f"run once with `-e {ANYWAY}=true`"
    without = f", or set {ANYWAY} to true to begin without them" if new.driver == "filesystem" else ""
    return (
        f"{variable}: the registry of {host} keeps its images in {old}, and with {new} they would be out of sight; "
        f"move them there ({_commands(old, new)}) and {seen}{without}."
    )
