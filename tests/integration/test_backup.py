# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is backed up, loses what it has, and gets it back; its client never changes.

One deployed host serves all tests, which run in the order of this file. Its backups lie in a folder of its own, which stands for a disk
that outlives it. What the program decides is tested with it; here restic, systemd, Docker and the playbooks are real.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from deployment import ADDRESS, MANIFEST_TYPE, Deployment, deployed_hosts

REPORT = "/var/lib/drydock/backup/report.json"
# What a host may be that had no registry: an account has the number which the registry's had.
NEW = """
set -e
uid=$(id --user drydock) gid=$(id --group drydock)
rm --recursive --force /etc/drydock /var/lib/drydock /var/log/drydock
userdel drydock
groupadd --gid $gid other
useradd --uid $uid --gid $gid other
"""


class Client:
    """A machine that knows the registry's address, its CA and a password, from the first moment on."""

    def __init__(self, deployment: Deployment, user: str) -> None:
        self._ip = deployment.ip
        self._ca = deployment.folder / "client-ca.crt"
        self._ca.write_text(deployment.host("cat", "/etc/drydock/tls/ca.crt").stdout, encoding="utf-8")
        password = (deployment.folder / f"credentials/{user}.password").read_text(encoding="utf-8").strip()
        self._login = f"{user}:{password}"

    def ask(self, path: str) -> bytes:
        """Return an answer, or nothing where it is none."""
        words = ["curl", "--silent", "--fail", "--cacert", str(self._ca), "--resolve", f"{ADDRESS}:443:{self._ip}"]
        words += ["--user", self._login, "--header", f"Accept: {MANIFEST_TYPE}", f"https://{ADDRESS}/v2/{path}"]
        return subprocess.run(words, capture_output=True, check=False).stdout

    def pull(self, name: str) -> list[bytes]:
        """Return an image's manifest and its blobs, or nothing."""
        repository, tag = name.split(":")
        manifest = self.ask(f"{repository}/manifests/{tag}")
        if not manifest:
            return []
        document = json.loads(manifest)
        digests = [one["digest"] for one in (document["config"], *document["layers"])]
        return [manifest, *(self.ask(f"{repository}/blobs/{one}") for one in digests)]


class BackedUp(Deployment):
    """A registry whose host is backed up."""

    def push(self, name: str) -> None:
        """Push an image of 256 KiB that cannot be made smaller."""
        make = "mkdir -p /srv/image && head --bytes=256K /dev/urandom > /srv/image/data && tar --create --directory /srv/image data"
        self.host("sh", "-c", f"{make} | docker import - {ADDRESS}/{name} && docker push --quiet {ADDRESS}/{name}")

    def ask(self, *command: str, **settings: Any) -> tuple[int, dict[str, Any]]:
        """Run the program, with some settings changed; returns its exit status and its answer."""
        document = json.loads(self.host("cat", "/etc/drydock/backup/backup.json").stdout)
        self.host("sh", "-c", "cat > /srv/backup.json", stdin=json.dumps({**document, **settings}))
        done = self.host("drydock-backup", "--config", "/srv/backup.json", *command, check=False)
        return done.returncode, json.loads(done.stdout)

    def answer(self, playbook: str, *options: str) -> dict[str, Any]:
        """Run a playbook, and return what it says of the host."""
        path = self.folder / "answer.json"
        self.play(playbook, "-e", f"drydock_backup_json={path}", *options)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))[ADDRESS]
        return found

    def status_of_backups(self) -> tuple[dict[str, Any], list[str]]:
        """Return what the status says of backups, and what is wrong with them."""
        path = self.folder / "status.json"
        self.attempt("status.yml", "-e", f"drydock_status_json={path}")
        found = json.loads(path.read_text(encoding="utf-8"))[ADDRESS]
        return found["backup"], [one["message"] for one in found["problems"] if one["about"] == "backup"]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    """Start a host with two images; one user's password is generated."""
    made = BackedUp("backup", tmp_path_factory.mktemp("backup"))
    made.settings["registry_auth_users"] = [
        {"name": "admin", "password": "the-admin", "access": "admin"},
        {"name": "ci", "access": "pull"},
    ]
    with deployed_hosts(made):
        # The image's own files lie in a lower layer, whose folders an overlay does not rename.
        made.host("sh", "-c", "rm --recursive /var/lib/drydock/registry/docker; mkdir /mnt/backup")
        made.play("configure.yml", "--tags=users,maintenance")
        made.host("install", "-D", "/etc/drydock/tls/ca.crt", f"/etc/docker/certs.d/{ADDRESS}/ca.crt")
        assert made.login("admin", "the-admin")
        made.push("team/app:1")
        made.push("team/other:1")
        yield made


@pytest.fixture(scope="module")
def client(deployment: BackedUp) -> Client:
    """Provide the client, as it is from the beginning."""
    return Client(deployment, "ci")


@pytest.fixture(scope="module")
def images(client: Client) -> dict[str, list[bytes]]:
    """Return the images as they were at first."""
    return {name: client.pull(name) for name in ("team/app:1", "team/other:1")}


def test_a_second_backup_copies_only_what_is_new(deployment: BackedUp, images: dict[str, list[bytes]]) -> None:
    assert all(len(image) == 3 for image in images.values())
    assert deployment.status_of_backups()[1] == [f"{ADDRESS} was never backed up: run playbooks/backup.yml."]
    first = deployment.answer("backup.yml")
    assert first["problems"] == []
    assert first["added"] > 2 * 256 * 1024
    deployment.push("team/app:2")
    status, second = deployment.ask("run")
    assert (status, second["problems"]) == (0, [])
    assert 256 * 1024 < second["added"] < 2 * 256 * 1024
    for timer in ("drydock-backup.timer", "drydock-drill.timer"):
        assert deployment.host("systemctl", "is-active", timer).stdout.strip() == "active"
    assert deployment.play("configure.yml", "--tags=maintenance").changed == []
    # As its timer does it.
    deployment.host("systemctl", "start", "drydock-backup.service")
    noted, wrong = deployment.status_of_backups()
    assert (noted["backup"]["problems"], wrong) == ([], [])
    assert noted["backup"]["added"] < 256 * 1024


def test_a_backup_that_is_killed_is_completed_by_the_next(deployment: BackedUp) -> None:
    kill = "systemctl start --no-block drydock-backup && sleep {} && systemctl kill --signal=KILL drydock-backup"
    for number, seconds in enumerate((0.1, 0.4, 0.8, 1.5), 3):
        deployment.push(f"team/app:{number}")
        deployment.host("sh", "-c", kill.format(seconds), check=False)
    status, answer = deployment.ask("run")
    assert (status, answer["problems"]) == (0, [])
    check = "RESTIC_PASSWORD_FILE=/etc/drydock/backup/restic.password restic --repo /mnt/backup check --read-data"
    assert "no errors were found" in deployment.host("sh", "-c", check).stdout


def test_what_keeps_a_backup_from_being_made_is_one_sentence(deployment: BackedUp) -> None:
    deployment.host(
        "sh", "-c", "echo wrong > /srv/wrong; mkdir /mnt/small; mount -t tmpfs -o size=300k tmpfs /mnt/small"
    )
    for settings, exit_status, sentence in (
        ({"password_file": "/srv/wrong"}, 2, "registry_backup_password is not the password of /mnt/backup"),
        ({"repository": "/mnt/small"}, 3, "/mnt/small is full: make room"),
        ({"repository": "/mnt/absent"}, 3, "/mnt/absent is no folder"),
    ):
        status, answer = deployment.ask("run", **settings)
        assert (status, sentence in answer["error"]) == (exit_status, True), answer
    # A backup of another deployment.
    status, answer = deployment.ask("fetch", "/srv/other", host="registry2.test")
    assert (status, f"no backup of registry2.test, but of {ADDRESS}" in answer["error"]) == (3, True), answer
    assert any("The last attempt to back" in one for one in deployment.status_of_backups()[1])


def test_the_drill_pulls_from_a_registry_of_its_own(deployment: BackedUp) -> None:
    answer = deployment.answer("restore_drill.yml")
    assert answer["problems"] == []
    assert answer["checked"]["pulled"] == {"images": 7, "parts": 21}
    left = deployment.host("sh", "-c", "docker ps --all --format '{{.Names}}'; ls /var/lib/drydock/backup").stdout
    assert "drill" not in left
    assert deployment.status_of_backups()[0]["drill"]["checked"] == answer["checked"]


def test_a_tag_comes_back_from_a_time(deployment: BackedUp, client: Client, images: dict[str, list[bytes]]) -> None:
    first = deployment.ask("list")[1]["snapshots"][0]["time"]
    deployment.push("team/app:1")
    assert client.pull("team/app:1") != images["team/app:1"]
    deployment.host("drydock-storage", "delete", "--tag", "team/app:1", "--apply")
    assert client.pull("team/app:1") == []
    options = ("-e", "drydock_restore_tags=team/app:1", "-e", f"drydock_restore_at={first}")
    deployment.play("restore.yml", *options)
    assert client.pull("team/app:1") == images["team/app:1"]
    assert len(client.pull("team/app:2")) == 3


def test_newer_images_are_replaced_only_where_that_is_said(
    deployment: BackedUp, client: Client, images: dict[str, list[bytes]]
) -> None:
    deployment.push("team/app:newer")
    (sentence,) = deployment.attempt("restore.yml").failures
    assert f"{ADDRESS} has a registry already: `-e drydock_restore_over={ADDRESS}` replaces" in sentence
    assert len(client.pull("team/app:newer")) == 3
    deployment.play("restore.yml", "-e", f"drydock_restore_over={ADDRESS}")
    assert client.pull("team/app:newer") == []
    assert {name: client.pull(name) for name in images} == images


def test_a_clean_host_becomes_the_registry_that_was(
    deployment: BackedUp, client: Client, images: dict[str, list[bytes]]
) -> None:
    deployment.play("teardown.yml", "--extra-vars", '{"drydock_teardown_destroy": ["data", "users", "tls"]}')
    left = deployment.host("sh", "-c", "find /etc /usr/local /var/lib/drydock -path '*drydock*' || true").stdout
    assert "backup" not in left
    assert "drill" not in left
    assert "controller" not in left
    deployment.host("sh", "-c", NEW)
    # The controller is a new one, too: there are the inventory and the backup.
    shutil.rmtree(deployment.folder / "credentials")
    deployment.play("restore.yml")
    assert {name: client.pull(name) for name in images} == images
    # And it is backed up again, into the same repository.
    status, answer = deployment.ask("run")
    assert (status, answer["problems"]) == (0, [])
    assert answer["added"] < 256 * 1024
    assert deployment.host("stat", "--format", "%a", REPORT).stdout.strip() == "600"
