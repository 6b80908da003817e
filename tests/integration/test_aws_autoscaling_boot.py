# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of a fleet that set themselves up: what the role aws_autoscaling produced, run on machines on which nothing is installed.

The user-data is read back from the launch template. The tests run in order: one host lives through all of them.
"""

from __future__ import annotations

import base64
import configparser
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_account import Account, Steps
from aws_machines import REGION, Cloud, Machine, cloud, run
from passlib.hash import bcrypt

BUCKET = "test-fleet-configuration"
PROFILE = "test-fleet"
DOMAIN = "registry.test"
CONTAINERS = ("drydock-proxy", "drydock-registry-a", "drydock-registry-b")
PATIENCE_SECONDS = 240
# As cloud-init does it.
FIRST_BOOT = "chmod 0700 /var/lib/user-data; exec /var/lib/user-data"
TRUSTS_EC2 = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
    }
)
READS_BUCKET = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}],
    }
)
# What an AMI of a company carries, where its network looks into TLS.
COMPANY = Path("/usr/local/share/ca-certificates")
PASSWORDS = {"alice": "of-alice", "bob": "of-bob"}
SHARED_SECRET = "that-all-registries-of-the-fleet-have"
# What only this host has before it becomes an image.
OF_THIS_HOST = (
    "/etc/ssh/ssh_host_ed25519_key",
    "~/.ssh/authorized_keys",
    "/srv/drydock/auth/htpasswd",
    "/srv/drydock/tls/tls.key",
    "/srv/drydock/ca/ca.key",
    "/srv/sockets",
    "/var/lib/drydock",
    "/opt/drydock/state/live.json",
    "/opt/drydock/source.json",
    "/opt/drydock/current",
)
Record = Callable[[str, object], None]


def users(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "password_hash": HASHES[name], "access": "admin"} for name in names]


HASHES = {name: bcrypt.using(rounds=5).hash(password) for name, password in PASSWORDS.items()}


class Fleet:
    """The account with what the role made in it, and its machines."""

    def __init__(self, made: Cloud) -> None:
        self.cloud = made
        self.account = Account(made.endpoint, made.folder)
        administrator = configparser.RawConfigParser()
        administrator.read(made.folder / "administrator")
        profile = administrator["profile administrator"]
        self.account.environment |= {
            "AWS_CA_BUNDLE": str(made.ca),
            "AWS_ACCESS_KEY_ID": profile["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": profile["aws_secret_access_key"],
        }
        self.s3, self.ec2 = made.client("s3"), made.client("ec2")
        self.surroundings()
        self.live: dict[str, Any] = {"registry_auth_users": users("alice")}

    def surroundings(self) -> None:
        """Make the bucket, and a role that may read it."""
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        iam = self.cloud.client("iam")
        iam.create_role(RoleName=PROFILE, AssumeRolePolicyDocument=TRUSTS_EC2)
        iam.put_role_policy(RoleName=PROFILE, PolicyName="read", PolicyDocument=READS_BUCKET)
        iam.create_instance_profile(InstanceProfileName=PROFILE)
        iam.add_role_to_instance_profile(InstanceProfileName=PROFILE, RoleName=PROFILE)
        found = self.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        self.subnets = sorted(subnet["SubnetId"] for subnet in found)
        self.group = self.ec2.create_security_group(
            GroupName="test-fleet", Description="test", VpcId=found[0]["VpcId"]
        )["GroupId"]

    def settings(self) -> dict[str, Any]:
        """Return the role's settings."""
        values = {
            "name": "test",
            "region": REGION,
            "subnet_ids": self.subnets,
            "security_group_ids": [self.group],
            "instance_profile": PROFILE,
            "bundle_bucket": BUCKET,
            "bundle_path": str(self.cloud.folder / "bundle.tar.gz"),
            "endpoint": self.cloud.endpoint,
            "pull_interval_seconds": 5,
            "settings": {
                "drydock_domain": DOMAIN,
                # Elsewhere than by default, so that an image is known to be free of them there.
                "drydock_directory": "/srv/drydock",
                "registry_server_socket_directory": "/srv/sockets",
                "registry_server_http_secret": SHARED_SECRET,
                "registry_server_image_provider": "debian",
                "registry_proxy_image_provider": "debian",
            },
            "live": self.live,
        }
        return {f"aws_autoscaling_{name}": value for name, value in values.items()}

    def call(self, entry: str) -> None:
        """Call an entry point of the role."""
        Steps("aws_autoscaling").run(self.settings(), entry).play(self.account)

    def user_data(self) -> str:
        """Return what instances get."""
        [version] = self.ec2.describe_launch_template_versions(
            LaunchTemplateName="test-registry", Versions=["$Latest"]
        )["LaunchTemplateVersions"]
        return base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()

    def machine(self, name: str, number: int, user_data: str) -> Machine:
        """Start a machine that is an instance, with the certificates of this machine's network."""
        _, machine = self.cloud.instance(name, number, PROFILE, user_data)
        for certificate in COMPANY.glob("*.crt"):
            machine.write(f"{COMPANY}/{certificate.name}", certificate.read_text(encoding="utf-8"))
        machine.run("update-ca-certificates")
        machine.write("/etc/pip.conf", "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
        machine.write("/var/lib/user-data", user_data)
        return machine

    def start_another(self, machine: Machine, number: int, user_data: str) -> None:
        """Start a machine that is switched off as another instance, with the same disk, as from an image of it."""
        address = f"{self.cloud.prefix}.{number}"
        image = self.cloud.client("ssm").get_parameter(Name="/aws/service/debian/release/12/latest/amd64")
        self.ec2.run_instances(
            ImageId=image["Parameter"]["Value"],
            InstanceType="t3.small",
            MinCount=1,
            MaxCount=1,
            SubnetId=self.cloud.subnet,
            PrivateIpAddress=address,
            IamInstanceProfile={"Name": PROFILE},
        )
        run("docker", "network", "disconnect", "--force", self.cloud.network, machine.name)
        run("docker", "network", "connect", "--ip", address, self.cloud.network, machine.name)
        run("docker", "start", machine.name)
        machine.address = address
        machine.run("until systemctl is-active --quiet multi-user.target; do sleep 0.1; done")
        machine.write("/var/lib/user-data", user_data)

    def write_live(self, content: bytes) -> None:
        """Write live.json as no role would."""
        self.s3.put_object(Bucket=BUCKET, Key="live.json", Body=content)


def status(machine: Machine, user: str) -> str:
    """Return what the registry answers to a user."""
    login = f"--user {user}:{PASSWORDS[user]} --resolve {DOMAIN}:443:127.0.0.1 https://{DOMAIN}/v2/"
    command = f"curl --silent --cacert /srv/drydock/tls/ca.crt --output /dev/null --write-out '%{{http_code}}' {login}"
    return machine.run(command, check=False).stdout


def wait_for(machine: Machine, user: str, wanted: str) -> None:
    """Wait until the registry answers so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := status(machine, user)) != wanted:
        assert time.monotonic() < deadline, f"{user} gets {found}:\n{journal(machine)[-3000:]}"
        time.sleep(0.5)


def journal(machine: Machine) -> str:
    return machine.run("journalctl --unit=drydock-pull --no-pager --output=cat").stdout


def wait_until_off(machine: Machine) -> None:
    """Wait until a machine has switched itself off."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while run("docker", "inspect", "--format={{.State.Running}}", machine.name).stdout.strip() == "true":
        assert time.monotonic() < deadline, f"{machine.name} has not switched itself off"
        time.sleep(0.5)


def there(machine: Machine, *paths: str) -> list[str]:
    """Return those of the paths that are there."""
    return machine.run(f"ls -d {' '.join(paths)} 2>/dev/null", check=False).stdout.split()


def ids(machine: Machine) -> list[str]:
    return machine.run(f"docker container inspect --format '{{{{.Id}}}}' {' '.join(CONTAINERS)}").stdout.split()


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with cloud() as made:
        yield Fleet(made)


@pytest.fixture(scope="module")
def host(fleet: Fleet) -> Machine:
    """A machine that becomes an image, and then, with the disk that it is, a host that starts from it."""
    fleet.call("main")
    return fleet.machine("host", 10, fleet.user_data().replace('"bake": false', '"bake": true'))


def test_a_bare_machine_becomes_a_registry_and_then_an_image(host: Machine, record_property: Record) -> None:
    host.run("mkdir -p ~/.ssh && echo ssh-ed25519 AAAA >~/.ssh/authorized_keys")
    # As a machine with a disk has it, that keeps it for good.
    host.run("cat /proc/sys/kernel/random/uuid | tr -d - >/etc/machine-id && cp /etc/machine-id /var/lib/id-before")
    begun = time.monotonic()
    done = host.run(FIRST_BOOT, check=False)
    seconds = round(time.monotonic() - begun)
    said = [line for line in done.stdout.splitlines() if line.startswith("drydock:")]
    assert said == ["drydock: this host is a registry.", "drydock: this host is ready to become an image."], done.stdout
    wait_until_off(host)
    print(f"a bare machine was an image after {seconds} s")
    record_property("seconds from a bare machine to an image", seconds)


def test_a_host_from_the_image_has_nothing_left_to_install(
    fleet: Fleet, host: Machine, record_property: Record
) -> None:
    fleet.start_another(host, 12, fleet.user_data())
    assert there(host, *OF_THIS_HOST) == []
    assert host.run("docker ps --all --quiet").stdout == ""
    assert host.run("cat /etc/machine-id").stdout not in {"", host.run("cat /var/lib/id-before").stdout}
    secrets = f"-e '{HASHES['alice']}' -e {SHARED_SECRET}"
    assert host.run(f"grep -rlF {secrets} /etc /home /opt /root /srv /var", check=False).stdout == ""

    # It reaches the metadata service and S3 and nothing else, some days after it was baked; cloud-init makes its keys.
    gateway = f"{fleet.cloud.prefix}.1"
    host.run(f"ip route add 169.254.169.254 via {gateway} && ip route delete default")
    host.run("find /var/lib/apt/lists /var/lib/apt/periodic -maxdepth 1 -exec touch --date='3 days ago' {} +")
    host.run("ssh-keygen -A; systemctl reset-failed ssh; systemctl restart ssh")
    begun = time.monotonic()
    done = host.run(FIRST_BOOT)
    seconds = round(time.monotonic() - begun)
    assert done.stdout.splitlines()[-1] == "drydock: this host is a registry."
    assert (status(host, "alice"), status(host, "bob")) == ("200", "401")
    assert set(there(host, *OF_THIS_HOST)) == {*OF_THIS_HOST} - {"~/.ssh/authorized_keys"}
    print(f"a host from the image was a registry after {seconds} s")
    record_property("seconds from the image to a registry", seconds)


def test_what_it_keeps_is_for_root_only(host: Machine) -> None:
    found = host.run("find /opt/drydock/bundles /opt/drydock/state -maxdepth 1 -perm /077 ! -type l").stdout.split()
    assert found == []
    assert host.run("stat --format=%a /opt/drydock/source.json").stdout.strip() == "600"


def test_running_it_again_changes_nothing(host: Machine) -> None:
    before = ids(host)
    assert "changed=0" in host.run(FIRST_BOOT).stdout
    assert ids(host) == before


def test_a_user_who_is_added_centrally_may_log_in(fleet: Fleet, host: Machine) -> None:
    before = ids(host)
    fleet.live = {"registry_auth_users": users("alice", "bob")}
    fleet.call("live")
    wait_for(host, "bob", "200")
    assert ids(host) == before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "is no JSON"),
        (
            json.dumps({"format": 1, "variables": {"registry_auth_bcrypt_cost": 5}}).encode(),
            "holds registry_auth_bcrypt_cost, which belongs into settings",
        ),
        (
            json.dumps(
                {"format": 1, "variables": {"registry_auth_users": [{"name": "alice", "access": "any"}]}}
            ).encode(),
            "is not in force",
        ),
    ],
    ids=["no JSON", "a setting", "what the playbook refuses"],
)
def test_what_it_cannot_take_changes_nothing(fleet: Fleet, host: Machine, content: bytes, sentence: str) -> None:
    fleet.write_live(content)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sentence not in journal(host):
        assert time.monotonic() < deadline, journal(host)[-3000:]
        time.sleep(0.5)
    assert (status(host, "alice"), status(host, "bob")) == ("200", "200")


def test_after_a_restart_it_is_there_and_looks_for_changes(fleet: Fleet, host: Machine) -> None:
    run("docker", "restart", "--time=60", host.name)
    wait_for(host, "alice", "200")
    fleet.live = {"registry_auth_users": users("alice")}
    fleet.call("live")
    wait_for(host, "bob", "401")
    assert status(host, "alice") == "200"
    assert host.run("systemctl is-system-running --wait", check=False).stdout.strip() == "running"


def test_what_an_older_bundle_left_goes(host: Machine) -> None:
    host.run("mkdir /opt/drydock/bundles/0123 /opt/drydock/python/0123")
    host.run(FIRST_BOOT)
    left = host.run("ls /opt/drydock/bundles /opt/drydock/python").stdout
    assert "0123" not in left.split()


def test_a_host_that_cannot_become_one_says_why_and_ends(fleet: Fleet, host: Machine) -> None:
    assert host
    user_data = fleet.user_data()
    digest = json.loads(user_data.partition('json.loads(r"""')[2].partition('"""')[0])["bundle"]
    user_data = user_data.replace(digest, "0" * 64).replace('"seconds": 900', '"seconds": 4')
    machine = fleet.machine("lost", 11, user_data)
    # EC2 keeps what is written there.
    machine.run("ln --symbolic --force /var/lib/console /dev/console")
    log = machine.run(FIRST_BOOT, check=False).stdout
    wait_until_off(machine)
    console = fleet.cloud.folder / "console"
    run("docker", "cp", f"{machine.name}:/var/lib/console", str(console))
    for said in (log, console.read_text(encoding="utf-8")):
        assert f"drydock: FAILED: the role {PROFILE} may not read" in said
        assert "or run the playbook that made the fleet again." in said


def test_a_host_that_cannot_store_images_is_none(fleet: Fleet, host: Machine) -> None:
    """Its own health page says so after minutes only, and a load balancer would send clients to it meanwhile."""
    host.write("/var/lib/user-data", fleet.user_data())
    host.run("chmod -R 0555 /var/lib/drydock/registry/docker/registry/v2/repositories/drydock")
    log = host.run(FIRST_BOOT, check=False).stdout
    wait_until_off(host)
    assert "drydock: FAILED: the registry cannot store images, and answers 500" in log
