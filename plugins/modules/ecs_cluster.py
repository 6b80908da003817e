#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_cluster
short_description: Ensure an ECS cluster, which has its tags from the first moment
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Creates a cluster with its tags, so that an organisation may refuse to create any without. M(community.aws.ecs_cluster) knows no tags,
    and what is tagged later was created without.
  - Tags, capacity providers and the strategy that somebody else has set stay.
  - Credentials, the API's address and a proxy come from the environment alone, as boto3 reads it.
options:
  name:
    description: The cluster's name.
    type: str
    required: true
  tags:
    description: Tags that it has at least.
    type: dict
    default: {}
  capacity_providers:
    description: Capacity providers that it has at least.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - drydock.registry.aws_account
notes:
  - The permissions for it are C(ecs:DescribeClusters), C(ecs:CreateCluster), C(ecs:TagResource) and C(ecs:PutClusterCapacityProviders).
seealso:
  - name: Tags when something is created
    description: What ECS asks permission for.
    link: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html
  - module: community.aws.ecs_cluster
"""

EXAMPLES = r"""
- name: Ensure the cluster exists
  drydock.registry.ecs_cluster:
    name: example-registry
    tags: {team: build}
"""

RETURN = r"""
created:
  description: Whether there was none.
  returned: success
  type: bool
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account
from ansible_collections.drydock.registry.plugins.module_utils._aws_module import account_of, aws_module, finish


def pairs(tags: Mapping[str, Any]) -> list[dict[str, str]]:
    """Write tags as ECS has them."""
    return [{"key": key, "value": str(value)} for key, value in tags.items()]


def run(account: Account, parameters: Mapping[str, Any], check_mode: bool) -> dict[str, object]:
    """Create it, or correct what it lacks."""
    name, tags, providers = (parameters[key] for key in ("name", "tags", "capacity_providers"))
    answer = account.ask("ecs", "describe_clusters", clusters=[name], include=["TAGS"]) or {}
    # One that was deleted stays in sight for a while.
    living = [cluster for cluster in answer.get("clusters", []) if cluster.get("status") != "INACTIVE"]
    if not living:
        if not check_mode:
            account.ask("ecs", "create_cluster", clusterName=name, tags=pairs(tags), capacityProviders=providers)
        return {"changed": True, "created": True}
    (cluster,) = living
    present = cluster.get("capacityProviders", [])
    missing = [provider for provider in providers if provider not in present]
    untagged = [pair for pair in pairs(tags) if pair not in cluster.get("tags", [])]
    if not check_mode and missing:
        account.ask(
            "ecs",
            "put_cluster_capacity_providers",
            cluster=name,
            capacityProviders=[*present, *missing],
            defaultCapacityProviderStrategy=cluster.get("defaultCapacityProviderStrategy", []),
        )
    if not check_mode and untagged:
        account.ask("ecs", "tag_resource", resourceArn=cluster["clusterArn"], tags=untagged)
    return {"changed": bool(missing or untagged), "created": False}


def main() -> None:
    module = aws_module(
        {
            "name": {"type": "str", "required": True},
            "tags": {"type": "dict", "default": {}},
            "capacity_providers": {"type": "list", "elements": "str", "default": []},
        },
    )
    finish(module, lambda: run(account_of(module), module.params, module.check_mode))


if __name__ == "__main__":
    main()
