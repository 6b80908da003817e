# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets where its fleet is, or is to be: image, types, zones, bundles, launch template, group, policies, alarms."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.drydock.registry.plugins.module_utils import _aws_preflight_instance, _aws_preflight_network
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import (
    Account,
    Answer,
    filters,
    tags_of,
)

# The object of a bundle, named by its hash.
BUNDLE = re.compile(r"bundles/([0-9a-f]{64})\.tar\.gz")
LIVE = "live.json"
# The tags that say what a host was made of.
BUNDLE_TAG = "drydock-bundle"
VERSION_TAG = "drydock-collection-version"
BASE_TAG = "drydock-base-image"
# States of an instance refresh that has not come to its end.
REFRESHING = ("Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking")
# The hooks at which hosts wait: a new one until it serves, one that is taken out until it has finished. One that does not become a
# registry is no host of the fleet, and one that does not finish is ended.
LAUNCH, TERMINATE = "launch", "terminate"
TRANSITIONS = {LAUNCH: "autoscaling:EC2_INSTANCE_LAUNCHING", TERMINATE: "autoscaling:EC2_INSTANCE_TERMINATING"}
ABANDON_OR_CONTINUE = {LAUNCH: "ABANDON", TERMINATE: "CONTINUE"}
NO_TEMPLATE = ("InvalidLaunchTemplateName.NotFoundException", "InvalidLaunchTemplateId.NotFound")


def look(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find what is there; note what is wrong with the settings or with what they meet."""
    found: dict[str, Any] = {
        "instance": None,
        "image": {"id": "", "name": "", "architecture": "", "root_device": "", "owner": "", "size_gib": 0},
        "key_pair": None,
        "zones": [],
        "bucket": {"exists": False, "encryption": {"algorithm": "", "kms_key_arn": ""}, "bundles": [], "live": {}},
        "template": None,
        "group": None,
        "refresh": "",
        "policies": {},
        "alarms": {},
        "golden_images": [],
    }
    with account.step():
        found["golden_images"] = _golden_images(account)
    if not account.removing:
        _check_capacity(account, options)
        with account.step():
            found["zones"] = _zones(account, options)
        _machine(account, options, found)
    else:
        with account.step():
            found["key_pair"] = _aws_preflight_instance._key_pair(account, options)
    with account.step():
        found["bucket"] = _bucket(account, options["bucket"])
    with account.step():
        found["template"] = _template(account)
    with account.step():
        found["group"] = _group(account)
    if found["group"]:
        with account.step():
            found["refresh"] = _refresh(account)
        with account.step():
            found["policies"] = _policies(account)
    with account.step():
        found["alarms"] = _alarms(account)
    del found["instance"]
    return found


# ----- settings ---------------------------------------------------------------------------------


def _check_capacity(account: Account, options: Mapping[str, Any]) -> None:
    """How many hosts there are."""
    least, most, wanted = options["min_hosts"], options["max_hosts"], options["desired_hosts"]
    if least < 1:
        account.refuse(
            f"aws_autoscaling_min_hosts is {least}, and a fleet without a host serves nobody: write 1 or more, better 2, one for each "
            "of two zones."
        )
    if most < 1:
        account.refuse(
            f"aws_autoscaling_max_hosts is {most}, and a fleet without a host serves nobody: write 1 or more."
        )
    elif least > most:
        account.refuse(
            f"aws_autoscaling_min_hosts is {least}, which is above aws_autoscaling_max_hosts ({most}): change one of them."
        )
    elif wanted and not least <= wanted <= most:
        account.refuse(
            f"aws_autoscaling_desired_hosts is {wanted}, which is not between aws_autoscaling_min_hosts ({least}) and "
            f"aws_autoscaling_max_hosts ({most}): correct it, or write 0 to leave the number to scaling."
        )


def _zones(account: Account, options: Mapping[str, Any]) -> list[str]:
    """The zones of the subnets, of which there have to be two."""
    # A dry run in an empty account knows no subnets yet.
    if not options["subnet_ids"]:
        return []
    subnets = account.ask_all("ec2", "describe_subnets", "Subnets", Filters=filters(subnet_id=options["subnet_ids"]))
    known = {subnet["SubnetId"] for subnet in subnets}
    missing = [subnet_id for subnet_id in options["subnet_ids"] if subnet_id not in known]
    zones = sorted({subnet["AvailabilityZone"] for subnet in subnets})
    if missing:
        account.refuse(f"{account.region} has no subnet {', '.join(missing)}: correct aws_autoscaling_subnet_ids.")
    elif len(zones) < 2:
        account.refuse(
            f"All subnets in aws_autoscaling_subnet_ids lie in {zones[0]}, and a fleet is to outlive a zone: write subnets of at least two "
            "zones."
        )
    having = _aws_preflight_network.zones_with(account, options["type"])
    lacking = sorted(subnet["SubnetId"] for subnet in subnets if having and subnet["AvailabilityZone"] not in having)
    if lacking:
        account.refuse(
            f"The zone of {' and '.join(lacking)} in aws_autoscaling_subnet_ids has no {options['type']}, so that no host would start "
            "there: leave it out, or write a type that it has as aws_autoscaling_type."
        )
    return zones


# ----- image, types, key pair -------------------------------------------------------------------


def _machine(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    """What a host starts from: the same questions as for a single one, in the words of this role."""
    inner = dataclasses.replace(account, problems=[])
    with inner.step():
        _aws_preflight_instance._type(inner, options, None)
    for kind in options["spot_types"]:
        with inner.step():
            _spot_type(inner, kind, options["architecture"])
    with inner.step():
        if options["image_provider"] == "golden":
            _golden_image(inner, options, found)
        else:
            _aws_preflight_instance._image(inner, options, found)
    _aws_preflight_instance._check_volume(inner, options, found)
    with inner.step():
        found["key_pair"] = _aws_preflight_instance._key_pair(inner, options)
    for problem in inner.problems:
        # The other role makes one machine and no fleet, and has the same names for the same things.
        said = problem.replace("aws_instance_", "aws_autoscaling_")
        if said not in account.problems:
            account.problems.append(said)


def _spot_type(account: Account, kind: str, wanted: str) -> None:
    """A further type has to run the same image."""
    answer = account.ask(
        "ec2", "describe_instance_types", missing=["InvalidInstanceType", "InvalidParameterValue"], InstanceTypes=[kind]
    )
    types = (answer or {}).get("InstanceTypes", [])
    if not types:
        account.refuse(f"{account.region} has no instance type {kind}: take it out of aws_autoscaling_spot['types'].")
        return
    names = types[0].get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    supported = [ours for theirs, ours in _aws_preflight_instance.ARCHITECTURES.items() if theirs in names]
    if wanted not in supported:
        account.refuse(
            f"The instance type {kind} in aws_autoscaling_spot['types'] has {' and '.join(supported) or 'another architecture'}, not "
            f"{wanted} as aws_autoscaling_architecture: all types run the same image, so take it out."
        )


def _golden_images(account: Account) -> list[dict[str, str]]:
    """The images that this deployment baked, the newest last."""
    images = account.ask_all(
        "ec2", "describe_images", "Images", Owners=["self"], Filters=filters(tag=account.deployment)
    )
    images.sort(key=lambda image: (str(image.get("CreationDate", "")), image["ImageId"]))
    return [
        {
            "id": image["ImageId"],
            "architecture": _aws_preflight_instance.ARCHITECTURES.get(image.get("Architecture", ""), ""),
            "state": image.get("State", ""),
            "bundle": tags_of(image.get("Tags")).get(BUNDLE_TAG, ""),
            "base_image": tags_of(image.get("Tags")).get(BASE_TAG, ""),
        }
        for image in images
    ]


def _golden_image(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    """The newest of them that is ready."""
    ready = [
        image["id"]
        for image in found["golden_images"]
        if image["architecture"] == options["architecture"] and image["state"] == "available"
    ]
    if not ready:
        account.refuse(
            f"{account.region} has no golden image of the deployment {account.deployment} for {options['architecture']}: make one with the "
            "playbook golden_image.yml, or write another aws_instance_image_provider."
        )
        return
    inner = dataclasses.replace(account, problems=[])
    _aws_preflight_instance._image(inner, {**options, "image_provider": "id", "image_id": ready[-1]}, found)
    # Nobody has written its id.
    account.problems += [
        problem.replace("aws_instance_image_id", "aws_instance_image_provider: golden") for problem in inner.problems
    ]


# ----- the bucket -------------------------------------------------------------------------------


def _bucket(account: Account, name: str) -> dict[str, Any]:
    """The bundles and the live settings that lie in the bucket."""
    none = {"exists": False, "encryption": {"algorithm": "", "kms_key_arn": ""}, "bundles": [], "live": {}}
    if not name:
        return none
    owner = {"Bucket": name, "ExpectedBucketOwner": account.account_id}
    answer = account.ask("s3", "list_objects_v2", missing=["NoSuchBucket", "404"], Prefix="bundles/", **owner)
    if answer is None:
        return none
    objects = sorted(answer.get("Contents", []), key=lambda each: (str(each["LastModified"]), each["Key"]))
    encryption = account.ask(
        "s3", "get_bucket_encryption", missing=["ServerSideEncryptionConfigurationNotFoundError"], **owner
    )
    rules = ((encryption or {}).get("ServerSideEncryptionConfiguration") or {}).get("Rules") or [{}]
    default = rules[0].get("ApplyServerSideEncryptionByDefault", {})
    live = account.ask("s3", "head_object", missing=["404", "NoSuchKey"], Key=LIVE, **owner)
    return {
        "exists": True,
        "encryption": {
            "algorithm": default.get("SSEAlgorithm", ""),
            "kms_key_arn": default.get("KMSMasterKeyID", ""),
        },
        # The newest is the last.
        "bundles": [match[1] for each in objects if (match := BUNDLE.fullmatch(each["Key"]))],
        "live": {
            "sha256": (live or {}).get("Metadata", {}).get("sha256", ""),
            "algorithm": (live or {}).get("ServerSideEncryption", ""),
            "kms_key_arn": (live or {}).get("SSEKMSKeyId", ""),
        }
        if live
        else {},
    }


# ----- the fleet --------------------------------------------------------------------------------


def _template(account: Account) -> Optional[dict[str, Any]]:
    """The launch template of our name, and what its versions are made of."""
    answer = account.ask("ec2", "describe_launch_templates", missing=NO_TEMPLATE, LaunchTemplateNames=[account.name])
    templates = (answer or {}).get("LaunchTemplates", [])
    if not templates:
        return None
    template = templates[0]
    tags = tags_of(template.get("Tags"))
    if not account.is_ours(tags):
        account.refuse(
            f"The launch template {account.name} is not of this deployment, as it lacks its tag: delete it, or write another "
            "drydock_deployment."
        )
    versions = account.ask_all(
        "ec2",
        "describe_launch_template_versions",
        "LaunchTemplateVersions",
        LaunchTemplateId=template["LaunchTemplateId"],
    )
    return {
        "id": template["LaunchTemplateId"],
        "ours": account.is_ours(tags),
        "tags": tags,
        "default_version": template["DefaultVersionNumber"],
        "versions": [_version(version) for version in sorted(versions, key=lambda version: version["VersionNumber"])],
    }


def _version(version: Answer) -> dict[str, Any]:
    """What a version says of itself; it can never be changed, so that its description is as good as its content."""
    tags: dict[str, str] = {}
    for specification in version["LaunchTemplateData"].get("TagSpecifications", []):
        if specification.get("ResourceType") == "instance":
            tags = tags_of(specification.get("Tags"))
    return {
        "number": version["VersionNumber"],
        "description": version.get("VersionDescription") or "",
        "image_id": version["LaunchTemplateData"].get("ImageId", ""),
        "bundle": tags.get(BUNDLE_TAG, ""),
        "collection_version": tags.get(VERSION_TAG, ""),
    }


def _group(account: Account) -> Optional[dict[str, Any]]:
    """The group of our name, with its settings as the role writes them."""
    answer = account.ask("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[account.name])
    groups = (answer or {}).get("AutoScalingGroups", [])
    if not groups:
        return None
    group = groups[0]
    tags = tags_of(group.get("Tags"))
    if not account.is_ours(tags):
        account.refuse(
            f"The Auto Scaling group {account.name} is not of this deployment, as it lacks its tag: delete it, or write another "
            "drydock_deployment."
        )
    mixed = group.get("MixedInstancesPolicy") or {}
    template = (
        (mixed.get("LaunchTemplate") or {}).get("LaunchTemplateSpecification") or group.get("LaunchTemplate") or {}
    )
    distribution = mixed.get("InstancesDistribution") or {}
    # Those on their way out are listed while they finish; nothing is to be done about them.
    instances = [
        instance for instance in group.get("Instances", []) if not instance["LifecycleState"].startswith("Terminat")
    ]
    machines = _machines(account, [instance["InstanceId"] for instance in instances])
    return {
        "ours": account.is_ours(tags),
        "deleting": bool(group.get("Status")),
        "desired_hosts": group["DesiredCapacity"],
        "template_version": str(template.get("Version", "")),
        "settings": {
            "template_id": template.get("LaunchTemplateId", ""),
            "min_hosts": group["MinSize"],
            "max_hosts": group["MaxSize"],
            "subnet_ids": sorted(filter(None, (group.get("VPCZoneIdentifier") or "").replace(" ", "").split(","))),
            "target_group_arns": sorted(group.get("TargetGroupARNs", [])),
            "health_check": group["HealthCheckType"],
            "grace_seconds": group.get("HealthCheckGracePeriod", 0),
            "warmup_seconds": group.get("DefaultInstanceWarmup", -1),
            "capacity_rebalance": bool(group.get("CapacityRebalance")),
            "hooks": {name: found for name, found in hooks(account, account.name).items() if name in TRANSITIONS},
            "suspended": sorted(process["ProcessName"] for process in group.get("SuspendedProcesses", [])),
            "metrics": bool(group.get("EnabledMetrics")),
            "tags": tags,
            "spot": {
                "on_demand_base": distribution.get("OnDemandBaseCapacity") or 0,
                "on_demand_percent": distribution.get("OnDemandPercentageAboveBaseCapacity", 100),
                "allocation": distribution.get("SpotAllocationStrategy", ""),
                "types": [each["InstanceType"] for each in mixed["LaunchTemplate"].get("Overrides", [])],
            }
            if mixed
            else {},
        },
        "instances": [
            {
                "id": instance["InstanceId"],
                "state": instance["LifecycleState"],
                "health": instance["HealthStatus"],
                "template_version": str((instance.get("LaunchTemplate") or {}).get("Version", "")),
                **machines[instance["InstanceId"]],
            }
            for instance in instances
            # One that has just ended is no host any more.
            if instance["InstanceId"] in machines
        ],
    }


def _machines(account: Account, ids: list[str]) -> dict[str, dict[str, Any]]:
    """The tags of each host, and the ids of what has them: the host itself and its volumes."""
    # As a filter, since one that is gone would be an error.
    reservations = (
        account.ask_all("ec2", "describe_instances", "Reservations", Filters=filters(instance_id=ids)) if ids else []
    )
    return {
        machine["InstanceId"]: {
            "tags": tags_of(machine.get("Tags")),
            "resource_ids": [
                machine["InstanceId"],
                *(each["Ebs"]["VolumeId"] for each in machine.get("BlockDeviceMappings", []) if "Ebs" in each),
            ],
        }
        for reservation in reservations
        for machine in reservation["Instances"]
    }


def hooks(account: Account, group: str) -> dict[str, int]:
    """The group's hooks, and how many seconds hosts may wait at each; those that are ours and differ in more have -1."""
    answer = account.ask("autoscaling", "describe_lifecycle_hooks", AutoScalingGroupName=group)
    return {
        hook["LifecycleHookName"]: hook["HeartbeatTimeout"]
        if TRANSITIONS.get(hook["LifecycleHookName"]) == hook["LifecycleTransition"]
        and ABANDON_OR_CONTINUE.get(hook["LifecycleHookName"]) == hook["DefaultResult"]
        else -1
        for hook in (answer or {}).get("LifecycleHooks", [])
    }


def _refresh(account: Account) -> str:
    """The id of an instance refresh that goes on."""
    answer = account.ask("autoscaling", "describe_instance_refreshes", AutoScalingGroupName=account.name)
    refreshes = (answer or {}).get("InstanceRefreshes", [])
    return next((each["InstanceRefreshId"] for each in refreshes if each["Status"] in REFRESHING), "")


def _policies(account: Account) -> dict[str, Any]:
    """The scaling policies of the group, by name, as the role writes them."""
    policies = account.ask_all("autoscaling", "describe_policies", "ScalingPolicies", AutoScalingGroupName=account.name)
    result = {}
    for policy in policies:
        tracking = policy.get("TargetTrackingConfiguration") or {}
        metric = tracking.get("PredefinedMetricSpecification") or {}
        result[policy["PolicyName"]] = {
            "metric": metric.get("PredefinedMetricType", ""),
            "label": metric.get("ResourceLabel", ""),
            "target": tracking.get("TargetValue", 0.0),
            "scale_in": not tracking.get("DisableScaleIn", False),
            "warmup_seconds": policy.get("EstimatedInstanceWarmup", 0),
        }
    return result


def _alarms(account: Account) -> dict[str, Any]:
    """Our alarms, by name, as the role writes them."""
    alarms = account.ask_all("cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=f"{account.name}-fleet-")
    return {
        alarm["AlarmName"]: {
            "namespace": alarm.get("Namespace", ""),
            "metric": alarm.get("MetricName", ""),
            "statistic": alarm.get("Statistic", ""),
            "comparison": alarm["ComparisonOperator"],
            "threshold": alarm.get("Threshold", 0.0),
            "period": alarm.get("Period", 0),
            "periods": alarm["EvaluationPeriods"],
            "missing": alarm.get("TreatMissingData", "missing"),
            "dimensions": {each["Name"]: each["Value"] for each in alarm.get("Dimensions", [])},
            "actions": sorted(alarm.get("AlarmActions", [])),
            "ok_actions": sorted(alarm.get("OKActions", [])),
        }
        for alarm in alarms
    }
