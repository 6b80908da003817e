# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts and tasks may do with the policies that roles give them, on the ARNs that AWS asks about."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import execution_policy
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import registry_policy
from aws_stand_in.enforcement import KNOWN_KEYS
from aws_stand_in.policies import Decision, Request, decide

WHERE = {"partition": "aws", "region": "eu-central-1", "account_id": "111122223333"}
PLACE = "eu-central-1:111122223333"
KEY = f"arn:aws:kms:{PLACE}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY = f"arn:aws:kms:{PLACE}:key/9876abcd-12ab-34cd-56ef-1234567890ab"
SECRET = f"arn:aws:secretsmanager:{PLACE}:secret:tasks-registry-ecs-"
LOG = f"arn:aws:logs:{PLACE}:log-group:/drydock/tasks-registry"
ECR = f"arn:aws:ecr:{PLACE}:repository/mirror/registry"
OWN_ECR = f"arn:aws:ecr:{PLACE}:repository/mirrored/nginx"
HUB_SECRET = f"arn:aws:secretsmanager:{PLACE}:secret:docker-hub-AbCdEf"


def allowed(policy: dict[str, Any], action: str, resource: str, through: str = "") -> bool:
    context = {"kms:viaservice": (f"{through}.eu-central-1.amazonaws.com",)} if through else {}
    return decide(policy, Request(action, resource, (), context, KNOWN_KEYS)) is Decision.ALLOW


@pytest.mark.parametrize(
    ("action", "resource", "through", "expected"),
    [
        # AWS ends the ARN of a secret with six characters of its own.
        ("secretsmanager:GetSecretValue", f"{SECRET}1-AbCdEf", "", True),
        ("secretsmanager:GetSecretValue", f"{SECRET}10-AbCdEf", "", False),
        ("secretsmanager:GetSecretValue", f"{SECRET}2-AbCdEf", "", False),
        ("secretsmanager:PutSecretValue", f"{SECRET}1-AbCdEf", "", False),
        ("logs:CreateLogStream", f"{LOG}:log-stream:task/registry/0123", "", True),
        ("logs:PutLogEvents", f"{LOG}:log-stream:task/registry/0123", "", True),
        ("logs:PutLogEvents", f"{LOG}-of-others:log-stream:task/registry/0123", "", False),
        ("kms:Decrypt", KEY, "secretsmanager", True),
        ("kms:Decrypt", KEY, "s3", False),
        ("kms:Decrypt", KEY, "", False),
        ("kms:Decrypt", OTHER_KEY, "secretsmanager", False),
        ("ecr:GetAuthorizationToken", "*", "", True),
        ("ecr:BatchGetImage", ECR, "", True),
        ("ecr:BatchGetImage", f"{ECR}-of-others", "", False),
        # The registry's image is in the cache, nginx's beside it.
        ("ecr:BatchImportUpstreamImage", ECR, "", True),
        ("ecr:CreateRepository", ECR, "", True),
        ("ecr:BatchGetImage", OWN_ECR, "", True),
        ("ecr:CreateRepository", OWN_ECR, "", False),
        ("secretsmanager:GetSecretValue", HUB_SECRET, "", True),
    ],
)
def test_who_starts_tasks(action: str, resource: str, through: str, expected: bool) -> None:
    image = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/mirror/registry:3.0.0"
    own = image.replace("mirror/registry", "mirrored/nginx")
    policy = execution_policy(
        WHERE, ["tasks-registry-ecs-1"], "/drydock/tasks-registry", [image, own], KEY, [HUB_SECRET], ["mirror/"]
    )
    assert allowed(policy, action, resource, through) is expected


IMAGES = "arn:aws:s3:::images"
CONFIGURATION = "arn:aws:s3:::images-configuration"
# With an id that AWS makes up.
GROUPS = f"arn:aws:autoscaling:{PLACE}:autoScalingGroup:0123-abcd:autoScalingGroupName"


@pytest.mark.parametrize(
    ("action", "resource", "through", "expected"),
    [
        ("s3:ListBucket", IMAGES, "", True),
        ("s3:PutObject", f"{IMAGES}/prod/docker/registry/v2/blobs/x/data", "", True),
        ("s3:GetObject", f"{IMAGES}/prod/scheduler-state.json", "", True),
        ("s3:GetObject", f"{IMAGES}/docker/registry/v2/blobs/x/data", "", False),
        ("s3:GetObject", f"{CONFIGURATION}/live.json", "", True),
        ("s3:GetObject", f"{CONFIGURATION}/bundles/0123.tar.gz", "", True),
        ("s3:PutObject", f"{CONFIGURATION}/live.json", "", False),
        ("s3:ListBucket", CONFIGURATION, "", False),
        ("kms:GenerateDataKey", KEY, "s3", True),
        ("kms:Decrypt", KEY, "s3", True),
        ("kms:Decrypt", KEY, "", False),
        # What is only read needs no more.
        ("kms:Decrypt", OTHER_KEY, "s3", True),
        ("kms:GenerateDataKey", OTHER_KEY, "s3", False),
        ("autoscaling:CompleteLifecycleAction", f"{GROUPS}/team-registry", "", True),
        ("autoscaling:CompleteLifecycleAction", f"{GROUPS}/team-registry-2", "", False),
        ("autoscaling:SetDesiredCapacity", f"{GROUPS}/team-registry", "", False),
        ("ecr:GetAuthorizationToken", "*", "", True),
        ("ecr:BatchGetImage", ECR, "", True),
        ("ecr:BatchGetImage", f"{ECR}-of-others", "", False),
        ("ecr:PutImage", ECR, "", False),
        ("ecr:BatchImportUpstreamImage", ECR, "", True),
        ("ecr:CreateRepository", OWN_ECR, "", False),
        ("logs:CreateLogStream", f"{LOG}:log-stream:ip-10-0-0-1/drydock-proxy/0123", "", True),
        ("logs:PutLogEvents", f"{LOG}:log-stream:ip-10-0-0-1/drydock-proxy/0123", "", True),
        ("logs:PutLogEvents", f"{LOG}-of-others:log-stream:x", "", False),
        ("logs:GetLogEvents", f"{LOG}:log-stream:x", "", False),
    ],
)
def test_who_keeps_images(action: str, resource: str, through: str, expected: bool) -> None:
    policy = registry_policy(
        "images",
        prefix="prod",
        kms_key_arn=KEY,
        configuration_bucket="images-configuration",
        configuration_kms_key_arn=OTHER_KEY,
        autoscaling_group=f"{PLACE}:team-registry",
        images=[
            "111122223333.dkr.ecr.eu-central-1.amazonaws.com/mirror/registry:3.0.0",
            "111122223333.dkr.ecr.eu-central-1.amazonaws.com/mirrored/nginx",
            "docker.io/library/nginx:stable",
        ],
        pull_through_prefixes=["mirror"],
        log_group=f"{PLACE}:/drydock/tasks-registry",
    )
    assert allowed(policy, action, resource, through) is expected
