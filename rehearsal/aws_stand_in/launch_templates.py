# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch templates where moto's differ from AWS's: their versions, and what instances get from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import InvalidLaunchTemplateVersionNotFound
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.responses.launch_templates import LaunchTemplates

from .patching import added_to, instead_of

# By the name in a template's data, the argument of run_instances that a call itself would set.
FROM_TEMPLATE = {
    "EbsOptimized": "ebs_optimized",
    "InstanceInitiatedShutdownBehavior": "instance_initiated_shutdown_behavior",
    "MetadataOptions": "metadata_options",
}


def apply() -> None:
    """Close the gaps."""
    _versions()
    _instances()


def _template(response: Any) -> Any:
    """Return the template that a call names."""
    if template_id := response._get_param("LaunchTemplateId"):
        return response.ec2_backend.get_launch_template(template_id)
    return response.ec2_backend.get_launch_template_by_name(response._get_param("LaunchTemplateName"))


def _versions() -> None:
    # User data is base64 in every version; moto reads it as such in the first one alone, and stops at the others.
    @instead_of(LaunchTemplateVersion, "__init__")
    def version(original: Any, self: Any, template: Any, number: int, data: dict[str, Any], description: str) -> None:
        if isinstance(data.get("UserData"), str):
            data["UserData"] = Base64EncodedString(data["UserData"])
        original(self, template, number, data, description)

    # A template's own tags are no part of its data; moto puts them there.
    @instead_of(LaunchTemplates, "create_launch_template")
    def create(original: Any, self: Any) -> Any:
        answer = original(self)
        data = self.ec2_backend.get_launch_template_by_name(self._get_param("LaunchTemplateName")).versions[0].data
        kept = [each for each in data.pop("TagSpecifications", None) or [] if each["ResourceType"] != "launch-template"]
        if kept:
            data["TagSpecifications"] = kept
        return answer

    # A version with a source has what its own data does not say from there; moto forgets the source.
    @instead_of(LaunchTemplates, "create_launch_template_version")
    def create_version(original: Any, self: Any) -> Any:
        answer = original(self)
        if source := self._get_param("SourceVersion"):
            template = _template(self)
            latest = template.latest_version()
            latest.data = {**template.get_version(source).data, **latest.data}
            latest.__init__(template, latest.number, latest.data, latest.description)
            answer.result["LaunchTemplateVersion"]["LaunchTemplateData"] = latest.data
        return answer

    # Numbers are never given twice, and a deleted version's leads nowhere; moto counts its list.
    @instead_of(LaunchTemplate, "create_version")
    def next_version(_original: Any, self: Any, data: dict[str, Any], description: str) -> LaunchTemplateVersion:
        self.drydock_number = getattr(self, "drydock_number", 0) + 1
        made = LaunchTemplateVersion(self, self.drydock_number, data, description)
        self.versions.append(made)
        return made

    def numbered(template: Any, number: Any) -> LaunchTemplateVersion:
        for each in template.versions:
            if str(each.number) == str(number):
                found: LaunchTemplateVersion = each
                return found
        raise InvalidLaunchTemplateVersionNotFound(template_id=template.id, version=number)

    @instead_of(LaunchTemplate, "get_version")
    def get_version(_original: Any, self: Any, number: Any) -> LaunchTemplateVersion:
        if str(number).lower() == "$latest":
            latest: LaunchTemplateVersion = self.versions[-1]
            return latest
        return numbered(self, self.default_version_number if str(number).lower() == "$default" else number)

    @instead_of(LaunchTemplate, "default_version")
    def default_version(_original: Any, self: Any) -> LaunchTemplateVersion:
        return numbered(self, self.default_version_number)

    @added_to(LaunchTemplates, "delete_launch_template_versions")
    def delete_versions(self: Any) -> ActionResult:
        template = _template(self)
        answer: dict[str, list[dict[str, Any]]] = {
            "SuccessfullyDeletedLaunchTemplateVersions": [],
            "UnsuccessfullyDeletedLaunchTemplateVersions": [],
        }
        for number in self._get_param("Versions", []):
            about = {
                "LaunchTemplateId": template.id,
                "LaunchTemplateName": template.name,
                "VersionNumber": int(number),
            }
            if int(number) == template.default_version_number:
                error = {"Code": "unexpectedError", "Message": "The default version cannot be deleted."}
                answer["UnsuccessfullyDeletedLaunchTemplateVersions"].append({**about, "ResponseError": error})
            else:
                template.versions.remove(numbered(template, number))
                answer["SuccessfullyDeletedLaunchTemplateVersions"].append(about)
        return ActionResult(answer)


def _public_interface(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a template says about the first network interface."""
    return next(
        (each for each in data.get("NetworkInterfaces") or [] if str(each.get("DeviceIndex", 0)) == "0"),
        {},
    )


def _instances() -> None:
    # What a template says and the call does not; moto takes user data, type, key and security groups alone.
    @instead_of(InstanceBackend, "run_instances")
    def run_instances(
        original: Any,
        self: Any,
        image_id: str,
        count: int,
        user_data: Any,
        security_group_names: list[str],
        **kwargs: Any,
    ) -> Any:
        if not kwargs.get("launch_template"):
            return original(self, image_id, count, user_data, security_group_names, **kwargs)
        data = self._get_template_from_args(kwargs["launch_template"]).data
        for name, argument in FROM_TEMPLATE.items():
            kwargs[argument] = kwargs.get(argument) or data.get(name)
        if (data.get("Monitoring") or {}).get("Enabled"):
            kwargs["monitoring_state"] = "enabled"
        interface = _public_interface(data)
        if not kwargs.get("nics") and interface:
            kwargs["security_group_ids"] = kwargs.get("security_group_ids") or interface.get("Groups") or []
            if kwargs.get("associate_public_ip") is None:
                kwargs["associate_public_ip"] = interface.get("AssociatePublicIpAddress")
        made = original(self, image_id, count, user_data, security_group_names, **kwargs)
        profile = data.get("IamInstanceProfile") or {}
        if profile and not (kwargs.get("iam_instance_profile_name") or kwargs.get("iam_instance_profile_arn")):
            for instance in made.instances:
                self.associate_iam_instance_profile(
                    instance_id=instance.id,
                    iam_instance_profile_name=profile.get("Name"),
                    iam_instance_profile_arn=profile.get("Arn"),
                )
        return made
