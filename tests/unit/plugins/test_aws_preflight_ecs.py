# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at what tasks of ECS need: what is found, and what is refused. The account is moto's, in this process."""

from __future__ import annotations

import functools
import json
from typing import Any

import boto3
import pytest
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account
from ansible_collections.drydock.registry.plugins.module_utils._aws_preflight import look
from ansible_collections.drydock.registry.plugins.modules import ecs_cluster
from ansible_collections.drydock.registry.plugins.modules.aws_preflight import ARGUMENTS

REGION = "eu-central-1"
NAME = "drydock-registry"
ROLE = f"{NAME}-{REGION}-exec"
OURS = [{"key": "drydock-deployment", "value": "drydock"}]
SESSION = boto3.session.Session(aws_access_key_id="key", aws_secret_access_key="secret")
TRUST = {"Version": "2012-10-17", "Statement": []}


pytestmark = pytest.mark.usefixtures("aws")


@functools.cache
def client(service: str) -> Any:
    return SESSION.client(service, region_name=REGION)


def ask(removing: bool = False, **options: Any) -> tuple[dict[str, Any], list[str]]:
    account = Account(client, REGION, "drydock", removing=removing)
    defaults = {name: option.get("default") for name, option in ARGUMENTS["ecs"]["options"].items()}
    assert set(options) <= set(defaults)
    found = look(account, "ecs", {**defaults, **options}, {})
    return found, account.problems


def big(pairs: list[dict[str, str]]) -> list[dict[str, str]]:
    """Tags as other services write them."""
    return [{"Key": pair["key"], "Value": pair["value"]} for pair in pairs]


def make_service(tags: list[dict[str, str]]) -> None:
    ecs = client("ecs")
    ecs.create_cluster(clusterName=NAME, tags=tags)
    ecs.register_task_definition(family=NAME, containerDefinitions=[{"name": "proxy", "image": "nginx", "memory": 1}])
    ecs.create_service(
        cluster=NAME, serviceName=NAME, taskDefinition=NAME, desiredCount=2, launchType="FARGATE", tags=tags
    )


def subnets(*zones: str) -> list[str]:
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    return [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate(zones)
    ]


def test_an_empty_account() -> None:
    found, problems = ask()
    assert problems == []
    assert [found[key] for key in ("cluster", "service", "task_definition", "secrets")] == [{}, {}, {}, {}]
    assert found["log_group"]["name"] == found["execution_role"]["arn"] == found["execution_policy"]["arn"] == ""
    assert found["scaling"] == {"min": 0, "max": 0, "policies": {}}


def test_a_service_that_is_there() -> None:
    make_service(OURS)
    found, problems = ask()
    assert problems == []
    assert found["cluster"]["ours"] is True
    assert found["service"]["taskDefinition"] == f"{NAME}:1"
    assert found["service"]["tags"] == {"drydock-deployment": "drydock"}
    assert "events" not in found["service"]
    assert found["task_definition"]["revision"] == 1
    # It goes through JSON to Ansible.
    assert json.loads(json.dumps(found)) == found


def test_the_service_tells_which_revision_counts() -> None:
    make_service(OURS)
    client("ecs").register_task_definition(
        family=NAME, containerDefinitions=[{"name": "stray", "image": "x", "memory": 1}]
    )
    found, _ = ask()
    assert found["task_definition"]["revision"] == 1
    assert ask(removing=True)[0]["task_definition_arns"] == [
        f"arn:aws:ecs:{REGION}:123456789012:task-definition/{NAME}:{number}" for number in (1, 2)
    ]


def test_a_deleted_service_is_none() -> None:
    make_service(OURS)
    client("ecs").delete_service(cluster=NAME, service=NAME, force=True)
    found, problems = ask()
    assert (found["service"], problems) == ({}, [])


def test_a_cluster_without_tags_is_taken_and_not_removed() -> None:
    client("ecs").create_cluster(clusterName=NAME)
    found, problems = ask()
    assert problems == []
    assert (found["cluster"]["clusterName"], found["cluster"]["ours"]) == (NAME, False)


def test_secrets_are_told_apart_without_reading_them() -> None:
    secrets = client("secretsmanager")
    tags = [*big(OURS), {"Key": "drydock-content", "Value": "checksum"}]
    made = secrets.create_secret(Name=f"{NAME}-ecs-1", SecretString="hidden", Tags=tags)
    secrets.create_secret(Name=f"{NAME}-ecs-2", SecretString="hidden", Tags=big(OURS))
    secrets.delete_secret(SecretId=f"{NAME}-ecs-2")
    found, problems = ask()
    assert problems == []
    one, two = found["secrets"].values()
    assert (one["arn"], one["version"], one["content"]) == (made["ARN"], made["VersionId"], "checksum")
    assert (one["deleted"], two["deleted"]) == (False, True)
    assert "hidden" not in json.dumps(found)


@pytest.mark.parametrize(
    ("said", "key"),
    [
        (None, ""),
        ("alias/aws/secretsmanager", ""),
        (f"arn:aws:kms:{REGION}:123456789012:alias/aws/secretsmanager", ""),
        (f"arn:aws:kms:{REGION}:123456789012:key/theirs", f"arn:aws:kms:{REGION}:123456789012:key/theirs"),
    ],
)
def test_the_own_key_of_the_account_is_none(said: str | None, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client("secretsmanager").create_secret(Name=f"{NAME}-ecs-1", SecretString="hidden", Tags=big(OURS))
    asked = Account.ask

    def ask_and_add(self: Account, service: str, operation: str, *missing: Any, **parameters: Any) -> Any:
        answer = asked(self, service, operation, *missing, **parameters)
        return {**answer, "KmsKeyId": said} if answer and operation == "describe_secret" and said else answer

    monkeypatch.setattr(Account, "ask", ask_and_add)
    (secret,) = ask()[0]["secrets"].values()
    assert secret["kms_key"] == key


def test_a_cluster_keeps_what_somebody_else_has_set() -> None:
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 3, "base": 1}]
    theirs = [{"key": "team", "value": "build"}]
    client("ecs").create_cluster(
        clusterName=NAME, capacityProviders=["FARGATE_SPOT"], defaultCapacityProviderStrategy=strategy, tags=theirs
    )
    account = Account(client, REGION, "drydock")
    wanted = {"name": NAME, "tags": {"drydock-deployment": "drydock"}, "capacity_providers": ["FARGATE"]}
    for check_mode, changed in ((True, True), (False, True), (False, False)):
        assert ecs_cluster.run(account, wanted, check_mode) == {"changed": changed, "created": False}
    (cluster,) = client("ecs").describe_clusters(clusters=[NAME], include=["TAGS"])["clusters"]
    assert cluster["capacityProviders"] == ["FARGATE_SPOT", "FARGATE"]
    assert cluster["defaultCapacityProviderStrategy"] == strategy
    assert sorted(cluster["tags"], key=str) == sorted([*theirs, *OURS], key=str)


def test_the_execution_role_with_what_it_may_do() -> None:
    iam = client("iam")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=big(OURS))
    arn = iam.create_policy(PolicyName=ROLE, PolicyDocument=json.dumps(document), Tags=big(OURS))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=ROLE, PolicyArn=arn)
    found, problems = ask()
    assert problems == []
    assert found["execution_role"]["policies"] == [arn]
    assert found["execution_role"]["trust"] == TRUST
    assert found["execution_policy"] == {"arn": arn, "ours": True, "document": document}
    assert found["execution_role"]["boundary"] == ""
    iam.put_role_permissions_boundary(RoleName=ROLE, PermissionsBoundary=arn)
    assert ask()[0]["execution_role"]["boundary"] == arn


def test_an_execution_role_of_others_is_used_as_it_is() -> None:
    client("iam").create_role(RoleName="starts-tasks", Path="/team/", AssumeRolePolicyDocument="{}")
    arn = "arn:aws:iam::123456789012:role/team/starts-tasks"
    for given in ("starts-tasks", arn):
        found, problems = ask(execution_role=given)
        assert problems == []
        assert (found["execution_role"]["arn"], found["execution_role"]["ours"]) == (arn, False)
    _, problems = ask(execution_role="nobody")
    assert problems == ["IAM has no role nobody (aws_ecs_execution_role): correct it, or leave it out."]


def test_how_it_scales() -> None:
    make_service(OURS)
    where = {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{NAME}/{NAME}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    scaling = client("application-autoscaling")
    scaling.register_scalable_target(MinCapacity=2, MaxCapacity=5, **where)
    configuration = {
        "TargetValue": 60.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
    }
    scaling.put_scaling_policy(
        PolicyName="cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
        **where,
    )
    found, _ = ask()
    assert found["scaling"] == {"min": 2, "max": 5, "policies": {"cpu": configuration}}


CPU = {
    "TargetValue": 60.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
}


@pytest.mark.parametrize(
    ("more", "seen"),
    [
        ({}, CPU),
        # AWS says so when nobody has asked for it.
        ({"DisableScaleIn": False}, CPU),
        ({"DisableScaleIn": True}, {**CPU, "DisableScaleIn": True}),
        ({"ScaleOutCooldown": 60, "ScaleInCooldown": 0}, {**CPU, "ScaleOutCooldown": 60, "ScaleInCooldown": 0}),
    ],
)
def test_a_scaling_policy_is_told_as_the_role_writes_it(more: dict[str, Any], seen: dict[str, Any]) -> None:
    make_service(OURS)
    where = {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{NAME}/{NAME}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    scaling = client("application-autoscaling")
    scaling.register_scalable_target(MinCapacity=2, MaxCapacity=5, **where)
    scaling.put_scaling_policy(
        PolicyName="cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={**CPU, **more},
        **where,
    )
    assert ask()[0]["scaling"]["policies"] == {"cpu": seen}


# ----- refusals ---------------------------------------------------------------------------------


def test_what_is_somebody_elses_is_refused() -> None:
    theirs = [{"key": "drydock-deployment", "value": "staging"}]
    make_service(theirs)
    client("secretsmanager").create_secret(Name=f"{NAME}-ecs-1", SecretString="x")
    client("logs").create_log_group(logGroupName=f"/drydock/{NAME}", tags={"drydock-deployment": "staging"})
    client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST))
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    client("iam").create_policy(PolicyName=ROLE, PolicyDocument=json.dumps({**TRUST, "Statement": [statement]}))
    _, problems = ask()
    for what in ("an ECS cluster", "a secret", "a log group", "an IAM role", "an IAM policy"):
        assert len([each for each in problems if f"has {what} " in each and "aws_ecs_name" in each]) == 1, problems
    found, problems = ask(removing=True)
    assert problems == []
    owned = [found["cluster"], found["service"], found["execution_role"]["ours"], found["log_group"]["ours"]]
    assert not any(owned)


def test_one_zone_is_refused() -> None:
    assert ask(subnet_ids=subnets("a", "b"))[1] == []
    (problem,) = ask(subnet_ids=subnets("a", "a"))[1]
    assert f"are in the zone {REGION}a" in problem


def test_a_subnet_that_is_not_there_is_refused() -> None:
    (problem,) = ask(subnet_ids=["subnet-00000000"])[1]
    assert "aws_ecs_subnet_ids names a subnet that is not in" in problem


def test_target_groups_have_to_take_addresses() -> None:
    balancers = client("elbv2")
    vpc = client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    arns = {
        kind: balancers.create_target_group(Name=kind, Protocol="HTTPS", Port=8443, VpcId=vpc, TargetType=kind)[
            "TargetGroups"
        ][0]["TargetGroupArn"]
        for kind in ("ip", "instance")
    }
    assert ask(target_group_arn=arns["ip"])[1] == []
    (problem,) = ask(target_group_arn=arns["instance"])[1]
    assert "has targets of the type instance" in problem
    (problem,) = ask(target_group_arn=arns["ip"].replace("/ip/", "/other/"))[1]
    assert "There is no target group" in problem


def test_a_launch_type_cannot_be_changed() -> None:
    make_service(OURS)
    (problem,) = ask(launch_type="EC2")[1]
    assert problem.startswith("aws_ecs_launch_type is EC2, but the service drydock-registry runs on FARGATE")


def test_a_capacity_provider_has_to_be_there() -> None:
    (problem,) = ask(launch_type="EC2", capacity_provider="machines")[1]
    assert "There is no capacity provider machines" in problem
