# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets in ECS and in what its tasks need: secrets, log group, execution role, scaling."""

from __future__ import annotations

import datetime
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils import _aws_preflight_identity, _aws_preflight_logs
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import TAG, Account, Answer, tags_of

DIMENSION = "ecs:service:DesiredCount"
# The tag that tells what a secret holds without reading it.
CONTENT_TAG = "drydock-content"
# The account's own key for secrets, which AWS names only where somebody has.
OWN_KEY = "alias/aws/secretsmanager"
MISSING_IN_IAM = ("NoSuchEntity",)
# What the role writes of a scaling policy.
TRACKING = ("PredefinedMetricSpecification", "TargetValue", "ScaleOutCooldown", "ScaleInCooldown")
# How many secrets one deployment can have at most, so that all are found by their names.
SECRETS = 16


def look(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find what is there; note what is wrong with the settings or with what they meet."""
    found: dict[str, Any] = {
        "cluster": {},
        "service": {},
        "task_definition": {},
        "task_definition_arns": [],
        "secrets": {},
        "log_group": _aws_preflight_logs.NO_LOG_GROUP,
        "execution_role": {
            "name": "",
            "arn": "",
            "ours": False,
            "policies": [],
            "trust": {},
            "boundary": "",
            "tags": {},
        },
        "execution_policy": {"arn": "", "ours": False, "document": {}},
        "scaling": {"min": 0, "max": 0, "policies": {}},
        "zones": [],
    }
    with account.step():
        _cluster(account, found)
    if found["cluster"]:
        with account.step():
            _service(account, found)
    with account.step():
        _definition(account, found)
    with account.step():
        _secrets(account, found)
    with account.step():
        _log_group(account, found)
    with account.step():
        _execution(account, options, found)
    if found["service"]:
        with account.step():
            _scaling(account, found)
    if not account.removing:
        with account.step():
            _subnets(account, options, found)
        with account.step():
            _target_group(account, options)
        with account.step():
            _capacity_provider(account, options)
        if found["service"] and found["service"].get("launchType") not in (None, options["launch_type"]):
            account.refuse(
                f"aws_ecs_launch_type is {options['launch_type']}, but the service {account.name} runs on "
                f"{found['service']['launchType']}, which ECS cannot change: remove the deployment first, or write that."
            )
    return found


def _foreign(account: Account, what: str, name: str, tags: Mapping[str, str]) -> bool:
    """Refuse what has our name and belongs to somebody else."""
    if account.is_ours(tags):
        return False
    article = "an" if what[0] in "AEIOU" else "a"
    account.refuse(
        f"The account has {article} {what} {name} that is not this deployment's, as it lacks the tag {TAG}: {account.deployment}: write "
        "another aws_ecs_name, or delete it."
    )
    return True


def _lower_tags(pairs: Any) -> dict[str, str]:
    """The tags of ECS, which writes their keys small."""
    return {pair["key"]: pair["value"] for pair in pairs or []}


def _cluster(account: Account, found: dict[str, Any]) -> None:
    answer = account.ask("ecs", "describe_clusters", clusters=[account.name], include=["TAGS"]) or {}
    for cluster in answer.get("clusters", []):
        # One that was deleted stays in sight for a while.
        if cluster.get("status") != "INACTIVE":
            tags = _lower_tags(cluster.get("tags"))
            # One without is taken.
            if TAG in tags and _foreign(account, "ECS cluster", account.name, tags):
                continue
            found["cluster"] = {
                **_plain(cluster),
                "tags": tags,
                "ours": account.is_ours(tags),
            }


def _service(account: Account, found: dict[str, Any]) -> None:
    answer = (
        account.ask("ecs", "describe_services", cluster=account.name, services=[account.name], include=["TAGS"]) or {}
    )
    for service in answer.get("services", []):
        if service.get("status") == "ACTIVE":
            tags = _lower_tags(service.get("tags"))
            if _foreign(account, "ECS service", account.name, tags) or not account.is_ours(tags):
                continue
            # Events and deployments are many and change all the time.
            kept = {key: value for key, value in service.items() if key not in ("events", "deployments", "taskSets")}
            # What the deployment under way is told counts as the service's own.
            for deployment in service.get("deployments", []):
                if deployment.get("status") == "PRIMARY" and "networkConfiguration" not in kept:
                    kept["networkConfiguration"] = deployment.get("networkConfiguration") or {}
            kept["tags"] = tags
            kept["taskDefinition"] = str(service["taskDefinition"]).rpartition("/")[2]
            found["service"] = _plain(kept)


def _definition(account: Account, found: dict[str, Any]) -> None:
    """What the service runs; without one, the newest of the family, such as an interrupted run has left."""
    name = found["service"].get("taskDefinition") or account.name
    answer = account.ask("ecs", "describe_task_definition", missing=["ClientException"], taskDefinition=name)
    if answer:
        found["task_definition"] = _plain(answer["taskDefinition"])
    if account.removing:
        found["task_definition_arns"] = account.ask_all(
            "ecs", "list_task_definitions", "taskDefinitionArns", familyPrefix=account.name, status="ACTIVE"
        )


def _secrets(account: Account, found: dict[str, Any]) -> None:
    for number in range(1, SECRETS + 1):
        name = f"{account.name}-ecs-{number}"
        answer = account.ask("secretsmanager", "describe_secret", missing=["ResourceNotFoundException"], SecretId=name)
        if not answer:
            break
        tags = tags_of(answer.get("Tags"))
        _foreign(account, "secret", name, tags)
        stages = answer.get("VersionIdsToStages") or {}
        key = answer.get("KmsKeyId") or ""
        found["secrets"][name] = {
            "name": name,
            "arn": answer["ARN"],
            "ours": account.is_ours(tags),
            "content": tags.get(CONTENT_TAG, ""),
            "version": next((version for version, names in stages.items() if "AWSCURRENT" in names), ""),
            "deleted": bool(answer.get("DeletedDate")),
            "kms_key": "" if key.endswith(OWN_KEY) else key,
            "tags": tags,
        }


def _log_group(account: Account, found: dict[str, Any]) -> None:
    group = found["log_group"] = _aws_preflight_logs.log_group(account)
    if group["name"]:
        _foreign(account, "log group", group["name"], group["tags"])


def _execution(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    given = "" if account.removing else options["execution_role"]
    if given:
        found["execution_role"] |= _aws_preflight_identity.given_role(account, given, "aws_ecs_execution_role")
        return
    name = f"{account.iam_name}-exec"
    answer = account.ask("iam", "get_role", missing=MISSING_IN_IAM, RoleName=name)
    if answer:
        role = answer["Role"]
        tags = tags_of(role.get("Tags"))
        _foreign(account, "IAM role", name, tags)
        attached = account.ask_all("iam", "list_attached_role_policies", "AttachedPolicies", RoleName=name)
        found["execution_role"] = {
            "name": name,
            "arn": role["Arn"],
            "ours": account.is_ours(tags),
            "policies": sorted(policy["PolicyArn"] for policy in attached),
            "trust": _document(role.get("AssumeRolePolicyDocument")),
            "boundary": role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
            "tags": tags,
        }
    arn = f"arn:{account.partition}:iam::{account.account_id}:policy/{name}"
    answer = account.ask("iam", "get_policy", missing=MISSING_IN_IAM, PolicyArn=arn)
    if answer:
        policy = answer["Policy"]
        tags = tags_of(policy.get("Tags"))
        _foreign(account, "IAM policy", name, tags)
        version = account.ask("iam", "get_policy_version", PolicyArn=arn, VersionId=policy["DefaultVersionId"]) or {}
        found["execution_policy"] = {
            "arn": arn,
            "ours": account.is_ours(tags),
            "document": _document(version.get("PolicyVersion", {}).get("Document")),
        }


def _document(value: Any) -> Answer:
    """A policy, which IAM gives as a dictionary or as text."""
    if isinstance(value, str):
        value = json.loads(urllib.parse.unquote(value))
    return dict(value or {})


def _scaling(account: Account, found: dict[str, Any]) -> None:
    resource = f"service/{account.name}/{account.name}"
    targets = account.ask_all(
        "application-autoscaling",
        "describe_scalable_targets",
        "ScalableTargets",
        ServiceNamespace="ecs",
        ResourceIds=[resource],
        ScalableDimension=DIMENSION,
    )
    for target in targets:
        found["scaling"]["min"], found["scaling"]["max"] = target["MinCapacity"], target["MaxCapacity"]
    policies = account.ask_all(
        "application-autoscaling",
        "describe_scaling_policies",
        "ScalingPolicies",
        ServiceNamespace="ecs",
        ResourceId=resource,
        ScalableDimension=DIMENSION,
    )
    found["scaling"]["policies"] = {policy["PolicyName"]: _tracking(policy) for policy in policies}


def _tracking(policy: Answer) -> Answer:
    """What a policy follows, as the role writes it: AWS may say more, such as that it scales in."""
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration") or {}
    followed = {key: tracking[key] for key in TRACKING if key in tracking}
    return {**followed, "DisableScaleIn": True} if tracking.get("DisableScaleIn") else followed


def _subnets(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Two zones at least, or the loss of one takes the registry along."""
    if not options["subnet_ids"]:
        return
    answer = account.ask(
        "ec2",
        "describe_subnets",
        missing=["InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed"],
        SubnetIds=list(options["subnet_ids"]),
    )
    if answer is None:
        account.refuse(
            f"aws_ecs_subnet_ids names a subnet that is not in {account.region} ({', '.join(options['subnet_ids'])}): correct it."
        )
        return
    zones = sorted({subnet["AvailabilityZone"] for subnet in answer["Subnets"]})
    found["zones"] = zones
    if len(zones) < 2:
        account.refuse(
            f"All subnets in aws_ecs_subnet_ids are in the zone {zones[0]}, whose loss would take the registry along: add a subnet in "
            "another zone."
        )


def _target_group(account: Account, options: Mapping[str, Any]) -> None:
    arn = options["target_group_arn"]
    if not arn:
        return
    answer = account.ask(
        "elbv2", "describe_target_groups", missing=["TargetGroupNotFound", "ValidationError"], TargetGroupArns=[arn]
    )
    if not answer or not answer["TargetGroups"]:
        account.refuse(f"There is no target group {arn} (aws_ecs_target_group_arn) in {account.region}: correct it.")
        return
    kind = answer["TargetGroups"][0].get("TargetType", "instance")
    if kind != "ip":
        account.refuse(
            f"The target group in aws_ecs_target_group_arn has targets of the type {kind}, but tasks have addresses of their own: make one "
            "of the type ip."
        )


def _capacity_provider(account: Account, options: Mapping[str, Any]) -> None:
    name = options["capacity_provider"]
    if not name:
        return
    answer = account.ask("ecs", "describe_capacity_providers", capacityProviders=[name]) or {}
    if not [each for each in answer.get("capacityProviders", []) if each.get("status") == "ACTIVE"]:
        account.refuse(
            f"There is no capacity provider {name} (aws_ecs_capacity_provider) in {account.region}: make it for an Auto Scaling group of "
            "machines with the ECS agent, or leave the setting out and have machines join the cluster themselves."
        )


def _plain(value: Any) -> Any:
    """Turn dates into text, which is all that JSON has, and leave out what AWS says of the answer itself."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else value
