# SPDX-License-Identifier: GPL-3.0-or-later
"""A run where nothing differs is short, and whatever differs is mended all the same.

One host serves all tests, which run in the order of this file: each leaves the registry working. Which roles ran is judged by
Ansible's own record of its tasks; what a run takes is printed, and never asserted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from deployment import CONTAINERS, Deployment, Run, deployed_hosts, results

KEPT = "/run/drydock-converged.json"
ROLES = {"docker_engine", "registry_tls", "registry_auth", "registry_server", "registry_proxy"}


class Host(Deployment):
    """A registry whose runs are looked into."""

    def run(self, *options: str, playbook: str = "site.yml") -> tuple[Run, set[str]]:
        """Run a playbook that has to succeed; return what it did and the roles that were not left out."""
        with self.start(playbook, *options) as process:
            stdout, stderr = process.communicate(timeout=900)
        done = results(process.returncode, stdout, stderr)
        assert done.returncode == 0, "\n".join(done.failures)
        names = [
            task["task"]["name"] for play in json.loads(stdout[stdout.index("{") :])["plays"] for task in play["tasks"]
        ]
        # The first task of a role's entry point `main`.
        return done, {
            role
            for role in ROLES
            if any(f"{role} : Validating arguments against arg spec 'main'" in name for name in names)
        }

    def shell(self, command: str) -> str:
        """Run a shell command on the host that has to succeed."""
        return self.host("sh", "-c", command).stdout.strip()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Start the host; nothing is installed on it."""
    made = Host("second_run", tmp_path_factory.mktemp("second_run"))
    made.passwords = {"stays": "unchanged pass", "changes": "before the change"}
    users = [{"name": name, "password": password, "access": "admin"} for name, password in made.passwords.items()]
    made.settings["registry_auth_users"] = [*users, {"name": "generated", "access": "pull"}]
    with deployed_hosts(made):
        yield made


def test_a_second_run_leaves_all_roles_out(deployment: Host) -> None:
    start = time.monotonic()
    _, ran = deployment.run()
    print(f"{time.monotonic() - start:.0f} seconds of the first run")
    assert ran == ROLES
    before = deployment.containers()

    start = time.monotonic()
    done, ran = deployment.run()
    print(f"{time.monotonic() - start:.0f} seconds of the second run")
    assert done.changed == []
    assert ran == set()
    assert deployment.containers() == before


def test_a_dry_run_on_a_converged_host_finds_nothing_either(deployment: Host) -> None:
    done, ran = deployment.run("--check", "--diff")
    assert done.changed == []
    assert ran == set()


def test_a_run_that_looks_at_everything_changes_nothing_either(deployment: Host) -> None:
    before = deployment.containers()
    done, ran = deployment.run("--extra-vars=drydock_look_anew=true", playbook="configure.yml")
    assert done.changed == []
    assert ran == ROLES
    assert deployment.containers() == before


def test_a_changed_user_runs_one_role_and_counts_at_once(deployment: Host) -> None:
    before = deployment.containers()
    old = deployment.passwords["changes"]
    deployment.passwords["changes"] = deployment.settings["registry_auth_users"][1]["password"] = "after the change"
    start = time.monotonic()
    _, ran = deployment.run()
    print(f"{time.monotonic() - start:.0f} seconds of a run with a changed user")
    assert ran == {"registry_auth"}
    new = deployment.passwords["changes"]
    deployment.passwords["changes"] = old
    assert deployment.status("/v2/", user="changes") == 401
    deployment.passwords["changes"] = new
    assert deployment.status("/v2/", user="changes") == 200
    assert deployment.containers() == before
    assert deployment.run(playbook="configure.yml")[1] == set()


def test_a_generated_password_that_is_deleted_is_made_anew(deployment: Host) -> None:
    (deployment.folder / "credentials/generated.password").unlink()
    assert deployment.run(playbook="configure.yml")[1] == {"registry_auth"}
    assert (deployment.folder / "credentials/generated.password").exists()


class Drift(NamedTuple):
    """What somebody does on the host, the role that mends it, and what then prints the same as before."""

    command: str
    role: str
    shown_by: str


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
    "a registry is stopped": Drift(
        "docker stop drydock-registry-b",
        "registry_server",
        "docker inspect --format '{{.State.Running}}' drydock-registry-b",
    ),
    "the password server's folder is open": Drift(
        "chmod 777 /var/lib/drydock/passwords", "registry_proxy", owner("/var/lib/drydock/passwords")
    ),
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
    # Last, since the others need it. Without Docker nothing is known of the containers.
    "Docker is stopped": Drift(
        "systemctl stop docker.socket docker.service", "docker_engine", "systemctl is-active docker"
    ),
}


def test_each_drift_is_seen_alone(deployment: Host) -> None:
    """Without mending it: a dry run says which role has something to do, and the host is put back by hand."""
    for name in (
        "the private key can be read by all",
        "the sockets' folder is open",
        "the password server's folder is open",
        "the users' folder is root's",
    ):
        drift = DRIFTS[name]
        path = drift.shown_by.split()[-1]
        mode = deployment.shell(f"stat --format %a {path}")
        group = deployment.shell(f"stat --format %G {path}")
        deployment.shell(drift.command)
        assert deployment.run("--check", playbook="configure.yml")[1] == {drift.role}, name
        deployment.shell(f"chmod {mode} {path} && chgrp {group} {path}")
    assert deployment.run("--check", playbook="configure.yml")[1] == set()


def test_all_drifts_together_are_mended_by_one_run(deployment: Host) -> None:
    before = {name: deployment.shell(drift.shown_by) for name, drift in DRIFTS.items()}
    for drift in DRIFTS.values():
        deployment.shell(drift.command)
    _, ran = deployment.run()
    assert ran == {drift.role for drift in DRIFTS.values()}
    assert {name: deployment.shell(drift.shown_by) for name, drift in DRIFTS.items()} == before
    assert deployment.status("/v2/", user="stays") == 200
    done, ran = deployment.run()
    assert (done.changed, ran) == ([], set())


def test_a_run_that_is_killed_leaves_nothing_behind_that_counts(deployment: Host) -> None:
    deployment.settings["registry_server_log_level"] = "debug"
    deployment.kill_when("grep -q 'level: debug' /etc/drydock/registry/config.yml", "configure.yml")
    # As if the killed run had never been asked for.
    del deployment.settings["registry_server_log_level"]
    assert "registry_server" in deployment.run(playbook="configure.yml")[1]
    assert set(deployment.containers()) == set(CONTAINERS)
    assert deployment.status("/v2/", user="stays") == 200


def test_what_is_kept_is_root_s_alone_and_shows_no_password(deployment: Host) -> None:
    assert deployment.shell(owner(KEPT)) == "root root 600"
    kept = deployment.shell(f"cat {KEPT}")
    assert not any(password in kept for password in deployment.passwords.values())


def test_what_others_could_have_written_or_has_an_end_is_not_believed(deployment: Host) -> None:
    deployment.shell(f"chmod 666 {KEPT}")
    assert deployment.run("--check", playbook="configure.yml")[1] == ROLES
    deployment.shell(f"chmod 600 {KEPT}")
    assert deployment.run("--check", playbook="configure.yml")[1] == set()
    kept = json.loads(deployment.shell(f"cat {KEPT}"))
    kept["roles"]["registry_tls"]["until"] = time.time() - 1
    deployment.host("sh", "-c", f"cat > {KEPT}", stdin=json.dumps(kept))
    assert deployment.run("--check", playbook="configure.yml")[1] == {"registry_tls"}
