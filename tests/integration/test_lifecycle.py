# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry lives through: runs that are killed, changes of all kinds, crashes, up- and downgrade, teardown and return.

One host with systemd serves all tests, which run in the order of this file: each leaves the registry working. What a change
may touch is judged by Ansible's list of changed tasks, by the containers' ids and start times, and by a client on the host.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "molecule/shared"
INVENTORIES = (Path(__file__).with_name("lifecycle") / "inventory", SHARED / "inventory")
ADDRESS = "registry.test"
IMAGE = f"{ADDRESS}/team/app:1"
MANIFEST = "/v2/team/app/manifests/1"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
REGISTRIES = ("drydock-registry-a", "drydock-registry-b")
CONTAINERS = ("drydock-proxy", *REGISTRIES)
WAIT_SECONDS = 90


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
                    failures.append(str(result.get("msg")))
    return Run(returncode, changed, failures)


class Deployment:
    """The host, the settings of its registry, and how to run playbooks on it and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {}
        self.passwords = {"stays": "unchanged pass", "changes": "before the change", "leaves": "soon of no use"}
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "ANSIBLE_HOME": str(ROOT / ".ansible"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_NOCOLOR": "1",
            "MOLECULE_PROJECT_DIRECTORY": str(ROOT),
            "MOLECULE_SCENARIO_NAME": "lifecycle",
            "MOLECULE_EPHEMERAL_DIRECTORY": str(folder),
            "MOLECULE_INSTANCE_CONFIG": str(folder / "instances.yml"),
        }

    def ansible(self, program: str, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a program of Ansible in a process group of its own."""
        inventories = [f"--inventory={path}" for path in INVENTORIES]
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
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, f"the run ended before {condition}: {ended.result()[0][-3000:]}"

    @property
    def names(self) -> dict[str, str]:
        """The test hosts' containers, by host."""
        instances = yaml.safe_load((self.folder / "instances.yml").read_text(encoding="utf-8"))
        return {entry["instance"]: entry["address"] for entry in instances}

    def host(self, *command: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on the registry's host."""
        done = subprocess.run(
            ["docker", "exec", "--interactive", self.names[ADDRESS], *command],
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

    def pull(self) -> str:
        """Pull the pushed image anew and return its digest."""
        self.host("docker", "rmi", "--force", IMAGE, check=False)
        return digest(self.host("docker", "pull", IMAGE).stdout)

    def certificate(self) -> dict[str, str]:
        """Return serial, issuer and the like of the certificate that nginx serves."""
        ask = f"openssl s_client -connect 127.0.0.1:443 -servername {ADDRESS} </dev/null 2>/dev/null"
        text = self.host("sh", "-c", f"{ask} | openssl x509 -noout -serial -issuer").stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def allow(self, *names: str) -> None:
        """Set who may log in."""
        self.settings["registry_auth_users"] = [{"name": name, "password": self.passwords[name]} for name in names]

    def healthy_again(self) -> float:
        """Wait until the registry answers again; return the seconds."""
        start = time.monotonic()
        while self.status("/healthz") != 200:
            assert time.monotonic() - start < WAIT_SECONDS, "the registry does not come back"
            time.sleep(0.5)
        return round(time.monotonic() - start, 1)


def digest(text: str) -> str:
    """Find a digest in what Docker prints."""
    found = re.search(r"sha256:[0-9a-f]{64}", text)
    assert found, text
    return found[0]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Start the hosts; nothing is installed on them."""
    made = Deployment(tmp_path_factory.mktemp("lifecycle"))
    made.allow("stays", "changes", "leaves")

    def shared(playbook: str) -> None:
        with made.ansible("ansible-playbook", SHARED / playbook) as process:
            stdout, stderr = process.communicate(timeout=900)
        done = results(process.returncode, stdout, stderr)
        assert done.returncode == 0, f"{playbook}: {done.failures}"

    # What a test run that was killed may have left.
    shared("destroy.yml")
    try:
        shared("create.yml")
        yield made
    finally:
        shared("destroy.yml")


@pytest.fixture(scope="module")
def older(deployment: Deployment) -> Path:
    """Debian 12's registry as a tar file of `docker save`."""
    builder = deployment.names["builder.test"]
    rootfs, archive = deployment.folder / "rootfs.tar", deployment.folder / "registry.tar"
    tag = f"drydock-test/registry-{os.getpid()}:2.8.2"
    recipe = {
        "packages": ["docker-registry"],
        "programs": ["/usr/bin/docker-registry"],
        "links": {"/usr/bin/registry": "docker-registry"},
        "path": "/srv/rootfs.tar",
    }
    steps: dict[str, dict[str, Any]] = {
        "ansible.builtin.apt": {"update_cache": True},
        "drydock.registry.debian_rootfs": recipe,
    }
    for module, values in steps.items():
        with deployment.ansible("ansible", "builder.test", "-m", module, "-a", json.dumps(values)) as process:
            stdout, stderr = process.communicate(timeout=600)
        assert process.returncode == 0, f"{stdout}\n{stderr}"
    subprocess.run(["docker", "cp", f"{builder}:/srv/rootfs.tar", rootfs], capture_output=True, check=True)
    subprocess.run(["docker", "import", rootfs, tag], capture_output=True, check=True)
    subprocess.run(["docker", "save", "--output", archive, tag], capture_output=True, check=True)
    subprocess.run(["docker", "rmi", tag], capture_output=True, check=True)
    return archive


@pytest.fixture(scope="module")
def pushed(deployment: Deployment) -> str:
    """Push a tiny image with Docker on the host; return its digest."""
    deployment.host("install", "-D", "/etc/drydock/tls/ca.crt", f"/etc/docker/certs.d/{ADDRESS}/ca.crt")
    assert deployment.login("stays", deployment.passwords["stays"])
    deployment.host("sh", "-c", f"tar --create --directory /etc hostname | docker import - {IMAGE}")
    return digest(deployment.host("docker", "push", IMAGE).stdout)


def test_killed_runs_are_mended_by_the_next(deployment: Deployment) -> None:
    # In the middle of apt, of building an image, and with one of the two registries running.
    deployment.kill_when("pgrep -x dpkg", "site.yml")
    deployment.kill_when("ls -d /tmp/drydock-image-*", "site.yml")
    deployment.kill_when("[ -e /var/lib/drydock/sockets/registry-a.sock ]", "site.yml")
    assert deployment.status("/healthz") == 0
    deployment.play("site.yml")
    assert deployment.status("/v2/", user="stays") == 200
    assert deployment.status("/v2/") == 401


def test_another_run_changes_nothing(deployment: Deployment, pushed: str) -> None:
    before = deployment.containers()
    assert deployment.play("site.yml").changed == []
    assert deployment.containers() == before
    assert deployment.pull() == pushed


def test_changed_added_and_removed_users_touch_nothing_else(deployment: Deployment) -> None:
    before = deployment.containers()
    lines = deployment.host("cat", "/etc/drydock/auth/htpasswd").stdout.splitlines()
    assert deployment.login("leaves", deployment.passwords["leaves"])
    old = deployment.passwords["changes"]
    deployment.passwords.update(changes="after the change", arrives="new here")
    deployment.allow("stays", "changes", "arrives")

    assert deployment.play("configure.yml").roles() == {"registry_auth"}

    assert deployment.status("/v2/", user="leaves") == 401
    assert not deployment.login("changes", old)
    for user in ("changes", "arrives", "stays"):
        assert deployment.login(user, deployment.passwords[user]), user
    (stays,) = (line for line in lines if line.startswith("stays:"))
    assert stays in deployment.host("cat", "/etc/drydock/auth/htpasswd").stdout.splitlines()
    assert deployment.containers() == before


def test_changed_configuration_replaces_one_registry_after_the_other(deployment: Deployment, pushed: str) -> None:
    before = deployment.containers()
    deployment.settings["registry_server_config"] = {"log": {"level": "debug"}}
    # About four requests a second for as long as the run takes.
    loop = f"""
        rm -f /run/client-stops
        for i in $(seq 2000); do
            curl --silent --output /dev/null --write-out '%{{http_code}}\\n' --cacert /etc/drydock/tls/ca.crt \\
                --header 'Accept: {MANIFEST_TYPE}' --config /run/client https://{ADDRESS}{MANIFEST}
            [ ! -e /run/client-stops ] || exit 0
            sleep 0.25
        done"""
    deployment.host("sh", "-c", "cat > /run/client", stdin=f'user = "stays:{deployment.passwords["stays"]}"\n')
    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(deployment.host, "sh", "-c", loop, check=False)
        try:
            done = deployment.play("configure.yml", "--tags=server")
        finally:
            deployment.host("touch", "/run/client-stops")
        answers = client.result().stdout.split()

    print(f"{len(answers)} requests while both registries were replaced")
    assert len(answers) > 10
    assert set(answers) == {"200"}
    assert done.roles() == {"registry_server", "common"}
    after = deployment.containers()
    assert after["drydock-proxy"] == before["drydock-proxy"]
    assert all(after[name].id != before[name].id for name in REGISTRIES)
    assert "level=debug" in deployment.host("sh", "-c", f"docker logs {REGISTRIES[0]} 2>&1").stdout
    assert deployment.pull() == pushed


def test_renewed_certificate_is_served_without_a_restart(deployment: Deployment) -> None:
    before, served = deployment.containers(), deployment.certificate()
    authority = deployment.host("cat", "/etc/drydock/tls/ca.crt").stdout
    # The present one has 90 days left and so is due.
    deployment.settings |= {"registry_tls_valid_days": 120, "registry_tls_renew_before_days": 100}
    done = deployment.play("configure.yml", "--tags=tls,proxy")

    assert done.roles() == {"registry_tls", "registry_proxy"}
    renewed = deployment.certificate()
    assert renewed["serial"] != served["serial"]
    assert renewed["issuer"] == served["issuer"]
    assert deployment.host("cat", "/etc/drydock/tls/ca.crt").stdout == authority
    assert deployment.status("/v2/", user="stays") == 200
    assert deployment.containers() == before


def test_lost_reload_is_made_up_for(deployment: Deployment) -> None:
    before = deployment.containers()
    deployment.settings["registry_proxy_realm"] = "Another realm"
    written = 'grep -q "Another realm" /etc/drydock/proxy/nginx.conf'
    deployment.kill_when(written, "configure.yml", "--tags=proxy")
    assert 'realm="Registry"' in deployment.curl("/v2/"), "nginx has not loaded what the killed run wrote"

    done = deployment.play("configure.yml", "--tags=proxy")

    assert done.changed == ["drydock.registry.registry_proxy : run | Reload nginx"]
    assert 'realm="Another realm"' in deployment.curl("/v2/")
    assert deployment.containers() == before


def test_new_port_replaces_nginx_alone(deployment: Deployment) -> None:
    before = deployment.containers()
    deployment.settings["registry_proxy_https_port"] = 8443
    done = deployment.play("configure.yml", "--tags=proxy")
    assert done.changed == ["drydock.registry.common : container | Run drydock-proxy"]
    assert deployment.status("/v2/", user="stays", port=8443) == 200
    assert deployment.status("/v2/", port=443) == 0
    after = deployment.containers()
    assert after["drydock-proxy"].id != before["drydock-proxy"].id
    assert all(after[name] == before[name] for name in REGISTRIES)

    # And back, while nobody else has the port.
    del deployment.settings["registry_proxy_https_port"]
    deployment.play("configure.yml", "--tags=proxy")
    assert deployment.status("/v2/", user="stays") == 200


def test_killed_processes_come_back_by_themselves(deployment: Deployment) -> None:
    before = deployment.containers()
    for names in (REGISTRIES, ("drydock-proxy",)):
        deployment.host("kill", "-KILL", *(str(before[name].pid) for name in names))
        print(f"{' and '.join(names)}: back after {deployment.healthy_again()} s")
    after = deployment.containers()
    assert all(after[name].id == before[name].id and after[name].pid != before[name].pid for name in CONTAINERS)
    assert deployment.login("stays", deployment.passwords["stays"])


def test_containers_outlive_a_killed_docker(deployment: Deployment, pushed: str) -> None:
    before = deployment.containers()
    deployment.host("sh", "-c", "kill -KILL $(cat /run/docker.pid)")
    assert deployment.status(MANIFEST, user="stays") == 200, "the registry serves without Docker's daemon"
    start = time.monotonic()
    while deployment.host("docker", "container", "inspect", *CONTAINERS, check=False).returncode != 0:
        assert time.monotonic() - start < WAIT_SECONDS, "Docker does not come back"
        time.sleep(0.5)
    print(f"dockerd: back after {time.monotonic() - start:.1f} s")
    assert deployment.containers() == before
    # It has its containers in hand again: a dead one is started.
    deployment.host("kill", "-KILL", str(before[REGISTRIES[0]].pid))
    start = time.monotonic()
    while deployment.containers()[REGISTRIES[0]].pid in {0, before[REGISTRIES[0]].pid}:
        assert time.monotonic() - start < WAIT_SECONDS, "Docker does not restart a container that it found running"
        time.sleep(0.5)
    assert deployment.pull() == pushed


def version(deployment: Deployment) -> set[str]:
    """Return what the running registries say of their version."""
    return {deployment.host("docker", "exec", name, "registry", "--version").stdout.split()[-1] for name in REGISTRIES}


def test_downgrade_and_upgrade_keep_the_images(deployment: Deployment, pushed: str, older: Path) -> None:
    (newer_version,) = version(deployment)
    nginx = deployment.containers()["drydock-proxy"]
    archive = {"registry_server_image_provider": "archive", "registry_server_image_archive": str(older)}

    # An image of another line is refused before anything is replaced.
    before = deployment.containers()
    deployment.settings |= {**archive, "registry_server_version": "3"}
    refused = deployment.attempt("configure.yml", "--tags=server")
    assert refused.returncode != 0
    assert re.search("registry_server_version is 3, but the image .* is registry 2.8.2", refused.failures[-1])
    assert deployment.containers() == before
    del deployment.settings["registry_server_version"]

    deployment.play("configure.yml", "--tags=server")
    assert {text.partition("+")[0] for text in version(deployment)} == {"2.8.2"}
    assert deployment.pull() == pushed
    assert deployment.play("configure.yml", "--tags=server").changed == []

    for key in archive:
        del deployment.settings[key]
    deployment.play("configure.yml", "--tags=server")
    assert version(deployment) == {newer_version}
    assert deployment.pull() == pushed
    assert deployment.containers()["drydock-proxy"] == nginx


def test_teardown_keeps_what_it_is_not_told_to_destroy(deployment: Deployment, pushed: str) -> None:
    def there(*paths: str) -> set[str]:
        return {path for path in paths if deployment.host("test", "-e", path, check=False).returncode == 0}

    kept = (
        "/var/lib/drydock/registry/docker",
        "/etc/drydock/auth/htpasswd",
        "/etc/drydock/tls/tls.crt",
        "/etc/drydock/ca/ca.key",
    )
    before, served = deployment.containers(), deployment.certificate()
    refused = deployment.attempt("teardown.yml", '--extra-vars={"drydock_teardown_destroy": ["images"]}')
    assert refused.returncode != 0
    assert "write a list of data, users, tls" in refused.failures[-1]
    deployment.play("teardown.yml", "--check", "--diff")
    assert deployment.containers() == before

    deployment.play("teardown.yml")
    assert deployment.host("docker", "ps", "--all", "--quiet").stdout == ""
    assert there(*kept) == set(kept)
    assert there("/etc/drydock/proxy", "/etc/drydock/registry", "/etc/drydock/server") == set()

    deployment.play("configure.yml")
    assert deployment.pull() == pushed
    assert deployment.certificate() == served

    everything = '--extra-vars={"drydock_teardown_destroy": ["data", "users", "tls"]}'
    deployment.play("teardown.yml", everything)
    folders = ("/var/lib/drydock/registry", "/etc/drydock/auth", "/etc/drydock/tls", "/etc/drydock/ca")
    assert there(*folders) == set()
    assert deployment.play("teardown.yml", everything).changed == []
