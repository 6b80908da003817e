# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps Auto Scaling groups as they should be where instances are machines, which takes time.

An instance is launched, waits at the group's launch hook until it is completed, is registered with the group's target groups and counts
as in service. One that no longer runs, or, where the group asks the load balancer, is found unhealthy there when its grace period is over,
is taken out and another is launched. Who leaves is deregistered first, waits at the group's termination hook when the deregistration delay
is over, and is terminated. moto does all of that at once, within the call.
https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
"""

from __future__ import annotations

import math
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from moto.autoscaling.exceptions import AutoscalingClientError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, InstanceState, autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.elbv2.models import elbv2_backends

from .autoscaling import (
    ENDING,
    IN_SERVICE,
    LAUNCHING,
    PENDING_STATE,
    PROCEED,
    TERMINATING,
    WAIT,
    finish,
    forget_hooks,
    hook_of,
    is_of,
    launch,
    proceed,
    specification,
    unfinished,
    version_of,
)
from .ec2 import PENDING, Instances
from .patching import instead_of

PAUSE_SECONDS = 0.5
DELETING = "Delete in progress"
ACTIVITIES_KEPT = 100
# AWS takes longer to notice that an instance is gone. Until then a load balancer has to find out by itself.
NOTICE_SECONDS = 15
# A new instance warms up to have booted when older ones go. Here they go when it is healthy, which on AWS nobody waits for, and so its
# warmup may be shorter than was asked for.
WARMUP_SECONDS = 10


class Keeper:
    """Looks at all groups again and again."""

    def __init__(self, instances: Instances, target_health: Callable[[str, str], str]) -> None:
        self.instances = instances
        # What the load balancer says, by the target group's ARN and the instance's id.
        self.target_health = target_health
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="keeper")

    def run(self) -> None:
        """Keep all groups until the process ends."""
        while True:
            for group in groups():
                try:
                    self.keep(group)
                except Exception:
                    # One group's trouble is not another one's, and is written where the API's is.
                    traceback.print_exc(file=sys.stderr)
            time.sleep(PAUSE_SECONDS)

    def keep(self, group: FakeAutoScalingGroup) -> None:
        """Do for one group what is to be done now."""
        for member in list(group.instance_states):
            self._look_at(group, member)
        if getattr(group, "status", None) == DELETING:
            if not group.instance_states:
                group.autoscaling_backend.autoscaling_groups.pop(group.name, None)
                forget_hooks(group.autoscaling_backend, group.name)
            return
        refresh = unfinished(group)
        if refresh:
            self._refresh(group, refresh)
        self._count(group, refreshing=refresh is not None)

    # --- One instance ---------------------------------------------------------------------------------------------

    def _look_at(self, group: FakeAutoScalingGroup, member: InstanceState) -> None:
        state = member.instance.state
        if is_of(member, TERMINATING):
            if state == "terminated":
                group.instance_states.remove(member)
            elif time.monotonic() >= member.drydock_leaves and self._has_passed(group, member, ENDING):  # type: ignore[attr-defined]
                member.drydock_leaves = math.inf  # type: ignore[attr-defined]
                self._workers.submit(self.instances.terminate, member.instance)
            return
        if is_of(member, PENDING_STATE) and state == "running" and self._has_passed(group, member, LAUNCHING):
            if getattr(member, "drydock_abandoned", False):
                self.leave(group, member, "in response to a lifecycle action that was abandoned")
                return
            member.lifecycle_state = IN_SERVICE
            member.drydock_since = time.monotonic()  # type: ignore[attr-defined]
            for target_group in target_groups(group):
                target_group.register([{"Id": member.instance_id, "Port": target_group.port}])
        if state not in {"pending", "running"}:
            member.health_status = "Unhealthy"
            if self._has_noticed(member):
                self.leave(group, member, f"in response to an EC2 health check indicating it has been {state}")
        elif member.lifecycle_state == IN_SERVICE and self._is_unhealthy(group, member):
            member.health_status = "Unhealthy"
            self.leave(group, member, "in response to an ELB system health check failure")

    @staticmethod
    def _has_passed(group: FakeAutoScalingGroup, member: InstanceState, transition: str) -> bool:
        """Have an instance wait at a hook, and tell whether it has done so. Nobody waits for one that does not run."""
        hook = hook_of(group, transition)
        deleted = getattr(group, "status", None) == DELETING
        if not hook or deleted or member.lifecycle_state.endswith(PROCEED) or member.instance.state != "running":
            return True
        now = time.monotonic()
        if not member.lifecycle_state.endswith(WAIT):
            member.lifecycle_state += WAIT
            member.drydock_until = now + float(hook.heartbeat_timeout)  # type: ignore[attr-defined]
        elif now >= member.drydock_until:  # type: ignore[attr-defined]
            proceed(member, hook.default_result)
        return False

    @staticmethod
    def _has_noticed(member: InstanceState) -> bool:
        now = time.monotonic()
        return now - float(member.__dict__.setdefault("drydock_gone", now)) >= NOTICE_SECONDS

    def _is_unhealthy(self, group: FakeAutoScalingGroup, member: InstanceState) -> bool:
        if member.health_status == "Unhealthy":
            return True
        age = time.monotonic() - since(member)
        if group.health_check_type != "ELB" or age < float(group.health_check_grace_period or 0):
            return False
        return "unhealthy" in self._healths(group, member)

    def _healths(self, group: FakeAutoScalingGroup, member: InstanceState) -> set[str]:
        return {self.target_health(each.arn, member.instance_id) for each in target_groups(group)}

    def _is_ready(self, group: FakeAutoScalingGroup, member: InstanceState, warmup_seconds: float) -> bool:
        """Tell whether an instance serves and has had its time to warm up."""
        return (
            member.lifecycle_state == IN_SERVICE
            and time.monotonic() - since(member) >= warmup_seconds
            and self._healths(group, member) <= {"healthy"}
        )

    def enter(self, group: FakeAutoScalingGroup, count: int, cause: str) -> None:
        """Launch instances."""
        for member in launch(group, count, PENDING_STATE):
            instance = member.instance
            # A wish that AWS answers at once and fulfils then.
            Instances._set(instance, PENDING)
            activity(group, f"Launching a new EC2 instance: {instance.id}", cause)
            self._workers.submit(self.instances.launch, instance)

    def leave(self, group: FakeAutoScalingGroup, member: InstanceState, cause: str) -> None:
        """Take an instance out: no new requests, then time for those under way, then its end."""
        if is_of(member, TERMINATING):
            return
        delay = 0.0
        for target_group in target_groups(group):
            if member.instance_id in target_group.targets:
                target_group.deregister([{"Id": member.instance_id}])
                delay = max(delay, float(target_group.attributes["deregistration_delay.timeout_seconds"]))
        # Nothing is under way with one that does not run, and a group that is deleted by force does not wait.
        if member.instance.state != "running" or getattr(group, "status", None) == DELETING:
            delay = 0.0
        member.lifecycle_state = TERMINATING
        member.drydock_leaves = time.monotonic() + delay  # type: ignore[attr-defined]
        activity(
            group,
            f"Terminating EC2 instance: {member.instance_id}",
            f"an instance was taken out of service {cause}",
        )

    # --- How many -------------------------------------------------------------------------------------------------

    def _count(self, group: FakeAutoScalingGroup, *, refreshing: bool) -> None:
        desired = group.desired_capacity or 0
        suspended = {each["ProcessName"] for each in group.suspended_processes}
        present = living(group)
        if len(present) < desired and "Launch" not in suspended:
            self.enter(group, desired - len(present), f"because the capacity is to be {desired}")
        elif len(present) > desired and not refreshing and "Terminate" not in suspended:
            for member in self._victims(present, len(present) - desired):
                self.leave(group, member, f"to shrink the capacity to {desired}")

    @staticmethod
    def _victims(present: list[InstanceState], count: int) -> Iterator[InstanceState]:
        """Choose as AWS does: where a zone has most, of the oldest version, the oldest one."""
        left = [member for member in present if not member.protected_from_scale_in]
        for _ in range(min(count, len(left))):
            zones = Counter(member.availability_zone for member in left)
            victim = min(
                left,
                key=lambda member: (
                    -zones[member.availability_zone],
                    int(version_of(member.instance) or 0),
                    member.instance.launch_time,
                ),
            )
            left.remove(victim)
            yield victim

    # --- Instance refresh -----------------------------------------------------------------------------------------

    def _refresh(self, group: FakeAutoScalingGroup, refresh: dict[str, Any]) -> None:
        """Replace what is old, as many at a time as the healthy percentages allow."""
        wishes, present, desired = refresh["Preferences"], living(group), group.desired_capacity or 0
        wanted = specification(group)["Version"]
        if refresh["Status"] == "Pending":
            refresh["Status"] = "InProgress"
            refresh["drydock_old"] = {
                member.instance_id
                for member in present
                if not wishes["SkipMatching"] or version_of(member.instance) != wanted
            }
        old = [member for member in present if member.instance_id in refresh["drydock_old"]]
        warmup = min(float(wishes["InstanceWarmup"]), WARMUP_SECONDS)
        # What was there before has nothing to warm up for.
        ready = [member for member in present if self._is_ready(group, member, 0 if member in old else warmup)]
        self._say_how_far(refresh, len(old))
        if not old and len(ready) == len(present) == desired:
            finish(refresh, "Successful")
            return
        least, most = bounds(desired, int(wishes["MinHealthyPercentage"]), int(wishes["MaxHealthyPercentage"]))
        launched_already = len(present) - desired
        if (room := min(len(old) - launched_already, most - len(present))) > 0:
            self.enter(group, room, "because of an instance refresh")
        spare = len(ready) - least
        for member in sorted(old, key=lambda each: each in ready):
            # One that serves nobody can go at any time.
            if member not in ready or spare > 0:
                spare -= member in ready
                self.leave(group, member, "because of an instance refresh")

    @staticmethod
    def _say_how_far(refresh: dict[str, Any], left: int) -> None:
        total = len(refresh["drydock_old"])
        refresh["InstancesToUpdate"] = left
        # All of it only when the last one has warmed up.
        refresh["PercentageComplete"] = min(99, 100 * (total - left) // total) if total else 0


def bounds(desired: int, least_percent: int, most_percent: int) -> tuple[int, int]:
    """Return how many have to be healthy at least, and how many there may be at most, while instances are replaced.

    With 100 % the new one comes before the old one goes. Where nothing could be replaced, it is one at a time.
    """
    least, most = math.ceil(desired * least_percent / 100), math.floor(desired * most_percent / 100)
    if least_percent == 100:
        most = max(most, desired + 1)
    elif most <= desired:
        least = min(least, max(desired - 1, 0))
    return least, most


def groups() -> Iterator[FakeAutoScalingGroup]:
    """Yield the groups of all accounts."""
    for account in list(autoscaling_backends.values()):
        for backend in list(account.values()):
            yield from list(backend.autoscaling_groups.values())


def since(member: InstanceState) -> float:
    """Return when an instance came into service; one that was attached has been there all along."""
    return float(getattr(member, "drydock_since", 0.0))


def living(group: FakeAutoScalingGroup) -> list[InstanceState]:
    """Return the instances that count."""
    return [member for member in group.instance_states if not is_of(member, TERMINATING)]


def target_groups(group: FakeAutoScalingGroup) -> list[Any]:
    """Return the group's target groups that still exist."""
    known = elbv2_backends[group.account_id][group.region].target_groups
    return [known[arn] for arn in group.target_group_arns if arn in known]


def activities(group: Any) -> list[dict[str, Any]]:
    """Return what was done to a group, the newest first."""
    found: list[dict[str, Any]] = group.__dict__.setdefault("drydock_activities", [])
    return found


def activity(group: Any, description: str, cause: str) -> dict[str, Any]:
    """Write down what is done to a group."""
    now = utcnow()
    done = {
        "ActivityId": str(uuid.uuid4()),
        "AutoScalingGroupName": group.name,
        "Description": description,
        "Cause": f"At {now:%Y-%m-%dT%H:%M:%SZ} {cause}.",
        "StartTime": now,
        "EndTime": now,
        "StatusCode": "Successful",
        "Progress": 100,
    }
    activities(group).insert(0, done)
    del activities(group)[ACTIVITIES_KEPT:]
    return done


def apply(keeper: Keeper) -> None:
    """Leave to the keeper what moto does within a call."""

    @instead_of(FakeAutoScalingGroup, "set_desired_capacity")
    def set_desired_capacity(_original: Any, self: Any, new_capacity: int | None) -> None:
        self.desired_capacity = self.min_size if new_capacity is None else new_capacity

    @instead_of(AutoScalingBackend, "notify_terminate_instances")
    def notify_terminate_instances(_original: Any, _self: Any, _instance_ids: list[str]) -> None:
        pass

    @instead_of(AutoScalingBackend, "update_attached_target_groups")
    def update_attached_target_groups(_original: Any, self: Any, group_name: str) -> None:
        group = self.autoscaling_groups[group_name]
        for target_group in target_groups(group):
            for member in group.instance_states:
                if member.lifecycle_state == IN_SERVICE and member.instance_id not in target_group.targets:
                    target_group.register([{"Id": member.instance_id, "Port": target_group.port}])

    @instead_of(AutoScalingResponse, "delete_auto_scaling_group")
    def delete(_original: Any, self: Any) -> Any:
        (group,) = self.autoscaling_backend.describe_auto_scaling_groups([self._get_param("AutoScalingGroupName")]) or (
            None,
        )
        if group is None:
            return _original(self)
        if group.instance_states and not self._get_bool_param("ForceDelete", False):
            raise AutoscalingClientError(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) "
                "still in the group.",
            )
        group.status = DELETING
        for member in list(group.instance_states):
            keeper.leave(group, member, "because its group is deleted")
        return ActionResult({})

    @instead_of(AutoScalingBackend, "terminate_instance")
    def terminate_instance(_original: Any, self: Any, instance_id: str, should_decrement: bool) -> dict[str, Any]:
        for group in self.autoscaling_groups.values():
            for member in group.instance_states:
                if member.instance_id == instance_id:
                    group.desired_capacity -= should_decrement
                    keeper.leave(group, member, "in response to a user request")
                    return activities(group)[0]
        raise AutoscalingClientError(
            "ValidationError", f"Instance Id not found - No managed instance found for {instance_id}"
        )

    # What moto does not write down.
    @instead_of(AutoScalingResponse, "describe_scaling_activities")
    def describe_scaling_activities(_original: Any, self: Any) -> ActionResult:
        names = [self._get_param("AutoScalingGroupName")] if self._get_param("AutoScalingGroupName") else []
        found = self.autoscaling_backend.describe_auto_scaling_groups(names)
        done = [each for group in found for each in activities(group)]
        return ActionResult({"Activities": done[: self._get_int_param("MaxRecords") or 100]})

    @instead_of(AutoScalingResponse, "drydock_proceed")
    def goes_on(_original: Any, _self: Any, _group: Any, _member: InstanceState) -> None:
        pass

    @instead_of(AutoScalingResponse, "drydock_refresh")
    def carry_out(_original: Any, _self: Any, _group: Any, _refresh: dict[str, Any]) -> None:
        pass
