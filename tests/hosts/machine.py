# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that behave like machines: started, waited for and removed without Ansible, which takes ten times the CPU for it."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

from into_host import into

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "drydock-test-host"
# Another checkout may hold another collection.
CHECKOUT = hashlib.sha1(str(ROOT).encode(), usedforsecurity=False).hexdigest()[:6]
# What a host needs to behave like a machine; molecule/shared/create.yml says why.
RUN = (
    *("--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--cap-drop=SYS_MODULE", "--cgroupns=private"),
    *("--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"),
    *("--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec", "--sysctl=net.ipv4.ip_unprivileged_port_start=1024"),
    *("--volume=/var/lib/docker", "--stop-signal=SIGRTMIN+3", "--pull=never"),
)
WAIT_SECONDS = 300


def reference(name: str) -> str:
    """Return the name of a host's image; a deployed host's holds what this checkout is."""
    return f"{IMAGE}-{CHECKOUT}:{name}" if name.endswith("-deployed") else f"{IMAGE}:{name}"


def start(container: str, hostname: str, image: str, *, systemd: bool = True) -> None:
    """Start a host, without waiting for it."""
    # Without systemd something has to collect the processes that lost their parent.
    options, command = ((), ()) if systemd else (("--init",), ("sleep", "infinity"))
    docker("run", "--detach", "--name", container, "--hostname", hostname, *RUN, *options, reference(image), *command)


def wait_until_up(container: str) -> None:
    """Wait until systemd has started everything."""
    end = time.monotonic() + WAIT_SECONDS
    ask = ("systemctl", "is-system-running", "--wait")
    while (state := inside(container, *ask)) not in {"running", "degraded"}:
        if time.monotonic() > end:
            raise TimeoutError(f"{container} does not come up: systemd says {state!r}")
        time.sleep(0.2)
    if state != "running":
        raise RuntimeError(f"{container} is degraded:\n{inside(container, 'systemctl', 'list-units', '--failed')}")


def inside(container: str, *command: str) -> str:
    """Run a command in a host; return what it prints."""
    return subprocess.run(
        [*into(container), *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    ).stdout.strip()


def remove(*containers: str) -> None:
    """Remove hosts with their volumes, also where they are gone already."""
    if containers:
        docker("container", "rm", "--force", "--volumes", *containers, expected="No such container")


def docker(*arguments: str, expected: str = "") -> None:
    """Run Docker on this machine. It may fail if all that it says holds a text."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode and not (expected and all(expected in line for line in done.stderr.splitlines())):
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr}")
