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
    "lt": "launch-template",
    "nat": "natgateway",
    "rtb": "route-table",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "snap": "snapshot",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}
# Of these an ARN names no account.
EC2_OWNERLESS = {"image", "snapshot"}
# What a call makes has no id yet, and permission is asked for all of the kind.
EC2_MADE = {
    "AllocateAddress": ["elastic-ip"],
    "CreateImage": ["image", "snapshot"],
    "CreateInternetGateway": ["internet-gateway"],
    "CreateLaunchTemplate": ["launch-template"],
    "CreateNatGateway": ["natgateway"],
    "CreateRouteTable": ["route-table"],
    "CreateSecurityGroup": ["security-group"],
    "CreateSubnet": ["subnet"],
    "CreateVolume": ["volume"],
    "CreateVpc": ["vpc"],
    "CreateVpcEndpoint": ["vpc-endpoint"],
    "RunInstances": ["instance", "network-interface", "volume"],
}
# Parameters that name things which a call does not touch.
ONLY_NAMED = {
    "Filters",
    "GatewayId",
    "IpPermissions",
    "LaunchTemplateData",
    "NatGatewayId",
    "TagSpecifications",
    "Tags",
    "UserData",
}
# What AWS makes up in the ARN of a thing: only a wildcard of a policy can stand for it.
MADE_UP = "xxxxxx"
# Beginnings of actions that know no single resources, so that permission for one is none: a policy must allow them on `*`.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
ON_EVERYTHING = {
    "acm": ("ListCertificates", "RequestCertificate"),
    "application-autoscaling": ("Describe",),
    "autoscaling": ("Describe",),
    "cloudwatch": ("GetMetric", "ListMetrics"),
    "ec2": ("Describe", "Get"),
    "ecs": ("DeregisterTaskDefinition", "DescribeTaskDefinition", "ListClusters", "ListTaskDefinition"),
    "elasticloadbalancing": ("Describe",),
    "iam": ("ListPolicies", "ListRoles", "ListServerCertificates"),
    "kms": ("CreateKey", "ListAliases", "ListKeys"),
    "logs": ("DescribeLogGroups",),
    "secretsmanager": ("GetRandomPassword", "ListSecrets"),
}
# Tags given when something is made need permission of their own.
TAGGING = {
    "acm:ImportCertificate": "acm:AddTagsToCertificate",
    "acm:RequestCertificate": "acm:AddTagsToCertificate",
    "application-autoscaling:RegisterScalableTarget": "application-autoscaling:TagResource",
    "autoscaling:CreateAutoScalingGroup": "autoscaling:CreateOrUpdateTags",
    "cloudwatch:PutMetricAlarm": "cloudwatch:TagResource",
    "ecs:CreateCluster": "ecs:TagResource",
    "ecs:CreateService": "ecs:TagResource",
    "ecs:RegisterTaskDefinition": "ecs:TagResource",
    "elasticloadbalancing:CreateLoadBalancer": "elasticloadbalancing:AddTags",
    "elasticloadbalancing:CreateTargetGroup": "elasticloadbalancing:AddTags",
    "iam:CreateInstanceProfile": "iam:TagInstanceProfile",
    "iam:CreatePolicy": "iam:TagPolicy",
    "iam:CreateRole": "iam:TagRole",
    "iam:CreateUser": "iam:TagUser",
    "iam:UploadServerCertificate": "iam:TagServerCertificate",
    "kms:CreateKey": "kms:TagResource",
    "logs:CreateLogGroup": "logs:TagResource",
    "secretsmanager:CreateSecret": "secretsmanager:TagResource",
    "ssm:PutParameter": "ssm:AddTagsToResource",
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
    given = parameters.get("Tags") or parameters.get("tags") or []
    # CloudWatch Logs has pairs, the others lists of them.
    if isinstance(given, Mapping):
        return {str(key): str(value) for key, value in given.items()}
    listed = list(given)
    for specification in parameters.get("TagSpecifications") or []:
        listed += specification.get("Tags") or []
    # KMS and ECS have names of their own.
    spelled = [
        {name.lower().removeprefix("tag"): each for name, each in tag.items()}
        for tag in listed
        if isinstance(tag, Mapping)
    ]
    return {str(tag.get("key", "")): str(tag.get("value", "")) for tag in spelled}


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


def _arn(call: Call, thing: str) -> str:
    return f"arn:aws:{call.service}:{call.region}:{call.account}:{thing}"


def _listed(value: Any) -> list[str]:
    """Return names that a call gives one or several of."""
    return [value] if isinstance(value, str) else [each for each in value or [] if isinstance(each, str)]


def _named(call: Call, kind: str, *parameters: str) -> Iterator[str]:
    """Yield what parameters name: ARNs are taken as they are, and names become some."""
    for parameter in parameters:
        for name in _listed(call.parameters.get(parameter)):
            yield name if name.startswith("arn:") else _arn(call, f"{kind}{name}")


def _ec2_arn(call: Call, kind: str, name: str) -> str:
    return f"arn:aws:ec2:{call.region}:{'' if kind in EC2_OWNERLESS else call.account}:{kind}/{name}"


def _ec2(call: Call) -> Iterator[str]:
    for value in dict.fromkeys(_values(call.parameters)):
        kind, dash, number = value.partition("-")
        if dash and kind in EC2_RESOURCES and number.isalnum():
            yield _ec2_arn(call, EC2_RESOURCES[kind], value)
    for made in EC2_MADE.get(call.action, []):
        yield _ec2_arn(call, made, "*")
    if name := call.parameters.get("KeyName"):
        yield _ec2_arn(call, "key-pair", name)


def _iam(call: Call) -> Iterator[str]:
    parameters = call.parameters
    path = parameters.get("Path") or "/"
    if service := parameters.get("AWSServiceName"):
        yield f"arn:aws:iam::{call.account}:role/aws-service-role/{service}/{MADE_UP}"
    # The first one present is what the call is about: AddRoleToInstanceProfile is about the profile.
    for parameter, kind in (
        ("InstanceProfileName", "instance-profile"),
        ("RoleName", "role"),
        ("UserName", "user"),
        ("GroupName", "group"),
        ("ServerCertificateName", "server-certificate"),
        ("PolicyName", "policy"),
    ):
        if name := parameters.get(parameter):
            yield f"arn:aws:iam::{call.account}:{kind}{path}{name}"
            return
    if arn := parameters.get("PolicyArn"):
        yield arn


def _kms(call: Call) -> Iterator[str]:
    yield from _named(call, "", "AliasName")
    for parameter in ("KeyId", "TargetKeyId"):
        if key := call.parameters.get(parameter):
            yield from _named(call, "" if key.startswith("alias/") else "key/", parameter)


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


def _acm(call: Call) -> Iterator[str]:
    yield from _named(call, "certificate/", "CertificateArn")
    if call.action == "ImportCertificate" and not call.parameters.get("CertificateArn"):
        yield _arn(call, f"certificate/{MADE_UP}")


def _application_autoscaling(call: Call) -> Iterator[str]:
    yield from _named(call, "", "ResourceARN")
    # Its ARN does not say what is scaled.
    if "ResourceId" in call.parameters:
        yield _arn(call, f"scalable-target/{MADE_UP}")


def _autoscaling(call: Call) -> Iterator[str]:
    kind = f"autoScalingGroup:{MADE_UP}:autoScalingGroupName/"
    yield from _named(call, kind, "AutoScalingGroupName")
    if call.action in {"CreateOrUpdateTags", "DeleteTags"}:
        groups = [str(tag.get("ResourceId") or "") for tag in call.parameters.get("Tags") or []]
        yield from (_arn(call, f"{kind}{name}") for name in dict.fromkeys(groups))


def _cloudwatch(call: Call) -> Iterator[str]:
    yield from _named(call, "alarm:", "AlarmName", "AlarmNames", "ResourceARN")
    # All there are, if it names none.
    if call.action == "DescribeAlarms" and not call.parameters.get("AlarmNames"):
        yield _arn(call, "alarm:*")


def _ecs(call: Call) -> Iterator[str]:
    cluster = str(call.parameters.get("cluster") or "default").rpartition("/")[2]
    if call.action in {"CreateCluster", "DescribeClusters"}:
        yield from [*_named(call, "cluster/", "clusterName", "clusters")] or [_arn(call, "cluster/default")]
    elif call.action in {"DeleteCluster", "PutClusterCapacityProviders"}:
        yield _arn(call, f"cluster/{cluster}")
    elif call.action in {"CreateService", "DeleteService", "DescribeServices", "UpdateService"}:
        yield from _named(call, f"service/{cluster}/", "serviceName", "service", "services")
    elif call.action == "RegisterTaskDefinition":
        yield _arn(call, f"task-definition/{call.parameters.get('family')}:{MADE_UP}")
    elif call.action == "DescribeCapacityProviders":
        yield from [*_named(call, "capacity-provider/", "capacityProviders")] or ["*"]
    else:
        yield from _named(call, "", "resourceArn")


def _elbv2(call: Call) -> Iterator[str]:
    name = call.parameters.get("Name")
    if call.action == "CreateLoadBalancer":
        kind = {"network": "net", "gateway": "gwy"}.get(call.parameters.get("Type") or "", "app")
        yield _arn(call, f"loadbalancer/{kind}/{name}/{MADE_UP}")
    elif call.action == "CreateTargetGroup":
        yield _arn(call, f"targetgroup/{name}/{MADE_UP}")
    else:
        # What else stands in a call, such as the target groups of a listener, is not asked about.
        yield from _named(call, "", "ResourceArns", "LoadBalancerArn", "TargetGroupArn", "ListenerArn", "RuleArn")


def _logs(call: Call) -> Iterator[str]:
    yield from _named(call, "", "resourceArn")
    # Calls of before tags had ARNs ask for a stream, even if they are about none.
    if name := call.parameters.get("logGroupName"):
        yield _arn(call, f"log-group:{name}:log-stream:{call.parameters.get('logStreamName') or ''}")


def _secretsmanager(call: Call) -> Iterator[str]:
    for name in _listed(call.parameters.get("SecretId")) or _listed(call.parameters.get("Name")):
        yield name if name.startswith("arn:") else _arn(call, f"secret:{name}-{MADE_UP}")


_RESOURCES = {
    "acm": _acm,
    "application-autoscaling": _application_autoscaling,
    "autoscaling": _autoscaling,
    "cloudwatch": _cloudwatch,
    "ec2": _ec2,
    "ecs": _ecs,
    "elasticloadbalancing": _elbv2,
    "iam": _iam,
    "kms": _kms,
    "logs": _logs,
    "route53": _route53,
    "secretsmanager": _secretsmanager,
    "ssm": _ssm,
    "sts": _sts,
}


def resources(call: Call) -> list[str]:
    """Return the ARNs of what a call is about."""
    if call.action.startswith(ON_EVERYTHING.get(call.service, ())):
        return ["*"]
    named = list(_RESOURCES[call.service](call)) if call.service in _RESOURCES else []
    return named or [UNKNOWN_RESOURCE]


def _service_context(call: Call) -> dict[str, tuple[str, ...]]:
    """Return what conditions may ask about a call of some services."""
    context: dict[str, tuple[str, ...]] = {}
    if boundary := call.parameters.get("PermissionsBoundary"):
        context["iam:permissionsboundary"] = (boundary,)
    if call.service == "iam" and "PolicyArn" in call.parameters:
        context["iam:policyarn"] = (call.parameters["PolicyArn"],)
    if call.service == "iam" and "AWSServiceName" in call.parameters:
        context["iam:awsservicename"] = (call.parameters["AWSServiceName"],)
    # Calls about tags know neither.
    if call.service == "application-autoscaling" and "ResourceId" in call.parameters:
        for key, parameter in (("service-namespace", "ServiceNamespace"), ("scalable-dimension", "ScalableDimension")):
            if value := call.parameters.get(parameter):
                context[f"application-autoscaling:{key}"] = (value,)
    if call.service == "route53":
        context |= _route53_context(call)
    return context


def needs(call: Call) -> Iterator[Need]:
    """Yield the permissions that a call needs, as far as they follow from its parameters."""
    action = f"{call.service}:{call.action}"
    tags = tags_of(call.parameters)
    context: dict[str, tuple[str, ...]] = {f"aws:requesttag/{key}".lower(): (value,) for key, value in tags.items()}
    context["aws:tagkeys"] = tuple(tags)
    context |= _service_context(call)
    about = resources(call)
    for resource in about:
        yield Need(action, resource, context)
    if tags and action in TAGGING:
        # A certificate that is requested has no ARN yet, but its tags are those of one.
        tagged = _arn(call, f"certificate/{MADE_UP}") if action == "acm:RequestCertificate" else about[0]
        # The condition keys of one action are not those of another.
        yield Need(TAGGING[action], tagged, {key: value for key, value in context.items() if key.startswith("aws:")})
    for specification in call.parameters.get("TagSpecifications") or [] if call.service == "ec2" else []:
        made = _ec2_arn(call, specification.get("ResourceType", "*"), "*")
        yield Need("ec2:CreateTags", made, {**context, "ec2:createaction": (call.action,)})
