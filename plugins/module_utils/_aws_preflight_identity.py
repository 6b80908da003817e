# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets in IAM, and in Route 53 where its role may answer ACME's challenges."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils import _aws_zones
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import TAG, Account, Answer, tags_of
from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import domain_problem, is_address
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import challenge_name

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
        "acme_zone": {"id": "", "name": ""},
    }
    if not account.removing and (options["given_role"] or options["given_instance_profile"]):
        # Nothing is made, and what has our name is not looked at.
        with account.step():
            _given(account, options, found)
        return found
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
    if options["acme_names"] and not account.removing:
        with account.step():
            found["acme_zone"] = _acme_zone(account, options)
    return found


def _given(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    """A role or an instance profile of somebody else's."""
    profile_name = options["given_instance_profile"].rpartition("/")[2]
    role_name = options["given_role"].rpartition("/")[2]
    if profile_name:
        answer = account.ask("iam", "get_instance_profile", missing=MISSING, InstanceProfileName=profile_name)
        if answer is None:
            account.refuse(
                f"IAM has no instance profile {profile_name} (aws_identity_instance_profile): correct it, or leave it out."
            )
            return
        profile = answer["InstanceProfile"]
        found["instance_profile"] = {"name": profile_name, "arn": profile["Arn"], "ours": False}
        roles = [role["RoleName"] for role in profile.get("Roles", [])]
        if not roles:
            account.refuse(
                f"The instance profile {profile_name} (aws_identity_instance_profile) holds no role, so hosts could do nothing: put one in."
            )
            return
        if role_name and roles != [role_name]:
            account.refuse(
                f"The instance profile {profile_name} (aws_identity_instance_profile) holds the role {roles[0]}, not {role_name} "
                "(aws_identity_role): leave the role out."
            )
        role_name = roles[0]
    found["role"] |= given_role(account, role_name, "aws_identity_role")


def given_role(account: Account, name_or_arn: str, variable: str) -> dict[str, str]:
    """A role of somebody else's, which has to be there; nothing where it is not."""
    name = name_or_arn.rpartition("/")[2]
    answer = account.ask("iam", "get_role", missing=MISSING, RoleName=name)
    if answer is None:
        account.refuse(f"IAM has no role {name} ({variable}): correct it, or leave it out.")
        return {}
    return {"name": name, "arn": answer["Role"]["Arn"]}


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


def _acme_zone(account: Account, options: Mapping[str, Any]) -> dict[str, str]:
    """The zone in which the challenges of all names are answered. A public CA sees public zones only, and so does certbot."""
    none = {"id": "", "name": ""}
    zone = options["acme_zone"].rstrip(".").lower()
    if not zone:
        account.refuse(
            "aws_identity_acme_names is set, but aws_identity_acme_zone is not: write the public hosted zone of Route 53 that holds these "
            "names, or let the CA prove them in another way than dns-01."
        )
        return none
    challenges = []
    for name in options["acme_names"]:
        if is_address(name):
            account.refuse(f"{name} in aws_identity_acme_names is an address, which no record proves: leave it out.")
        elif problem := domain_problem(name.removeprefix("*.").rstrip(".")):
            account.refuse(f"{name} in aws_identity_acme_names {problem}.")
        elif not _aws_zones.holds(zone, challenge_name(name)):
            account.refuse(
                f"The hosted zone {zone} in aws_identity_acme_zone does not hold {name}: write the zone whose name {name} ends with, or "
                "leave the name out of the certificate."
            )
        else:
            challenges.append(challenge_name(name))
    zones = _aws_zones.listed_from(account, zone)
    named = [each for each in zones if _aws_zones.name_of(each) == zone]
    public = [each for each in named if not _aws_zones.is_private(each)]
    if not named:
        account.refuse(f"{_aws_zones.not_found(zone, zones)}: correct aws_identity_acme_zone.")
    elif not public:
        account.refuse(
            f"The hosted zone {zone} is private, where a CA does not look for answers: write a public one as aws_identity_acme_zone."
        )
    elif len(public) > 1:
        account.refuse(_aws_zones.several("public", zone, public, "aws_identity_acme_zone"))
    else:
        _check_closer_zones(account, zone, challenges)
        return {"id": _aws_zones.id_of(public[0]), "name": zone}
    return none


def _check_closer_zones(account: Account, zone: str, challenges: Sequence[str]) -> None:
    """Refuse where certbot would write into another zone: it takes the closest one, as resolvers do."""
    depth = zone.count(".") + 1
    closer = {
        ".".join(labels[number:])
        for labels in (challenge.split(".") for challenge in challenges)
        for number in range(len(labels) - depth)
    }
    for name in sorted(closer):
        found = [each for each in _aws_zones.listed_from(account, name) if _aws_zones.name_of(each) == name]
        if any(not _aws_zones.is_private(each) for each in found):
            account.refuse(
                f"aws_identity_acme_zone is {zone}, but the account has the hosted zone {name} as well, and challenges are answered in the "
                f"closest one: write {name}."
            )
