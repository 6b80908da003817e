# SPDX-License-Identifier: GPL-3.0-or-later
"""What works in a subnet, and what does not, by its default route."""

from __future__ import annotations

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._aws_routes import Place, Wanted, problems, way_of

PUBLIC = [Place("subnet-1", "a", "igw-1"), Place("subnet-2", "b", "igw-1")]
GIVING = [place._replace(gives_addresses=True) for place in PUBLIC]
NAT = [Place("subnet-3", "a", "nat-1"), Place("subnet-4", "b", "tgw-1")]
CLOSED = [Place("subnet-5", "a", ""), Place("subnet-6", "b", "")]
BALANCED = Wanted("application", False, True, "nat", ["logs", "ecr.api"])
HIDDEN = BALANCED._replace(public_addresses=False)
HOST = Wanted("none", False, True, "nat")

CASES: dict[str, tuple[list[Place], list[Place], Wanted, list[str], list[str]]] = {
    "one public kind for both": (PUBLIC, PUBLIC, BALANCED, [], []),
    "hosts behind NAT": (NAT, PUBLIC, HIDDEN, [], []),
    "a balancer behind NAT": (
        NAT,
        NAT,
        HIDDEN,
        [],
        ["subnet-3 and subnet-4 have no route to an internet gateway, so that a load"],
    ),
    "an internal balancer behind NAT": (NAT, NAT, HIDDEN._replace(internal=True), [], []),
    "hidden hosts in public subnets": (
        PUBLIC,
        PUBLIC,
        HIDDEN,
        [],
        ["subnet-1 and subnet-2 have no way out for hosts without"],
    ),
    "also where subnets give addresses": (GIVING, PUBLIC, HIDDEN, [], ["subnet-1 and subnet-2 have no way out"]),
    "hidden hosts without a route": (CLOSED, PUBLIC, HIDDEN, [], ["subnet-5 and subnet-6 have no way out"]),
    "public hosts in private subnets": (
        NAT,
        PUBLIC,
        BALANCED,
        [],
        ["so that hosts with public addresses have no way out of there"],
    ),
    "public hosts without a route": (
        CLOSED[:1],
        PUBLIC,
        BALANCED,
        [],
        ["subnet-5 has no route to an internet gateway"],
    ),
    "endpoints that are there": (CLOSED, PUBLIC, HIDDEN._replace(way_out="endpoints"), ["logs", "ecr.api"], []),
    "endpoints that are missing": (
        CLOSED,
        PUBLIC,
        HIDDEN._replace(way_out="endpoints"),
        ["logs"],
        ["The VPC has no interface endpoint of ecr.api, which hosts in subnet-5 and subnet-6 need"],
    ),
    "no way to S3": (
        CLOSED,
        PUBLIC,
        HIDDEN._replace(way_out="endpoints", reaches_s3=False),
        ["logs", "ecr.api"],
        ["The VPC has no endpoint of S3, where images are, and hosts in subnet-5 and subnet-6 have no other way"],
    ),
    "an endpoint of S3 in other tables": (
        CLOSED,
        PUBLIC,
        HIDDEN._replace(way_out="endpoints", s3_endpoint="vpce-1", beside_s3={"subnet-6": "rtb-2"}),
        ["logs", "ecr.api"],
        ["The endpoint vpce-1 of S3, where images are, does not serve subnet-6, whose hosts have no other way to it"],
    ),
    "an endpoint of S3 in other tables than those of a route out": (
        NAT,
        PUBLIC,
        HIDDEN._replace(way_out="endpoints", s3_endpoint="vpce-1", beside_s3={"subnet-3": "rtb-2"}),
        [],
        [],
    ),
    "a route out leads to S3": (NAT, PUBLIC, HIDDEN._replace(way_out="endpoints", reaches_s3=False), [], []),
    "a route out is as good as endpoints": (NAT, PUBLIC, HIDDEN._replace(way_out="endpoints"), [], []),
    "all that is needed lies in the network": (CLOSED, PUBLIC, HIDDEN._replace(way_out="none"), [], []),
    "a zone that the balancer does not have": (
        [*NAT, Place("subnet-7", "c", "nat-1")],
        PUBLIC,
        HIDDEN,
        [],
        ["Hosts are to be in c, where the load balancer has no subnet"],
    ),
    "one host with an address": (PUBLIC, [], HOST, [], []),
    "one host with an address, in private": (
        NAT,
        [],
        HOST,
        [],
        ["hosts with public addresses have no way out of there"],
    ),
    "one host that gets an address": (GIVING, [], HOST._replace(public_addresses=False), [], []),
    "one host that gets none": (
        PUBLIC,
        [],
        HOST._replace(public_addresses=False),
        [],
        ["have no way out for hosts without"],
    ),
    "one host behind NAT": (NAT, [], HOST._replace(public_addresses=False), [], []),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_said(name: str) -> None:
    hosts, balancers, wanted, endpoints, expected = CASES[name]
    said = problems(hosts, balancers, wanted, endpoints)
    assert len(said) == len(expected), said
    for sentence, words in zip(said, expected, strict=True):
        assert words in sentence
        assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("routes", "way"),
    [
        ([], ""),
        ([{"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}], ""),
        ([{"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"}], "igw-1"),
        ([{"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "blackhole"}], ""),
        ([{"DestinationCidrBlock": "0.0.0.0/0", "TransitGatewayId": "tgw-1"}], "tgw-1"),
        ([{"DestinationIpv6CidrBlock": "::/0", "EgressOnlyInternetGatewayId": "eigw-1"}], ""),
    ],
)
def test_where_a_table_leads(routes: list[dict[str, str]], way: str) -> None:
    assert way_of({"Routes": routes}) == way
