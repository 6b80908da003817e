# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls of AWS's API need permission for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import registry_policy
from aws_stand_in.calls import MADE_UP, Call, needs, normalized
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
        # Images and snapshots belong to no account, as far as ARNs go.
        (
            "ec2",
            "CreateImage",
            {"InstanceId": "i-1", "TagSpecifications": [{"ResourceType": "snapshot", "Tags": [{"Key": "a"}]}]},
            [
                ("ec2:CreateImage", f"{EC2}:instance/i-1"),
                ("ec2:CreateImage", "arn:aws:ec2:eu-central-1::image/*"),
                ("ec2:CreateImage", "arn:aws:ec2:eu-central-1::snapshot/*"),
                ("ec2:CreateTags", "arn:aws:ec2:eu-central-1::snapshot/*"),
            ],
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
        ("iam", "ListRoles", {}, [("iam:ListRoles", "*")]),
        (
            "iam",
            "CreateServiceLinkedRole",
            {"AWSServiceName": "spot.amazonaws.com"},
            [
                (
                    "iam:CreateServiceLinkedRole",
                    f"arn:aws:iam::1:role/aws-service-role/spot.amazonaws.com/{MADE_UP}",
                )
            ],
        ),
        (
            "iam",
            "UploadServerCertificate",
            {"ServerCertificateName": "c", "Path": "/p/"},
            [("iam:UploadServerCertificate", "arn:aws:iam::1:server-certificate/p/c")],
        ),
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


def regional(service: str, thing: str) -> str:
    return f"arn:aws:{service}:eu-central-1:1:{thing}"


BALANCER = regional("elasticloadbalancing", "loadbalancer/app/b/1")
GROUP = regional("autoscaling", f"autoScalingGroup:{MADE_UP}:autoScalingGroupName/g")
SECRET = regional("secretsmanager", "secret:s-AbCdEf")
SOME_TAGS = {"Tags": [{"Key": "a", "Value": "b"}]}


@pytest.mark.parametrize(
    ("service", "action", "parameters", "expected"),
    [
        # What knows no single resources is asked for with *.
        ("acm", "ListCertificates", {}, ["*"]),
        ("acm", "RequestCertificate", {"DomainName": "x"}, ["*"]),
        ("application-autoscaling", "DescribeScalableTargets", {"ServiceNamespace": "ecs"}, ["*"]),
        ("autoscaling", "DescribeAutoScalingGroups", {"AutoScalingGroupNames": ["g"]}, ["*"]),
        ("ecs", "DeregisterTaskDefinition", {"taskDefinition": "t:1"}, ["*"]),
        ("ecs", "DescribeCapacityProviders", {}, ["*"]),
        ("ecs", "DescribeTaskDefinition", {"taskDefinition": "t"}, ["*"]),
        ("ecs", "ListTaskDefinitions", {"familyPrefix": "t"}, ["*"]),
        ("elasticloadbalancing", "DescribeLoadBalancers", {"Names": ["b"]}, ["*"]),
        ("iam", "ListServerCertificates", {"PathPrefix": "/p/"}, ["*"]),
        ("logs", "DescribeLogGroups", {"logGroupNamePrefix": "l"}, ["*"]),
        # Names become ARNs.
        ("acm", "ImportCertificate", {"Certificate": b""}, [regional("acm", f"certificate/{MADE_UP}")]),
        ("acm", "DeleteCertificate", {"CertificateArn": "arn:c"}, ["arn:c"]),
        (
            "application-autoscaling",
            "PutScalingPolicy",
            {"ResourceId": "service/c/s"},
            [regional("application-autoscaling", f"scalable-target/{MADE_UP}")],
        ),
        ("application-autoscaling", "TagResource", {"ResourceARN": "arn:t"}, ["arn:t"]),
        ("autoscaling", "DeleteAutoScalingGroup", {"AutoScalingGroupName": "g"}, [GROUP]),
        ("autoscaling", "DeleteTags", {"Tags": [{"ResourceId": "g", "Key": k} for k in "ab"]}, [GROUP]),
        (
            "cloudwatch",
            "DeleteAlarms",
            {"AlarmNames": ["a", "b"]},
            [regional("cloudwatch", "alarm:a"), regional("cloudwatch", "alarm:b")],
        ),
        ("cloudwatch", "DescribeAlarms", {"AlarmNames": ["a"]}, [regional("cloudwatch", "alarm:a")]),
        ("cloudwatch", "DescribeAlarms", {"AlarmNamePrefix": "a"}, [regional("cloudwatch", "alarm:*")]),
        ("cloudwatch", "PutMetricAlarm", {"AlarmName": "a"}, [regional("cloudwatch", "alarm:a")]),
        ("ecs", "CreateCluster", {"clusterName": "c"}, [regional("ecs", "cluster/c")]),
        ("ecs", "DescribeClusters", {"clusters": ["c"]}, [regional("ecs", "cluster/c")]),
        ("ecs", "DescribeClusters", {}, [regional("ecs", "cluster/default")]),
        ("ecs", "DeleteCluster", {"cluster": regional("ecs", "cluster/c")}, [regional("ecs", "cluster/c")]),
        (
            "ecs",
            "CreateService",
            {"cluster": regional("ecs", "cluster/c"), "serviceName": "s"},
            [regional("ecs", "service/c/s")],
        ),
        ("ecs", "DescribeServices", {"cluster": "c", "services": ["s"]}, [regional("ecs", "service/c/s")]),
        ("ecs", "RegisterTaskDefinition", {"family": "t"}, [regional("ecs", f"task-definition/t:{MADE_UP}")]),
        ("ecs", "TagResource", {"resourceArn": "arn:c"}, ["arn:c"]),
        (
            "elasticloadbalancing",
            "CreateLoadBalancer",
            {"Name": "b", "Type": "network"},
            [regional("elasticloadbalancing", f"loadbalancer/net/b/{MADE_UP}")],
        ),
        (
            "elasticloadbalancing",
            "CreateTargetGroup",
            {"Name": "t"},
            [regional("elasticloadbalancing", f"targetgroup/t/{MADE_UP}")],
        ),
        # The group that a listener passes requests on to is not touched.
        (
            "elasticloadbalancing",
            "CreateListener",
            {"LoadBalancerArn": BALANCER, "DefaultActions": [{"TargetGroupArn": "arn:t"}]},
            [BALANCER],
        ),
        ("elasticloadbalancing", "RemoveTags", {"ResourceArns": [BALANCER]}, [BALANCER]),
        ("logs", "CreateLogGroup", {"logGroupName": "/l"}, [regional("logs", "log-group:/l:log-stream:")]),
        ("logs", "ListTagsForResource", {"resourceArn": "arn:l"}, ["arn:l"]),
        ("secretsmanager", "DescribeSecret", {"SecretId": SECRET}, [SECRET]),
        ("secretsmanager", "DescribeSecret", {"SecretId": "s"}, [regional("secretsmanager", f"secret:s-{MADE_UP}")]),
    ],
)
def test_what_calls_are_about(service: str, action: str, parameters: dict[str, Any], expected: list[str]) -> None:
    wanted = [(f"{service}:{action}", resource) for resource in expected]
    call = Call(service, action, parameters, "1", "eu-central-1")
    assert [(need.action, need.resource) for need in needs(call)] == wanted


@pytest.mark.parametrize(
    ("service", "action", "parameters", "expected"),
    [
        (
            "acm",
            "ImportCertificate",
            SOME_TAGS,
            ("acm:AddTagsToCertificate", regional("acm", f"certificate/{MADE_UP}")),
        ),
        (
            "acm",
            "RequestCertificate",
            SOME_TAGS,
            ("acm:AddTagsToCertificate", regional("acm", f"certificate/{MADE_UP}")),
        ),
        (
            "autoscaling",
            "CreateAutoScalingGroup",
            {"AutoScalingGroupName": "g", **SOME_TAGS},
            ("autoscaling:CreateOrUpdateTags", GROUP),
        ),
        (
            "ecs",
            "CreateService",
            {"cluster": "c", "serviceName": "s", "tags": [{"key": "a", "value": "b"}]},
            ("ecs:TagResource", regional("ecs", "service/c/s")),
        ),
        (
            "elasticloadbalancing",
            "CreateTargetGroup",
            {"Name": "t", **SOME_TAGS},
            ("elasticloadbalancing:AddTags", regional("elasticloadbalancing", f"targetgroup/t/{MADE_UP}")),
        ),
        (
            "kms",
            "CreateKey",
            {"Tags": [{"TagKey": "a", "TagValue": "b"}]},
            ("kms:TagResource", "*"),
        ),
        (
            "logs",
            "CreateLogGroup",
            {"logGroupName": "/l", "tags": {"a": "b"}},
            ("logs:TagResource", regional("logs", "log-group:/l:log-stream:")),
        ),
        (
            "secretsmanager",
            "CreateSecret",
            {"Name": "s", **SOME_TAGS},
            ("secretsmanager:TagResource", regional("secretsmanager", f"secret:s-{MADE_UP}")),
        ),
    ],
)
def test_tags_need_permission_of_their_own(
    service: str, action: str, parameters: dict[str, Any], expected: tuple[str, str]
) -> None:
    _, need = needs(Call(service, action, parameters, "1", "eu-central-1"))
    assert (need.action, need.resource) == expected
    assert need.context["aws:requesttag/a"] == ("b",)


def test_conditions_of_scaling() -> None:
    target = {"ServiceNamespace": "ecs", "ResourceId": "service/c/s", "ScalableDimension": "ecs:service:DesiredCount"}
    (put,) = needs(Call("application-autoscaling", "PutScalingPolicy", target, "1", "eu-central-1"))
    assert put.context["application-autoscaling:service-namespace"] == ("ecs",)
    made, tagged = needs(
        Call("application-autoscaling", "RegisterScalableTarget", {**target, "Tags": {"a": "b"}}, "1", "eu-central-1")
    )
    assert made.context["application-autoscaling:scalable-dimension"] == ("ecs:service:DesiredCount",)
    # Actions about tags do not know these keys.
    assert "application-autoscaling:service-namespace" not in tagged.context


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
