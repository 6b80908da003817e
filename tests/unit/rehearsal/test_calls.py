# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls of AWS's API need permission for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import registry_policy
from aws_stand_in.calls import Call, needs, normalized
from aws_stand_in.enforcement import KNOWN_KEYS
from aws_stand_in.policies import UNKNOWN_RESOURCE, Decision, Request, decide

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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_acme-challenge.Registry.Example.com.", "_acme-challenge.registry.example.com"),
        ("*.example.com", "\\052.example.com"),
        ("a b.example.com", "a\\040b.example.com"),
    ],
)
def test_names_of_records_as_conditions_have_them(name: str, expected: str) -> None:
    assert normalized(name) == expected


def changes(*wanted: tuple[str, str, str]) -> Call:
    """A change of records: action, name, type."""
    batch = [{"Action": action, "ResourceRecordSet": {"Name": name, "Type": kind}} for action, name, kind in wanted]
    return Call(
        "route53",
        "ChangeResourceRecordSets",
        {"HostedZoneId": "/hostedzone/Z1", "ChangeBatch": {"Changes": batch}},
        "1",
        "aws-global",
    )


def test_facts_about_records() -> None:
    ours = ("UPSERT", "_acme-challenge.a.example.com.", "TXT")
    (need,) = needs(changes(ours, ours, ("DELETE", "A.example.com", "A")))
    key = "route53:changeresourcerecordsets"
    facts = {name.removeprefix(key): values for name, values in need.context.items() if name.startswith(key)}
    assert facts == {
        "normalizedrecordnames": ("_acme-challenge.a.example.com", "a.example.com"),
        "recordtypes": ("TXT", "A"),
        "actions": ("UPSERT", "DELETE"),
    }


CHALLENGE = "_acme-challenge.r.example.com"


@pytest.mark.parametrize(
    ("wanted", "decision"),
    [
        ([("UPSERT", CHALLENGE, "TXT")], Decision.ALLOW),
        ([("UPSERT", CHALLENGE.upper(), "TXT")], Decision.ALLOW),
        ([("DELETE", f"{CHALLENGE}.", "TXT")], Decision.ALLOW),
        ([("CREATE", CHALLENGE, "TXT")], Decision.NOTHING),
        ([("UPSERT", CHALLENGE, "CNAME")], Decision.NOTHING),
        ([("UPSERT", CHALLENGE, "NS")], Decision.NOTHING),
        ([("UPSERT", "r.example.com", "A")], Decision.NOTHING),
        ([("UPSERT", "_acme-challenge.example.com", "TXT")], Decision.NOTHING),
        ([("UPSERT", f"x.{CHALLENGE}", "TXT")], Decision.NOTHING),
        # One that is allowed does not carry another.
        ([("UPSERT", CHALLENGE, "TXT"), ("UPSERT", "r.example.com", "TXT")], Decision.NOTHING),
        ([("UPSERT", CHALLENGE, "TXT"), ("DELETE", CHALLENGE, "A")], Decision.NOTHING),
        # All of no changes fit any condition.
        ([], Decision.NOTHING),
    ],
)
def test_what_the_host_may_change(wanted: list[tuple[str, str, str]], decision: Decision) -> None:
    (need,) = needs(changes(*wanted))
    question = Request(need.action, need.resource, (), need.context, KNOWN_KEYS)
    assert decide(registry_policy("images", acme_zone_id="Z1", acme_names=["r.example.com"]), question) is decision
    # The same in another zone.
    assert (
        decide(registry_policy("images", acme_zone_id="Z2", acme_names=["r.example.com"]), question) is Decision.NOTHING
    )
