# SPDX-License-Identifier: GPL-3.0-or-later
"""What others need to know of a deployment, and the parameters of SSM that say so. The account is moto's, in this process."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from ansible_collections.drydock.registry.plugins.filter.aws_outputs import aws_outputs
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import open_account
from ansible_collections.drydock.registry.plugins.modules.ssm_parameters import ensure

RESULTS: dict[str, dict[str, Any]] = {
    "aws_storage_result": {"bucket": "images", "adopted": False},
    "aws_network_result": {
        "subnet_ids": ["subnet-1", "subnet-2"],
        "subnets": [{"id": "subnet-1"}],
        "s3_endpoint_id": "",
    },
    "aws_autoscaling_result": {"group_name": "prod-registry", "refreshing": True},
}
PATH = "/drydock/prod"


def test_outputs_are_what_stays() -> None:
    assert aws_outputs(RESULTS, {"deployment": "prod"}) == {
        "deployment": "prod",
        "autoscaling": {"group_name": "prod-registry"},
        "network": RESULTS["aws_network_result"],
        "storage": {"bucket": "images"},
    }


def test_each_has_a_name_of_its_own() -> None:
    assert aws_outputs(RESULTS, {"deployment": "prod"}, flat=True) == {
        "deployment": "prod",
        "autoscaling/group_name": "prod-registry",
        "network/subnet_ids": "subnet-1,subnet-2",
        "network/s3_endpoint_id": "",
        "storage/bucket": "images",
    }


def stored() -> dict[str, str]:
    ssm = boto3.client("ssm", region_name="eu-central-1")
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/drydock", Recursive=True)
    return {each["Name"]: each["Value"] for page in pages for each in page["Parameters"]}


@pytest.mark.usefixtures("aws")
def test_parameters_become_what_is_wanted() -> None:
    account = open_account("eu-central-1", "")
    others = {"/drydock/production/a": "theirs"}
    tags = {"drydock-deployment": "prod"}
    ensure(account, "/drydock/production", others, tags, check_mode=False)
    first = {f"{PATH}/{number}": str(number) for number in range(25)}
    assert ensure(account, PATH, first, tags, check_mode=True)
    assert stored() == others
    assert ensure(account, PATH, first, tags, check_mode=False)
    assert not ensure(account, PATH, first, tags, check_mode=False)
    assert stored() == {**others, **first}
    listed = account.clients("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=f"{PATH}/1")["TagList"]
    assert listed == [{"Key": "drydock-deployment", "Value": "prod"}]

    second = {f"{PATH}/1": "one", f"{PATH}/2": "2"}
    assert ensure(account, PATH, second, tags, check_mode=False)
    assert stored() == {**others, **second}
    assert ensure(account, PATH, {}, {}, check_mode=False)
    assert stored() == others
