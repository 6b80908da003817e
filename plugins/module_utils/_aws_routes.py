# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the subnets of a VPC lead, and what that means for those who are put into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Answer

EVERYWHERE = "0.0.0.0/0"
# What an answer names the end of a route by.
TARGETS = (
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "NetworkInterfaceId",
    "InstanceId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
)
# Whose settings say whether hosts have public addresses.
PUBLIC_ADDRESSES = "aws_autoscaling_public_ip_enabled, aws_ecs_public_ip_enabled or aws_instance_elastic_ip_enabled"


class Place(NamedTuple):
    """A subnet, and where its default route leads."""

    id: str
    zone: str
    # An internet gateway, a NAT gateway, something else, or nothing.
    way: str
    # It gives a public address to each machine that does not say otherwise.
    gives_addresses: bool = False
    # The table that routes it.
    table: str = ""

    @property
    def public(self) -> bool:
        """Tell whether the internet reaches what has a public address here.

        https://docs.aws.amazon.com/vpc/latest/userguide/configure-subnets.html#subnet-types
        """
        return self.way.startswith("igw-")


class Wanted(NamedTuple):
    """What is to be put there."""

    load_balancer: str
    internal: bool
    public_addresses: bool
    way_out: str
    # The services of AWS that hosts without a route out need, such as `logs`.
    services: Sequence[str] = ()
    # S3 is reached without a route out, too, by an endpoint.
    reaches_s3: bool = True
    # That endpoint, and the subnets whose tables it does not serve, each with its table.
    s3_endpoint: str = ""
    beside_s3: Mapping[str, str] = {}


def table_of(subnet_id: str, tables: Sequence[Answer]) -> Answer:
    """The table that routes a subnet; one without a table of its own has the VPC's main one."""
    main: Answer = {}
    for table in tables:
        for association in table.get("Associations", []):
            if association.get("SubnetId") == subnet_id:
                return table
            if association.get("Main"):
                main = table
    return main


def way_of(table: Mapping[str, Any]) -> str:
    """The end of a table's default route, or nothing; a route whose end is gone leads nowhere."""
    for route in table.get("Routes", []):
        if route.get("DestinationCidrBlock") == EVERYWHERE and route.get("State") != "blackhole":
            return next((str(route[target]) for target in TARGETS if route.get(target)), "")
    return ""


def places(subnets: Sequence[Answer], tables: Sequence[Answer]) -> list[Place]:
    """The subnets with their default routes."""
    return [
        Place(
            subnet["SubnetId"],
            subnet["AvailabilityZone"],
            way_of(table),
            bool(subnet.get("MapPublicIpOnLaunch")),
            str(table.get("RouteTableId", "")),
        )
        for subnet in subnets
        for table in [table_of(subnet["SubnetId"], tables)]
    ]


def problems(hosts: Sequence[Place], balancers: Sequence[Place], wanted: Wanted, endpoints: Sequence[str]) -> list[str]:
    """What would not work there, one sentence each."""
    found = []
    if wanted.load_balancer != "none":
        found += _of_balancers(hosts, balancers, wanted)
    # Of one host, the subnet decides where it has no address that stays.
    addressed = [each for each in hosts if wanted.public_addresses or _is_given(each, wanted)]
    closed = [each.id for each in addressed if wanted.public_addresses and not each.public]
    if closed:
        found.append(
            f"{_these(closed, 'has', 'have')} no route to an internet gateway, so that hosts with public addresses have no way out of "
            f"there: write public subnets as aws_network_subnet_ids, or have hosts without public addresses ({PUBLIC_ADDRESSES}: false)."
        )
    hidden = [each for each in hosts if each not in addressed]
    return found + _of_hidden(hidden, wanted, endpoints)


def _is_given(place: Place, wanted: Wanted) -> bool:
    """Tell whether a host that asks for no address gets one: behind a load balancer, all say that they want none."""
    return wanted.load_balancer == "none" and place.public and place.gives_addresses


def _of_balancers(hosts: Sequence[Place], balancers: Sequence[Place], wanted: Wanted) -> list[str]:
    found = []
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#load-balancer-scheme
    private = [each.id for each in balancers if not each.public]
    if private and not wanted.internal:
        found.append(
            f"{_these(private, 'has', 'have')} no route to an internet gateway, so that a load balancer that faces the internet answers "
            "nobody there: write public subnets as aws_network_load_balancer_subnet_ids, or aws_load_balancer_internal_enabled: true."
        )
    # A target in a zone that its load balancer does not have gets no requests (Target.NotInUse).
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html#target-health-reason-codes
    served = {each.zone for each in balancers}
    unserved = sorted({each.zone for each in hosts} - served)
    if unserved and served:
        found.append(
            f"Hosts are to be in {' and '.join(unserved)}, where the load balancer has no subnet and sends no requests: write a subnet of "
            "that zone as one of aws_network_load_balancer_subnet_ids, or none of it as aws_network_subnet_ids."
        )
    return found


def _of_hidden(hosts: Sequence[Place], wanted: Wanted, endpoints: Sequence[str]) -> list[str]:
    """Hosts without public addresses, whom an internet gateway does not serve."""
    shut = [each.id for each in hosts if not each.way or each.public]
    if not shut or wanted.way_out == "none":
        return []
    if wanted.way_out == "nat":
        said = (
            f"{_these(shut, 'has', 'have')} no way out for hosts without public addresses ({PUBLIC_ADDRESSES}: false), whom an internet "
            "gateway does not serve: write subnets with a route to a NAT gateway as aws_network_subnet_ids, or aws_network_way_out: "
            "endpoints where the VPC has those of AWS's services."
        )
        return [said]
    found = []
    missing = ", ".join(service for service in wanted.services if service not in endpoints)
    if missing:
        found.append(
            f"The VPC has no interface endpoint of {missing}, which hosts in {' and '.join(shut)} need, as they have no other way out "
            "(aws_network_way_out: endpoints): make it, or have a VPC made with aws_network_provider: own."
        )
    if not wanted.reaches_s3:
        found.append(
            f"The VPC has no endpoint of S3, where images are, and hosts in {' and '.join(shut)} have no other way to it "
            "(aws_network_way_out: endpoints): write aws_network_s3_endpoint_enabled: true, or make one."
        )
    beside = [subnet for subnet in shut if subnet in wanted.beside_s3]
    if beside:
        tables = " and ".join(dict.fromkeys(wanted.beside_s3[subnet] for subnet in beside))
        found.append(
            f"The endpoint {wanted.s3_endpoint} of S3, where images are, does not serve {' and '.join(beside)}, whose hosts have no other "
            f"way to it (aws_network_way_out: endpoints): add it to {tables}, or write other subnets as aws_network_subnet_ids."
        )
    return found


def _these(ids: Sequence[str], one: str, several: str) -> str:
    return f"{' and '.join(ids)} {one if len(ids) == 1 else several}"
