# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS does later than it says: roles wait for it, leave it to the next run, or say in one sentence what is in the way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trustme
from aws_account import ACCOUNT_ID, REGION, Account, Steps, aws_account, changed_tasks, changes
from aws_autoscaling import BUCKET, Deployment, call
from aws_faults import Faults, faults

DOMAIN = "registry.example.com"
NAME = "drydock-registry"
SECRET = f"{NAME}-ecs-1"
FILES = {
    name: f"what {name} holds\n"
    for name in (
        *("config.yml", "nginx.conf", "loaded.conf", "passwords.conf", "passwords.js", "access.js"),
        *("htpasswd", "tls.crt", "tls.key"),
    )
}
FILES["config.yml"] = "storage: {s3: {bucket: images}}\n"


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with aws_account(MOTO_ECS_SERVICE_RUNNING="10") as made:
        yield made


@pytest.fixture(scope="module")
def slow(account: Account) -> Iterator[Faults]:
    with faults(account) as made:
        yield made


@pytest.fixture(scope="module")
def place(account: Account) -> dict[str, Any]:
    """Return the default VPC, subnets in two zones, and a group."""
    ec2 = account.client("ec2")
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    found = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
    subnets = [str(subnet["SubnetId"]) for subnet in sorted(found, key=lambda subnet: str(subnet["AvailabilityZone"]))]
    group = ec2.create_security_group(GroupName="group", Description="group", VpcId=vpc["VpcId"])["GroupId"]
    return {"vpc_id": vpc["VpcId"], "subnet_ids": subnets[:2], "security_group_ids": [group]}


class TestCertificates:
    """AWS counts them as used for minutes after nobody does."""

    def settings(self, place: dict[str, Any], provider: str) -> dict[str, Any]:
        authority = trustme.CA()
        issued = authority.issue_cert(DOMAIN)
        settings = {
            "domain": DOMAIN,
            "certificate_provider": provider,
            "certificate": issued.cert_chain_pems[0].bytes().decode(),
            "certificate_chain": authority.cert_pem.bytes().decode(),
            "certificate_key": issued.private_key_pem.bytes().decode(),
            **place,
        }
        return {f"aws_load_balancer_{name}": value for name, value in settings.items()}

    def there(self, account: Account) -> int:
        imported = account.client("acm").list_certificates(Includes={"keyTypes": ["RSA_2048", "EC_prime256v1"]})
        uploaded = account.client("iam").list_server_certificates()
        return len(imported["CertificateSummaryList"]) + len(uploaded["ServerCertificateMetadataList"])

    @pytest.mark.parametrize(
        ("provider", "operation", "code"),
        [
            ("import", "DeleteCertificate", "ResourceInUseException"),
            ("iam", "DeleteServerCertificate", "DeleteConflict"),
        ],
    )
    def test_a_run_leaves_one_that_is_still_used_to_the_next_and_a_removal_waits(
        self, account: Account, slow: Faults, place: dict[str, Any], provider: str, operation: str, code: str
    ) -> None:
        first, second = self.settings(place, provider), self.settings(place, provider)
        changes(Steps("aws_load_balancer").run(first).play(account))
        slow.plan(operation, code)
        done = Steps("aws_load_balancer").run(second).play(slow.account)
        assert slow.seen.pop() == operation
        assert "as used: the next run deletes it" in " ".join(done.stdout.split())
        assert self.there(account) == 2
        assert changed_tasks(Steps("aws_load_balancer").run(second).play(account)) == [
            f"Delete old certificates from {'ACM' if provider == 'import' else 'IAM'}"
        ]
        assert self.there(account) == 1
        slow.plan(operation, code)
        changes(Steps("aws_load_balancer").run(second, "remove").play(slow.account))
        assert slow.seen.pop() == operation
        assert self.there(account) == 0

    def test_another_mistake_is_one(self, account: Account, slow: Faults, place: dict[str, Any]) -> None:
        changes(Steps("aws_load_balancer").run(self.settings(place, "import")).play(account))
        said = f"User: arn:aws:iam::{ACCOUNT_ID}:user/x is not authorized to perform: acm:DeleteCertificate"
        slow.plan("DeleteCertificate", "AccessDeniedException", said)
        steps = Steps("aws_load_balancer").refused(self.settings(place, "import"))
        steps.play(slow.account)
        assert slow.seen.pop() == "DeleteCertificate"
        assert "AWS refuses acm:DeleteCertificate" in steps.refusal(0)
        changes(Steps("aws_load_balancer").run(self.settings(place, "import"), "remove").play(account))


class TestTasks:
    """Clusters: the first one of an account, others' part in one, and its end."""

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, account: Account, place: dict[str, Any]) -> dict[str, Any]:
        group = account.client("elbv2").create_target_group(
            Name="tasks", Protocol="HTTPS", Port=8443, VpcId=place["vpc_id"], TargetType="ip"
        )["TargetGroups"][0]["TargetGroupArn"]
        settings = {
            "files": FILES,
            "subnet_ids": place["subnet_ids"],
            "security_group_ids": place["security_group_ids"],
            "target_group_arn": group,
            "secret_recovery_days": 0,
        }
        return {f"aws_ecs_{name}": value for name, value in settings.items()}

    def test_the_role_that_ecs_makes_for_itself_is_waited_for(
        self, account: Account, slow: Faults, settings: dict[str, Any]
    ) -> None:
        said = "Unable to assume the service linked role. Please verify that the ECS service linked role exists."
        for operation in ("CreateCluster", "CreateService"):
            slow.plan(operation, "InvalidParameterException", said)
        changes(Steps("aws_ecs").run(settings).play(slow.account))
        assert [slow.seen.pop(), slow.seen.pop()] == ["CreateService", "CreateCluster"]
        assert changed_tasks(Steps("aws_ecs").run(settings).play(account)) == []

    def test_the_accounts_own_key_takes_its_place_again(self, account: Account, settings: dict[str, Any]) -> None:
        secrets = account.client("secretsmanager")
        key = account.client("kms").create_key()["KeyMetadata"]["Arn"]
        own = {**settings, "aws_ecs_kms_key_arn": "alias/aws/secretsmanager"}
        steps = Steps("aws_ecs").run({**settings, "aws_ecs_kms_key_arn": key}).run(settings).run(settings).run(own)
        steps.play(account)
        assert "Write the files into Secrets Manager" in steps.changed[0]
        assert "Write the files into Secrets Manager" in steps.changed[1]
        assert steps.changed[2:] == [[], []]
        assert secrets.describe_secret(SecretId=SECRET).get("KmsKeyId") in (None, "alias/aws/secretsmanager")

    def test_what_others_have_given_a_cluster_stays(self, account: Account, settings: dict[str, Any]) -> None:
        ecs = account.client("ecs")
        arn = f"arn:aws:autoscaling:{REGION}:{ACCOUNT_ID}:autoScalingGroup:1:autoScalingGroupName/x"
        ecs.create_capacity_provider(name="machines", autoScalingGroupProvider={"autoScalingGroupArn": arn})
        machines = {
            **settings,
            "aws_ecs_name": "machines",
            "aws_ecs_launch_type": "EC2",
            "aws_ecs_capacity_provider": "machines",
        }
        strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}]
        ecs.create_cluster(clusterName="machines-registry")
        ecs.put_cluster_capacity_providers(
            cluster="machines-registry",
            capacityProviders=["FARGATE", "FARGATE_SPOT"],
            defaultCapacityProviderStrategy=strategy,
        )
        steps = Steps("aws_ecs").run(machines).run(machines)
        steps.play(account)
        assert "Ensure the cluster exists" in steps.changed[0]
        assert steps.changed[1] == []
        (cluster,) = ecs.describe_clusters(clusters=["machines-registry"])["clusters"]
        assert cluster["capacityProviders"] == ["FARGATE", "FARGATE_SPOT", "machines"]
        assert cluster["defaultCapacityProviderStrategy"] == strategy

    # The account of this test counts machines that join, and none that leave.
    def test_machines_of_the_user_are_in_the_way_of_nothing_but_their_cluster(self, account: Account) -> None:
        ecs, ec2 = account.client("ecs"), account.client("ec2")
        images = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["arm64"]}])["Images"]
        machine = ec2.run_instances(ImageId=images[0]["ImageId"], MinCount=1, MaxCount=1, InstanceType="t4g.small")
        identity = json.dumps({"instanceId": machine["Instances"][0]["InstanceId"]})
        ecs.register_container_instance(cluster="machines-registry", instanceIdentityDocument=identity)
        removed = {"aws_ecs_name": "machines", "aws_ecs_secret_recovery_days": 0}
        changes(Steps("aws_ecs").run(removed, "remove").play(account, "--check"))
        steps = Steps("aws_ecs").refused(removed, "remove")
        steps.play(account)
        said = " ".join(steps.refusal(0).split())
        assert said.startswith("1 machine of yours is still in the cluster machines-registry, which ECS deletes only")
        assert said.endswith("and run this again.")
        names = [each["Name"] for each in account.client("secretsmanager").list_secrets()["SecretList"]]
        assert names == [SECRET]
        roles = [each["RoleName"] for each in account.client("iam").list_roles()["Roles"]]
        assert f"machines-registry-{REGION}-exec" not in roles

    def test_tasks_that_stop_are_waited_for(self, account: Account, slow: Faults, settings: dict[str, Any]) -> None:
        slow.plan("DeleteCluster", "ClusterContainsTasksException", "The cluster contains tasks")
        steps = Steps("aws_ecs").run(settings, "remove").run(settings, "remove")
        steps.play(slow.account)
        assert slow.seen.pop() == "DeleteCluster"
        assert steps.changed[0][-1] == "Delete the empty cluster"
        assert steps.changed[1] == []
        (cluster,) = account.client("ecs").describe_clusters(clusters=[NAME])["clusters"]
        assert cluster["status"] == "INACTIVE"


class TestBuilders:
    """Hosts of a golden image whose bake was interrupted."""

    @pytest.fixture(scope="class")
    @classmethod
    def fleet(cls, account: Account) -> Deployment:
        made = Deployment(account)
        made.make_bucket()
        return made

    def leave(self, fleet: Deployment, deployment: str) -> str:
        tags = [{"Key": "Name", "Value": "team-registry-golden"}, {"Key": "drydock-deployment", "Value": deployment}]
        made = fleet.ec2.run_instances(
            ImageId=fleet.image,
            MinCount=1,
            MaxCount=1,
            InstanceType="t4g.small",
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        return str(made["Instances"][0]["InstanceId"])

    def states(self, fleet: Deployment) -> dict[str, str]:
        found = fleet.ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["team-registry-golden"]}])
        machines = [machine for each in found["Reservations"] for machine in each["Instances"]]
        return {machine["InstanceId"]: machine["State"]["Name"] for machine in machines}

    def switch_off(self, fleet: Deployment, others: set[str]) -> str:
        """Wait for the builder, and switch it off, which it would do itself."""
        deadline = time.monotonic() + 240
        # One that is just started would be started on.
        while not (new := {name for name, state in self.states(fleet).items() if state == "running"} - others):
            assert time.monotonic() < deadline, "there is no builder"
            time.sleep(0.5)
        (builder,) = new
        fleet.ec2.stop_instances(InstanceIds=[builder])
        return builder

    def test_they_end_before_the_next_bake_and_with_all_else(self, fleet: Deployment) -> None:
        theirs, stopped, running = self.leave(fleet, "theirs"), self.leave(fleet, "team"), self.leave(fleet, "team")
        fleet.ec2.stop_instances(InstanceIds=[stopped])
        with ThreadPoolExecutor(1) as pool:
            off = pool.submit(self.switch_off, fleet, {theirs, stopped, running})
            fleet.play(call("golden_image", golden_timeout_seconds=240))
        builder = off.result()
        ended = dict.fromkeys((stopped, running, builder), "terminated")
        assert self.states(fleet) == {theirs: "running", **ended}

        left = self.leave(fleet, "team")
        assert "Terminate hosts of an interrupted bake" in fleet.play(call("remove"), check=True).changed[0]
        first, second = fleet.play(call("remove"), call("remove")).changed
        assert "Terminate hosts of an interrupted bake" in first
        assert second == []
        assert self.states(fleet) == {theirs: "running", **ended, left: "terminated"}
        assert fleet.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
