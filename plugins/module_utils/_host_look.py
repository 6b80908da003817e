# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of a host to the questions that roles ask before they change anything.

It runs on the host with Python's own library only. Every function looks and changes nothing; what is not there is an answer, not an error.
"""

from __future__ import annotations

import glob
import grp
import http.client
import importlib.util
import json
import os
import pwd
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Optional, TypedDict

from ansible_collections.drydock.registry.plugins.module_utils._unix_connection import UnixConnection

DOCKER_SOCKET = "/var/run/docker.sock"
CONTAINER_PREFIX = "drydock-"
CONTENT_BYTES = 1024 * 1024
_DOCKER_SECONDS = 10.0
_LISTENING = "0A"
# A shell's login may have a shorter path than root's service.
_PROGRAM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


class NotThere(ValueError):
    """The engine has no such thing."""


class File(TypedDict):
    """One path; `kind` and the other texts are empty where there is nothing."""

    exists: bool
    kind: str
    target: str
    mode: str
    uid: int
    gid: int
    user: str
    group: str
    size: int
    mtime: float
    content: str
    error: str


class Nearest(TypedDict):
    """The nearest thing that exists at or above a path."""

    path: str
    kind: str
    writable: bool
    uid: int
    user: str


class Libraries(TypedDict):
    """What one Python can import."""

    present: list[str]
    missing: list[str]
    system: bool
    python: str


class Account(TypedDict):
    """The numbers of an account."""

    uid: int
    gid: int


class Listener(TypedDict):
    """A TCP socket that accepts connections."""

    address: str
    port: int
    program: str


class Unit(TypedDict):
    """What systemd says of a unit."""

    active: bool
    enabled: bool


class Container(TypedDict):
    """A container of ours, running or not."""

    name: str
    id: str
    state: str
    image: str
    image_id: str
    ports: list[int]
    network: str
    labels: dict[str, str]
    mounts: dict[str, str]


class Docker(TypedDict):
    """The engine, as far as it answers."""

    answers: bool
    client: str
    version: str
    swarm: bool
    live_restore: bool
    error: str
    containers: list[Container]
    # The names of containers that run and are not ours.
    others: list[str]


class PackageLists(TypedDict):
    """apt's lists of packages."""

    there: bool
    age_seconds: int


def kind_of(mode: int) -> str:
    """Name the kind of a file."""
    for test, name in ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link")):
        if test(mode):
            return name
    return "other"


def pair_loads(certificate: str, key: str) -> bool:
    """Tell whether a TLS server could load a certificate and a key, and so whether they belong together. The key stays on the host."""
    try:
        # Without the password, OpenSSL would ask on the terminal for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError):
        return False
    return True


def user_name(uid: int) -> str:
    """Return an account's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return a group's name, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def file(path: str, limit: int = CONTENT_BYTES) -> File:
    """Look at a path. Of a link, owner and mode are the link's own and the content is that of the file it leads to."""
    found = File(
        exists=False,
        kind="",
        target="",
        mode="",
        uid=-1,
        gid=-1,
        user="",
        group="",
        size=0,
        mtime=0.0,
        content="",
        error="",
    )
    try:
        status = os.lstat(path)
        found["exists"] = True
        found["kind"] = kind_of(status.st_mode)
        found["mode"] = f"{stat.S_IMODE(status.st_mode):04o}"
        found["uid"], found["user"] = status.st_uid, user_name(status.st_uid)
        found["gid"], found["group"] = status.st_gid, group_name(status.st_gid)
        found["size"], found["mtime"] = status.st_size, status.st_mtime
        if found["kind"] == "link":
            found["target"] = os.readlink(path)
            status = os.stat(path)
        # Only a regular file: to open a pipe would wait for its other end.
        if stat.S_ISREG(status.st_mode) and status.st_size <= limit:
            with open(path, "rb") as stream:
                found["content"] = stream.read(limit).decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        found["error"] = str(error.strerror)
    return found


def nearest(path: str) -> Nearest:
    """Find the nearest thing that exists at or above a path; a relative path has none."""
    if not os.path.isabs(path):
        return Nearest(path="", kind="", writable=False, uid=-1, user="")
    near = path
    while not os.path.lexists(near):
        near = os.path.dirname(near)
    status = os.stat(near) if os.path.exists(near) else os.lstat(near)
    return Nearest(
        path=near,
        kind=kind_of(status.st_mode),
        writable=os.access(near, os.W_OK),
        uid=status.st_uid,
        user=user_name(status.st_uid),
    )


def foreign(path: str, name: str) -> str:
    """Find something at or below a path that is not an account's, nothing where there is none. No link is followed."""
    owner = account(name)
    pending = [path]
    while pending:
        here = pending.pop()
        try:
            status = os.lstat(here)
            if owner is None or status.st_uid != owner["uid"]:
                return here
            if stat.S_ISDIR(status.st_mode):
                pending.extend(entry.path for entry in os.scandir(here))
        except OSError:
            # What went away meanwhile is nobody's.
            continue
    return ""


def libraries(names: Iterable[str]) -> Libraries:
    """Say which libraries this Python can import, and whether the system's packages can bring it the others."""
    wanted = list(names)
    present = [name for name in wanted if importlib.util.find_spec(name)]
    return Libraries(
        present=present,
        missing=[name for name in wanted if name not in present],
        # They do not reach a virtual environment.
        system=sys.prefix == sys.base_prefix == "/usr",
        python=sys.executable,
    )


def account(name: str) -> Optional[Account]:
    """Look for an account."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def address(text: str) -> str:
    """Read an address as the kernel writes it: words of four bytes, each in the machine's order."""
    words = [text[start : start + 8] for start in range(0, len(text), 8)]
    raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def listening(table: str) -> list[tuple[str, int, str]]:
    """Read address, port and inode of all listening sockets from a table of the kernel."""
    found = []
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 9 and columns[3] == _LISTENING:
            host, _colon, port = columns[1].partition(":")
            found.append((address(host), int(port, 16), columns[9]))
    return found


def text_of(path: str) -> str:
    """Read a small file; nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def programs_by_inode(proc: str, inodes: set[str]) -> dict[str, str]:
    """Find which program has which socket open; a user who is not root finds only his own."""
    programs: dict[str, str] = {}
    for folder in glob.iglob(f"{glob.escape(proc)}/[0-9]*/fd"):
        try:
            descriptors = os.listdir(folder)
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                link = os.readlink(os.path.join(folder, descriptor))
            except OSError:
                continue
            inode = link[len("socket:[") : -1] if link.startswith("socket:[") else ""
            if inode in inodes and inode not in programs:
                programs[inode] = text_of(os.path.join(os.path.dirname(folder), "comm")).strip()
    return programs


def listeners(proc: str = "/proc") -> list[Listener]:
    """List all TCP sockets that accept connections, and by whose program; empty names are unknown ones."""
    found = [entry for name in ("tcp", "tcp6") for entry in listening(text_of(f"{proc}/net/{name}"))]
    programs = programs_by_inode(proc, {inode for _address, _port, inode in found}) if found else {}
    unique = sorted({(port, host, programs.get(inode, "")) for host, port, inode in found})
    return [Listener(address=host, port=port, program=program) for port, host, program in unique]


def program(name: str) -> str:
    """Return a program's path, or nothing."""
    return shutil.which(name, path=_PROGRAM_PATH) or ""


def show_units(names: Sequence[str]) -> str:
    """Ask systemd for the state of units; nothing where it does not run."""
    command = ["systemctl", "show", "--property=ActiveState,UnitFileState", "--", *names]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def units(names: Sequence[str], show: Callable[[Sequence[str]], str] = show_units) -> dict[str, Unit]:
    """Say of each unit whether it is active, and enabled for the next start of the host."""
    # One block for each, in the order of the names, with an empty line between them.
    blocks = [set(block.splitlines()) for block in show(names).split("\n\n")] if names else []
    blocks += [set()] * (len(names) - len(blocks))
    return {
        name: Unit(active="ActiveState=active" in block, enabled="UnitFileState=enabled" in block)
        for name, block in zip(names, blocks)
    }


def ask_docker(path: str, request: str) -> Any:
    """Ask the engine for something; raises OSError or ValueError where it gives no answer that can be read."""
    connection = UnixConnection(path, _DOCKER_SECONDS)
    try:
        connection.request("GET", request)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise ValueError(f"{path} does not speak HTTP") from error
    finally:
        connection.close()
    if response.status == 404:
        raise NotThere(f"{path} answers 404")
    if response.status != 200:
        raise ValueError(f"{path} answers {response.status}")
    return json.loads(body)


def container(entry: dict[str, Any]) -> Container:
    """Read one entry of the engine's list."""
    names = [name.lstrip("/") for name in entry.get("Names") or []]
    ports = {port.get("PublicPort") for port in entry.get("Ports") or []}
    return Container(
        name=next((name for name in names if name.startswith(CONTAINER_PREFIX)), ""),
        id=str(entry.get("Id", "")),
        state=str(entry.get("State", "")),
        image=str(entry.get("Image", "")),
        image_id=str(entry.get("ImageID", "")),
        ports=sorted(port for port in ports if port),
        network=str((entry.get("HostConfig") or {}).get("NetworkMode", "")),
        labels={str(key): str(value) for key, value in (entry.get("Labels") or {}).items()},
        mounts={str(one.get("Destination")): str(one.get("Source")) for one in entry.get("Mounts") or []},
    )


def docker(path: str = DOCKER_SOCKET) -> Docker:
    """Ask the engine for its version and for the containers of ours."""
    found = Docker(
        answers=False,
        client=program("docker"),
        version="",
        swarm=False,
        live_restore=False,
        error="",
        containers=[],
        others=[],
    )
    try:
        info = ask_docker(path, "/info")
        listed = ask_docker(path, "/containers/json?all=true")
        found["version"] = str(info.get("ServerVersion", ""))
        found["swarm"] = (info.get("Swarm") or {}).get("LocalNodeState", "") not in ("", "inactive")
        found["live_restore"] = bool(info.get("LiveRestoreEnabled"))
        found["containers"] = sorted(
            (entry for entry in map(container, listed) if entry["name"]), key=lambda entry: entry["name"]
        )
        found["others"] = sorted(
            "".join(entry["Names"][:1]).lstrip("/")
            for entry in listed
            if entry["State"] == "running" and not container(entry)["name"]
        )
        found["answers"] = True
    except OSError as error:
        found["error"] = f"{path}: {error.strerror or error}"
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        found["error"] = str(error)
    return found


def package_lists(state: str = "/var/lib/apt") -> PackageLists:
    """Say whether apt has lists, and how old they are; an age of -1 is none."""
    there = any(glob.iglob(f"{glob.escape(state)}/lists/*_Packages*"))
    written = []
    for path in (f"{state}/lists", f"{state}/periodic/update-success-stamp"):
        try:
            written.append(os.stat(path).st_mtime)
        except OSError:
            continue
    # apt touches the folder of its lists at the first start of a host, while it is empty.
    return PackageLists(there=there, age_seconds=max(0, int(time.time() - max(written))) if there and written else -1)
