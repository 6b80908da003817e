# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets in the network of an AWS account."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, Answer, filters, tags_of
from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import (
    cidr_problem,
    subnet_parts,
    vpc_cidr_problem,
)

# How many zones a load balancer asks for, and an own VPC spans where none are named.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-subnets.html
BALANCED_ZONES = 2
GONE = {"deleted", "deleting", "failed", "rejected", "expired"}


def look(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find what is there; note what is wrong with the settings or with what they meet."""
    found: dict[str, Any] = {
        "vpc_id": "",
        "vpc_cidr": "",
        "vpc_cidrs": [],
        "subnets": [],
        "plan": [],
        "route_table_ids": [],
        "zones": [],
        "security_group_id": "",
        "security_group_ids": [],
        "load_balancer_security_group_id": "",
        "default_security_group_id": "",
        "internet_gateway_id": "",
        "s3_endpoint": {"id": "", "ours": False, "tags": {}},
    }
    if account.removing:
        # Whatever the settings say now, what was made once is marked.
        options = {**options, "provider": "own", "vpc_id": "", "subnet_ids": [], "admin_security_group_id": ""}
    else:
        _check(account, options)
    with account.step():
        vpc = _vpc(account, options)
        subnets, everyones = _subnets(account, options, vpc) if vpc else ([], [])
        found["subnets"] = [
            {"id": subnet["SubnetId"], "zone": subnet["AvailabilityZone"], "cidr": subnet["CidrBlock"]}
            for subnet in subnets
        ]
        if vpc:
            found["vpc_id"], found["vpc_cidr"] = vpc["VpcId"], vpc["CidrBlock"]
            found["vpc_cidrs"] = _cidrs(vpc)
        if vpc or options["provider"] == "own":
            _inside(account, options, vpc or {"VpcId": ""}, subnets, found)
        found["zones"] = _zones(account, options, subnets)
        if options["provider"] == "own" and not account.removing:
            found["plan"] = _plan(account, found, everyones, vpc["CidrBlock"] if vpc else options["cidr"])
        if options["load_balancer"] != "none" and found["zones"]:
            _check_balanced(account, options, found)
    return found


def _check(account: Account, options: Mapping[str, Any]) -> None:
    """Judge what needs no question."""
    if options["provider"] == "own":
        problem = vpc_cidr_problem(options["cidr"])
        if problem:
            account.refuse(f"aws_network_cidr ({options['cidr']}) {problem}.")
        for name in ("vpc_id", "subnet_ids"):
            if options[name]:
                account.refuse(
                    f"aws_network_{name} is set, but aws_network_provider is own: write given to use them, or leave them out."
                )
    elif options["provider"] == "given" and not options["vpc_id"] and not options["subnet_ids"]:
        account.refuse(
            "aws_network_provider is given, but no network is: write aws_network_vpc_id or aws_network_subnet_ids."
        )
    for name in ("client_cidrs", "acme_cidrs", "admin_cidrs"):
        for cidr in options[name]:
            problem = cidr_problem(cidr)
            if problem:
                account.refuse(f"{cidr} in aws_network_{name} {problem}.")


def _check_balanced(account: Account, options: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """A load balancer lies in two zones or more, with one subnet in each."""
    own = options["provider"] == "own"
    if len(found["zones"]) < BALANCED_ZONES:
        variable, what = ("aws_network_zones", "") if own else ("aws_network_subnet_ids", "subnets of ")
        account.refuse(
            f"The network has {found['zones'][0]} alone, but a load balancer (aws_network_load_balancer) asks for two availability zones: "
            f"write {what}two zones or more as {variable}."
        )
    by_zone: dict[str, list[str]] = {}
    for subnet in [] if own else found["subnets"]:
        by_zone.setdefault(subnet["zone"], []).append(subnet["id"])
    for zone, ids in by_zone.items():
        if len(ids) > 1:
            account.refuse(
                f"{' and '.join(ids)} are all in {zone}, but a load balancer (aws_network_load_balancer) takes one subnet of each zone: "
                "write as aws_network_subnet_ids those that it is to use."
            )


def _cidrs(vpc: Answer) -> list[str]:
    """All IPv4 networks of a VPC, which may have got some more after it was made."""
    associations = vpc.get("CidrBlockAssociationSet", [])
    more = [part["CidrBlock"] for part in associations if part.get("CidrBlockState", {}).get("State") == "associated"]
    return list(dict.fromkeys([vpc["CidrBlock"], *more]))


def _vpc(account: Account, options: Mapping[str, Any]) -> Optional[Answer]:
    """The VPC that the settings name."""
    provider = options["provider"]
    if provider == "default":
        vpcs = account.ask_all("ec2", "describe_vpcs", "Vpcs", Filters=filters(is_default="true"))
        if not vpcs:
            account.refuse(
                f"The region {account.region} has no default VPC: write aws_network_provider: own to have one made, or given with "
                "aws_network_vpc_id, or make the default one (aws ec2 create-default-vpc)."
            )
        return vpcs[0] if vpcs else None
    if provider == "own":
        vpcs = account.ask_all("ec2", "describe_vpcs", "Vpcs", Filters=filters(tag=account.deployment))
        if len(vpcs) > 1:
            ids = " and ".join(vpc["VpcId"] for vpc in vpcs)
            account.refuse(
                f"{ids} both have the tag drydock-deployment: {account.deployment}: take it off all but one."
            )
        if vpcs and vpcs[0]["CidrBlock"] != options["cidr"]:
            account.refuse(
                f"aws_network_cidr is {options['cidr']}, but the deployment's {vpcs[0]['VpcId']} has {vpcs[0]['CidrBlock']}, which AWS "
                "cannot change: write that, or remove the deployment first."
            )
        return vpcs[0] if vpcs else None
    vpc_id = options["vpc_id"]
    if not vpc_id:
        if not options["subnet_ids"]:
            return None
        subnets = account.ask_all(
            "ec2", "describe_subnets", "Subnets", Filters=filters(subnet_id=options["subnet_ids"])
        )
        vpc_id = subnets[0]["VpcId"] if subnets else ""
        if not vpc_id:
            _refuse_unknown(account, options["subnet_ids"])
            return None
    # A filter, since an id that is none would be an error.
    vpcs = account.ask_all("ec2", "describe_vpcs", "Vpcs", Filters=filters(vpc_id=vpc_id))
    if not vpcs:
        account.refuse(f"There is no VPC {vpc_id} in {account.region}: correct aws_network_vpc_id or drydock_region.")
        return None
    return vpcs[0]


def _subnets(account: Account, options: Mapping[str, Any], vpc: Answer) -> tuple[list[Answer], list[Answer]]:
    """The subnets that the settings mean, by zone, and all that were seen in the VPC."""
    wanted = options["subnet_ids"]
    if wanted and options["provider"] != "own":
        subnets = account.ask_all("ec2", "describe_subnets", "Subnets", Filters=filters(subnet_id=wanted))
        known = {subnet["SubnetId"]: subnet for subnet in subnets}
        _refuse_unknown(account, [subnet_id for subnet_id in wanted if subnet_id not in known])
        for subnet_id, subnet in known.items():
            if subnet["VpcId"] != vpc["VpcId"]:
                account.refuse(
                    f"{subnet_id} in aws_network_subnet_ids is in {subnet['VpcId']}, not in {vpc['VpcId']}: write subnets of one VPC."
                )
        # In the order in which they are given: the first is where an instance goes.
        return [known[subnet_id] for subnet_id in wanted if subnet_id in known], []
    everyones = account.ask_all("ec2", "describe_subnets", "Subnets", Filters=filters(vpc_id=vpc["VpcId"]))
    subnets = everyones
    if options["provider"] == "own":
        subnets = [subnet for subnet in subnets if account.is_ours(tags_of(subnet.get("Tags")))]
    elif options["provider"] == "default":
        # Somebody may have added private subnets to the default VPC.
        subnets = [subnet for subnet in subnets if subnet.get("DefaultForAz")] or subnets
    if not subnets and options["provider"] != "own":
        account.refuse(
            f"{vpc['VpcId']} has no subnets: make one, write those of another VPC as aws_network_subnet_ids, or have a VPC made with "
            "aws_network_provider: own."
        )
    return sorted(subnets, key=lambda subnet: (subnet["AvailabilityZone"], subnet["SubnetId"])), everyones


def _refuse_unknown(account: Account, subnet_ids: Sequence[str]) -> None:
    for subnet_id in subnet_ids:
        account.refuse(
            f"There is no subnet {subnet_id} in {account.region}: correct aws_network_subnet_ids or drydock_region."
        )


def _inside(
    account: Account, options: Mapping[str, Any], vpc: Answer, subnets: Sequence[Answer], found: dict[str, Any]
) -> None:
    """What lies in the VPC; who removes looks for what is ours in all of them."""
    vpc_id = vpc["VpcId"]
    own = options["provider"] == "own"
    where = filters(tag=account.deployment) if account.removing else filters(vpc_id=vpc_id)
    if vpc_id or account.removing:
        with account.step():
            tables = account.ask_all("ec2", "describe_route_tables", "RouteTables", Filters=where)
            if own:
                tables = [table for table in tables if account.is_ours(tags_of(table.get("Tags")))]
                found["route_table_ids"] = sorted(table["RouteTableId"] for table in tables)
            else:
                found["route_table_ids"] = _route_tables_of([subnet["SubnetId"] for subnet in subnets], tables)
        with account.step():
            _security_groups(account, options, vpc_id, found)
        with account.step():
            _endpoint(account, where, found)
    with account.step():
        # Before it is attached, and after it was detached, an own one is known by its tag alone.
        found["internet_gateway_id"] = (
            _gateway(account, tag=account.deployment) if own else _gateway(account, attachment__vpc_id=vpc_id)
        )


def _endpoint(account: Account, where: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """The way to S3 that does not leave AWS."""
    service = f"com.amazonaws.{account.region}.s3"
    endpoints = account.ask_all(
        "ec2", "describe_vpc_endpoints", "VpcEndpoints", Filters=[*where, *filters(service_name=service)]
    )
    gateways = [
        (account.is_ours(tags_of(endpoint.get("Tags"))), endpoint)
        for endpoint in endpoints
        if endpoint.get("VpcEndpointType", "Gateway") == "Gateway"
        and str(endpoint.get("State", "available")).lower() not in GONE
    ]
    # Ours first, should there be two.
    for ours, endpoint in sorted(gateways, key=lambda gateway: not gateway[0])[:1]:
        found["s3_endpoint"] = {"id": endpoint["VpcEndpointId"], "ours": ours, "tags": tags_of(endpoint.get("Tags"))}


def _route_tables_of(subnet_ids: Sequence[str], tables: Sequence[Answer]) -> list[str]:
    """The tables that route these subnets; one without a table of its own has the VPC's main one."""
    main = ""
    by_subnet: dict[str, str] = {}
    for table in tables:
        for association in table.get("Associations", []):
            if association.get("Main"):
                main = table["RouteTableId"]
            if association.get("SubnetId"):
                by_subnet[association["SubnetId"]] = table["RouteTableId"]
    return sorted({by_subnet.get(subnet_id, main) for subnet_id in subnet_ids} - {""})


def _security_groups(account: Account, options: Mapping[str, Any], vpc_id: str, found: dict[str, Any]) -> None:
    tagged = account.ask_all(
        "ec2", "describe_security_groups", "SecurityGroups", Filters=filters(tag=account.deployment)
    )
    balancer_name = f"{account.deployment}-load-balancer"
    # The registry's group names the load balancer's, which therefore cannot be deleted before it.
    tagged.sort(key=lambda group: (group["GroupName"] == balancer_name, group["GroupId"]))
    found["security_group_ids"] = [group["GroupId"] for group in tagged if group["GroupName"] != "default"]
    groups: list[Answer] = []
    if vpc_id:
        groups = account.ask_all(
            "ec2",
            "describe_security_groups",
            "SecurityGroups",
            Filters=filters(vpc_id=vpc_id, group_name=["default", account.name, balancer_name]),
        )
    for group in groups:
        if group["GroupName"] == "default":
            found["default_security_group_id"] = group["GroupId"]
        elif account.is_ours(tags_of(group.get("Tags"))):
            key = "security_group_id" if group["GroupName"] == account.name else "load_balancer_security_group_id"
            found[key] = group["GroupId"]
        elif group["GroupName"] == account.name or options["load_balancer"] == "application":
            account.refuse(
                f"{vpc_id} has a security group {group['GroupName']} ({group['GroupId']}) that is not this deployment's: delete it, or "
                "write another aws_network_name."
            )
    admin = options["admin_security_group_id"]
    if admin:
        groups = account.ask_all("ec2", "describe_security_groups", "SecurityGroups", Filters=filters(group_id=admin))
        if not groups:
            account.refuse(
                f"There is no security group {admin} in {account.region}: correct aws_network_admin_security_group_id."
            )
        elif groups[0]["VpcId"] != vpc_id:
            account.refuse(
                f"The security group {admin} in aws_network_admin_security_group_id is in {groups[0]['VpcId']}, not in {vpc_id}: write one "
                "of the same VPC."
            )


def _gateway(account: Account, **by: str) -> str:
    gateways = account.ask_all("ec2", "describe_internet_gateways", "InternetGateways", Filters=filters(**by))
    return str(gateways[0]["InternetGatewayId"]) if gateways else ""


def _zones(account: Account, options: Mapping[str, Any], subnets: Sequence[Answer]) -> list[str]:
    """The zones in which an own VPC has a subnet, or is to have one; those of the subnets for any other VPC."""
    taken = list(dict.fromkeys(subnet["AvailabilityZone"] for subnet in subnets))
    wanted = list(options["zones"])
    if options["provider"] != "own" or account.removing:
        return taken
    answer = account.ask(
        "ec2", "describe_availability_zones", Filters=filters(zone_type="availability-zone", state="available")
    )
    available = sorted(zone["ZoneName"] for zone in (answer or {}).get("AvailabilityZones", []))
    if wanted:
        for zone in wanted:
            if zone not in available:
                account.refuse(
                    f"{zone} in aws_network_zones is no zone of {account.region}: write some of {', '.join(available)}."
                )
        if len(set(wanted)) != len(wanted):
            account.refuse("aws_network_zones names a zone twice: keep one of them.")
        return wanted
    # Those that have a subnet come first, so that a zone that AWS adds changes nothing.
    chosen = [*taken, *(zone for zone in available if zone not in taken)][: max(BALANCED_ZONES, len(taken))]
    return sorted(chosen)


def _plan(account: Account, found: Mapping[str, Any], everyones: Sequence[Answer], cidr: str) -> list[dict[str, str]]:
    """One subnet for each zone: the one that is there, or the next free part of the network."""
    try:
        free = subnet_parts(cidr)
    except ValueError:  # told already
        return []
    taken = [ipaddress.ip_network(subnet["CidrBlock"]) for subnet in everyones]
    free = [part for part in free if not any(part.overlaps(other) for other in taken)]
    plan = []
    for zone in found["zones"]:
        there = [subnet for subnet in found["subnets"] if subnet["zone"] == zone]
        if there:
            plan.append(there[0])
        elif free:
            plan.append({"id": "", "zone": zone, "cidr": str(free.pop(0))})
        else:
            account.refuse(
                f"{cidr} has no sixteenth part free for a subnet in {zone}: delete a subnet of the VPC, or write fewer aws_network_zones."
            )
    return plan
