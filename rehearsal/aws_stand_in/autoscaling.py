# SPDX-License-Identifier: GPL-3.0-or-later
"""Auto Scaling where moto's differs from AWS's: what groups keep, what their instances are made of, lifecycle hooks, instance refresh."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.models import ASG_NAME_TAG, AutoScalingBackend, FakeAutoScalingGroup, InstanceState
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow

from .patching import added_to, instead_of

VERSION_TAG = "aws:ec2launchtemplate:version"
# By the parameter, the attribute of a group that moto does not set.
KEPT = {
    "CapacityRebalance": "capacity_rebalance",
    "DefaultCooldown": "default_cooldown",
    "DefaultInstanceWarmup": "default_instance_warmup",
    "InstanceMaintenancePolicy": "instance_maintenance_policy",
    "MaxInstanceLifetime": "max_instance_lifetime",
    "TerminationPolicies": "termination_policies",
}
UNFINISHED = {"Pending", "InProgress", "Cancelling"}
PENDING_STATE, IN_SERVICE, TERMINATING = "Pending", "InService", "Terminating"
WAIT, PROCEED = ":Wait", ":Proceed"
LAUNCHING, ENDING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"


def specification(group: FakeAutoScalingGroup) -> dict[str, Any]:
    """Return the launch template that a group names now, with the number of its version."""
    template = group.ec2_launch_template
    if template is None:
        raise ValidationError("Only groups with a launch template are known here.")
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "Version": str(template.get_version(group.launch_template_version).number),
    }


def version_of(instance: Any) -> str:
    """Return the version of the launch template that an instance was made from."""
    return next((tag["value"] for tag in instance.get_tags() if tag["key"] == VERSION_TAG), "")


def launch(group: FakeAutoScalingGroup, count: int, lifecycle_state: str) -> list[InstanceState]:
    """Make instances of a group's template, each in the subnet that has the fewest of the group."""
    taken = Counter(state.instance.subnet_id for state in group.instance_states)
    subnets = (group.vpc_zone_identifier or "").split(",")
    overrides = (group.mixed_instances_policy or {}).get("LaunchTemplate", {}).get("Overrides") or [{}]
    template = specification(group)
    made = []
    for _ in range(count):
        subnet = min(subnets, key=lambda each: taken[each])
        taken[subnet] += 1
        (instance,) = group.ec2_backend.run_instances(
            group.image_id,
            1,
            group.user_data,
            group.security_groups,
            instance_type=overrides[0].get("InstanceType") or group.instance_type,
            is_instance_type_default=False,
            region_name=group.region,
            tags={"instance": {**group.instance_tags, **group.get_propagated_tags(), ASG_NAME_TAG: group.name}},
            launch_template={"LaunchTemplateId": template["LaunchTemplateId"], "Version": template["Version"]},
            subnet_id=subnet or None,
        ).instances
        instance.autoscaling_group = group  # type: ignore[attr-defined]
        made.append(
            InstanceState(
                instance, lifecycle_state, protected_from_scale_in=group.new_instances_protected_from_scale_in
            )
        )
    group.instance_states.extend(made)
    return made


def hook_of(group: FakeAutoScalingGroup, transition: str) -> Any:
    """Return the hook at which the group's instances wait; there is one for each transition at most."""
    hooks = group.autoscaling_backend.describe_lifecycle_hooks(group.name)
    return next((hook for hook in hooks if hook.lifecycle_transition == transition), None)


def is_of(member: InstanceState, state: str) -> bool:
    """Tell whether an instance is in this state, or waits in it."""
    return member.lifecycle_state.partition(":")[0] == state


def target_state(instance: Any) -> str:
    """Return where an instance's group wants it to be; nothing for one of no group.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
    """
    group = getattr(instance, "autoscaling_group", None)
    for member in list(group.instance_states) if group else []:
        if member.instance.id == instance.id:
            return "Terminated" if is_of(member, TERMINATING) else IN_SERVICE
    return ""


def gaps() -> None:
    """Close the gaps that have nothing to do with machines."""
    _groups()
    _instances()
    _hooks()
    _calls()


def _groups() -> None:
    for name in ("create_auto_scaling_group", "update_auto_scaling_group"):

        @instead_of(AutoScalingResponse, name)
        def keep(original: Any, self: Any) -> Any:
            answer = original(self)
            group = _group(self)
            for parameter, attribute in KEPT.items():
                if (value := self._get_param(parameter)) is not None:
                    setattr(group, attribute, value)
            return answer

    # What an update does not name stays; moto forgets the mixed instances.
    @instead_of(FakeAutoScalingGroup, "update")
    def update(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        if not kwargs.get("launch_template") and not kwargs.get("mixed_instances_policy"):
            kwargs["mixed_instances_policy"] = self.mixed_instances_policy and _as_given(self.mixed_instances_policy)
        desired = kwargs.get("desired_capacity")
        least, most = (
            (self.min_size if kwargs.get("min_size") is None else kwargs["min_size"]),
            (self.max_size if kwargs.get("max_size") is None else kwargs["max_size"]),
        )
        if least > most:
            raise ValidationError(f"Max bound, {most}, must be greater than or equal to min bound, {least}")
        _within(self.name, desired, least, most)
        # The limits pull what is wanted with them; moto looks at how many there are.
        if desired is None and not least <= self.desired_capacity <= most:
            kwargs["desired_capacity"] = min(max(self.desired_capacity, least), most)
        original(self, *args, **kwargs)

    @instead_of(AutoScalingBackend, "set_desired_capacity")
    def set_desired_capacity(original: Any, self: Any, group_name: str, desired_capacity: int | None) -> None:
        group = _found(self, group_name)
        # Deleting a group empties it, whatever its limits are.
        if desired_capacity:
            _within(group.name, desired_capacity, group.min_size or 0, group.max_size or 0)
        original(self, group_name, desired_capacity)

    # A group of mixed instances names its template there.
    @property  # type: ignore[misc]
    def launch_template(self: Any) -> dict[str, Any] | None:
        if self.ec2_launch_template is None or self.mixed_instances_policy:
            return None
        return {**specification(self), "Version": self.provided_launch_template_version}

    FakeAutoScalingGroup.launch_template = launch_template  # type: ignore[method-assign]


def _as_given(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a policy as a call may have it: moto keeps a template's name beside its id, and refuses both."""
    template = policy["LaunchTemplate"]
    named = {
        key: value for key, value in template["LaunchTemplateSpecification"].items() if key != "LaunchTemplateName"
    }
    return {**policy, "LaunchTemplate": {**template, "LaunchTemplateSpecification": named}}


def _within(name: str, desired: int | None, least: int, most: int) -> None:
    if desired is not None and desired > most:
        raise ValidationError(
            f"New SetDesiredCapacity value {desired} is above max value {most} for the AutoScalingGroup {name}."
        )
    if desired is not None and desired < least:
        raise ValidationError(
            f"New SetDesiredCapacity value {desired} is below min value {least} for the AutoScalingGroup {name}."
        )


def _instances() -> None:
    # moto takes the default version's tags, one subnet, and no profile or metadata options.
    @instead_of(FakeAutoScalingGroup, "replace_autoscaling_group_instances")
    def replace(original: Any, self: Any, count_needed: int, propagated_tags: dict[str, str]) -> None:
        if self.ec2_launch_template is None:
            original(self, count_needed, propagated_tags)
        else:
            launch(self, count_needed, PENDING_STATE + WAIT if hook_of(self, LAUNCHING) else IN_SERVICE)

    # An instance is of the version that it was made from; moto says the default one.
    @property  # type: ignore[misc]
    def launch_template(self: Any) -> dict[str, Any] | None:
        if self.auto_scaling_group is None or self.auto_scaling_group.ec2_launch_template is None:
            return None
        return {**specification(self.auto_scaling_group), "Version": version_of(self.instance)}

    InstanceState.launch_template = launch_template  # type: ignore[method-assign]


def _hooks() -> None:
    """Let an instance wait at a hook until somebody completes it; to moto, hooks are entries.

    A launched instance is no target of the load balancer while it waits, and one that waits counts as one that is there.
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
    """

    @instead_of(FakeAutoScalingGroup, "active_instances")
    def active_instances(_original: Any, self: Any) -> list[InstanceState]:
        return [member for member in self.instance_states if not is_of(member, TERMINATING)]

    @instead_of(AutoScalingBackend, "delete_auto_scaling_group")
    def delete(original: Any, self: Any, group_name: str) -> None:
        original(self, group_name)
        forget_hooks(self, group_name)

    @added_to(AutoScalingResponse, "complete_lifecycle_action")
    def complete(self: Any) -> EmptyResult:
        group, instance_id = _group(self), self._get_param("InstanceId")
        name = self._get_param("LifecycleHookName")
        for member in group.instance_states:
            waits_for = hook_of(group, LAUNCHING if is_of(member, PENDING_STATE) else ENDING)
            if member.instance_id == instance_id and member.lifecycle_state.endswith(WAIT) and waits_for.name == name:
                proceed(member, self._get_param("LifecycleActionResult"))
                self.drydock_proceed(group, member)
                return EmptyResult()
        raise ValidationError(f"No active Lifecycle Action found with instance ID {instance_id}")

    # Where instances are no machines, nobody but the caller sees what becomes of them.
    @added_to(AutoScalingResponse, "drydock_proceed")
    def carry_out(_self: Any, _group: Any, member: InstanceState) -> None:
        member.lifecycle_state = IN_SERVICE


def forget_hooks(backend: Any, name: str) -> None:
    """Let a group's hooks end with it."""
    for hook in backend.describe_lifecycle_hooks(name):
        backend.delete_lifecycle_hook(name, hook.name)


def proceed(member: InstanceState, result: str) -> None:
    """End an instance's wait. What is abandoned while it is launched ends; what is terminated ends in any case."""
    member.lifecycle_state = member.lifecycle_state.removesuffix(WAIT) + PROCEED
    member.drydock_abandoned = result == "ABANDON"  # type: ignore[attr-defined]


def _found(backend: Any, name: str) -> FakeAutoScalingGroup:
    if name not in backend.autoscaling_groups:
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    found: FakeAutoScalingGroup = backend.autoscaling_groups[name]
    return found


def _group(response: Any) -> FakeAutoScalingGroup:
    return _found(response.autoscaling_backend, response._get_param("AutoScalingGroupName"))


class RefreshError(AutoscalingClientError):
    """A refresh that is under way, or none that is."""


def refreshes(group: Any) -> list[dict[str, Any]]:
    """Return a group's refreshes, the newest first."""
    found: list[dict[str, Any]] = group.__dict__.setdefault("drydock_refreshes", [])
    return found


def unfinished(group: Any) -> dict[str, Any] | None:
    """Return the refresh that is under way."""
    return next((each for each in refreshes(group) if each["Status"] in UNFINISHED), None)


def preferences(group: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what a call prefers by what AWS assumes."""
    policy = getattr(group, "instance_maintenance_policy", None) or {}
    warmup = getattr(group, "default_instance_warmup", None)
    return {
        "MinHealthyPercentage": int(policy.get("MinHealthyPercentage", 90)),
        "MaxHealthyPercentage": int(policy.get("MaxHealthyPercentage", 100)),
        "InstanceWarmup": int(group.health_check_grace_period if warmup is None else warmup),
        "SkipMatching": False,
        "AutoRollback": False,
        "ScaleInProtectedInstances": "Wait",
        "StandbyInstances": "Wait",
        **given,
    }


def finish(refresh: dict[str, Any], status: str, reason: str | None = None) -> None:
    """End a refresh."""
    refresh |= {"Status": status, "StatusReason": reason, "EndTime": utcnow()}
    if status == "Successful":
        refresh |= {"PercentageComplete": 100, "InstancesToUpdate": 0}


def replaced_at_once(group: Any, refresh: dict[str, Any]) -> None:
    """Carry out a refresh where instances are no machines that one could wait for."""
    skip = refresh["Preferences"]["SkipMatching"]
    wanted = specification(group)["Version"]
    old = [state for state in group.instance_states if not skip or version_of(state.instance) != wanted]
    group.instance_states = [state for state in group.instance_states if state not in old]
    group.ec2_backend.terminate_instances([state.instance.id for state in old])
    group.set_desired_capacity(group.desired_capacity)
    finish(refresh, "Successful")


def _calls() -> None:
    @added_to(AutoScalingResponse, "disable_metrics_collection")
    def disable_metrics_collection(self: Any) -> EmptyResult:
        group = _group(self)
        named = self._get_param("Metrics") or group.metrics
        group.metrics = [metric for metric in group.metrics if metric not in named]
        return EmptyResult()

    @added_to(AutoScalingResponse, "start_instance_refresh")
    def start(self: Any) -> ActionResult:
        group = _group(self)
        if unfinished(group):
            raise RefreshError(
                "InstanceRefreshInProgress",
                f"An Instance Refresh is already in progress and blocks the execution of this Instance Refresh: {group.name}",
            )
        if desired := self._get_param("DesiredConfiguration"):
            group._set_launch_configuration("", desired.get("LaunchTemplate"), desired.get("MixedInstancesPolicy"))
        refresh = {
            "InstanceRefreshId": str(uuid.uuid4()),
            "AutoScalingGroupName": group.name,
            "Status": "Pending",
            "Strategy": self._get_param("Strategy") or "Rolling",
            "StartTime": utcnow(),
            "PercentageComplete": 0,
            "InstancesToUpdate": len(group.instance_states),
            "Preferences": preferences(group, self._get_param("Preferences", {})),
        }
        refreshes(group).insert(0, refresh)
        self.drydock_refresh(group, refresh)
        return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})

    @added_to(AutoScalingResponse, "drydock_refresh")
    def carry_out(_self: Any, group: Any, refresh: dict[str, Any]) -> None:
        replaced_at_once(group, refresh)

    @added_to(AutoScalingResponse, "describe_instance_refreshes")
    def describe(self: Any) -> ActionResult:
        ids = self._get_param("InstanceRefreshIds", [])
        found = [each for each in refreshes(_group(self)) if not ids or each["InstanceRefreshId"] in ids]
        return ActionResult({"InstanceRefreshes": found[: self._get_int_param("MaxRecords") or 50]})

    @added_to(AutoScalingResponse, "cancel_instance_refresh")
    def cancel(self: Any) -> ActionResult:
        group = _group(self)
        refresh = unfinished(group)
        if refresh is None:
            raise RefreshError(
                "ActiveInstanceRefreshNotFound",
                f"No in progress or pending Instance Refresh found for Auto Scaling group {group.name}",
            )
        finish(refresh, "Cancelled", "Cancelled due to user request.")
        return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})
