# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A storage in a folder. Each folder on the way is opened by itself, so that no symbolic link is ever followed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import stat as modes
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Optional

from drydock_store.layout import BLOBS, OURS, REPOSITORIES, ROOT
from drydock_store.store import FULL, SMALL, Item, Locked, Store, StoreError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TRASH = f"{OURS}/trash"
_SETTLED = f"{OURS}/settled"
# Files that a copy is writing.
_HALF = f"{OURS}/half"
# A folder that held one link or one blob. Others make up a repository, which registries list by its folders.
_EMPTIED = re.compile(r"/[0-9a-f]{64,128}$")
_DIGEST = re.compile(r"[0-9a-f]{64,128}")
_CHUNK = 1 << 20
# A file system without hard links, or a file of another account, which Linux lets nobody link.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Folder(Store):
    """The files of a registry with the filesystem driver."""

    def __init__(self, folder: str, *, link_enabled: bool = False) -> None:
        self.name = folder
        self._link_enabled = link_enabled
        # The folder itself may be reached through a link; nothing below it may.
        self._base = os.path.realpath(folder)
        self.shown = f"{self._base}/{ROOT}"
        self._root = -1
        self._empty: list[tuple[str, float]] = []

    def now(self) -> float:
        return time.time()

    # ----- opening ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        try:
            fd = os.open(self._base, _FOLDER)
        except OSError as error:
            raise StoreError(f"{self.name} cannot be opened ({error.strerror}): is storage.folder right?") from error
        try:
            for part in ROOT.split("/"):
                below = os.open(part, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
        except OSError as error:
            os.close(fd)
            raise StoreError(f"{self.name} holds no registry's storage: {self.shown} {_why(error)}.") from error
        if self._root >= 0:
            os.close(self._root)
        self._root = fd
        for part in (BLOBS, REPOSITORIES):
            try:
                os.close(self._folder(part))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(f"{self.shown}/{part} {_why(error)}.") from error
        if not {BLOBS, REPOSITORIES} & set(self.top()):
            raise StoreError(
                f"{self.name} holds no registry's storage: {self.shown} has neither `blobs` nor `repositories`."
            )

    def open_to_change(self) -> None:
        self.open()
        try:
            os.close(self._folder(_TRASH, make=True))
            os.close(self._folder(_SETTLED, make=True))
        except OSError as error:
            if error.errno in FULL:
                raise StoreError(f"{self.shown}/{OURS} cannot be made: the disk is full.") from error
            raise StoreError(
                f"{self.shown}/{OURS} cannot be written ({error.strerror}): run this as the account that owns {self.shown}."
            ) from error
        trash = os.stat(_TRASH, dir_fd=self._root, follow_symlinks=False).st_dev
        for part in (BLOBS, REPOSITORIES):
            with suppress(FileNotFoundError):
                if os.stat(part, dir_fd=self._root, follow_symlinks=False).st_dev != trash:
                    raise StoreError(
                        f"{self.shown}/{part} is on another file system than {self.shown}, so nothing can be moved from it."
                    )

    def _folder(self, path: str, *, make: bool = False) -> int:
        fd = os.dup(self._root)
        try:
            for part in path.split("/") if path else ():
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=fd)
                below = os.open(part, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        return fd

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        folder, _separator, name = path.rpartition("/")
        fd = self._folder(folder, make=make)
        try:
            yield fd, name
        finally:
            os.close(fd)

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._parent(f"{OURS}/lock", make=True) as (folder, name):
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=folder)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Locked(f"Another run is at work on {self.name}: try again later.") from error
            yield
        finally:
            os.close(fd)

    # ----- reading ---------------------------------------------------------------------------------------------------

    def top(self) -> list[str]:
        with os.scandir(self._root) as entries:
            return [entry.name for entry in entries]

    def files(self, under: str, *, foreign: bool = True) -> Iterator[Item]:
        self._empty = [entry for entry in self._empty if not entry[0].startswith(f"{under}/")]
        try:
            fd = self._folder(under)
        except FileNotFoundError:
            return
        yield from self._walk(fd, under, "" if foreign else "data" if under == BLOBS else "link")

    def _walk(self, fd: int, path: str, leaf: str = "") -> Iterator[Item]:
        """Yield what is below a folder, which this closes. Where a file of the name `leaf` is in one of a digest, it is taken for all."""
        # A folder is open until all that is below it has been opened from it.
        way: list[tuple[int, str, list[str]]] = []
        try:
            way.append((fd, path, []))
            yield from self._entries(*way[-1])
            while way:
                fd, path, folders = way[-1]
                if not folders:
                    os.close(fd)
                    way.pop()
                    continue
                name = folders.pop()
                # One call in place of six: most of a storage is folders that hold one file.
                item = _leaf(fd, path, name, leaf) if leaf and _DIGEST.fullmatch(name) else None
                if item:
                    yield item
                    continue
                try:
                    way.append((os.open(name, _FOLDER, dir_fd=fd), f"{path}/{name}", []))
                except FileNotFoundError:
                    continue
                yield from self._entries(*way[-1])
        finally:
            for fd, *_rest in way:
                os.close(fd)

    def _entries(self, fd: int, path: str, folders: list[str]) -> list[Item]:
        """Return the files in a folder, and add the folders in it to a list."""
        items = []
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                special = not modes.S_ISREG(found.st_mode)
                items.append(Item(f"{path}/{entry.name}", found.st_size, found.st_mtime, special))
        if not items and not folders and _EMPTIED.search(path):
            self._empty.append((path, os.fstat(fd).st_mtime))
        return items

    def stat(self, path: str) -> Optional[Item]:
        try:
            with self._parent(path) as (folder, name):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Item(path, found.st_size, found.st_mtime, not modes.S_ISREG(found.st_mode))

    def read(self, path: str) -> Optional[bytes]:
        content = b""
        try:
            for chunk in self.chunks(path):
                content += chunk
                if len(content) > SMALL:
                    break
        except FileNotFoundError:
            return None
        return content[: SMALL + 1]

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Optional[bytes]]]:
        for path in paths:
            yield path, self.read(path)

    def read_links(self, paths: Iterable[str]) -> Iterator[tuple[str, Optional[bytes], Optional[float]]]:
        # What comes back is the same file, with its time.
        for path, content in self.read_many(paths):
            yield path, content, None

    def chunks(self, path: str) -> Iterator[bytes]:
        with self._parent(path) as (folder, name):
            try:
                fd = os.open(name, _FILE, dir_fd=folder)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise StoreError(
                        f"{self.shown}/{path} is a symbolic link, which is never followed: remove it."
                    ) from error
                raise
        try:
            while True:
                chunk = os.read(fd, _CHUNK)
                if not chunk:
                    return
                yield chunk
        finally:
            os.close(fd)

    # ----- what a copy writes ----------------------------------------------------------------------------------------

    def blank(self) -> bool:
        if not Path(self._base).is_dir():
            raise StoreError(f"{self.name} is no folder: make it, or mount what belongs there.")
        return not any(Path(self.shown, part).exists() for part in (BLOBS, REPOSITORIES))

    def open_to_fill(self) -> None:
        try:
            for part in (BLOBS, REPOSITORIES):
                Path(self.shown, part).mkdir(parents=True, exist_ok=True)
            self.open()
            with self.lock(), suppress(FileNotFoundError), self._parent(_HALF) as (folder, name):
                _remove(folder, name)
        except OSError as error:
            why = "the disk is full" if error.errno in FULL else error.strerror
            raise StoreError(f"{self.shown} cannot be written: {why}.") from error

    def write(self, path: str, content: bytes, at: float) -> None:
        self.fill(path, [content], len(content), at)

    def fill(self, path: str, chunks: Iterable[bytes], size: int, at: float) -> None:  # noqa: ARG002
        with self._half(path) as (folder, name):
            fd = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder
            )
            with os.fdopen(fd, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            os.utime(name, (at, at), dir_fd=folder, follow_symlinks=False)

    def adopt(self, source: Store, path: str) -> bool:
        if not self._link_enabled or not isinstance(source, Folder):
            return False
        try:
            with source._parent(path) as (there, last), self._half(path) as (folder, name):
                os.link(last, name, src_dir_fd=there, dst_dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in {errno.EXDEV, *_NO_LINKS}:
                return False
            raise
        return True

    @contextmanager
    def _half(self, path: str) -> Iterator[tuple[int, str]]:
        """Have a file made under another name, and put it into its place when it is whole."""
        with self._parent(f"{_HALF}/{secrets.token_hex(8)}", make=True) as (folder, name):
            try:
                yield folder, name
                with self._parent(path, make=True) as (target, last):
                    os.rename(name, last, src_dir_fd=folder, dst_dir_fd=target)
            except BaseException as error:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                if isinstance(error, OSError) and error.errno in FULL:
                    raise StoreError(f"The disk of {self.name} is full: make room, and run this again.") from error
                raise

    def barrier(self) -> None:
        # This file system alone; Python knows only how to wait for all of them.
        if ctypes.CDLL(None, use_errno=True).syncfs(self._root) != 0:
            raise OSError(ctypes.get_errno(), "what was written cannot be made to stay")

    def shares(self, source: Store) -> bool:
        if not self._link_enabled or not isinstance(source, Folder):
            return False
        return Path(self._base).stat().st_dev == Path(source._base).stat().st_dev

    def room(self) -> Optional[int]:
        found = os.statvfs(self._base)
        return found.f_bavail * found.f_frsize

    # ----- the trash -------------------------------------------------------------------------------------------------

    def discard(self, run: str, paths: Iterable[str]) -> None:
        for path in paths:
            # The whole folder of a blob: an empty one would stay, and nobody writes into one that has a blob.
            self._rename(run, path.rpartition("/")[0] if path.startswith(f"{BLOBS}/") else path)

    def discard_folder(self, run: str, path: str) -> None:
        self._rename(run, path)

    def _rename(self, run: str, path: str) -> None:
        try:
            with (
                self._parent(path) as (source, name),
                self._parent(f"{_TRASH}/{run}/{path}", make=True) as (target, _name),
            ):
                try:
                    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    self._move_files(run, path, error)
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise StoreError(
                f"{self.shown}/{path} cannot be moved: run this as the account that owns {self.shown}."
            ) from error

    def _move_files(self, run: str, path: str, error: OSError) -> None:
        """Move what is in a folder: an overlay renames no folder of its lower layers, but each file."""
        try:
            fd = self._folder(path)
        except NotADirectoryError:
            raise StoreError(
                f"{self.shown}/{path} is on another file system than {self.shown}, so it cannot be moved."
            ) from error
        for item in sorted(self._walk(fd, path), key=lambda one: one.path.endswith("/current/link")):
            self._rename(run, item.path)
        with self._parent(path) as (folder, name):
            _remove_empty(folder, name)

    def runs(self) -> list[str]:
        try:
            fd = self._folder(_TRASH)
        except FileNotFoundError:
            return []
        try:
            with os.scandir(fd) as entries:
                return sorted(entry.name for entry in entries)
        finally:
            os.close(fd)

    def discarded(self, run: str) -> Iterator[str]:
        under = f"{_TRASH}/{run}"
        with suppress(FileNotFoundError):
            for item in self._walk(self._folder(under), under):
                yield item.path[len(under) + 1 :]

    def look_into_trash(self, run: str, paths: Iterable[str]) -> Iterator[Item]:
        for path in paths:
            found = self.stat(f"{_TRASH}/{run}/{path}")
            if found:
                yield found._replace(path=path)

    def restore(self, run: str, path: str) -> bool:
        try:
            with (
                self._parent(f"{_TRASH}/{run}/{path}") as (source, name),
                self._parent(path, make=True) as (target, _name),
            ):
                # A link, since a rename would put the old one in the place of one that was pushed meanwhile.
                done = True
                try:
                    os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                except FileExistsError:
                    done = os.path.samestat(
                        os.stat(name, dir_fd=source, follow_symlinks=False),
                        os.stat(name, dir_fd=target, follow_symlinks=False),
                    )
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    if _is_there(target, name):
                        return False
                    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                    return True
                if done:
                    os.unlink(name, dir_fd=source)
                return done
        except FileNotFoundError:
            return False

    def settle(self, run: str) -> None:
        with self._parent(f"{_SETTLED}/{run}", make=True) as (folder, name):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o640, dir_fd=folder))

    def settled(self, run: str) -> bool:
        return self.stat(f"{_SETTLED}/{run}") is not None

    def trash_size(self) -> int:
        return sum(item.size for item in self.files(_TRASH))

    def forget(self, run: str) -> tuple[int, int]:
        files = size = 0
        with suppress(FileNotFoundError), self._parent(f"{_TRASH}/{run}") as (folder, name):
            files, size = _remove(folder, name)
        with suppress(FileNotFoundError), self._parent(f"{_SETTLED}/{run}") as (folder, name):
            os.unlink(name, dir_fd=folder)
        return files, size

    def tidy(self, before: float) -> None:
        for path, since in self._empty:
            if since < before:
                with suppress(OSError), self._parent(path) as (folder, name):
                    os.rmdir(name, dir_fd=folder)
        self._empty = []


def _leaf(fd: int, path: str, folder: str, name: str) -> Optional[Item]:
    """Return the one file of a folder, if it has it."""
    try:
        found = os.stat(f"{folder}/{name}", dir_fd=fd, follow_symlinks=False)
    except OSError:
        return None
    return Item(f"{path}/{folder}/{name}", found.st_size, found.st_mtime) if modes.S_ISREG(found.st_mode) else None


def _remove(parent: int, name: str) -> tuple[int, int]:
    """Remove a folder with all that is in it; returns files and bytes."""
    files = size = 0
    fd = os.open(name, _FOLDER, dir_fd=parent)
    try:
        with os.scandir(fd) as entries:
            found = list(entries)
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    more = _remove(fd, entry.name)
                    files, size = files + more[0], size + more[1]
                else:
                    files, size = files + 1, size + entry.stat(follow_symlinks=False).st_size
                    os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
    return files, size


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove_empty(parent: int, name: str) -> None:
    """Remove a folder and those in it, as far as there is nothing in them."""
    with suppress(OSError):
        fd = os.open(name, _FOLDER, dir_fd=parent)
        try:
            with os.scandir(fd) as entries:
                folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            for one in folders:
                _remove_empty(fd, one)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=parent)


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return "is no folder, or a symbolic link, which is never followed"
    return f"cannot be opened ({error.strerror})"
