# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls of AWS's API need permission for."""

from __future__ import annotations

from typing import Any

import pytest
from aws_stand_in.calls import Call, needs
from aws_stand_in.policies import UNKNOWN_RESOURCE

TAGS = {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "x"}]}]}
EC2 = "arn:aws:ec2:eu-central-1:1"


@pytest.mark.parametrize(
    ("service", "action", "parameters", "expected"),
    [
        ("ec2", "DescribeInstances", {"InstanceIds": ["i-1"]}, [("ec2:DescribeInstances", "*")]),
        (
            "ec2",
            "StopInstances",
            {"InstanceIds": ["i-1", "i-2"]},
            [("ec2:StopInstances", f"{EC2}:instance/i-1"), ("ec2:StopInstances", f"{EC2}:instance/i-2")],
        ),
        ("ec2", "AllocateAddress", {}, [("ec2:AllocateAddress", f"{EC2}:elastic-ip/*")]),
        (
            "ec2",
            "DisassociateAddress",
            {"AssociationId": "eipassoc-1"},
            [("ec2:DisassociateAddress", UNKNOWN_RESOURCE)],
        ),
        # A group that a rule names is not touched.
        (
            "ec2",
            "AuthorizeSecurityGroupIngress",
            {"GroupId": "sg-1", "IpPermissions": [{"UserIdGroupPairs": [{"GroupId": "sg-2"}]}]},
            [("ec2:AuthorizeSecurityGroupIngress", f"{EC2}:security-group/sg-1")],
        ),
        (
            "ec2",
            "RunInstances",
            {"ImageId": "ami-1", "UserData": "sg-1", "SubnetId": "subnet-1", "KeyName": "k", **TAGS},
            [
                ("ec2:RunInstances", "arn:aws:ec2:eu-central-1::image/ami-1"),
                ("ec2:RunInstances", f"{EC2}:subnet/subnet-1"),
                ("ec2:RunInstances", f"{EC2}:instance/*"),
                ("ec2:RunInstances", f"{EC2}:network-interface/*"),
                ("ec2:RunInstances", f"{EC2}:volume/*"),
                ("ec2:RunInstances", f"{EC2}:key-pair/k"),
                ("ec2:CreateTags", f"{EC2}:instance/*"),
            ],
        ),
        (
            "ec2",
            "CreateTags",
            {"Resources": ["vpc-1"], "Tags": [{"Key": "a"}]},
            [("ec2:CreateTags", f"{EC2}:vpc/vpc-1")],
        ),
        ("iam", "GetRole", {"RoleName": "r"}, [("iam:GetRole", "arn:aws:iam::1:role/r")]),
        (
            "iam",
            "AttachRolePolicy",
            {"RoleName": "r", "PolicyArn": "arn:aws:iam::1:policy/p"},
            [("iam:AttachRolePolicy", "arn:aws:iam::1:role/r")],
        ),
        ("iam", "GetPolicy", {"PolicyArn": "arn:aws:iam::1:policy/p"}, [("iam:GetPolicy", "arn:aws:iam::1:policy/p")]),
        (
            "iam",
            "CreateRole",
            {"RoleName": "r", "Path": "/p/", "Tags": [{"Key": "a", "Value": "b"}]},
            [("iam:CreateRole", "arn:aws:iam::1:role/p/r"), ("iam:TagRole", "arn:aws:iam::1:role/p/r")],
        ),
        (
            "iam",
            "AddRoleToInstanceProfile",
            {"InstanceProfileName": "p", "RoleName": "r"},
            [("iam:AddRoleToInstanceProfile", "arn:aws:iam::1:instance-profile/p")],
        ),
        ("iam", "ListRoles", {}, [("iam:ListRoles", UNKNOWN_RESOURCE)]),
        ("kms", "DescribeKey", {"KeyId": "1-2"}, [("kms:DescribeKey", "arn:aws:kms:eu-central-1:1:key/1-2")]),
        (
            "kms",
            "CreateAlias",
            {"AliasName": "alias/a", "TargetKeyId": "1-2"},
            [
                ("kms:CreateAlias", "arn:aws:kms:eu-central-1:1:alias/a"),
                ("kms:CreateAlias", "arn:aws:kms:eu-central-1:1:key/1-2"),
            ],
        ),
        (
            "kms",
            "CreateKey",
            {"Tags": [{"TagKey": "a", "TagValue": "b"}]},
            [("kms:CreateKey", "*"), ("kms:TagResource", "*")],
        ),
        (
            "ssm",
            "GetParameters",
            {"Names": ["/aws/service/x", "mine"]},
            [
                ("ssm:GetParameters", "arn:aws:ssm:eu-central-1::parameter/aws/service/x"),
                ("ssm:GetParameters", "arn:aws:ssm:eu-central-1:1:parameter/mine"),
            ],
        ),
        (
            "route53",
            "ChangeResourceRecordSets",
            {"HostedZoneId": "/hostedzone/Z1"},
            [("route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z1")],
        ),
        ("route53", "ListHostedZones", {}, [("route53:ListHostedZones", "*")]),
        ("route53", "GetChange", {"Id": "C1"}, [("route53:GetChange", "arn:aws:route53:::change/C1")]),
        ("sts", "AssumeRole", {"RoleArn": "arn:r"}, [("sts:AssumeRole", "arn:r")]),
        ("another", "Thing", {"Name": "x"}, [("another:Thing", UNKNOWN_RESOURCE)]),
    ],
)
def test_needs(service: str, action: str, parameters: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    call = Call(service, action, parameters, "1", "eu-central-1")
    assert [(need.action, need.resource) for need in needs(call)] == expected


def test_facts_for_conditions() -> None:
    call = Call("ec2", "RunInstances", TAGS, "1", "eu-central-1")
    *_, run, tag = needs(call)
    assert run.context == {"aws:requesttag/name": ("x",), "aws:tagkeys": ("Name",)}
    assert tag.context == {**run.context, "ec2:createaction": ("RunInstances",)}
    call = Call("iam", "CreateRole", {"RoleName": "r", "PermissionsBoundary": "arn:b"}, "1", "eu-central-1")
    assert next(iter(needs(call))).context["iam:permissionsboundary"] == ("arn:b",)
