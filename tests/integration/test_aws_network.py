# SPDX-License-Identifier: GPL-3.0-or-later
"""The network that the role aws_network finds, makes and removes, as the AWS API tells it.

One account serves all tests, which run in the order of this file. Its deployments are one for each provider.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from aws_account import REGION, Account, Steps, aws_account, changed_tasks, changes

ROLE = "aws_network"
SERVICE = f"com.amazonaws.{REGION}.s3"
EVERYBODY = "0.0.0.0/0"
OFFICE = "198.51.100.0/24"
OFFICE_6 = "2001:db8:1::/48"
BASTION = "203.0.113.7/32"

# How EC2 is asked for each kind of thing that the role makes.
KINDS = {
    "vpc": ("describe_vpcs", "Vpcs", "VpcId"),
    "internet-gateway": ("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    "subnet": ("describe_subnets", "Subnets", "SubnetId"),
    "route-table": ("describe_route_tables", "RouteTables", "RouteTableId"),
    "security-group": ("describe_security_groups", "SecurityGroups", "GroupId"),
    "vpc-endpoint": ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "nat-gateway": ("describe_nat_gateways", "NatGateways", "NatGatewayId"),
}

OWN = {
    "aws_network_name": "own",
    "aws_network_provider": "own",
    "aws_network_client_cidrs": [OFFICE, OFFICE_6],
    "aws_network_acme_cidrs": [EVERYBODY, "::/0"],
    "aws_network_admin_cidrs": [BASTION],
    "aws_network_tags": {"team": "build"},
}
SHARED = {
    "aws_network_name": "shared",
    "aws_network_client_cidrs": [EVERYBODY],
    "aws_network_https_port": 8443,
    "aws_network_s3_endpoint_enabled": True,
}
GIVEN = {"aws_network_name": "given", "aws_network_provider": "given", "aws_network_client_cidrs": ["10.0.0.0/8"]}


class Network:
    """What the tests ask EC2."""

    def __init__(self, account: Account) -> None:
        self.ec2 = account.client("ec2")

    def tagged(self, deployment: str) -> dict[str, list[str]]:
        """Return the ids of what carries the deployment's tag, by kind."""
        marked = [{"Name": "tag:drydock-deployment", "Values": [deployment]}]
        found = {}
        for kind, (question, answer, identity) in KINDS.items():
            things = getattr(self.ec2, question)(Filters=marked)[answer]
            # What was deleted a moment ago may still be told.
            ids = [thing[identity] for thing in things if thing.get("State") != "deleted"]
            if ids:
                found[kind] = ids
        return found

    def tags(self, identity: str) -> dict[str, str]:
        filters = [{"Name": "resource-id", "Values": [identity]}]
        return {tag["Key"]: tag["Value"] for tag in self.ec2.describe_tags(Filters=filters)["Tags"]}

    def group(self, identity: str) -> dict[str, Any]:
        (found,) = self.ec2.describe_security_groups(GroupIds=[identity])["SecurityGroups"]
        return dict(found)

    def default_group(self, vpc: str) -> dict[str, Any]:
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
        (found,) = self.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        return dict(found)

    def open(self, identity: str) -> set[tuple[int, str, str]]:
        """Return who may reach which port, and the descriptions."""
        found = set()
        for rule in self.group(identity)["IpPermissions"]:
            assert rule["IpProtocol"] == "tcp"
            assert rule["FromPort"] == rule["ToPort"]
            sources = [(entry["CidrIp"], entry) for entry in rule["IpRanges"]]
            sources += [(entry["CidrIpv6"], entry) for entry in rule.get("Ipv6Ranges", [])]
            sources += [(entry["GroupId"], entry) for entry in rule["UserIdGroupPairs"]]
            found |= {(rule["FromPort"], source, entry.get("Description", "")) for source, entry in sources}
        return found

    def reached(self, identity: str) -> set[tuple[str, str]]:
        """Return what a group's members may reach."""
        found = set()
        for rule in self.group(identity)["IpPermissionsEgress"]:
            found |= {(rule["IpProtocol"], entry["CidrIp"]) for entry in rule["IpRanges"]}
            found |= {(rule["IpProtocol"], entry["CidrIpv6"]) for entry in rule.get("Ipv6Ranges", [])}
        return found

    def endpoints(self, vpc: str) -> list[dict[str, Any]]:
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "service-name", "Values": [SERVICE]}]
        found = self.ec2.describe_vpc_endpoints(Filters=filters)["VpcEndpoints"]
        return [endpoint for endpoint in found if endpoint["State"] == "available"]

    def subnets(self, vpc: str) -> list[dict[str, Any]]:
        found = self.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
        return sorted(found, key=lambda subnet: str(subnet["AvailabilityZone"]))

    def table(self, identity: str) -> dict[str, Any]:
        (found,) = self.ec2.describe_route_tables(RouteTableIds=[identity])["RouteTables"]
        return dict(found)

    def default_vpc(self) -> str:
        (found,) = self.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        return str(found["VpcId"])

    def attribute(self, vpc: str, name: str) -> bool:
        found = self.ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)
        return bool(found[name[0].upper() + name[1:]]["Value"])

    def make_group(self, name: str, vpc: str) -> str:
        return str(self.ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"])

    def let_out(self, vpc: str) -> None:
        """Lead the subnets of a VPC to an internet gateway."""
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        for table in self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]:
            self.ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock=EVERYBODY, GatewayId=gateway)

    def shut(self, vpc: str) -> None:
        """Delete the gateway of such a VPC."""
        attached = [{"Name": "attachment.vpc-id", "Values": [vpc]}]
        (gateway,) = self.ec2.describe_internet_gateways(Filters=attached)["InternetGateways"]
        self.ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc)
        self.ec2.delete_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"])

    def ways(self, subnet: str) -> dict[str, str]:
        """Return where the routes of a subnet's own table lead."""
        (table,) = self.ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])[
            "RouteTables"
        ]
        return {
            route["DestinationCidrBlock"]: route.get("GatewayId") or route.get("NatGatewayId")
            for route in table["Routes"]
            if "DestinationCidrBlock" in route
        }

    def mark(self, deployment: str, *identities: str) -> None:
        self.ec2.create_tags(Resources=list(identities), Tags=[{"Key": "drydock-deployment", "Value": deployment}])


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with aws_account() as made:
        yield made


@pytest.fixture(scope="module")
def network(account: Account) -> Network:
    return Network(account)


class Everything:
    """The three deployments, and what the tests keep of them."""

    steps: ClassVar[list[dict[str, Any]]] = []
    results: ClassVar[dict[str, Any]] = {}
    bastion: ClassVar[str] = ""


class TestDeployment:
    """From an empty account to a second run."""

    def test_a_dry_run_on_an_empty_account_says_what_it_would_do(self, account: Account, network: Network) -> None:
        bastion = network.make_group("bastion", network.default_vpc())
        Everything.bastion = bastion
        shared = {**SHARED, "aws_network_admin_security_group_id": bastion}
        steps = Steps(ROLE).run(OWN).run(shared)
        done = steps.play(account, "--check")
        tasks = changed_tasks(done)
        assert changes(done)
        assert "Ensure the VPC exists" in tasks
        assert "Allow clients, health checks and administrators to reach the registry" in tasks
        assert "Ensure the VPC endpoint of S3" in tasks
        assert f"{REGION}a, {REGION}b" in done.stdout
        assert network.tagged("own") == {}
        assert network.tagged("shared") == {}
        assert steps.result(0)["vpc_id"] == ""
        assert steps.result(1)["vpc_id"] == network.default_vpc()

    def test_all_providers(self, account: Account, network: Network) -> None:
        ec2 = network.ec2
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        first, second = (
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{number}.0/24")["Subnet"]["SubnetId"] for number in (1, 2)
        )
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=table, SubnetId=first)
        network.let_out(vpc)
        theirs = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=SERVICE, RouteTableIds=[table])
        given = {**GIVEN, "aws_network_vpc_id": vpc, "aws_network_subnet_ids": [first]}
        shared = {**SHARED, "aws_network_admin_security_group_id": Everything.bastion}
        Everything.steps[:] = [OWN, shared, given]
        assert second != first

        steps = Steps(ROLE)
        for settings in Everything.steps:
            steps.run(settings)
        # All of it is theirs.
        group = network.make_group("theirs", vpc)
        steps.run({**given, "aws_network_name": "guest", "aws_network_security_group_ids": [group]})
        assert changes(steps.play(account))
        assert steps.changed[3] == []
        assert steps.result(3)["security_group_ids"] == [group]
        assert network.tagged("guest") == {}
        for number, name in enumerate(("own", "shared", "given")):
            Everything.results[name] = steps.result(number)

        # Theirs is kept, and there is no second.
        result = Everything.results["given"]
        assert [endpoint["VpcEndpointId"] for endpoint in network.endpoints(vpc)] == [
            theirs["VpcEndpoint"]["VpcEndpointId"]
        ]
        assert result["s3_endpoint_id"] == theirs["VpcEndpoint"]["VpcEndpointId"]
        assert (result["vpc_id"], result["subnet_ids"]) == (vpc, [first])
        assert result["subnets"][0]["cidr"] == "10.9.1.0/24"
        assert network.group(result["security_group_id"])["VpcId"] == vpc
        assert network.open(result["security_group_id"]) == {(443, "10.0.0.0/8", "Clients of the registry")}
        assert network.tagged("given") == {"security-group": [result["security_group_id"]]}

    def test_the_own_vpc(self, network: Network) -> None:
        result = Everything.results["own"]
        vpc = result["vpc_id"]
        tagged = network.tagged("own")
        assert {kind: len(found) for kind, found in tagged.items()} == {
            "vpc": 1,
            "internet-gateway": 1,
            "subnet": 2,
            "route-table": 1,
            "security-group": 1,
            "vpc-endpoint": 1,
        }
        assert tagged["vpc"] == [vpc]
        for identity in itertools.chain.from_iterable(tagged.values()):
            tags = network.tags(identity)
            assert tags["Name"].startswith("own-registry")
            assert tags["team"] == "build"
        assert network.attribute(vpc, "enableDnsSupport")
        assert network.attribute(vpc, "enableDnsHostnames")

        subnets = network.subnets(vpc)
        assert [subnet["AvailabilityZone"] for subnet in subnets] == [f"{REGION}a", f"{REGION}b"]
        assert [subnet["CidrBlock"] for subnet in subnets] == ["10.60.0.0/20", "10.60.16.0/20"]
        assert not any(subnet["MapPublicIpOnLaunch"] for subnet in subnets)
        assert result["subnet_ids"] == [subnet["SubnetId"] for subnet in subnets]
        assert result["subnets"][1] == {
            "id": subnets[1]["SubnetId"],
            "zone": f"{REGION}b",
            "cidr": "10.60.16.0/20",
            "public": True,
        }

        table = network.table(tagged["route-table"][0])
        ways = {route.get("DestinationCidrBlock"): route.get("GatewayId") for route in table["Routes"]}
        assert ways[EVERYBODY] == tagged["internet-gateway"][0]
        used_by = {entry["SubnetId"] for entry in table["Associations"] if entry.get("SubnetId")}
        assert used_by == set(result["subnet_ids"])
        (endpoint,) = network.endpoints(vpc)
        assert endpoint["RouteTableIds"] == [table["RouteTableId"]]
        assert endpoint["VpcEndpointType"] == "Gateway"
        assert result["s3_endpoint_id"] == endpoint["VpcEndpointId"]

        default = network.default_group(vpc)
        assert default["IpPermissions"] == []
        assert default["IpPermissionsEgress"] == []

    def test_who_may_reach_what(self, network: Network) -> None:
        own, shared = (Everything.results[name]["security_group_id"] for name in ("own", "shared"))
        assert network.group(own)["GroupName"] == "own-registry"
        assert network.open(own) == {
            (443, OFFICE, "Clients of the registry"),
            (443, OFFICE_6, "Clients of the registry"),
            (80, EVERYBODY, "Certificates by ACME"),
            (80, "::/0", "Certificates by ACME"),
            (22, BASTION, "Administration"),
        }
        assert network.open(shared) == {
            (8443, EVERYBODY, "Clients of the registry"),
            (22, Everything.bastion, "Administration"),
        }
        for group in (own, shared):
            assert network.reached(group) == {("-1", EVERYBODY), ("-1", "::/0")}

    def test_the_default_vpc(self, network: Network) -> None:
        result = Everything.results["shared"]
        vpc = network.default_vpc()
        assert result["vpc_id"] == vpc
        assert sorted(result["subnet_ids"]) == sorted(subnet["SubnetId"] for subnet in network.subnets(vpc))
        (endpoint,) = network.endpoints(vpc)
        assert result["s3_endpoint_id"] == endpoint["VpcEndpointId"]
        assert endpoint["RouteTableIds"]
        assert network.tagged("shared") == {
            "security-group": [result["security_group_id"]],
            "vpc-endpoint": [endpoint["VpcEndpointId"]],
        }
        # What is not ours in there is left alone.
        assert network.default_group(vpc)["IpPermissionsEgress"]

    def test_a_second_run_changes_nothing(self, account: Account) -> None:
        steps = Steps(ROLE)
        for settings in Everything.steps:
            steps.run(settings)
        done = steps.play(account)
        assert changes(done) == 0, changed_tasks(done)
        for number, name in enumerate(("own", "shared", "given")):
            assert steps.result(number) == Everything.results[name]


class TestChange:
    """What others changed, and what the user changes."""

    def test_drift_and_changed_settings(self, account: Account, network: Network) -> None:
        ec2 = network.ec2
        own = Everything.results["own"]
        tagged = network.tagged("own")
        anything = [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 65535, "IpRanges": [{"CidrIp": EVERYBODY}]}]
        ec2.authorize_security_group_ingress(GroupId=own["security_group_id"], IpPermissions=anything)
        default = network.default_group(own["vpc_id"])["GroupId"]
        ec2.authorize_security_group_ingress(GroupId=default, IpPermissions=anything)
        table, gateway = tagged["route-table"][0], tagged["internet-gateway"][0]
        ec2.delete_route(RouteTableId=table, DestinationCidrBlock=EVERYBODY)
        # A route of somebody else's, which stays.
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.0.2.0/24", GatewayId=gateway)
        changed_own = {
            **OWN,
            "aws_network_client_cidrs": ["192.0.2.0/24"],
            "aws_network_acme_cidrs": [],
            "aws_network_zones": [f"{REGION}c", f"{REGION}a", f"{REGION}b"],
            "aws_network_tags": {"team": "platform"},
        }
        changed_shared = {**SHARED, "aws_network_s3_endpoint_enabled": False}

        steps = Steps(ROLE).run(changed_own).run(changed_shared)
        done = steps.play(account)
        assert changes(done)

        assert network.open(own["security_group_id"]) == {
            (443, "192.0.2.0/24", "Clients of the registry"),
            (22, BASTION, "Administration"),
        }
        assert network.default_group(own["vpc_id"])["IpPermissions"] == []
        ways = {route.get("DestinationCidrBlock"): route.get("GatewayId") for route in network.table(table)["Routes"]}
        assert ways[EVERYBODY] == gateway
        assert ways["192.0.2.0/24"] == gateway
        # The subnets that were there keep their addresses.
        cidrs = {subnet["AvailabilityZone"]: subnet["CidrBlock"] for subnet in network.subnets(own["vpc_id"])}
        assert cidrs == {f"{REGION}a": "10.60.0.0/20", f"{REGION}b": "10.60.16.0/20", f"{REGION}c": "10.60.32.0/20"}
        result = steps.result(0)
        assert [subnet["zone"] for subnet in result["subnets"]] == changed_own["aws_network_zones"]
        assert result["subnet_ids"][1:] == own["subnet_ids"]
        for identity in itertools.chain.from_iterable(tagged.values()):
            assert network.tags(identity)["team"] == "platform"

        assert network.open(Everything.results["shared"]["security_group_id"]) == {
            (8443, EVERYBODY, "Clients of the registry")
        }
        assert network.endpoints(network.default_vpc()) == []
        assert steps.result(1)["s3_endpoint_id"] == ""


class TestLoadBalancer:
    """Who may reach what where a load balancer stands before the hosts."""

    NAME = "fleet"
    SETTINGS: ClassVar[dict[str, Any]] = {
        "aws_network_name": NAME,
        "aws_network_provider": "own",
        "aws_network_cidr": "10.70.0.0/16",
        "aws_network_client_cidrs": [OFFICE, OFFICE_6],
        "aws_network_admin_cidrs": [BASTION],
        "aws_network_target_port": 8443,
        "aws_network_load_balancer": "application",
        "aws_network_public_ip_enabled": False,
    }
    result: ClassVar[dict[str, Any]] = {}

    def test_a_dry_run_on_an_empty_account(self, account: Account, network: Network) -> None:
        steps = Steps(ROLE).run(self.SETTINGS)
        assert changes(steps.play(account, "--check"))
        assert network.tagged(self.NAME) == {}
        assert steps.result(0)["load_balancer_security_group_id"] == ""

    def test_only_the_load_balancer_reaches_the_hosts(self, account: Account, network: Network) -> None:
        steps = Steps(ROLE).run(self.SETTINGS).run(self.SETTINGS, "preflight")
        assert changes(steps.play(account))
        self.result.update(steps.result(0))
        balancer, hosts = self.result["load_balancer_security_group_id"], self.result["security_group_id"]

        assert network.group(balancer)["GroupName"] == "fleet-load-balancer"
        assert network.open(balancer) == {
            (port, source, "Clients of the registry") for port in (443, 80) for source in (OFFICE, OFFICE_6)
        }
        (egress,) = network.group(balancer)["IpPermissionsEgress"]
        assert (egress["IpProtocol"], egress["FromPort"], egress["ToPort"]) == ("tcp", 8443, 8443)
        assert [entry["CidrIp"] for entry in egress["IpRanges"]] == ["10.70.0.0/16"]
        assert network.tags(balancer)["drydock-deployment"] == self.NAME
        assert network.open(hosts) == {(8443, balancer, "The load balancer"), (22, BASTION, "Administration")}
        assert len({subnet["zone"] for subnet in self.result["subnets"]}) == 2

    def test_hosts_get_out_and_nobody_gets_in(self, network: Network) -> None:
        tagged = network.tagged(self.NAME)
        (nat,), (gateway,) = tagged["nat-gateway"], tagged["internet-gateway"]
        assert len(tagged["subnet"]) == 4
        for subnet in self.result["load_balancer_subnets"]:
            assert subnet["public"]
            assert network.ways(subnet["id"])[EVERYBODY] == gateway
        for subnet in self.result["subnets"]:
            assert not subnet["public"]
            assert network.ways(subnet["id"])[EVERYBODY] == nat
        (found,) = network.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"]
        assert found["SubnetId"] == self.result["load_balancer_subnet_ids"][0]
        (endpoint,) = network.endpoints(self.result["vpc_id"])
        assert sorted(endpoint["RouteTableIds"]) == sorted(tagged["route-table"])
        assert len(tagged["route-table"]) == 2

    def test_a_second_run_changes_nothing(self, account: Account) -> None:
        steps = Steps(ROLE).run(self.SETTINGS)
        done = steps.play(account)
        assert changes(done) == 0, changed_tasks(done)
        assert steps.result(0) == self.result

    def test_drift_is_put_right(self, account: Account, network: Network) -> None:
        balancer, hosts = self.result["load_balancer_security_group_id"], self.result["security_group_id"]
        anything = [{"IpProtocol": "tcp", "FromPort": 8443, "ToPort": 8443, "IpRanges": [{"CidrIp": EVERYBODY}]}]
        for group in (balancer, hosts):
            network.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=anything)
        assert changes(Steps(ROLE).run(self.SETTINGS).play(account))
        for group in (balancer, hosts):
            assert EVERYBODY not in {source for _, source, _ in network.open(group)}

    def test_connections_that_are_passed_on_keep_their_addresses(self, account: Account, network: Network) -> None:
        vpc = self.result["vpc_id"]
        network.ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.71.0.0/16")
        passed_on = {**self.SETTINGS, "aws_network_load_balancer": "network"}
        steps = Steps(ROLE).run(passed_on)
        assert changes(steps.play(account))
        hosts = self.result["security_group_id"]
        assert network.open(hosts) == {
            (8443, OFFICE, "Clients of the registry"),
            (8443, OFFICE_6, "Clients of the registry"),
            (8443, "10.70.0.0/16", "Health checks of the load balancer"),
            (8443, "10.71.0.0/16", "Health checks of the load balancer"),
            (22, BASTION, "Administration"),
        }
        assert steps.result(0)["load_balancer_security_group_id"] == ""
        # The group that only the other kind has is gone.
        assert network.tagged(self.NAME)["security-group"] == [hosts]
        again = Steps(ROLE).run(passed_on).play(account)
        assert changes(again) == 0, changed_tasks(again)

    def test_the_nat_gateway_goes_with_its_address(self, account: Account, network: Network) -> None:
        (address,) = network.ec2.describe_addresses()["Addresses"]
        tags = {tag["Key"]: tag["Value"] for tag in address["Tags"]}
        assert tags["drydock-deployment"] == self.NAME
        assert (tags["Name"], tags["drydock-address"]) == ("fleet-registry-nat", "nat")
        (nat,) = network.tagged(self.NAME)["nat-gateway"]
        (found,) = network.ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"]
        assert found["NatGatewayAddresses"][0]["AllocationId"] == address["AllocationId"]
        # One of a run that ended between the address and the gateway goes as well.
        marks = [{"Key": key, "Value": value} for key, value in tags.items()]
        network.ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": marks}])
        assert changes(Steps(ROLE).run({"aws_network_name": self.NAME}, "remove").play(account))
        assert network.tagged(self.NAME) == {}
        assert network.ec2.describe_addresses()["Addresses"] == []

    def test_no_public_address_anywhere(self, account: Account, network: Network) -> None:
        hidden = {
            **self.SETTINGS,
            "aws_network_load_balancer_internal_enabled": True,
            "aws_network_way_out": "endpoints",
            "aws_network_services": ["logs", "secretsmanager"],
        }
        # What is no longer needed goes, and what is needed stays.
        more = {**hidden, "aws_network_services": ["logs", "secretsmanager", "ecr.api"]}
        steps = Steps(ROLE).run(more).run(hidden).run(hidden)
        changes(steps.play(account))
        assert steps.changed[2] == []
        assert steps.changed[1] != []
        result, tagged = steps.result(0), network.tagged(self.NAME)
        assert (
            result["load_balancer_subnet_ids"]
            == result["subnet_ids"]
            == sorted(tagged["subnet"], key=result["subnet_ids"].index)
        )
        assert not {"internet-gateway", "nat-gateway"} & set(tagged)
        for subnet in result["subnet_ids"]:
            assert list(network.ways(subnet).values()) == ["local"]
        endpoints = network.ec2.describe_vpc_endpoints(VpcEndpointIds=tagged["vpc-endpoint"])["VpcEndpoints"]
        found = {endpoint["ServiceName"].rpartition(".")[2]: endpoint for endpoint in endpoints}
        assert set(found) == {"s3", "logs", "secretsmanager"}
        for service in ("logs", "secretsmanager"):
            assert found[service]["VpcEndpointType"] == "Interface"
            assert sorted(found[service]["SubnetIds"]) == sorted(result["subnet_ids"])
            (group,) = found[service]["Groups"]
            assert network.open(group["GroupId"]) == {(443, "10.70.0.0/16", "Hosts of the registry")}
        none = {**hidden, "aws_network_way_out": "none"}
        assert changes(Steps(ROLE).run(none).play(account))
        assert len(network.tagged(self.NAME)["vpc-endpoint"]) == 1
        assert len(network.tagged(self.NAME)["security-group"]) == 2
        # All groups go with the deployment, though one names another.
        assert len(tagged["security-group"]) == 3
        assert changes(Steps(ROLE).run({"aws_network_name": self.NAME}, "remove").play(account))
        assert network.tagged(self.NAME) == {}

    def test_a_network_that_no_load_balancer_fits(self, account: Account, network: Network) -> None:
        ec2 = network.ec2
        vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.8.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
                "SubnetId"
            ]
            for number, zone in enumerate("aabb")
        ]
        network.let_out(vpc)
        here = {
            **GIVEN,
            "aws_network_load_balancer": "application",
            "aws_network_vpc_id": vpc,
            "aws_network_s3_endpoint_enabled": False,
        }
        closed = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=closed, SubnetId=subnets[3])
        half = {**here, "aws_network_subnet_ids": subnets[1:3], "aws_network_load_balancer_subnet_ids": subnets[::3]}
        cases = [
            (
                {**here, "aws_network_subnet_ids": subnets[:1]},
                "write subnets of two zones or more as aws_network_subnet_ids.",
            ),
            (
                {**here, "aws_network_subnet_ids": subnets[1:3], "aws_network_load_balancer_subnet_ids": subnets[:3]},
                f"are all in {REGION}a, but a load balancer",
            ),
            (
                half,
                f"{subnets[3]} has no route to an internet gateway, so that a load balancer that faces the internet",
            ),
            (
                {**half, "aws_network_load_balancer_internal_enabled": True, "aws_network_s3_endpoint_enabled": None},
                f"{vpc} has no gateway endpoint of S3",
            ),
            ({**self.SETTINGS, "aws_network_zones": [f"{REGION}b"]}, "write two zones or more as aws_network_zones."),
            ({**self.SETTINGS, "aws_network_acme_cidrs": [EVERYBODY]}, "aws_network_acme_cidrs is set"),
            ({**self.SETTINGS, "aws_network_target_port": 22}, "aws_network_target_port is 22"),
        ]
        steps = Steps(ROLE)
        for settings, _ in cases:
            steps.refused(settings)
        changes(steps.play(account))
        for number, (_, words) in enumerate(cases):
            assert words in steps.refusal(number)
            assert "\n" not in steps.refusal(number)
        assert network.tagged(self.NAME) == {}
        for subnet in subnets:
            ec2.delete_subnet(SubnetId=subnet)
        for association in ec2.describe_route_tables(RouteTableIds=[closed])["RouteTables"][0]["Associations"]:
            ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
        ec2.delete_route_table(RouteTableId=closed)
        network.shut(vpc)
        ec2.delete_vpc(VpcId=vpc)


class TestRefusal:
    """What is refused, with one sentence each, before anything changes."""

    def test_settings_that_lead_nowhere(self, account: Account, network: Network) -> None:
        foreign = network.make_group("foreign-registry", network.default_vpc())
        wrong = {
            "aws_network_name": "sg-1",
            "aws_network_https_port": 80,
            "aws_network_vpc_id": "vpc-1",
        }
        steps = Steps(ROLE).refused(wrong)
        steps.refused({"aws_network_client_cidrs": [EVERYBODY], "aws_network_tags": {"drydock-deployment": "2"}})
        steps.refused({**OWN, "aws_network_cidr": "10.61.0.0/16"})
        steps.refused({**SHARED, "aws_network_name": "foreign"})
        steps.refused({**SHARED, "aws_network_client_cidrs": ["10.0.0.1/8"], "aws_network_admin_cidrs": ["office"]})
        before = network.group(foreign)
        changes(steps.play(account))

        for setting in (*wrong, "aws_network_client_cidrs"):
            assert setting in steps.refusal(0)
        assert "aws_network_tags" in steps.refusal(1)
        assert "aws_network_cidr" in steps.refusal(2)
        assert "foreign-registry" in steps.refusal(3)
        assert "aws_network_client_cidrs" in steps.refusal(4)
        assert "aws_network_admin_cidrs" in steps.refusal(4)
        assert network.group(foreign) == before


class TestRemoval:
    """What goes and what stays."""

    def test_what_was_made_goes_also_when_it_was_half_made(self, account: Account, network: Network) -> None:
        ec2 = network.ec2
        # Half made: a VPC alone; a gateway that is attached to nothing.
        vpc = ec2.create_vpc(CidrBlock="10.60.0.0/16")["Vpc"]["VpcId"]
        network.mark("half", vpc)
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        network.mark("stray", gateway)
        given = Everything.results["given"]["vpc_id"]
        names = ("own", "shared", "given", "half", "stray")
        steps = Steps(ROLE)
        for name in names:
            steps.run({"aws_network_name": name}, "remove")

        dry = Steps(ROLE).run({"aws_network_name": "own"}, "remove").play(account, "--check")
        assert changes(dry)
        assert network.tagged("own")["vpc"]
        assert changes(steps.play(account))

        for name in names:
            assert network.tagged(name) == {}, name
        left = [found["VpcId"] for found in ec2.describe_vpcs()["Vpcs"]]
        assert sorted(left) == sorted([given, network.default_vpc()])
        assert network.endpoints(given)
        assert network.group(Everything.bastion)
        gateways = ec2.describe_internet_gateways()["InternetGateways"]
        assert gateway not in [found["InternetGatewayId"] for found in gateways]

        again = (
            Steps(ROLE)
            .run({"aws_network_name": "own"}, "remove")
            .run({"aws_network_name": "stray"}, "remove")
            .play(account)
        )
        assert changes(again) == 0, changed_tasks(again)
