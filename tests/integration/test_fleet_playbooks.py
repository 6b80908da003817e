# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks with inventories that name no host, for a fleet and for tasks of ECS: what they refuse and what they do, without AWS."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_account import ROOT, refusal

AWS = {
    # Nobody listens there: what goes on to AWS fails with other words.
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "of-no-use-elsewhere",
    "AWS_REGION": "eu-central-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
DOMAIN = "registry.example.com"


class Inventory:
    """A copy of one of the collection's inventories."""

    def __init__(self, platform: str, folder: Path) -> None:
        self.folder = shutil.copytree(ROOT / "inventories" / platform, folder / "inventory")
        self.settings = self.folder / "group_vars/all/main.yml"
        self.credentials = self.folder / ".credentials"

    def play(self, playbook: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook; it may fail."""
        variables = {"registry_auth_users": [{"name": "ci"}], **variables}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "AWS_"))}
        return subprocess.run(
            [
                *(Path(sys.executable).with_name("ansible-playbook"), f"--inventory={self.folder}"),
                *(ROOT / "playbooks" / playbook, f"--extra-vars={json.dumps(variables)}"),
            ],
            cwd=ROOT,
            env={**inherited, "ANSIBLE_HOME": str(ROOT / ".ansible"), "ANSIBLE_NOCOLOR": "1", **AWS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Inventory:
    return Inventory("fleet", tmp_path)


def pair(folder: Path) -> dict[str, str]:
    """A certificate for the registry, and the key of another one."""
    for name in ("server", "other"):
        options = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={DOMAIN}")
        subprocess.run(
            [
                *("openssl", "req", "-x509", *options, "-addext", f"subjectAltName=DNS:{DOMAIN}", "-days", "30"),
                *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"),
            ],
            capture_output=True,
            check=True,
        )
    return {
        "certificate": (folder / "server.crt").read_text(encoding="utf-8"),
        "private_key": (folder / "other.key").read_text(encoding="utf-8"),
    }


def test_a_renewed_certificate_with_another_key_is_not_written_for_hosts(fleet: Inventory, tmp_path: Path) -> None:
    done = fleet.play("fleet_users.yml", aws_load_balancer_type="network", registry_tls_provided=pair(tmp_path))
    assert "registry_tls_provided.private_key does not belong to registry_tls_provided.certificate" in refusal(done)


def test_a_certificate_made_of_what_localhost_does_not_have(fleet: Inventory) -> None:
    lookup = "{{ lookup('ansible.builtin.file', inventory_dir ~ '/server.crt') }}"
    provided = {"certificate": lookup, "private_key": "a key"}
    with fleet.settings.open("a", encoding="utf-8") as settings:
        settings.write(f"registry_tls_provided: {json.dumps(provided)}\n")
    said = refusal(fleet.play("fleet_users.yml", aws_load_balancer_type="network"))
    assert "one of them is made of a variable that localhost does not have" in said


@pytest.mark.parametrize("playbook", ["provision.yml", "teardown.yml"])
def test_without_the_bucket_that_hosts_set_themselves_up_from(fleet: Inventory, playbook: str) -> None:
    text = fleet.settings.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("aws_autoscaling_bundle_bucket:")]
    fleet.settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert "aws_autoscaling_bundle_bucket is empty; write the name of" in refusal(fleet.play(playbook))


@pytest.mark.parametrize(("platform", "where"), [("fleet", "alarms in CloudWatch"), ("ecs", "events of the service")])
def test_there_is_no_host_to_report_on(tmp_path: Path, platform: str, where: str) -> None:
    said = refusal(Inventory(platform, tmp_path).play("status.yml"))
    assert "are in no inventory, so there is nothing to look at from here" in said
    assert where in said


@pytest.mark.parametrize("platform", ["fleet", "ecs"])
def test_a_script_for_a_client(tmp_path: Path, platform: str) -> None:
    inventory = Inventory(platform, tmp_path)
    inventory.credentials.mkdir(mode=0o700)
    # As verify.yml leaves it.
    (inventory.credentials / "registry.env").write_text(f"REGISTRY={DOMAIN}\n", encoding="utf-8")
    done = inventory.play("client_script.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert DOMAIN in (inventory.credentials / "client-anybody.sh").read_text(encoding="utf-8")


def test_a_bucket_is_worked_on_once_for_all_that_share_it(fleet: Inventory) -> None:
    another = {"registry_service": {"hosts": {"another": {"ansible_connection": "local"}}}}
    (fleet.folder / "another.yml").write_text(json.dumps(another), encoding="utf-8")
    done = fleet.play("storage_report.yml", aws_storage_bucket="team-images")
    # S3 is away.
    assert len(re.findall("fatal: ", done.stdout)) == 1
    assert "s3" in refusal(done).lower()
    assert (fleet.credentials / "storage/team-images/settings.json").is_file()


def test_no_timer_for_many_hosts_with_one_bucket(tmp_path: Path) -> None:
    inventory = Inventory("prod", tmp_path)
    (inventory.folder / "aws_ec2.yml").unlink()
    hosts = {"registry": {"hosts": {key: {"ansible_connection": "local"} for key in ("one", "two")}}}
    (inventory.folder / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
    said = refusal(inventory.play("storage_report.yml", registry_maintenance_daily=["collect"]))
    assert "registry_maintenance_daily is set for one and for two, whose images are in the same bucket" in said


def test_a_storage_that_nobody_here_knows(fleet: Inventory) -> None:
    elsewhere = {"storage": {"gcs": {"bucket": "images"}}}
    said = refusal(fleet.play("storage_collect.yml", registry_server_config=elsewhere))
    assert "registry_server_config.storage keeps the images in gcs, which drydock_store does not know" in said
