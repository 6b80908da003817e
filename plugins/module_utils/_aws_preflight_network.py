# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets in the network of an AWS account."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import (
    ADDRESS_TAG,
    Account,
    Answer,
    filters,
    tags_of,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import (
    cidr_problem,
    subnet_parts,
    vpc_cidr_problem,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_routes import (
    PUBLIC_ADDRESSES,
    Place,
    Wanted,
    places,
    problems,
    table_of,
)

# How many zones a load balancer asks for, and an own VPC spans where none are named.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-subnets.html
BALANCED_ZONES = 2
GONE = {"deleted", "deleting", "failed", "rejected", "expired"}
# Tells the private subnets of an own VPC, and their route table, from the public ones.
PRIVATE_TAG = "drydock-subnet"
# Regions that were there before 23 December 2023. In younger ones tasks of Fargate need ECS's own endpoints as well.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html
OLD_REGIONS = frozenset(
    [
        "af-south-1",
        "ap-east-1",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "ca-central-1",
        "cn-north-1",
        "cn-northwest-1",
        "eu-central-1",
        "eu-central-2",
        "eu-north-1",
        "eu-south-1",
        "eu-south-2",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "il-central-1",
        "me-central-1",
        "me-south-1",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-gov-east-1",
        "us-gov-west-1",
        "us-west-1",
        "us-west-2",
    ]
)
ECS_SERVICES = ("ecs", "ecs-agent", "ecs-telemetry")
# Where names of endpoints begin with `com.amazonaws.` for all services that are needed here.
PLAIN_PARTITIONS = {"aws", "aws-us-gov"}
# Zones where Fargate runs, of regions where it does not run in all; and those where it has no ARM processors.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-arm64.html
FARGATE_ZONES = {
    "us-west-1": {"usw1-az1", "usw1-az3"},
    "ap-northeast-1": {"apne1-az1", "apne1-az2", "apne1-az4"},
    "cn-north-1": {"cnn1-az1", "cnn1-az2"},
}
FARGATE_WITHOUT_ARM = {"use1-az3"}
Launching = Callable[[str, str], bool]


def look(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find what is there; note what is wrong with the settings or with what they meet."""
    found: dict[str, Any] = {
        "vpc_id": "",
        "vpc_cidr": "",
        "vpc_cidrs": [],
        "subnets": [],
        "load_balancer_subnets": [],
        "plan": [],
        "route_table_ids": [],
        "private_route_table_id": "",
        "zones": [],
        "security_group_id": "",
        "security_group_ids": [],
        "load_balancer_security_group_id": "",
        "default_security_group_id": "",
        "internet_gateway_id": "",
        "nat_gateway_ids": [],
        "nat_addresses": [],
        "s3_endpoint": {"id": "", "ours": False, "tags": {}, "route_table_ids": []},
        "endpoints": {},
        "endpoints_security_group_id": "",
        "services": [],
        "service_names": {},
    }
    if account.removing:
        # Whatever the settings say now, what was made once is marked.
        options = {
            **options,
            "provider": "own",
            "vpc_id": "",
            "subnet_ids": [],
            "load_balancer_subnet_ids": [],
            "security_group_ids": [],
            "load_balancer_security_group_ids": [],
            "admin_security_group_id": "",
        }
    else:
        options = {**options, "services": _services(account, options)}
        found["services"] = options["services"]
        _check(account, options)
    with account.step():
        vpc = _vpc(account, options)
        launching = _launching(account, options)
        subnets, everyones = _subnets(account, options, vpc, launching) if vpc else ([], [])
        balancers = _balancer_subnets(account, options, vpc, subnets) if vpc else []
        tables: list[Answer] = []
        if vpc:
            found["vpc_id"], found["vpc_cidr"] = vpc["VpcId"], vpc["CidrBlock"]
            found["vpc_cidrs"] = _cidrs(vpc)
        if vpc or options["provider"] == "own":
            tables = _inside(account, options, vpc or {"VpcId": ""}, [*subnets, *balancers], found)
        found["subnets"] = _described(subnets, tables, options)
        found["load_balancer_subnets"] = _described(balancers, tables, options)
        found["zones"] = _zones(account, options, subnets, launching)
        if options["provider"] == "own" and not account.removing:
            found["plan"] = _plan(account, options, found, everyones, vpc["CidrBlock"] if vpc else options["cidr"])
        if options["load_balancer"] != "none" and found["zones"]:
            _check_balanced(account, options, found)
        if options["provider"] != "own" and vpc and tables:
            _check_routes(account, options, found, places(subnets, tables), places(balancers, tables))
    with account.step():
        found["service_names"] = _service_names(account, options, found)
    return found


def _services(account: Account, options: Mapping[str, Any]) -> list[str]:
    """The services that hosts or tasks need."""
    young = bool(options["fargate_architecture"]) and account.region not in OLD_REGIONS
    return list(dict.fromkeys([*options["services"], *(ECS_SERVICES if young else ())]))


def _service_names(account: Account, options: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, str]:
    """What endpoints of services are called, where some are to be made: in China, for one, some names begin with `cn.`.

    https://docs.amazonaws.cn/en_us/vpc/latest/privatelink/aws-services-cn-privatelink-support.html
    """
    if account.removing:
        return {}
    missing = []
    if options["provider"] == "own" and not options["public_ip_enabled"] and options["way_out"] == "endpoints":
        missing = [service for service in options["services"] if service not in found["endpoints"]]
    makes_s3 = options["s3_endpoint_enabled"] is True and not found["s3_endpoint"]["id"]
    if not missing and (not makes_s3 or account.partition in PLAIN_PARTITIONS):
        return {}
    told: list[Any] = account.ask_all("ec2", "describe_vpc_endpoint_services", "ServiceNames")
    names = {service: name for name in sorted(told, reverse=True) if (service := _service_of(name, account.region))}
    for service in missing:
        if service not in names:
            account.refuse(
                f"AWS has no endpoint of {service} in {account.region}, which hosts need without another way out (aws_network_way_out: "
                "endpoints): correct aws_network_services, or write aws_network_way_out: nat."
            )
    return {service: names[service] for service in [*missing, "s3"] if service in names}


def _service_of(name: str, region: str) -> str:
    """What a service is called in AWS's documentation, by the name of its endpoint."""
    before, _region, service = name.partition(f".{region}.")
    return service if "amazonaws" in before.split(".") else ""


def _check(account: Account, options: Mapping[str, Any]) -> None:
    """Judge what needs no question."""
    if options["provider"] == "own":
        problem = vpc_cidr_problem(options["cidr"])
        if problem:
            account.refuse(f"aws_network_cidr ({options['cidr']}) {problem}.")
        for name in ("vpc_id", "subnet_ids", "load_balancer_subnet_ids"):
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
    for subnet in [] if own else found["load_balancer_subnets"]:
        by_zone.setdefault(subnet["zone"], []).append(subnet["id"])
    if len(by_zone) == 1 and len(found["zones"]) >= BALANCED_ZONES:
        account.refuse(
            f"The subnets in aws_network_load_balancer_subnet_ids are in {next(iter(by_zone))} alone, but a load balancer "
            "(aws_network_load_balancer) asks for two availability zones: write a subnet of another zone as well."
        )
    for zone, ids in by_zone.items():
        if len(ids) > 1:
            account.refuse(
                f"{' and '.join(ids)} are all in {zone}, but a load balancer (aws_network_load_balancer) takes one subnet of each zone: "
                "write as aws_network_load_balancer_subnet_ids those that it is to use."
            )


def _check_routes(
    account: Account,
    options: Mapping[str, Any],
    found: Mapping[str, Any],
    hosts: Sequence[Place],
    balancers: Sequence[Place],
) -> None:
    """Who is put into the subnets needs ways out, and ways in."""
    endpoint = found["s3_endpoint"]["id"]
    # https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html#vpc-endpoint-routing
    served = found["s3_endpoint"]["route_table_ids"]
    unserved = {place.id: place.table for place in hosts if endpoint and place.table not in served}
    wanted = Wanted(
        options["load_balancer"],
        options["load_balancer_internal_enabled"],
        options["public_ip_enabled"],
        options["way_out"],
        options["services"],
        # Whoever has not said whether one is to be made is asked below.
        bool(endpoint) or options["s3_endpoint_enabled"] is not False or "s3" in found["endpoints"],
        endpoint,
        {} if "s3" in found["endpoints"] else unserved,
    )
    # One host goes into the first of them.
    for problem in problems(
        hosts if options["load_balancer"] != "none" else hosts[:1], balancers, wanted, [*found["endpoints"]]
    ):
        account.refuse(problem)
    if options["s3_endpoint_enabled"] is None and not endpoint:
        tables = " and ".join(found["route_table_ids"])
        account.refuse(
            f"{found['vpc_id']} has no gateway endpoint of S3: write aws_network_s3_endpoint_enabled: true to have one made, which is free "
            f"and changes the way to S3 of all that {tables} route{'s' if len(found['route_table_ids']) == 1 else ''}, or false to leave "
            "them as they are."
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


def _subnets(
    account: Account, options: Mapping[str, Any], vpc: Answer, launching: Launching
) -> tuple[list[Answer], list[Answer]]:
    """The subnets of hosts that the settings mean, by zone, and all that were seen in the VPC."""
    wanted = options["subnet_ids"]
    if wanted and options["provider"] != "own":
        named = _named(account, "subnet_ids", wanted, vpc)
        for subnet in named:
            if not launching(subnet["AvailabilityZone"], subnet["AvailabilityZoneId"]):
                account.refuse(
                    f"{subnet['SubnetId']} in aws_network_subnet_ids is in {subnet['AvailabilityZone']}, which has no {_what(options)}: "
                    "write a subnet of another zone, or choose what that zone has."
                )
        return named, []
    everyones = account.ask_all("ec2", "describe_subnets", "Subnets", Filters=filters(vpc_id=vpc["VpcId"]))
    if options["provider"] == "own":
        subnets = [subnet for subnet in everyones if account.is_ours(tags_of(subnet.get("Tags")))]
    else:
        subnets = _fitting(account, options, vpc["VpcId"], everyones, launching)
    return sorted(subnets, key=lambda subnet: (subnet["AvailabilityZone"], subnet["SubnetId"])), everyones


def _fitting(
    account: Account, options: Mapping[str, Any], vpc_id: str, everyones: list[Answer], launching: Launching
) -> list[Answer]:
    """Those of somebody's subnets in which something can be started and has an IPv4 address."""
    subnets = everyones
    if options["provider"] == "default":
        # Somebody may have added private subnets to the default VPC.
        subnets = [subnet for subnet in everyones if subnet.get("DefaultForAz")] or everyones
    fitting = [
        subnet
        for subnet in subnets
        if subnet.get("CidrBlock") and launching(subnet["AvailabilityZone"], subnet["AvailabilityZoneId"])
    ]
    if not everyones:
        account.refuse(
            f"{vpc_id} has no subnets: make one, write those of another VPC as aws_network_subnet_ids, or have a VPC made with "
            "aws_network_provider: own."
        )
    elif not fitting:
        account.refuse(
            f"No subnet of {vpc_id} has IPv4 addresses in a zone with {_what(options)}: make one, or choose what its zones have."
        )
    return fitting


def _balancer_subnets(
    account: Account, options: Mapping[str, Any], vpc: Answer, subnets: Sequence[Answer]
) -> list[Answer]:
    """The subnets of a load balancer: those of the hosts, unless others are named."""
    if options["load_balancer"] == "none" or options["provider"] == "own":
        return []
    wanted = options["load_balancer_subnet_ids"]
    return _named(account, "load_balancer_subnet_ids", wanted, vpc) if wanted else list(subnets)


def _named(account: Account, option: str, wanted: Sequence[str], vpc: Answer) -> list[Answer]:
    """Subnets by their ids, in the order in which they are given: the first is where an instance goes."""
    subnets = account.ask_all("ec2", "describe_subnets", "Subnets", Filters=filters(subnet_id=wanted))
    known = {subnet["SubnetId"]: subnet for subnet in subnets}
    _refuse_unknown(account, [subnet_id for subnet_id in wanted if subnet_id not in known], option)
    for subnet_id, subnet in known.items():
        if subnet["VpcId"] != vpc["VpcId"]:
            account.refuse(
                f"{subnet_id} in aws_network_{option} is in {subnet['VpcId']}, not in {vpc['VpcId']}: write subnets of one VPC."
            )
        if not subnet.get("CidrBlock"):
            account.refuse(
                f"{subnet_id} in aws_network_{option} has IPv6 addresses alone, and registries and load balancers have IPv4 ones here: "
                "write a subnet with IPv4 addresses."
            )
    return [known[subnet_id] for subnet_id in dict.fromkeys(wanted) if known.get(subnet_id, {}).get("CidrBlock")]


def _described(subnets: Sequence[Answer], tables: Sequence[Answer], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Subnets as the role has them."""
    own = options["provider"] == "own"
    public = {place.id: place.public for place in places(subnets, tables)}
    return [
        {
            "id": subnet["SubnetId"],
            "zone": subnet["AvailabilityZone"],
            "cidr": subnet.get("CidrBlock", ""),
            # Those of an own VPC say what they are, also before they have routes.
            "public": PRIVATE_TAG not in tags_of(subnet.get("Tags")) if own else public[subnet["SubnetId"]],
        }
        for subnet in subnets
    ]


def _launching(account: Account, options: Mapping[str, Any]) -> Launching:
    """Tell by a zone's name and id whether what is to be started can be started there."""
    region, architecture = account.region, options["fargate_architecture"]
    if account.removing:
        return lambda _name, _id: True
    if architecture:
        known = FARGATE_ZONES.get(region)
        without = FARGATE_WITHOUT_ARM if architecture == "arm64" else set()
        return lambda _name, zone_id: (known is None or zone_id in known) and zone_id not in without
    if not options["instance_type"]:
        return lambda _name, _id: True
    having = zones_with(account, options["instance_type"])
    # A type that the whole region lacks is for the role of the hosts to report.
    return lambda name, _id: not having or name in having


def zones_with(account: Account, instance_type: str) -> set[str]:
    """The zones of the region that have an instance type.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-discovery.html
    """
    offerings = account.ask_all(
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=filters(instance_type=instance_type),
    )
    return {offering["Location"] for offering in offerings}


def _what(options: Mapping[str, Any]) -> str:
    """What is to be started."""
    architecture = options["fargate_architecture"]
    return f"Fargate for {architecture}" if architecture else options["instance_type"] or "anything"


def _refuse_unknown(account: Account, subnet_ids: Sequence[str], option: str = "subnet_ids") -> None:
    for subnet_id in subnet_ids:
        account.refuse(
            f"There is no subnet {subnet_id} in {account.region}: correct aws_network_{option} or drydock_region."
        )


def _inside(
    account: Account, options: Mapping[str, Any], vpc: Answer, subnets: Sequence[Answer], found: dict[str, Any]
) -> list[Answer]:
    """What lies in the VPC, its route tables as they are; who removes looks for what is ours in all of them."""
    vpc_id = vpc["VpcId"]
    own = options["provider"] == "own"
    where = filters(tag=account.deployment) if account.removing else filters(vpc_id=vpc_id)
    tables: list[Answer] = []
    if vpc_id or account.removing:
        with account.step():
            tables = account.ask_all("ec2", "describe_route_tables", "RouteTables", Filters=where)
            if own:
                ours = [table for table in tables if account.is_ours(tags_of(table.get("Tags")))]
                private = [table["RouteTableId"] for table in ours if PRIVATE_TAG in tags_of(table.get("Tags"))]
                found["private_route_table_id"] = next(iter(private), "")
                found["route_table_ids"] = sorted(table["RouteTableId"] for table in ours)
            else:
                used = {table_of(subnet["SubnetId"], tables).get("RouteTableId", "") for subnet in subnets}
                found["route_table_ids"] = sorted(used - {""})
        with account.step():
            _security_groups(account, options, vpc_id, found)
        with account.step():
            _endpoints(account, where, found)
    with account.step():
        # Before it is attached, and after it was detached, an own one is known by its tag alone.
        found["internet_gateway_id"] = (
            _gateway(account, tag=account.deployment) if own else _gateway(account, attachment__vpc_id=vpc_id)
        )
    if own:
        with account.step():
            _addresses(account, found)
        with account.step():
            gateways = account.ask_all(
                "ec2", "describe_nat_gateways", "NatGateways", Filter=filters(tag=account.deployment)
            )
            found["nat_gateway_ids"] = [
                gateway["NatGatewayId"]
                for gateway in gateways
                if gateway["State"] not in GONE and account.is_ours(tags_of(gateway.get("Tags")))
            ]
    return tables


def _endpoints(account: Account, where: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """The ways to services of AWS that do not leave it: to S3 by routes, to others by addresses in the VPC."""
    gateways = []
    for endpoint in account.ask_all("ec2", "describe_vpc_endpoints", "VpcEndpoints", Filters=where):
        service = _service_of(str(endpoint["ServiceName"]), account.region)
        if str(endpoint.get("State", "available")).lower() in GONE:
            continue
        ours = account.is_ours(tags_of(endpoint.get("Tags")))
        if endpoint.get("VpcEndpointType", "Gateway") == "Interface":
            found["endpoints"][service] = {"id": endpoint["VpcEndpointId"], "ours": ours}
        elif service == "s3":
            gateways.append((ours, endpoint))
    # Ours first, should there be two.
    for ours, endpoint in sorted(gateways, key=lambda gateway: not gateway[0])[:1]:
        found["s3_endpoint"] = {
            "id": endpoint["VpcEndpointId"],
            "ours": ours,
            "tags": tags_of(endpoint.get("Tags")),
            # Of all that there are: each table may have another.
            "route_table_ids": sorted({table for _ours, each in gateways for table in each.get("RouteTableIds", [])}),
        }


def _addresses(account: Account, found: dict[str, Any]) -> None:
    """The Elastic IPs of an own VPC's NAT gateway, also of one that was never made."""
    answer = account.ask("ec2", "describe_addresses", Filters=filters(tag=account.deployment))
    found["nat_addresses"] = [
        {"allocation_id": each["AllocationId"], "public_ip": each["PublicIp"], "tags": tags_of(each.get("Tags"))}
        for each in sorted((answer or {}).get("Addresses", []), key=lambda each: str(each["AllocationId"]))
        if ADDRESS_TAG in tags_of(each.get("Tags"))
    ]


def _security_groups(account: Account, options: Mapping[str, Any], vpc_id: str, found: dict[str, Any]) -> None:
    tagged = account.ask_all(
        "ec2", "describe_security_groups", "SecurityGroups", Filters=filters(tag=account.deployment)
    )
    balancer_name = f"{account.deployment}-load-balancer"
    # The registry's group names the load balancer's, which therefore cannot be deleted before it.
    tagged.sort(key=lambda group: (group["GroupName"] == balancer_name, group["GroupId"]))
    found["security_group_ids"] = [group["GroupId"] for group in tagged if group["GroupName"] != "default"]
    found["endpoints_security_group_id"] = next(
        (group["GroupId"] for group in tagged if group["GroupName"] == f"{account.deployment}-endpoints"), ""
    )
    groups: list[Answer] = []
    # Of those that are made, none is where others are given.
    made = [] if options["security_group_ids"] else [account.name]
    if options["load_balancer"] == "application" and not options["load_balancer_security_group_ids"]:
        made.append(balancer_name)
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
        elif group["GroupName"] in made:
            account.refuse(
                f"{vpc_id} has a security group {group['GroupName']} ({group['GroupId']}) that is not this deployment's: delete it, or "
                "write another aws_network_name."
            )
    for option in ("security_group_ids", "load_balancer_security_group_ids", "admin_security_group_id"):
        given = [options[option]] if isinstance(options[option], str) else options[option]
        _given_groups(account, option, [each for each in given if each], vpc_id)


def _given_groups(account: Account, option: str, given: Sequence[str], vpc_id: str) -> None:
    """Security groups of others, which have to be in the VPC."""
    if not given:
        return
    groups = account.ask_all("ec2", "describe_security_groups", "SecurityGroups", Filters=filters(group_id=given))
    known = {group["GroupId"]: group["VpcId"] for group in groups}
    for group_id in given:
        if group_id not in known:
            account.refuse(f"There is no security group {group_id} in {account.region}: correct aws_network_{option}.")
        elif known[group_id] != vpc_id:
            where = vpc_id or "the VPC that is made"
            account.refuse(
                f"The security group {group_id} in aws_network_{option} is in {known[group_id]}, not in {where}: write one of the same "
                "VPC."
            )


def _gateway(account: Account, **by: str) -> str:
    gateways = account.ask_all("ec2", "describe_internet_gateways", "InternetGateways", Filters=filters(**by))
    return str(gateways[0]["InternetGatewayId"]) if gateways else ""


def _zones(account: Account, options: Mapping[str, Any], subnets: Sequence[Answer], launching: Launching) -> list[str]:
    """The zones in which an own VPC has a subnet, or is to have one; those of the subnets for any other VPC."""
    taken = list(dict.fromkeys(subnet["AvailabilityZone"] for subnet in subnets))
    wanted = list(options["zones"])
    if options["provider"] != "own" or account.removing:
        return taken
    answer = account.ask(
        "ec2", "describe_availability_zones", Filters=filters(zone_type="availability-zone", state="available")
    )
    zones = {zone["ZoneName"]: zone["ZoneId"] for zone in (answer or {}).get("AvailabilityZones", [])}
    available = sorted(zone for zone, zone_id in zones.items() if launching(zone, zone_id))
    if wanted:
        for zone in wanted:
            if zone not in zones:
                account.refuse(
                    f"{zone} in aws_network_zones is no zone of {account.region}: write some of {', '.join(available)}."
                )
            elif zone not in available:
                account.refuse(
                    f"{zone} in aws_network_zones has no {_what(options)}: write some of {', '.join(available)}, or choose what it has."
                )
        if len(set(wanted)) != len(wanted):
            account.refuse("aws_network_zones names a zone twice: keep one of them.")
        return wanted
    # Those that have a subnet come first, so that a zone that AWS adds changes nothing.
    taken = [zone for zone in taken if zone in available]
    chosen = [*taken, *(zone for zone in available if zone not in taken)][: max(BALANCED_ZONES, len(taken))]
    return sorted(chosen)


def _plan(
    account: Account,
    options: Mapping[str, Any],
    found: Mapping[str, Any],
    everyones: Sequence[Answer],
    cidr: str,
) -> list[dict[str, Any]]:
    """One subnet of each kind for each zone: the one that is there, or the next free part of the network."""
    try:
        free = subnet_parts(cidr)
    except ValueError:  # told already
        return []
    kinds = _kinds(options)
    there = {subnet["public"] for subnet in found["subnets"]}
    if there and (False in there) != (False in kinds):
        account.refuse(
            f"{found['vpc_id']} was made {'with' if False in there else 'without'} private subnets, and this role does not move hosts "
            f"between the two kinds: leave public addresses as they were ({PUBLIC_ADDRESSES}), or remove the deployment first."
        )
        return []
    taken = [ipaddress.ip_network(subnet["CidrBlock"]) for subnet in everyones if subnet.get("CidrBlock")]
    free = [part for part in free if not any(part.overlaps(other) for other in taken)]
    plan: list[dict[str, Any]] = []
    for public in kinds:
        for zone in found["zones"]:
            has = [subnet for subnet in found["subnets"] if (subnet["zone"], subnet["public"]) == (zone, public)]
            if has:
                plan.append(has[0])
            elif free:
                plan.append({"id": "", "zone": zone, "cidr": str(free.pop(0)), "public": public})
            else:
                account.refuse(
                    f"{cidr} has no sixteenth part free for a subnet in {zone}: delete a subnet of the VPC, or write fewer "
                    "aws_network_zones."
                )
    return plan


def _kinds(options: Mapping[str, Any]) -> list[bool]:
    """Whether an own VPC has public subnets, and private ones: hosts, a NAT gateway and a load balancer need some."""
    faces_internet = options["load_balancer"] != "none" and not options["load_balancer_internal_enabled"]
    if options["public_ip_enabled"]:
        return [True]
    return [True, False] if faces_internet or options["way_out"] == "nat" else [False]
