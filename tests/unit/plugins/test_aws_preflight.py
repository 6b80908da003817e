# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at an AWS account: what is found, and what is refused. The account is moto's, in this process."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import boto3
import pytest
from ansible_collections.drydock.registry.plugins.module_utils import (
    _aws_account,
    _aws_preflight_network,
    _aws_preflight_storage,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, AwsProblem, open_account
from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import parse_public_key
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import log_statement
from ansible_collections.drydock.registry.plugins.module_utils._aws_preflight import SECTIONS, look
from ansible_collections.drydock.registry.plugins.modules.aws_preflight import ARGUMENTS
from botocore.exceptions import ClientError, EndpointConnectionError
from moto.ec2.models import instance_types

REGION = "eu-central-1"
NAME = "drydock-registry"
IAM_NAME = "drydock-registry-eu-central-1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4ZQRdfNYB1yDl+6CkuZfZQOIsD6jE4ZIkT4mXrAOpP admin"
ANOTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEfPB0kiKPTyvNQW6vXnZH3sPjZ+fxS8kUPKVgDd5gRv somebody"
OURS = [{"Key": "Name", "Value": NAME}, {"Key": "drydock-deployment", "Value": "drydock"}]
THEIRS = [{"Key": "drydock-deployment", "Value": "staging"}]
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::x/*"}],
    }
)
PARAMETER = "/our/image"
DEBIAN, OLDER, AMD64, OTHERS, WINDOWS, STORED = (f"ami-0000000000000000{number}" for number in range(1, 7))


def ami(image_id: str, name: str, owner: str = "136693071363", **more: Any) -> dict[str, Any]:
    """An image as moto has it in its list."""
    return {
        "ami_id": image_id,
        "name": name,
        "owner_id": owner,
        "public": True,
        "architecture": "arm64",
        "state": "available",
        "root_device_name": "/dev/xvda",
        "root_device_type": "ebs",
        "creation_date": "2026-02-01T00:00:00.000Z",
        **more,
    }


# In place of moto's list of a thousand, which it reads anew for each test.
AMIS = [
    ami(DEBIAN, "debian-13-arm64-2"),
    ami(OLDER, "debian-13-arm64-1", creation_date="2026-01-01T00:00:00.000Z"),
    ami(AMD64, "debian-13-amd64-1", architecture="x86_64"),
    ami(OTHERS, "debian-13-arm64-9", "999999999999", creation_date="2026-03-01T00:00:00.000Z"),
    ami(WINDOWS, "windows", platform="windows"),
    ami(STORED, "stored", root_device_type="instance-store"),
]


class Answer(NamedTuple):
    """What a look brought."""

    found: dict[str, Any]
    problems: list[str]


pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def aws_images() -> list[dict[str, Any]]:
    return AMIS


# One session and one client a service read boto3's data once.
SESSION = boto3.session.Session(aws_access_key_id="key", aws_secret_access_key="secret")


@functools.cache
def client(service: str, region: str = REGION) -> Any:
    return SESSION.client(service, region_name=region)


# What a VPC of others is asked about.
ANSWERED: dict[str, dict[str, Any]] = {"network": {"s3_endpoint_enabled": False}}


def defaults_of(section: str) -> dict[str, Any]:
    return {name: option.get("default") for name, option in ARGUMENTS[section]["options"].items()}


def ask(section: str, removing: bool = False, deployment: str = "drydock", tags: Any = None, **options: Any) -> Answer:
    account = Account(client, REGION, deployment, removing=removing)
    defaults = defaults_of(section)
    assert set(options) <= set(defaults)
    found = look(account, section, {**defaults, **ANSWERED.get(section, {}), **options}, tags or {})
    return Answer(found, account.problems)


def settled(section: str, **options: Any) -> dict[str, Any]:
    answer = ask(section, **options)
    assert answer.problems == []
    return answer.found


# ----- every section ----------------------------------------------------------------------------


EMPTY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "network": (
        {"provider": "own"},
        {
            "vpc_id": "",
            "vpc_cidr": "",
            "vpc_cidrs": [],
            "subnets": [],
            "load_balancer_subnets": [],
            "plan": [
                {"id": "", "zone": "eu-central-1a", "cidr": "10.60.0.0/20", "public": True},
                {"id": "", "zone": "eu-central-1b", "cidr": "10.60.16.0/20", "public": True},
            ],
            "route_table_ids": [],
            "private_route_table_id": "",
            "zones": ["eu-central-1a", "eu-central-1b"],
            "security_group_id": "",
            "security_group_ids": [],
            "load_balancer_security_group_id": "",
            "default_security_group_id": "",
            "internet_gateway_id": "",
            "nat_gateway_ids": [],
            "s3_endpoint": {"id": "", "ours": False, "tags": {}, "route_table_ids": []},
            "nat_addresses": [],
            "endpoints_security_group_id": "",
            "services": [],
            "service_names": {},
            "endpoints": {},
        },
    ),
    "storage": (
        {"bucket": "images"},
        {
            "exists": False,
            "ours": False,
            "adopted": False,
            "policy": {},
            "encryption": {"algorithm": "", "kms_key_arn": ""},
            "versioning": "",
            "lifecycle_rules": [],
            "logging": {"bucket": "", "prefix": ""},
            "public_access_block": {},
            "ownership": "",
            "objects": 0,
            "kms_key_arn": "",
            "key": {"arn": "", "ours": False, "state": ""},
            "tags": {},
        },
    ),
    "identity": (
        {},
        {
            "role": {"name": "", "arn": "", "ours": False},
            "policy": {"name": "", "arn": "", "ours": False},
            "policy_arn": "",
            "instance_profile": {"name": "", "arn": "", "ours": False},
            "acme_zone": {"id": "", "name": ""},
        },
    ),
}


@pytest.mark.parametrize("section", EMPTY)
def test_an_empty_account(section: str) -> None:
    options, expected = EMPTY[section]
    assert settled(section, **options) == {
        "account_id": "123456789012",
        "partition": "aws",
        "region": REGION,
        "caller_arn": "arn:aws:sts::123456789012:user/moto",
        "name": NAME,
        "iam_name": IAM_NAME,
        **expected,
    }


def test_an_empty_account_without_an_instance() -> None:
    found = settled("instance", image_provider="id", image_id=DEBIAN)
    assert found["instance"] is None
    assert found["instances"] == []
    assert found["image"] == {
        "id": DEBIAN,
        "name": "debian-13-arm64-2",
        "architecture": "arm64",
        "root_device": "/dev/xvda",
        "owner": "136693071363",
        "size_gib": 15,
    }
    assert found["supported_architectures"] == ["arm64"]
    assert found["key_pair"] is None
    assert found["zone"] == {"id": "", "name": "", "record": {}}
    assert found["elastic_ip"] is None


REMOVABLE: dict[str, dict[str, Any]] = {
    "network": {"provider": "given", "vpc_id": "vpc-gone", "client_cidrs": ["nobody"]},
    "storage": {"bucket": "", "log_bucket": "gone"},
    "identity": {"permissions_boundary": "gone", "path": "gone", "acme_names": ["gone.example"], "acme_zone": "gone"},
    "instance": {
        "type": "gone",
        "image_provider": "id",
        "image_id": "gone",
        "public_key": "gone",
        "zone": "gone.example",
        "replace": "gone",
    },
}


@pytest.mark.parametrize("section", REMOVABLE)
def test_who_removes_is_not_judged(section: str) -> None:
    answer = ask(section, removing=True, deployment="Drydock", tags={"aws:x": "y"}, **REMOVABLE[section])
    assert answer.problems == []
    assert answer.found["region"] == REGION


@pytest.mark.parametrize("section", SECTIONS)
def test_name_and_tags_are_judged(section: str) -> None:
    problems = ask(section, deployment="My_Registry", tags={"aws:x": "y"}).problems
    assert problems[0].startswith(
        f"aws_{section}_name (drydock_deployment), which is 'My_Registry', has other characters"
    )
    assert f"aws_{section}_tags has the tag aws:x" in problems[1]


# ----- who asks, and where ----------------------------------------------------------------------


@pytest.mark.parametrize(("region", "words"), [("", "write drydock_region"), ("eu-centrall-1", "write eu-central-1,")])
def test_the_region_is_judged_first(region: str, words: str) -> None:
    with pytest.raises(AwsProblem, match=words):
        open_account(region, "drydock")


def test_an_unknown_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "prod")
    with pytest.raises(AwsProblem, match="no AWS profile 'prod'"):
        open_account(REGION, "drydock")


class Refusing:
    """A client that answers some operations with an error."""

    def __init__(self, real: Any, errors: dict[str, Exception]) -> None:
        self.real, self.errors = real, errors

    def __getattr__(self, name: str) -> Any:
        def refuse(**_: Any) -> None:
            raise self.errors[name]

        return refuse if name in self.errors else getattr(self.real, name)

    def get_paginator(self, operation: str) -> Any:
        return Pages(self.errors[operation]) if operation in self.errors else self.real.get_paginator(operation)


class Pages:
    """A paginator that answers with an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def paginate(self, **_: Any) -> None:
        raise self.error


def error(code: str, operation: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


def refusing(section: str, errors: dict[str, Exception], removing: bool = False, **options: Any) -> Answer:
    account = Account(lambda service: Refusing(client(service), errors), REGION, "drydock", removing=removing)
    return Answer(
        look(account, section, {**defaults_of(section), **ANSWERED.get(section, {}), **options}, {}), account.problems
    )


CALLERS = {
    "expired": (error("ExpiredToken", "GetCallerIdentity"), "have expired"),
    "refused": (error("InvalidClientTokenId", "GetCallerIdentity"), "does not accept the credentials"),
    "unreachable": (EndpointConnectionError(endpoint_url="http://127.0.0.1:9/"), "http://127.0.0.1:9/"),
}


@pytest.mark.parametrize("name", CALLERS)
def test_without_an_account_nothing_else_is_asked(name: str) -> None:
    refusal, words = CALLERS[name]
    answer = refusing("network", {"get_caller_identity": refusal}, provider="given")
    assert len(answer.problems) == 1
    assert words in answer.problems[0]


# Each permission of a section, and what follows when it is missing.
PERMISSIONS = [
    ("network", "describe_vpcs", "DescribeVpcs", "ec2:DescribeVpcs", {}),
    ("network", "describe_route_tables", "DescribeRouteTables", "ec2:DescribeRouteTables", {}),
    ("network", "describe_vpc_endpoints", "DescribeVpcEndpoints", "ec2:DescribeVpcEndpoints", {}),
    ("storage", "list_buckets", "ListBuckets", "", {"bucket": "images"}),
    ("storage", "describe_key", "DescribeKey", "", {"bucket": "images"}),
    ("storage", "describe_key", "DescribeKey", "kms:DescribeKey", {"bucket": "images", "encryption": "kms"}),
    ("storage", "describe_key", "DescribeKey", "kms:DescribeKey", {"bucket": "images", "kms_key": "alias/x"}),
    ("identity", "get_role", "GetRole", "iam:GetRole", {}),
    ("identity", "get_instance_profile", "GetInstanceProfile", "iam:GetInstanceProfile", {}),
    (
        "identity",
        "list_hosted_zones_by_name",
        "ListHostedZonesByName",
        "route53:ListHostedZonesByName",
        {"acme_names": ["r.example.com"], "acme_zone": "example.com"},
    ),
    ("instance", "get_parameter", "GetParameter", "ssm:GetParameter", {"image_parameter": PARAMETER}),
    ("instance", "describe_addresses", "DescribeAddresses", "ec2:DescribeAddresses", {"image_parameter": PARAMETER}),
]


@pytest.mark.parametrize(("section", "call", "operation", "action", "options"), PERMISSIONS)
def test_a_missing_permission_is_named(section: str, call: str, operation: str, action: str, options: Any) -> None:
    answer = refusing(section, {call: error("AccessDeniedException", operation)}, **options)
    said = [problem for problem in answer.problems if "AWS refuses" in problem]
    assert len(said) == bool(action)
    if action:
        assert f"AWS refuses {action} to arn:aws:sts::123456789012:user/moto:" in said[0]


# ----- network ----------------------------------------------------------------------------------


def gateway(vpc_id: str) -> str:
    ec2 = client("ec2")
    made = str(ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"])
    ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=vpc_id)
    return made


def main_table(vpc_id: str) -> str:
    tables = client("ec2").describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["RouteTables"]
    return str(tables[0]["RouteTableId"])


def route(table: str, **target: str) -> None:
    client("ec2").create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **target)


def vpc(cidr: str = "10.60.0.0/16", tags: Any = None, *zones: str) -> tuple[str, list[str]]:
    ec2 = client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    route(main_table(vpc_id), GatewayId=gateway(vpc_id))
    subnets = []
    for number, zone in enumerate(zones):
        made = ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.60.{number * 16}.0/20", AvailabilityZone=zone)
        subnets.append(made["Subnet"]["SubnetId"])
    if tags:
        ec2.create_tags(Resources=[vpc_id, *subnets], Tags=tags)
    return vpc_id, subnets


def group(name: str, vpc_id: str, tags: Any = None) -> str:
    ec2 = client("ec2")
    group_id = ec2.create_security_group(GroupName=name, Description="x", VpcId=vpc_id)["GroupId"]
    if tags:
        ec2.create_tags(Resources=[group_id], Tags=tags)
    return str(group_id)


def default_vpc() -> str:
    return str(client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"])


def without_default_vpc() -> dict[str, Any]:
    ec2 = client("ec2")
    vpc_id = default_vpc()
    for subnet in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_vpc(VpcId=vpc_id)
    return {}


def test_the_default_vpc() -> None:
    found = settled("network")
    assert found["vpc_id"] == default_vpc()
    assert [subnet["zone"] for subnet in found["subnets"]] == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    assert found["zones"] == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    assert len(found["route_table_ids"]) == 1
    assert found["default_security_group_id"].startswith("sg-")
    assert found["security_group_id"] == ""
    assert found["plan"] == []


def test_a_given_vpc() -> None:
    ec2 = client("ec2")
    vpc_id, subnets = vpc("10.60.0.0/16", None, "eu-central-1b", "eu-central-1a")
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])
    route(table, GatewayId=settled("network", provider="given", vpc_id=vpc_id)["internet_gateway_id"])
    admin = group("admins", vpc_id)
    ours = group(NAME, vpc_id, OURS)
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc_id, ServiceName=f"com.amazonaws.{REGION}.s3", VpcEndpointType="Gateway", RouteTableIds=[table]
    )["VpcEndpoint"]["VpcEndpointId"]

    found = settled("network", provider="given", vpc_id=vpc_id, admin_security_group_id=admin)
    assert [subnet["zone"] for subnet in found["subnets"]] == ["eu-central-1a", "eu-central-1b"]
    assert table in found["route_table_ids"]
    assert len(found["route_table_ids"]) == 2
    assert found["security_group_id"] == ours
    assert found["security_group_ids"] == [ours]
    assert found["s3_endpoint"] == {"id": endpoint, "ours": False, "tags": {}, "route_table_ids": [table]}

    # In the order given, and the VPC by its subnets.
    found = settled("network", provider="given", subnet_ids=subnets)
    assert found["vpc_id"] == vpc_id
    assert [subnet["id"] for subnet in found["subnets"]] == subnets
    found = settled("network", provider="given", subnet_ids=subnets[:1])
    assert found["route_table_ids"] == [table]

    ec2.create_tags(Resources=[endpoint], Tags=OURS)
    assert settled("network", provider="given", vpc_id=vpc_id)["s3_endpoint"]["ours"] is True


def nat(subnet: str) -> str:
    ec2 = client("ec2")
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    return str(ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"])


def two_kinds() -> tuple[str, list[str], list[str], str]:
    """A VPC with a public and a private subnet in each of two zones, the latter without a way out."""
    ec2 = client("ec2")
    vpc_id, subnets = vpc("10.60.0.0/16", None, "eu-central-1a", "eu-central-1b", "eu-central-1a", "eu-central-1b")
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    for subnet in subnets[2:]:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return vpc_id, subnets[:2], subnets[2:], table


def without_addresses(public: list[str], private: list[str]) -> dict[str, Any]:
    """The settings of hosts without public addresses behind a load balancer."""
    return {
        "provider": "given",
        "load_balancer": "application",
        "subnet_ids": private,
        "load_balancer_subnet_ids": public,
        "public_ip_enabled": False,
    }


def test_a_load_balancer_and_its_hosts_have_subnets_of_their_own() -> None:
    vpc_id, public, private, table = two_kinds()
    options = without_addresses(public, private)
    (problem,) = ask("network", **options).problems
    assert problem.startswith(f"{private[0]} and {private[1]} have no way out for hosts without public addresses")

    route(table, NatGatewayId=nat(public[0]))
    found = settled("network", **options)
    assert [subnet["id"] for subnet in found["subnets"]] == private
    assert [subnet["public"] for subnet in found["subnets"]] == [False, False]
    assert [subnet["cidr"] for subnet in found["load_balancer_subnets"]] == ["10.60.0.0/20", "10.60.16.0/20"]
    assert [subnet["public"] for subnet in found["load_balancer_subnets"]] == [True, True]
    assert found["route_table_ids"] == sorted([table, main_table(vpc_id)])

    # The same subnets for both, as before there were two inputs.
    problems = ask("network", **{**options, "load_balancer_subnet_ids": []}).problems
    assert len(problems) == 1
    assert "a load balancer that faces the internet answers nobody there" in problems[0]
    assert settled("network", **{**options, "load_balancer_subnet_ids": [], "load_balancer_internal_enabled": True})
    problems = ask("network", **{**options, "subnet_ids": public}).problems
    assert "whom an internet gateway does not serve" in problems[0]


def test_hosts_that_endpoints_serve_need_one_of_s3() -> None:
    vpc_id, public, private, table = two_kinds()
    options = {**without_addresses(public, private), "way_out": "endpoints", "s3_endpoint_enabled": False}
    (problem,) = ask("network", **options).problems
    assert problem.startswith("The VPC has no endpoint of S3")
    assert settled("network", **{**options, "s3_endpoint_enabled": True})
    (problem,) = ask("network", **{**options, "s3_endpoint_enabled": None}).problems
    assert problem.startswith(f"{vpc_id} has no gateway endpoint of S3")
    client("ec2").create_vpc_endpoint(VpcId=vpc_id, ServiceName=f"com.amazonaws.{REGION}.s3", RouteTableIds=[table])
    assert settled("network", **options)


def test_a_route_to_a_gateway_that_is_gone_leads_nowhere() -> None:
    vpc_id, public, _, _ = two_kinds()

    class Blackhole:
        def __getattr__(self, name: str) -> Any:
            return getattr(client("ec2"), name)

        def get_paginator(self, operation: str) -> Any:
            pages = client("ec2").get_paginator(operation)
            if operation != "describe_route_tables":
                return pages
            answer = pages.paginate().build_full_result()
            for each in answer["RouteTables"]:
                for route_of_it in each["Routes"]:
                    route_of_it["State"] = "blackhole"
            return SimpleNamespace(paginate=lambda **_: [answer])

    account = Account(lambda service: Blackhole() if service == "ec2" else client(service), REGION, "drydock")
    look(
        account,
        "network",
        {**defaults_of("network"), "provider": "given", "subnet_ids": public, "s3_endpoint_enabled": False},
        {},
    )
    (problem,) = account.problems
    assert problem.startswith(f"{public[0]} has no route to an internet gateway")
    assert vpc_id


def test_a_vpc_of_others_is_asked_about_before_its_routes_change() -> None:
    vpc_id, public, private, table = two_kinds()
    options: dict[str, Any] = {"provider": "given", "subnet_ids": public[:1], "s3_endpoint_enabled": None}
    (problem,) = ask("network", **options).problems
    assert problem.startswith(
        f"{vpc_id} has no gateway endpoint of S3: write aws_network_s3_endpoint_enabled: true to have one made"
    )
    assert f"changes the way to S3 of all that {main_table(vpc_id)} routes" in problem
    assert table not in problem
    for answer in (True, False):
        assert settled("network", **{**options, "s3_endpoint_enabled": answer})
    # One that is there settles it.
    client("ec2").create_vpc_endpoint(VpcId=vpc_id, ServiceName=f"com.amazonaws.{REGION}.s3", RouteTableIds=[table])
    assert settled("network", **options)
    assert settled("network", provider="own", s3_endpoint_enabled=None)
    assert private


def test_subnets_without_ipv4() -> None:
    ec2 = client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.60.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
    route(main_table(vpc_id), GatewayId=gateway(vpc_id))
    six = ec2.describe_vpcs(VpcIds=[vpc_id])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    native = ec2.create_subnet(VpcId=vpc_id, Ipv6CidrBlock=six.replace("/56", "/64"), Ipv6Native=True)
    native_id = native["Subnet"]["SubnetId"]
    four = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.60.0.0/20")["Subnet"]["SubnetId"]

    found = settled("network", provider="given", vpc_id=vpc_id)
    assert [subnet["id"] for subnet in found["subnets"]] == [four]
    (problem,) = ask("network", provider="given", subnet_ids=[native_id, four]).problems
    assert problem.startswith(f"{native_id} in aws_network_subnet_ids has IPv6 addresses alone")
    # Where nothing else is left.
    ec2.delete_subnet(SubnetId=four)
    (problem,) = ask("network", provider="given", vpc_id=vpc_id).problems
    assert problem.startswith(f"No subnet of {vpc_id} has IPv4 addresses")
    # Among the subnets of an own VPC, and when that is removed.
    ec2.create_tags(Resources=[vpc_id, native_id], Tags=OURS)
    assert len(settled("network", provider="own", removing=True)["subnets"]) == 1
    ec2.create_tags(Resources=[native_id], Tags=THEIRS)
    assert [part["cidr"] for part in settled("network", provider="own")["plan"]] == ["10.60.0.0/20", "10.60.16.0/20"]


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zone of the region lacks a type, as use1-az3 does all of Graviton."""
    offerings = instance_types.INSTANCE_TYPE_OFFERINGS["availability-zone"]
    left = [
        each for each in offerings[REGION] if (each["InstanceType"], each["Location"]) != ("t4g.small", f"{REGION}a")
    ]
    assert len(left) == len(offerings[REGION]) - 1
    monkeypatch.setitem(offerings, REGION, left)


@pytest.mark.usefixtures("scarce")
def test_zones_that_lack_the_instance_type_are_not_counted() -> None:
    here: dict[str, Any] = {"instance_type": "t4g.small"}
    assert settled("network", **here)["zones"] == [f"{REGION}b", f"{REGION}c"]
    assert settled("network", instance_type="t3.small")["zones"] == [f"{REGION}a", f"{REGION}b", f"{REGION}c"]
    # What the region lacks, another role reports.
    assert len(settled("network", instance_type="t99.small")["zones"]) == 3
    found = settled("network", provider="own", load_balancer="application", **here)
    assert [part["zone"] for part in found["plan"]] == [f"{REGION}b", f"{REGION}c"]
    (problem,) = ask("network", provider="own", zones=[f"{REGION}a", f"{REGION}b"], **here).problems
    assert problem == (
        f"{REGION}a in aws_network_zones has no t4g.small: write some of {REGION}b, {REGION}c, or choose what it has."
    )
    _, subnets = vpc("10.60.0.0/16", None, f"{REGION}a", f"{REGION}b")
    (problem,) = ask("network", provider="given", subnet_ids=subnets, **here).problems
    assert problem.startswith(f"{subnets[0]} in aws_network_subnet_ids is in {REGION}a, which has no t4g.small")
    # A load balancer is not started in a zone that hosts cannot use, and needs two that they can.
    vpc_id, _ = vpc("10.60.0.0/16", None, f"{REGION}a", f"{REGION}b")
    (problem,) = ask("network", provider="given", vpc_id=vpc_id, load_balancer="application", **here).problems
    assert problem.startswith(f"The network has {REGION}b alone")


@pytest.mark.parametrize(
    ("region", "architecture", "zone_ids"),
    [
        ("us-east-1", "arm64", ["use1-az1", "use1-az2", "use1-az4", "use1-az5", "use1-az6"]),
        ("us-east-1", "amd64", ["use1-az1", "use1-az2", "use1-az3", "use1-az4", "use1-az5", "use1-az6"]),
        ("ap-northeast-1", "amd64", ["apne1-az1", "apne1-az2", "apne1-az4"]),
        ("us-west-1", "arm64", ["usw1-az1", "usw1-az3"]),
    ],
)
def test_zones_that_lack_fargate_are_not_counted(region: str, architecture: str, zone_ids: list[str]) -> None:
    account = Account(lambda service: client(service, region), region, "drydock")
    options = {**defaults_of("network"), "s3_endpoint_enabled": False, "fargate_architecture": architecture}
    found = look(account, "network", options, {})
    assert account.problems == []
    zones = client("ec2", region).describe_availability_zones()["AvailabilityZones"]
    names = {zone["ZoneName"]: zone["ZoneId"] for zone in zones}
    assert sorted(names[zone] for zone in found["zones"]) == [each for each in zone_ids if each in names.values()]


def test_security_groups_of_others_are_used_as_they_are() -> None:
    vpc_id, subnets = vpc("10.60.0.0/16", None, "eu-central-1a", "eu-central-1b")
    elsewhere = group("elsewhere", default_vpc())
    theirs = [group(name, vpc_id) for name in (NAME, "drydock-load-balancer")]
    here: dict[str, Any] = {"provider": "given", "subnet_ids": subnets, "load_balancer": "application"}
    # Groups of our names that are not ours are in the way, unless none of ours is made.
    assert len(ask("network", **here).problems) == 2
    given: dict[str, Any] = {"security_group_ids": theirs[:1], "load_balancer_security_group_ids": theirs[1:]}
    found = settled("network", **here, **given)
    assert found["security_group_id"] == found["load_balancer_security_group_id"] == ""
    for option in given:
        (problem,) = ask("network", **here, **{**given, option: [elsewhere]}).problems
        assert problem.startswith(
            f"The security group {elsewhere} in aws_network_{option} is in {default_vpc()}, not in {vpc_id}"
        )
        (problem,) = ask("network", **here, **{**given, option: ["sg-00000000"]}).problems
        assert problem.startswith("There is no security group sg-00000000 in")


def test_an_own_vpc_with_private_subnets() -> None:
    ec2 = client("ec2")
    balanced: dict[str, Any] = {"provider": "own", "load_balancer": "application", "public_ip_enabled": False}

    def kinds(**more: Any) -> list[tuple[str, bool]]:
        return [(part["zone"][-1], part["public"]) for part in settled("network", **balanced, **more)["plan"]]

    assert kinds() == [("a", True), ("b", True), ("a", False), ("b", False)]
    # No public address anywhere.
    hidden: dict[str, Any] = {"way_out": "endpoints", "load_balancer_internal_enabled": True}
    assert kinds(**hidden) == [("a", False), ("b", False)]
    assert kinds(way_out="endpoints") == kinds()
    assert kinds(way_out="nat", load_balancer_internal_enabled=True) == kinds()

    vpc_id, subnets = vpc("10.60.0.0/16", OURS, "eu-central-1a", "eu-central-1b", "eu-central-1a", "eu-central-1b")
    ec2.create_tags(Resources=subnets[2:], Tags=[{"Key": "drydock-subnet", "Value": "private"}])
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    ec2.create_tags(Resources=[table], Tags=[*OURS, {"Key": "drydock-subnet", "Value": "private"}])
    gateway_id = nat(subnets[0])
    ec2.create_tags(Resources=[gateway_id], Tags=OURS)
    found = settled("network", **balanced)
    assert [part["id"] for part in found["plan"]] == subnets
    assert found["private_route_table_id"] == table
    assert found["nat_gateway_ids"] == [gateway_id]
    # Hosts that are there are not moved.
    (problem,) = ask("network", provider="own").problems
    assert problem.startswith(f"{vpc_id} was made with private subnets")
    assert settled("network", provider="own", removing=True)["nat_gateway_ids"] == [gateway_id]


NAT_ADDRESS = [*OURS, {"Key": "drydock-address", "Value": "nat"}]


def test_the_address_of_a_nat_gateway_is_no_hosts() -> None:
    made = client("ec2").allocate_address(
        Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": NAT_ADDRESS}]
    )
    of_host = [{"ResourceType": "elastic-ip", "Tags": OURS}]
    # A gateway that was never made leaves it, and the next run goes on with it.
    for more in ({}, {"removing": True}):
        found = settled("network", provider="own", **more)
        assert [each["allocation_id"] for each in found["nat_addresses"]] == [made["AllocationId"]]
        assert settled("instance", **some_image(), **more)["elastic_ip"] is None
    client("ec2").allocate_address(Domain="vpc", TagSpecifications=of_host)
    assert len(settled("network", provider="own")["nat_addresses"]) == 1
    assert settled("instance", removing=True)["elastic_ip"]["public_ip"] != made["PublicIp"]


def test_an_endpoint_serves_those_whose_tables_it_is_in() -> None:
    ec2 = client("ec2")
    vpc_id, subnets = vpc("10.60.0.0/16", None, "eu-central-1a")
    closed = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=closed, SubnetId=subnets[0])
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc_id, ServiceName=f"com.amazonaws.{REGION}.s3", RouteTableIds=[main_table(vpc_id)]
    )["VpcEndpoint"]["VpcEndpointId"]
    hidden: dict[str, Any] = {
        "provider": "given",
        "vpc_id": vpc_id,
        "way_out": "endpoints",
        "public_ip_enabled": False,
        "s3_endpoint_enabled": True,
    }
    (problem,) = ask("network", **hidden).problems
    assert problem.startswith(f"The endpoint {endpoint} of S3, where images are, does not serve {subnets[0]}")
    assert f"add it to {closed}" in problem
    ec2.create_vpc_endpoint(VpcId=vpc_id, ServiceName=f"com.amazonaws.{REGION}.s3", RouteTableIds=[closed])
    assert settled("network", **hidden)["s3_endpoint"]["route_table_ids"] == sorted([main_table(vpc_id), closed])


@pytest.mark.parametrize(
    ("region", "architecture", "more"),
    [
        ("eu-central-1", "arm64", []),
        ("ca-west-1", "arm64", ["ecs", "ecs-agent", "ecs-telemetry"]),
        # Not in any list, and so a new one.
        ("mx-central-1", "amd64", ["ecs", "ecs-agent", "ecs-telemetry"]),
        ("mx-central-1", "", []),
    ],
)
def test_young_regions_need_endpoints_of_ecs(region: str, architecture: str, more: list[str]) -> None:
    account = Account(lambda _service: None, region, "drydock")
    options = {"fargate_architecture": architecture, "services": ["logs"]}
    assert _aws_preflight_network._services(account, options) == ["logs", *more]


class Told:
    """An account that tells the names of endpoints."""

    partition = "aws-cn"
    removing = False
    region = "cn-north-1"

    def __init__(self, *names: str) -> None:
        self.names = names
        self.problems: list[str] = []

    def ask_all(self, *_call: str) -> list[str]:
        assert self.names
        return list(self.names)

    def refuse(self, problem: str) -> None:
        self.problems.append(problem)


def test_endpoints_are_called_what_aws_calls_them() -> None:
    options = {
        "provider": "own",
        "public_ip_enabled": False,
        "way_out": "endpoints",
        "services": ["logs", "ecr.api", "autoscaling"],
        "s3_endpoint_enabled": True,
    }
    found = {"endpoints": {"logs": {}}, "s3_endpoint": {"id": ""}}
    told: Any = Told(
        "com.amazonaws.cn-north-1.s3", "cn.com.amazonaws.cn-north-1.ecr.api", "com.amazonaws.cn-north-1.logs"
    )
    assert _aws_preflight_network._service_names(told, options, found) == {
        "ecr.api": "cn.com.amazonaws.cn-north-1.ecr.api",
        "s3": "com.amazonaws.cn-north-1.s3",
    }
    (problem,) = told.problems
    assert problem.startswith("AWS has no endpoint of autoscaling in cn-north-1")
    # Nobody is asked where nothing is made, or where the names are known.
    told.names = ()
    told.partition = "aws"
    assert _aws_preflight_network._service_names(told, {**options, "way_out": "nat"}, found) == {}


def test_an_own_vpc_is_found_by_its_tag() -> None:
    ec2 = client("ec2")
    vpc("10.60.0.0/16", THEIRS, "eu-central-1a")
    vpc_id, subnets = vpc("10.60.0.0/16", OURS, "eu-central-1a", "eu-central-1b")
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.create_tags(Resources=[table, gateway], Tags=OURS)

    found = settled("network", provider="own")
    assert found["vpc_id"] == vpc_id
    assert found["route_table_ids"] == [table]
    assert found["internet_gateway_id"] == gateway
    assert [part["id"] for part in found["plan"]] == subnets

    # A zone more gets the next free part, whatever the order; one less changes nothing in those that are there.
    found = settled("network", provider="own", zones=["eu-central-1c", "eu-central-1b"])
    assert found["plan"] == [
        {"id": "", "zone": "eu-central-1c", "cidr": "10.60.32.0/20", "public": True},
        {"id": subnets[1], "zone": "eu-central-1b", "cidr": "10.60.16.0/20", "public": True},
    ]
    assert settled("network", provider="own", removing=True)["plan"] == []


def test_what_is_removed_is_what_has_the_tag() -> None:
    ec2 = client("ec2")
    group_id = group(NAME, default_vpc(), OURS)
    found = settled("network", removing=True)
    assert found["vpc_id"] == ""
    assert found["subnets"] == []
    assert found["internet_gateway_id"] == ""
    assert found["security_group_ids"] == [group_id]
    vpc_id, subnets = vpc("10.60.0.0/16", OURS, "eu-central-1a")
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    ec2.create_tags(Resources=[table], Tags=OURS)
    found = settled("network", removing=True, provider="default")
    assert found["vpc_id"] == vpc_id
    assert [subnet["id"] for subnet in found["subnets"]] == subnets
    assert found["route_table_ids"] == [table]


def of_another_vpc() -> dict[str, Any]:
    vpc_id, _ = vpc("10.60.0.0/16", None, "eu-central-1a")
    _, others = vpc("10.60.0.0/16", None, "eu-central-1a")
    return {"provider": "given", "vpc_id": vpc_id, "subnet_ids": others}


def of_two_vpcs() -> dict[str, Any]:
    return {"provider": "given", "subnet_ids": [vpc("10.60.0.0/16", None, "eu-central-1a")[1][0] for _ in range(2)]}


def admins_elsewhere() -> dict[str, Any]:
    return {"admin_security_group_id": group("admins", vpc()[0])}


def two_own_vpcs() -> dict[str, Any]:
    vpc("10.60.0.0/16", OURS)
    vpc("10.60.0.0/16", OURS)
    return {"provider": "own"}


def another_cidr() -> dict[str, Any]:
    vpc("10.61.0.0/16", OURS)
    return {"provider": "own"}


def full() -> dict[str, Any]:
    vpc_id, _ = vpc("10.60.0.0/16", OURS)
    client("ec2").create_subnet(VpcId=vpc_id, CidrBlock="10.60.0.0/16", AvailabilityZone="eu-central-1c")
    return {"provider": "own"}


def foreign_group() -> dict[str, Any]:
    group(NAME, default_vpc(), THEIRS)
    return {}


NETWORKS: dict[str, tuple[Callable[[], dict[str, Any]], list[str]]] = {
    "no default VPC": (without_default_vpc, ["no default VPC", "aws_network_provider: own"]),
    "nothing given": (lambda: {"provider": "given"}, ["aws_network_vpc_id or aws_network_subnet_ids"]),
    "unknown VPC": (lambda: {"provider": "given", "vpc_id": "vpc-00000000"}, ["no VPC vpc-00000000 in eu-central-1"]),
    "empty VPC": (lambda: {"provider": "given", "vpc_id": vpc()[0]}, ["has no subnets", "aws_network_subnet_ids"]),
    "unknown subnet": (lambda: {"provider": "given", "subnet_ids": ["subnet-00000000"]}, ["no subnet subnet-00000000"]),
    "unknown subnet of default": (lambda: {"subnet_ids": ["subnet-00000000"]}, ["no subnet subnet-00000000"]),
    "subnet of another VPC": (of_another_vpc, ["write subnets of one VPC"]),
    "subnets of two VPCs": (of_two_vpcs, ["write subnets of one VPC"]),
    "unknown zone": (
        lambda: {"provider": "own", "zones": ["eu-central-1x"]},
        ["eu-central-1x in aws_network_zones", "eu-central-1a"],
    ),
    "zone twice": (lambda: {"provider": "own", "zones": ["eu-central-1a"] * 2}, ["names a zone twice"]),
    "malformed cidr": (lambda: {"provider": "own", "cidr": "10.0.0.0"}, ["aws_network_cidr (10.0.0.0) has no length"]),
    "own and given": (
        lambda: {"provider": "own", "vpc_id": "vpc-1"},
        ["aws_network_vpc_id is set, but aws_network_provider is own"],
    ),
    "clients": (
        lambda: {"client_cidrs": ["10.0.0.1/8"]},
        ["10.0.0.1/8 in aws_network_client_cidrs", "write 10.0.0.0/8"],
    ),
    "acme": (lambda: {"acme_cidrs": ["x/8"]}, ["aws_network_acme_cidrs"]),
    "admins": (lambda: {"admin_cidrs": ["10.0.0.1/8/9"]}, ["10.0.0.1/8/9 in aws_network_admin_cidrs"]),
    "unknown group": (lambda: {"admin_security_group_id": "sg-00000000"}, ["no security group sg-00000000"]),
    "group of another VPC": (admins_elsewhere, ["aws_network_admin_security_group_id", "of the same VPC"]),
    "two own VPCs": (two_own_vpcs, ["both have the tag drydock-deployment: drydock"]),
    "another network": (another_cidr, ["aws_network_cidr is 10.60.0.0/16", "has 10.61.0.0/16"]),
    "no room": (full, ["no sixteenth part free for a subnet in eu-central-1a"]),
    "group of somebody": (foreign_group, ["security group drydock-registry", "aws_network_name"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_are_refused(name: str) -> None:
    prepare, words = NETWORKS[name]
    problems = ask("network", **prepare()).problems
    assert any(all(word in problem for word in words) for problem in problems), problems
    assert all(problem.endswith(".") for problem in problems)


# ----- logs -------------------------------------------------------------------------------------


def test_the_log_group_of_hosts() -> None:
    logs = client("logs")
    name = f"/drydock/{NAME}"
    assert settled("logs")["log_group"]["name"] == ""
    logs.create_log_group(logGroupName=f"{name}-of-others", tags={"drydock-deployment": "others"})
    logs.create_log_group(logGroupName=name, tags={"drydock-deployment": "drydock"})
    logs.put_retention_policy(logGroupName=name, retentionInDays=7)
    found = settled("logs", retention_days=90)["log_group"]
    assert (found["name"], found["ours"], found["retention_days"]) == (name, True, 7)
    (problem,) = ask("logs", retention_days=31).problems
    assert problem.startswith("aws_logs_retention_days is 31, which CloudWatch does not offer")
    arn = f"arn:aws:logs:{REGION}:123456789012:log-group:{name}"
    logs.untag_resource(resourceArn=arn, tagKeys=["drydock-deployment"])
    (problem,) = ask("logs").problems
    assert problem.startswith(f"There is a log group {name} that is not this deployment's")
    assert not settled("logs", removing=True)["log_group"]["ours"]


# ----- storage ----------------------------------------------------------------------------------


def bucket(name: str = "images", region: str = REGION, tags: Any = None) -> Any:
    s3 = client("s3", region)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
    if tags:
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags})
    return s3


def key(alias: str = "", tags: Any = ()) -> Any:
    kms = client("kms")
    pairs = [{"TagKey": pair["Key"], "TagValue": pair["Value"]} for pair in tags]
    metadata = kms.create_key(Tags=pairs)["KeyMetadata"]
    if alias:
        kms.create_alias(AliasName=alias, TargetKeyId=metadata["KeyId"])
    return metadata


def test_a_bucket_as_it_is() -> None:
    s3 = bucket(tags=OURS)
    policy = {"Version": "2012-10-17", "Statement": []}
    rule = {
        "ID": "r",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    block = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    s3.put_bucket_policy(Bucket="images", Policy=json.dumps(policy))
    s3.put_bucket_versioning(Bucket="images", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_lifecycle_configuration(Bucket="images", LifecycleConfiguration={"Rules": [rule]})
    s3.put_public_access_block(Bucket="images", PublicAccessBlockConfiguration=block)
    s3.put_bucket_ownership_controls(
        Bucket="images", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    sse = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"}}]}
    s3.put_bucket_encryption(Bucket="images", ServerSideEncryptionConfiguration=sse)

    found = settled("storage", bucket="images", encryption="kms")
    assert found["exists"] is True
    assert found["ours"] is True
    assert found["adopted"] is False
    assert found["policy"] == policy
    assert found["encryption"] == {"algorithm": "aws:kms", "kms_key_arn": "k"}
    assert found["versioning"] == "Enabled"
    assert found["lifecycle_rules"] == [rule]
    assert found["public_access_block"] == block
    assert found["ownership"] == "BucketOwnerEnforced"
    assert found["tags"]["drydock-deployment"] == "drydock"
    json.dumps(found)

    s3.put_object(Bucket="images", Key="a", Body=b"1")
    s3.put_object(Bucket="images", Key="a", Body=b"2")
    s3.delete_object(Bucket="images", Key="a")
    assert settled("storage", bucket="images", encryption="kms")["objects"] == 0
    assert settled("storage", bucket="images", removing=True)["objects"] == 2


def test_a_bucket_without_a_tag_is_adopted() -> None:
    bucket(tags=[{"Key": "team", "Value": "a"}])
    found = settled("storage", bucket="images")
    assert (found["exists"], found["ours"], found["adopted"]) == (True, False, True)
    assert found["tags"] == {"team": "a"}


def test_the_key_of_the_deployment() -> None:
    made = key(f"alias/{NAME}", OURS)
    found = settled("storage", bucket="images", encryption="kms")
    assert found["kms_key_arn"] == made["Arn"]
    assert found["key"] == {"arn": made["Arn"], "ours": True, "state": "Enabled"}
    client("kms").schedule_key_deletion(KeyId=made["KeyId"])
    assert settled("storage", bucket="images")["key"]["state"] == "PendingDeletion"


@pytest.mark.parametrize("form", ["KeyId", "Arn", "alias"])
def test_a_given_key_is_found_in_each_form(form: str) -> None:
    made = {**key("alias/mine"), "alias": "alias/mine"}
    assert settled("storage", bucket="images", kms_key=made[form])["kms_key_arn"] == made["Arn"]


def disabled_key() -> dict[str, Any]:
    made = key()
    client("kms").disable_key(KeyId=made["KeyId"])
    return {"bucket": "images", "kms_key": made["Arn"]}


def foreign_key() -> dict[str, Any]:
    key(f"alias/{NAME}")
    return {"bucket": "images", "encryption": "kms"}


def taken(region: str, tags: Any = None) -> Callable[[], dict[str, Any]]:
    def prepare() -> dict[str, Any]:
        bucket("images", region, tags)
        return {"bucket": "images"}

    return prepare


def encrypted(**options: Any) -> Callable[[], dict[str, Any]]:
    def prepare() -> dict[str, Any]:
        sse = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"}}]}
        bucket("images", tags=OURS).put_bucket_encryption(Bucket="images", ServerSideEncryptionConfiguration=sse)
        given = {"kms_key": key()["Arn"]} if options["encryption"] == "kms" else {}
        return {"bucket": "images", **given, **options}

    return prepare


def logging_elsewhere() -> dict[str, Any]:
    bucket("log", "eu-west-1")
    return {"bucket": "images", "log_bucket": "log"}


def log_bucket(prepare: Callable[[Any], object]) -> Callable[[], dict[str, Any]]:
    def prepared() -> dict[str, Any]:
        prepare(bucket("log"))
        return {"bucket": "images", "log_bucket": "log", "log_prefix": "images/"}

    return prepared


def let_logs_in(s3: Any, **changed: Any) -> None:
    statement = {**log_statement("log", "images/", "123456789012"), **changed}
    s3.put_bucket_policy(Bucket="log", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def encrypted_log(s3: Any) -> None:
    let_logs_in(s3)
    sse = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}
    s3.put_bucket_encryption(Bucket="log", ServerSideEncryptionConfiguration=sse)


def log_delivery_granted(s3: Any) -> None:
    """As in a bucket from before April 2023."""
    found = s3.get_bucket_acl(Bucket="log")
    group = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/s3/LogDelivery"}
    grants = [*found["Grants"], {"Grantee": group, "Permission": "WRITE"}]
    s3.put_bucket_acl(Bucket="log", AccessControlPolicy={"Grants": grants, "Owner": found["Owner"]})


LOG_BUCKETS: dict[str, Callable[[Any], object]] = {
    "by its policy": let_logs_in,
    "wildcards": functools.partial(let_logs_in, Action=["s3:Put*"], Resource="arn:aws:s3:::log/*"),
    "by its ACL": log_delivery_granted,
}


@pytest.mark.parametrize("name", LOG_BUCKETS)
def test_a_bucket_that_takes_logs(name: str) -> None:
    settled("storage", **log_bucket(LOG_BUCKETS[name])())


STORAGES: dict[str, tuple[Callable[[], dict[str, Any]], list[str]]] = {
    "not set": (dict, ["aws_storage_bucket is not set"]),
    "malformed": (lambda: {"bucket": "My_Bucket"}, ["aws_storage_bucket (My_Bucket) has other characters"]),
    "another region": (taken("eu-west-1"), ["images is in eu-west-1", "drydock_region: eu-west-1"]),
    "another deployment": (taken(REGION, THEIRS), ["belongs to the deployment staging", "aws_storage_bucket"]),
    "unknown key": (lambda: {"bucket": "images", "kms_key": "alias/none"}, ["no KMS key alias/none"]),
    "disabled key": (disabled_key, ["is Disabled: enable it"]),
    "key of somebody": (foreign_key, ["alias/drydock-registry is not this deployment's"]),
    "encrypted otherwise": (
        encrypted(encryption="sse_s3"),
        ["aws_storage_encryption is sse_s3", "images is encrypted with the key k", "write `kms`"],
    ),
    "another key": (encrypted(encryption="kms"), ["aws_storage_kms_key is arn:", "images is encrypted with k,"]),
    "log to itself": (
        lambda: {"bucket": "images", "log_bucket": "images"},
        ["aws_storage_log_bucket is the bucket itself"],
    ),
    "no log bucket": (lambda: {"bucket": "images", "log_bucket": "none"}, ["no bucket none (aws_storage_log_bucket)"]),
    "log without permission": (
        log_bucket(str),
        ["policy of the bucket log (aws_storage_log_bucket)", '"Resource": "arn:aws:s3:::log/images/*"'],
    ),
    "log elsewhere in the bucket": (
        log_bucket(functools.partial(let_logs_in, Resource="arn:aws:s3:::log/other/*")),
        ["does not let S3 write access logs: add"],
    ),
    "log with a key": (log_bucket(encrypted_log), ["log (aws_storage_log_bucket) is encrypted with a KMS key"]),
    "log in another region": (logging_elsewhere, ["log is in eu-west-1", "another aws_storage_log_bucket"]),
}


@pytest.mark.parametrize("name", STORAGES)
def test_storages_that_are_refused(name: str) -> None:
    prepare, words = STORAGES[name]
    problems = ask("storage", **prepare()).problems
    assert len(problems) == 1, problems
    assert all(word in problems[0] for word in words), problems
    assert problems[0].endswith(".")


FOREIGN = {
    "of another account": (False, {}, "is taken by another AWS account"),
    "of this account": (True, {}, "AWS refuses s3:ListBucket to"),
    "who knows": (True, {"list_buckets": error("AccessDenied", "ListBuckets")}, "or s3:ListBucket is missing"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_bucket_that_may_not_be_seen(name: str) -> None:
    exists, errors, words = FOREIGN[name]
    if exists:
        bucket()
    answer = refusing("storage", {"head_bucket": error("403", "HeadBucket", "Forbidden"), **errors}, bucket="images")
    assert len(answer.problems) == 1
    assert words in answer.problems[0]
    assert answer.found["exists"] is False


def test_a_log_bucket_of_another_account_cannot_be() -> None:
    answer = refusing("storage", {"head_bucket": error("403", "HeadBucket", "Forbidden")}, log_bucket="theirs")
    assert "to a bucket of the same account only: write another aws_storage_log_bucket" in answer.problems[-1]


# ----- identity ---------------------------------------------------------------------------------


def identity(tags: Any, path: str = "/", role: str = IAM_NAME) -> None:
    iam = client("iam")
    iam.create_role(RoleName=role, Path=path, AssumeRolePolicyDocument=TRUST, Tags=tags)
    iam.create_policy(PolicyName=IAM_NAME, Path=path, PolicyDocument=POLICY, Tags=tags)
    iam.create_instance_profile(InstanceProfileName=IAM_NAME, Path=path, Tags=tags)
    iam.add_role_to_instance_profile(InstanceProfileName=IAM_NAME, RoleName=role)


@pytest.mark.parametrize("path", ["/", "/registry/"])
def test_an_identity_as_it_is(path: str) -> None:
    identity(OURS, path)
    for removing in (False, True):
        found = settled("identity", path=path, removing=removing)
        for thing, kind in (("role", "role"), ("policy", "policy"), ("instance_profile", "instance-profile")):
            assert found[thing] == {
                "name": IAM_NAME,
                "arn": f"arn:aws:iam::123456789012:{kind}{path}{IAM_NAME}",
                "ours": True,
            }
    # What was made under another path than the settings say now is found all the same.
    assert settled("identity", path="/elsewhere/", removing=True)["policy"]["ours"] is True


def test_a_boundary_that_is_there() -> None:
    arn = client("iam").create_policy(PolicyName="boundary", PolicyDocument=POLICY)["Policy"]["Arn"]
    settled("identity", permissions_boundary=arn)


def zones(*names: str, private: str = "", **options: Any) -> Callable[[], dict[str, Any]]:
    """An account with public zones, and settings for challenges in them."""

    def prepare() -> dict[str, Any]:
        for number, name in enumerate([*names, private] if private else names):
            more = (
                {
                    "HostedZoneConfig": {"Comment": "", "PrivateZone": True},
                    "VPC": {"VPCRegion": REGION, "VPCId": vpc()[0]},
                }
                if name == private
                else {}
            )
            client("route53").create_hosted_zone(Name=name, CallerReference=str(number), **more)
        return {"acme_zone": "example.com", "acme_names": ["r.example.com"], **options}

    return prepare


@pytest.mark.parametrize(
    ("prepare", "name"),
    [
        (zones("example.com"), "example.com"),
        (zones("example.com", "example.org", "x.example.com"), "example.com"),
        (zones("example.com", acme_names=["R.Example.com", "*.r.example.com", "example.com."]), "example.com"),
        # A VPC's own zone of the same name is not what a CA asks.
        (zones("example.com", private="r.example.com"), "example.com"),
        # A zone for challenges alone.
        (
            zones("_acme-challenge.r.example.com", acme_zone="_acme-challenge.r.example.com."),
            "_acme-challenge.r.example.com",
        ),
    ],
)
def test_the_zone_for_challenges(prepare: Callable[[], dict[str, Any]], name: str) -> None:
    found = settled("identity", **prepare())["acme_zone"]
    assert found["name"] == name
    assert client("route53").get_hosted_zone(Id=found["id"])["HostedZone"]["Name"] == f"{name}."


def test_no_zone_is_looked_for_without_names() -> None:
    assert settled("identity", acme_zone="example.com")["acme_zone"] == {"id": "", "name": ""}


def somebodys() -> dict[str, Any]:
    identity(THEIRS)
    return {}


def another_path() -> dict[str, Any]:
    identity(OURS, "/registry/")
    return {}


def another_role() -> dict[str, Any]:
    identity(OURS, "/", "other")
    return {}


BOUNDARY = "arn:aws:iam::123456789012:policy/none"
IDENTITIES: dict[str, tuple[Callable[[], dict[str, Any]], list[str]]] = {
    "role of somebody": (somebodys, [f"IAM has a role {IAM_NAME}", "aws_identity_name"]),
    "policy of somebody": (somebodys, [f"IAM has a policy {IAM_NAME}"]),
    "profile of somebody": (somebodys, [f"IAM has an instance profile {IAM_NAME}"]),
    "other path": (another_path, ["aws_identity_path is /", "has /registry/"]),
    "other role": (another_role, ["holds the role other"]),
    "malformed path": (lambda: {"path": "registry"}, ["aws_identity_path (registry)", "/registry/"]),
    "unknown boundary": (lambda: {"permissions_boundary": BOUNDARY}, [f"no policy {BOUNDARY}"]),
    "no zone for challenges": (zones(acme_zone=""), ["aws_identity_acme_zone is not"]),
    "unknown zone for challenges": (zones(), ["no hosted zone example.com", "aws_identity_acme_zone"]),
    "private zone for challenges": (zones(private="example.com"), ["example.com is private", "aws_identity_acme_zone"]),
    "several zones for challenges": (
        zones("example.com", "example.com"),
        ["several public hosted zones example.com", "aws_identity_acme_zone"],
    ),
    "zone for challenges of another domain": (
        zones("example.com", acme_names=["r.example.com", "r.example.net"]),
        ["aws_identity_acme_zone does not hold r.example.net"],
    ),
    "zone for challenges that ends alike": (
        zones("example.com", acme_names=["myexample.com"]),
        ["does not hold myexample.com"],
    ),
    "closer zone for challenges": (
        zones("example.com", "r.example.com"),
        ["aws_identity_acme_zone is example.com", "write r.example.com"],
    ),
    "zone of the challenges alone": (
        zones("example.com", "_acme-challenge.r.example.com"),
        ["write _acme-challenge.r.example.com"],
    ),
    "challenge of an address": (zones("example.com", acme_names=["192.0.2.1"]), ["192.0.2.1", "is an address"]),
    "challenge of an IPv6 address": (
        zones("example.com", acme_names=["2001:db8::1"]),
        ["2001:db8::1", "is an address"],
    ),
    "challenge of no name": (
        zones("example.com", acme_names=["a b"]),
        ["a b in aws_identity_acme_names is no domain name"],
    ),
    "malformed boundary": (lambda: {"permissions_boundary": "b"}, ["aws_identity_permissions_boundary (b) is no ARN"]),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_that_are_refused(name: str) -> None:
    prepare, words = IDENTITIES[name]
    problems = ask("identity", **prepare()).problems
    assert any(all(word in problem for word in words) for problem in problems), problems


def test_roles_of_others_are_used_as_they_are() -> None:
    iam = client("iam")
    made = iam.create_role(RoleName="registry", Path="/team/", AssumeRolePolicyDocument=TRUST)
    role_arn = made["Role"]["Arn"]
    # What has our name is of no interest then.
    somebodys()
    profile = f"arn:aws:iam::123456789012:instance-profile/team/{IAM_NAME}"
    identity_of_hosts = iam.get_instance_profile(InstanceProfileName=IAM_NAME)["InstanceProfile"]
    for given in (IAM_NAME, profile):
        found = settled("identity", given_instance_profile=given)
        assert found["instance_profile"] == {"name": IAM_NAME, "arn": identity_of_hosts["Arn"], "ours": False}
        assert found["role"]["name"] == identity_of_hosts["Roles"][0]["RoleName"]
    for given in ("registry", role_arn):
        assert settled("identity", given_role=given)["role"] == {"name": "registry", "arn": role_arn, "ours": False}
    assert settled("identity", given_role="registry", removing=True)["role"]["name"] == IAM_NAME

    iam.create_instance_profile(InstanceProfileName="empty")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"given_role": "nobody"}, "IAM has no role nobody (aws_identity_role)"),
        ({"given_instance_profile": "nobody"}, "IAM has no instance profile nobody (aws_identity_instance_profile)"),
        ({"given_instance_profile": "empty"}, "holds no role"),
        ({"given_instance_profile": IAM_NAME, "given_role": "registry"}, f"holds the role {IAM_NAME}, not registry"),
    ]
    for options, words in cases:
        (problem,) = ask("identity", **options).problems
        assert words in problem


# ----- instance ---------------------------------------------------------------------------------


def machine(tags: Any = None, state: str = "running", **more: Any) -> str:
    """An instance."""
    ec2 = client("ec2")
    made = ec2.run_instances(
        ImageId=DEBIAN,
        MinCount=1,
        MaxCount=1,
        InstanceType="t4g.small",
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}] if tags else [],
        BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Encrypted": True}}
        ],
        **more,
    )
    instance_id = made["Instances"][0]["InstanceId"]
    if state == "stopped":
        ec2.stop_instances(InstanceIds=[instance_id])
    if state == "terminated":
        ec2.terminate_instances(InstanceIds=[instance_id])
    return str(instance_id)


def some_image() -> dict[str, Any]:
    return {"image_provider": "id", "image_id": DEBIAN}


def test_an_instance_as_it_is() -> None:
    ec2 = client("ec2")
    ec2.import_key_pair(
        KeyName=NAME, PublicKeyMaterial=KEY.encode(), TagSpecifications=[{"ResourceType": "key-pair", "Tags": OURS}]
    )
    instance_id = machine(OURS, KeyName=NAME)
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": OURS}])
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance_id)
    machine(THEIRS)
    machine()

    found = settled("instance", **some_image(), public_key=KEY)
    instance = found["instance"]
    assert instance["id"] == instance_id
    assert instance["state"] == "running"
    assert instance["type"] == "t4g.small"
    assert instance["architecture"] == "arm64"
    assert instance["zone"].startswith(REGION)
    assert instance["key_pair"] == NAME
    assert instance["public_ip"] == address["PublicIp"]
    assert instance["tags"]["drydock-deployment"] == "drydock"
    assert instance["root_volume"].pop("id").startswith("vol-")
    assert instance["root_volume"] == {"size_gib": 20, "type": "gp3", "encrypted": True, "iops": 3000, "throughput": 0}
    assert [each["id"] for each in found["instances"]] == [instance_id]
    assert found["key_pair"] == {"name": NAME, "ours": True}
    assert found["elastic_ip"]["instance_id"] == instance_id
    assert found["elastic_ip"]["public_ip"] == address["PublicIp"]
    json.dumps(found)


def test_who_removes_finds_all_that_is_ours() -> None:
    ended, stopped = machine(OURS, "terminated"), machine(OURS, "stopped")
    client("ec2").import_key_pair(KeyName=NAME, PublicKeyMaterial=KEY.encode())
    found = settled("instance", removing=True)
    assert found["instance"]["id"] == stopped
    assert {each["id"]: each["state"] for each in found["instances"]} == {ended: "terminated", stopped: "stopped"}
    assert found["key_pair"] == {"name": NAME, "ours": False}
    client("ec2").terminate_instances(InstanceIds=[stopped])
    assert settled("instance", removing=True)["instance"] is None


@pytest.mark.parametrize("state", ["running", "stopped", "terminated"])
def test_an_instance_may_be_replaced_in_each_state(state: str) -> None:
    instance_id = machine(OURS, state)
    found = settled("instance", **some_image(), replace=instance_id)
    assert found["instance"]["id"] == instance_id
    assert found["instance"]["state"] == state


def test_a_replacement_that_was_interrupted_goes_on() -> None:
    old = machine([{"Key": "Name", "Value": NAME}], "terminated")
    assert settled("instance", **some_image(), replace=old)["instance"] is None


def test_images_by_parameter_and_name() -> None:
    client("ssm").put_parameter(Name=PARAMETER, Type="String", Value=OLDER)
    assert settled("instance", image_parameter=PARAMETER)["image"]["id"] == OLDER
    named = {"image_provider": "name", "image_name": "debian-13-*"}
    # The newest one of whom is trusted, not the newest one.
    assert settled("instance", **named, image_owner="136693071363")["image"]["id"] == DEBIAN
    amd64 = settled("instance", **named, type="t3.small", architecture="amd64")["image"]
    assert (amd64["id"], amd64["architecture"]) == (AMD64, "amd64")


def test_a_zone_and_its_record() -> None:
    route53 = client("route53")
    zone_id = route53.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"].rsplit("/", 1)[-1]
    route53.create_hosted_zone(Name="registry.example.com", CallerReference="2")
    # Without an Elastic IP, so that the record may be this deployment's.
    options = {**some_image(), "zone": "example.com", "domain": "registry.example.com", "elastic_ip_enabled": False}
    assert settled("instance", **options)["zone"] == {"id": zone_id, "name": "example.com", "record": {}}
    record = {"Name": "registry.example.com", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]}
    route53.change_resource_record_sets(
        HostedZoneId=zone_id, ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    )
    for removing in (False, True):
        assert settled("instance", removing=removing, **options)["zone"]["record"] == {
            "values": ["192.0.2.1"],
            "ttl": 60,
        }


ZONE_ROLE = "arn:aws:iam::444455556666:role/dns-registry"


def test_a_zone_of_another_account_is_asked_as_a_role_there() -> None:
    keys = client("sts").assume_role(RoleArn=ZONE_ROLE, RoleSessionName="theirs")["Credentials"]
    theirs = boto3.client(
        "route53",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    theirs.create_hosted_zone(Name="example.com", CallerReference="1")
    options = {**some_image(), "domain": "registry.example.com", "zone": "example.com"}
    (problem,) = ask("instance", **options).problems
    assert problem.startswith("The account has no hosted zone example.com")
    account = open_account(REGION, "drydock", ZONE_ROLE)
    found = look(account, "instance", {**defaults_of("instance"), **options}, {})
    assert account.problems == []
    assert found["zone"]["id"]
    # Everything else is asked as ever.
    assert found["account_id"] == "123456789012"


def test_a_role_that_is_not_given_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "User: arn:aws:iam::123456789012:user/deployer is not authorized to perform: sts:AssumeRole"

    make = boto3.session.Session.client

    def refusing(session: boto3.session.Session, service: str, **more: Any) -> Any:
        made = make(session, service, **more)
        return Refusing(made, {"assume_role": error("AccessDenied", "AssumeRole", said)}) if service == "sts" else made

    monkeypatch.setattr(boto3.session.Session, "client", refusing)
    account = open_account(REGION, "drydock", ZONE_ROLE)
    options = {**some_image(), "domain": "registry.example.com", "zone": "example.com"}
    look(account, "instance", {**defaults_of("instance"), **options}, {})
    (problem,) = account.problems
    assert problem.startswith(
        "AWS refuses sts:AssumeRole to arn:aws:iam::123456789012:user/deployer: allow this action"
    )
    assert problem.endswith(f"The trust policy of {ZONE_ROLE} has to let it in as well.")


def test_private_and_public_zones_of_one_name() -> None:
    route53 = client("route53")
    route53.create_hosted_zone(Name="example.com", CallerReference="1")
    route53.create_hosted_zone(
        Name="example.com",
        CallerReference="2",
        VPC={"VPCRegion": REGION, "VPCId": default_vpc()},
        HostedZoneConfig={"PrivateZone": True},
    )
    options = {**some_image(), "zone": "example.com", "domain": "registry.example.com"}
    public = settled("instance", **options)["zone"]["id"]
    private = settled("instance", **options, zone_private=True)["zone"]["id"]
    assert len({public, private, ""}) == 3


def zoned(private: bool = False, **options: Any) -> Callable[[], dict[str, Any]]:
    def prepare() -> dict[str, Any]:
        vpc_of = {"VPC": {"VPCRegion": REGION, "VPCId": default_vpc()}} if private else {}
        client("route53").create_hosted_zone(
            Name="example.com", CallerReference="1", HostedZoneConfig={"PrivateZone": private}, **vpc_of
        )
        return {**some_image(), "zone": "example.com", "domain": "r.example.com", **options}

    return prepare


def recorded() -> dict[str, Any]:
    """A domain whose record leads to somebody else's host."""
    options = zoned()()
    route53 = client("route53")
    zone_id = route53.list_hosted_zones()["HostedZones"][0]["Id"]
    record = {"Name": options["domain"], "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.7"}]}
    route53.change_resource_record_sets(
        HostedZoneId=zone_id, ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    )
    return options


def given(**options: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {**some_image(), **options}


def existing(state: str, **options: Any) -> Callable[[], dict[str, Any]]:
    def prepare() -> dict[str, Any]:
        machine(OURS, state)
        return {**some_image(), **options}

    return prepare


def lost() -> dict[str, Any]:
    """The Elastic IP of a deployment whose instance AWS has forgotten."""
    allocation = client("ec2").allocate_address(Domain="vpc")["AllocationId"]
    client("ec2").create_tags(Resources=[allocation], Tags=OURS)
    return {}


def two_machines() -> dict[str, Any]:
    machine(OURS)
    machine(OURS)
    return some_image()


def replacing(tags: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {**some_image(), "replace": machine(tags)}


def another_key() -> dict[str, Any]:
    client("ec2").import_key_pair(KeyName=NAME, PublicKeyMaterial=ANOTHER_KEY.encode())
    return {**some_image(), "public_key": KEY}


def odd_parameter() -> dict[str, Any]:
    client("ssm").put_parameter(Name="/odd", Type="String", Value="latest")
    return {"image_parameter": "/odd"}


INSTANCES: dict[str, tuple[Callable[[], dict[str, Any]], list[str]]] = {
    "unknown type": (given(type="t4g.enormous"), ["no instance type t4g.enormous", "aws_instance_type"]),
    "architecture": (given(type="t3.small"), ["t3.small", "has amd64, not arm64", "aws_instance_architecture: amd64"]),
    "image of another": (given(type="t3.small", architecture="amd64"), ["aws_instance_image_id is for arm64"]),
    "malformed image": (lambda: {"image_provider": "id"}, ["aws_instance_image_id () is no id"]),
    "unknown image": (given(image_id="ami-00000000"), ["no image ami-00000000"]),
    "unknown parameter": (lambda: {"image_parameter": "/none"}, ["no parameter /none", "aws_instance_image_parameter"]),
    "empty parameter": (dict, ["aws_instance_image_parameter is empty"]),
    "odd parameter": (odd_parameter, ["/odd", "holds no image's id"]),
    "unknown name": (given(image_provider="name", image_name="none"), ["no image named none for arm64"]),
    "empty name": (given(image_provider="name"), ["aws_instance_image_name is empty"]),
    "Windows": (given(image_id=WINDOWS), ["is Windows"]),
    "no EBS": (given(image_id=STORED), ["has no EBS root volume"]),
    "many owners": (
        given(image_provider="name", image_name="debian-*"),
        ["136693071363, 999999999999", "several accounts", "aws_instance_image_owner"],
    ),
    "no volume": (given(volume_gib=0), ["aws_instance_volume_gib is 0"]),
    "volume for the image": (given(volume_gib=1), ["aws_instance_volume_gib is 1", "needs 15 GiB"]),
    "volume shrinks": (existing("running", volume_gib=1), ["aws_instance_volume_gib is 1", "write 20 or more"]),
    "both keys": (given(public_key=KEY, key_pair="k"), ["Both aws_instance_public_key and aws_instance_key_pair"]),
    "malformed key": (given(public_key="id.pub"), ["aws_instance_public_key is no public key"]),
    "key of another": (another_key, ["key pair drydock-registry has another key"]),
    "unknown key pair": (given(key_pair="none"), ["no key pair none (aws_instance_key_pair)"]),
    "stopped": (existing("stopped"), ["is stopped: start it (aws ec2 start-instances", "aws_instance_replace: i-"]),
    "terminated": (existing("terminated"), ["is terminated, and no playbook did it", "aws_instance_replace: i-"]),
    "two": (two_machines, ["run with the tag drydock-deployment: drydock"]),
    "type of another architecture": (
        existing("running", type="t3.small", architecture="amd64"),
        ["runs on arm64", "t3.small", "aws_instance_replace: i-"],
    ),
    "replace another's": (replacing(THEIRS), ["aws_instance_replace is i-", "no instance of the deployment drydock"]),
    "replace unknown": (
        existing("running", replace="i-0123456789abcdef0"),
        ["aws_instance_replace is i-0123456789abcdef0", "whose instance is i-"],
    ),
    "address without instance": (lost, ["has lost its instance", "aws_instance_replace"]),
    "replace malformed": (given(replace="host"), ["aws_instance_replace (host) is no id"]),
    "unknown zone": (given(zone="example.com", domain="r.example.com"), ["no hosted zone example.com"]),
    "zone of another domain": (zoned(domain="r.example.net"), ["example.com", "does not hold r.example.net"]),
    "zone that ends alike": (zoned(domain="myexample.com"), ["does not hold myexample.com"]),
    "zone without domain": (zoned(domain=""), ["drydock_domain is not"]),
    "record of somebody": (recorded, ["points to 192.0.2.7", "not this deployment's", "delete that record first"]),
    "malformed domain": (given(domain="regis_try.example.com"), ["aws_instance_domain (regis_try.example.com)"]),
    "private zone": (zoned(private=True), ["is not public", "aws_instance_zone_private: true"]),
    "public zone": (zoned(zone_private=True), ["is not private", "aws_instance_zone_private: false"]),
}


def test_markers_of_deletion_hide_no_object_on_a_later_page() -> None:
    pages = [
        {"IsTruncated": True, "DeleteMarkers": [{}], "NextKeyMarker": "a", "NextVersionIdMarker": "1"},
        {"IsTruncated": True, "DeleteMarkers": [{}], "NextKeyMarker": "b"},
        {"IsTruncated": False, "Versions": [{}, {}]},
    ]
    asked: list[dict[str, Any]] = []

    class Paged(Account):
        def ask(self, *_call: Any, **parameters: Any) -> Any:
            asked.append(parameters)
            return pages[len(asked) - 1]

    account = Paged(client, REGION, "drydock")
    account.account_id = "123456789012"
    assert _aws_preflight_storage._count(account, "bucket") == 2
    markers = [(each.get("KeyMarker"), each.get("VersionIdMarker")) for each in asked]
    assert markers == [(None, None), ("a", "1"), ("b", None)]


def test_a_lost_instance_is_replaced_on_demand() -> None:
    lost()
    assert settled("instance", **some_image(), replace="i-0123456789abcdef0")["instance"] is None
    assert ask("instance", removing=True).problems == []


@pytest.mark.parametrize("name", INSTANCES)
def test_instances_that_are_refused(name: str) -> None:
    prepare, words = INSTANCES[name]
    problems = ask("instance", **prepare()).problems
    assert any(all(word in problem for word in words) for problem in problems), problems
    assert all(problem.endswith(".") for problem in problems)


def test_a_key_pair_without_its_public_key_is_compared_by_fingerprint() -> None:
    for fingerprint, refused in ((parse_public_key(KEY).sha256, False), (parse_public_key(ANOTHER_KEY).sha256, True)):
        pairs = {"KeyPairs": [{"KeyName": NAME, "KeyFingerprint": fingerprint, "Tags": OURS}]}

        class Older(Account):
            def ask(self, service: str, operation: str, *args: Any, **parameters: Any) -> Any:
                if operation == "describe_key_pairs":
                    return pairs  # noqa: B023 (asked before the next one is made)
                return super().ask(service, operation, *args, **parameters)

        account = Older(client, REGION, "drydock")
        look(account, "instance", {**defaults_of("instance"), **some_image(), "public_key": KEY}, {})
        assert bool(account.problems) is refused


def test_names_fit_iam() -> None:
    longest = max(len(name) for name in boto3.session.Session().get_available_regions("ec2"))
    assert len(_aws_account.iam_name("x" * 32, "r" * longest)) <= 64


def test_few_questions_are_asked() -> None:
    """Each costs 50 to 200 ms on AWS."""
    asked: list[str] = []

    def counting(service: str) -> Any:
        made = SESSION.client(service, region_name=REGION)
        made.meta.events.register("before-call", lambda model, **_: asked.append(model.name))
        return made

    machine(OURS)
    bucket(tags=OURS)
    for section, options, most in (
        ("network", {}, 8),
        ("storage", {"bucket": "images"}, 12),
        ("identity", {}, 4),
        ("identity", zones("example.com")(), 7),
        ("instance", some_image(), 8),
    ):
        asked.clear()
        account = Account(counting, REGION, "drydock")
        look(account, section, {**defaults_of(section), **ANSWERED.get(section, {}), **options}, {})
        assert account.problems == []
        assert len(asked) <= most, asked
