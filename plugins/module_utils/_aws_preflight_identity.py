# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets in IAM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import TAG, Account, Answer, tags_of

MISSING = ("NoSuchEntity",)
PATH = re.compile(r"/(?:[!-.0-~]{1,126}/)*")
POLICY_ARN = re.compile(r"arn:aws[\w-]*:iam::(?:\d{12}|aws):policy/[!-~]+")


def look(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find what is there; note what is wrong with the settings or with what they meet."""
    found: dict[str, Any] = {
        "role": {"name": "", "arn": "", "ours": False},
        "policy": {"name": "", "arn": "", "ours": False},
        "policy_arn": "",
        "instance_profile": {"name": "", "arn": "", "ours": False},
    }
    name, path = account.iam_name, options["path"]
    if not PATH.fullmatch(path):
        account.refuse(
            f"aws_identity_path ({path}) is no path of IAM: write one that begins and ends with a slash, such as /registry/."
        )
        path = "/"
    with account.step():
        path = _role(account, name, path, found)
    with account.step():
        arn = f"arn:{account.partition}:iam::{account.account_id}:policy{path}{name}"
        answer = account.ask("iam", "get_policy", missing=MISSING, PolicyArn=arn)
        if answer:
            found["policy"], found["policy_arn"] = _thing(account, "policy", name, answer["Policy"]), arn
    with account.step():
        answer = account.ask("iam", "get_instance_profile", missing=MISSING, InstanceProfileName=name)
        if answer:
            profile = answer["InstanceProfile"]
            found["instance_profile"] = _thing(account, "instance profile", name, profile)
            for role in profile.get("Roles", []):
                if role["RoleName"] != name:
                    account.refuse(
                        f"The instance profile {name} holds the role {role['RoleName']}: take it out, or write another aws_identity_name."
                    )
    with account.step():
        _check_boundary(account, options["permissions_boundary"])
    return found


def _role(account: Account, name: str, path: str, found: dict[str, Any]) -> str:
    """The role, and the path under which its policy is."""
    answer = account.ask("iam", "get_role", missing=MISSING, RoleName=name)
    if not answer:
        return path
    role = answer["Role"]
    found["role"] = _thing(account, "role", name, role)
    if not found["role"]["ours"]:
        return path
    if role["Path"] != path:
        account.refuse(
            f"aws_identity_path is {path}, but the role {name} has {role['Path']}, which IAM cannot change: write that, or remove the "
            "deployment first."
        )
    return str(role["Path"])


def _thing(account: Account, what: str, name: str, answer: Answer) -> dict[str, Any]:
    """What is said of each thing; one of that name that is somebody else's is refused."""
    ours = account.is_ours(tags_of(answer.get("Tags")))
    if not ours:
        article = "an" if what[0] in "aeiou" else "a"
        account.refuse(
            f"IAM has {article} {what} {name} that is not this deployment's, as it lacks the tag {TAG}: {account.deployment}: write "
            "another aws_identity_name, or delete it."
        )
    return {"name": name, "arn": answer["Arn"], "ours": ours}


def _check_boundary(account: Account, boundary: str) -> None:
    if not boundary or account.removing:
        return
    if not POLICY_ARN.fullmatch(boundary):
        account.refuse(
            f"aws_identity_permissions_boundary ({boundary}) is no ARN of a policy: write one such as "
            f"arn:{account.partition}:iam::{account.account_id}:policy/boundary."
        )
    elif not account.ask("iam", "get_policy", missing=MISSING, PolicyArn=boundary):
        account.refuse(
            f"There is no policy {boundary} (aws_identity_permissions_boundary): correct it, or leave it out."
        )
