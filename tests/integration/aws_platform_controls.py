# SPDX-License-Identifier: GPL-3.0-or-later
"""Security controls of AWS's Security Hub for what fleets and tasks have beside buckets and roles.

One function for each control that docs/aws.md says we set on a platform, by the number that AWS gave it. It gets what AWS's API says of a
deployment, and raises AssertionError with a sentence where the control would fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_controls import Controls

Facts = dict[str, Any]
CONTROLS: Controls[Facts] = Controls()
control, failures = CONTROLS.control, CONTROLS.failures
# ECS.8: what Security Hub calls a secret, and ours.
SECRET_NAMES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ECS_ENGINE_AUTH_DATA", "REGISTRY_HTTP_SECRET"}


# --- Asking ------------------------------------------------------------------------------------------------------


def of_a_balancer(client: Callable[[str], Any], name: str) -> Facts:
    """What AWS says of a load balancer."""
    elb = client("elbv2")
    (balancer,) = elb.describe_load_balancers(Names=[name])["LoadBalancers"]
    arn = balancer["LoadBalancerArn"]
    attributes = elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    return {
        "balancer": balancer,
        "attributes": {each["Key"]: each["Value"] for each in attributes},
        "listeners": elb.describe_listeners(LoadBalancerArn=arn)["Listeners"],
        "targets": elb.describe_target_groups(Names=[name])["TargetGroups"],
    }


def of_a_fleet(client: Callable[[str], Any], name: str) -> Facts:
    """What AWS says of a fleet."""
    (group,) = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    (template,) = client("ec2").describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])[
        "LaunchTemplateVersions"
    ]
    return {**of_a_balancer(client, name), "group": group, "template": template["LaunchTemplateData"]}


def of_tasks(client: Callable[[str], Any], name: str) -> Facts:
    """What AWS says of tasks."""
    ecs = client("ecs")
    (service,) = ecs.describe_services(cluster=name, services=[name])["services"]
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    return {**of_a_balancer(client, name), "service": service, "definition": definition}


# --- Load balancers ----------------------------------------------------------------------------------------------


@control("ELB.1")
def http_leads_to_https(facts: Facts) -> None:
    """Requests without TLS should be redirected."""
    for listener in facts["listeners"]:
        if listener["Protocol"] == "HTTP":
            kinds = {
                (each["Type"], each.get("RedirectConfig", {}).get("Protocol")) for each in listener["DefaultActions"]
            }
            assert kinds == {("redirect", "HTTPS")}, f"Port {listener['Port']} serves HTTP."


@control("ELB.4")
def invalid_headers_are_dropped(facts: Facts) -> None:
    """Headers that are not valid should be dropped."""
    dropped = facts["attributes"].get("routing.http.drop_invalid_header_fields.enabled")
    assert dropped == "true", "The load balancer passes invalid headers on."


@control("ELB.6")
def deletion_is_protected(facts: Facts) -> None:
    """Deletion protection should be on."""
    assert facts["attributes"].get("deletion_protection.enabled") == "true", "The load balancer may be deleted."


@control("ELB.12")
def desync_is_mitigated(facts: Facts) -> None:
    """Requests that servers read differently should not get through."""
    mode = facts["attributes"].get("routing.http.desync_mitigation_mode")
    assert mode in {"defensive", "strictest"}, f"The load balancer's desync mitigation mode is {mode}."


@control("ELB.13")
def the_balancer_has_two_zones(facts: Facts) -> None:
    """A load balancer should be in several zones."""
    assert len(facts["balancer"]["AvailabilityZones"]) >= 2, "The load balancer is in one zone."


@control("ELB.17")
def tls_is_modern(facts: Facts) -> None:
    """Listeners should have a recommended security policy."""
    for listener in facts["listeners"]:
        policy = listener.get("SslPolicy", "")
        secure = listener["Protocol"] not in {"HTTPS", "TLS"} or policy.startswith(
            ("ELBSecurityPolicy-TLS13-1-2-", "ELBSecurityPolicy-TLS13-1-3-")
        )
        assert secure, f"Port {listener['Port']} has the policy {policy}."


@control("ELB.21")
def health_is_asked_with_tls(facts: Facts) -> None:
    """Health checks should be encrypted."""
    for group in facts["targets"]:
        assert group["HealthCheckProtocol"] == "HTTPS", f"Health is asked by {group['HealthCheckProtocol']}."


@control("ELB.22")
def targets_are_reached_with_tls(facts: Facts) -> None:
    """What goes to targets should be encrypted."""
    for group in facts["targets"]:
        assert group["Protocol"] in {"HTTPS", "TLS"}, f"Targets are reached by {group['Protocol']}."


# --- Fleets ------------------------------------------------------------------------------------------------------


@control("AutoScaling.2")
def the_group_has_two_zones(facts: Facts) -> None:
    """A group should be in several zones."""
    assert len(facts["group"]["AvailabilityZones"]) >= 2, "The group is in one zone."


@control("AutoScaling.9")
def the_group_has_a_template(facts: Facts) -> None:
    """A group should use a launch template."""
    group = facts["group"]
    overridden = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate")
    assert group.get("LaunchTemplate") or overridden, "The group has a launch configuration."


@control("EC2.170")
def the_template_demands_a_token(facts: Facts) -> None:
    """Launch templates should require IMDSv2."""
    tokens = facts["template"].get("MetadataOptions", {}).get("HttpTokens")
    assert tokens == "required", "The launch template allows IMDSv1."


@control("EC2.181")
def the_template_encrypts(facts: Facts) -> None:
    """Launch templates should encrypt volumes."""
    for device in facts["template"].get("BlockDeviceMappings", []):
        assert device.get("Ebs", {}).get("Encrypted"), f"{device.get('DeviceName')} is not encrypted."


# --- Tasks -------------------------------------------------------------------------------------------------------


def containers(facts: Facts) -> list[dict[str, Any]]:
    """Return the containers of a task."""
    found: list[dict[str, Any]] = facts["definition"]["containerDefinitions"]
    assert found
    return found


@control("ECS.1")
def the_host_network_is_not_used(facts: Facts) -> None:
    """Tasks should have a network of their own."""
    assert facts["definition"]["networkMode"] == "awsvpc", f"The network mode is {facts['definition']['networkMode']}."


@control("ECS.3")
def processes_of_the_host_are_not_seen(facts: Facts) -> None:
    """Tasks should not share the host's processes."""
    assert facts["definition"].get("pidMode") in {None, "", "task"}, "The task sees the host's processes."


@control("ECS.4")
def no_container_is_privileged(facts: Facts) -> None:
    """Containers should not be privileged."""
    for container in containers(facts):
        assert not container.get("privileged"), f"{container['name']} is privileged."


@control("ECS.5")
def root_file_systems_are_read_only(facts: Facts) -> None:
    """Containers should not be able to write their root file system."""
    for container in containers(facts):
        assert container.get("readonlyRootFilesystem"), f"{container['name']} may write its root file system."


@control("ECS.8")
def no_secret_is_a_plain_variable(facts: Facts) -> None:
    """Secrets should not be passed as variables that the definition shows."""
    for container in containers(facts):
        shown = {each["name"] for each in container.get("environment", [])} & SECRET_NAMES
        assert not shown, f"{container['name']} shows {', '.join(sorted(shown))}."


@control("ECS.9")
def containers_write_a_log(facts: Facts) -> None:
    """Containers should have a log."""
    for container in containers(facts):
        assert container.get("logConfiguration", {}).get("logDriver"), f"{container['name']} has no log."


@control("ECS.10")
def fargate_is_the_newest(facts: Facts) -> None:
    """Services should run on the newest version of Fargate."""
    version = facts["service"].get("platformVersion") or "LATEST"
    assert version in {"LATEST", "1.4.0"}, f"The service runs on Fargate {version}."


# What is set on which platform.
SET = {
    "fleet": [number for number in CONTROLS if not number.startswith("ECS.")],
    "tasks": [number for number in CONTROLS if number.startswith(("ELB.", "ECS."))],
}
