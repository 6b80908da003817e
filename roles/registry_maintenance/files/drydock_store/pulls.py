# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When images were pulled, from what nginx notes: a line for each manifest that it has sent, in a file for each day."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from drydock_store.store import iso

if TYPE_CHECKING:
    from drydock_store.inventory import Inventory, Repository

_DAY = 86400
_LINE = re.compile(rb"(\d+\.\d+) (GET|HEAD) /v2/([a-z0-9._/-]+)/manifests/([A-Za-z0-9._:-]+)\n")
_FILE = "pulls-*.log"


def _month(at: float) -> str:
    return iso(at)[:7]


@dataclass
class Pulls:
    """What is known of pulls, and remembered as it is."""

    # Since when nginx notes them; 0 where it does not.
    since: float = 0
    month: str = ""
    # How much of each file was read.
    read: dict[str, int] = field(default_factory=dict)
    # By repository, and there by what it was asked for, a tag or a digest: when last, and how often in this month.
    of: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)

    def known_since(self, begin: float) -> bool:
        """Tell whether nginx has noted pulls since then."""
        return 0 < self.since <= begin

    def learn(self, directory: Path, now: float) -> None:
        """Add what nginx has noted since the last time."""
        month = _month(now)
        if month != self.month:
            self.month = month
            self.of = {name: {one: (at, 0) for one, (at, _count) in asked.items()} for name, asked in self.of.items()}
        files = sorted(directory.glob(_FILE))
        for path in files:
            self.read[path.name] = self._learn_file(path, self.read.get(path.name, 0))
        self.read = {path.name: self.read[path.name] for path in files}
        if files and not self.since:
            self.since = now

    def _learn_file(self, path: Path, start: int) -> int:
        with path.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    # It is just being written, or the disk was full.
                    break
                start += len(line)
                found = _LINE.fullmatch(line)
                if found:
                    self._note(float(found[1]), found[2] == b"GET", found[3].decode(), found[4].decode())
        return start

    def _note(self, at: float, whole: bool, repository: str, reference: str) -> None:
        asked = self.of.setdefault(repository, {})
        last, count = asked.get(reference, (0.0, 0))
        # A client that has the image already asks for its digest alone: it is needed, but was not fetched.
        asked[reference] = (max(last, at), count + (whole and _month(at) == self.month))
        self.since = min(self.since or at, at)

    def forget(self, found: Inventory) -> None:
        """Forget what was not there any more at a look. What was pulled since may have been pushed since."""
        for name, asked in list(self.of.items()):
            there = found.repositories.get(name)
            known = {*there.tags, *there.revisions} if there else set()
            self.of[name] = {one: noted for one, noted in asked.items() if one in known or noted[0] > found.time}
            if not self.of[name]:
                del self.of[name]

    def of_tag(self, name: str, repository: Repository, tag: str) -> tuple[Optional[float], int]:
        """Say when a tag was last pulled, by its name or by the digest that it has, and how often in this month."""
        asked = self.of.get(name, {})
        noted = [asked[one] for one in (tag, repository.tags[tag].digest) if one in asked]
        return max((at for at, _count in noted), default=None), sum(count for _at, count in noted)

    def figures(self, found: Inventory) -> dict[str, Any]:
        """Return what a report says: for each repository, and for each tag that was pulled."""
        repositories: dict[str, Any] = {}
        for name, repository in found.repositories.items():
            asked = self.of.get(name, {})
            led = {tagged.digest for tagged in repository.tags.values()}
            # Platforms are fetched along with their index.
            own = [noted for one, noted in asked.items() if one in repository.tags or one in led]
            if not own:
                continue
            tags = {tag: self.of_tag(name, repository, tag) for tag in sorted(repository.tags)}
            repositories[name] = {
                "last": iso(max(at for at, _count in own)),
                "this_month": sum(count for _at, count in own),
                "tags": {
                    tag: {"last": iso(at), "this_month": count} for tag, (at, count) in tags.items() if at is not None
                },
            }
        return {"since": iso(self.since) if self.since else None, "month": self.month, "repositories": repositories}


def remove_read(pulls: Pulls, directory: Path, now: float) -> None:
    """Remove the files of days that are over and that were read to their end."""
    # nginx may be writing the last line of yesterday.
    today = f"pulls-{iso(now - _DAY)[:10]}.log"
    for path in directory.glob(_FILE):
        if path.name < today and pulls.read.get(path.name, -1) == path.stat().st_size:
            path.unlink(missing_ok=True)
