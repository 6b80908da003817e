# SPDX-License-Identifier: GPL-3.0-or-later
"""KMS, IAM, Route 53 and Systems Manager where moto's differ from AWS's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models.amis import AMIS
from moto.iam.responses import IamResponse
from moto.kms.models import KmsBackend
from moto.route53.models import Route53Backend
from moto.ssm.models import Parameter, ParameterDict

from .patching import added_to, instead_of

DEBIAN_OWNER = "136693071363"
DEBIAN_RELEASES = (11, 12, 13)
DEBIAN_PARAMETERS = "/aws/service/debian/release"
# How Debian calls an architecture, and how EC2 does.
ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}


def kms() -> None:
    """Let a key be named by its ARN everywhere; here moto ends with a KeyError."""
    for name in ("schedule_key_deletion", "cancel_key_deletion", "enable_key", "disable_key"):

        @instead_of(KmsBackend, name)
        def by_any_name(original: Any, self: Any, key_id: str, *args: Any, **kwargs: Any) -> Any:
            return original(self, self.any_id_to_key_id(key_id), *args, **kwargs)


def iam() -> None:
    """Answer what iam_user asks before it deletes a user; moto does not know the call."""

    @added_to(IamResponse, "list_service_specific_credentials")
    def list_service_specific_credentials(_self: Any) -> ActionResult:
        return ActionResult({"ServiceSpecificCredentials": []})


def route53() -> None:
    """Let a record be made anew that was deleted; moto remembers the change, and takes the record for one that is there."""

    @instead_of(Route53Backend, "change_resource_record_sets")
    def change(original: Any, self: Any, zoneid: str, change_list: list[dict[str, Any]]) -> None:
        zone = self.get_hosted_zone(zoneid)
        present = {(record.name.strip("."), record.type) for record in zone.rrsets}
        for wanted in change_list:
            record = wanted["ResourceRecordSet"]
            if wanted["Action"] == "CREATE" and (record["Name"].strip("."), record["Type"]) not in present:
                while wanted in zone.rr_changes:
                    zone.rr_changes.remove(wanted)
        original(self, zoneid, change_list)


def _debian_images() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the parameter and the image of each release and architecture."""
    for release in DEBIAN_RELEASES:
        for number, (architecture, ec2_architecture) in enumerate(ARCHITECTURES.items()):
            name = f"debian-{release}-{architecture}-20260101-0001"
            yield (
                f"{DEBIAN_PARAMETERS}/{release}/latest/{architecture}",
                {
                    "ami_id": f"ami-0deb{release}{number}{0:010}",
                    "name": name,
                    "description": f"Debian {release} (20260101-0001)",
                    "owner_id": DEBIAN_OWNER,
                    "public": True,
                    "architecture": ec2_architecture,
                    "state": "available",
                    "virtualization_type": "hvm",
                    "hypervisor": "xen",
                    "image_type": "machine",
                    "image_location": f"{DEBIAN_OWNER}/{name}",
                    "root_device_name": "/dev/xvda",
                    "root_device_type": "ebs",
                    "sriov": "simple",
                    "platform": None,
                    "creation_date": "2026-01-01T00:00:00.000Z",
                },
            )


def debian() -> None:
    """Have Debian's images, and the public parameters that name the newest; moto has those of others."""
    images = dict(_debian_images())
    AMIS.extend(images.values())

    @instead_of(ParameterDict, "_check_loading_status")
    def load(original: Any, self: Any, key: str) -> None:
        original(self, key)
        if not str(key or "").startswith(DEBIAN_PARAMETERS) or getattr(self, "drydock_debian_loaded", False):
            return
        self.drydock_debian_loaded = True
        for name, image in images.items():
            parameter = Parameter(  # type: ignore[abstract]  # moto makes them so, too
                account_id=self.account_id,
                name=name,
                value=image["ami_id"],
                parameter_type="String",
                description=None,
                allowed_pattern=None,
                keyid=None,
                last_modified_date=utcnow(),
                version=1,
                data_type="aws:ec2:image",
            )
            # Not by [], which would come here again.
            dict.setdefault(self, name, []).append(parameter)
