# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies and runs on a host, as far as some footprints reach, and how it differs from what was kept of an earlier look.

It runs on the host with Python's own library only. A footprint says what a role makes and reads there; its state is a flat
mapping from a thing, such as `/etc/drydock/tls/tls.key`, to a short text that is another one when the thing is.
"""

from __future__ import annotations

import glob
import hashlib
import http.client
import importlib.util
import json
import os
import pwd
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Any, Optional, TypedDict

ENGINE_SOCKET = "/var/run/docker.sock"
# What differs between two looks at one engine although nobody changed it.
_ENGINE_FACTS = ("ServerVersion", "LiveRestoreEnabled", "LoggingDriver", "DockerRootDir", "Driver")
_ENGINE_SECONDS = 10.0
_ANSWER_SECONDS = 5.0
_DAY_SECONDS = 86400
_NOTHING = "not there"


class Footprint(TypedDict, total=False):
    """What a role makes and reads on the host."""

    trees: list[str]
    files: list[str]
    places: list[str]
    owned: list[str]
    dated: list[str]
    fresh: list[str]
    containers: list[str]
    sockets: list[str]
    networks: list[str]
    accounts: list[str]
    libraries: list[str]
    engine: bool


class Kept(TypedDict):
    """What an earlier run left of a role: by which inputs it ran, until when that counts, and the state after it."""

    key: str
    until: float
    state: dict[str, str]


State = dict[str, str]


def state_of(footprint: Footprint, engine_socket: str = ENGINE_SOCKET) -> State:
    """Look at everything that a footprint names."""
    state: State = {}
    for root in footprint.get("trees") or []:
        for path in tree(root):
            state[path] = file_state(path)
    for pattern in footprint.get("files") or []:
        # A pattern that nothing matches is a file that is not there.
        for path in sorted(glob.glob(pattern)) or [pattern]:
            state[path] = file_state(path)
    for pattern in footprint.get("dated") or []:
        for path in sorted(glob.glob(pattern)) or [pattern]:
            state[f"{path} and its date"] = f"{file_state(path, content=False)} {changed_at(path)}"
    fresh = footprint.get("fresh") or []
    if fresh:
        youngest = max(written(path) for path in fresh)
        state[f"{fresh[0]} was written within a day"] = "yes" if time.time() - youngest < _DAY_SECONDS else "no"
    for path in footprint.get("places") or []:
        state[path] = file_state(path, content=False)
    for path in footprint.get("owned") or []:
        state[f"owner of {path}"] = owner_near(path)
    for name in footprint.get("accounts") or []:
        state[f"account {name}"] = account(name)
    for name in footprint.get("libraries") or []:
        state[f"Python library {name}"] = "there" if importlib.util.find_spec(name) else _NOTHING
    for path in footprint.get("sockets") or []:
        state[f"answer at {path}"] = str(answer(path))
    state.update(engine_state(footprint, engine_socket))
    return state


def tree(root: str) -> Iterator[str]:
    """Yield a folder and all that is in it."""
    yield root
    # A folder that is a link is not followed: its target is part of the state.
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            yield os.path.join(folder, name)


def file_state(path: str, content: bool = True) -> str:
    """Say whose a file is, who may do what with it, and what it holds."""
    try:
        status = os.lstat(path)
        text = f"{stat.S_IFMT(status.st_mode):o} {stat.S_IMODE(status.st_mode):04o} {status.st_uid}:{status.st_gid}"
        if stat.S_ISLNK(status.st_mode):
            text += f" {os.readlink(path)}"
        elif stat.S_ISREG(status.st_mode) and content:
            with open(path, "rb") as stream:
                text += f" {hashlib.sha256(stream.read()).hexdigest()}"
    except FileNotFoundError:
        return _NOTHING
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return text


def changed_at(path: str) -> str:
    """Say when a file's content was written, and how much of it."""
    try:
        status = os.stat(path)
    except OSError:
        return _NOTHING
    return f"{status.st_mtime_ns} {status.st_size}"


def written(path: str) -> float:
    """Return when a file or folder was written; 0 where it is not there."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0


def owner_near(path: str) -> str:
    """Say whose a path is; while it is not there, whose the folder is in which it would be made."""
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    try:
        return str(os.lstat(path).st_uid)
    except OSError:
        return _NOTHING


def account(name: str) -> str:
    """Say which numbers an account has."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return _NOTHING
    return f"{entry.pw_uid}:{entry.pw_gid} {entry.pw_dir} {entry.pw_shell}"


class SocketConnection(http.client.HTTPConnection):
    """HTTP through a unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket instead of an address."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path: str, request: str, seconds: float) -> tuple[int, bytes]:
    """Make a GET request through a unix socket; a status of 0 is no answer."""
    connection = SocketConnection(path, seconds)
    try:
        connection.request("GET", request)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def answer(path: str) -> int:
    """Return the status with which a server answers at a unix socket."""
    return ask(path, "/", _ANSWER_SECONDS)[0]


def engine_answer(path: str, request: str) -> Optional[dict[str, Any]]:
    """Ask Docker for something; None where it does not know it or does not answer."""
    status, body = ask(path, request, _ENGINE_SECONDS)
    if status != 200:
        return None
    try:
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def engine_state(footprint: Footprint, path: str) -> State:
    """Look at Docker, its containers and its networks."""
    state: State = {}
    if footprint.get("engine"):
        facts = engine_answer(path, "/info")
        state["Docker"] = _NOTHING if facts is None else digest({key: facts.get(key) for key in _ENGINE_FACTS})
    for name in footprint.get("containers") or []:
        found = engine_answer(path, f"/containers/{name}/json")
        if found is None:
            state[f"container {name}"] = _NOTHING
            continue
        running = "running" if (found.get("State") or {}).get("Running") is True else "stopped"
        state[f"container {name}"] = f"{running} {digest(container_settings(found))}"
        # A tag that leads elsewhere by now, or nowhere.
        image = str((found.get("Config") or {}).get("Image", ""))
        known = engine_answer(path, f"/images/{image}/json")
        state[f"image {image} of {name}"] = _NOTHING if known is None else str(known.get("Id"))
    for name in footprint.get("networks") or []:
        network = engine_answer(path, f"/networks/{name}")
        state[f"network {name}"] = _NOTHING if network is None else str(network.get("Driver"))
    return state


def container_settings(found: Mapping[str, Any]) -> dict[str, Any]:
    """Leave of what Docker says of a container what somebody has set."""
    return {
        "image": found.get("Image"),
        "config": {key: value for key, value in (found.get("Config") or {}).items() if key != "Hostname"},
        "host": found.get("HostConfig"),
        "mounts": sorted(digest(mount) for mount in found.get("Mounts") or []),
        "networks": sorted((found.get("NetworkSettings") or {}).get("Networks") or {}),
    }


def digest(content: object) -> str:
    """Return a short name of some content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Name the things that are not as they were, those that came and those that went included."""
    return sorted(thing for thing in {*before, *now} if before.get(thing) != now.get(thing))


def parse_kept(text: str) -> tuple[str, dict[str, Kept]]:
    """Read the salt and what was kept of each role; what cannot be read is nothing."""
    try:
        content = json.loads(text)
        roles = {
            str(role): Kept(key=str(entry["key"]), until=float(entry["until"]), state=dict(entry["state"]))
            for role, entry in content["roles"].items()
        }
        return str(content["salt"]), roles
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def render_kept(salt: str, roles: Mapping[str, Kept]) -> str:
    """Write what parse_kept reads."""
    return json.dumps({"salt": salt, "roles": roles}, sort_keys=True) + "\n"


def is_private(status: os.stat_result, owner: int) -> bool:
    """Tell whether nobody but its owner could have written or read a file."""
    return stat.S_ISREG(status.st_mode) and status.st_uid == owner and not status.st_mode & 0o077


def reasons(
    footprints: Mapping[str, Footprint],
    states: Mapping[str, State],
    kept: Mapping[str, Kept],
    now: float,
    latest: float,
) -> dict[str, list[str]]:
    """Say for each role what differs from an earlier run, or that nothing is known of one."""
    found: dict[str, list[str]] = {}
    for role in footprints:
        earlier = kept.get(role)
        if earlier is None:
            found[role] = ["no run is known since the host has started"]
        # One that counts for longer than any can was written before the clock was set back.
        elif not now < earlier["until"] <= latest:
            found[role] = ["the last look is too long ago"]
        else:
            found[role] = differences(earlier["state"], states[role])
    return found


def problems(footprints: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with footprints."""
    known = set(Footprint.__annotations__)
    return [
        f"footprints.{role} has the unknown key {key}: write one of {', '.join(sorted(known))}."
        for role, footprint in footprints.items()
        for key in sorted(set(footprint) - known)
    ]
