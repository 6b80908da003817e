# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry's host can tell: certificates, users, containers, nginx's answer, the renewal's timer, the storage.

It runs on the host with Python's own library only and changes nothing. What is missing or broken is part of the answer, as
the end of a sentence that begins with the thing's name. No key, password or hash leaves it.
"""

from __future__ import annotations

import datetime
import http.client
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Optional, TypedDict

from ansible_collections.drydock.registry.plugins.module_utils._image import BECAUSE
from ansible_collections.drydock.registry.plugins.module_utils._storage_check import read_problem, write_problem
from ansible_collections.drydock.registry.plugins.module_utils._unix_connection import UnixConnection

# Runs a program: its return code, output and errors.
Run = Callable[[Sequence[str]], tuple[int, str, str]]

CERTIFICATE, CRL = "CERTIFICATE", "X509 CRL"
_LARGEST_FILE_BYTES = 64 * 1024 * 1024
_KINDS = {CERTIFICATE: "certificate", CRL: "revocation list"}


class PemFile(TypedDict):
    """A file's PEM blocks of one kind, and since when it is as it is."""

    path: str
    pem: str
    modified: str
    problem: str


class Users(TypedDict):
    """The rights and the names of those with a password; `access` is None where it cannot be told."""

    access: Optional[dict[str, Any]]
    access_problem: str
    password_names: list[str]
    password_problem: str


class Answer(TypedDict):
    """What an HTTP server answers; a status of 0 is none."""

    status: int
    problem: str


class RegistryAnswer(Answer):
    """What a registry answers, and what it says when it is asked for something in its storage."""

    storage_problem: str


class ServedAnswer(Answer):
    """What nginx answers, and the certificate that it shows."""

    certificate: str
    configuration: str


class Container(TypedDict):
    """A container as the Docker daemon knows it; `state` is `missing` where it knows none, empty where it is not known."""

    name: str
    image: str
    # Why the image was built on the host, where another one could not be pulled.
    because: str
    state: str
    health: str
    exit_code: int
    restarts: int
    started: str
    finished: str
    socket: str
    answer: Optional[RegistryAnswer]


class Engine(TypedDict):
    """The containers, and why the daemon does not answer."""

    problem: str
    containers: list[Container]


class Timer(TypedDict):
    """A systemd timer and how its service ended last."""

    name: str
    problem: str
    state: str
    enabled: str
    next: str
    last: str
    service: str
    service_result: str
    service_ended: str


class Storage(TypedDict):
    """A folder's size and the space on its file system."""

    directory: str
    problem: str
    used_bytes: int
    used_is_complete: bool
    own_file_system: bool
    total_bytes: int
    free_bytes: int
    total_inodes: int
    free_inodes: int
    read_only: bool


class Mirror(TypedDict):
    """Another registry whose images come through this one."""

    name: str
    # How many pulls it allows in its window, and how many are left; nothing where it does not say.
    limit: Optional[int]
    remaining: Optional[int]
    window_seconds: int
    told: str
    # What was wrong last.
    problem: str
    problem_time: str


class Maintenance(TypedDict):
    """The timer that keeps the storage in order, and the figures of its last report."""

    timer: Optional[Timer]
    time: str
    since: str
    totals: Optional[dict[str, Any]]


# ---- files ---------------------------------------------------------------------------------------------------------


def utc(seconds: float) -> str:
    """A moment as all times are written here."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _read(path: str) -> tuple[str, str]:
    """The text, and what keeps it from being read."""
    try:
        # A named pipe would wait for ever.
        if not os.path.isfile(path):
            missing = not os.path.lexists(path)
            broken = os.path.islink(path) and not os.path.exists(path)
            return "", "does not exist" if missing else "is a link to nothing" if broken else "is no file"
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST_FILE_BYTES), ""
    except OSError as error:
        return "", f"cannot be read ({_reason(error)})"


def read_pem(path: str, kind: str) -> PemFile:
    """Read the blocks of one kind; whatever else is in the file, such as a key, stays there."""
    found = PemFile(path=path, pem="", modified="", problem="")
    text, found["problem"] = _read(path)
    if found["problem"]:
        return found
    blocks = re.findall(rf"-----BEGIN {kind}-----.*?-----END {kind}-----", text, re.DOTALL)
    found["pem"] = "".join(block + "\n" for block in blocks)
    if not blocks:
        found["problem"] = f"holds no {_KINDS[kind]}"
    try:
        found["modified"] = utc(os.stat(path).st_mtime)
    except OSError as error:
        found["problem"] = f"cannot be read ({_reason(error)})"
    return found


def read_users(directory: str) -> Users:
    """Read the rights, and from the passwords' file the names alone."""
    found = Users(access=None, access_problem="", password_names=[], password_problem="")
    text, found["access_problem"] = _read(os.path.join(directory, "access.json"))
    if not found["access_problem"]:
        try:
            access = json.loads(text)
        except (ValueError, RecursionError):
            access = None
        if isinstance(access, dict) and isinstance(access.get("users"), dict):
            found["access"] = access
        else:
            found["access_problem"] = "is no list of users"
    text, found["password_problem"] = _read(os.path.join(directory, "htpasswd"))
    lines = (line.strip() for line in text.splitlines())
    found["password_names"] = [line.split(":", 1)[0] for line in lines if ":" in line and not line.startswith("#")]
    return found


# ---- what answers --------------------------------------------------------------------------------------------------


def ask_proxy(address: str, port: int, name: str, timeout: float) -> ServedAnswer:
    """Ask nginx how it is, as a client that calls it by its name; what it shows is looked at, not trusted."""
    found = ServedAnswer(status=0, problem="", certificate="", configuration="")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((address, port), timeout) as plain:
            # An internationalised or empty name is nothing to ask for.
            known = name.isascii() and name != ""
            with context.wrap_socket(plain, server_hostname=name if known else None) as secure:
                der = secure.getpeercert(binary_form=True)
                found["certificate"] = ssl.DER_cert_to_PEM_cert(der) if der else ""
                connection = http.client.HTTPConnection(name if known else address, port, timeout=timeout)
                connection.sock = secure
                connection.request("GET", "/healthz", headers={"User-Agent": "drydock.registry.registry_status"})
                answer = connection.getresponse()
                answer.read()
                found["status"] = answer.status
                found["configuration"] = answer.getheader("Drydock-Configuration") or ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        found["problem"] = _reason(error)
    return found


def ask_socket(path: str, timeout: float, *, writes: bool) -> RegistryAnswer:
    """Ask a registry behind its unix socket how it is, and what it can do with its storage, which its own health may not know."""
    found = RegistryAnswer(status=0, problem="", storage_problem="")
    try:
        with closing(UnixConnection(path, timeout)) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            found["status"] = answer.status
    except (OSError, ValueError, http.client.HTTPException) as error:
        found["problem"] = _reason(error)
    if found["status"] == http.client.OK:
        found["storage_problem"] = read_problem(path, timeout) or (write_problem(path, timeout) if writes else "")
    return found


# ---- containers ----------------------------------------------------------------------------------------------------


def _container(name: str, details: Mapping[str, Any]) -> Container:
    """The part of `docker inspect` that tells how a container is; its environment is left out."""
    state = details.get("State") or {}
    return Container(
        name=name,
        image=str((details.get("Config") or {}).get("Image") or ""),
        because=str(((details.get("Config") or {}).get("Labels") or {}).get(BECAUSE) or ""),
        state=str(state.get("Status") or ""),
        health=str((state.get("Health") or {}).get("Status") or ""),
        exit_code=int(state.get("ExitCode") or 0),
        restarts=int(details.get("RestartCount") or 0),
        started=_moment(state.get("StartedAt")),
        finished=_moment(state.get("FinishedAt")),
        socket="",
        answer=None,
    )


def _moment(text: object) -> str:
    """Docker's time without its fractions; nothing for its `never`."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z$", str(text or ""))
    return f"{match[1]}Z" if match and not match[1].startswith("0001-") else ""


def read_containers(names: Sequence[str], run: Run) -> Engine:
    """Ask the Docker daemon. Its client answers for those that are there and complains of the others."""
    code, output, errors = run(["docker", "container", "inspect", *names])
    problem = ""
    try:
        listed = json.loads(output) if output.strip() else []
        found = {str(one["Name"]).lstrip("/"): _container(str(one["Name"]).lstrip("/"), one) for one in listed}
    except (ValueError, TypeError, KeyError, AttributeError):
        found, problem = {}, "docker's answer cannot be read"
    complaints = [
        line.strip() for line in errors.splitlines() if line.strip() and "no such container" not in line.lower()
    ]
    if not problem and code != 0 and not found and (complaints or "no such container" not in errors.lower()):
        problem = complaints[0] if complaints else f"docker ended with {code}"
    unknown = _container("", {"State": {"Status": "" if problem else "missing"}})
    containers = [found.get(name) or Container(**{**unknown, "name": name}) for name in names]
    return Engine(problem=problem, containers=containers)


# ---- the renewal's timer -------------------------------------------------------------------------------------------


def _properties(unit: str, names: Iterable[str], run: Run) -> dict[str, str]:
    # `env`, since systemctl prints times in the host's zone and language.
    command = ["env", "TZ=UTC", "LC_ALL=C", "systemctl", "show", f"--property={','.join(names)}", unit]
    code, output, _errors = run(command)
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line) if code == 0 else {}


def _systemd_time(text: str) -> str:
    """`Sat 2026-11-21 11:09:32 UTC` as the other times; nothing for `n/a` and an empty text."""
    try:
        moment = datetime.datetime.strptime(text.split(" ", 1)[-1], "%Y-%m-%d %H:%M:%S UTC")
    except ValueError:
        return ""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def has_systemd() -> bool:
    """Whether systemd is this host's service manager (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def read_timer(name: str, run: Run) -> Timer:
    """Ask systemd for a timer and its service."""
    timer = _properties(
        name, ("LoadState", "ActiveState", "UnitFileState", "NextElapseUSecRealtime", "LastTriggerUSec", "Unit"), run
    )
    service = timer.get("Unit") or name.rpartition(".")[0] + ".service"
    ended = _properties(service, ("Result", "ExecMainExitTimestamp"), run)
    problem = ""
    if not timer:
        problem = "cannot be asked for, since systemd does not answer"
    elif timer.get("LoadState") != "loaded":
        problem = "does not exist"
    return Timer(
        name=name,
        problem=problem,
        state=timer.get("ActiveState", ""),
        enabled=timer.get("UnitFileState", ""),
        next=_systemd_time(timer.get("NextElapseUSecRealtime", "")),
        last=_systemd_time(timer.get("LastTriggerUSec", "")),
        service=service,
        service_result=ended.get("Result", ""),
        service_ended=_systemd_time(ended.get("ExecMainExitTimestamp", "")),
    )


# ---- what watches the registries -----------------------------------------------------------------------------------


def read_service(name: str, run: Run) -> str:
    """Return the state of a systemd service; nothing where systemd does not answer."""
    return _properties(name, ("ActiveState",), run).get("ActiveState", "")


# ---- storage -------------------------------------------------------------------------------------------------------


def folder_bytes(directory: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> tuple[int, bool]:
    """What a folder takes on the disk, as `du` counts it, and whether the time was enough for all of it."""
    end = clock() + seconds
    pending, total, complete = [directory], 0, True
    while pending:
        if clock() > end:
            return total, False
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                    except FileNotFoundError:
                        # An upload that has just ended.
                        continue
        except FileNotFoundError:
            continue
        except OSError:
            complete = False
    return total, complete


def is_read_only(directory: str) -> bool:
    """Tell whether the file system of a folder is, which takes no time. What is no folder is not."""
    try:
        return os.path.isdir(directory) and bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def read_storage(directory: str, seconds: float) -> Storage:
    """Measure a folder. One that is a file system of its own is known at once, another is counted for some seconds."""
    found = Storage(
        directory=directory,
        problem="",
        used_bytes=0,
        used_is_complete=False,
        own_file_system=False,
        total_bytes=0,
        free_bytes=0,
        total_inodes=0,
        free_inodes=0,
        read_only=False,
    )
    if not os.path.isdir(directory):
        found["problem"] = "is no folder" if os.path.lexists(directory) else "does not exist"
        return found
    try:
        space = os.statvfs(directory)
        found["own_file_system"] = os.path.ismount(directory)
    except OSError as error:
        found["problem"] = f"cannot be looked at ({_reason(error)})"
        return found
    # What root alone may still use is not free for the registry.
    found["total_bytes"] = (space.f_blocks - space.f_bfree + space.f_bavail) * space.f_frsize
    found["free_bytes"] = space.f_bavail * space.f_frsize
    found["total_inodes"], found["free_inodes"] = space.f_files, space.f_favail
    found["read_only"] = bool(space.f_flag & os.ST_RDONLY)
    if found["own_file_system"]:
        found["used_bytes"] = (space.f_blocks - space.f_bfree) * space.f_frsize
        found["used_is_complete"] = True
    else:
        found["used_bytes"], found["used_is_complete"] = folder_bytes(directory, seconds)
    return found


def read_figures(path: str) -> tuple[str, str, Optional[dict[str, Any]]]:
    """The time of the last report on the storage, that of the one before, and its totals; nothing where there is none."""
    text, problem = _read(path)
    try:
        report = json.loads(text) if not problem else {}
        return str(report["time"]), str(report["since"] or ""), dict(report["totals"])
    except (ValueError, KeyError, TypeError):
        return "", "", None


def read_backup(path: str) -> dict[str, Any]:
    """What the host's backups have noted; each part is None where there is none."""
    text, problem = _read(path)
    try:
        noted = json.loads(text) if not problem else {}
        found = {key: dict(noted[key]) if noted.get(key) else None for key in ("backup", "drill", "failed")}
        return {**found, "restoring": str(noted.get("restoring") or "")}
    except (ValueError, AttributeError, TypeError):
        return {"backup": None, "drill": None, "failed": None, "restoring": ""}


# ---- other registries ----------------------------------------------------------------------------------------------


def read_mirrors(path: str) -> list[Mirror]:
    """What other registries have said of their limits, and what was wrong with them last; empty where nothing was written."""
    text, problem = _read(path)
    try:
        found = json.loads(text) if not problem else {}
        return [
            Mirror(
                name=str(name),
                limit=one.get("limit"),
                remaining=one.get("remaining"),
                window_seconds=int(one.get("window_seconds", 0)),
                told=utc(one["limit_at"]) if "limit_at" in one else "",
                problem=str(one.get("problem", "")),
                problem_time=utc(one["problem_at"]) if "problem_at" in one else "",
            )
            for name, one in sorted(found.items())
        ]
    except (ValueError, TypeError, AttributeError):
        return []


# ---- what nginx has loaded -----------------------------------------------------------------------------------------


def read_loaded(program: str, run: Run) -> str:
    """`loaded` or `pending`, as the program that reloads nginx says; nothing where it is not there or cannot tell."""
    if not program or not os.access(program, os.X_OK):
        return ""
    code, output, _errors = run([program, "--check"])
    word = output.strip()
    return word if code == 0 and word in {"loaded", "pending"} else ""
