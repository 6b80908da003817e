#!/usr/bin/env python3
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what a registry's host knows of itself as files for Prometheus, and empty the log that was counted.

A timer runs it every minute. What cannot be read is left out, so that no old value is taken for a new one.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509

ASK_SECONDS = 5
# nginx writes to one file for five minutes. What counts has read the other one by then.
TURN_SECONDS = 300
SETTLED_SECONDS = 30
# In folders that belong to others, root neither goes where a link leads nor waits for a pipe.
CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK


class Metric(NamedTuple):
    """A gauge and its values, each with its labels."""

    name: str
    help: str
    values: list[tuple[dict[str, str], float]]


def single(name: str, help_text: str, value: float) -> Metric:
    """Make a gauge without labels."""
    return Metric(name, help_text, [({}, value)])


def rendered(metrics: Iterable[Metric]) -> str:
    """Write metrics in Prometheus's text format. A metric without a value is left out."""
    lines = []
    for name, help_text, values in metrics:
        if values:
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
        for labels, value in values:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{name}{'{' + inside + '}' if inside else ''} {value:.16g}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def moment(text: object) -> float:
    """Read a time as Docker and the storage's report write it; 0 where it is none."""
    try:
        whole = str(text).replace("Z", "+00:00")
        # Docker has nine digits of a second, which Python 3.9 does not read.
        head, dot, tail = whole.partition(".")
        zone = tail[tail.index("+") :] if dot and "+" in tail else ""
        read = datetime.fromisoformat(head + zone if dot else whole)
    except ValueError:
        return 0
    return max(0.0, (read if read.tzinfo else read.replace(tzinfo=timezone.utc)).timestamp())


# ---- certificates


def certificates(files: Mapping[str, str], lists: Mapping[str, str]) -> list[Metric]:
    """Tell when certificates and lists of revoked ones end."""
    ends = [({"certificate": name}, end) for name, path in files.items() for end in _ends(path, revoked=False)]
    valid = [({"list": name}, end) for name, path in lists.items() for end in _ends(path, revoked=True)]
    return [
        Metric("drydock_certificate_end_seconds", "When the certificate ends, in seconds since 1970.", ends),
        Metric("drydock_revocations_end_seconds", "Until when the list of revoked certificates counts.", valid),
    ]


def _ends(path: str, *, revoked: bool) -> list[float]:
    try:
        text = Path(path).read_bytes()
        found: Any = x509.load_pem_x509_crl(text) if revoked else x509.load_pem_x509_certificate(text)
    except (OSError, ValueError):
        return []
    name = "next_update" if revoked else "not_valid_after"
    # Older releases have the time without its zone, newer ones warn of it.
    end = getattr(found, f"{name}_utc", None) or getattr(found, name)
    return [(end if end.tzinfo else end.replace(tzinfo=timezone.utc)).timestamp()] if end else []


# ---- what runs


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("registry", timeout=ASK_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ASK_SECONDS)
        self.sock.connect(self._path)


def answers(path: str) -> bool:
    """Tell whether a registry answers at its socket that it is well."""
    connection = _Unix(path)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def containers(inspected: Iterable[Mapping[str, Any]], names: Iterable[str]) -> list[Metric]:
    """Tell of containers, as `docker inspect` does, whether they run and since when."""
    states = {str(one.get("Name", "")).lstrip("/"): one.get("State") or {} for one in inspected}
    running = {name: bool(states.get(name, {}).get("Running")) for name in names}
    started = [({"container": name}, moment(states[name].get("StartedAt"))) for name, is_up in running.items() if is_up]
    return [
        Metric(
            "drydock_container_running",
            "Whether the container runs.",
            [({"container": name}, float(is_up)) for name, is_up in running.items()],
        ),
        Metric("drydock_container_started_seconds", "When the container was started.", started),
    ]


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _inspected(names: Iterable[str]) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(_output("docker", "container", "inspect", *names) or "[]")
    except ValueError:
        return []
    return found


def services(shown: Mapping[str, str]) -> list[Metric]:
    """Tell of services, as `systemctl show` does, whether they are well: running, or ended without an error."""
    values = []
    for name, text in shown.items():
        found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if found.get("LoadState") == "loaded":
            well = found.get("ActiveState") in ("active", "activating", "inactive") and found.get("Result") == "success"
            values.append(({"service": name}, float(well)))
    return [Metric("drydock_service_well", "Whether the service runs, or has ended without an error.", values)]


# ---- the storage


def file_system(directory: str) -> list[Metric]:
    """Tell how much room the storage's file system has."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return []
    return [
        single("drydock_storage_size_bytes", "Size of the storage's file system.", found.f_blocks * found.f_frsize),
        single("drydock_storage_free_bytes", "What is free of it.", found.f_bavail * found.f_frsize),
        single("drydock_storage_inodes", "How many files the file system can have.", found.f_files),
        single("drydock_storage_free_inodes", "How many more it can have.", found.f_favail),
    ]


def read_report(text: str) -> dict[str, Any]:
    """Read a storage report; nothing where it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("totals"), dict) else {}


def report(found: Mapping[str, Any]) -> list[Metric]:
    """Tell the totals of the last storage report."""
    if not found:
        return []
    totals = found["totals"]
    sizes = ("size", "referenced", "garbage", "collectable", "trash", "uploads_size")
    counts = ("repositories", "tags", "images", "blobs", "uploads")
    return [
        single("drydock_report_seconds", "When the last storage report was made.", moment(found.get("time"))),
        Metric("drydock_stored_bytes", "What the storage holds.", _values(totals, "part", sizes)),
        Metric("drydock_stored", "How many the storage has.", _values(totals, "what", counts)),
    ]


def largest(found: Mapping[str, Any], most: int) -> list[Metric]:
    """Tell what the largest repositories hold, so many of them and no more."""
    repositories = found.get("repositories", {})
    sizes = {name: one["size"] for name, one in repositories.items() if isinstance(one.get("size"), (int, float))}
    names = sorted(sizes, key=lambda name: (-sizes[name], name))[:most]
    values = [({"repository": name}, float(sizes[name])) for name in names]
    return [Metric("drydock_repository_bytes", "What a repository holds; of the largest ones alone.", values)]


def _values(totals: Mapping[str, Any], label: str, names: Iterable[str]) -> list[tuple[dict[str, str], float]]:
    return [({label: name}, float(totals[name])) for name in names if isinstance(totals.get(name), (int, float))]


# ---- other registries


def mirrors(text: str, now: float) -> list[Metric]:
    """Tell what other registries have said of their limits, as long as it counts, and when one had no answer."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = {}
    names = {name: one for name, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}
    counted = {name: one for name, one in names.items() if one.get("limit_at", 0) + one.get("window_seconds", 0) > now}

    def values(of: Mapping[str, Any], key: str) -> list[tuple[dict[str, str], float]]:
        return [({"mirror": name}, float(one[key])) for name, one in sorted(of.items()) if key in one]

    return [
        Metric(
            "drydock_mirror_limit", "How many pulls the other registry allows in its window.", values(counted, "limit")
        ),
        Metric(
            "drydock_mirror_left", "How many of them were left when it was last asked.", values(counted, "remaining")
        ),
        Metric(
            "drydock_mirror_problem_seconds",
            "When the other registry last had no answer, or refused one.",
            values(names, "problem_at"),
        ),
    ]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", opener=lambda name, flags: os.open(name, flags | CAREFULLY)) as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return ""


# ---- the log


def empty_counted(directory: Path, now: float) -> None:
    """Empty the log that nginx does not write to, once what was written at the end of its turn was counted."""
    turn, since = divmod(now, TURN_SECONDS)
    path = directory / ("second.log" if turn % 2 == 0 else "first.log")
    # Close to a change, the clocks of two programs may differ.
    if SETTLED_SECONDS <= since <= TURN_SECONDS - SETTLED_SECONDS and path.exists() and path.stat().st_size > 0:
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC | CAREFULLY))


# ---- the files


def write(path: Path, text: str, mode: int, gid: int) -> None:
    """Replace a file as a whole. Nobody reads a half of it."""
    staged = path.with_name(f".{path.name}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchown(descriptor, -1, gid)
        os.fchmod(descriptor, mode)
        file.write(text)
    staged.replace(path)


def main(settings_path: str) -> None:
    """Collect once."""
    settings = json.loads(Path(settings_path).read_text(encoding="utf-8"))
    directory = Path(settings["directory"])
    empty_counted(directory / "log", time.time())
    reported = read_report(_text(settings["report"]) if settings["report"] else "")
    shown = {
        name: _output("systemctl", "show", "--property=LoadState,ActiveState,Result", name)
        for name in settings["services"]
    }
    registries = [({"registry": name}, float(answers(path))) for name, path in settings["registries"].items()]
    metrics = [
        *certificates(settings["certificates"], settings["revocations"]),
        *containers(_inspected(settings["containers"]), settings["containers"]),
        Metric("drydock_registry_up", "Whether the registry answers.", registries),
        *services(shown),
        *(file_system(settings["storage"]) if settings["storage"] else []),
        *report(reported),
        *mirrors(_text(settings["mirrors"]), time.time()),
        single("drydock_collected_seconds", "When the host has told this.", time.time()),
    ]
    write(directory / "textfile/drydock.prom", rendered(metrics), 0o644, 0)
    # Names of repositories are not for every user of the host.
    write(
        directory / "textfile/drydock_repositories.prom",
        rendered(largest(reported, settings["largest_repositories"])),
        0o640,
        settings["gid"],
    )


if __name__ == "__main__":
    main(sys.argv[1])
