# SPDX-License-Identifier: GPL-3.0-or-later
"""How to run a program in a container that plays a host: as root of this machine, at a twentieth of the CPU that `docker exec` takes.

Docker's daemon and three more programs take part in each of those, which was a fifth of the CPU of all tests. Root enters a container's
namespaces without them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# What `docker exec` gives a program.
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "container=docker")


def into(container: str) -> list[str]:
    """Return what stands before a command so that it runs in a container as root, with the standard input that it is given."""
    process = first_process(container) if os.geteuid() == 0 else ""
    if not process:
        # It says as well what is wrong with a container that does not run.
        return ["docker", "exec", "--interactive", container]
    nsenter = ("nsenter", f"--target={process}", "--all", "--root", "--wd")
    return ["env", "--ignore-environment", *ENVIRONMENT, *nsenter]


def first_process(container: str) -> str:
    """Return the first process of a container that runs on this machine, else nothing; remember it for later runs of the same tests."""
    folder = os.environ.get("DRYDOCK_TEST_HOSTS")
    kept = Path(folder, f"process-{container}") if folder else None
    if kept and kept.is_file():
        process, identity = kept.read_text(encoding="utf-8").split()
        if is_of(process, identity):
            return process
    command = ["docker", "container", "inspect", "--format", "{{ .State.Pid }} {{ .Id }}", container]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    process, _, identity = shown.strip().partition(" ")
    # There may be no such container, it may not run, or Docker runs on another machine.
    if not identity or not is_of(process, identity):
        return ""
    if kept:
        part = kept.with_name(f"{kept.name}-{os.getpid()}")
        part.write_text(shown, encoding="utf-8")
        part.replace(kept)
    return process


def is_of(process: str, identity: str) -> bool:
    """Tell whether a process is one of a container; when a container has ended, its number may become another's."""
    try:
        return identity in Path("/proc", process, "cgroup").read_text(encoding="utf-8")
    except OSError:
        return False
