# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage of a host that serves: counted, tidied by rules, collected while clients pull, checked, and brought back.

One deployed host serves all tests, which run in the order of this file. Docker on the host is the client that pushes. What the program
decides is tested with it; here it is run by its timer, by its command and by the playbooks.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from ssl import create_default_context
from typing import Any

import pytest
from deployment import ADDRESS, MANIFEST_TYPE, ROOT, Deployment, deployed_hosts, digest
from load import Ask, under_load

STORAGE = "/var/lib/drydock/registry/docker/registry/v2"
REPORT = "/var/lib/drydock/maintenance/report.json"


class Storage(Deployment):
    """A registry whose storage is looked after."""

    def push(self, *names: str) -> None:
        """Push an image of its own under each name."""
        for name in names:
            make = f"mkdir -p /srv/image && echo {name} > /srv/image/name && tar --create --directory /srv/image name"
            self.host("sh", "-c", f"{make} | docker import - {ADDRESS}/{name} && docker push --quiet {ADDRESS}/{name}")

    def pull(self, name: str) -> str:
        """Pull an image anew; return its digest."""
        self.host("docker", "rmi", "--force", f"{ADDRESS}/{name}", check=False)
        return digest(self.host("docker", "pull", f"{ADDRESS}/{name}").stdout)

    def tags(self, repository: str) -> list[str]:
        """Ask the registry for the tags of a repository."""
        url = f"https://{ADDRESS}/v2/{repository}/tags/list"
        said = self.host("curl", "--silent", "--user", "admin:the-admin", "--cacert", "/etc/drydock/tls/ca.crt", url)
        found: list[str] = json.loads(said.stdout).get("tags") or []
        return sorted(found)

    def ask(self, *command: str) -> dict[str, Any]:
        """Run the program by its command on the host."""
        found: dict[str, Any] = json.loads(self.host("drydock-storage", "--json", *command).stdout)
        return found

    def pulled(self) -> dict[str, dict[str, int]]:
        """Ask how often tags were pulled in this month, of those that were."""
        of = self.ask("report")["pulls"]["repositories"]
        return {name: {tag: said["this_month"] for tag, said in one["tags"].items()} for name, one in of.items()}

    def blobs(self) -> int:
        """Count the blobs on the disk."""
        return int(self.host("sh", "-c", f"find {STORAGE}/blobs -name data | wc -l").stdout)

    def apply(self, playbook: str, *options: str) -> dict[str, Any]:
        """Run a playbook that changes the storage; return what it says."""
        path = self.folder / "answer.json"
        done = self.play(playbook, "-e", "drydock_storage_apply=true", "-e", f"drydock_storage_json={path}", *options)
        assert done.roles() == {"registry_maintenance"}
        answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))[ADDRESS]
        assert answer["applied"]
        return answer


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Start a host with three images of one repository and one of another."""
    made = Storage("storage", tmp_path_factory.mktemp("storage"))
    made.settings["registry_auth_users"] = [{"name": "admin", "password": "the-admin", "access": "admin"}]
    with deployed_hosts(made):
        # The image's own files lie in a lower layer, whose folders an overlay does not rename.
        made.host("rm", "--recursive", "/var/lib/drydock/registry/docker")
        made.play("configure.yml", "--tags=users,maintenance")
        made.host("install", "-D", "/etc/drydock/tls/ca.crt", f"/etc/docker/certs.d/{ADDRESS}/ca.crt")
        assert made.login("admin", "the-admin")
        made.push("team/app:1", "team/app:2", "team/app:3", "team/other:1")
        yield made


def test_the_timer_counts_and_takes_nothing_that_is_needed(deployment: Storage) -> None:
    assert deployment.host("systemctl", "is-active", "drydock-storage.timer").stdout.strip() == "active"
    deployment.pull("team/app:2")
    # With all that the unit keeps from it.
    deployment.host("systemctl", "start", "drydock-storage.service")
    report = json.loads(deployment.host("cat", REPORT).stdout)
    # What a run has tried out leaves folders.
    tags = {name: one["tags"] for name, one in report["repositories"].items() if one["tags"]}
    assert tags == {"team/app": 3, "team/other": 1}
    assert deployment.host("stat", "--format", "%U %a", REPORT).stdout.split() == ["drydock", "640"]
    assert deployment.tags("team/app") == ["1", "2", "3"]
    path = deployment.folder / "status.json"
    deployment.play("status.yml", "-e", f"drydock_status_json={path}")
    status = json.loads(path.read_text(encoding="utf-8"))[ADDRESS]
    assert status["maintenance"]["totals"] == report["totals"]
    assert status["maintenance"]["timer"]["service_result"] == "success"
    # It has read what nginx had noted, which stays known.
    assert deployment.pulled() == {"team/app": {"2": 1}}


def test_rules_are_a_plan_until_they_are_applied(deployment: Storage) -> None:
    plan = deployment.ask("retention")
    assert [(one["repository"], one["tag"]) for one in plan["tags"]] == [("team/app", "1")]
    assert deployment.tags("team/app") == ["1", "2", "3"]
    applied = deployment.apply("storage_retention.yml")
    assert applied["tags"] == plan["tags"]
    assert deployment.tags("team/app") == ["2", "3"]


def test_collection_while_clients_pull(deployment: Storage) -> None:
    before = deployment.blobs()
    context = create_default_context(cadata=deployment.host("cat", "/etc/drydock/tls/ca.crt").stdout)
    login = b64encode(b"admin:the-admin").decode()
    headers = {"Accept": MANIFEST_TYPE, "Authorization": f"Basic {login}"}
    asks = [
        Ask(f"GET {name}", "GET", f"/v2/team/{name}", 200, headers, context, kept)
        for name, kept in (("app/manifests/3", True), ("app/manifests/2", False), ("other/manifests/1", True))
    ]
    with under_load(deployment.ip, ADDRESS, asks) as load:
        first = deployment.apply("storage_collect.yml")
        second = deployment.ask("collect", "--apply")
    assert load.failed(idempotent=True) == []
    assert load.asked(idempotent=True) > 50
    assert first["last_check"] == {"asked": 3, "missed": [], "done": True}
    # Each of them is counted, and those of the last check, which asks for each tag, are not.
    counts = {name: count.asked - count.closed for name, count in load.counts.items()}
    assert deployment.pulled() == {
        "team/app": {"3": counts["GET app/manifests/3"], "2": counts["GET app/manifests/2"] + 1},
        "team/other": {"1": counts["GET other/manifests/1"]},
    }
    # The image had a manifest, a configuration and a layer.
    assert len(first["blobs"]) + len(second["blobs"]) == 3
    assert deployment.blobs() == before - 3
    deployment.pull("team/app:3")


def test_what_went_comes_back(deployment: Storage) -> None:
    deployment.apply("storage_undo.yml")
    assert deployment.tags("team/app") == ["1", "2", "3"]
    deployment.pull("team/app:1")


def test_damage_is_named_with_its_images(deployment: Storage) -> None:
    assert deployment.ask("check")["defects"] == []
    manifest = deployment.host("cat", f"{STORAGE}/repositories/team/other/_manifests/tags/1/current/link").stdout
    path = f"{STORAGE}/blobs/sha256/{manifest[7:9]}/{manifest[7:].strip()}/data"
    layer = json.loads(deployment.host("cat", path).stdout)["layers"][0]["digest"].removeprefix("sha256:")
    data = f"{STORAGE}/blobs/sha256/{layer[:2]}/{layer}/data"
    deployment.host("sh", "-c", f"cp --preserve {data} /srv/data && truncate --size=1 {data}")
    done = deployment.attempt("storage_check.yml")
    assert done.returncode == 2
    (sentence,) = done.failures
    assert layer in sentence
    assert "team/other:1" in sentence
    deployment.host("cp", "--preserve", "/srv/data", data)


def test_a_repository_is_deleted_by_hand(deployment: Storage) -> None:
    named = ("-e", "drydock_delete_repositories=team/other")
    assert deployment.play("delete_images.yml", *named).changed == []
    assert deployment.tags("team/other") == ["1"]
    deployment.apply("delete_images.yml", *named)
    assert deployment.tags("team/other") == []


def test_each_change_of_the_storage_has_a_line_in_the_audit_log(deployment: Storage) -> None:
    text = deployment.host("sh", "-c", "cat /var/log/drydock/audit-*.log").stdout
    lines = [json.loads(line) for line in text.splitlines() if line]
    runs = [line for line in lines if "address" not in line and line["event"] != "users"]
    # The timer's own collection found nothing to take, and neither has a plan.
    events = ["collect", "retention", "collect", "collect", "undo", "delete"]
    assert [line["event"] for line in runs] == events
    assert runs[0]["user"] == "drydock-storage.timer"
    assert (runs[1]["tags"], runs[1]["status"], runs[5]["images"]) == (1, 0, 1)


def test_nothing_to_delete_and_rules_that_are_none_are_refused(deployment: Storage, tmp_path: Path) -> None:
    (sentence,) = deployment.attempt("delete_images.yml").failures
    assert sentence.startswith("Nothing names what to delete: write drydock_delete_tags")
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"registry_maintenance_retention": [{"keep_newest": 1}]}), encoding="utf-8")
    other = tmp_path / "redis.json"
    other.write_text(json.dumps({"registry_server_config": {"redis": {"addr": "r:6379"}}}), encoding="utf-8")
    applied = ("-e", "drydock_storage_apply=true", "-e", f"@{other}")
    (sentence,) = deployment.attempt("storage_collect.yml", *applied).failures
    assert sentence.startswith("registry_server_config.redis names a Redis that drydock_store does not know")
    (sentence,) = deployment.attempt("storage_report.yml", "-e", f"@{rules}").failures
    assert sentence.startswith("Rule 1 of registry_maintenance_retention has no `repositories`")


def test_a_signature_is_found_and_goes_with_its_image(deployment: Storage) -> None:
    """The commands of docs/signing.md, with the cosign that Debian 13 has."""
    page = (ROOT / "docs/signing.md").read_text(encoding="utf-8")
    commands = page.split("```sh\n")[1].split("```")[0]
    deployment.host("sh", "-c", "apt-get update -qq && apt-get install -qqy --no-install-recommends cosign")
    deployment.push("team/signed:1")
    signed = deployment.pull("team/signed:1")
    names = {"registry.example.com/team-a/app": f"{ADDRESS}/team/signed", "$hex": signed.removeprefix("sha256:")}
    for example, name in names.items():
        assert example in commands
        commands = commands.replace(example, name)
    deployment.host(
        *("env", "--chdir=/srv", "COSIGN_PASSWORD=x", "SSL_CERT_FILE=/etc/drydock/tls/ca.crt"),
        *("sh", "-euc", commands),
    )
    assert deployment.tags("team/signed") == ["1", signed.replace(":", "-") + ".sig"]
    assert deployment.ask("delete", "--apply", "--image", "team/signed:1")["applied"]
    assert deployment.tags("team/signed") == []
