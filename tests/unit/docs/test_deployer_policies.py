# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies in docs/ for whoever deploys: what AWS takes, what roles ask for, and that it ends at what is theirs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.inventory.manager import IGNORED
from ansible_collections.drydock.registry.plugins.filter.aws_deployer_policies import aws_deployer_policies
from ansible_collections.drydock.registry.plugins.module_utils._aws_deployer import (
    BOUNDED,
    PARTS,
    PLATFORMS,
    STATEMENTS,
    Policy,
    deployer_policies,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_partitions import SUFFIXES, partition_of
from aws_stand_in.calls import Call, Need, needs
from aws_stand_in.enforcement import KNOWN_KEYS
from aws_stand_in.policies import Decision, Request, decide, strongest

DOCS = Path(__file__).parents[3] / "docs" / "aws-deployer"
BUCKETS = {
    "images": "example-prod-registry",
    "configuration": "example-prod-registry-configuration",
    "clients": "example-prod-registry-clients",
    "log": "example-log-bucket",
    "balancer_log": "example-log-bucket",
    "zone_role": "arn:aws:iam::444455556666:role/example-zone-role",
    "given_role": "example-role",
    "given_execution_role": "example-execution-role",
}
EVERYTHING = {platform: deployer_policies(platform, BUCKETS, parts=PARTS) for platform in PLATFORMS}
POLICIES = {f"{platform}/{name}": policy for platform, made in EVERYTHING.items() for name, policy in made.items()}
# Somebody who deploys on all platforms.
TOGETHER = list(POLICIES.values())
# Of a managed policy, without white space.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entity-length
LIMIT = 6144
# What has to be left for what comes next.
ROOM = 1024
# How many policies a role takes, and one is left for what else its holder does.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
ATTACHED = 9
# What aws_ecs calls, by itself and through the modules of amazon.aws and community.aws.
ECS = {
    "application-autoscaling": "DeleteScalingPolicy DescribeScalableTargets DescribeScalingPolicies PutScalingPolicy "
    "RegisterScalableTarget TagResource",
    # Target tracking makes its alarms with the caller's rights.
    "cloudwatch": "DeleteAlarms DescribeAlarms PutMetricAlarm",
    "ec2": "DescribeSubnets",
    "ecs": "CreateCluster CreateService DeleteCluster DeleteService DeregisterTaskDefinition DescribeCapacityProviders "
    "DescribeClusters DescribeServices DescribeTaskDefinition ListTagsForResource ListTaskDefinitions "
    "PutClusterCapacityProviders RegisterTaskDefinition TagResource UpdateService",
    "elasticloadbalancing": "DescribeTargetGroups",
    "iam": "AttachRolePolicy CreatePolicy CreatePolicyVersion CreateRole CreateServiceLinkedRole DeletePolicy "
    "DeletePolicyVersion DeleteRole DetachRolePolicy GetPolicy GetPolicyVersion GetRole ListAttachedRolePolicies "
    "ListEntitiesForPolicy ListInstanceProfilesForRole ListPolicies ListPolicyVersions ListRolePolicies ListRoleTags "
    "PassRole PutRolePermissionsBoundary SetDefaultPolicyVersion TagPolicy TagRole UpdateAssumeRolePolicy UpdateRole "
    "UpdateRoleDescription",
    "kms": "Decrypt GenerateDataKey",
    "logs": "CreateLogGroup DeleteLogGroup DescribeLogGroups ListTagsForResource ListTagsLogGroup PutRetentionPolicy "
    "TagLogGroup TagResource",
    "secretsmanager": "CreateSecret DeleteSecret DescribeSecret GetResourcePolicy GetSecretValue RestoreSecret "
    "TagResource UpdateSecret",
}


def allowed(policies: Iterable[Policy]) -> set[str]:
    """What policies allow."""
    return {action for policy in policies for statement in policy["Statement"] for action in statement["Action"]}


@pytest.mark.parametrize("name", POLICIES)
def test_the_documentation_shows_them(name: str) -> None:
    shown = json.loads((DOCS / f"{name}.json").read_text(encoding="utf-8"))
    assert shown == POLICIES[name], "write it again: tests/unit/docs/write_deployer_policies"


def test_the_documentation_shows_no_others() -> None:
    shown = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.json")}
    assert shown == set(POLICIES)


@pytest.mark.parametrize("partition", SUFFIXES)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_aws_takes_them(platform: str, partition: str) -> None:
    names = {**dict.fromkeys(BUCKETS, "x" * 63), "zone_role": f"arn:{partition}:iam::444455556666:role/{'x' * 63}"}
    boundary = f"arn:{partition}:iam::123456789012:policy/{'x' * 128}"
    policies = deployer_policies(platform, names, partition, "x" * 32, PARTS, boundary)
    assert len(policies) <= ATTACHED
    for name, policy in policies.items():
        assert set(policy) == {"Version", "Statement"}
        written = json.dumps(policy, separators=(",", ":"))
        assert len(written) <= LIMIT - ROOM, name
        # One partition, and in it nothing of another.
        assert set(re.findall(r"arn:([\w-]+):", written)) <= {partition}
    # A role may have them all, and names are told apart in one policy only, but so a person can as well.
    sids = [statement["Sid"] for policy in policies.values() for statement in policy["Statement"]]
    assert len(sids) == len(set(sids))
    assert all(sid.isalnum() for sid in sids)
    # Never everything of a service.
    assert not [action for action in allowed(policies.values()) if action.endswith(":*") or action == "*"]


@pytest.mark.parametrize(
    ("region", "partition", "through"),
    [
        ("eu-central-1", "aws", {"s3.*.amazonaws.com"}),
        ("us-gov-west-1", "aws-us-gov", {"s3.*.amazonaws.com"}),
        ("cn-north-1", "aws-cn", {"s3.*.amazonaws.com", "s3.*.amazonaws.com.cn"}),
        ("eusc-de-east-1", "aws-eusc", {"s3.*.amazonaws.com", "s3.*.amazonaws.eu"}),
    ],
)
def test_a_region_says_the_partition(region: str, partition: str, through: set[str]) -> None:
    assert partition_of(region) == partition
    made = aws_deployer_policies("autoscaling", BUCKETS, region=region)["fleet"]["Statement"]
    (key,) = (each for each in made if each["Sid"] == "ConfigurationKey")
    via = key["Condition"]["StringLike"]["kms:ViaService"]
    assert set([via] if isinstance(via, str) else via) == through


@pytest.mark.parametrize("part", PARTS)
def test_what_is_left_out_is_what_the_part_needs(part: str) -> None:
    for platform in PLATFORMS:
        others = [each for each in PARTS if each != part]
        without = statements_of(deployer_policies(platform, BUCKETS, parts=others))
        whole = statements_of(EVERYTHING[platform])
        assert without.items() <= whole.items()
        assert {statement.sid for statement in STATEMENTS if f"{platform}+{part}" in statement.where.split()} == (
            whole.keys() - without.keys()
        )


def statements_of(policies: Mapping[str, Policy]) -> dict[str, str]:
    """The statements of all policies by their names."""
    return {each["Sid"]: json.dumps(each) for policy in policies.values() for each in policy["Statement"]}


def test_a_fleet_has_a_key_without_asking_for_one() -> None:
    policies = deployer_policies("autoscaling", BUCKETS)
    assert {"kms:CreateKey", "kms:GenerateDataKey", "kms:Decrypt"} <= allowed(policies.values())
    assert "kms:CreateKey" not in allowed(deployer_policies("ec2", BUCKETS).values())


def test_a_deployment_has_its_own_things_only() -> None:
    made = deployer_policies("ecs", BUCKETS, deployment="prod", parts=PARTS).values()
    for service, action, parameters in OWN_CALLS:
        for name, expected in (("prod-registry", True), ("staging-registry", False)):
            about = refused(service, action, parameters, name, made)
            if service in {"ecs", "elasticloadbalancing", "iam", "logs", "secretsmanager"}:
                assert (about == []) is expected, (service, action, name)


def test_a_boundary_is_demanded() -> None:
    boundary = "arn:aws:iam::123456789012:policy/boundary"
    made = deployer_policies("ec2", BUCKETS, parts=PARTS, permissions_boundary=boundary).values()
    others = {"iam:permissionsboundary": ("arn:aws:iam::123456789012:policy/another",)}
    for name in BOUNDED:
        for about, expected in (({"iam:permissionsboundary": (boundary,)}, Decision.ALLOW), (others, Decision.NOTHING)):
            need = Need(f"iam:{name}", "arn:aws:iam::111122223333:role/prod-registry-eu-central-1", about)
            assert decision(need, made) is expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"platform": "host"}, "platform host is not known: write ec2, autoscaling, ecs"),
        ({"platform": "ec2", "parts": ["vpc"]}, "parts vpc is not known: write own_vpc"),
        ({"platform": "ec2", "buckets": {"images": ""}}, "bucket for images has no name"),
    ],
)
def test_what_no_policy_can_be_made_of(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        aws_deployer_policies(**{"buckets": BUCKETS, **arguments})


def test_together_they_allow_what_tasks_need() -> None:
    needed = {f"{service}:{name}" for service, names in ECS.items() for name in names.split()}
    # A key for the images, by which clients may be told apart, is a part.
    assert needed - allowed(deployer_policies("ecs", BUCKETS).values()) == set()


# ----- what calls are about -----

ARN = "arn:aws:{service}:eu-central-1:111122223333:"
TARGET = {"ServiceNamespace": "ecs", "ResourceId": "service/{n}/{n}", "ScalableDimension": "ecs:service:DesiredCount"}
GROUP = {"AutoScalingGroupName": "{n}"}
BALANCER = ARN.format(service="elasticloadbalancing") + "loadbalancer/app/{n}/50dc6c495c0c9188"
LISTENER = ARN.format(service="elasticloadbalancing") + "listener/net/{n}/50dc6c495c0c9188/f2f7dc8efc522ab2"
TARGETS = ARN.format(service="elasticloadbalancing") + "targetgroup/{n}/73e2d6bc24d8a067"
LOG_GROUP = ARN.format(service="logs") + "log-group:/drydock/{n}"
ALARM = ARN.format(service="cloudwatch") + "alarm:{n}-fleet-unhealthy"
CLUSTER = ARN.format(service="ecs") + "cluster/{n}"
SERVICE = ARN.format(service="ecs") + "service/{n}/{n}"
SCALABLE = ARN.format(service="application-autoscaling") + "scalable-target/1234abcd56ab78cd901ef1234567890ab123"
MARK = {"Tags": [{"Key": "drydock-deployment", "Value": "{d}"}]}
ECS_MARK = {"tags": [{"key": "drydock-deployment", "value": "{d}"}]}
# As a deployment makes them: {d} is its name,
# {n} that of its things, which is also that of the Auto Scaling group, the load balancer and so on.
OWN_CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("application-autoscaling", "RegisterScalableTarget", TARGET),
    ("application-autoscaling", "PutScalingPolicy", TARGET),
    ("application-autoscaling", "DeleteScalingPolicy", TARGET),
    ("application-autoscaling", "DeregisterScalableTarget", TARGET),
    ("autoscaling", "CreateAutoScalingGroup", {**GROUP, **MARK}),
    ("autoscaling", "UpdateAutoScalingGroup", GROUP),
    ("autoscaling", "CreateOrUpdateTags", {"Tags": [{"ResourceId": "{n}", "Key": "a", "Value": "b"}]}),
    ("autoscaling", "PutScalingPolicy", GROUP),
    ("autoscaling", "StartInstanceRefresh", GROUP),
    ("autoscaling", "DeleteAutoScalingGroup", GROUP),
    ("cloudwatch", "PutMetricAlarm", {"AlarmName": "{n}-fleet-unhealthy", **MARK}),
    ("cloudwatch", "ListTagsForResource", {"ResourceARN": ALARM}),
    ("cloudwatch", "DeleteAlarms", {"AlarmNames": ["{n}-fleet-unhealthy"]}),
    ("ecs", "CreateCluster", {"clusterName": "{n}", **ECS_MARK}),
    ("ecs", "DescribeClusters", {"clusters": ["{n}"]}),
    ("ecs", "PutClusterCapacityProviders", {"cluster": "{n}"}),
    ("ecs", "TagResource", {"resourceArn": CLUSTER, **ECS_MARK}),
    ("ecs", "CreateService", {"cluster": "{n}", "serviceName": "{n}", **ECS_MARK}),
    ("ecs", "DescribeServices", {"cluster": "{n}", "services": ["{n}"]}),
    ("ecs", "UpdateService", {"cluster": CLUSTER, "service": "{n}"}),
    ("ecs", "ListTagsForResource", {"resourceArn": SERVICE}),
    ("ecs", "DeleteService", {"cluster": "{n}", "service": "{n}"}),
    ("ecs", "DeleteCluster", {"cluster": "{n}"}),
    ("elasticloadbalancing", "CreateLoadBalancer", {"Name": "{n}", "Type": "application", **MARK}),
    ("elasticloadbalancing", "CreateLoadBalancer", {"Name": "{n}", "Type": "network", **MARK}),
    ("elasticloadbalancing", "CreateTargetGroup", {"Name": "{n}", **MARK}),
    ("elasticloadbalancing", "CreateListener", {"LoadBalancerArn": BALANCER}),
    ("elasticloadbalancing", "ModifyListener", {"ListenerArn": LISTENER}),
    ("elasticloadbalancing", "DeleteListener", {"ListenerArn": LISTENER}),
    ("elasticloadbalancing", "SetSubnets", {"LoadBalancerArn": BALANCER}),
    ("elasticloadbalancing", "ModifyTargetGroupAttributes", {"TargetGroupArn": TARGETS}),
    ("elasticloadbalancing", "AddTags", {"ResourceArns": [BALANCER, TARGETS], **MARK}),
    ("elasticloadbalancing", "DeleteTargetGroup", {"TargetGroupArn": TARGETS}),
    ("iam", "CreateRole", {"RoleName": "{n}-eu-central-1", **MARK}),
    ("iam", "CreatePolicy", {"PolicyName": "{n}-eu-central-1-exec"}),
    ("iam", "UploadServerCertificate", {"ServerCertificateName": "c", "Path": "/{n}-eu-central-1/"}),
    ("logs", "CreateLogGroup", {"logGroupName": "/drydock/{n}", "tags": {"drydock-deployment": "fleet"}}),
    ("logs", "PutRetentionPolicy", {"logGroupName": "/drydock/{n}"}),
    ("logs", "ListTagsForResource", {"resourceArn": LOG_GROUP}),
    ("logs", "TagResource", {"resourceArn": LOG_GROUP, "tags": {"a": "b"}}),
    ("logs", "DeleteLogGroup", {"logGroupName": "/drydock/{n}"}),
    ("secretsmanager", "CreateSecret", {"Name": "{n}-ecs-config", **MARK}),
    ("secretsmanager", "DescribeSecret", {"SecretId": "{n}-ecs-config"}),
    (
        "secretsmanager",
        "UpdateSecret",
        {"SecretId": ARN.format(service="secretsmanager") + "secret:{n}-ecs-config-AbCdEf"},
    ),
]
# What knows no single resource of a deployment, or is known by its tags.
OTHER_CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("acm", "ListCertificates", {}),
    ("acm", "RequestCertificate", MARK),
    ("acm", "ImportCertificate", MARK),
    ("application-autoscaling", "DescribeScalableTargets", {"ServiceNamespace": "ecs"}),
    ("application-autoscaling", "ListTagsForResource", {"ResourceARN": SCALABLE}),
    ("application-autoscaling", "RegisterScalableTarget", {**TARGET, "Tags": {"drydock-deployment": "fleet"}}),
    ("application-autoscaling", "TagResource", {"ResourceARN": SCALABLE, "Tags": {"drydock-deployment": "fleet"}}),
    ("autoscaling", "DescribeAutoScalingGroups", {}),
    ("cloudwatch", "DescribeAlarms", {}),
    ("ec2", "CreateImage", {"InstanceId": "i-1", "TagSpecifications": [{"ResourceType": "snapshot", **MARK}]}),
    ("ecs", "DeregisterTaskDefinition", {"taskDefinition": "t:1"}),
    ("ecs", "DescribeCapacityProviders", {"capacityProviders": ["FARGATE"]}),
    ("ecs", "DescribeTaskDefinition", {"taskDefinition": "t"}),
    ("ecs", "ListTaskDefinitions", {}),
    ("ecs", "RegisterTaskDefinition", {"family": "t"}),
    ("elasticloadbalancing", "DescribeTargetHealth", {"TargetGroupArn": TARGETS}),
    ("iam", "ListServerCertificates", {}),
    ("kms", "CreateKey", {}),
    ("logs", "DescribeLogGroups", {}),
]
OTHERS_NAME = "theirs-database"


def named(value: Any, name: str) -> Any:
    """Return a call's parameters with the deployment's name in them."""
    if isinstance(value, dict):
        return {key: named(each, name) for key, each in value.items()}
    if isinstance(value, list):
        return [named(each, name) for each in value]
    return (
        value.replace("{n}", name).replace("{d}", name.removesuffix("-registry")) if isinstance(value, str) else value
    )


def decision(need: Need, policies: Iterable[Policy] = TOGETHER) -> Decision:
    """What policies say together."""
    question = Request(need.action, need.resource, (), need.context, KNOWN_KEYS)
    return strongest(decide(policy, question) for policy in policies)


def refused(
    service: str,
    action: str,
    parameters: dict[str, Any],
    name: str = "fleet-registry",
    policies: Iterable[Policy] = TOGETHER,
) -> list[tuple[str, str]]:
    """Return what a deployment needs and does not have for a call."""
    call = Call(service, action, named(parameters, name), "111122223333", "eu-central-1")
    return [(need.action, need.resource) for need in needs(call) if decision(need, policies) is not Decision.ALLOW]


def label(value: Any) -> str | None:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("service", "action", "parameters"), [*OWN_CALLS, *OTHER_CALLS], ids=label)
def test_calls_are_allowed_on_what_they_are_about(service: str, action: str, parameters: dict[str, Any]) -> None:
    assert refused(service, action, parameters) == []


@pytest.mark.parametrize(("service", "action", "parameters"), OWN_CALLS, ids=label)
def test_what_is_somebody_elses_is_left_alone(service: str, action: str, parameters: dict[str, Any]) -> None:
    # Scaling is told apart by its service only, as a target's ARN has nothing of its name.
    if service != "application-autoscaling":
        assert refused(service, action, parameters, OTHERS_NAME) != []


IMPLIED = [
    *[
        Need(
            "iam:CreateServiceLinkedRole",
            f"arn:aws:iam::111122223333:role/aws-service-role/{service}.amazonaws.com/{role}",
            {"iam:awsservicename": (f"{service}.amazonaws.com",)},
        )
        for service, role in (
            ("autoscaling", "AWSServiceRoleForAutoScaling"),
            ("ecs", "AWSServiceRoleForECS"),
            ("ecs.application-autoscaling", "AWSServiceRoleForApplicationAutoScaling_ECSService"),
            ("elasticloadbalancing", "AWSServiceRoleForElasticLoadBalancing"),
            ("spot", "AWSServiceRoleForEC2Spot"),
        )
    ],
    *[
        Need(
            f"cloudwatch:{action}",
            ARN.format(service="cloudwatch")
            + "alarm:TargetTracking-service/tasks-registry/tasks-registry-AlarmLow-1b43-2910",
        )
        for action in ("DeleteAlarms", "PutMetricAlarm")
    ],
    *[
        Need(
            "iam:PassRole",
            "arn:aws:iam::111122223333:role/fleet-registry-eu-central-1",
            {"iam:passedtoservice": (f"{service}.amazonaws.com",)},
        )
        for service in ("ec2", "ecs-tasks")
    ],
    *[
        Need(
            f"kms:{action}",
            ARN.format(service="kms") + "key/1234abcd-12ab-34cd-56ef-1234567890ab",
            {"kms:viaservice": (f"{service}.eu-central-1.amazonaws.com",)},
        )
        for action in ("Decrypt", "GenerateDataKey")
        for service in ("s3", "secretsmanager")
    ],
    # A host that becomes an image may have a volume with a key.
    *[
        Need(
            f"kms:{action}",
            ARN.format(service="kms") + "key/1234abcd-12ab-34cd-56ef-1234567890ab",
            {"kms:viaservice": ("ec2.eu-central-1.amazonaws.com",)},
        )
        for action in ("CreateGrant", "GenerateDataKeyWithoutPlaintext")
    ],
]


@pytest.mark.parametrize("need", IMPLIED, ids=lambda need: f"{need.action} {need.resource.rpartition('/')[2]}")
def test_what_services_do_for_the_caller_is_allowed(need: Need) -> None:
    assert decision(need) is Decision.ALLOW


def test_keys_serve_nobody_but_services() -> None:
    key = ARN.format(service="kms") + "key/1234abcd-12ab-34cd-56ef-1234567890ab"
    assert decision(Need("kms:Decrypt", key)) is Decision.NOTHING
    assert (
        decision(Need("kms:Decrypt", key, {"kms:viaservice": ("ssm.eu-central-1.amazonaws.com",)})) is Decision.NOTHING
    )


def test_a_group_may_launch_its_template() -> None:
    data = {
        "ImageId": "ami-1",
        "SubnetId": "subnet-1",
        "LaunchTemplate": {"LaunchTemplateId": "lt-1"},
        "NetworkInterfaces": [{"Groups": ["sg-1"]}],
        "KeyName": "fleet-registry",
        "TagSpecifications": [{"ResourceType": kind, **MARK} for kind in ("instance", "volume")],
    }
    assert refused("ec2", "RunInstances", data) == []


EC2 = "arn:aws:ec2:eu-central-1:111122223333:"
PROD = {"aws:requesttag/drydock-deployment": ("prod",)}
OTHERS_TAG = {"aws:requesttag/drydock-deployment": ("staging",)}
IS_PROD = {"aws:resourcetag/drydock-deployment": ("prod",)}
IS_OTHERS = {"aws:resourcetag/drydock-deployment": ("staging",)}
IS_HOST = {"aws:resourcetag/name": ("prod-registry",)}
MAKES = {"ec2:createaction": ("RunInstances",)}
KEY = ARN.format(service="kms") + "key/1234abcd-12ab-34cd-56ef-1234567890ab"
CERTIFICATE = ARN.format(service="acm") + "certificate/1"
TAGGED: list[tuple[str, str, Mapping[str, tuple[str, ...]], bool]] = [
    # What comes to be, with this deployment's tag alone.
    ("ec2:CreateTags", f"{EC2}instance/*", {**MAKES, **PROD}, True),
    ("ec2:CreateTags", "arn:aws:ec2:eu-central-1::snapshot/*", {"ec2:createaction": ("CreateImage",), **PROD}, True),
    ("ec2:CreateTags", f"{EC2}elastic-ip/*", {"ec2:createaction": ("AllocateAddress",), **PROD}, True),
    ("ec2:CreateTags", f"{EC2}natgateway/*", {"ec2:createaction": ("CreateNatGateway",), **PROD}, True),
    ("ec2:CreateTags", f"{EC2}instance/*", {**MAKES, **OTHERS_TAG}, False),
    ("ec2:CreateTags", f"{EC2}instance/*", MAKES, False),
    ("ec2:CreateTags", f"{EC2}fleet/*", {"ec2:createaction": ("CreateFleet",), **PROD}, False),
    # What is this deployment's, and what is not.
    ("ec2:CreateTags", f"{EC2}vpc/vpc-1", IS_PROD, True),
    ("ec2:CreateTags", f"{EC2}vpc/vpc-1", {**IS_OTHERS, **PROD}, False),
    ("ec2:CreateTags", f"{EC2}vpc/vpc-1", PROD, False),
    ("ec2:CreateTags", f"{EC2}elastic-ip/eipalloc-1", PROD, False),
    ("ec2:DeleteTags", f"{EC2}instance/i-1", IS_PROD, True),
    ("ec2:DeleteTags", f"{EC2}instance/i-1", IS_OTHERS, False),
    # What modules make first and tag then.
    ("ec2:CreateTags", f"{EC2}route-table/rtb-1", PROD, True),
    ("ec2:CreateTags", f"{EC2}internet-gateway/igw-1", {**IS_OTHERS, **PROD}, False),
    ("ec2:CreateTags", f"{EC2}launch-template/lt-1", PROD, True),
    # A host that lost the tag is known by its name.
    ("ec2:CreateTags", f"{EC2}instance/i-1", {**IS_HOST, **PROD}, True),
    ("ec2:CreateTags", f"{EC2}instance/i-1", PROD, False),
    ("kms:TagResource", KEY, PROD, True),
    ("kms:TagResource", KEY, {"aws:requesttag/drydock-deployment": ("prod-configuration",)}, True),
    ("kms:TagResource", KEY, OTHERS_TAG, False),
    ("kms:TagResource", KEY, IS_PROD, True),
    ("kms:ScheduleKeyDeletion", KEY, IS_OTHERS, False),
    ("acm:AddTagsToCertificate", CERTIFICATE, PROD, True),
    ("acm:AddTagsToCertificate", CERTIFICATE, OTHERS_TAG, False),
    ("acm:AddTagsToCertificate", CERTIFICATE, {}, False),
]


@pytest.mark.parametrize(("action", "resource", "context", "expected"), TAGGED)
def test_tags_make_nothing_ours_that_is_not(
    action: str, resource: str, context: dict[str, tuple[str, ...]], expected: bool
) -> None:
    made = deployer_policies("autoscaling", BUCKETS, deployment="prod", parts=PARTS).values()
    question = Request(action, resource, (), context, (*KNOWN_KEYS, "aws:resourcetag/"))
    assert (strongest(decide(policy, question) for policy in made) is Decision.ALLOW) is expected


@pytest.mark.parametrize(
    ("action", "resource", "tags"),
    [
        ("acm:DeleteCertificate", "arn:aws:acm:eu-central-1:111122223333:certificate/1", "drydock-deployment"),
        ("ec2:DeleteSnapshot", "arn:aws:ec2:eu-central-1::snapshot/snap-1", "drydock-deployment"),
        ("ec2:DeregisterImage", "arn:aws:ec2:eu-central-1::image/ami-1", "drydock-deployment"),
        (
            "ec2:DeleteLaunchTemplate",
            "arn:aws:ec2:eu-central-1:111122223333:launch-template/lt-1",
            "drydock-deployment",
        ),
        ("kms:ScheduleKeyDeletion", "arn:aws:kms:eu-central-1:111122223333:key/1", "drydock-deployment"),
    ],
)
def test_what_is_known_by_its_tag(action: str, resource: str, tags: str) -> None:
    for present, expected in (({f"aws:resourcetag/{tags}": ("fleet",)}, Decision.ALLOW), ({}, Decision.NOTHING)):
        question = Request(action, resource, (), present, (*KNOWN_KEYS, "aws:resourcetag/"))
        assert strongest(decide(policy, question) for policy in TOGETHER) is expected


def test_what_is_written_is_no_part_of_the_inventory() -> None:
    (play,) = yaml.safe_load(
        (Path(__file__).parents[3] / "playbooks/deployer_policies.yml").read_text(encoding="utf-8")
    )
    (folder,) = re.findall(r"__deployer_folder ~ '/([^']+)'", play["vars"]["__deployer_directory"])
    assert IGNORED.search(folder.encode())
