# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call needs besides what it says: services do things with the rights of who calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.kms.models import kms_backends
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends

from .calls import MADE_UP, Call, Need, needs

# A service's own role is made by the first call that needs it.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_aws-services-that-work-with-iam.html
SERVICE_ROLES = {
    "application-autoscaling:RegisterScalableTarget": (
        "ecs.application-autoscaling.amazonaws.com",
        "AWSServiceRoleForApplicationAutoScaling_ECSService",
    ),
    "autoscaling:CreateAutoScalingGroup": ("autoscaling.amazonaws.com", "AWSServiceRoleForAutoScaling"),
    "ecs:CreateCluster": ("ecs.amazonaws.com", "AWSServiceRoleForECS"),
    "elasticloadbalancing:CreateLoadBalancer": (
        "elasticloadbalancing.amazonaws.com",
        "AWSServiceRoleForElasticLoadBalancing",
    ),
}
# What target tracking does with its alarms.
ALARMS = {"PutScalingPolicy": "cloudwatch:PutMetricAlarm", "DeleteScalingPolicy": "cloudwatch:DeleteAlarms"}
# What Secrets Manager does with the key of a secret, if it is not its own.
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
SECRET_KEYS = {
    "CreateSecret": ("kms:GenerateDataKey", "kms:Decrypt"),
    "GetSecretValue": ("kms:Decrypt",),
    "PutSecretValue": ("kms:GenerateDataKey", "kms:Decrypt"),
    "UpdateSecret": ("kms:GenerateDataKey", "kms:Decrypt"),
}


def implied(call: Call) -> Iterator[Need]:
    """Yield what a call needs besides the permission for itself."""
    yield from _passed_roles(call)
    yield from _launches(call)
    yield from _service_role(call)
    yield from _alarms(call)
    yield from _secret_keys(call)
    yield from _volume_keys(call)


# ----- roles and instances -----


def _profile_name(profile: Mapping[str, Any]) -> str:
    return str(profile.get("Name") or str(profile.get("Arn") or "").rpartition("/")[2])


def _passed_roles(call: Call) -> Iterator[Need]:
    """Yield the roles that a call hands to a service, which needs permission: otherwise one could make oneself anybody."""
    profile_name, role_names, service = "", set(), "ec2.amazonaws.com"
    if call.service == "ec2" and "IamInstanceProfile" in call.parameters:
        profile_name = _profile_name(call.parameters.get("IamInstanceProfile") or {})
    elif call.service == "iam" and call.action == "AddRoleToInstanceProfile":
        role_names = {call.parameters.get("RoleName", "")}
    elif call.service == "ecs" and call.action == "RegisterTaskDefinition":
        service = "ecs-tasks.amazonaws.com"
        role_names = {
            str(call.parameters.get(name) or "").rpartition("/")[2] for name in ("taskRoleArn", "executionRoleArn")
        }
    backend = iam_backends[call.account]["aws"]
    for profile in list(backend.instance_profiles.values()):
        if profile_name and profile.name == profile_name:
            role_names |= {role.name for role in profile.roles}
    for role in list(backend.roles.values()):
        if role.name in role_names:
            yield Need("iam:PassRole", role.arn, {"iam:passedtoservice": (service,)})


def _launches(call: Call) -> Iterator[Need]:
    """Yield what launching instances would need: who gives a group a template makes the group launch them.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-api-permissions.html
    """
    if call.service != "autoscaling" or call.action not in {"CreateAutoScalingGroup", "UpdateAutoScalingGroup"}:
        return
    mixed = (call.parameters.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
    named = call.parameters.get("LaunchTemplate") or mixed.get("LaunchTemplateSpecification") or {}
    subnets = str(call.parameters.get("VPCZoneIdentifier") or "").split(",")
    for template in list(ec2_backends[call.account][call.region].launch_templates.values()):
        wanted = (named.get("LaunchTemplateId", template.id), named.get("LaunchTemplateName", template.name))
        if named and wanted == (template.id, template.name):
            data = template.get_version(named.get("Version") or "$Default").data
            parameters = {"LaunchTemplate": {"LaunchTemplateId": template.id}, "SubnetId": subnets[0], **data}
            launch = Call("ec2", "RunInstances", parameters, call.account, call.region)
            yield from needs(launch)
            yield from _passed_roles(launch)


def _service_role(call: Call) -> Iterator[Need]:
    service, name = SERVICE_ROLES.get(f"{call.service}:{call.action}", ("", ""))
    if name and all(role.name != name for role in list(iam_backends[call.account]["aws"].roles.values())):
        arn = f"arn:aws:iam::{call.account}:role/aws-service-role/{service}/{name}"
        yield Need("iam:CreateServiceLinkedRole", arn, {"iam:awsservicename": (service,)})


def _alarms(call: Call) -> Iterator[Need]:
    """Yield the alarms of target tracking; Auto Scaling of EC2 makes its own with its own role."""
    if call.service == "application-autoscaling" and call.action in ALARMS:
        alarm = f"TargetTracking-{call.parameters.get('ResourceId')}-AlarmHigh-{MADE_UP}"
        yield Need(ALARMS[call.action], f"arn:aws:cloudwatch:{call.region}:{call.account}:alarm:{alarm}")


# ----- keys -----


def key_arn(name: str, account: str, region: str) -> str:
    """Return the ARN of a key, which may be named by it, by an id or by an alias; nothing for what AWS keeps itself."""
    alias = name.rpartition(":")[2]
    if alias.startswith("alias/aws/"):
        return ""
    if alias.startswith("alias/"):
        backend = kms_backends[account][region]
        key = backend.keys.get(backend.get_key_id_from_alias(alias) or "")
        return str(key.arn) if key else ""
    return name if not name or name.startswith("arn:") else f"arn:aws:kms:{region}:{account}:key/{name}"


def _through(service: str, call: Call, key: str | None, *actions: str) -> Iterator[Need]:
    """Yield what a service does with a key for somebody who may use it through that service only."""
    if arn := key_arn(key or "", call.account, call.region):
        for action in actions:
            yield Need(action, arn, {"kms:viaservice": (f"{service}.{call.region}.amazonaws.com",)})


def _secret_keys(call: Call) -> Iterator[Need]:
    if call.service == "secretsmanager" and call.action in SECRET_KEYS:
        secret = secretsmanager_backends[call.account][call.region].secrets.get(str(call.parameters.get("SecretId")))
        key = call.parameters.get("KmsKeyId") or getattr(secret, "kms_key_id", None)
        yield from _through("secretsmanager", call, key, *SECRET_KEYS[call.action])


def _volume_keys(call: Call) -> Iterator[Need]:
    """Yield what EC2 does with the keys of an instance's volumes.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html#ebs-encryption-permissions
    """
    if (call.service, call.action) == ("ec2", "RunInstances"):
        for mapping in call.parameters.get("BlockDeviceMappings") or []:
            key = (mapping.get("Ebs") or {}).get("KmsKeyId")
            yield from _through("ec2", call, key, "kms:CreateGrant", "kms:GenerateDataKeyWithoutPlaintext")


def object_keys(call: Call, resource: str, method: str, path: str, headers: Mapping[str, str]) -> Iterator[Need]:
    """Yield what S3 does with the key of an object that is read or written.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    """
    bucket_name, _, name = resource.rpartition(":::")[2].partition("/")
    if not name or bucket_name not in s3_backends.bucket_accounts:
        return
    partition, account = s3_backends.bucket_accounts[bucket_name]
    bucket = s3_backends[account][partition].buckets[bucket_name]
    query = {key: values[0] for key, values in parse_qs(urlsplit(path).query).items()}
    if call.action in {"GetObject", "GetObjectVersion"} and method != "HEAD":
        versions = bucket.keys.getlist(name, [])
        wanted = query.get("versionId") if call.action == "GetObjectVersion" else None
        for version in [each for each in versions if wanted in {None, each.version_id}][-1:]:
            yield from _through("s3", call, getattr(version, "kms_key_id", None), "kms:Decrypt")
    elif call.action == "PutObject":
        upload = bucket.multiparts.get(query.get("uploadId", ""))
        # Parts of an upload are read again when they are put together.
        action = "kms:Decrypt" if upload else "kms:GenerateDataKey"
        yield from _through("s3", call, _key_for(bucket, upload, headers), action)


def _key_for(bucket: Any, upload: Any, headers: Mapping[str, str]) -> str | None:
    """Return the key that something is written with: the request's, or else the bucket's."""
    said = "x-amz-server-side-encryption"
    algorithm, key = headers.get(said), headers.get(f"{said}-aws-kms-key-id")
    if upload:
        algorithm, key = upload.sse_encryption, upload.kms_key_id
    if algorithm or key or not bucket.encryption:
        return key
    by_default: Mapping[str, str] = bucket.encryption["Rule"]["ApplyServerSideEncryptionByDefault"]
    return by_default.get("KMSMasterKeyID")
