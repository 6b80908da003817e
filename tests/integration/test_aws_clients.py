# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 instances that come up ready to pull: what the role aws_clients and its playbook make, and what an instance does with it.

One account serves all tests, which run in the order of this file. IAM's policies are enforced in it, the playbook runs as the user
whom the documentation tells to make, and everybody reaches it by TLS only.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import trustme
import yaml
from ansible_collections.drydock.registry.plugins.module_utils._aws_deployer import deployer_policies
from aws_account import ACCOUNT_ID, ROOT, Account, Steps, changed_tasks, changes, refusal
from aws_machines import REGION, Cloud, Machine, cloud
from botocore.exceptions import ClientError
from passlib.hash import bcrypt

PLAYBOOK = ROOT / "playbooks/aws_clients.yml"
NAME = f"prod-clients-registry-{REGION}"
BUCKET = "test-prod-registry-clients"
IMAGES = "test-prod-registry"
POLICY_ARN = f"arn:aws:iam::{ACCOUNT_ID}:policy/{NAME}"
TAGS = {"Name": NAME, "drydock-deployment": "prod-clients", "owner": "platform"}
PASSWORD = "of-the-build-machines"
KMS = ("--extra-vars", "aws_storage_encryption=kms")
REMOVE = ("--extra-vars", "drydock_aws_clients_remove=true")
METADATA = "http://169.254.169.254/latest"
TRUSTS_EC2 = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
    }
)
# As cloud-init does it.
FIRST_BOOT = f"""
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {METADATA}/api/token)
curl -sf -H "X-aws-ec2-metadata-token: $token" {METADATA}/user-data >/var/lib/user-data
chmod 0700 /var/lib/user-data
exec /var/lib/user-data
"""
REGISTRY_CONFIG = """\
version: 0.1
storage: {filesystem: {rootdirectory: /srv/images}}
auth: {htpasswd: {realm: test, path: /srv/htpasswd}}
http: {addr: ":5000", tls: {certificate: /srv/server.pem, key: /srv/server.pem}}
"""
START_REGISTRY = """
apt-get -q update
apt-get install -qy --no-install-recommends docker-registry
systemctl stop docker-registry
systemd-run --unit=test-registry docker-registry serve /srv/config.yml
"""


class Deployment:
    """The account, the controller, and a registry in the network of the instances."""

    def __init__(self, made: Cloud) -> None:
        self.cloud = made
        self.credentials = made.folder / "credentials"
        self.user_data_path = self.credentials / "aws_client.user-data"
        self.registry = f"{made.prefix}.5:5000"
        self.account = Account(made.endpoint, made.folder)
        self.account.environment |= {"AWS_CA_BUNDLE": str(made.ca), **self._deployer()}

    def _deployer(self) -> dict[str, str]:
        iam = self.cloud.client("iam")
        iam.create_user(UserName="deployer")
        # With a key, as one of the deployments has one.
        made = deployer_policies("ec2", {"images": IMAGES, "clients": f"{IMAGES}-clients"}, parts=["clients", "kms"])
        for name, policy in made.items():
            arn = iam.create_policy(PolicyName=f"deployer-{name}", PolicyDocument=json.dumps(policy))["Policy"]["Arn"]
            iam.attach_user_policy(UserName="deployer", PolicyArn=arn)
        key = iam.create_access_key(UserName="deployer")["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def configure(self, ca: trustme.CA) -> None:
        """Write the inventory, and what a deployed registry leaves on the controller."""
        self.credentials.mkdir()
        (self.credentials / "registry.env").write_text(f"REGISTRY={self.registry}\n", encoding="utf-8")
        (self.credentials / "ci.password").write_text(PASSWORD, encoding="utf-8")
        ca.cert_pem.write_to_path(self.credentials / "ca.crt")
        variables = {
            "drydock_deployment": "prod",
            "drydock_region": REGION,
            "drydock_tags": {"owner": "platform"},
            "drydock_credentials_directory": str(self.credentials),
            "aws_clients_bucket": BUCKET,
            "aws_clients_endpoint": self.cloud.endpoint,
            "aws_clients_docker_enabled": True,
            "aws_clients_wait_seconds": 8,
            "registry_client_username": "ci",
        }
        folder = self.cloud.folder / "group_vars"
        folder.mkdir()
        (folder / "all.yml").write_text(f"---\n{yaml.safe_dump(variables)}", encoding="utf-8")

    def play(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the playbook; it may fail."""
        return self.account.run_playbook(PLAYBOOK, *arguments)

    @property
    def user_data(self) -> str:
        """The generated user-data."""
        return self.user_data_path.read_text(encoding="utf-8")

    def things(self) -> list[str]:
        """Return the names of everything that the playbook could have made."""
        iam = self.cloud.client("iam")
        return [
            *(bucket["Name"] for bucket in self.cloud.client("s3").list_buckets()["Buckets"]),
            *(role["RoleName"] for role in iam.list_roles()["Roles"]),
            *(profile["InstanceProfileName"] for profile in iam.list_instance_profiles()["InstanceProfiles"]),
            *(
                each["PolicyName"]
                for each in iam.list_policies(Scope="Local")["Policies"]
                if not each["PolicyName"].startswith("deployer")
            ),
        ]

    def start_registry(self, ca: trustme.CA) -> Machine:
        """Run Debian's registry with TLS and a user."""
        machine = self.cloud.machine("registry", 5)
        server = ca.issue_cert(machine.address)
        pem = b"".join(part.bytes() for part in (*server.cert_chain_pems, server.private_key_pem)).decode()
        for name, text in {
            "server.pem": pem,
            "htpasswd": f"ci:{bcrypt.using(rounds=5).hash(PASSWORD)}\n",
            "config.yml": REGISTRY_CONFIG,
        }.items():
            machine.write(f"/srv/{name}", text)
        machine.run(START_REGISTRY)
        return machine


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with cloud() as made:
        yield Deployment(made)


@pytest.fixture(scope="module")
def registry(deployment: Deployment) -> Iterator[Future[Machine]]:
    ca = trustme.CA()
    deployment.configure(ca)
    # Its packages are fetched meanwhile.
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(deployment.start_registry, ca)


@pytest.fixture(scope="module")
def instance(deployment: Deployment, registry: Future[Machine]) -> tuple[str, Machine]:
    registry.result()
    return deployment.cloud.instance("ready", 10, NAME, deployment.user_data)


def named(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


@pytest.mark.usefixtures("registry")
class TestDeployment:
    """From an empty account to a second run."""

    def test_a_dry_run_in_an_empty_account_says_what_it_would_make(self, deployment: Deployment) -> None:
        done = deployment.play("--check")
        assert changes(done)
        said = " ".join(done.stdout.split())
        assert f"make the bucket {BUCKET}" in said
        assert f"write the script to s3://{BUCKET}/client" in said
        assert deployment.things() == []
        assert not deployment.user_data_path.exists()

    def test_it_makes_a_bucket_a_role_and_user_data(self, deployment: Deployment) -> None:
        changes(deployment.play())
        assert deployment.things() == [BUCKET, NAME, NAME, NAME]
        s3, iam = deployment.cloud.client("s3"), deployment.cloud.client("iam")

        policy = iam.get_policy(PolicyArn=POLICY_ARN)["Policy"]
        document = iam.get_policy_version(PolicyArn=POLICY_ARN, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
        assert document["Document"]["Statement"] == [
            {
                "Sid": "ReadScript",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{BUCKET}/client",
                "Condition": {"StringEquals": {"aws:ResourceAccount": ACCOUNT_ID}},
            }
        ]
        role = iam.get_role(RoleName=NAME)["Role"]
        trust = role["AssumeRolePolicyDocument"]["Statement"]
        assert [(each["Effect"], each["Action"], each["Principal"]) for each in trust] == [
            ("Allow", "sts:AssumeRole", {"Service": "ec2.amazonaws.com"})
        ]
        attached = iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]
        assert [each["PolicyArn"] for each in attached] == [POLICY_ARN]
        profile = iam.get_instance_profile(InstanceProfileName=NAME)["InstanceProfile"]
        assert [each["RoleName"] for each in profile["Roles"]] == [NAME]
        assert [named(each["Tags"]) for each in (policy, role, profile)] == [TAGS] * 3

        found = s3.get_object(Bucket=BUCKET, Key="client")
        assert found["ServerSideEncryption"] == "AES256"
        assert found["Body"].read().startswith(b"#!/bin/sh\n")
        assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())
        assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"

    def test_user_data_holds_no_secret_and_fits(self, deployment: Deployment) -> None:
        script = deployment.cloud.client("s3").get_object(Bucket=BUCKET, Key="client")["Body"].read().decode()
        # No line that says something of the one stands in the other.
        said = {line for line in script.splitlines() if len(line) > 20}
        assert not said & set(deployment.user_data.splitlines())
        assert PASSWORD not in deployment.user_data
        # EC2's limit.
        assert len(deployment.user_data.encode()) < 16 * 1024

    def test_a_second_run_changes_nothing(self, deployment: Deployment) -> None:
        done = deployment.play()
        assert changes(done) == 0, changed_tasks(done)


class TestInstance:
    """What an instance does with it."""

    def test_it_comes_up_ready_to_pull(self, deployment: Deployment, instance: tuple[str, Machine]) -> None:
        _, machine = instance
        done = machine.run(FIRST_BOOT, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert done.stdout.splitlines()[-1] == "drydock: this instance is ready to pull."
        image = f"{deployment.registry}/team/image:1"
        machine.run(f"tar -C /etc -c hostname | docker import - {image}; docker push {image}; docker rmi {image}")
        machine.run(f"docker pull {image}")

        assert PASSWORD not in done.stdout + done.stderr
        assert machine.run("ls -d /run/drydock-* 2>&1 || :").stdout.startswith("ls: cannot access")

    def test_user_data_may_run_again(self, deployment: Deployment, instance: tuple[str, Machine]) -> None:
        _, machine = instance
        listing = "find /etc/docker ~/.docker -type f -exec sha256sum {} +"
        before = machine.run(listing).stdout
        machine.run("/var/lib/user-data")
        assert machine.run(listing).stdout == before
        machine.run(f"docker rmi {deployment.registry}/team/image:1; docker pull {deployment.registry}/team/image:1")

    def test_its_role_reads_that_object_and_nothing_else(
        self, deployment: Deployment, instance: tuple[str, Machine]
    ) -> None:
        _, machine = instance
        folder = f"{METADATA}/meta-data/iam/security-credentials"
        token = f"$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {METADATA}/api/token)"
        answer = machine.run(f'curl -sf -H "X-aws-ec2-metadata-token: {token}" {folder}/{NAME}').stdout
        keys = json.loads(answer)
        everything = deployment.cloud.client("s3")
        everything.put_object(Bucket=BUCKET, Key="client2", Body=b"of others")
        everything.create_bucket(Bucket=IMAGES, CreateBucketConfiguration={"LocationConstraint": REGION})
        everything.put_object(Bucket=IMAGES, Key="client", Body=b"of others")

        def client(service: str) -> Any:
            return deployment.cloud.client(service, keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"])

        s3 = client("s3")
        assert s3.get_object(Bucket=BUCKET, Key="client")["Body"].read().startswith(b"#!")
        for call in (
            lambda: s3.get_object(Bucket=BUCKET, Key="client2"),
            lambda: s3.get_object(Bucket=BUCKET, Key="clien"),
            lambda: s3.get_object(Bucket=IMAGES, Key="client"),
            lambda: s3.list_objects_v2(Bucket=BUCKET),
            lambda: s3.list_object_versions(Bucket=BUCKET),
            lambda: s3.put_object(Bucket=BUCKET, Key="client", Body=b"#!/bin/sh\n"),
            lambda: s3.delete_object(Bucket=BUCKET, Key="client"),
            lambda: s3.get_bucket_policy(Bucket=BUCKET),
            s3.list_buckets,
            lambda: client("ec2").describe_instances(),
            lambda: client("iam").get_role(RoleName=NAME),
            lambda: client("sts").assume_role(
                RoleArn=f"arn:aws:iam::{ACCOUNT_ID}:role/{NAME}", RoleSessionName="again"
            ),
        ):
            with pytest.raises(ClientError) as error:
                call()
            assert error.value.response["Error"]["Code"] in {"AccessDenied", "UnauthorizedOperation"}, error.value
        everything.delete_object(Bucket=BUCKET, Key="client2")
        everything.delete_object(Bucket=IMAGES, Key="client")
        everything.delete_bucket(Bucket=IMAGES)

    def test_one_without_the_profile_says_so_and_changes_nothing(self, deployment: Deployment) -> None:
        made = deployment.cloud
        instance_id, machine = made.instance("bare", 11, "", deployment.user_data)
        done = machine.run(FIRST_BOOT, check=False)
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1] == (
            f"drydock: FAILED: this instance has no role: give it the instance profile {NAME}."
        )

        # A role that is good for something else.
        iam = made.client("iam")
        iam.create_role(RoleName="other", AssumeRolePolicyDocument=TRUSTS_EC2)
        iam.create_instance_profile(InstanceProfileName="other")
        iam.add_role_to_instance_profile(InstanceProfileName="other", RoleName="other")
        association = made.client("ec2").associate_iam_instance_profile(
            InstanceId=instance_id, IamInstanceProfile={"Name": "other"}
        )["IamInstanceProfileAssociation"]["AssociationId"]
        done = machine.run("/var/lib/user-data", check=False)
        assert done.returncode == 1
        assert "drydock: FAILED: the role other may not read" in done.stdout
        assert machine.run("ls -d /etc/docker ~/.docker /run/drydock-* 2>&1 || :").stdout.count("cannot access") == 3

        made.client("ec2").disassociate_iam_instance_profile(AssociationId=association)
        iam.remove_role_from_instance_profile(InstanceProfileName="other", RoleName="other")
        iam.delete_instance_profile(InstanceProfileName="other")
        iam.delete_role(RoleName="other")

    def test_one_that_gets_its_profile_late_waits_for_it(
        self, deployment: Deployment, instance: tuple[str, Machine]
    ) -> None:
        instance_id, machine = instance
        ec2 = deployment.cloud.client("ec2")
        (found,) = ec2.describe_iam_instance_profile_associations(
            Filters=[{"Name": "instance-id", "Values": [instance_id]}]
        )["IamInstanceProfileAssociations"]
        ec2.disassociate_iam_instance_profile(AssociationId=found["AssociationId"])
        with subprocess.Popen(
            ["docker", "exec", machine.name, "/var/lib/user-data"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("drydock: not yet: this instance has no role")
            ec2.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile={"Name": NAME})
            assert process.stdout.read().splitlines()[-1] == "drydock: this instance is ready to pull."
        assert process.returncode == 0


class TestChange:
    """What others changed, and what the user changes."""

    def test_drift_is_put_right_and_a_kms_key_is_used(self, deployment: Deployment) -> None:
        s3, iam = deployment.cloud.client("s3"), deployment.cloud.client("iam")
        script = (deployment.credentials / "aws_client").read_bytes()
        assert s3.get_object(Bucket=BUCKET, Key="client")["Body"].read() == script
        s3.put_object(Bucket=BUCKET, Key="client", Body=b"#!/bin/sh\necho of somebody else\n")
        iam.attach_role_policy(RoleName=NAME, PolicyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess")

        assert changes(deployment.play(*KMS))
        found = s3.get_object(Bucket=BUCKET, Key="client")
        key = deployment.cloud.client("kms").describe_key(KeyId="alias/prod-clients-registry")["KeyMetadata"]["Arn"]
        assert (found["Body"].read(), found["ServerSideEncryption"], found["SSEKMSKeyId"]) == (script, "aws:kms", key)
        attached = iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]
        assert [each["PolicyArn"] for each in attached] == [POLICY_ARN]
        version = iam.get_policy(PolicyArn=POLICY_ARN)["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=POLICY_ARN, VersionId=version)["PolicyVersion"]["Document"]
        assert document["Statement"][1] == {
            "Sid": "UseKeyThroughBucket",
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": key,
            "Condition": {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}},
        }
        done = deployment.play(*KMS)
        assert changes(done) == 0, changed_tasks(done)


class TestRefusal:
    """What is refused, with one sentence each, before anything changes."""

    def test_settings_that_lead_nowhere(self, deployment: Deployment) -> None:
        iam, s3 = deployment.cloud.client("iam"), deployment.cloud.client("s3")
        iam.create_instance_profile(InstanceProfileName=f"theirs-registry-{REGION}")
        s3.create_bucket(Bucket=IMAGES, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_tagging(Bucket=IMAGES, Tagging={"TagSet": [{"Key": "drydock-deployment", "Value": "prod"}]})
        no_script = deployment.cloud.folder / "no_script"
        no_script.write_text("just text\n", encoding="utf-8")
        before = deployment.things()
        steps = Steps("aws_clients")
        for settings in (
            {"aws_clients_bucket": ""},
            {"aws_clients_bucket": "Not_A_Bucket"},
            {"aws_clients_bucket": "of-another-account"},
            {"aws_clients_bucket": IMAGES},
            {"aws_clients_name": "theirs"},
            {"aws_clients_region": ""},
            {
                "aws_clients_endpoint": "http://s3.example.com",
                "aws_clients_object": "/client",
                "aws_clients_wait_seconds": 0,
            },
            {"aws_clients_script_path": "/nowhere/client"},
            {"aws_clients_script_path": str(no_script)},
            {"aws_clients_permissions_boundary": "boundary", "aws_clients_path": "services"},
        ):
            steps.refused(settings)
        for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            del deployment.account.environment[variable]
        changes(steps.play(deployment.account))
        said = [steps.refusal(number) for number in range(10)]

        assert "aws_clients_bucket is not set" in said[0]
        assert "aws_clients_bucket (Not_A_Bucket)" in said[1]
        assert "taken by another AWS account" in said[2]
        assert "write another aws_clients_bucket" in said[2]
        assert f"The bucket {IMAGES} belongs to the deployment prod" in said[3]
        assert f"an instance profile theirs-registry-{REGION} that is not this deployment's" in said[4]
        assert "write another aws_clients_name" in said[4]
        assert "No AWS region is set: write drydock_region" in said[5]
        for setting in ("aws_clients_endpoint", "aws_clients_object", "aws_clients_wait_seconds"):
            assert setting in said[6]
        assert "There is no script /nowhere/client" in said[7]
        assert "does not begin with #!" in said[8]
        assert "just text" not in said[8]
        assert "aws_clients_permissions_boundary" in said[9]
        assert "aws_clients_path" in said[9]
        assert not any("aws_identity" in each or "aws_storage" in each for each in said)
        assert deployment.things() == before
        iam.delete_instance_profile(InstanceProfileName=f"theirs-registry-{REGION}")
        s3.delete_bucket(Bucket=IMAGES)

    def test_a_registry_without_an_address(self, deployment: Deployment) -> None:
        assert "registry_client_address" in refusal(deployment.play(*KMS, "--extra-vars", "registry_client_address="))


class TestRemoval:
    """What goes, and what stays."""

    def test_what_others_keep_in_the_bucket_is_not_destroyed(self, deployment: Deployment) -> None:
        s3 = deployment.cloud.client("s3")
        s3.put_object(Bucket=BUCKET, Key="theirs", Body=b"of others")
        before = deployment.things()
        said = refusal(deployment.play(*REMOVE))
        assert f"The bucket {BUCKET} was made for the script of clients and also holds theirs" in said
        assert deployment.things() == before
        s3.delete_object(Bucket=BUCKET, Key="theirs")

    def test_all_of_it_goes(self, deployment: Deployment) -> None:
        before = deployment.things()
        assert changes(deployment.play(*REMOVE, "--check"))
        assert deployment.things() == before
        assert changes(deployment.play(*REMOVE))
        assert deployment.things() == []
        assert sorted(path.name for path in deployment.credentials.iterdir()) == [
            "ca.crt",
            "ci.password",
            "registry.env",
        ]
        assert changes(deployment.play(*REMOVE)) == 0
