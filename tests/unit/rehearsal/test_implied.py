# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls need besides the permission for themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aws_stand_in.calls import MADE_UP, Call
from aws_stand_in.implied import SERVICE_ROLES, implied, key_arn, object_keys
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.kms.models import kms_backends
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends

ACCOUNT, REGION = "111122223333", "eu-central-1"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1-2"
OTHER_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/3-4"
ENCRYPTION = "x-amz-server-side-encryption"


@pytest.fixture(autouse=True)
def _empty_account() -> Iterator[None]:
    yield
    # All of EC2 would take seconds to be made anew.
    ec2_backends[ACCOUNT][REGION].launch_templates.clear()
    ec2_backends[ACCOUNT][REGION].launch_template_name_to_ids.clear()
    for backend in (kms_backends[ACCOUNT][REGION], secretsmanager_backends[ACCOUNT][REGION]):
        backend.reset()
    for everywhere in (iam_backends[ACCOUNT]["aws"], s3_backends[ACCOUNT]["aws"]):
        everywhere.reset()


def call(service: str, action: str, **parameters: Any) -> Call:
    return Call(service, action, parameters, ACCOUNT, REGION)


def wanted(made: Call) -> list[tuple[str, str]]:
    return [(need.action, need.resource) for need in implied(made)]


def role(name: str, profile: str = "") -> str:
    """Make a role, with a profile if one is named, and return its ARN."""
    iam = iam_backends[ACCOUNT]["aws"]
    made = iam.create_role(name, "{}", "/", None, "", [], "3600")
    if profile:
        iam.create_instance_profile(profile, "/", role_names=[name])
    return str(made.arn)


def template(**data: Any) -> str:
    """Make a launch template and return its id."""
    return str(ec2_backends[ACCOUNT][REGION].create_launch_template("t", "", data, {}).id)


def test_a_group_launches_instances() -> None:
    arn = role("hosts", "profile")
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "b"}]}]
    made = template(ImageId="ami-1", KeyName="k", IamInstanceProfile={"Name": "profile"}, TagSpecifications=tags)
    found = wanted(
        call(
            "autoscaling",
            "UpdateAutoScalingGroup",
            LaunchTemplate={"LaunchTemplateId": made},
            VPCZoneIdentifier="subnet-1,subnet-2",
        )
    )
    ec2 = f"arn:aws:ec2:{REGION}"
    launched = [resource for action, resource in found if action == "ec2:RunInstances"]
    assert {f"{ec2}::image/ami-1", f"{ec2}:{ACCOUNT}:subnet/subnet-1", f"{ec2}:{ACCOUNT}:key-pair/k"} <= set(launched)
    assert f"{ec2}:{ACCOUNT}:launch-template/{made}" in launched
    assert ("ec2:CreateTags", f"{ec2}:{ACCOUNT}:volume/*") in found
    assert ("iam:PassRole", arn) in found
    # Of several types of instances, too.
    mixed = {"LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateName": "t"}}}
    assert ("iam:PassRole", arn) in wanted(call("autoscaling", "UpdateAutoScalingGroup", MixedInstancesPolicy=mixed))


def test_a_group_that_keeps_its_template_launches_nothing_new() -> None:
    template(ImageId="ami-1")
    assert wanted(call("autoscaling", "UpdateAutoScalingGroup", MinSize=1)) == []


@pytest.mark.parametrize("name", SERVICE_ROLES)
def test_the_first_one_makes_the_role_of_the_service(name: str) -> None:
    service, made = SERVICE_ROLES[name]
    arn = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{service}/{made}"
    assert ("iam:CreateServiceLinkedRole", arn) in wanted(call(*name.split(":")))
    role(made)
    assert "iam:CreateServiceLinkedRole" not in dict(wanted(call(*name.split(":"))))


def test_tasks_are_handed_their_roles() -> None:
    arns = [role("task"), role("execution")]
    made = call("ecs", "RegisterTaskDefinition", taskRoleArn=arns[0], executionRoleArn=arns[1])
    assert sorted(implied(made)) == [
        ("iam:PassRole", arn, {"iam:passedtoservice": ("ecs-tasks.amazonaws.com",)}) for arn in sorted(arns)
    ]


def test_target_tracking_has_alarms() -> None:
    alarm = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:TargetTracking-service/c/s-AlarmHigh-{MADE_UP}"
    resource = {"ResourceId": "service/c/s"}
    assert wanted(call("application-autoscaling", "PutScalingPolicy", **resource)) == [
        ("cloudwatch:PutMetricAlarm", alarm)
    ]
    assert wanted(call("application-autoscaling", "DeleteScalingPolicy", **resource)) == [
        ("cloudwatch:DeleteAlarms", alarm)
    ]
    assert wanted(call("autoscaling", "PutScalingPolicy", AutoScalingGroupName="g")) == []


def test_secrets_use_their_key() -> None:
    both = [("kms:GenerateDataKey", KEY), ("kms:Decrypt", KEY)]
    made = call("secretsmanager", "CreateSecret", Name="s", KmsKeyId=KEY)
    assert wanted(made) == both
    assert {need.context["kms:viaservice"] for need in implied(made)} == {(f"secretsmanager.{REGION}.amazonaws.com",)}
    assert wanted(call("secretsmanager", "CreateSecret", Name="s")) == []
    secrets = secretsmanager_backends[ACCOUNT][REGION]
    secrets.create_secret("s", "x", None, "", [], KEY, None, [], False)
    secrets.create_secret("plain", "x", None, "", [], None, None, [], False)
    assert wanted(call("secretsmanager", "GetSecretValue", SecretId="s")) == [("kms:Decrypt", KEY)]
    assert wanted(call("secretsmanager", "UpdateSecret", SecretId="s")) == both
    assert wanted(call("secretsmanager", "GetSecretValue", SecretId="plain")) == []
    assert wanted(call("secretsmanager", "DescribeSecret", SecretId="s")) == []


def test_volumes_use_their_key() -> None:
    disks = [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "KmsKeyId": KEY}}, {"DeviceName": "/dev/xvdb"}]
    launch = call("ec2", "RunInstances", BlockDeviceMappings=disks)
    assert wanted(launch) == [("kms:CreateGrant", KEY), ("kms:GenerateDataKeyWithoutPlaintext", KEY)]
    assert {need.context["kms:viaservice"] for need in implied(launch)} == {(f"ec2.{REGION}.amazonaws.com",)}
    # A group's hosts are launched by Auto Scaling's own role.
    made = template(BlockDeviceMappings=disks)
    found = wanted(call("autoscaling", "UpdateAutoScalingGroup", LaunchTemplate={"LaunchTemplateId": made}))
    assert not [action for action, _ in found if action.startswith("kms:")]


def test_names_of_keys() -> None:
    kms = kms_backends[ACCOUNT][REGION]
    made = kms.create_key("", "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "", None, False)
    kms.create_alias(made.id, "alias/mine")
    assert key_arn("alias/mine", ACCOUNT, REGION) == made.arn
    assert key_arn(f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/mine", ACCOUNT, REGION) == made.arn
    assert key_arn("1-2", ACCOUNT, REGION) == KEY
    assert key_arn(KEY, ACCOUNT, REGION) == KEY
    # Everybody of the account may use those of services.
    assert key_arn("alias/aws/s3", ACCOUNT, REGION) == ""
    assert key_arn("", ACCOUNT, REGION) == ""


class TestObjects:
    """In a bucket that has a key, unless an object is written with another one."""

    @pytest.fixture
    @staticmethod
    def s3() -> Any:
        backend = s3_backends[ACCOUNT]["aws"]
        backend.create_bucket("images", REGION)
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
        backend.put_bucket_encryption("images", {"Rule": {"ApplyServerSideEncryptionByDefault": default}})
        return backend

    @staticmethod
    def keys(
        action: str, name: str = "a", method: str = "GET", query: str = "", **headers: str
    ) -> list[tuple[str, str]]:
        found = object_keys(
            call("s3", action),
            f"arn:aws:s3:::images/{name}",
            method,
            f"/images/{name}?{query}",
            {key.replace("_", "-"): value for key, value in headers.items()},
        )
        needs = list(found)
        assert all(need.context == {"kms:viaservice": (f"s3.{REGION}.amazonaws.com",)} for need in needs)
        return [(need.action, need.resource) for need in needs]

    def test_reading_decrypts(self, s3: Any) -> None:
        s3.put_object("images", "a", b"x")
        s3.put_object("images", "b", b"x", kms_key_id=OTHER_KEY)
        assert self.keys("GetObject") == [("kms:Decrypt", KEY)]
        assert self.keys("GetObject", "b") == [("kms:Decrypt", OTHER_KEY)]
        # Only what is read.
        assert self.keys("GetObject", method="HEAD") == []
        assert self.keys("GetObject", "missing") == []
        assert self.keys("DeleteObject") == []

    def test_a_version_has_its_own_key(self, s3: Any) -> None:
        s3.put_bucket_versioning("images", "Enabled")
        first = s3.put_object("images", "a", b"x", kms_key_id=OTHER_KEY).version_id
        s3.put_object("images", "a", b"x")
        assert self.keys("GetObject") == [("kms:Decrypt", KEY)]
        assert self.keys("GetObjectVersion", query=f"versionId={first}") == [("kms:Decrypt", OTHER_KEY)]

    def test_writing_encrypts(self, s3: Any) -> None:
        assert self.keys("PutObject", method="PUT") == [("kms:GenerateDataKey", KEY)]
        named = {ENCRYPTION: "aws:kms", f"{ENCRYPTION}-aws-kms-key-id": "3-4"}
        assert self.keys("PutObject", method="PUT", **named) == [("kms:GenerateDataKey", OTHER_KEY)]
        # With S3's own keys.
        assert self.keys("PutObject", method="PUT", **{ENCRYPTION: "AES256"}) == []
        s3.delete_bucket_encryption("images")
        assert self.keys("PutObject", method="PUT") == []

    def test_parts_are_read_again(self, s3: Any) -> None:
        upload = s3.create_multipart_upload("images", "a", {}, "STANDARD", {}, None, "aws:kms", OTHER_KEY).id
        assert self.keys("PutObject", method="PUT", query=f"partNumber=1&uploadId={upload}") == [
            ("kms:Decrypt", OTHER_KEY)
        ]
        plain = s3.create_multipart_upload("images", "a", {}, "STANDARD", {}, None, None, None).id
        assert self.keys("PutObject", method="POST", query=f"uploadId={plain}") == [("kms:Decrypt", KEY)]

    def test_a_bucket_itself_has_nothing_to_decrypt(self, s3: Any) -> None:
        assert not list(object_keys(call("s3", "PutObject"), "arn:aws:s3:::images", "PUT", "/images", {}))
        assert not list(object_keys(call("s3", "PutObject"), "arn:aws:s3:::another/a", "PUT", "/another/a", {}))
        assert s3
