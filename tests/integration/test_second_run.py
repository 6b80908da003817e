# SPDX-License-Identifier: GPL-3.0-or-later
"""A run where nothing differs changes nothing, and whatever differs is repaired; limits to the tasks that runs start.

One host serves all tests, which run in the order of this file: each leaves the registry working. Which roles changed something is judged by
Ansible's own record of its tasks. What a run takes is printed, and never asserted: it is made of the tasks that it starts and of how often
it enters the host, and those have limits.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from counting import Counting
from deployment import CONTAINERS, Run, deployed_hosts, results

LOCK = "/run/drydock-run.lock"


class Host(Counting):
    """A registry whose runs are counted."""

    def run(self, *options: str, playbook: str = "site.yml") -> Run:
        """Run a playbook that has to succeed."""
        return self.counted(playbook, *options).run

    def shell(self, command: str) -> str:
        """Run a shell command on the host that has to succeed."""
        return self.host("sh", "-c", command).stdout.strip()

    def locked(self) -> bool:
        """Tell whether a run holds the host's lock."""
        return self.host("test", "-e", LOCK, check=False).returncode == 0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Start the host; nothing is installed on it."""
    made = Host("second_run", tmp_path_factory.mktemp("second_run"))
    made.passwords = {"stays": "unchanged pass", "changes": "before the change"}
    users = [{"name": name, "password": password, "access": "admin"} for name, password in made.passwords.items()]
    made.settings["registry_auth_users"] = [*users, {"name": "generated", "access": "pull"}]
    with deployed_hosts(made):
        yield made


def test_a_second_run_changes_nothing(deployment: Host) -> None:
    cold = deployment.counted("site.yml")
    roles = {
        "docker_engine",
        "registry_tls",
        "registry_auth",
        "registry_server",
        "registry_proxy",
        "registry_maintenance",
    }
    assert cold.run.roles() >= roles
    assert cold.tasks.total() <= 150, cold.tasks
    assert deployment.status("/v2/", user="stays") == 200
    before = deployment.containers()
    again = deployment.counted("site.yml")
    assert again.run.changed == []
    assert again.tasks.total() <= 73, again.tasks
    assert again.tasks["common"] <= 10
    assert again.entered <= 14
    assert deployment.containers() == before
    assert not deployment.locked()


def test_a_changed_user_changes_one_role_and_counts_at_once(deployment: Host) -> None:
    before = deployment.containers()
    old = deployment.passwords["changes"]
    deployment.passwords["changes"] = deployment.settings["registry_auth_users"][1]["password"] = "after the change"
    changed = deployment.counted("site.yml")
    # nginx reloads, and that is all.
    assert changed.run.roles() == {"registry_auth", "registry_proxy"}
    # Handlers as well.
    assert changed.tasks.total() <= 79, changed.tasks
    assert changed.tasks["common"] <= 10
    new = deployment.passwords["changes"]
    deployment.passwords["changes"] = old
    assert deployment.status("/v2/", user="changes") == 401
    deployment.passwords["changes"] = new
    assert deployment.status("/v2/", user="changes") == 200
    assert deployment.containers() == before


def test_a_dry_run_finds_nothing_either(deployment: Host) -> None:
    assert deployment.run("--check", "--diff").changed == []


def test_a_generated_password_that_is_deleted_is_made_anew(deployment: Host) -> None:
    (deployment.folder / "credentials/generated.password").unlink()
    assert "registry_auth" in deployment.run(playbook="configure.yml").roles()
    assert (deployment.folder / "credentials/generated.password").exists()


class Drift(NamedTuple):
    """What somebody does on the host, the role that mends it, and what then prints the same as before."""

    command: str
    role: str
    shown_by: str


SYSCTL = "/etc/sysctl.d/60-drydock-registry.conf"


def owner(path: str) -> str:
    """A command that shows owner, group and mode."""
    return f"stat --format '%U %G %a' {path}"


DRIFTS = {
    "the private key can be read by all": Drift(
        "chmod 644 /etc/drydock/tls/tls.key", "registry_tls", owner("/etc/drydock/tls/tls.key")
    ),
    "the CA's copy for clients is gone": Drift(
        "rm /etc/drydock/tls/ca.crt", "registry_tls", "sha256sum /etc/drydock/tls/ca.crt"
    ),
    "the CA's folder is open": Drift("chmod 755 /etc/drydock/ca", "registry_tls", owner("/etc/drydock/ca")),
    "somebody has added a user": Drift(
        "echo 'eve:x' >> /etc/drydock/auth/htpasswd", "registry_auth", "cut -d: -f1 /etc/drydock/auth/htpasswd"
    ),
    "rights are changed by hand": Drift(
        "sed -i s/pull/push/ /etc/drydock/auth/access.json", "registry_auth", "sha256sum /etc/drydock/auth/access.json"
    ),
    "the users' folder is root's": Drift("chgrp root /etc/drydock/auth", "registry_auth", owner("/etc/drydock/auth")),
    "a folder that the registries have mounted is another one": Drift(
        "cp -a /etc/drydock/registry /etc/drydock/copy && rm -r /etc/drydock/registry && mv /etc/drydock/copy /etc/drydock/registry",
        "registry_server",
        "cd /proc/$(docker inspect --format {{.State.Pid}} drydock-registry-a)/root && test etc/drydock/registry -ef /etc/drydock/registry",
    ),
    "config.yml is edited": Drift(
        "echo '# more' >> /etc/drydock/registry/config.yml",
        "registry_server",
        "sha256sum /etc/drydock/registry/config.yml",
    ),
    "the sockets' folder is open": Drift(
        "chmod 777 /var/lib/drydock/sockets", "registry_server", owner("/var/lib/drydock/sockets")
    ),
    "the storage folder is root's": Drift(
        "chown root /var/lib/drydock/registry", "registry_server", owner("/var/lib/drydock/registry")
    ),
    "a registry does not start with the host": Drift(
        "docker update --restart=no drydock-registry-a",
        "registry_server",
        "docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' drydock-registry-a",
    ),
    "nobody watches the registries": Drift(
        "systemctl disable --now drydock-watch",
        "registry_server",
        "systemctl is-active drydock-watch; systemctl is-enabled drydock-watch",
    ),
    "a registry is stopped": Drift(
        "docker stop drydock-registry-b",
        "registry_server",
        "docker inspect --format '{{.State.Running}}' drydock-registry-b",
    ),
    "the password server's folder is open": Drift(
        "chmod 777 /var/lib/drydock/passwords", "registry_proxy", owner("/var/lib/drydock/passwords")
    ),
    "the kernel's settings can be read by root alone": Drift(f"chmod 600 {SYSCTL}", "registry_proxy", owner(SYSCTL)),
    "nginx.conf is edited": Drift(
        "echo '# more' >> /etc/drydock/proxy/nginx.conf", "registry_proxy", "sha256sum /etc/drydock/proxy/nginx.conf"
    ),
    "nginx is removed": Drift(
        "docker rm --force drydock-proxy",
        "registry_proxy",
        "docker inspect --format '{{.State.Running}}' drydock-proxy",
    ),
    "the program that reloads nginx is edited": Drift(
        "echo '# more' >> /usr/local/sbin/drydock-reload-proxy",
        "registry_proxy",
        "sha256sum /usr/local/sbin/drydock-reload-proxy",
    ),
    "the timer of the storage's maintenance is off": Drift(
        "systemctl disable --now drydock-storage.timer",
        "registry_maintenance",
        "systemctl is-active drydock-storage.timer; systemctl is-enabled drydock-storage.timer",
    ),
    "the program of the storage's maintenance is edited": Drift(
        "echo '# more' >> /usr/local/lib/drydock/drydock_store/__main__.py",
        "registry_maintenance",
        "sha256sum /usr/local/lib/drydock/drydock_store/__main__.py",
    ),
    # Last, since the others need it. Without Docker nothing is known of the containers.
    "Docker is stopped": Drift(
        "systemctl stop docker.socket docker.service", "docker_engine", "systemctl is-active docker"
    ),
}


def test_a_drift_is_seen_by_its_role_alone(deployment: Host) -> None:
    """A dry run says which role has something to do, and no other task joins in."""
    names = (
        "the private key can be read by all",
        "the sockets' folder is open",
        "the password server's folder is open",
        "the users' folder is root's",
    )
    drifts = [DRIFTS[name] for name in names]
    paths = [drift.shown_by.split()[-1] for drift in drifts]
    before = [deployment.shell(f"stat --format '%a %G' {path}").split() for path in paths]
    for drift in drifts:
        deployment.shell(drift.command)
    dry = deployment.run("--check", playbook="configure.yml")
    # Another key is told to nginx by a task of its own.
    seen = Counter(task.partition(" : ")[0].removeprefix("drydock.registry.") for task in dry.changed)
    assert seen == {"registry_tls": 2, "registry_server": 1, "registry_proxy": 1, "registry_auth": 1}
    for path, (mode, group) in zip(paths, before, strict=True):
        # It has repaired nothing.
        assert deployment.shell(f"stat --format '%a %G' {path}").split() != [mode, group]
        deployment.shell(f"chmod {mode} {path} && chgrp {group} {path}")


def test_all_drifts_together_are_repaired_by_one_run(deployment: Host) -> None:
    before = {name: deployment.shell(drift.shown_by) for name, drift in DRIFTS.items()}
    for drift in DRIFTS.values():
        deployment.shell(drift.command)
    assert deployment.run().roles() == {drift.role for drift in DRIFTS.values()}
    assert {name: deployment.shell(drift.shown_by) for name, drift in DRIFTS.items()} == before
    assert deployment.status("/v2/", user="stays") == 200


def test_a_second_run_at_the_same_time_ends_at_once(deployment: Host) -> None:
    with deployment.start("configure.yml") as first:
        # Stopped while it holds the lock, as a run does that waits for something.
        deployment.host("sh", "-c", f"until [ -s {LOCK} ]; do sleep 0.05; done")
        first.send_signal(signal.SIGSTOP)
        try:
            second = deployment.attempt("configure.yml")
            dry = deployment.attempt("configure.yml", "--check")
        finally:
            first.send_signal(signal.SIGCONT)
        output, errors = first.communicate(timeout=900)
    for done in (second, dry):
        assert done.returncode != 0
        assert done.changed == []
        (sentence,) = done.failures
        assert sentence.startswith("registry.test is being changed by another run since 20")
        assert f", process {first.pid}. " in sentence
    # The first one is not disturbed, finds nothing more to repair, and lets go of the lock.
    assert first.returncode == 0, output[-3000:]
    assert results(first.returncode, output, errors).changed == []
    assert not deployment.locked()


def test_a_run_that_is_killed_leaves_nothing_behind_that_counts(deployment: Host) -> None:
    deployment.settings["registry_server_log_level"] = "debug"
    deployment.kill_when("grep -q 'level: debug' /etc/drydock/registry/config.yml", "configure.yml")
    assert deployment.locked()
    # As if the killed run had never been asked for.
    del deployment.settings["registry_server_log_level"]
    # The next run takes the lock over.
    assert "registry_server" in deployment.run(playbook="configure.yml").roles()
    assert not deployment.locked()
    assert set(deployment.containers()) == set(CONTAINERS)
    assert deployment.status("/v2/", user="stays") == 200


def test_the_lock_of_a_run_elsewhere_counts_for_half_an_hour(deployment: Host) -> None:
    elsewhere = '{"controller": "ci", "space": "elsewhere", "user": "bob", "process": 7, "started": "70", "since": %d}'
    deployment.host("sh", "-c", f"cat > {LOCK}", stdin=elsewhere % (time.time() - 60))
    done = deployment.attempt("configure.yml")
    assert [failure.partition(" since ")[0] for failure in done.failures] == [
        "registry.test is being changed by another run"
    ]
    assert "user bob on ci, process 7." in done.failures[0]
    deployment.host("sh", "-c", f"cat > {LOCK}", stdin=elsewhere % (time.time() - 1801))
    assert deployment.run(playbook="configure.yml").changed == []
    assert not deployment.locked()
