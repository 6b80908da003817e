# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets where its machine is, or is to be: image, type, key pair, domain and the machine itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible_collections.drydock.registry.plugins.module_utils import _aws_zones
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import (
    ADDRESS_TAG,
    TAG,
    Account,
    Answer,
    filters,
    tags_of,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import (
    domain_problem,
    parse_public_key,
    public_key_problem,
    same_key,
)

# What EC2 calls an architecture, and what everybody else does.
ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
EC2_ARCHITECTURES = {ours: theirs for theirs, ours in ARCHITECTURES.items()}
LIVE = ("pending", "running")
ENDED = ("shutting-down", "terminated")
INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")
IMAGE_ID = re.compile(r"ami-[0-9a-zA-Z]{8,17}")


def look(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find what is there; note what is wrong with the settings or with what they meet."""
    found: dict[str, Any] = {
        "instance": None,
        "instances": [],
        "image": {"id": "", "name": "", "architecture": "", "root_device": "", "owner": "", "size_gib": 0},
        "supported_architectures": [],
        "key_pair": None,
        "zone": {"id": "", "name": "", "record": {}},
        "elastic_ip": None,
    }
    with account.step():
        _instance(account, options, found)
    if not account.removing:
        with account.step():
            found["supported_architectures"] = _type(account, options, found["instance"])
        with account.step():
            _image(account, options, found)
        _check_volume(account, options, found)
    with account.step():
        found["key_pair"] = _key_pair(account, options)
    with account.step():
        found["zone"] = _zone(account, options)
    with account.step():
        found["elastic_ip"] = _elastic_ip(account)
    _check_record(account, options, found)
    # A terminated instance is forgotten within an hour, its tags before. Its address stays, as a playbook gets one for a running
    # instance only, and gives it back when it removes the instance.
    if found["instance"] is None and found["elastic_ip"] and not options["replace"] and not account.removing:
        account.refuse(
            f"The Elastic IP {found['elastic_ip']['public_ip']} of this deployment has lost its instance, and no playbook did it: write "
            "aws_instance_replace with the id that the instance had to make a new one, or run the teardown first."
        )
    return found


# ----- the machine ------------------------------------------------------------------------------


def _instance(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    """The machine with our tag, whatever its state."""
    reservations = account.ask_all("ec2", "describe_instances", "Reservations", Filters=filters(tag=account.deployment))
    ours = [instance for reservation in reservations for instance in reservation["Instances"]]
    ours.sort(key=lambda instance: (str(instance.get("LaunchTime", "")), instance["InstanceId"]))
    found["instances"] = [
        {
            "id": instance["InstanceId"],
            "state": instance["State"]["Name"],
            "private_ip": instance.get("PrivateIpAddress") or "",
            "public_ip": instance.get("PublicIpAddress") or "",
        }
        for instance in ours
    ]
    live = [instance for instance in ours if instance["State"]["Name"] in LIVE]
    resting = [instance for instance in ours if instance["State"]["Name"] in ("stopping", "stopped")]
    ended = [instance for instance in ours if instance["State"]["Name"] in ENDED]
    replace = options["replace"]
    if replace and not _may_be_replaced(account, replace, ours):
        replace = ""

    chosen: Optional[Answer] = next((instance for instance in ours if instance["InstanceId"] == replace), None)
    if len(live) > 1:
        ids = " and ".join(instance["InstanceId"] for instance in live)
        account.refuse(
            f"{ids} run with the tag {TAG}: {account.deployment}: take it off all but one (aws ec2 delete-tags), or terminate the others."
        )
    if not chosen:
        # What has ended is as good as removed for who removes.
        chosen = next(iter([*reversed(live), *reversed(resting), *([] if account.removing else reversed(ended))]), None)
        if chosen and not live:
            _refuse_state(account, chosen)
    if chosen:
        found["instance"] = _described(account, chosen)


def _refuse_state(account: Account, instance: Answer) -> None:
    instance_id, state = instance["InstanceId"], instance["State"]["Name"]
    if state in ENDED:
        account.refuse(
            f"The instance {instance_id} of this deployment is {state}, and no playbook did it: write aws_instance_replace: {instance_id} "
            "to make a new one."
        )
    else:
        account.refuse(
            f"The instance {instance_id} of this deployment is {state}: start it (aws ec2 start-instances --instance-ids {instance_id}), "
            f"or write aws_instance_replace: {instance_id} to have it terminated and a new one made."
        )


def _may_be_replaced(account: Account, replace: str, ours: Sequence[Answer]) -> bool:
    """Tell whether the instance to be replaced is ours; one that was replaced and whose successor is missing is no problem."""
    if any(instance["InstanceId"] == replace for instance in ours):
        return True
    if account.removing:
        return False
    if not INSTANCE_ID.fullmatch(replace):
        account.refuse(
            f"aws_instance_replace ({replace}) is no id of an instance: write one such as i-0123456789abcdef0."
        )
        return False
    others = account.ask_all("ec2", "describe_instances", "Reservations", Filters=filters(instance_id=replace))
    named = [instance for reservation in others for instance in reservation["Instances"]]
    # The first step of a replacement takes our tag off, and a terminated instance loses its tags and is forgotten: with none of ours
    # left, there is nothing to be mistaken about.
    if not ours and all(instance["State"]["Name"] in ENDED for instance in named):
        return False
    live = [instance["InstanceId"] for instance in ours if instance["State"]["Name"] in LIVE]
    have = f", whose instance is {live[0]}" if live else ""
    account.refuse(
        f"aws_instance_replace is {replace}, which is no instance of the deployment {account.deployment}{have}: leave the setting out, or "
        "correct it."
    )
    return False


def _described(account: Account, instance: Answer) -> dict[str, Any]:
    """What the role has to know of a machine."""
    root = next(
        (
            mapping["Ebs"]["VolumeId"]
            for mapping in instance.get("BlockDeviceMappings", [])
            if mapping.get("DeviceName") == instance.get("RootDeviceName") and mapping.get("Ebs")
        ),
        "",
    )
    profile = instance.get("IamInstanceProfile", {}).get("Arn", "")
    launched = instance.get("LaunchTime", "")
    return {
        "id": instance["InstanceId"],
        "state": instance["State"]["Name"],
        "type": instance.get("InstanceType", ""),
        "image_id": instance.get("ImageId", ""),
        "architecture": ARCHITECTURES.get(instance.get("Architecture", ""), instance.get("Architecture", "")),
        "private_ip": instance.get("PrivateIpAddress") or "",
        "public_ip": instance.get("PublicIpAddress") or "",
        "subnet_id": instance.get("SubnetId") or "",
        "zone": instance.get("Placement", {}).get("AvailabilityZone", ""),
        "root_volume": _volume(account, root),
        "key_pair": instance.get("KeyName") or "",
        "tags": tags_of(instance.get("Tags")),
        "security_group_ids": [group["GroupId"] for group in instance.get("SecurityGroups", [])],
        "instance_profile": profile.rsplit("/", 1)[-1],
        "launch_time": launched.isoformat() if hasattr(launched, "isoformat") else str(launched),
    }


def _volume(account: Account, volume_id: str) -> dict[str, Any]:
    volume: Answer = {}
    if volume_id:
        # A filter, since a volume that was just deleted would be an error.
        volume = next(
            iter(account.ask_all("ec2", "describe_volumes", "Volumes", Filters=filters(volume_id=volume_id))), {}
        )
    return {
        "id": volume.get("VolumeId", ""),
        "size_gib": volume.get("Size") or 0,
        "type": volume.get("VolumeType") or "",
        "encrypted": bool(volume.get("Encrypted")),
        "iops": volume.get("Iops") or 0,
        "throughput": volume.get("Throughput") or 0,
    }


# ----- type and image ---------------------------------------------------------------------------


def _type(account: Account, options: Mapping[str, Any], instance: Optional[Mapping[str, Any]]) -> list[str]:
    """The architectures of the type, refused when it has not the wanted one."""
    kind, wanted = options["type"], options["architecture"]
    answer = account.ask(
        "ec2", "describe_instance_types", missing=["InvalidInstanceType", "InvalidParameterValue"], InstanceTypes=[kind]
    )
    types = (answer or {}).get("InstanceTypes", [])
    if not types:
        account.refuse(
            f"{account.region} has no instance type {kind}: write another aws_instance_type, such as t4g.small or t3.small."
        )
        return []
    architectures = types[0].get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    supported = sorted(ARCHITECTURES[name] for name in architectures if name in ARCHITECTURES)
    if wanted not in supported:
        has = " and ".join(supported) or "another architecture"
        advice = (
            f"write aws_instance_architecture: {supported[0]}, or a type that has {wanted}"
            if supported
            else "write another type"
        )
        account.refuse(f"The instance type {kind} in aws_instance_type has {has}, not {wanted}: {advice}.")
    elif instance and instance["architecture"] not in supported and instance["id"] != options["replace"]:
        account.refuse(
            f"The instance {instance['id']} runs on {instance['architecture']}, which {kind} in aws_instance_type has not: write a type "
            f"that has it, or aws_instance_replace: {instance['id']} for a new instance."
        )
    return supported


def _image(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    """The image that a new machine starts from."""
    image = {"parameter": _image_of_parameter, "name": _image_of_name, "id": _image_of_id}[options["image_provider"]](
        account, options
    )
    if not image:
        return
    architecture = ARCHITECTURES.get(image.get("Architecture", ""), image.get("Architecture", ""))
    root_device = image.get("RootDeviceName") or ""
    size = next(
        (
            mapping.get("Ebs", {}).get("VolumeSize") or 0
            for mapping in image.get("BlockDeviceMappings", [])
            if mapping.get("DeviceName") == root_device
        ),
        0,
    )
    found["image"] = {
        "id": image["ImageId"],
        "name": image.get("Name") or "",
        "architecture": architecture,
        "root_device": root_device,
        "owner": image.get("OwnerId") or "",
        "size_gib": size,
    }
    variable = f"aws_instance_image_{options['image_provider']}"
    label = f"The image {image['ImageId']} of {variable}"
    if architecture != options["architecture"]:
        account.refuse(
            f"{label} is for {architecture}, but aws_instance_architecture is {options['architecture']}: change one of them."
        )
    if image.get("State", "available") != "available":
        account.refuse(f"{label} is {image['State']}: write another one.")
    if image.get("RootDeviceType", "ebs") != "ebs":
        account.refuse(f"{label} has no EBS root volume, which this role manages: write another one.")
    if str(image.get("Platform") or "").lower() == "windows":
        account.refuse(f"{label} is Windows: write one of Debian or Ubuntu.")


def _image_of_parameter(account: Account, options: Mapping[str, Any]) -> Optional[Answer]:
    name = options["image_parameter"]
    if not name:
        account.refuse(
            "aws_instance_image_parameter is empty: write a public parameter of Systems Manager that holds an image's id."
        )
        return None
    answer = account.ask("ssm", "get_parameter", missing=["ParameterNotFound", "ValidationException"], Name=name)
    if not answer:
        account.refuse(
            f"{account.region} has no parameter {name} (aws_instance_image_parameter): correct it, or write aws_instance_image_provider: "
            "id and the id of an image."
        )
        return None
    image_id = str(answer["Parameter"]["Value"])
    if not IMAGE_ID.fullmatch(image_id):
        account.refuse(f"The parameter {name} (aws_instance_image_parameter) holds no image's id: write one that does.")
        return None
    return _image_by_id(account, image_id, "aws_instance_image_parameter")


def _image_of_id(account: Account, options: Mapping[str, Any]) -> Optional[Answer]:
    image_id = options["image_id"]
    if not IMAGE_ID.fullmatch(image_id):
        account.refuse(
            f"aws_instance_image_id ({image_id}) is no id of an image: write one such as ami-0123456789abcdef0."
        )
        return None
    return _image_by_id(account, image_id, "aws_instance_image_id")


def _image_by_id(account: Account, image_id: str, variable: str) -> Optional[Answer]:
    answer = account.ask(
        "ec2",
        "describe_images",
        missing=["InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable"],
        ImageIds=[image_id],
    )
    images = (answer or {}).get("Images", [])
    if not images:
        account.refuse(
            f"{account.region} has no image {image_id} ({variable}) that this account may use: ids differ from region to region, so "
            "correct it."
        )
        return None
    image: Answer = images[0]
    return image


def _image_of_name(account: Account, options: Mapping[str, Any]) -> Optional[Answer]:
    name, owner = options["image_name"], options["image_owner"]
    if not name:
        account.refuse(
            "aws_instance_image_name is empty: write the name of an image, with * for the part that changes."
        )
        return None
    images = account.ask_all(
        "ec2",
        "describe_images",
        "Images",
        Filters=filters(name=name, architecture=EC2_ARCHITECTURES[options["architecture"]], state="available"),
        **({"Owners": [owner]} if owner else {}),
    )
    owners = sorted({str(image.get("OwnerId")) for image in images})
    if not images:
        whose = f" of {owner}" if owner else ""
        account.refuse(
            f"{account.region} has no image named {name}{whose} for {options['architecture']}: correct aws_instance_image_name, "
            "aws_instance_image_owner or aws_instance_architecture."
        )
        return None
    if len(owners) > 1:
        # A name alone is no proof of origin: anybody may publish an image of that name.
        account.refuse(
            f"The images named {name} (aws_instance_image_name) belong to several accounts ({', '.join(owners[:5])}): write the one that "
            "you trust as aws_instance_image_owner."
        )
        return None
    return max(images, key=lambda image: (str(image.get("CreationDate", "")), image["ImageId"]))


def _check_volume(account: Account, options: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """A volume can grow, and is at least what the image has."""
    size, image, instance = options["volume_gib"], found["image"], found["instance"]
    if size < 1:
        account.refuse(f"aws_instance_volume_gib is {size}: write a number of GiB, 8 or more.")
    elif instance and instance["id"] != options["replace"] and instance["state"] not in ENDED:
        now = instance["root_volume"]["size_gib"]
        if size < now:
            account.refuse(
                f"aws_instance_volume_gib is {size}, but the volume has {now} GiB, and AWS makes none smaller: write {now} or more."
            )
    elif size < image["size_gib"]:
        account.refuse(
            f"aws_instance_volume_gib is {size}, but the image {image['id']} needs {image['size_gib']} GiB: write that or more."
        )


# ----- key pair, domain, address ----------------------------------------------------------------


def _key_pair(account: Account, options: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """The key pair of a new machine that is given, else the one that is made of a public key."""
    public_key, given = options["public_key"].strip(), options["key_pair"]
    if public_key and given:
        account.refuse("Both aws_instance_public_key and aws_instance_key_pair are set: leave one of them out.")
    problem = public_key_problem(public_key) if public_key else ""
    if problem:
        account.refuse(f"aws_instance_public_key {problem}.")
    name = given if given and not account.removing else account.name
    answer = account.ask("ec2", "describe_key_pairs", Filters=filters(key_name=name), IncludePublicKey=True)
    pairs = (answer or {}).get("KeyPairs", [])
    if not pairs:
        if given and not public_key:
            account.refuse(
                f"{account.region} has no key pair {given} (aws_instance_key_pair): correct it, or write the text of a public key as "
                "aws_instance_public_key to have one made."
            )
        return None
    pair = pairs[0]
    if public_key and not problem and not given:
        key = parse_public_key(public_key)
        if not same_key(key, pair.get("PublicKey") or "", pair.get("KeyFingerprint") or ""):
            account.refuse(
                f"The key pair {name} has another key than aws_instance_public_key, and EC2 cannot change it: write the old key again, or "
                f"delete the key pair (aws ec2 delete-key-pair --key-name {name}), which only new instances notice."
            )
    return {"name": name, "ours": account.is_ours(tags_of(pair.get("Tags")))}


def _zone(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """The hosted zone that holds the domain, and the record that it has of it."""
    none = {"id": "", "name": "", "record": {}}
    name, domain = options["zone"].rstrip(".").lower(), options["domain"].rstrip(".").lower()
    if domain and domain_problem(domain):
        account.refuse(f"aws_instance_domain ({domain}) {domain_problem(domain)}.")
    if not name:
        return none
    if not domain:
        account.refuse(
            "aws_instance_zone is set, but drydock_domain is not: write the name that clients use, or leave the zone out."
        )
    elif not _aws_zones.holds(name, domain):
        account.refuse(
            f"The hosted zone {name} in aws_instance_zone does not hold {domain} (drydock_domain): write the zone whose name {domain} ends "
            "with."
        )
    zones = _aws_zones.listed_from(account, name)
    named = [zone for zone in zones if _aws_zones.name_of(zone) == name]
    fitting = [zone for zone in named if _aws_zones.is_private(zone) == options["zone_private"]]
    if len(fitting) != 1:
        _refuse_zones(account, options, name, named, fitting, zones)
        return none
    zone_id = _aws_zones.id_of(fitting[0])
    return {"id": zone_id, "name": name, "record": _record(account, zone_id, domain) if domain else {}}


def _refuse_zones(
    account: Account,
    options: Mapping[str, Any],
    name: str,
    named: Sequence[Answer],
    fitting: Sequence[Answer],
    others: Sequence[Answer],
) -> None:
    private = options["zone_private"]
    kind = "private" if private else "public"
    if fitting:
        account.refuse(_aws_zones.several(kind, name, fitting, "aws_instance_zone"))
    elif named:
        other = "false" if private else "true"
        account.refuse(
            f"The hosted zone {name} is not {kind}: write aws_instance_zone_private: {other}, or another aws_instance_zone."
        )
    else:
        account.refuse(
            f"{_aws_zones.not_found(name, others)}: correct aws_instance_zone, or leave it out and make the record of the domain "
            "elsewhere."
        )


def _record(account: Account, zone_id: str, domain: str) -> dict[str, Any]:
    """The A record of the domain, or nothing; an alias has no values."""
    answer = account.ask(
        "route53",
        "list_resource_record_sets",
        HostedZoneId=zone_id,
        StartRecordName=domain,
        StartRecordType="A",
        MaxItems="1",
    )
    for record in (answer or {}).get("ResourceRecordSets", []):
        if record["Name"].rstrip(".").lower() == domain and record["Type"] == "A":
            values = [str(value["Value"]) for value in record.get("ResourceRecords", [])]
            alias = record.get("AliasTarget", {}).get("DNSName", "")
            return {"values": values or [alias.rstrip(".")], "ttl": int(record.get("TTL") or 0)}
    return {}


def _check_record(account: Account, options: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse a record of somebody else. Without an Elastic IP the address changes, and nothing tells whose a record is."""
    instance = found["instance"] or {}
    own = [instance.get("private_ip"), instance.get("public_ip"), (found["elastic_ip"] or {}).get("public_ip")]
    foreign = [address for address in found["zone"]["record"].get("values", []) if address not in own]
    if foreign and options["elastic_ip_enabled"] and not options["zone_private"]:
        account.refuse(
            f"aws_instance_domain is {options['domain']}, but its record in the zone {options['zone']} points to "
            f"{', '.join(found['zone']['record']['values'])}, which is not this deployment's: delete that record first, or write another "
            "name."
        )


def _elastic_ip(account: Account) -> Optional[dict[str, Any]]:
    # That of a NAT gateway is the network's, whatever becomes of the gateway.
    answer = account.ask("ec2", "describe_addresses", Filters=filters(tag=account.deployment))
    # The one in use first, should an interrupted run have left two.
    addresses = sorted(
        (each for each in (answer or {}).get("Addresses", []) if ADDRESS_TAG not in tags_of(each.get("Tags"))),
        key=lambda address: (not address.get("AssociationId"), address["PublicIp"]),
    )
    if not addresses:
        return None
    address = addresses[0]
    return {
        "allocation_id": address["AllocationId"],
        "public_ip": address["PublicIp"],
        "association_id": address.get("AssociationId") or "",
        "instance_id": address.get("InstanceId") or "",
        "tags": tags_of(address.get("Tags")),
    }
