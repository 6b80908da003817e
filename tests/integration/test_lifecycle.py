# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry lives through: runs that are killed, changes of all kinds, up- and downgrade, teardown and return.

One host with systemd serves all tests, which run in the order of this file: each leaves the registry working. What a change
may touch is judged by Ansible's list of changed tasks, by the containers' ids and start times, and by a client on the host.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import ADDRESS, REGISTRIES, Deployment, deployed_hosts, digest
from into_host import into

IMAGE = f"{ADDRESS}/team/app:1"


class Lifecycle(Deployment):
    """A registry whose users come and go."""

    def allow(self, *names: str) -> None:
        """Set who may log in."""
        self.settings["registry_auth_users"] = [
            {"name": name, "password": self.passwords[name], "access": "admin"} for name in names
        ]

    def pull(self) -> str:
        """Pull the pushed image anew and return its digest."""
        self.host("docker", "rmi", "--force", IMAGE, check=False)
        return digest(self.host("docker", "pull", IMAGE).stdout)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lifecycle]:
    """Start the hosts; nothing is installed on them."""
    made = Lifecycle("lifecycle", tmp_path_factory.mktemp("lifecycle"))
    made.passwords = {"stays": "unchanged pass", "changes": "before the change", "leaves": "soon of no use"}
    made.allow("stays", "changes", "leaves")
    with deployed_hosts(made):
        yield made


@pytest.fixture(scope="module")
def older(deployment: Lifecycle) -> Path:
    """Debian 12's registry as a tar file of `docker save`."""
    host, archive = deployment.names["older.test"], deployment.folder / "registry.tar"
    save = f"docker save --output /srv/registry.tar $(docker inspect --format '{{{{.Config.Image}}}}' {REGISTRIES[0]})"
    subprocess.run([*into(host), "sh", "-c", save], capture_output=True, check=True)
    subprocess.run(["docker", "cp", f"{host}:/srv/registry.tar", archive], capture_output=True, check=True)
    return archive


@pytest.fixture(scope="module")
def pushed(deployment: Lifecycle) -> str:
    """Push a tiny image with Docker on the host; return its digest."""
    deployment.host("install", "-D", "/etc/drydock/tls/ca.crt", f"/etc/docker/certs.d/{ADDRESS}/ca.crt")
    assert deployment.login("stays", deployment.passwords["stays"])
    deployment.host("sh", "-c", f"tar --create --directory /etc hostname | docker import - {IMAGE}")
    return digest(deployment.host("docker", "push", IMAGE).stdout)


def test_killed_runs_are_mended_by_the_next(deployment: Lifecycle) -> None:
    # In the middle of apt, of building an image, and with one of the two registries running.
    deployment.kill_when("pgrep -x dpkg", "site.yml")
    deployment.kill_when("ls -d /var/cache/drydock/image-*", "site.yml")
    deployment.kill_when("[ -e /var/lib/drydock/sockets/registry-a.sock ]", "site.yml")
    assert deployment.status("/healthz") == 0
    deployment.play("site.yml")
    assert deployment.status("/v2/", user="stays") == 200
    assert deployment.status("/v2/") == 401


def test_changed_added_and_removed_users_touch_nothing_else(deployment: Lifecycle, pushed: str) -> None:
    before = deployment.containers()
    lines = deployment.host("cat", "/etc/drydock/auth/htpasswd").stdout.splitlines()
    assert deployment.login("leaves", deployment.passwords["leaves"])
    old = deployment.passwords["changes"]
    deployment.passwords.update(changes="after the change", arrives="new here")
    deployment.allow("stays", "changes", "arrives")

    # nginx reads what users may do when it is reloaded. The killed runs have left nothing to do for the other roles.
    assert deployment.play("configure.yml").roles() <= {"registry_auth", "registry_proxy"}

    assert deployment.status("/v2/", user="leaves") == 401
    assert not deployment.login("changes", old)
    for user in ("changes", "arrives", "stays"):
        assert deployment.login(user, deployment.passwords[user]), user
    (stays,) = (line for line in lines if line.startswith("stays:"))
    assert stays in deployment.host("cat", "/etc/drydock/auth/htpasswd").stdout.splitlines()
    assert deployment.containers() == before
    # As the user who logged in last.
    assert deployment.pull() == pushed


def test_lost_reload_is_made_up_for(deployment: Lifecycle) -> None:
    before = deployment.containers()
    deployment.settings["registry_proxy_realm"] = "Another realm"
    written = 'grep -q "Another realm" /etc/drydock/proxy/nginx.conf'
    deployment.kill_when(written, "configure.yml", "--tags=proxy")
    assert 'realm="Registry"' in deployment.curl("/v2/"), "nginx has not loaded what the killed run wrote"

    done = deployment.play("configure.yml", "--tags=proxy")

    assert done.changed == ["drydock.registry.registry_proxy : apply | Reload nginx if its files changed"]
    assert 'realm="Another realm"' in deployment.curl("/v2/")
    assert deployment.containers() == before


def test_new_port_needs_no_other_container(deployment: Lifecycle) -> None:
    before = deployment.containers()
    deployment.settings["registry_proxy_https_port"] = 8443
    done = deployment.play("configure.yml", "--tags=proxy")
    assert done.changed == [
        # Ports below 1024 are closed to its account again.
        "drydock.registry.registry_proxy : apply | Let nginx have its ports, and let one nginx take over from another",
        "drydock.registry.registry_proxy : apply | Install the configuration after nginx has checked it",
        "drydock.registry.registry_proxy : apply | Reload nginx if its files changed",
    ]
    assert deployment.status("/v2/", user="stays", port=8443) == 200
    assert deployment.status("/v2/", port=443) == 0
    assert deployment.containers() == before

    # And back, while nobody else has the port.
    del deployment.settings["registry_proxy_https_port"]
    deployment.play("configure.yml", "--tags=proxy")
    assert deployment.status("/v2/", user="stays") == 200


def version(deployment: Lifecycle) -> set[str]:
    """Return what the running registries say of their version."""
    return {deployment.host("docker", "exec", name, "registry", "--version").stdout.split()[-1] for name in REGISTRIES}


def parts(archive: Path) -> dict[str, str]:
    """Return the packages, with their upstream versions, that an image says it is made of."""
    with tarfile.open(archive) as image:
        index = image.extractfile("manifest.json")
        assert index
        (name,) = json.load(index)[0]["Layers"]
        with tarfile.open(fileobj=image.extractfile(name)) as layer:
            member = layer.extractfile("./usr/share/sbom.cdx.json")
            assert member
            return {one["name"]: one["version"].partition("+")[0] for one in json.load(member)["components"]}


def test_downgrade_and_upgrade_keep_the_images(deployment: Lifecycle, pushed: str, older: Path) -> None:
    (newer_version,) = version(deployment)
    assert {"docker-registry": "2.8.2"}.items() <= parts(older).items()
    assert {"ca-certificates", "libc6"} <= set(parts(older))
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

    for key in archive:
        del deployment.settings[key]
    deployment.play("configure.yml", "--tags=server")
    assert version(deployment) == {newer_version}
    assert deployment.pull() == pushed
    assert deployment.containers()["drydock-proxy"] == nginx


def test_an_image_comes_from_a_registry_that_asks_and_logs_go_elsewhere(deployment: Lifecycle, pushed: str) -> None:
    image, folder = f"{ADDRESS}/team/registry:1", "/etc/drydock/docker"
    running = deployment.host("docker", "inspect", "--format={{.Image}}", REGISTRIES[0]).stdout.strip()
    for command in (["tag", running, image], ["push", image], ["rmi", image], ["logout", ADDRESS]):
        deployment.host("docker", *command)
    asks = {"registry_server_image_provider": "pull", "registry_server_image_reference": image}
    deployment.settings |= asks
    assert "no basic auth credentials" in deployment.attempt("configure.yml", "--tags=docker,server").failures[-1]
    # The teardown that follows finds them.
    who = {"username": "stays", "password": deployment.passwords["stays"]}
    deployment.settings["docker_engine_registry_credentials"] = {ADDRESS: who}
    log = {"driver": "local", "options": {"max-size": "5m"}}
    deployment.settings["drydock_container_log"] = log
    assert deployment.play("configure.yml", "--tags=docker,server").roles() >= {"docker_engine", "registry_server"}
    kept = deployment.host("docker", "inspect", "--format={{json .HostConfig.LogConfig}}", REGISTRIES[0]).stdout
    assert json.loads(kept) == {"Type": log["driver"], "Config": log["options"]}
    assert deployment.host("docker", "inspect", "--format={{.Config.Image}}", REGISTRIES[0]).stdout.strip() == image
    assert deployment.host("stat", "--format=%U %a", folder, f"{folder}/config.json").stdout == "root 700\nroot 600\n"
    assert deployment.play("configure.yml", "--tags=docker,server").changed == []
    for key in (*asks, "drydock_container_log"):
        del deployment.settings[key]
    # Root's own login is none of ours.
    assert deployment.login("stays", deployment.passwords["stays"])
    assert deployment.pull() == pushed


def test_teardown_keeps_what_it_is_not_told_to_destroy(deployment: Lifecycle, pushed: str) -> None:
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

    code, said = deployment.last_words("teardown.yml")
    assert code == 0
    assert [
        f"{path}: -e " in said for path in ("/var/lib/drydock/registry", *(str(Path(one).parent) for one in kept[1:]))
    ] == [True] * 4
    assert deployment.host("docker", "ps", "--all", "--quiet").stdout == ""
    assert there(*kept) == set(kept)
    gone = ("/etc/drydock/proxy", "/etc/drydock/registry", "/etc/drydock/server", "/etc/drydock/maintenance")
    assert there(*gone, "/usr/local/lib/drydock", "/etc/systemd/system/drydock-storage.timer") == set()

    deployment.play("configure.yml")
    assert deployment.pull() == pushed
    assert deployment.certificate() == served

    everything = '--extra-vars={"drydock_teardown_destroy": ["data", "users", "tls"]}'
    code, said = deployment.last_words("teardown.yml", everything)
    assert code == 0
    assert there("/var/lib/drydock", "/etc/drydock") == set()
    assert "Kept" not in said
    # What it says that stays is there, and goes as it says.
    for command in (
        "userdel drydock",
        "rm -r /var/cache/drydock",
        "rm -r /var/log/drydock",
        "docker image rm --force $(docker image ls --quiet 'drydock/*' | sort -u)",
    ):
        assert command in said
        deployment.host("sh", "-c", command)
    assert deployment.play("teardown.yml", everything).changed == []
