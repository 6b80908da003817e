# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/aws.md and the checks of security controls say the same, and each check can pass and fail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aws_controls
import aws_platform_controls
import boto3
import pytest
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import bucket_policy, registry_policy
from aws_controls import CONTROLS, TAG, Deployment
from aws_platform_controls import Facts
from botocore.exceptions import ClientError
from moto import mock_aws

ROOT = Path(__file__).parents[3]
REGION = "eu-central-1"
BUCKET = "controls-registry"
ROLE = "controls-registry-eu-central-1"
KEY = f"arn:aws:kms:{REGION}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
MARK = [{"Key": TAG, "Value": "controls"}]

STATES = {"set", "account", "deviation", "none"}
# All controls of AWS Foundational Security Best Practices for these three services, as of 2026.
STANDARD: dict[str, list[int]] = {
    "S3": [1, 2, 3, 5, 6, 8, 9, 12, 13, 19, 24, 25],
    "EC2": [
        *(1, 2, 3, 4, 6, 7, 8, 9, 10, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 51, 55, 56, 57, 58, 60),
        *(170, 171, 172, 173, 180, 181, 182, 183),
    ],
    "IAM": [1, 2, 3, 4, 5, 6, 7, 8, 21],
}


# --- The guide ---------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row of the guide's tables of controls."""

    number: str
    asked: str
    state: str
    here: str
    setting: str


class PlatformRow(NamedTuple):
    """A row of the guide's table for fleets and tasks."""

    number: str
    asked: str
    fleet: str
    tasks: str
    here: str
    setting: str


AnyRow = TypeVar("AnyRow", Row, PlatformRow)


def rows_of(kind: type[AnyRow]) -> list[AnyRow]:
    """Return a row for each control; a row of the guide may name several. Tables are told apart by how many columns they have."""
    found = []
    for line in (ROOT / "docs/aws.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        numbers = re.findall(r"[A-Z][A-Za-z0-9]+\.\d+", cells[0])
        if line.startswith("|") and numbers and len(cells) == len(kind._fields):
            found += [kind(number, *cells[1:]) for number in numbers]
    return found


def rows() -> list[Row]:
    return rows_of(Row)


def test_no_control_has_two_rows() -> None:
    numbers = [row.number for row in rows()]
    assert sorted(numbers) == sorted(set(numbers))


def test_every_control_of_the_standard_has_a_row() -> None:
    expected = {f"{service}.{number}" for service, numbers in STANDARD.items() for number in numbers}
    assert expected - {row.number for row in rows()} == set()


def test_states_are_known() -> None:
    assert {row.state for row in rows()} == STATES


def test_what_is_set_is_checked_and_what_is_checked_is_set() -> None:
    assert {row.number for row in rows() if row.state == "set"} == set(CONTROLS)


def test_what_is_not_set_has_a_reason() -> None:
    left_out = [row for row in rows() if row.state in {"deviation", "account"}]
    assert left_out
    assert [row.number for row in left_out if len(row.here.split()) < 5] == []


def test_settings_exist() -> None:
    """A setting that a table names is an input of a role."""
    inputs = {
        name
        for path in (ROOT / "roles").glob("*/defaults/main.yml")
        for name in re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = {name for row in rows() for name in re.findall(r"`((?:aws|registry)_\w+)", row.setting)}
    assert named
    assert named - inputs == set()


# --- Fleets and tasks --------------------------------------------------------------------------------------------

PLATFORM_STANDARD: dict[str, list[int]] = {
    "ELB": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 17, 18, 21, 22],
    "AutoScaling": [1, 2, 3, 5, 6, 9],
    "EC2": [25, 170, 181],
    "ECS": [1, 2, 3, 4, 5, 8, 9, 10, 12, 16, 18, 19, 20, 21],
    "SecretsManager": [1, 2, 3, 4],
}


def platform_rows() -> list[PlatformRow]:
    return rows_of(PlatformRow)


def test_fleets_and_tasks_have_a_row_for_every_control() -> None:
    numbers = [row.number for row in platform_rows()]
    expected = [f"{service}.{number}" for service, listed in PLATFORM_STANDARD.items() for number in listed]
    assert sorted(numbers) == sorted(expected)
    for row in platform_rows():
        assert {row.fleet, row.tasks} <= STATES
        assert "deviation" not in {row.fleet, row.tasks} or len(row.here.split()) >= 5, row.number


@pytest.mark.parametrize("platform", ["fleet", "tasks"])
def test_what_is_set_on_a_platform_is_checked_there(platform: str) -> None:
    wanted = {row.number for row in platform_rows() if getattr(row, platform) == "set"}
    assert set(aws_platform_controls.SET[platform]) == wanted


def good_facts() -> Facts:
    container = {"name": "proxy", "readonlyRootFilesystem": True, "logConfiguration": {"logDriver": "awslogs"}}
    redirect = {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS"}}
    return {
        "balancer": {"AvailabilityZones": [{}, {}]},
        "attributes": {
            "routing.http.drop_invalid_header_fields.enabled": "true",
            "deletion_protection.enabled": "true",
            "routing.http.desync_mitigation_mode": "defensive",
        },
        "listeners": [
            {"Port": 80, "Protocol": "HTTP", "DefaultActions": [redirect]},
            {"Port": 443, "Protocol": "HTTPS", "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"},
        ],
        "targets": [{"HealthCheckProtocol": "HTTPS", "Protocol": "HTTPS"}],
        "group": {"AvailabilityZones": ["a", "b"], "LaunchTemplate": {"Version": "1"}},
        "template": {
            "MetadataOptions": {"HttpTokens": "required"},
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}}],
        },
        "service": {"platformVersion": "LATEST"},
        "definition": {"networkMode": "awsvpc", "containerDefinitions": [container]},
    }


# Where in the facts something is, and what is wrong there.
WRONG: dict[str, tuple[list[str | int], Any]] = {
    "ELB.1": (["listeners", 0, "DefaultActions"], [{"Type": "forward"}]),
    "ELB.4": (["attributes", "routing.http.drop_invalid_header_fields.enabled"], "false"),
    "ELB.6": (["attributes", "deletion_protection.enabled"], "false"),
    "ELB.12": (["attributes", "routing.http.desync_mitigation_mode"], "monitor"),
    "ELB.13": (["balancer", "AvailabilityZones"], [{}]),
    "ELB.17": (["listeners", 1, "SslPolicy"], "ELBSecurityPolicy-2016-08"),
    "ELB.21": (["targets", 0, "HealthCheckProtocol"], "HTTP"),
    "ELB.22": (["targets", 0, "Protocol"], "HTTP"),
    "AutoScaling.2": (["group", "AvailabilityZones"], ["a"]),
    "AutoScaling.9": (["group", "LaunchTemplate"], None),
    "EC2.170": (["template", "MetadataOptions", "HttpTokens"], "optional"),
    "EC2.181": (["template", "BlockDeviceMappings", 0, "Ebs"], {}),
    "ECS.1": (["definition", "networkMode"], "host"),
    "ECS.3": (["definition", "pidMode"], "host"),
    "ECS.4": (["definition", "containerDefinitions", 0, "privileged"], True),
    "ECS.5": (["definition", "containerDefinitions", 0, "readonlyRootFilesystem"], False),
    "ECS.8": (["definition", "containerDefinitions", 0, "environment"], [{"name": "AWS_SECRET_ACCESS_KEY"}]),
    "ECS.9": (["definition", "containerDefinitions", 0, "logConfiguration"], {}),
    "ECS.10": (["service", "platformVersion"], "1.3.0"),
}


def test_a_good_fleet_and_good_tasks_pass() -> None:
    assert aws_platform_controls.failures(good_facts(), list(aws_platform_controls.CONTROLS)) == {}


@pytest.mark.parametrize("number", aws_platform_controls.CONTROLS)
def test_a_control_of_a_platform_can_fail(number: str) -> None:
    (*path, last), value = WRONG[number]
    facts = good_facts()
    place: Any = facts
    for step in path:
        place = place[step]
    place[last] = value
    assert set(aws_platform_controls.failures(facts, list(aws_platform_controls.CONTROLS))) == {number}


# --- A good deployment -------------------------------------------------------------------------------------------


@cache
def client(service: str) -> Any:
    """Return boto3's client of a service; each account here is asked by the same ones, which take long to make."""
    return boto3.client(service, region_name=REGION)


@cache
def image(kind: str) -> str:
    """Return the id of an AMI; every account here has the same ones, and to list them takes long."""
    chosen = [{"Name": "virtualization-type", "Values": [kind]}]
    return str(client("ec2").describe_images(Filters=chosen)["Images"][0]["ImageId"])


def good_policy(*more: dict[str, Any]) -> str:
    return json.dumps(bucket_policy({"Statement": list(more)}, BUCKET))


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def make_bucket(s3: Any) -> None:
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    block_public_access(s3, True)
    s3.put_bucket_ownership_controls(
        Bucket=BUCKET, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    s3.put_bucket_policy(Bucket=BUCKET, Policy=good_policy())
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    put_lifecycle(
        s3,
        AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7},
        NoncurrentVersionExpiration={"NoncurrentDays": 7},
    )


def block_public_access(s3: Any, switch: bool) -> None:
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=dict.fromkeys(names, switch))


def put_lifecycle(s3: Any, status: str = "Enabled", **actions: Any) -> None:
    rule = {"ID": "drydock-registry", "Status": status, "Filter": {"Prefix": ""}, **actions}
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})


def make_role(iam: Any) -> None:
    trust = document({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"})
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust, Tags=MARK)
    put_role_policy(iam, *registry_policy(BUCKET, "images", KEY)["Statement"])


def put_role_policy(iam: Any, *statements: dict[str, Any]) -> None:
    """Attach a managed policy, beside those that the role has."""
    name = f"controls-{len(iam.list_attached_role_policies(RoleName=ROLE)['AttachedPolicies'])}"
    arn = iam.create_policy(PolicyName=name, PolicyDocument=document(*statements))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=ROLE, PolicyArn=arn)


def tagged(kind: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": MARK}]


def run_instance(ec2: Any, subnet: str, group: str, **changed: Any) -> str:
    arguments = {
        "ImageId": image("hvm"),
        "InstanceType": "t4g.small",
        "SubnetId": subnet,
        "SecurityGroupIds": [group],
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Encrypted": True}}
        ],
        "TagSpecifications": tagged("instance"),
    }
    (made,) = ec2.run_instances(MinCount=1, MaxCount=1, **{**arguments, **changed})["Instances"]
    return str(made["InstanceId"])


def open_port(ec2: Any, group: str, first: int, last: int, source: str = "0.0.0.0/0", protocol: str = "tcp") -> None:
    ranges = {"Ipv6Ranges": [{"CidrIpv6": source}]} if ":" in source else {"IpRanges": [{"CidrIp": source}]}
    rule: dict[str, Any] = {"IpProtocol": protocol, **ranges}
    if protocol != "-1":
        rule |= {"FromPort": first, "ToPort": last}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])


class Subnetwork(NamedTuple):
    vpc: str
    subnet: str
    group: str


def make_network(ec2: Any) -> Subnetwork:
    vpc = ec2.create_vpc(CidrBlock="10.60.0.0/16", TagSpecifications=tagged("vpc"))["Vpc"]["VpcId"]
    (default,) = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    ec2.revoke_security_group_egress(GroupId=default["GroupId"], IpPermissions=default["IpPermissionsEgress"])
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.60.0.0/20")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="controls-registry", Description="-", VpcId=vpc)["GroupId"]
    open_port(ec2, group, 443, 443)
    open_port(ec2, group, 443, 443, "::/0")
    open_port(ec2, group, 22, 22, "192.0.2.10/32")
    return Subnetwork(vpc, subnet, group)


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A deployment as the playbook makes it, with a VPC of its own, in an account that exists in this process only."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        ec2 = client("ec2")
        make_bucket(client("s3"))
        make_role(client("iam"))
        network = make_network(ec2)
        instance = run_instance(ec2, network.subnet, network.group)
        address = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))
        ec2.associate_address(InstanceId=instance, AllocationId=address["AllocationId"])
        yield Deployment(client, BUCKET, ROLE, instance, network.group, network.vpc)


# --- How each setting can be wrong -------------------------------------------------------------------------------

Spoiler = Callable[[Deployment], Deployment | None]
SPOILERS: dict[Spoiler, tuple[str, ...]] = {}


def spoils(*numbers: str) -> Callable[[Spoiler], Spoiler]:
    """Register what makes the checks of these controls fail."""

    def register(spoiler: Spoiler) -> Spoiler:
        SPOILERS[spoiler] = numbers
        return spoiler

    return register


@spoils("S3.2", "S3.3", "S3.8", "S3.12")
def an_acl_for_everybody(made: Deployment) -> None:
    s3 = made.client("s3")
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.put_bucket_ownership_controls(Bucket=BUCKET, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    everybody = {"Type": "Group", "URI": aws_controls.EVERYBODY[0]}
    grants = [{"Grantee": everybody, "Permission": permission} for permission in ("READ", "WRITE")]
    owner = s3.get_bucket_acl(Bucket=BUCKET)["Owner"]
    s3.put_bucket_acl(Bucket=BUCKET, AccessControlPolicy={"Grants": grants, "Owner": owner})


@spoils("S3.2", "S3.3", "S3.6", "S3.8")
def a_policy_for_everybody(made: Deployment) -> None:
    block_public_access(made.client("s3"), False)
    everything = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    made.client("s3").put_bucket_policy(Bucket=BUCKET, Policy=good_policy(everything))


@spoils("S3.6")
def a_policy_for_another_account(made: Deployment) -> None:
    stranger = {"AWS": ["arn:aws:iam::111122223333:root"]}
    resource = f"arn:aws:s3:::{BUCKET}/*"
    allowed = {"Effect": "Allow", "Principal": stranger, "Action": "s3:Put*", "Resource": resource}
    made.client("s3").put_bucket_policy(Bucket=BUCKET, Policy=good_policy(allowed))


@spoils("S3.5")
def no_bucket_policy(made: Deployment) -> None:
    made.client("s3").delete_bucket_policy(Bucket=BUCKET)


@spoils("S3.5")
def objects_without_tls(made: Deployment) -> None:
    narrow = json.loads(good_policy())
    narrow["Statement"][0]["Resource"] = [f"arn:aws:s3:::{BUCKET}"]
    made.client("s3").put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(narrow))


@spoils("S3.8")
def no_public_access_block(made: Deployment) -> None:
    made.client("s3").delete_public_access_block(Bucket=BUCKET)


@spoils("S3.12")
def no_ownership_controls(made: Deployment) -> None:
    made.client("s3").delete_bucket_ownership_controls(Bucket=BUCKET)


@spoils("S3.10", "S3.13")
def no_lifecycle(made: Deployment) -> None:
    made.client("s3").delete_bucket_lifecycle(Bucket=BUCKET)


@spoils("S3.10")
def old_versions_for_ever(made: Deployment) -> None:
    put_lifecycle(made.client("s3"), AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7})


@spoils("S3.10", "S3.13")
def a_disabled_lifecycle_rule(made: Deployment) -> None:
    put_lifecycle(made.client("s3"), "Disabled", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7})


@spoils("S3.14")
def no_more_versions(made: Deployment) -> None:
    made.client("s3").put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})


@spoils("EC2.2")
def a_default_group_with_a_rule(made: Deployment) -> None:
    ec2 = made.client("ec2")
    chosen = [{"Name": "vpc-id", "Values": [made.vpc]}, {"Name": "group-name", "Values": ["default"]}]
    (default,) = ec2.describe_security_groups(Filters=chosen)["SecurityGroups"]
    open_port(ec2, default["GroupId"], 1, 1, "10.0.0.0/8")


@spoils("EC2.3", "EC2.8")
def a_careless_instance(made: Deployment) -> Deployment:
    ec2 = made.client("ec2")
    (subnet,) = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [made.vpc]}])["Subnets"]
    instance = run_instance(
        ec2,
        subnet["SubnetId"],
        made.security_group,
        MetadataOptions={"HttpTokens": "optional"},
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "Encrypted": False}}],
    )
    return with_instance(made, instance)


@spoils("EC2.8")
def metadata_for_those_behind_a_router(made: Deployment) -> None:
    made.client("ec2").modify_instance_metadata_options(
        InstanceId=made.instance, HttpTokens="required", HttpPutResponseHopLimit=3
    )


@spoils("EC2.4")
def a_stopped_instance(made: Deployment) -> None:
    made.client("ec2").stop_instances(InstanceIds=[made.instance])


@spoils("EC2.12")
def an_address_of_nothing(made: Deployment) -> None:
    made.client("ec2").allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))


@spoils("EC2.13", "EC2.18", "EC2.19")
def ssh_for_everybody(made: Deployment) -> None:
    open_port(made.client("ec2"), made.security_group, 22, 22)


@spoils("EC2.13", "EC2.14", "EC2.18", "EC2.19")
def all_ports_for_everybody_by_ipv6(made: Deployment) -> None:
    open_port(made.client("ec2"), made.security_group, 0, 65535, "::/0", "-1")


@spoils("EC2.18")
def another_port_for_everybody(made: Deployment) -> None:
    open_port(made.client("ec2"), made.security_group, 443, 444)


@spoils("EC2.15")
def a_subnet_that_gives_addresses(made: Deployment) -> None:
    ec2 = made.client("ec2")
    (subnet,) = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [made.vpc]}])["Subnets"]
    ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": True})


@spoils("EC2.17")
def a_second_interface(made: Deployment) -> None:
    ec2 = made.client("ec2")
    (subnet,) = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [made.vpc]}])["Subnets"]
    second = ec2.create_network_interface(SubnetId=subnet["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
    ec2.attach_network_interface(InstanceId=made.instance, NetworkInterfaceId=second, DeviceIndex=1)


@spoils("EC2.180")
def an_interface_that_forwards(made: Deployment) -> None:
    ec2 = made.client("ec2")
    (interface,) = aws_controls.interfaces(made)
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=interface["NetworkInterfaceId"], SourceDestCheck={"Value": False}
    )


@spoils("EC2.24")
def a_paravirtual_instance(made: Deployment) -> Deployment:
    ec2 = made.client("ec2")
    (subnet,) = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [made.vpc]}])["Subnets"]
    old = run_instance(ec2, subnet["SubnetId"], made.security_group, ImageId=image("paravirtual"))
    return with_instance(made, old)


def with_instance(made: Deployment, instance: str) -> Deployment:
    return Deployment(made.client, made.bucket, made.role, instance, made.security_group, made.vpc)


@spoils("IAM.1", "IAM.21", "KMS.1")
def an_administrator(made: Deployment) -> None:
    put_role_policy(made.client("iam"), {"Effect": "Allow", "Action": "*", "Resource": "*"})


@spoils("IAM.21")
def all_of_s3(made: Deployment) -> None:
    inline = document({"Effect": "Allow", "Action": ["s3:*"], "Resource": f"arn:aws:s3:::{BUCKET}"})
    made.client("iam").put_role_policy(RoleName=ROLE, PolicyName="inline", PolicyDocument=inline)


@spoils("IAM.21")
def all_but_some(made: Deployment) -> None:
    put_role_policy(made.client("iam"), {"Effect": "Allow", "NotAction": "iam:*", "Resource": f"arn:aws:s3:::{BUCKET}"})


@spoils("IAM.24")
def a_role_without_tags(made: Deployment) -> None:
    made.client("iam").untag_role(RoleName=ROLE, TagKeys=[TAG])


@spoils("KMS.1")
def any_key(made: Deployment) -> None:
    resource = f"arn:aws:kms:{REGION}:123456789012:key/*"
    put_role_policy(made.client("iam"), {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": resource})


# --- Passing and failing -----------------------------------------------------------------------------------------


def test_a_good_deployment_passes(good: Deployment) -> None:
    assert aws_controls.failures(good) == {}


def test_each_check_has_a_way_to_fail() -> None:
    assert {number for numbers in SPOILERS.values() for number in numbers} == set(CONTROLS)


@pytest.mark.parametrize("spoiler", SPOILERS, ids=lambda spoiler: spoiler.__name__)
def test_the_right_checks_fail_with_a_sentence(good: Deployment, spoiler: Spoiler) -> None:
    spoiled = spoiler(good) or good
    found = aws_controls.failures(spoiled)
    assert set(found) == set(SPOILERS[spoiler])
    assert [sentence for sentence in found.values() if not re.fullmatch(r"(The|Everybody) .+\.", sentence)] == []


def test_a_vpc_of_somebody_else_is_not_asked_about(good: Deployment) -> None:
    """Its default group and its subnets are its owner's to set."""
    for spoil in (a_default_group_with_a_rule, a_subnet_that_gives_addresses):
        spoil(good)
    assert list(aws_controls.failures(good)) == ["EC2.2", "EC2.15"]
    good.client("ec2").delete_tags(Resources=[good.vpc], Tags=[{"Key": TAG}])
    assert aws_controls.failures(good) == {}


def test_what_is_missing_altogether_is_no_failed_check(good: Deployment) -> None:
    """A wrong name must not look like a finding."""
    with pytest.raises(ClientError, match="NoSuchBucket"):
        CONTROLS["S3.5"](Deployment(good.client, "another-bucket", ROLE, good.instance, good.security_group, good.vpc))
