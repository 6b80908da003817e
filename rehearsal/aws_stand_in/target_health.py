# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the targets of load balancers are well, found out as AWS does: by asking them, time and again.

A target is `initial` until it has passed or failed often enough, then `healthy` or `unhealthy`; one that was deregistered is `draining`
until the deregistration delay is over. Without a load balancer nobody asks, and it is `unused`. With moto all are always healthy.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models import ec2_backends
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeTargetGroup, elbv2_backends

from .patching import instead_of

# By the state, why it is so.
REASONS = {
    "initial": ("Elb.RegistrationInProgress", "Target registration is in progress"),
    "draining": ("Target.DeregistrationInProgress", "Target deregistration is in progress"),
    "unused": ("Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"),
    "invalid": ("Target.InvalidState", "Target is in the stopped state"),
}


@dataclass
class Target:
    """One target of a group."""

    group: Any
    id: str
    address: str
    port: int
    state: str = "initial"
    reason: str | None = REASONS["initial"][0]
    description: str | None = REASONS["initial"][1]
    passed: int = 0
    failed: int = 0
    next_check: float = 0.0
    drains_until: float = 0.0
    # Whether a check is under way.
    asked: bool = field(default=False, compare=False)

    def become(self, state: str, reason: str | None = None, description: str | None = None) -> None:
        """Set the state and why."""
        self.state, self.reason, self.description = state, reason, description

    @property
    def name(self) -> str:
        """A name for it in the load balancer."""
        return f"{self.id}-{self.port}"


class Probe:
    """One health check of a target."""

    def __init__(self, group: FakeTargetGroup, target: Target, source: str) -> None:
        self.protocol = group.health_check_protocol or "TCP"
        port = group.health_check_port
        self.where = (target.address, target.port if port in {None, "traffic-port"} else int(port))
        self.path = group.health_check_path or "/"
        self.seconds = float(group.health_check_timeout_seconds)
        self.wanted = str((getattr(group, "matcher", None) or {}).get("HttpCode", "200"))
        self.source = source

    def ask(self) -> tuple[str | None, str | None]:
        """Return why it failed, nothing if it passed."""
        try:
            if self.protocol in {"TCP", "TLS"}:
                socket.create_connection(self.where, self.seconds, (self.source, 0)).close()
                return None, None
            status = self._status()
        except TimeoutError:
            return "Target.Timeout", "Request timed out"
        except (OSError, http.client.HTTPException):
            return "Target.FailedHealthChecks", "Health checks failed"
        if not is_wanted(status, self.wanted):
            return "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{status}]"
        return None, None

    def _status(self) -> int:
        connection = (
            http.client.HTTPSConnection(
                *self.where,
                timeout=self.seconds,
                source_address=(self.source, 0),
                # Load balancers do not look at the certificates of their targets.
                context=ssl._create_unverified_context(),  # noqa: S323
            )
            if self.protocol == "HTTPS"
            else http.client.HTTPConnection(*self.where, timeout=self.seconds, source_address=(self.source, 0))
        )
        try:
            connection.request("GET", self.path, headers={"User-Agent": "ELB-HealthChecker/2.0"})
            return connection.getresponse().status
        finally:
            connection.close()


def is_wanted(status: int, wanted: str) -> bool:
    """Compare a status with a matcher such as 200,301-303."""
    for part in wanted.split(","):
        first, _, last = part.partition("-")
        if int(first) <= status <= int(last or first):
            return True
    return False


class TargetHealth:
    """All targets of all groups."""

    def __init__(self) -> None:
        # By the group's ARN and the target's id.
        self.targets: dict[tuple[str, str], Target] = {}
        self._workers = ThreadPoolExecutor(8, thread_name_prefix="health")

    def state(self, group_arn: str, target_id: str) -> str:
        """Return the state of a target."""
        found = self.targets.get((group_arn, target_id))
        return found.state if found else "unused"

    def of(self, group_arn: str) -> list[Target]:
        """Return the targets of a group, those that drain among them."""
        return [target for (arn, _), target in list(self.targets.items()) if arn == group_arn]

    def look(self, sources: dict[str, str]) -> None:
        """Follow what is registered, and ask those whose time has come, from the address of their group's load balancer."""
        now = time.monotonic()
        present = {group.arn: group for group in target_groups()}
        for group in present.values():
            self._follow(group, now)
        for key, target in list(self.targets.items()):
            if key[0] not in present or (target.state == "draining" and now >= target.drains_until):
                del self.targets[key]
            elif target.state != "draining":
                self._look_at(target, sources.get(key[0], ""), now)

    def _follow(self, group: FakeTargetGroup, now: float) -> None:
        for target_id, registered in list(group.targets.items()):
            known = self.targets.get((group.arn, target_id))
            if known is None or known.state == "draining":
                address = address_of(group, target_id)
                if address:
                    self.targets[group.arn, target_id] = Target(group, target_id, address, int(registered["Port"]))
        for target in self.of(group.arn):
            if target.id not in group.targets and target.state != "draining":
                target.become("draining", *REASONS["draining"])
                target.drains_until = now + float(str(group.attributes["deregistration_delay.timeout_seconds"]))

    def _look_at(self, target: Target, source: str, now: float) -> None:
        if not source:
            target.become("unused", *REASONS["unused"])
        elif target.state == "unused":
            target.become("initial", *REASONS["initial"])
            target.passed = target.failed = 0
        if source and not target.asked and now >= target.next_check:
            target.asked = True
            target.next_check = now + float(target.group.health_check_interval_seconds)
            self._workers.submit(self._ask, target, source)

    @staticmethod
    def _ask(target: Target, source: str) -> None:
        try:
            reason, description = Probe(target.group, target, source).ask()
        finally:
            target.asked = False
        if target.state == "draining":
            return
        if reason is None:
            target.passed, target.failed = target.passed + 1, 0
            # The first check that a new target passes is enough.
            if target.state == "initial" or target.passed >= int(target.group.healthy_threshold_count):
                target.become("healthy")
        else:
            target.passed, target.failed = 0, target.failed + 1
            if target.state != "unhealthy" and target.failed >= int(target.group.unhealthy_threshold_count):
                target.become("unhealthy", reason, description)


def target_groups() -> Iterator[FakeTargetGroup]:
    """Yield the target groups of all accounts."""
    for account in list(elbv2_backends.values()):
        for backend in list(account.values()):
            yield from list(backend.target_groups.values())


def address_of(group: FakeTargetGroup, target_id: str) -> str:
    """Return a target's address."""
    if group.target_type == "ip":
        return target_id
    instance = ec2_backends[group.account_id][group.region_name].get_instance_by_id(target_id)
    return str(instance.private_ip) if instance else ""


def apply(health: TargetHealth) -> None:
    """Say what was found out."""

    def status(target: Target) -> FakeHealthStatus:
        port = target.group.health_check_port
        return FakeHealthStatus(
            target.id,
            str(target.port),
            str(target.port) if port == "traffic-port" else port,
            target.state,
            target.reason,
            target.description,
        )

    @instead_of(ELBv2Backend, "describe_target_health")
    def describe(original: Any, self: Any, target_group_arn: str, targets: list[dict[str, Any]]) -> list[Any]:
        named = {target["Id"] for target in targets or []}
        known = {target.id: target for target in health.of(target_group_arn)}
        # One that was registered a moment ago, or never, is moto's to answer for.
        unknown = [{"Id": each} for each in (named or set(self.target_groups[target_group_arn].targets)) - set(known)]
        answer = (
            original(self, target_group_arn, unknown) if unknown or target_group_arn not in self.target_groups else []
        )
        for each in answer:
            if each.status == "healthy":
                each.status, each.reason, each.description = "initial", *REASONS["initial"]
        return [status(target) for target in known.values() if not named or target.id in named] + answer
