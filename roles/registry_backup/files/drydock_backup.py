#!/usr/bin/python3
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backs the host of a registry up into a restic repository, and fetches it back. For root.

drydock-backup run [--replace FOLDER] | list | fetch FOLDER [WHICH] | restore [WHICH] [PART | --replace FOLDER] | drill
WHICH is --snapshot ID or --at TIME; without it, the last backup. PART is --tag REPOSITORY:TAG and --repository PATTERN, as often as wanted.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Optional

FINE, FOUND, WRONG, UNUSABLE, LOCKED = range(5)
_CONFIG = "/etc/drydock/backup/backup.json"
# Which backups are ours: others may be of the same host in the same repository.
_TAG = "drydock"
# What tells two hosts of the same name apart.
_MACHINE = "/etc/machine-id"
_AT_WORK = "Another backup, restore or drill is at work on this host: try again later."
_NOT_RESTORED = "The images were not restored"
_ANSWER_SECONDS = 60
# A collection of a large storage takes some minutes.
_WAIT_SECONDS = 3600
# The registry of a drill, how many tags are pulled from it, and which share of the disk it leaves free.
_DRILL, _PULLED, _SPARE = "drydock-drill", 20, 0.1
_IS_LOCKED = re.compile(r"already locked")
# What restic says, in all its versions, and what to do.
_SENTENCES = (
    (
        r"wrong password or no key found",
        "registry_backup_password is not the password of {repository}: set the one that it was made with.",
    ),
    (
        r"no space left on device|disk quota exceeded",
        "{repository} is full: make room, or keep fewer backups by registry_backup_keep.",
    ),
    (_IS_LOCKED.pattern, "Another program is at work on {repository}: try again later."),
    (
        r"access denied|forbidden|unauthorized|no credentials|stat: 40[13]",
        "{repository} does not let this host in: {said}. Look at registry_backup_environment.",
    ),
    (r"connection refused|no such host|timeout|network is unreachable", "{repository} cannot be reached: {said}."),
)
# It asks this whatever the reason is, such as wrong keys.
_WHERE = "Is there a repository at the following location"
_NO_REPOSITORY = re.compile(
    rf"((not|n't) exist|no such file|not ?found).*{_WHERE}|repository does not exist", re.IGNORECASE | re.DOTALL
)


class BackupError(Exception):
    """Something that the user has to see to; the text is a sentence."""

    def __init__(self, text: str, status: int = UNUSABLE) -> None:
        super().__init__(text)
        self.status = status


def _tell(text: str) -> None:
    """Say what begins: each of these may take hours."""
    print(text, file=sys.stderr, flush=True)


def iso(at: float) -> str:
    """Write a time."""
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


class Restic:
    """The program restic, for one host's backups in a repository."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.repository = str(settings["repository"])
        # An address may have a password in it, which nobody is shown.
        found = re.search(r"//([^/@]*:[^/@]*@)", self.repository)
        self._login = found[1] if found else ""
        self.shown = self.repository.replace(self._login, "")
        self.host = str(settings["host"])
        self._limit = int(settings.get("limit_mib") or 0) << 10
        self._environment = {
            **os.environ,
            **_environment_of(settings.get("environment_file")),
            "RESTIC_REPOSITORY": self.repository,
            "RESTIC_PASSWORD_FILE": str(settings["password_file"]),
            "RESTIC_CACHE_DIR": f"{settings['state_directory']}/cache",
            "RESTIC_PROGRESS_FPS": "0.1",
        }

    def _run(self, *words: str, seconds: Optional[int] = None) -> subprocess.CompletedProcess[str]:
        limits = [f"--limit-upload={self._limit}", f"--limit-download={self._limit}"] if self._limit else []
        try:
            return subprocess.run(
                ["restic", *limits, *words],
                env=self._environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise BackupError(f"{self.shown} cannot be reached: it did not answer within {seconds} seconds.") from error
        except FileNotFoundError as error:
            raise BackupError("restic is not installed: install the package of that name.", WRONG) from error

    def ask(self, *words: str) -> str:
        """Run restic; returns what it prints."""
        done = self._patiently(*words)
        if done.returncode != 0:
            raise self._error(words[0], done)
        return done.stdout

    def back_up(self, *words: str) -> tuple[dict[str, Any], list[str]]:
        """Make a backup; returns restic's summary, and what is not in it."""
        done = self._patiently("backup", "--json", *words)
        # With 3, there is one, without some files.
        if done.returncode not in (0, 3):
            raise self._error("backup", done)
        summary = _summary(done.stdout)
        if not summary.get("snapshot_id"):
            return summary, ["restic did not say that it has made a snapshot."]
        said = sorted({_said(line) for line in done.stderr.splitlines() if line.strip()})[:5]
        lacks = "; ".join(said or ["restic does not say what"])
        return summary, [f"The backup lacks what cannot be read: {lacks}."] if done.returncode else []

    def _patiently(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run restic, after what another host does that keeps all others out: it removes what no backup needs any more."""
        for pause in _pauses():
            done = self._run(*words)
            if done.returncode == 0 or not _IS_LOCKED.search(done.stderr):
                break
            _tell(f"{self.shown} is locked by another program: waiting.")
            time.sleep(pause)
        return done

    def _error(self, command: str, done: subprocess.CompletedProcess[str]) -> BackupError:
        lines = [_said(line) for line in done.stderr.splitlines() if line.strip()]
        # What comes after that line is where the repository was looked for.
        last = next((number for number, line in enumerate(lines) if _WHERE in line), len(lines))
        said = (lines[:last] or ["it said nothing"])[-1].removeprefix("Fatal: ").rstrip(". ").replace(self._login, "")
        for pattern, sentence in _SENTENCES:
            if re.search(pattern, done.stderr, re.IGNORECASE):
                status = LOCKED if "locked" in pattern else WRONG if "password" in pattern else UNUSABLE
                return BackupError(sentence.format(repository=self.shown, said=said), status)
        return BackupError(f"restic {command} failed for {self.shown}: {said}.")

    def exists(self) -> bool:
        """Tell whether there is a repository."""
        # By itself, restic tries for a quarter of an hour.
        done = self._run("cat", "config", "--no-lock", seconds=_ANSWER_SECONDS)
        if done.returncode == 0:
            return True
        if done.returncode == 10 or _NO_REPOSITORY.search(done.stderr):
            return False
        raise self._error("cat", done)

    def unlock(self) -> None:
        """Remove what a killed run has left, on whichever host; restic knows which locks are nobody's."""
        self.ask("unlock")

    def snapshots(self) -> list[dict[str, Any]]:
        """Return this host's backups, oldest first, or raise BackupError where there is none."""
        found: list[dict[str, Any]] = json.loads(self.ask("snapshots", "--json", f"--tag={_TAG}") or "[]") or []
        own = sorted((one for one in found if one["hostname"] == self.host), key=lambda one: _moment(str(one["time"])))
        if not own:
            others = ", ".join(sorted({str(one["hostname"]) for one in found})) or "nobody"
            raise BackupError(
                f"{self.shown} has no backup of {self.host}, but of {others}: a host's backups go by its name in the inventory."
            )
        return own


def _environment_of(path: Optional[str]) -> dict[str, str]:
    """Read the lines NAME=VALUE of a file, as a shell quotes them."""
    if not path or not Path(path).exists():
        return {}
    words = shlex.split(Path(path).read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


# ----- the report ----------------------------------------------------------------------------------------------------


def _report_path(settings: Mapping[str, Any]) -> Path:
    return Path(settings["state_directory"]) / "report.json"


def read_report(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the last runs have noted."""
    try:
        found = json.loads(_report_path(settings).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _note(settings: Mapping[str, Any], **values: Any) -> None:
    path = _report_path(settings)
    new = path.with_name("report.new")
    new.write_text(json.dumps({**read_report(settings), **values}), encoding="utf-8")
    new.chmod(0o600)
    new.replace(path)


def _still_failed(settings: Mapping[str, Any], done: str) -> Optional[dict[str, Any]]:
    """Return what failed and was not done since: no backup makes up for a drill."""
    failed: Optional[dict[str, Any]] = read_report(settings).get("failed")
    return None if failed and failed.get("command") == done else failed


@contextmanager
def _alone(settings: Mapping[str, Any]) -> Iterator[None]:
    folder = Path(settings["state_directory"])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupError(_AT_WORK, LOCKED) from error
        yield


# ----- a backup ------------------------------------------------------------------------------------------------------


def run(settings: Mapping[str, Any], replace: str = "") -> dict[str, Any]:
    """Back up what makes the deployment, and its images."""
    began = time.time()
    restic = Restic(settings)
    unfinished = read_report(settings).get("restoring")
    if unfinished:
        raise BackupError(
            f"This host has a part of backup {unfinished}, whose restore was not finished, and a backup of that would be the last one: "
            "run restore.yml again first."
        )
    _ensure_repository(restic, settings)
    restic.unlock()
    problems = _freeze(settings, replace)
    images = settings.get("images") or {}
    paths = [path for path in settings["paths"] if Path(path).exists()]
    excluded = []
    if images:
        paths.append(images["folder"])
        # What only a copy needs, and what the source does not have any more.
        excluded = [
            f"{images['folder']}/docker/registry/v2/drydock/{name}" for name in ("trash", "half", "settled", "lock")
        ]
    words = [f"--host={restic.host}", f"--tag={_TAG}", f"--tag={_machine()}", "--ignore-ctime"]
    _tell(f"Saving to {restic.shown}.")
    summary, lacks = restic.back_up(*words, *(f"--exclude={path}" for path in excluded), *paths)
    problems += lacks
    keep = [f"--keep-{name}={count}" for name, count in (settings.get("keep") or {}).items() if count]
    try:
        if keep:
            _tell("Removing what no backup needs any more.")
            restic.ask("forget", "--prune", "--group-by=host", f"--host={restic.host}", f"--tag={_TAG}", *keep)
        problems += _behind(restic, summary, str(read_report(settings).get("restored") or ""))
    except BackupError as error:
        problems.append(f"The backup is made, and older ones were not looked after: {error}")
    result = {
        "time": iso(began),
        "snapshot": str(summary.get("snapshot_id") or "")[:8],
        "seconds": round(time.time() - began, 1),
        "files": summary.get("total_files_processed", 0),
        "size": summary.get("total_bytes_processed", 0),
        "added": summary.get("data_added", 0),
        "problems": problems,
    }
    _note(settings, backup=result, repository=restic.shown, failed=_still_failed(settings, "run"))
    return result


def _behind(restic: Restic, summary: Mapping[str, Any], restored: str) -> list[str]:
    """Say that restores and drills take another backup than this one, by its time, or that they will, of another host of this name."""
    known = restic.snapshots()
    last = known[-1]
    made = str(summary.get("snapshot_id") or "")[:8]
    if not made or str(last["id"]).startswith(made):
        own = [number for number, one in enumerate(known) if _machine() in (one.get("tags") or ())]
        if len(own) == 1 and len(known) > 1 and not restored:
            before = "were made by another machine, and are not restored here"
            then = f"restores take this one from now on, and with `--at {known[-2]['time']}` the one before"
            return [f"The backups of {restic.host} before this one {before}: {then}."]
        others = known[own[-2] + 1 : own[-1]] if len(own) > 1 else []
        return [
            f"Another machine backs up under the name {restic.host}, last at {one['time']}, and restores take whichever is the last: "
            "give each host a name of its own, or each deployment a repository."
            for one in others[-1:]
        ]
    name = str(last["id"])[:8]
    sentence = f"Restores take backup {name} of {last['time']} and not this one, which is older by this host's clock: "
    return [f"{sentence}set the clock right, or give each host a name of its own; then `restic forget {name}`."]


def _machine() -> str:
    """Return a tag for this machine, which says nothing about it."""
    path = Path(_MACHINE)
    name = path.read_bytes() if path.exists() else b""
    return f"machine-{hashlib.sha256(b'drydock' + name).hexdigest()[:12]}"


def _ensure_repository(restic: Restic, settings: Mapping[str, Any]) -> None:
    folder = restic.repository.removeprefix("local:")
    if folder.startswith("/") and not Path(folder).is_dir():
        raise BackupError(f"{folder} is no folder: make it, or mount what belongs there.")
    if restic.exists():
        return
    known = read_report(settings)
    if known.get("repository") == restic.shown and known.get("backup"):
        raise BackupError(
            f"The repository in {restic.shown}, which had a backup at {known['backup']['time']}, is not there: is it mounted? "
            f"If it is gone for good, remove {_report_path(settings)} to have a new one made."
        )
    restic.ask("init")


def _freeze(settings: Mapping[str, Any], replace: str) -> list[str]:
    """Have the images copied as they are now, whole; returns what is wrong with them."""
    images = settings.get("images")
    if not images:
        return []
    if Path(images["folder"]).is_symlink():
        raise BackupError(f"{images['folder']} is a symbolic link, which is all that restic saves of it: remove it.")
    _make(images["folder"], images)
    options = ["--mirror", "--to", _shared(images["folder"]), *(["--replace", replace] if replace else []), "--apply"]
    return _copy(images, options, "The images were not backed up")


def _account(images: Mapping[str, Any]) -> pwd.struct_passwd:
    """Return the account of the images."""
    try:
        return pwd.getpwnam(images["user"])
    except KeyError as error:
        raise BackupError(f"This host has no account {images['user']}: run site.yml first.", WRONG) from error


def _make(folder: str, images: Mapping[str, Any]) -> None:
    """Make a folder of the images' account, unless it is there."""
    if not Path(folder).exists():
        Path(folder).mkdir(mode=0o750, parents=True)
        account = _account(images)
        # The account may have put a link in its place.
        os.chown(folder, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _shared(folder: str) -> str:
    return json.dumps({"folder": folder, "link_enabled": True})


def _copy(images: Mapping[str, Any], options: Sequence[str], failure: str) -> list[str]:
    """Copy images as their account, after a collection that is at work on them; returns what is wrong with them."""
    words = [*images["copy"], "--json", "copy", *options]
    if "--apply" in options:
        _tell("Copying images.")
    for pause in _pauses():
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        answer = _json_of(done)
        if done.returncode != LOCKED:
            break
        time.sleep(pause)
    if "error" in answer:
        raise BackupError(f"{failure}: {answer['error']}", done.returncode or UNUSABLE)
    return [str(one) for one in answer["problems"]]


def _pauses() -> Iterator[int]:
    """Yield how long to wait for another program each time; the last time not at all."""
    waited, pause = 0, 1
    while waited < _WAIT_SECONDS:
        yield pause
        waited, pause = waited + pause, min(2 * pause, 10)
    yield 0


def _json_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {"error": (done.stderr.strip() or "it said nothing").splitlines()[-1]}


def _said(line: str) -> str:
    """Return what restic says in a line, which is JSON where it was asked for that."""
    try:
        found = json.loads(line)
    except ValueError:
        return line.strip()
    if not isinstance(found, dict):
        return line.strip()
    error = found.get("error")
    what = found.get("message") or (error.get("message") if isinstance(error, dict) else "") or ""
    return ": ".join(filter(None, [str(found.get("item") or ""), str(what)])) or line.strip()


def _summary(text: str) -> dict[str, Any]:
    for line in reversed(text.splitlines()):
        if '"summary"' in line:
            found: dict[str, Any] = json.loads(line)
            return found
    return {}


# ----- back again ----------------------------------------------------------------------------------------------------


def choose(snapshots: Sequence[Mapping[str, Any]], name: str = "", at: str = "") -> Mapping[str, Any]:
    """Return a backup: the one of a name, the last one up to a time, or the last one."""
    if name:
        found = [one for one in snapshots if str(one["id"]).startswith(name)]
        if len(found) != 1:
            raise BackupError(f"{name} names {len(found)} backups: `drydock-backup list` shows all.", WRONG)
        return found[0]
    if at:
        found = [one for one in snapshots if _moment(str(one["time"])) <= _moment(at)]
        if not found:
            raise BackupError(f"The first backup is of {snapshots[0]['time']}, after {at}.", WRONG)
        return found[-1]
    return snapshots[-1]


def _moment(text: str) -> float:
    """Read a time as restic writes it, with nanoseconds, or one without fractions."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if not found:
        raise BackupError(f"{text} is no time such as 2026-11-30T01:00:00Z.", WRONG)
    try:
        at = datetime.strptime(found[1] + found[3].replace("Z", "+00:00"), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError as error:
        raise BackupError(f"{text} is no time: {error}.", WRONG) from error
    return at + float(found[2] or 0)


def fetch(settings: Mapping[str, Any], folder: str, name: str = "", at: str = "", spare: int = 0) -> dict[str, Any]:
    """Put a backup into a folder that is not there yet, all of it or nothing; so many bytes stay free on its disk."""
    began = time.time()
    restic = Restic(settings)
    if not restic.exists():
        raise BackupError(f"There is no repository at {restic.shown}.")
    restic.unlock()
    chosen = choose(restic.snapshots(), name, at)
    target = Path(folder)
    if target.exists():
        raise BackupError(f"{folder} is there already: remove it, or name another folder.", WRONG)
    half = target.with_name(f"{target.name}.half")
    if half.exists():
        shutil.rmtree(half)
    half.mkdir(mode=0o700, parents=True)
    try:
        size = int(json.loads(restic.ask("stats", "--json", "--mode=restore-size", str(chosen["id"])))["total_size"])
        free = shutil.disk_usage(half).free
        if size + spare > free:
            stays = f", of which {spare >> 20} stay free" if spare else ""
            raise BackupError(
                f"The backup takes {size >> 20} MiB, and {target.parent} has {free >> 20} MiB free{stays}: make room first."
            )
        _tell(f"Fetching backup {str(chosen['id'])[:8]} of {chosen['time']}, {size >> 20} MiB.")
        restic.ask("restore", str(chosen["id"]), f"--target={half}")
        half.rename(target)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return {
        "time": str(chosen["time"]),
        "snapshot": str(chosen["id"])[:8],
        "size": size,
        "seconds": round(time.time() - began, 1),
        "paths": list(chosen.get("paths") or ()),
        "problems": [],
    }


def _drill_folder(settings: Mapping[str, Any]) -> Path:
    return Path(settings["state_directory"]) / "drill"


def _fetched_folder(settings: Mapping[str, Any]) -> Path:
    """Return where a restore fetches a backup to. Layers are shared with it, so it lies on the same file system as images."""
    images = settings.get("images")
    if not images:
        return Path(settings["state_directory"]) / "fetched"
    storage = Path(images["storage"])
    beside = storage.with_name(f".{storage.name}.fetched")
    # Root works in it, so its name is not for the account to change, unless there is no other place.
    return beside if storage.exists() and storage.stat().st_dev == storage.parent.stat().st_dev else storage / "fetched"


def _tidy(settings: Mapping[str, Any]) -> None:
    """Remove what a restore or a drill has left that was killed, which is as large as a backup."""
    drill, fetched = _drill_folder(settings), _fetched_folder(settings)
    if drill.exists() and (settings.get("images") or {}).get("container"):
        with suppress(BackupError):
            _docker("container", "rm", "--force", "--volumes", _DRILL, missing=True)
    for folder in (drill, fetched):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.with_name(f"{folder.name}.half"), ignore_errors=True)


class Wanted(NamedTuple):
    """Which backup, and what of it; all of it, where no part is named."""

    name: str = ""
    at: str = ""
    # The folder whose images may be replaced.
    replace: str = ""
    tags: Sequence[str] = ()
    repositories: Sequence[str] = ()

    @property
    def part(self) -> list[str]:
        """Return the options that name a part."""
        return [f"--tag={one}" for one in self.tags] + [f"--repository={one}" for one in self.repositories]


def restore(settings: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Put a backup where it came from: files first, then images, of which tags come last; nothing may serve them meanwhile.

    A part are images alone, which may be served.
    """
    images = settings.get("images")
    if wanted.part and not images:
        raise BackupError(
            "The images are in a bucket, which this backup does not hold: storage_copy.yml copies parts of a second one.",
            WRONG,
        )
    if images:
        _make(images["storage"], images)
    folder = _fetched_folder(settings)
    try:
        fetched = fetch(settings, str(folder), wanted.name, wanted.at)
        accounts = _Accounts(folder, images)
        options = _from_fetched(folder, images) if images else []
        if wanted.part:
            return {**fetched, "problems": _copy(images, [*options, *wanted.part, "--apply"], _NOT_RESTORED)}
        if images:
            # What a killed one has put there may be replaced.
            replace = images["storage"] if read_report(settings).get("restoring") else wanted.replace
            options += ["--mirror", *(["--replace", replace] if replace else [])]
            # Without changing anything: what is refused is refused before the files are replaced.
            _copy(images, options, _NOT_RESTORED)
        _note(settings, restoring=fetched["snapshot"])
        for path in settings["paths"]:
            source = folder / path.lstrip("/")
            if source.exists():
                _put(source, Path(path), Path(settings["own_directory"]), accounts)
        problems = _copy(images, [*options, "--apply"], _NOT_RESTORED) if images else []
        if images:
            # It is a copy of what was there.
            shutil.rmtree(images["folder"], ignore_errors=True)
        _note(settings, restoring=None, restored=fetched["snapshot"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {**fetched, "problems": problems}


class _Accounts:
    """What the numbers of a backup are here: those of the images' account may be others."""

    def __init__(self, folder: Path, images: Optional[Mapping[str, Any]]) -> None:
        self._users: dict[int, int] = {}
        self._groups: dict[int, int] = {}
        # What the account itself has made.
        found = folder / str(images["folder"]).lstrip("/") / "docker" if images else folder
        if images and found.exists():
            account, was = _account(images), found.stat()
            self._users, self._groups = {was.st_uid: account.pw_uid}, {was.st_gid: account.pw_gid}

    def give(self, path: Path, found: os.stat_result) -> None:
        """Give a file to whom it belonged."""
        user = self._users.get(found.st_uid, found.st_uid)
        os.chown(path, user, self._groups.get(found.st_gid, found.st_gid), follow_symlinks=False)


def _from_fetched(folder: Path, images: Mapping[str, Any]) -> list[str]:
    """Return how images are copied from where they were fetched to where they belong."""
    return ["--from", _shared(str(_readable(folder, images))), "--to", _shared(str(images["storage"]))]


def _readable(folder: Path, images: Mapping[str, Any]) -> Path:
    """Let their account read the images that were fetched, whatever its number was where they come from; returns their folder."""
    source = folder / str(images["folder"]).lstrip("/")
    way = [source, *source.parents][: len(source.relative_to(folder).parts)]
    # Links come back as they were saved: what they lead to is this host's, and does not become the account's.
    if any(one.is_symlink() or not one.is_dir() for one in way):
        raise BackupError(
            f"The backup has no images in {images['folder']}: set registry_backup_frozen_directory as it was."
        )
    for path in source.parents:
        path.chmod(0o711)
        if path == folder:
            break
    user = _account(images).pw_uid
    for found, _folders, files in os.walk(source):
        os.chown(found, user, -1)
        for file in files:
            os.chown(f"{found}/{file}", user, -1, follow_symlinks=False)
    return source


def _put(source: Path, target: Path, own: Path, accounts: _Accounts) -> None:
    """Put a file or a folder in its place, with owner and mode, all of a file or nothing. The settings of backups stay as they are."""
    if target == own:
        return
    found = source.lstat()
    if source.is_dir() and not source.is_symlink():
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for one in sorted(source.iterdir()):
            _put(one, target / one.name, own, accounts)
        accounts.give(target, found)
        target.chmod(found.st_mode & 0o7777)
        return
    if not (source.is_symlink() or source.is_file()):
        # A socket or a pipe is made by whoever uses it.
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f"{target.name}.restored")
    new.unlink(missing_ok=True)
    if not source.is_symlink():
        # Nobody else reads it before it has its own mode.
        new.touch(mode=0o600)
    shutil.copy2(source, new, follow_symlinks=False)
    accounts.give(new, found)
    new.replace(target)


def drill(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fetch the last backup beside what runs, read all of it, and remove it."""
    began = time.time()
    folder = _drill_folder(settings)
    # Those who push meanwhile need room as well.
    spare = int(_SPARE * shutil.disk_usage(folder.parent).total)
    try:
        fetched = fetch(settings, str(folder), spare=spare)
        problems = [f"The backup lacks {path}." for path in settings["paths"] if not _has(folder, fetched, path)]
        images = settings.get("images")
        checked: dict[str, Any] = {}
        if images:
            checked, defects = _check(folder, images)
            problems += defects
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result = {
        "time": iso(began),
        "of": fetched["time"],
        "snapshot": fetched["snapshot"],
        "seconds": round(time.time() - began, 1),
        "size": fetched["size"],
        "checked": checked,
        "problems": problems,
    }
    _note(settings, drill=result, failed=_still_failed(settings, "drill"))
    return result


def _has(folder: Path, fetched: Mapping[str, Any], path: str) -> bool:
    """Tell whether a path that was to be saved is there; what the host does not have was not saved."""
    return path not in fetched["paths"] or (folder / path.lstrip("/")).exists()


def _check(folder: Path, images: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Read all images, and have a registry that has them, and no network, send some; returns how much that was, and what is wrong."""
    place = _readable(folder, images)
    config = folder / "drill.json"
    served = _serving(folder, place, images) if images["container"] else nullcontext("")
    with served as socket:
        # Nobody pushes to it, so nothing is looked at twice.
        document = {
            "storage": {"folder": str(place)},
            "state_directory": str(folder / "drill-state"),
            "second_look_seconds": 0,
        }
        config.write_text(
            json.dumps({**document, "registry": {"socket": socket}} if socket else document), encoding="utf-8"
        )
        pull = [f"--pull={_PULLED}"] if socket else []
        words = [*images["program"], "--config", str(config), "--json", "check", "--digests", *pull]
        _tell("Reading all images.")
        # Python looks for modules where it is started, which may be a folder of somebody else.
        answer = _json_of(subprocess.run(words, capture_output=True, text=True, check=False, cwd="/"))
    if "error" in answer:
        return {}, [f"The images in the backup cannot be checked: {answer['error']}"]
    return {**answer["checked"], "pulled": answer.get("pulled")}, [str(one["sentence"]) for one in answer["defects"]]


@contextmanager
def _serving(folder: Path, place: Path, images: Mapping[str, Any]) -> Iterator[str]:
    """Run a registry on fetched images as the host's own runs, without a network; provides its socket."""
    account = _account(images)
    sockets = folder / "socket"
    sockets.mkdir(mode=0o700)
    os.chown(sockets, account.pw_uid, account.pw_gid)
    settings = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {
            "filesystem": {"rootdirectory": "/images"},
            "maintenance": {"uploadpurging": {"enabled": False}, "readonly": {"enabled": True}},
        },
        "http": {"net": "unix", "addr": "/socket/registry.sock", "secret": "of nobody"},
    }
    (folder / "registry.yml").write_text(json.dumps(settings), encoding="utf-8")
    image = _docker("container", "inspect", "--format={{.Image}}", images["container"])
    # One that a killed drill has left.
    _docker("container", "rm", "--force", "--volumes", _DRILL, missing=True)
    _docker(
        *("run", "--detach", f"--name={_DRILL}", f"--user={account.pw_uid}:{account.pw_gid}", "--network=none"),
        *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pull=never", "--memory=512m"),
        *(
            f"--volume={place}:/images:ro",
            f"--volume={sockets}:/socket",
            f"--volume={folder}/registry.yml:/registry.yml:ro",
        ),
        *("--entrypoint=registry", image, "serve", "/registry.yml"),
    )
    try:
        yield str(sockets / "registry.sock")
    finally:
        # With the volume that an image may declare.
        _docker("container", "rm", "--force", "--volumes", _DRILL)


def _docker(*words: str, missing: bool = False) -> str:
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BackupError(
            "Docker is not installed: the drill runs a registry on what it has fetched.", WRONG
        ) from error
    if done.returncode and not (missing and "No such container" in done.stderr):
        raise BackupError(
            f"The drill's registry does not start: {(done.stderr.strip() or 'Docker said nothing').splitlines()[-1]}."
        )
    return done.stdout.strip()


# ----- the command line ----------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BackupError(f"{message}: see `--help`.", WRONG)


def _answer(asked: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    if asked.command == "list":
        restic = Restic(settings)
        restic.unlock()
        rows = [{"snapshot": str(one["id"])[:8], "time": str(one["time"])} for one in restic.snapshots()]
        return {"snapshots": rows, "problems": []}
    with _alone(settings):
        _tidy(settings)
        if asked.command == "run":
            return run(settings, asked.replace)
        if asked.command == "fetch":
            return fetch(settings, asked.folder, asked.snapshot, asked.at)
        if asked.command == "restore":
            return restore(settings, Wanted(asked.snapshot, asked.at, asked.replace, asked.tag, asked.repository))
        return drill(settings)


def main(words: Sequence[str]) -> int:
    """Run a command; returns its exit status."""
    parser = _Parser(prog="drydock-backup", description="Backs the host of a registry up, and fetches it back.")
    parser.add_argument("--config", default=_CONFIG, help="the configuration, a JSON file")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="back up")
    command.add_argument(
        "--replace",
        default="",
        metavar="FOLDER",
        help="go on although most of its images went",
    )
    commands.add_parser("list", help="list the backups of this host")
    which = _Parser(add_help=False)
    which.add_argument("--snapshot", default="", metavar="ID", help="this one in place of the last one")
    which.add_argument(
        "--at", default="", metavar="TIME", help="the last one up to a time, such as 2026-11-30T01:00:00Z"
    )
    command = commands.add_parser("fetch", parents=[which], help="put a backup into a new folder")
    command.add_argument("folder")
    command = commands.add_parser(
        "restore",
        parents=[which],
        help="put a backup where it came from, while nothing serves, or a part of its images",
    )
    command.add_argument("--tag", action="append", default=[], metavar="REPO:TAG", help="only these images")
    command.add_argument(
        "--repository", action="append", default=[], metavar="PATTERN", help="only the images of these"
    )
    command.add_argument(
        "--replace", default="", metavar="FOLDER", help="replace the images there, which go into the trash"
    )
    commands.add_parser("drill", help="fetch the last backup beside what runs, check it, and remove it")
    settings: dict[str, Any] = {}
    asked: Optional[argparse.Namespace] = None
    try:
        asked = parser.parse_args(words)
        try:
            settings = json.loads(Path(asked.config).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BackupError(f"{asked.config} cannot be read: {error}.", WRONG) from error
        try:
            result = _answer(asked, settings)
        except OSError as error:
            raise BackupError(f"{asked.command} was not finished: {error}.") from error
    except BackupError as error:
        print(error, file=sys.stderr)
        # Whether something was replaced, now or by a restore before.
        print(json.dumps({"error": str(error), "restoring": bool(settings and read_report(settings).get("restoring"))}))
        if settings and asked and asked.command in ("run", "drill") and str(error) != _AT_WORK:
            with suppress(OSError):
                _note(settings, failed={"time": iso(time.time()), "command": asked.command, "error": str(error)})
        return error.status
    for problem in result["problems"]:
        print(problem, file=sys.stderr)
    print(json.dumps(result))
    return FOUND if result["problems"] else FINE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
