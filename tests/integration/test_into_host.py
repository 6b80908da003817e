# SPDX-License-Identifier: GPL-3.0-or-later
"""The way into the hosts of all other tests: it leads into the right one, also after that one has started anew."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from into_host import into

BUILD = Path(__file__).parents[1] / "hosts/build"
IMAGE = "drydock-test-host:debian12"


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """A container that was there before under the same name."""
    name = f"drydock-into-{uuid.uuid4().hex[:8]}"
    start = ("run", "--detach", "--name", name, "--hostname", name, "--entrypoint", "sleep", IMAGE, "infinity")
    subprocess.run([BUILD, "debian12"], check=True, capture_output=True)
    docker(*start)
    assert into(name)
    docker("rm", "--force", name)
    docker(*start)
    yield name
    docker("rm", "--force", name)


def inside(container: str, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*into(container), *command], input=stdin, capture_output=True, text=True, check=False)


def test_a_program_runs_in_it_and_knows_nothing_of_this_machine(container: str) -> None:
    done = inside(
        container,
        "sh",
        "-c",
        "hostname; id -un; pwd; echo $HOME $PATH; readlink /proc/1/exe; cat",
        stdin="what it reads",
    )
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert done.stdout.splitlines() == [container, "root", "/", f"/root {path}", "/usr/bin/sleep", "what it reads"]
    names = {line.partition("=")[0] for line in inside(container, "env").stdout.splitlines()}
    assert names - {"HOSTNAME"} == {"PATH", "HOME", "container"}


def test_its_exit_status_and_errors_come_back(container: str) -> None:
    done = inside(container, "sh", "-c", "echo a reason >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "a reason\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root enters without Docker")
def test_root_needs_no_docker(container: str) -> None:
    assert "docker" not in into(container)
    # Its processes are those of this machine.
    assert docker("inspect", "--format", "{{.State.Pid}}", container) in " ".join(into(container))


def test_it_is_found_again_after_a_restart_and_missed_when_it_is_gone(container: str) -> None:
    assert inside(container, "hostname").stdout.strip() == container
    docker("restart", "--time=0", container)
    assert inside(container, "hostname").stdout.strip() == container
    docker("stop", "--time=0", container)
    done = inside(container, "hostname")
    assert done.returncode != 0
    assert "not running" in done.stderr
    docker("start", container)
