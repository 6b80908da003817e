# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets in CloudWatch Logs, where its hosts are to write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account
from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import RETENTION_DAYS

# What is told of one that is not there.
NO_LOG_GROUP: dict[str, Any] = {"name": "", "ours": False, "retention_days": 0, "tags": {}}


def look(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find the log group; note what is wrong with the settings or with what they meet."""
    found: dict[str, Any] = {"log_group": NO_LOG_GROUP}
    if options["retention_days"] not in RETENTION_DAYS:
        account.refuse(
            f"aws_logs_retention_days is {options['retention_days']}, which CloudWatch does not offer: write one of "
            f"{', '.join(map(str, RETENTION_DAYS))}."
        )
    with account.step():
        group = found["log_group"] = log_group(account)
        if group["name"] and not group["ours"]:
            account.refuse(
                f"There is a log group {group['name']} that is not this deployment's: delete it, or write another aws_logs_name "
                "(drydock_deployment)."
            )
    return found


def log_group(account: Account) -> dict[str, Any]:
    """What has the name of the deployment's log group, whosesoever it is."""
    name = f"/drydock/{account.name}"
    for group in account.ask_all("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=name):
        if group["logGroupName"] == name:
            arn = str(group["arn"]).removesuffix(":*")
            tags = dict((account.ask("logs", "list_tags_for_resource", resourceArn=arn) or {}).get("tags", {}))
            return {
                "name": name,
                "ours": account.is_ours(tags),
                "retention_days": group.get("retentionInDays", 0),
                "tags": tags,
            }
    return NO_LOG_GROUP
