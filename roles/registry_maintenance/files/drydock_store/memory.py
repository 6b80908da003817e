# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered between runs, in files that may be lost: without them more is read, and waiting times begin anew."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from drydock_store.manifests import Manifest, as_line, from_lines
from drydock_store.pulls import Pulls, remove_read
from drydock_store.store import FULL, StoreError

if TYPE_CHECKING:
    from drydock_store.inventory import Inventory


class Memory:
    """A folder on this machine."""

    def __init__(self, directory: str, storage: str) -> None:
        self._directory = Path(directory)
        # Figures of another storage mean nothing for this one.
        self._storage = storage
        self.manifests: dict[str, Manifest] = {}
        # Since when nothing refers to a blob, and since when an image (`repository@digest`) has no tag.
        self.unreferenced: dict[str, float] = {}
        self.untagged: dict[str, float] = {}
        self.report: Optional[dict[str, Any]] = None
        self.pulls = Pulls()
        # Whether something could not be written since the disk is full: a collection has to go on, or the disk stays so.
        self.full = False
        self._read()

    def _read(self) -> None:
        # What two storages have in common is one and the same.
        body = self._checked("manifests")
        self.manifests = from_lines(body.splitlines()) if body else {}
        kept = self._json("seen")
        self.unreferenced = kept.get("unreferenced", {})
        self.untagged = kept.get("untagged", {})
        self.report = self._json("report").get("report")
        self.pulls = Pulls(**self._json("pulls").get("pulls", {}))

    def _checked(self, name: str) -> str:
        """Return a file's content, or nothing unless it is exactly what was written."""
        try:
            head, _separator, body = (self._directory / name).read_text(encoding="utf-8").partition("\n")
        except (OSError, UnicodeDecodeError):
            return ""
        return body if head == _sum(body) else ""

    def _json(self, name: str) -> dict[str, Any]:
        body = self._checked(name)
        found = json.loads(body) if body else {}
        return found if found.get("storage") == self._storage else {}

    def publish(self, answer: dict[str, Any]) -> None:
        """Write the last report where others read it: the status, and quotas."""
        self._replace("report.json", json.dumps(answer), 0o640)

    def _write(self, name: str, body: str) -> None:
        self._replace(name, f"{_sum(body)}\n{body}", 0o600)

    def _replace(self, name: str, text: str, mode: int) -> None:
        written: Optional[Path] = None
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self._directory, delete=False) as file:
                written = Path(file.name)
                file.write(text)
                written.chmod(mode)
            written.replace(self._directory / name)
        except OSError as error:
            if written:
                written.unlink(missing_ok=True)
            if error.errno in FULL:
                self.full = True
                return
            raise StoreError(f"state_directory: {self._directory} cannot be written ({error.strerror}).") from error

    def keep_manifests(self, manifests: Mapping[str, Manifest]) -> None:
        """Write what the manifests that there are refer to."""
        self._write("manifests", "\n".join(as_line(digest, manifest) for digest, manifest in manifests.items()))

    def keep_seen(self) -> None:
        """Write since when something is not needed."""
        self._write(
            "seen",
            json.dumps({"storage": self._storage, "unreferenced": self.unreferenced, "untagged": self.untagged}),
        )

    def learn_pulls(self, directory: str, found: Inventory) -> None:
        """Read what nginx has noted since the last time, and remove what was read once it is remembered."""
        if not directory:
            return
        try:
            self.pulls.learn(Path(directory), found.time)
            self.pulls.forget(found)
            self._write("pulls", json.dumps({"storage": self._storage, "pulls": vars(self.pulls)}))
            if not self.full:
                remove_read(self.pulls, Path(directory), found.time)
        except OSError as error:
            raise StoreError(f"log_directory: {directory} cannot be read ({error.strerror}).") from error

    def keep_report(self, report: dict[str, Any]) -> None:
        """Write the figures that the next report compares with."""
        self._write("report", json.dumps({"storage": self._storage, "report": report}))


def _sum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
