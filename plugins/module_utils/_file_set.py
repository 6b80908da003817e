# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files that belong together: all of them or none, each by one rename. No Ansible is needed here.

New files are written into a staging folder, checked there as a set, and then renamed into their places. What was renamed is put back
when a later step fails. The staging folder lies on the file system of the files, is locked while it is in use, and is always removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Optional

STAGED = "{staged}"
# The end of a staging folder's name, before what makes it unique.
MARK = ".drydock-"
# The number of an account that a dry run does not know yet: no file has it.
UNKNOWN = -1
# For folders above the wanted ones.
PARENT_MODE = 0o755

# The options of the modules that write files by this.
RIGHTS_OPTIONS: dict[str, Any] = {
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "raw"},
}
DIRECTORIES_OPTION: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "path": {"type": "path", "required": True},
        **RIGHTS_OPTIONS,
        "state": {"type": "str", "choices": ["present", "absent_if_empty"], "default": "present"},
    },
}
FILES_OPTION: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "path": {"type": "path", "required": True},
        "content": {"type": "str"},
        **RIGHTS_OPTIONS,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "keep": {"type": "bool", "default": False},
        "secret": {"type": "bool", "default": False, "no_log": False},
    },
}
CHECK_OPTION: dict[str, Any] = {
    "type": "dict",
    "options": {
        "folder": {"type": "path", "required": True},
        "argv": {"type": "list", "elements": "str", "required": True},
        "seconds": {"type": "int", "default": 120},
    },
}


class Refused(Exception):
    """Nothing was changed; the text says why, one sentence a line."""


class Rights(NamedTuple):
    """Who owns something and who may do what; None is left as it is."""

    uid: Optional[int] = None
    gid: Optional[int] = None
    mode: Optional[int] = None


NOTHING = Rights()


class Directory(NamedTuple):
    """A folder as wanted."""

    path: str
    rights: Rights = Rights()
    absent_if_empty: bool = False


class File(NamedTuple):
    """A file as wanted; `content` is None where something else makes it, and only its rights are ours."""

    path: str
    content: Optional[bytes] = None
    rights: Rights = Rights()
    keep: bool = False
    secret: bool = False
    absent: bool = False


class Check(NamedTuple):
    """A program that reads a whole folder as it is going to be."""

    folder: str
    argv: Sequence[str]
    seconds: int = 120


@dataclass(frozen=True)
class FileSet:
    """Files that belong together, their folders, and what checks them."""

    directories: Sequence[Directory] = ()
    files: Sequence[File] = ()
    check: Optional[Check] = None


# ----- from a module's parameters ---------------------------------------------------------------


def read_parameters(parameters: Mapping[str, Any], check_mode: bool = False) -> FileSet:
    """Make a set of a module's parameters. A dry run may come before the task that makes an account."""
    problems: list[str] = []
    directories = [
        Directory(
            path=os.path.normpath(entry["path"]),
            rights=_rights(entry, check_mode, problems),
            absent_if_empty=entry["state"] == "absent_if_empty",
        )
        for entry in parameters["directories"]
    ]
    files = []
    for entry in parameters["files"]:
        absent = entry["state"] == "absent"
        if not absent and entry["content"] is None and not entry["keep"]:
            problems.append(
                f"The file {entry['path']} has no content: add the key 'content', or write `keep: true` or `state: absent`."
            )
        files.append(
            File(
                path=os.path.normpath(entry["path"]),
                content=None if entry["content"] is None else entry["content"].encode("utf-8", "surrogateescape"),
                rights=_rights(entry, check_mode, problems),
                keep=bool(entry["keep"]),
                secret=bool(entry["secret"]),
                absent=absent,
            )
        )
    wanted = parameters.get("check")
    check = Check(os.path.normpath(wanted["folder"]), list(wanted["argv"]), wanted["seconds"]) if wanted else None
    file_set = FileSet(directories, files, check)
    problems.extend(set_problems(file_set))
    if problems:
        raise Refused("\n".join(problems))
    return file_set


def without_secrets(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as they may be shown: without the content of any secret."""
    files = [{**entry, "content": "(a secret)"} if entry["secret"] else entry for entry in parameters["files"]]
    return {**parameters, "files": files}


def _rights(entry: Mapping[str, Any], check_mode: bool, problems: list[str]) -> Rights:
    """Resolve an entry's owner, group and mode."""
    path = entry["path"]
    numbers: list[Optional[int]] = []
    for key, kind, number_of in (("owner", "user", _uid), ("group", "group", _gid)):
        value = entry.get(key)
        number: Optional[int] = None
        if value is not None:
            try:
                number = int(value) if str(value).isdecimal() else number_of(str(value))
            except KeyError:
                number = UNKNOWN
                if not check_mode:
                    problems.append(
                        f"The {key} of {path} is '{value}', but there is no such {kind}: create it before this task."
                    )
        numbers.append(number)
    mode = parse_mode(entry.get("mode"))
    if mode is not None and not 0 <= mode <= 0o7777:
        problems.append(f"The mode of {path} is '{entry['mode']}': write an octal number in quotes, such as \"0640\".")
    return Rights(numbers[0], numbers[1], mode)


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def parse_mode(mode: object) -> Optional[int]:
    """Read a mode; one that cannot be read is -1."""
    if mode is None:
        return None
    if isinstance(mode, bool):
        return -1
    if isinstance(mode, int):
        return mode
    try:
        return int(str(mode), 8)
    except ValueError:
        return -1


def set_problems(file_set: FileSet) -> list[str]:
    """Say what is wrong with a set itself, whatever is on the host."""
    paths = [directory.path for directory in file_set.directories] + [file.path for file in file_set.files]
    problems = [f"The path {path} is relative: write an absolute one." for path in paths if not os.path.isabs(path)]
    problems.extend(
        f"The path {path} is named {count} times: name it once." for path, count in Counter(paths).items() if count > 1
    )
    if file_set.check:
        folder = file_set.check.folder
        if not any(_is_below(file.path, folder) for file in file_set.files):
            problems.append(
                f"check.folder is {folder}, in which no file of this set lies: name the folder that is to be checked."
            )
        if not file_set.check.argv:
            problems.append("check.argv is empty: write the command that checks the files.")
    return problems


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


# ----- what differs -----------------------------------------------------------------------------


class Found(NamedTuple):
    """What lies at a path."""

    rights: Rights
    content: Optional[bytes]  # None for what is no regular file

    @property
    def regular(self) -> bool:
        return self.content is not None


@dataclass
class Difference:
    """What has to be done for one path. `found` is None where there is nothing yet."""

    path: str
    found: Optional[Found]
    write: bool = False
    remove: bool = False
    # The rights that differ, or for what is written all that it gets.
    rights: Rights = NOTHING
    after: Optional[bytes] = None
    secret: bool = False

    @property
    def changed(self) -> bool:
        return self.write or self.remove or self.rights != NOTHING


@dataclass
class Plan:
    """What a set differs in from what is there. Making it changes nothing."""

    file_set: FileSet
    directories: list[Difference] = field(default_factory=list)
    files: list[Difference] = field(default_factory=list)
    # Folders above the wanted ones that are missing.
    parents: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return any(difference.changed for difference in (*self.directories, *self.files))

    @property
    def changed_files(self) -> list[str]:
        return [difference.path for difference in self.files if difference.changed]

    @property
    def created(self) -> list[str]:
        return [
            difference.path
            for difference in (*self.directories, *self.files)
            if difference.found is None and difference.write
        ]

    def diff(self, shown: Optional[Mapping[str, tuple[str, str, str]]] = None) -> list[dict[str, Any]]:
        """Show what differs, of a secret nothing but that it does.

        `shown` has what is shown of a file in place of its content: a title, before and after.
        """
        instead = shown or {}
        return [
            entry
            for difference in (*self.directories, *self.files)
            for entry in _diff(difference, instead.get(difference.path))
        ]


def _diff(difference: Difference, shown: Optional[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    path = difference.path
    found = difference.found
    if shown:
        yield {"before_header": shown[0], "after_header": shown[0], "before": shown[1], "after": shown[2]}
    elif difference.after is not None or (difference.remove and found is not None and found.regular):
        before = b"" if found is None or found.content is None else found.content
        after = difference.after or b""
        if before != after:
            if difference.secret:
                before, after = (b"(a secret, which is not shown)\n" if text else b"" for text in (before, after))
            if difference.secret and before == after:
                yield {"prepared": f"{path}: the content changes; it is a secret, which is not shown\n"}
            else:
                yield {"before_header": path, "after_header": path, "before": _shown(before), "after": _shown(after)}
    elif difference.write or difference.remove:
        before_state, after_state = ("directory", "absent") if difference.remove else ("absent", "directory")
        yield {"before": {"path": path, "state": before_state}, "after": {"path": path, "state": after_state}}
    wanted = difference.rights
    if found is not None and not difference.remove:
        pairs = [
            (name, before, after)
            for name, before, after in zip(("owner", "group", "mode"), found.rights, wanted)
            if after is not None and before != after
        ]
        if pairs:
            yield {
                "before": {"path": path, **{name: _number(name, value) for name, value, _new in pairs}},
                "after": {"path": path, **{name: _number(name, value) for name, _old, value in pairs}},
            }


def _number(name: str, value: Optional[int]) -> str:
    if value is None or value == UNKNOWN:
        return "not known yet"
    return f"{value:04o}" if name == "mode" else str(value)


def _shown(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "(binary content)\n"


def find(path: str) -> Optional[Found]:
    """Look at a path without following a link."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    content: Optional[bytes] = None
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as stream:
            content = stream.read()
    return Found(_rights_of(status), content)


def _rights_of(status: os.stat_result) -> Rights:
    return Rights(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def _different(wanted: Rights, there: Rights) -> Rights:
    """Keep of the wanted rights those that differ."""
    return Rights(*(want if want is not None and want != have else None for want, have in zip(wanted, there)))


def make_plan(file_set: FileSet, check_mode: bool = False) -> Plan:
    """Compare a set with what is there, and refuse what cannot become so."""
    try:
        return _make_plan(file_set, check_mode)
    except OSError as error:
        raise Refused(f"{error.filename} cannot be read: {error.strerror}.") from error


def _make_plan(file_set: FileSet, check_mode: bool) -> Plan:
    plan = Plan(file_set)
    problems: list[str] = []
    for directory in file_set.directories:
        try:
            status = os.stat(directory.path)
        except (FileNotFoundError, NotADirectoryError):
            if not directory.absent_if_empty:
                plan.directories.append(Difference(directory.path, None, write=True, rights=directory.rights))
            continue
        if not stat.S_ISDIR(status.st_mode):
            problems.append(
                f"{directory.path} is to be a folder, but is something else: remove it, or choose another path."
            )
            continue
        found = Found(_rights_of(status), None)
        if directory.absent_if_empty:
            plan.directories.append(Difference(directory.path, found, remove=_will_be_empty(directory.path, file_set)))
        else:
            plan.directories.append(
                Difference(directory.path, found, rights=_different(directory.rights, found.rights))
            )

    made = {difference.path for difference in plan.directories if difference.write}
    for file in file_set.files:
        if os.path.isdir(file.path) and not os.path.islink(file.path):
            problems.append(f"{file.path} is to be a file, but is a folder: remove it, or choose another path.")
            continue
        folder = os.path.dirname(file.path)
        # A dry run may come before the task that makes the folder.
        if (
            file.content is not None
            and not file.absent
            and not check_mode
            and folder not in made
            and not os.path.isdir(folder)
        ):
            problems.append(f"The folder {folder} of {file.path} does not exist: add it to directories.")
            continue
        plan.files.append(_file_difference(file))
    if problems:
        raise Refused("\n".join(problems))

    for path in made:
        parent = os.path.dirname(path)
        while not os.path.lexists(parent):
            if parent not in made and parent not in plan.parents:
                plan.parents.append(parent)
            parent = os.path.dirname(parent)
    plan.parents.sort(key=len)
    # A folder before what is in it, and the other way round where they go.
    plan.directories.sort(key=lambda difference: -len(difference.path) if difference.remove else len(difference.path))
    return plan


def _will_be_empty(path: str, file_set: FileSet) -> bool:
    going = {file.path for file in file_set.files if file.absent}
    going |= {directory.path for directory in file_set.directories if directory.absent_if_empty}
    return all(
        os.path.join(path, name) in going
        and (not os.path.isdir(os.path.join(path, name)) or _will_be_empty(os.path.join(path, name), file_set))
        for name in os.listdir(path)
        if not name.startswith(f".{os.path.basename(path)}{MARK}")
    )


def _file_difference(file: File) -> Difference:
    found = find(file.path)
    if file.absent:
        return Difference(file.path, found, remove=found is not None, secret=file.secret)
    if file.content is None and (found is None or not found.regular):
        return Difference(file.path, found)
    if found is not None and found.regular and (file.keep or found.content == file.content):
        return Difference(file.path, found, rights=_different(file.rights, found.rights), secret=file.secret)
    # What is written keeps the rights that nothing is said about; a new file is nobody else's.
    before = found.rights if found is not None and found.regular else Rights(mode=0o600)
    rights = Rights(*(want if want is not None else have for want, have in zip(file.rights, before)))
    return Difference(file.path, found, write=True, rights=rights, after=file.content, secret=file.secret)


# ----- doing it ---------------------------------------------------------------------------------


class Staging:
    """A folder beside another one, in which files are made before they are renamed into it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = tempfile.mkdtemp(prefix=f".{os.path.basename(folder)}{MARK}", dir=_staging_parent(folder))
        self.new = os.path.join(self.path, "new")
        self.old = os.path.join(self.path, "old")
        self._backups = 0
        # The lock ends with the process: a staging folder without one was left by a run that was killed.
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            os.mkdir(self.new, 0o700)
            os.mkdir(self.old, 0o700)
        except BaseException:
            self.remove()
            raise

    def place(self, path: str) -> str:
        """Return where a file of the folder, or of one below it, is staged."""
        return os.path.join(self.new, os.path.relpath(path, self.folder))

    def backup(self) -> str:
        self._backups += 1
        return os.path.join(self.old, str(self._backups))

    def remove(self) -> None:
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _staging_parent(folder: str) -> str:
    """Choose where to stage what is renamed into a folder: beside it, or in it where that is another file system or read-only."""
    real = os.path.realpath(folder)
    parent = os.path.dirname(real)
    return real if _is_mount_point(real) or not os.access(parent, os.W_OK | os.X_OK) else parent


def _is_mount_point(path: str) -> bool:
    """Tell whether something is mounted at a path, be it a part of the same file system, which no number of a device shows."""
    if os.path.ismount(path):
        return True
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            mounted = [line.split()[4] for line in stream]
    except OSError:
        return False
    return path.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012") in mounted


def remove_leftovers(folders: Sequence[str]) -> None:
    """Remove the staging folders of runs that were killed."""
    for folder in folders:
        real = os.path.realpath(folder)
        for place in sorted({real, os.path.dirname(real)}):
            with contextlib.suppress(OSError):
                for name in os.listdir(place):
                    if name.startswith(f".{os.path.basename(folder)}{MARK}"):
                        _remove_leftover(os.path.join(place, name))


def _remove_leftover(path: str) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def execute(plan: Plan, relabel: Optional[Callable[[str], object]] = None) -> None:
    """Do what a plan says, or leave everything as it was and raise Refused. `relabel` sets a file's security context."""
    file_set = plan.file_set
    folders = sorted(
        {os.path.dirname(file.path) for file in file_set.files} | ({file_set.check.folder} if file_set.check else set())
    )
    remove_leftovers(folders)
    if not plan.changed:
        return

    undo: list[Callable[[], None]] = []
    stagings: dict[str, Staging] = {}
    try:
        _make_directories(plan, undo)
        _stage(plan, stagings, undo)
        if file_set.check and any(difference.write or difference.remove for difference in plan.files):
            _run_check(file_set.check, stagings[file_set.check.folder].new)
        for difference in plan.directories:
            if difference.found is not None and not difference.remove:
                _repair(difference, undo)
        for difference in plan.files:
            _swap(difference, _staging_for(difference.path, file_set, stagings), undo)
            if difference.write and relabel:
                relabel(difference.path)
    except BaseException as error:
        stuck = _undo(undo)
        if isinstance(error, OSError):
            reason = f"{error.filename or 'The files'} cannot be written: {error.strerror}."
            raise Refused(f"{reason} {stuck or 'Nothing was changed.'}") from error
        if isinstance(error, Refused) and stuck:
            raise Refused(f"{error} {stuck}") from error
        raise
    finally:
        for staging in stagings.values():
            staging.remove()
    # Files of a folder were staged beside it, in one that may go as well.
    _remove_directories(plan)


def _undo(undo: list[Callable[[], None]]) -> str:
    """Put back what was done, the last step first, and say what could not be."""
    stuck: list[str] = []
    for step in reversed(undo):
        try:
            step()
        except OSError as error:
            stuck.append(f"{error.filename2 or error.filename} ({error.strerror})")
    return f"These could not be put back: {', '.join(stuck)}." if stuck else ""


def _make_directories(plan: Plan, undo: list[Callable[[], None]]) -> None:
    missing = [(path, Rights(mode=PARENT_MODE)) for path in plan.parents]
    missing += [(difference.path, difference.rights) for difference in plan.directories if difference.write]
    for path, rights in sorted(missing, key=lambda pair: len(pair[0])):
        mode = PARENT_MODE if rights.mode is None else rights.mode
        # With its mode from the start: the next run repairs no folder that this set does not name.
        os.mkdir(path, mode)
        undo.append(partial(os.rmdir, path))
        _give(path, Rights(rights.uid, rights.gid, mode))


def _give(path: str, rights: Rights) -> None:
    """Set owner, group and mode, in this order: a change of the owner clears bits of the mode."""
    if rights.uid is not None or rights.gid is not None:
        os.chown(
            path,
            -1 if rights.uid is None else rights.uid,
            -1 if rights.gid is None else rights.gid,
            follow_symlinks=False,
        )
    if rights.mode is not None:
        os.chmod(path, rights.mode)


def _repair(difference: Difference, undo: list[Callable[[], None]]) -> None:
    if difference.found is None or difference.rights == NOTHING:
        return
    before = difference.found.rights
    # A change of the owner may clear bits of the mode, so the mode is always set again.
    mode = before.mode if difference.rights.mode is None else difference.rights.mode
    undo.append(partial(_give, difference.path, before))
    _give(difference.path, Rights(difference.rights.uid, difference.rights.gid, mode))


def _staging_for(path: str, file_set: FileSet, stagings: Mapping[str, Staging]) -> Optional[Staging]:
    """Return the staging folder of a file: that of the check, if its folder holds the file."""
    if file_set.check and _is_below(path, file_set.check.folder) and file_set.check.folder in stagings:
        return stagings[file_set.check.folder]
    return stagings.get(os.path.dirname(path))


def _stage(plan: Plan, stagings: dict[str, Staging], undo: list[Callable[[], None]]) -> None:
    """Write all new files, each with its owner and mode, and make the folder complete that is going to be checked."""
    file_set = plan.file_set
    going = [difference for difference in plan.files if difference.write or difference.remove]
    if file_set.check and going:
        staging = stagings[file_set.check.folder] = Staging(file_set.check.folder)
        undo.append(staging.remove)
        _copy_folder(file_set.check.folder, staging.new, {difference.path for difference in going})
        wanted = [directory.rights for directory in file_set.directories if directory.path == file_set.check.folder]
        for rights in wanted:
            _give(staging.new, rights)
    for difference in going:
        staged = _staging_for(difference.path, file_set, stagings)
        if staged is None:
            folder = os.path.dirname(difference.path)
            staged = stagings[folder] = Staging(folder)
            # Before the folder goes in which it lies, and after what it keeps of the old files is put back.
            undo.append(staged.remove)
        if difference.after is not None:
            _write(staged.place(difference.path), difference.after, difference.rights)


def _write(path: str, content: bytes, rights: Rights) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    _give(path, rights)


def _copy_folder(source: str, target: str, without: set[str]) -> None:
    """Copy what a folder holds, links as links and folders with all that is in them; sockets and the like are left out."""
    _give(target, _rights_of(os.stat(source)))
    for name in os.listdir(source):
        path, copy = os.path.join(source, name), os.path.join(target, name)
        status = os.lstat(path)
        if path in without or MARK in name:
            continue
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(path), copy)
        elif stat.S_ISDIR(status.st_mode):
            os.mkdir(copy, 0o700)
            _copy_folder(path, copy, without)
        elif stat.S_ISREG(status.st_mode):
            shutil.copyfile(path, copy)
            _give(copy, _rights_of(status))


def _run_check(check: Check, staged: str) -> None:
    argv = [word.replace(STAGED, staged) for word in check.argv]
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=check.seconds,
        )
    except FileNotFoundError as error:
        raise Refused(
            f"{argv[0]}, which checks {check.folder}, is missing: install it. Nothing was changed."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Refused(
            f"{argv[0]} has not checked {check.folder} within {check.seconds} seconds. Nothing was changed."
        ) from error
    if done.returncode != 0:
        complaint = (
            done.stdout.decode("utf-8", "replace").replace(staged, check.folder).strip()
            or f"it ended with {done.returncode}"
        )
        raise Refused(f"{check.folder} stays as it was, because {argv[0]} refuses the new files: {complaint}")


def _swap(difference: Difference, staging: Optional[Staging], undo: list[Callable[[], None]]) -> None:
    """Put a staged file into its place, take one away, or repair the rights of one that stays."""
    path = difference.path
    if staging is None or not (difference.write or difference.remove):
        _repair(difference, undo)
    elif difference.remove:
        backup = staging.backup()
        os.rename(path, backup)
        undo.append(partial(os.rename, backup, path))
    elif difference.found is None:
        os.rename(staging.place(path), path)
        undo.append(partial(os.unlink, path))
    else:
        backup = staging.backup()
        try:
            os.link(path, backup, follow_symlinks=False)
        except OSError:  # not every file system has links
            shutil.copy2(path, backup, follow_symlinks=False)
            os.chown(backup, *_rights_of(os.lstat(path))[:2], follow_symlinks=False)  # type: ignore[arg-type]
        os.rename(staging.place(path), path)
        undo.append(partial(os.rename, backup, path))


def _remove_directories(plan: Plan) -> None:
    for difference in plan.directories:
        if difference.remove:
            # Something else may have come meanwhile.
            with contextlib.suppress(OSError):
                os.rmdir(difference.path)
