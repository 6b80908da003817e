#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: autoscaling_lifecycle
short_description: Set how hosts of an Auto Scaling group come and go
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Sets what M(amazon.aws.autoscaling_group) has no options for, so that it belongs after a call of that one. A new group is best made
    without hosts before, since what is launched before a hook is there does not wait at it.
  - Hooks of other names stay.
  - Credentials, the API's address and a proxy come from the environment alone, as boto3 reads it.
options:
  name:
    description: The group's name.
    type: str
    required: true
  warmup_seconds:
    description: How long the load of a new host does not count, for all kinds of scaling and for an instance refresh.
    type: int
    required: true
  capacity_rebalance_enabled:
    description: Whether another host is launched for a spot instance that is about to be interrupted, before it is.
    type: bool
    default: false
  launch_seconds:
    description:
      - How long a new host may take until it completes the hook V(launch). Before, it gets no requests; one that takes longer is ended.
    type: int
    required: true
  terminate_seconds:
    description:
      - How long a host that is taken out may take until it completes the hook V(terminate). After that it is ended all the same.
    type: int
    required: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - drydock.registry.aws_account
notes:
  - The permissions for it are C(autoscaling:DescribeAutoScalingGroups), C(autoscaling:DescribeLifecycleHooks),
    C(autoscaling:PutLifecycleHook) and C(autoscaling:UpdateAutoScalingGroup).
seealso:
  - name: Lifecycle hooks
    description: How hosts wait, and how they go on.
    link: https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
  - name: The default instance warmup
    description: What does not count meanwhile.
    link: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-default-instance-warmup.html
  - module: amazon.aws.autoscaling_group
"""

EXAMPLES = r"""
- name: Have hosts say themselves when they are ready
  drydock.registry.autoscaling_lifecycle:
    name: example-registry
    warmup_seconds: 180
    launch_seconds: 1200
    terminate_seconds: 400
"""

RETURN = r"""
hooks:
  description: The hooks that differed, and how many seconds hosts may wait at each.
  returned: success
  type: dict
  sample: {launch: 1200, terminate: 400}
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, AwsProblem
from ansible_collections.drydock.registry.plugins.module_utils._aws_module import account_of, aws_module, finish
from ansible_collections.drydock.registry.plugins.module_utils._aws_preflight_autoscaling import (
    ABANDON_OR_CONTINUE,
    LAUNCH,
    TERMINATE,
    TRANSITIONS,
    hooks,
)


def run(account: Account, parameters: Mapping[str, Any], check_mode: bool) -> dict[str, object]:
    """Correct what differs, and return what did."""
    name = parameters["name"]
    answer = account.ask("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[name])
    groups = (answer or {}).get("AutoScalingGroups", [])
    if not groups:
        raise AwsProblem(f"There is no Auto Scaling group {name} in {account.region}: create it first.")
    wanted = {
        "DefaultInstanceWarmup": parameters["warmup_seconds"],
        "CapacityRebalance": parameters["capacity_rebalance_enabled"],
    }
    settled = {"CapacityRebalance": False, **groups[0]}.items() >= wanted.items()
    seconds = {LAUNCH: parameters["launch_seconds"], TERMINATE: parameters["terminate_seconds"]}
    found = hooks(account, name)
    to_write = {hook: limit for hook, limit in seconds.items() if found.get(hook) != limit}
    result: dict[str, object] = {"changed": bool(to_write) or not settled, "hooks": to_write}
    if check_mode:
        return result
    for hook, limit in to_write.items():
        account.ask(
            "autoscaling",
            "put_lifecycle_hook",
            AutoScalingGroupName=name,
            LifecycleHookName=hook,
            LifecycleTransition=TRANSITIONS[hook],
            HeartbeatTimeout=limit,
            DefaultResult=ABANDON_OR_CONTINUE[hook],
        )
    if not settled:
        account.ask("autoscaling", "update_auto_scaling_group", AutoScalingGroupName=name, **wanted)
    return result


def main() -> None:
    module = aws_module(
        {
            "name": {"type": "str", "required": True},
            "warmup_seconds": {"type": "int", "required": True},
            "capacity_rebalance_enabled": {"type": "bool", "default": False},
            "launch_seconds": {"type": "int", "required": True},
            "terminate_seconds": {"type": "int", "required": True},
        },
    )
    finish(module, lambda: run(account_of(module), module.params, module.check_mode))


if __name__ == "__main__":
    main()
