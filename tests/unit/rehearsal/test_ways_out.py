# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets out of a subnet, and which load balancer is reached, by the routes of moto's VPCs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from aws_stand_in.balancers import is_reachable
from aws_stand_in.ec2 import is_let_out
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends

REGION = "eu-central-1"


class Network:
    """A VPC whose subnets lead to an internet gateway, to a NAT gateway, and nowhere: one of each in two zones."""

    def __init__(self) -> None:
        session = boto3.session.Session("key", "secret", region_name=REGION)
        self.ec2, self.elb = session.client("ec2"), session.client("elbv2")
        vpc = self.ec2.create_vpc(CidrBlock="10.60.0.0/16")["Vpc"]["VpcId"]
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        self.subnets: dict[str, list[str]] = {}
        ways: dict[str, dict[str, str]] = {"public": {"GatewayId": gateway}, "nat": {}, "nowhere": {}}
        for number, (kind, way) in enumerate(ways.items()):
            members = [
                self.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.60.{number * 2 + index}.0/24", AvailabilityZone=zone)
                for index, zone in enumerate((f"{REGION}a", f"{REGION}b"))
            ]
            self.subnets[kind] = [member["Subnet"]["SubnetId"] for member in members]
            if kind == "nat":
                address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
                made = self.ec2.create_nat_gateway(SubnetId=self.subnets["public"][0], AllocationId=address)
                way["NatGatewayId"] = made["NatGateway"]["NatGatewayId"]
            table = self.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
            if way:
                self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **way)
            for member in self.subnets[kind]:
                self.ec2.associate_route_table(RouteTableId=table, SubnetId=member)

    def machine(self, kind: str, public: bool) -> Any:
        """Start an instance there, with or without a public address."""
        place = {"DeviceIndex": 0, "SubnetId": self.subnets[kind][0], "AssociatePublicIpAddress": public}
        made = self.ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, NetworkInterfaces=[place])
        return ec2_backends[DEFAULT_ACCOUNT_ID][REGION].get_instance(made["Instances"][0]["InstanceId"])

    def balancer(self, scheme: str, *kinds: str) -> Any:
        """Make a load balancer with a subnet of each kind, of two zones."""
        subnets = [self.subnets[kind][number] for number, kind in enumerate(kinds)]
        made = self.elb.create_load_balancer(Name=f"{scheme}-{'-'.join(kinds)}", Subnets=subnets, Scheme=scheme)
        return elbv2_backends[DEFAULT_ACCOUNT_ID][REGION].load_balancers[made["LoadBalancers"][0]["LoadBalancerArn"]]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("MOTO_AMIS_PATH", "/dev/null")
    with mock_aws():
        yield Network()


def test_machines(network: Network) -> None:
    # An internet gateway serves those with a public address, and a NAT gateway those without as well.
    let_out = {
        (kind, public): is_let_out(network.machine(kind, public))
        for kind in network.subnets
        for public in (True, False)
    }
    assert let_out == {
        ("public", True): True,
        ("public", False): False,
        ("nat", True): True,
        ("nat", False): True,
        ("nowhere", True): False,
        ("nowhere", False): False,
    }


def test_load_balancers(network: Network) -> None:
    assert is_reachable(network.balancer("internet-facing", "public", "public"))
    # One subnet that is not public is enough for clients to meet silence.
    assert not is_reachable(network.balancer("internet-facing", "public", "nat"))
    assert not is_reachable(network.balancer("internet-facing", "nat", "nat"))
    assert is_reachable(network.balancer("internal", "nowhere", "nowhere"))
