# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a storage can do. A folder and a bucket are the two that there are."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from typing import NamedTuple, Optional

# Registries take no manifest above 4 MiB.
SMALL = 8 << 20
# What a disk without room answers.
FULL = (errno.ENOSPC, errno.EDQUOT)


class StoreError(Exception):
    """The storage cannot be used; the text is a sentence for the user."""


class Locked(Exception):
    """Another run is at work; the text is a sentence for the user."""


class Item(NamedTuple):
    """A file or an object."""

    path: str
    size: int
    # When it was written, in seconds since 1970, by the storage's own clock.
    time: float
    # A symbolic link, a socket or the like: something that is never opened.
    special: bool = False


def iso(at: float) -> str:
    """Write a time, in UTC."""
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def time_of(text: str) -> float:
    """Read a time as `iso` writes it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()


class Store(ABC):
    """A storage. All paths are relative to `docker/registry/v2`."""

    # What the user calls it.
    name: str
    # Where the registry's files begin, for sentences.
    shown: str

    @abstractmethod
    def now(self) -> float:
        """Return the time by the storage's own clock, which is the one that its files are dated by."""

    @abstractmethod
    def open(self) -> None:
        """Check that there is a storage of distribution, or raise StoreError."""

    @abstractmethod
    def open_to_change(self) -> None:
        """Check, too, that what goes can be brought back, or raise StoreError."""

    @abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """Keep other runs out, or raise Locked. A run that is killed leaves no lock behind for long."""

    @abstractmethod
    def top(self) -> list[str]:
        """Return the names of what lies beside `blobs` and `repositories`."""

    @abstractmethod
    def files(self, under: str, *, foreign: bool = True) -> Iterator[Item]:
        """Yield all files below a folder, in any order; without `foreign` it may leave out what lies beside a blob or a link."""

    @abstractmethod
    def stat(self, path: str) -> Optional[Item]:
        """Return what there is to know about a file."""

    @abstractmethod
    def read(self, path: str) -> Optional[bytes]:
        """Return a file, of a large one the first SMALL bytes and one more; None where it is gone."""

    @abstractmethod
    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Optional[bytes]]]:
        """Read many small files, in any order."""

    @abstractmethod
    def read_links(self, paths: Iterable[str]) -> Iterator[tuple[str, Optional[bytes], Optional[float]]]:
        """Read many links, in any order, each with the time at which it had been pushed where it came back with a later one."""

    @abstractmethod
    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield the content of a large file; raises FileNotFoundError where it is gone."""

    # ----- what a copy writes ----------------------------------------------------------------------------------------

    # How many files are written side by side.
    threads = 1
    # Whether this is what a storage was, and not what it is.
    past = False

    @abstractmethod
    def blank(self) -> bool:
        """Tell whether there is no image yet, or raise StoreError where that cannot be seen."""

    @abstractmethod
    def open_to_fill(self) -> None:
        """Check that files can be written, into a place that may be empty, or raise StoreError. What a killed copy left half is removed."""

    @abstractmethod
    def write(self, path: str, content: bytes, at: float) -> None:
        """Write a small file, all of it or nothing, as one that was pushed at a time."""

    @abstractmethod
    def fill(self, path: str, chunks: Iterable[bytes], size: int, at: float) -> None:
        """Write a large file, all of it or, where the chunks raise an error, nothing."""

    @abstractmethod
    def adopt(self, source: Store, path: str) -> bool:
        """Take a blob over from another storage without reading it. False where that cannot be done."""

    def shares(self, source: Store) -> bool:  # noqa: ARG002
        """Tell whether blobs of another storage take no room here."""
        return False

    @abstractmethod
    def barrier(self) -> None:
        """Wait until what was written is there for good, before something is written that leads to it."""

    @abstractmethod
    def room(self) -> Optional[int]:
        """Return how many bytes can be written, or None where that does not count."""

    # ----- the trash -------------------------------------------------------------------------------------------------

    @abstractmethod
    def discard(self, run: str, paths: Iterable[str]) -> None:
        """Move files into the trash of a run. What is gone already is no error."""

    @abstractmethod
    def discard_folder(self, run: str, path: str) -> None:
        """Move all that is below a folder into the trash of a run; the link that says what a tag means goes last."""

    @abstractmethod
    def runs(self) -> list[str]:
        """Return the runs that have something in the trash, oldest first."""

    @abstractmethod
    def discarded(self, run: str) -> Iterator[str]:
        """Yield the paths of the files that went in a run, and may have come back since."""

    @abstractmethod
    def look_into_trash(self, run: str, paths: Iterable[str]) -> Iterator[Item]:
        """Yield what there is to know about files in the trash, in any order, each with the time at which it had been written."""

    @abstractmethod
    def restore(self, run: str, path: str) -> bool:
        """Bring a file back. False where there is one in its place already, or none in the trash."""

    @abstractmethod
    def settle(self, run: str) -> None:
        """Note that a run has looked a second time at what it took."""

    @abstractmethod
    def settled(self, run: str) -> bool:
        """Tell whether a run has."""

    @abstractmethod
    def trash_size(self) -> Optional[int]:
        """Return how many bytes are in the trash, or None where that would have to be asked for each file."""

    @abstractmethod
    def forget(self, run: str) -> tuple[int, int]:
        """Empty the trash of a run for good; returns how many files and bytes that were."""

    @abstractmethod
    def tidy(self, before: float) -> None:
        """Remove folders that have been empty since before a time."""
