# SPDX-License-Identifier: GPL-3.0-or-later
"""The role aws_identity against an API server of its own: what a host may do, and that nothing else creeps in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from aws_account import ACCOUNT_ID, REGION, Account, Steps, aws_account, changes

NAME = f"team-registry-{REGION}"
POLICY_ARN = f"arn:aws:iam::{ACCOUNT_ID}:policy/services/{NAME}"
SESSION_MANAGER = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/11111111-2222-3333-4444-555555555555"
BOUNDARY = "arn:aws:iam::aws:policy/PowerUserAccess"
SETTINGS: dict[str, Any] = {
    "aws_identity_name": "team",
    "aws_identity_region": REGION,
    "aws_identity_tags": {"owner": "platform"},
    "aws_identity_bucket": "team-images",
    "aws_identity_path": "/services/",
    "aws_identity_permissions_boundary": BOUNDARY,
}
TAGS = {"Name": NAME, "drydock-deployment": "team", "owner": "platform"}


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with aws_account() as made:
        # What the role's own setting says has to be enough.
        for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            del made.environment[variable]
        yield made


def run(account: Account, entry: str, *arguments: str, **settings: Any) -> Steps:
    """Call an entry point of the role with SETTINGS and others."""
    steps = Steps("aws_identity").run(SETTINGS | prefixed(settings), entry)
    steps.play(account, *arguments)
    return steps


def changed(account: Account, entry: str, *arguments: str, **settings: Any) -> list[str]:
    """Return the tasks of such a call that changed something."""
    return run(account, entry, *arguments, **settings).changed[0]


def refusals(account: Account, *calls: tuple[str, dict[str, Any]]) -> list[str]:
    """Return what calls of entry points, each with other settings, are refused with."""
    steps = Steps("aws_identity")
    for entry, settings in calls:
        steps.refused(SETTINGS | prefixed(settings), entry)
    steps.play(account)
    return [steps.refusal(number) for number in range(len(calls))]


def prefixed(settings: dict[str, Any]) -> dict[str, Any]:
    return {f"aws_identity_{key}": value for key, value in settings.items()}


def named(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def document(account: Account) -> dict[str, Any]:
    """Return the policy that is in force."""
    iam = account.client("iam")
    policy = iam.get_policy(PolicyArn=POLICY_ARN)["Policy"]
    found: dict[str, Any] = iam.get_policy_version(PolicyArn=POLICY_ARN, VersionId=policy["DefaultVersionId"])[
        "PolicyVersion"
    ]["Document"]
    return found


def statements(root: str) -> list[dict[str, Any]]:
    """Return what a registry may do: all that it calls, and nothing else."""
    return [
        {
            "Sid": "List",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
            "Resource": ["arn:aws:s3:::team-images"],
        },
        {
            "Sid": "ReadAndWrite",
            "Effect": "Allow",
            "Action": [
                "s3:GetObject",
                "s3:PutObject",
                "s3:PutObjectAcl",
                "s3:DeleteObject",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            ],
            "Resource": [f"{root}docker/registry/v2/*", f"{root}scheduler-state.json"],
        },
    ]


def attached(account: Account) -> set[str]:
    """Return the ARNs of the managed policies that the role has."""
    found = account.client("iam").list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]
    return {policy["PolicyArn"] for policy in found}


def things(account: Account) -> list[str]:
    """Return the names of everything in the account that could be the role's."""
    iam = account.client("iam")
    return [
        *(role["RoleName"] for role in iam.list_roles()["Roles"]),
        *(profile["InstanceProfileName"] for profile in iam.list_instance_profiles()["InstanceProfiles"]),
        *(policy["PolicyName"] for policy in iam.list_policies(Scope="Local")["Policies"]),
    ]


def test_a_dry_run_in_an_empty_account_makes_nothing(account: Account) -> None:
    steps = run(account, "main", "--check")
    assert len(steps.changed[0]) == 3
    assert steps.result(0)["policy_arn"] == POLICY_ARN
    assert things(account) == []


def test_the_host_may_use_the_bucket_and_nothing_else(account: Account) -> None:
    iam = account.client("iam")
    made = run(account, "main").result(0)

    assert document(account) == {"Version": "2012-10-17", "Statement": statements("arn:aws:s3:::team-images/")}

    role = iam.get_role(RoleName=NAME)["Role"]
    trust = role["AssumeRolePolicyDocument"]["Statement"]
    assert [(each["Effect"], each["Action"], each["Principal"]) for each in trust] == [
        ("Allow", "sts:AssumeRole", {"Service": "ec2.amazonaws.com"})
    ]
    assert role["Path"] == "/services/"
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
    assert attached(account) == {POLICY_ARN}

    profile = iam.get_instance_profile(InstanceProfileName=NAME)["InstanceProfile"]
    assert [each["RoleName"] for each in profile["Roles"]] == [NAME]
    policy = iam.get_policy(PolicyArn=POLICY_ARN)["Policy"]
    assert [named(each["Tags"]) for each in (role, profile, policy)] == [TAGS] * 3
    assert made == {
        "role_name": NAME,
        "role_arn": role["Arn"],
        "instance_profile_name": NAME,
        "instance_profile_arn": profile["Arn"],
        "policy_arn": POLICY_ARN,
    }


def test_a_second_run_changes_nothing(account: Account) -> None:
    assert changed(account, "main") == []


def test_what_others_attached_or_took_is_put_right(account: Account) -> None:
    iam = account.client("iam")
    iam.attach_role_policy(RoleName=NAME, PolicyArn=ADMINISTRATOR)
    iam.remove_role_from_instance_profile(InstanceProfileName=NAME, RoleName=NAME)
    iam.delete_role_permissions_boundary(RoleName=NAME)
    iam.tag_role(RoleName=NAME, Tags=[{"Key": "cost-centre", "Value": "7"}])
    anybody = json.dumps(document(account) | {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    iam.create_policy_version(PolicyArn=POLICY_ARN, PolicyDocument=anybody, SetAsDefault=True)

    assert len(changed(account, "main")) == 3
    assert attached(account) == {POLICY_ARN}
    assert document(account)["Statement"] == statements("arn:aws:s3:::team-images/")
    assert len(iam.list_policy_versions(PolicyArn=POLICY_ARN)["Versions"]) == 1
    role = iam.get_role(RoleName=NAME)["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
    assert named(role["Tags"]) == TAGS | {"cost-centre": "7"}
    profile = iam.get_instance_profile(InstanceProfileName=NAME)["InstanceProfile"]
    assert [each["RoleName"] for each in profile["Roles"]] == [NAME]


def test_settings_change_what_is_there(account: Account) -> None:
    run(account, "main", prefix="/registry", kms_key_arn=KEY, session_manager_enabled=True)
    assert attached(account) == {POLICY_ARN, SESSION_MANAGER}
    *of_bucket, of_key = document(account)["Statement"]
    assert of_bucket == statements("arn:aws:s3:::team-images/registry/")
    assert of_key == {
        "Sid": "UseKeyThroughBucket",
        "Effect": "Allow",
        "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
        "Resource": [KEY],
        "Condition": {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}},
    }

    # Images in ECR, and logs.
    ecr = f"111122223333.dkr.ecr.{REGION}.amazonaws.com/ecr-public/docker/library/registry:3"
    more = {"images": [ecr, "docker.io/library/nginx:stable"], "pull_through_prefixes": ["ecr-public"]}
    run(account, "main", **more, log_group="/drydock/team-registry")
    found = {statement["Sid"]: statement for statement in document(account)["Statement"]}
    repository = f"arn:aws:ecr:{REGION}:111122223333:repository/ecr-public/docker/library/registry"
    assert found["Pull"]["Resource"] == found["PullThrough"]["Resource"] == [repository]
    assert found["LogInToEcr"]["Action"] == ["ecr:GetAuthorizationToken"]
    [streams] = found["WriteLog"]["Resource"]
    assert streams.startswith(f"arn:aws:logs:{REGION}:")
    assert streams.endswith(":log-group:/drydock/team-registry:log-stream:*")

    # Off detaches. The boundary stays, since less in the settings is no wish for more permissions.
    run(account, "main", permissions_boundary="")
    assert attached(account) == {POLICY_ARN}
    assert KEY not in json.dumps(document(account))
    assert "ecr:" not in json.dumps(document(account))
    assert account.client("iam").get_role(RoleName=NAME)["Role"]["PermissionsBoundary"]


def test_the_log_group_of_hosts(account: Account) -> None:
    settings = {"aws_logs_name": "team", "aws_logs_region": REGION, "aws_logs_tags": {"team": "build"}}
    steps = Steps("aws_logs").run(settings).run(settings).run({**settings, "aws_logs_retention_days": 90})
    steps.refused({**settings, "aws_logs_retention_days": 31})
    changes(steps.play(account))
    assert steps.result(0) == {"log_group": "/drydock/team-registry"}
    assert steps.changed[0] != []
    assert steps.changed[1] == []
    assert "which CloudWatch does not offer" in steps.refusal(3)
    logs = account.client("logs")
    [group] = logs.describe_log_groups(logGroupNamePrefix="/drydock/team-registry")["logGroups"]
    assert group["retentionInDays"] == 90
    tags = logs.list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"]
    assert (tags["drydock-deployment"], tags["team"]) == ("team", "build")
    names = {name: settings[name] for name in ("aws_logs_name", "aws_logs_region")}
    assert changes(Steps("aws_logs").run(names, "remove").play(account))
    assert logs.describe_log_groups(logGroupNamePrefix="/drydock/team-registry")["logGroups"] == []


def test_the_host_may_answer_challenges_in_one_zone(account: Account) -> None:
    route53 = account.client("route53")
    zone = route53.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"].rpartition("/")[2]
    settings = {"acme_zone": "example.com", "acme_names": ["registry.example.com", "*.mirror.example.com"]}
    try:
        assert len(changed(account, "main", **settings)) == 1
        assert changed(account, "main", **settings) == []
        *of_bucket, finding, answering = document(account)["Statement"]
        assert of_bucket == statements("arn:aws:s3:::team-images/")
        assert finding["Action"] == ["route53:ListHostedZones", "route53:GetChange"]
        assert answering["Resource"] == [f"arn:aws:route53:::hostedzone/{zone}"]
        assert answering["Action"] == ["route53:ChangeResourceRecordSets"]
        conditions = answering["Condition"]["ForAllValues:StringEquals"]
        assert conditions["route53:ChangeResourceRecordSetsNormalizedRecordNames"] == [
            "_acme-challenge.mirror.example.com",
            "_acme-challenge.registry.example.com",
        ]
        [said] = refusals(account, ("main", settings | {"acme_zone": "example.org"}))
        assert "aws_identity_acme_zone" in said
    finally:
        route53.delete_hosted_zone(Id=zone)
    # Without names, the zone says nothing.
    assert len(changed(account, "main", acme_zone="example.com")) == 1
    assert document(account)["Statement"] == statements("arn:aws:s3:::team-images/")


def test_a_host_that_sets_itself_up_may_read_what_it_is_made_of_and_tell_its_group(account: Account) -> None:
    settings = {
        "configuration_bucket": "team-settings",
        "configuration_kms_key_arn": KEY,
        "autoscaling_group": "team-registry",
    }
    assert len(changed(account, "main", **settings)) == 1
    assert changed(account, "main", **settings) == []
    *of_bucket, reading, _key, telling = document(account)["Statement"]
    group = f"arn:aws:autoscaling:{REGION}:{ACCOUNT_ID}:autoScalingGroup:*:autoScalingGroupName/team-registry"
    assert (telling["Action"], telling["Resource"]) == (["autoscaling:CompleteLifecycleAction"], [group])
    assert of_bucket == statements("arn:aws:s3:::team-images/")
    assert reading["Action"] == ["s3:GetObject"]
    assert reading["Resource"] == ["arn:aws:s3:::team-settings/bundles/*", "arn:aws:s3:::team-settings/live.json"]
    run(account, "main")


def test_tasks_of_this_account_may_take_the_role_and_need_no_profile(account: Account) -> None:
    made = run(account, "main", name="tasks", service="ecs_tasks").result(0)
    assert made["role_name"] == f"tasks-registry-{REGION}"
    assert made["instance_profile_name"] == ""
    iam = account.client("iam")
    (trust,) = iam.get_role(RoleName=made["role_name"])["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT_ID}}
    assert changed(account, "main", name="tasks", service="ecs_tasks") == []
    # Another deployment takes it as it is.
    guest = run(account, "main", name="guest", service="ecs_tasks", role=made["role_arn"], bucket="")
    assert guest.changed[0] == []
    assert guest.result(0) == {**made, "policy_arn": ""}
    assert len(changed(account, "remove", name="tasks", service="ecs_tasks")) == 2
    assert made["role_name"] not in things(account)


def test_what_cannot_work_is_refused(account: Account) -> None:
    wrong = {"name": "The Team", "path": "services", "permissions_boundary": "boundary"}
    # IAM cannot move a role.
    bucket, path, several = refusals(account, ("main", {"bucket": ""}), ("main", {"path": "/"}), ("preflight", wrong))
    assert "aws_identity_bucket is empty" in bucket
    assert "aws_identity_path" in path
    assert all(f"aws_identity_{word}" in several for word in wrong)


def test_removal_takes_what_is_ours(account: Account) -> None:
    iam = account.client("iam")
    assert len(changed(account, "remove", "--check")) == 3
    iam.attach_role_policy(RoleName=NAME, PolicyArn=ADMINISTRATOR)
    assert len(changed(account, "remove")) == 3
    assert things(account) == []
    assert changed(account, "remove") == []


def test_removal_leaves_what_others_made(account: Account) -> None:
    iam = account.client("iam")
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    # Half of a deployment: the policy is ours, the role of the same name is not.
    iam.create_role(RoleName=NAME, Path="/services/", AssumeRolePolicyDocument=trust)
    iam.create_policy(
        PolicyName=NAME,
        Path="/services/",
        PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]}
        ),
        Tags=[{"Key": "drydock-deployment", "Value": "team"}],
    )
    [said] = refusals(account, ("main", {}))
    assert NAME in said
    assert len(changed(account, "remove")) == 1
    assert things(account) == [NAME]
