# SPDX-License-Identifier: GPL-3.0-or-later
"""A rehearsal for tests: started by its playbook, used as a user uses it, and ended by its playbook."""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import functools
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from deployment import lost_workers

ROOT = Path(__file__).parents[2]
INVENTORY = ROOT / "inventories/rehearsal"
STATE = Path("/run/drydock-rehearsal")
AWS_CONFIG = STATE / "aws_config"
LOG = STATE / "aws_api.log"
# Who signs for what stands in for AWS, and the root of the CA that speaks ACME.
STAND_INS_CA = STATE / "ca.crt"
ACME_ROOT = STATE / "acme_root.crt"
REGION = "eu-central-1"
LABEL = "drydock.rehearsal"
# There is one network of this name on a machine, so tests that run side by side take turns.
TURN = Path("/run/lock/drydock-rehearsal-tests")
# A user's own account. If any of it were used, calls would end here, where nobody listens.
ELSEWHERE = "http://127.0.0.1:9"
USERS_AWS_CONFIG = f"""\
[profile prod]
region = us-west-2
endpoint_url = {ELSEWHERE}
aws_access_key_id = AKIAPRODPRODPRODPROD
aws_secret_access_key = of-the-users-own-account
"""


class Rehearsal:
    """What a user has, and what tests look behind with."""

    def __init__(self, folder: Path, inventory: Path = INVENTORY) -> None:
        self.inventory = inventory
        self.credentials = inventory / ".credentials"
        config = folder / "users_aws_config"
        config.write_text(USERS_AWS_CONFIG, encoding="utf-8")
        # As it is for somebody who works with AWS all day.
        self.users_environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_"))},
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "AWS_CONFIG_FILE": str(config),
            "AWS_SHARED_CREDENTIALS_FILE": str(config),
            "AWS_PROFILE": "prod",
            "AWS_REGION": "us-west-2",
            "AWS_DEFAULT_REGION": "us-west-2",
            "AWS_ACCESS_KEY_ID": "AKIAUSERUSERUSERUSER",
            "AWS_SECRET_ACCESS_KEY": "of-the-users-own-account",
            "AWS_SESSION_TOKEN": "of-the-users-own-session",
            "AWS_ENDPOINT_URL": ELSEWHERE,
            "AWS_ENDPOINT_URL_S3": ELSEWHERE,
            "AWS_URL": ELSEWHERE,
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        }

    def _profile(self, name: str) -> configparser.SectionProxy:
        config = configparser.RawConfigParser()
        config.read_string(AWS_CONFIG.read_text(encoding="utf-8"))
        return config[f"profile {name}"]

    @property
    def environment(self) -> dict[str, str]:
        """The deployer's variables, for programs that speak to AWS."""
        profile = self._profile("deployer")
        return {
            "AWS_ENDPOINT_URL": profile["endpoint_url"],
            "AWS_ACCESS_KEY_ID": profile["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": profile["aws_secret_access_key"],
            "AWS_REGION": profile["region"],
            "AWS_DEFAULT_REGION": profile["region"],
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's programs on the rehearsal's inventory; it may fail."""
        return subprocess.run(
            [Path(sys.executable).with_name(program), "-i", self.inventory, *arguments],
            cwd=ROOT,
            env=self.users_environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )

    def play(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook; it may fail."""
        return self.run("ansible-playbook", f"playbooks/{name}", *arguments)

    def start(self) -> str:
        """Start the stand-ins, or find them started; return what the playbook printed."""
        return finished(self.run("ansible-playbook", "rehearsal/start.yml"))

    def stop(self) -> str:
        """End the stand-ins, or find them ended; return what the playbook printed."""
        ask = ["docker", "container", "ls", "--quiet", "--filter=network=drydock-rehearsal"]
        machines = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
        lost = [lines for machine in machines if (lines := lost_workers(machine))]
        said = finished(self.run("ansible-playbook", "rehearsal/stop.yml"))
        assert not lost, f"a signal has ended processes of nginx: {lost}"
        return said

    def _client(self, service: str, key: str, secret: str, token: str | None = None) -> Any:
        return made_client(service, self._profile("deployer")["endpoint_url"], key, secret, token)

    def client(self, service: str, user: str = "deployer") -> Any:
        """Return boto3's client of a service, as the user who deploys."""
        profile = self._profile(user)
        return self._client(service, profile["aws_access_key_id"], profile["aws_secret_access_key"])

    def administrator(self, service: str) -> Any:
        """Return boto3's client of a service, as somebody who may do everything."""
        return self.client(service, "administrator")

    def role_keys(self, instance_id: str) -> dict[str, str]:
        """Return the credentials that an instance gets for its role, as it gets them."""
        folder = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
        command = (
            "token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token);"
            f'ask() {{ curl -sf -H "X-aws-ec2-metadata-token: $token" "$1"; }}; ask {folder}$(ask {folder})'
        )
        found: dict[str, str] = json.loads(self.ssh(instance_id, command).stdout)
        return found

    def role_client(self, instance_id: str, service: str) -> Any:
        """Return boto3's client of a service, with these credentials."""
        found = self.role_keys(instance_id)
        return self._client(service, found["AccessKeyId"], found["SecretAccessKey"], found["Token"])

    def ssh(self, instance_id: str, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on an instance, as the user that its image has; its SSH key is not looked at."""
        (reservation,) = self.administrator("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"]
        (instance,) = reservation["Instances"]
        address = instance.get("PublicIpAddress") or instance["PrivateIpAddress"]
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
        done = subprocess.run(
            [
                *("ssh", "-F", os.devnull, "-i", str(self.credentials / "id_ed25519")),
                *(part for option in options for part in ("-o", option)),
                *(f"admin@{address}", command),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"{shlex.quote(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def api_log(self) -> str:
        """Return what the API and the metadata service were asked so far, a line for each request."""
        return LOG.read_text(encoding="utf-8")

    def containers(self) -> list[str]:
        """Return the names of the containers that are instances."""
        listed = subprocess.run(
            ["docker", "ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return listed.stdout.split()


@functools.cache
def made_client(service: str, endpoint: str, key: str, secret: str, token: str | None) -> Any:
    """Return boto3's client; each new one reads a description of the service, which takes a tenth of a second."""
    session = boto3.session.Session(
        aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token, region_name=REGION
    )
    return session.client(service, endpoint_url=endpoint)


def finished(done: subprocess.CompletedProcess[str]) -> str:
    """Return the output of a run, which has to have succeeded."""
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@contextlib.contextmanager
def rehearsal(inventory: Path = INVENTORY) -> Iterator[Rehearsal]:
    """Start a rehearsal, and end it whatever happens."""
    with TURN.open("w", encoding="utf-8") as turn, tempfile.TemporaryDirectory(prefix="drydock-rehearsal-") as folder:
        fcntl.flock(turn, fcntl.LOCK_EX)
        # The file is locked as long as the API lives: what a rehearsal left whose machine went down stops nobody.
        runs = subprocess.run(
            ["pgrep", "--logpidfile", "--pidfile", STATE / "aws_api.pid"], check=False, capture_output=True
        )
        assert runs.returncode, "A rehearsal runs on this machine; end it before its tests: make rehearsal-down"
        started = Rehearsal(Path(folder), inventory)
        try:
            if STATE.exists():
                started.stop()
            started.start()
            yield started
        finally:
            started.stop()
