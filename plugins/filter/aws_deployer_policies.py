# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_deployer_policies
short_description: Write the IAM policies of whoever deploys a registry on AWS
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Allows what C(provision.yml) and C(teardown.yml) call on a platform, each policy within what IAM takes for a managed one.
  - The partition, which ARNs begin with, follows from the region.
options:
  _input:
    description:
      - The platform.
    type: str
    choices: [ec2, autoscaling, ecs]
    required: true
  buckets:
    description:
      - The names of the buckets by their use, C(images), C(configuration), C(clients), C(log) and C(balancer_log). Those that the
        platform and the parts have. Of roles that are used as they are, C(given_role) and C(given_execution_role), and the ARN of
        the one that may change a zone of another account, C(zone_role).
    type: dict
    required: true
  region:
    description:
      - The region, which says the partition.
    type: str
    default: ""
  deployment:
    description:
      - The deployment's name. When empty, the policies are for all deployments of the account.
    type: str
    default: ""
  parts:
    description:
      - What the deployment has that others have not.
    type: list
    elements: str
    choices: [own_vpc, kms, log_bucket, balancer_log, dns, zone_role, clients, given_roles, outputs, host_logs, golden_image]
    default: []
  permissions_boundary:
    description:
      - The ARN of a policy that every role which the holder makes has to have as its boundary. Without one, the holder can make roles
        that may do everything.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Write what the caller may do
  ansible.builtin.copy:
    content: "{{ item['value'] | to_nice_json }}"
    dest: "policies/{{ item['key'] }}.json"
    mode: "0644"
  loop: "{{ 'ec2' | drydock.registry.aws_deployer_policies({'images': 'example-images'}, deployment='prod', parts=['dns']) | dict2items }}"
"""

RETURN = r"""
_value:
  description: The policies by their names.
  type: dict
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def aws_deployer_policies(
    platform: str,
    buckets: Mapping[str, str],
    region: str = "",
    deployment: str = "",
    parts: Collection[str] = (),
    permissions_boundary: str = "",
) -> dict[str, Any]:
    """The policies of whoever deploys."""
    from ansible_collections.drydock.registry.plugins.module_utils._aws_deployer import (
        DeployerError,
        deployer_policies,
    )
    from ansible_collections.drydock.registry.plugins.module_utils._aws_partitions import partition_of

    try:
        return deployer_policies(platform, buckets, partition_of(region), deployment, parts, permissions_boundary)
    except DeployerError as error:
        raise AnsibleFilterError(f"drydock.registry.aws_deployer_policies: {error}") from error


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_deployer_policies": aws_deployer_policies}
