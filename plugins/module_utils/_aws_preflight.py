# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at an AWS account before anything is made in it, one section a role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils import (
    _aws_preflight_autoscaling,
    _aws_preflight_ecs,
    _aws_preflight_identity,
    _aws_preflight_instance,
    _aws_preflight_logs,
    _aws_preflight_network,
    _aws_preflight_storage,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, AwsProblem
from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import deployment_problem, tags_problems

Look = Callable[[Account, Mapping[str, Any]], dict[str, Any]]


def load_balancer(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Look for a load balancer. What that imports loads cryptography, which the other sections do without."""
    from ansible_collections.drydock.registry.plugins.module_utils import _aws_preflight_load_balancer  # noqa: PLC0415

    return _aws_preflight_load_balancer.look(account, options)


SECTIONS: dict[str, Look] = {
    "network": _aws_preflight_network.look,
    "storage": _aws_preflight_storage.look,
    "identity": _aws_preflight_identity.look,
    "instance": _aws_preflight_instance.look,
    "load_balancer": load_balancer,
    "autoscaling": _aws_preflight_autoscaling.look,
    "ecs": _aws_preflight_ecs.look,
    "logs": _aws_preflight_logs.look,
}


def look(account: Account, section: str, options: Mapping[str, Any], tags: Mapping[str, Any]) -> dict[str, Any]:
    """Answer what a role asks; the problems are in the account."""
    problem = deployment_problem(account.deployment)
    if problem:
        account.refuse(f"aws_{section}_name (drydock_deployment), which is {account.deployment!r}, {problem}.")
    for problem in tags_problems(tags, f"aws_{section}_tags"):
        account.refuse(problem)
    found: dict[str, Any] = {}
    try:
        account.identify()
    except AwsProblem as problem_of_caller:
        # Without an account there is nothing else to ask.
        account.problems.append(str(problem_of_caller))
    else:
        found = SECTIONS[section](account, options)
    return {
        "account_id": account.account_id,
        "partition": account.partition,
        "region": account.region,
        "caller_arn": account.caller_arn,
        "name": account.name,
        "iam_name": account.iam_name,
        **found,
    }
