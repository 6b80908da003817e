# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with systemd for tests, the settings of its registry, and how to run playbooks on it and commands in it.

A test module has a folder of its own name, without `test_`, with the inventory of its hosts.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import machine
import pytest
import yaml
from into_host import into

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "molecule/shared"
ADDRESS = "registry.test"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
REGISTRIES = ("drydock-registry-a", "drydock-registry-b")
CONTAINERS = ("drydock-proxy", *REGISTRIES)
# Where nginx finds the list of revoked certificates, and what makes it take what lies on disk.
CRL = "/etc/drydock/proxy/client.crl"
RELOAD = "/usr/local/sbin/drydock-reload-proxy"
WAIT_SECONDS = 300
T = TypeVar("T")


class Run(NamedTuple):
    """What a playbook did: the tasks that changed something, and the messages of those that failed."""

    returncode: int
    changed: list[str]
    failures: list[str]

    def roles(self) -> set[str]:
        """Return the short names of the roles that changed something."""
        return {task.partition(" : ")[0].removeprefix("drydock.registry.") for task in self.changed}


class Container(NamedTuple):
    """Which container it is, since when it runs and as which process."""

    id: str
    started: str
    pid: int


def results(returncode: int, stdout: str, stderr: str) -> Run:
    """Read the output of Ansible's JSON callback."""
    try:
        output = json.loads(stdout[stdout.index("{") :])
    except ValueError:
        pytest.fail(f"ansible-playbook ended with {returncode}:\n{stdout[-3000:]}\n{stderr[-3000:]}")
    changed, failures = [], []
    for play in output["plays"]:
        for task in play["tasks"]:
            for result in task["hosts"].values():
                if result.get("changed"):
                    changed.append(task["task"]["name"])
                if result.get("failed"):
                    # Of a loop, what its items say.
                    items = [one for one in result.get("results") or [] if isinstance(one, dict) and one.get("failed")]
                    failures += [str(one.get("msg")) for one in items or [result]]
    return Run(returncode, changed, failures)


class Deployment:
    """The host, the settings of its registry, and how to run playbooks on it and commands in it."""

    def __init__(self, name: str, folder: Path, image: str = "") -> None:
        """Take a name, which is the inventory's as well, and the image of the hosts where the inventory leaves that open."""
        self.folder, self.host_image = folder, image
        self.inventories = (Path(__file__).with_name(name) / "inventory", SHARED / "inventory")
        self.settings: dict[str, Any] = {}
        self.passwords: dict[str, str] = {}
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "ANSIBLE_CONNECTION_PLUGINS": str(ROOT / "tests/hosts/connection"),
            "ANSIBLE_HOME": str(ROOT / ".ansible"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_NOCOLOR": "1",
            "MOLECULE_PROJECT_DIRECTORY": str(ROOT),
            "MOLECULE_SCENARIO_NAME": f"{name}-{image}" if image else name,
            "MOLECULE_EPHEMERAL_DIRECTORY": str(folder),
        }

    def ansible(self, program: str, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a program of Ansible in a process group of its own."""
        # Said in words: Ansible renders how it reaches a host anew for each task, and the shared inventory works it out.
        reached = self.folder / "reached.json"
        hosts = {host: {"ansible_host": container} for host, container in self.names.items()}
        reached.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
        inventories = [f"--inventory={path}" for path in (*self.inventories, reached)]
        return subprocess.Popen(
            [Path(sys.executable).with_name(program), *inventories, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, playbook: str, *options: str) -> subprocess.Popen[str]:
        """Start a playbook with the settings."""
        variables = self.folder / "settings.json"
        variables.write_text(json.dumps(self.settings), encoding="utf-8")
        return self.ansible("ansible-playbook", ROOT / "playbooks" / playbook, f"--extra-vars=@{variables}", *options)

    def attempt(self, playbook: str, *options: str) -> Run:
        """Run a playbook and return what it did, even where it failed."""
        with self.start(playbook, *options) as process:
            stdout, stderr = process.communicate(timeout=900)
        return results(process.returncode, stdout, stderr)

    def play(self, playbook: str, *options: str) -> Run:
        """Run a playbook that has to succeed."""
        done = self.attempt(playbook, *options)
        assert done.returncode == 0, "\n".join(done.failures)
        return done

    def last_words(self, playbook: str, *options: str) -> tuple[int, str]:
        """Run a playbook; return its exit code, and what its last task says of the registry."""
        with self.start(playbook, *options) as process:
            stdout, stderr = process.communicate(timeout=900)
        assert "{" in stdout, stderr
        plays = json.loads(stdout[stdout.index("{") :])["plays"]
        said = [
            task["hosts"][ADDRESS]["msg"]
            for play in plays
            for task in play["tasks"]
            if "msg" in task["hosts"].get(ADDRESS, {})
        ][-1]
        return process.returncode, "\n".join(said) if isinstance(said, list) else said

    def kill_when(self, condition: str, playbook: str, *options: str) -> None:
        """Kill a run as soon as a shell command on the host succeeds."""
        self.host("rm", "--force", "/run/run-ended")
        waiting = f"until {condition}; do [ ! -e /run/run-ended ] || exit 1; sleep 0.05; done"
        with self.start(playbook, *options) as process, ThreadPoolExecutor(2) as pool:
            seen = pool.submit(self.host, "sh", "-c", waiting, check=False)
            ended = pool.submit(process.communicate)
            first: set[Future[Any]] = {seen, ended}
            wait(first, return_when=FIRST_COMPLETED)
            if ended.done():
                self.host("touch", "/run/run-ended")
            else:
                kill_controller(process.pid)
        assert process.returncode == -signal.SIGKILL, f"the run ended before {condition}: {ended.result()[0][-3000:]}"

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        """What the inventory says of the test hosts, for those who start them."""
        path = self.inventories[0] / "hosts.yml" if self.inventories[0].is_dir() else self.inventories[0]
        group = yaml.safe_load(path.read_text(encoding="utf-8"))["all"]["children"]["test_hosts"]
        usual = yaml.safe_load((SHARED / "inventory/group_vars/test_hosts.yml").read_text(encoding="utf-8"))
        shared = {**usual, **group.get("vars", {}), **({"test_host_image": self.host_image} if self.host_image else {})}
        return {name: {**shared, **(own or {})} for name, own in group["hosts"].items()}

    @property
    def names(self) -> dict[str, str]:
        """The test hosts' containers, by host."""
        scenario = self.environment["MOLECULE_SCENARIO_NAME"]
        return {host: f"drydock-{machine.CHECKOUT}-{scenario}-{host}" for host in self.hosts}

    @functools.cached_property
    def ip(self) -> str:
        """The host's address, as this machine reaches it."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        command = ["docker", "container", "inspect", "--format", form, self.names[ADDRESS]]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    @functools.cached_property
    def gateway(self) -> str:
        """This machine's address, as the host reaches it."""
        form = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"
        command = ["docker", "container", "inspect", "--format", form, self.names[ADDRESS]]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def host(self, *command: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on the registry's host."""
        done = subprocess.run(
            [*into(self.names[ADDRESS]), *command],
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
        return done

    def containers(self) -> dict[str, Container]:
        """Look at the registry's containers."""
        details = json.loads(self.host("docker", "container", "inspect", *CONTAINERS).stdout)
        return {
            one["Name"].lstrip("/"): Container(one["Id"], one["State"]["StartedAt"], one["State"]["Pid"])
            for one in details
        }

    def curl(self, path: str, *options: str, user: str = "", port: int = 443) -> str:
        """Make a request on the host as a client does; return what curl prints, without the body: headers, then the status."""
        password = self.passwords[user] if user else ""
        return self.host(
            *("curl", "--silent", "--output", "/dev/null", "--dump-header", "-", "--write-out", "%{http_code}"),
            *("--cacert", "/etc/drydock/tls/ca.crt", "--header", f"Accept: {MANIFEST_TYPE}", "--config", "-", *options),
            f"https://{ADDRESS}:{port}{path}",
            stdin=f'user = "{user}:{password}"\n' if user else "",
            check=False,
        ).stdout

    def status(self, path: str, user: str = "", port: int = 443) -> int:
        """Return the status of a request, 0 where nobody answers."""
        return int(self.curl(path, user=user, port=port)[-3:])

    def login(self, user: str, password: str) -> bool:
        """Tell whether Docker can log in."""
        command = ("docker", "login", "--username", user, "--password-stdin", ADDRESS)
        return self.host(*command, stdin=password, check=False).returncode == 0

    def certificate(self) -> dict[str, str]:
        """Return serial, issuer and the like of the certificate that nginx serves."""
        ask = f"openssl s_client -connect 127.0.0.1:443 -servername {ADDRESS} </dev/null 2>/dev/null"
        text = self.host("sh", "-c", f"{ask} | openssl x509 -noout -serial -issuer").stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    @staticmethod
    def until(ask: Callable[[], T]) -> T:
        """Ask until the answer is one."""
        end = time.monotonic() + WAIT_SECONDS
        while not (answer := ask()):
            assert time.monotonic() < end, "it does not come"
            time.sleep(0.5)
        return answer

    def healthy_again(self) -> float:
        """Wait until the registry answers again; return the seconds."""
        start = time.monotonic()
        while self.status("/healthz") != 200:
            assert time.monotonic() - start < WAIT_SECONDS, "the registry does not come back"
            time.sleep(0.5)
        return round(time.monotonic() - start, 1)


def kill_controller(run: int) -> None:
    """Kill a run with all its processes on this machine, as when a controller loses its power. What it has started on hosts goes on.

    Ansible's workers have sessions of their own. One that is left, with its way into a host, would see the host go down; and where systemd
    stops all processes before it ends them, the way into the host stops as well, and the host waits for it for ever.
    """
    stopped: list[int] = []
    # Each is stopped before its children are looked for, so that it starts nothing more meanwhile.
    while new := [one for one in ours(run) if one not in stopped]:
        for one in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGSTOP)
        stopped += new
    for one in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def ours(run: int) -> list[int]:
    """Return a process and those that it and its children have started, without those inside of hosts."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            children.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
    found = [run]
    for one in found:
        found += children.get(one, [])
    here = Path("/proc/self/ns/pid").readlink()

    def is_here(one: int) -> bool:
        try:
            return Path(f"/proc/{one}/ns/pid").readlink() == here
        except OSError:
            return False

    return [one for one in found if is_here(one)]


def lost_workers(container: str) -> str:
    """Return what the logs on a host, which is a container, say of processes of nginx that a signal has ended."""
    search = ("grep", "--recursive", "--no-messages", "--no-filename", "--max-count=3", "--extended-regexp")
    logs = ("exited on signal|must be installed for", "/var/lib/docker/containers", "--include=*-json.log*")
    # There may be no Docker on a host, and a host may have been killed.
    return subprocess.run([*into(container), *search, *logs], capture_output=True, text=True, check=False).stdout


def digest(text: str) -> str:
    """Find a digest in what Docker prints."""
    found = re.search(r"sha256:[0-9a-f]{64}", text)
    assert found, text
    return found[0]


@contextmanager
def deployed_hosts(made: Deployment) -> Iterator[Deployment]:
    """Start the hosts as their image makes them, and remove them in the end."""
    images = sorted({settings["test_host_image"] for settings in made.hosts.values()})
    subprocess.run([ROOT / "tests/hosts/build", *images], check=True, capture_output=True)
    # What a test run that was killed may have left.
    machine.remove(*made.names.values())
    try:
        for name, settings in made.hosts.items():
            systemd = settings["test_host_init"] == "systemd"
            machine.start(made.names[name], name, settings["test_host_image"], systemd=systemd)
        for name, settings in made.hosts.items():
            if settings["test_host_init"] == "systemd":
                machine.wait_until_up(made.names[name])
        yield made
        lost = {name: lines for name in made.names.values() if (lines := lost_workers(name))}
        assert not lost, f"a signal has ended processes of nginx: {lost}"
    finally:
        machine.remove(*made.names.values())
