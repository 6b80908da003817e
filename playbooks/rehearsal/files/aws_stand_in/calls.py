# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call of an API needs permission for: actions, the resources they are about, and facts that conditions ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .policies import UNKNOWN_RESOURCE

# By the beginning of an id, what kind of thing it names.
EC2_RESOURCES = {
    "ami": "image",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "i": "instance",
    "igw": "internet-gateway",
    "key": "key-pair",
    "rtb": "route-table",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "snap": "snapshot",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}
# What a call makes has no id yet, and permission is asked for all of the kind.
EC2_MADE = {
    "AllocateAddress": ["elastic-ip"],
    "CreateInternetGateway": ["internet-gateway"],
    "CreateRouteTable": ["route-table"],
    "CreateSecurityGroup": ["security-group"],
    "CreateSubnet": ["subnet"],
    "CreateVolume": ["volume"],
    "CreateVpc": ["vpc"],
    "CreateVpcEndpoint": ["vpc-endpoint"],
    "RunInstances": ["instance", "network-interface", "volume"],
}
# Parameters that name things which a call does not touch.
ONLY_NAMED = {"Filters", "GatewayId", "IpPermissions", "NatGatewayId", "TagSpecifications", "Tags", "UserData"}
# Tags given when something is made need permission of their own.
TAGGING = {
    "iam:CreateInstanceProfile": "iam:TagInstanceProfile",
    "iam:CreatePolicy": "iam:TagPolicy",
    "iam:CreateRole": "iam:TagRole",
    "iam:CreateUser": "iam:TagUser",
    "kms:CreateKey": "kms:TagResource",
}


class Need(NamedTuple):
    """One permission that a call needs."""

    action: str
    resource: str
    context: Mapping[str, tuple[str, ...]] = {}


class Call(NamedTuple):
    """A call of an API."""

    service: str
    action: str
    parameters: Mapping[str, Any]
    account: str
    region: str


def tags_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that a call gives."""
    listed = list(parameters.get("Tags") or [])
    for specification in parameters.get("TagSpecifications") or []:
        listed += specification.get("Tags") or []
    # KMS has its own names.
    return {
        str(tag.get("Key", tag.get("TagKey", ""))): str(tag.get("Value", tag.get("TagValue", "")))
        for tag in listed
        if isinstance(tag, Mapping)
    }


def _values(parameters: Any) -> Iterator[str]:
    """Yield all strings in the parameters, however deep."""
    if isinstance(parameters, Mapping):
        for name, value in parameters.items():
            if name not in ONLY_NAMED:
                yield from _values(value)
    elif isinstance(parameters, (list, tuple)):
        for value in parameters:
            yield from _values(value)
    elif isinstance(parameters, str):
        yield parameters


def _ec2(call: Call) -> Iterator[str]:
    # They support no permissions for single things.
    if call.action.startswith(("Describe", "Get")):
        yield "*"
        return
    for value in dict.fromkeys(_values(call.parameters)):
        kind, dash, number = value.partition("-")
        if dash and kind in EC2_RESOURCES and number.isalnum():
            owner = "" if kind in {"ami", "snap"} else call.account
            yield f"arn:aws:ec2:{call.region}:{owner}:{EC2_RESOURCES[kind]}/{value}"
    for made in EC2_MADE.get(call.action, []):
        yield f"arn:aws:ec2:{call.region}:{call.account}:{made}/*"
    if name := call.parameters.get("KeyName"):
        yield f"arn:aws:ec2:{call.region}:{call.account}:key-pair/{name}"


def _iam(call: Call) -> Iterator[str]:
    parameters = call.parameters
    path = parameters.get("Path") or "/"
    # The first one present is what the call is about: AddRoleToInstanceProfile is about the profile.
    for parameter, kind in (
        ("InstanceProfileName", "instance-profile"),
        ("RoleName", "role"),
        ("UserName", "user"),
        ("GroupName", "group"),
        ("PolicyName", "policy"),
    ):
        if name := parameters.get(parameter):
            yield f"arn:aws:iam::{call.account}:{kind}{path}{name}"
            return
    if arn := parameters.get("PolicyArn"):
        yield arn


def _kms(call: Call) -> Iterator[str]:
    prefix = f"arn:aws:kms:{call.region}:{call.account}:"
    if call.action in {"CreateKey", "ListKeys", "ListAliases"}:
        yield "*"
    if alias := call.parameters.get("AliasName"):
        yield f"{prefix}{alias}"
    for parameter in ("KeyId", "TargetKeyId"):
        if key := call.parameters.get(parameter):
            yield key if key.startswith("arn:") else f"{prefix}{key if key.startswith('alias/') else f'key/{key}'}"


def _ssm(call: Call) -> Iterator[str]:
    names = [call.parameters.get("Name"), call.parameters.get("Path"), *(call.parameters.get("Names") or [])]
    for name in filter(None, names):
        # AWS's own parameters belong to no account.
        owner = "" if name.startswith("/aws/service/") else call.account
        yield f"arn:aws:ssm:{call.region}:{owner}:parameter/{name.lstrip('/')}"


def _route53(call: Call) -> Iterator[str]:
    if zone := call.parameters.get("HostedZoneId") or call.parameters.get("Id"):
        kind = "change" if call.action == "GetChange" else "hostedzone"
        yield f"arn:aws:route53:::{kind}/{zone.rpartition('/')[2]}"
    elif call.action.startswith(("List", "Create")):
        yield "*"


def normalized(name: str) -> str:
    """Write a record's name as conditions have it: in small letters, without a dot at the end, other characters as octal codes."""
    return re.sub(r"[^a-z0-9._\\-]", lambda found: f"\\{ord(found[0]):03o}", name.lower().removesuffix("."))


def _route53_context(call: Call) -> dict[str, tuple[str, ...]]:
    """Return what conditions may ask about the changes of a call."""
    if call.action != "ChangeResourceRecordSets":
        return {}
    changes = (call.parameters.get("ChangeBatch") or {}).get("Changes") or []
    sets = [change.get("ResourceRecordSet") or {} for change in changes]
    found = {
        "NormalizedRecordNames": [normalized(record.get("Name") or "") for record in sets],
        "RecordTypes": [record.get("Type") or "" for record in sets],
        "Actions": [change.get("Action") or "" for change in changes],
    }
    # A key has each of its values once.
    return {
        f"route53:changeresourcerecordsets{name}".lower(): tuple(dict.fromkeys(values))
        for name, values in found.items()
    }


def _sts(call: Call) -> Iterator[str]:
    if role := call.parameters.get("RoleArn"):
        yield role


_RESOURCES = {"ec2": _ec2, "iam": _iam, "kms": _kms, "route53": _route53, "ssm": _ssm, "sts": _sts}


def needs(call: Call) -> Iterator[Need]:
    """Yield the permissions that a call needs, as far as they follow from its parameters."""
    action = f"{call.service}:{call.action}"
    tags = tags_of(call.parameters)
    context: dict[str, tuple[str, ...]] = {f"aws:requesttag/{key}".lower(): (value,) for key, value in tags.items()}
    context["aws:tagkeys"] = tuple(tags)
    if boundary := call.parameters.get("PermissionsBoundary"):
        context["iam:permissionsboundary"] = (boundary,)
    if call.service == "iam" and "PolicyArn" in call.parameters:
        context["iam:policyarn"] = (call.parameters["PolicyArn"],)
    if call.service == "route53":
        context |= _route53_context(call)
    resources = list(_RESOURCES[call.service](call)) if call.service in _RESOURCES else []
    for resource in resources or [UNKNOWN_RESOURCE]:
        yield Need(action, resource, context)
    if tags and action in TAGGING:
        yield Need(TAGGING[action], resources[0] if resources else UNKNOWN_RESOURCE, context)
    for specification in call.parameters.get("TagSpecifications") or [] if call.service == "ec2" else []:
        made = f"arn:aws:ec2:{call.region}:{call.account}:{specification.get('ResourceType', '*')}/*"
        yield Need("ec2:CreateTags", made, {**context, "ec2:createaction": (call.action,)})
