# SPDX-License-Identifier: GPL-3.0-or-later
"""What a load balancer's role asks an account: what is found, and what is refused. The account is moto's, in this process."""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import boto3
import pytest
import trustme
from ansible_collections.drydock.registry.plugins.module_utils import _aws_certificates
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account, AwsProblem
from ansible_collections.drydock.registry.plugins.module_utils._aws_certificates import (
    covers,
    fingerprint,
    pair_problems,
    parse_arn,
    private_ca,
    proofs,
    refuse_unissued,
    wait_for,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_preflight import look
from ansible_collections.drydock.registry.plugins.module_utils._aws_preflight_load_balancer import (
    listener_differences,
    wanted_attributes,
    was_ours,
)
from ansible_collections.drydock.registry.plugins.modules.acm_request import request
from ansible_collections.drydock.registry.plugins.modules.aws_preflight import ARGUMENTS
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes

REGION = "eu-central-1"
DOMAIN = "registry.example.com"
ACCOUNT = "123456789012"
NOW = datetime.datetime.now(datetime.timezone.utc)
GROUP_ARN = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/drydock-registry/0123456789abcdef"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/12345678-1234-1234-1234-123456789012"
DEFAULTS = {name: option.get("default") for name, option in ARGUMENTS["load_balancer"]["options"].items()}
SCHEME = {"Scheme": "internet-facing"}
OURS = [{"Key": "drydock-deployment", "Value": "drydock"}]
THEIRS = [{"Key": "team", "Value": "network"}]


class Pair:
    """A certificate with its CA and its key, as texts."""

    def __init__(self, *names: str, **more: Any) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(*names, **more)
        self.chain = authority.cert_pem.bytes().decode()
        self.certificate = issued.cert_chain_pems[0].bytes().decode()
        self.key = issued.private_key_pem.bytes().decode()


@functools.cache
def pair(*names: str) -> Pair:
    return Pair(*(names or (DOMAIN,)))


class Answer(NamedTuple):
    """What a look brought."""

    found: dict[str, Any]
    problems: list[str]


pytestmark = pytest.mark.usefixtures("aws")


SESSION = boto3.session.Session(aws_access_key_id="key", aws_secret_access_key="secret")


@functools.cache
def client(service: str, region: str = REGION) -> Any:
    return SESSION.client(service, region_name=region)


def ask(removing: bool = False, deployment: str = "drydock", **options: Any) -> Answer:
    account = Account(client, REGION, deployment, removing=removing)
    chosen = {**DEFAULTS, "domain": DOMAIN, "type": "network", **options}
    assert set(chosen) == set(DEFAULTS)
    return Answer(look(account, "load_balancer", chosen, {}), account.problems)


def settled(**options: Any) -> dict[str, Any]:
    answer = ask(**options)
    assert answer.problems == []
    return answer.found


def subnets() -> list[str]:
    found = client("ec2").describe_subnets()["Subnets"]
    return [subnet["SubnetId"] for subnet in sorted(found, key=lambda subnet: str(subnet["AvailabilityZone"]))]


def balancer(tags: Any = OURS, **more: Any) -> str:
    settings = {"Name": "drydock-registry", "Subnets": subnets()[:2], "Type": "network", "Tags": tags, **SCHEME, **more}
    made = client("elbv2").create_load_balancer(**settings)["LoadBalancers"][0]
    return str(made["LoadBalancerArn"])


def group(tags: Any = OURS, **more: Any) -> str:
    vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    settings = {"Name": "drydock-registry", "Protocol": "TCP", "Port": 443, "VpcId": vpc, "Tags": tags, **more}
    return str(client("elbv2").create_target_group(**settings)["TargetGroups"][0]["TargetGroupArn"])


def zone(name: str = "example.com", private: bool = False) -> str:
    more: dict[str, Any] = {}
    if private:
        vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        more = {"HostedZoneConfig": {"PrivateZone": True}, "VPC": {"VPCRegion": REGION, "VPCId": vpc}}
    made = client("route53").create_hosted_zone(Name=name, CallerReference=f"{name}-{private}", **more)
    return str(made["HostedZone"]["Id"]).rsplit("/", 1)[-1]


def record(zone_id: str, kind: str = "A", name: str = DOMAIN, **more: Any) -> None:
    values = more or {"TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]}
    batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": {"Name": name, "Type": kind, **values}}]}
    client("route53").change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch=batch)


# ----- what is there ----------------------------------------------------------------------------


def test_an_empty_account() -> None:
    found = settled()
    assert found["load_balancer"] is None
    assert found["target_group"] is None
    assert found["certificate"] == {"arn": "", "name": "", "status": "", "records": [], "private_ca": ""}
    assert found["stale_certificates"] == []
    assert found["zone"] == {"id": "", "name": "", "record": {}}


def test_what_is_there_is_compared_with_what_is_set() -> None:
    arn, group_arn = balancer(), group()
    found = settled()
    assert found["load_balancer"]["arn"] == arn
    assert found["load_balancer"]["subnet_ids"] == sorted(subnets()[:2])
    differences = found["load_balancer"]["differences"]
    assert differences == ["deletion_protection.enabled", "load_balancing.cross_zone.enabled", "listener 443"]
    assert found["target_group"]["arn"] == group_arn
    assert "HealthCheckPath" in found["target_group"]["differences"]
    forward = [{"Type": "forward", "TargetGroupArn": group_arn}]
    client("elbv2").create_listener(LoadBalancerArn=arn, Protocol="TCP", Port=443, DefaultActions=forward)
    wanted = wanted_attributes({**DEFAULTS, "type": "network"})
    attributes = [{"Key": key, "Value": value} for key, value in wanted.items()]
    client("elbv2").modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
    assert settled()["load_balancer"]["differences"] == []


FORWARD = {"Type": "forward", "TargetGroupArn": GROUP_ARN, "ForwardConfig": {}}
HTTPS = {
    "Port": 443,
    "Protocol": "HTTPS",
    "SslPolicy": DEFAULTS["tls_policy"],
    "Certificates": [{"CertificateArn": CERTIFICATE}],
    "DefaultActions": [FORWARD],
}
REDIRECT = {
    "Protocol": "HTTPS",
    "Port": "443",
    "Host": "#{host}",
    "Path": "/#{path}",
    "Query": "#{query}",
    "StatusCode": "HTTP_301",
}
HTTP = {"Port": 80, "Protocol": "HTTP", "DefaultActions": [{"Type": "redirect", "RedirectConfig": REDIRECT}]}
LISTENERS = {
    "as they are to be": ([HTTPS, HTTP], []),
    "none": ([], ["listener 80", "listener 443"]),
    "no redirect": ([HTTPS], ["listener 80"]),
    "one too many": ([HTTPS, HTTP, {**HTTP, "Port": 8080}], ["listener 8080"]),
    "another policy": ([{**HTTPS, "SslPolicy": "ELBSecurityPolicy-2016-08"}, HTTP], ["listener 443"]),
    "another certificate": ([{**HTTPS, "Certificates": [{"CertificateArn": "another"}]}, HTTP], ["listener 443"]),
    "another group": (
        [{**HTTPS, "DefaultActions": [{**FORWARD, "TargetGroupArn": "another"}]}, HTTP],
        ["listener 443"],
    ),
    "two actions": ([{**HTTPS, "DefaultActions": [FORWARD, FORWARD]}, HTTP], ["listener 443"]),
    "another protocol": ([{**HTTPS, "Protocol": "HTTP"}, HTTP], ["listener 443"]),
    "a redirect elsewhere": (
        [HTTPS, {**HTTP, "DefaultActions": [{"Type": "redirect", "RedirectConfig": {**REDIRECT, "Host": "x"}}]}],
        ["listener 80"],
    ),
    "no redirect but a way": ([HTTPS, {**HTTP, "DefaultActions": [FORWARD]}], ["listener 80"]),
}


@pytest.mark.parametrize("name", LISTENERS)
def test_listeners_that_differ(name: str) -> None:
    listeners, expected = LISTENERS[name]
    options = {**DEFAULTS, "type": "application"}
    assert sorted(listener_differences(options, GROUP_ARN, CERTIFICATE, listeners)) == sorted(expected)


@pytest.mark.parametrize("mode", ["preserve", "remove"])
def test_one_that_lets_clients_forge_their_address_is_refused(mode: str) -> None:
    vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    arn = balancer(Type="application")
    key = "routing.http.xff_header_processing.mode"
    group(Protocol="HTTPS", VpcId=vpc)
    options: dict[str, Any] = {
        "type": "application",
        "certificate_provider": "import",
        "tls_policy": "ELBSecurityPolicy-2016-08",
    }
    assert ask(**options).problems == []
    for value, count in ((mode, 1), ("append", 0)):
        client("elbv2").modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value}])
        problems = ask(**options).problems
        assert len(problems) == count
        assert all(f"--load-balancer-arn {arn} --attributes Key={key},Value=append" in each for each in problems)
    assert ask(removing=True, **options).problems == []


def test_logs_that_are_not_wanted_may_keep_their_place() -> None:
    assert "access_logs.s3.bucket" not in wanted_attributes({**DEFAULTS, "type": "application"})
    wanted = wanted_attributes({**DEFAULTS, "type": "application", "log_bucket": "logs"})
    assert (wanted["access_logs.s3.enabled"], wanted["access_logs.s3.bucket"]) == ("true", "logs")


@pytest.mark.parametrize(
    ("dns_name", "ours"),
    [
        ("drydock-registry-1234567890.eu-central-1.elb.amazonaws.com", True),
        ("internal-drydock-registry-1234567890.eu-central-1.elb.amazonaws.com", True),
        ("drydock-registry-0123456789abcdef.elb.eu-central-1.amazonaws.com", True),
        ("drydock-registry-1.cn-north-1.elb.amazonaws.com.cn", True),
        ("my-drydock-registry-1.eu-central-1.elb.amazonaws.com", False),
        ("drydock-registry-test-1.eu-central-1.elb.amazonaws.com", False),
        ("drydock-registry-1.eu-central-1.elb.amazonaws.com.example.net", False),
    ],
)
def test_names_of_load_balancers(dns_name: str, ours: bool) -> None:
    assert was_ours(dns_name, "drydock-registry") is ours


def alias(dns_name: str, evaluates: bool = True) -> dict[str, Any]:
    return {"AliasTarget": {"HostedZoneId": "Z215", "DNSName": dns_name, "EvaluateTargetHealth": evaluates}}


def test_the_record_of_a_load_balancer_that_is_gone_is_ours() -> None:
    zone_id = zone()
    record(zone_id, **alias("dualstack.drydock-registry-77.eu-central-1.elb.amazonaws.com.", evaluates=False))
    assert settled(zone="example.com")["zone"]["record"] == {
        "dns_name": "drydock-registry-77.eu-central-1.elb.amazonaws.com",
        "zone_id": "Z215",
        "evaluates": False,
    }


def test_the_public_zone_proves_and_the_private_one_leads() -> None:
    public, private = zone(), zone(private=True)
    found = settled(
        type="application",
        zone="example.com",
        zone_private=True,
        certificate_provider="request",
        certificate_zone="example.com",
    )
    assert (found["certificate_zone"]["id"], found["zone"]["id"]) == (public, private)


def test_a_certificate_that_was_requested() -> None:
    zone()
    acm = client("acm")
    acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS")
    ours = acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS", Tags=OURS)["CertificateArn"]
    another = acm.request_certificate(DomainName="a.example.com", ValidationMethod="DNS", Tags=OURS)["CertificateArn"]
    found = settled(type="application", zone="example.com", certificate_provider="request")
    assert (found["certificate"]["arn"], found["certificate"]["status"]) == (ours, "PENDING_VALIDATION")
    assert [proof["status"] for proof in found["certificate"]["records"]] == ["missing"]
    assert [stale["arn"] for stale in found["stale_certificates"]] == [another]


@pytest.mark.parametrize("provider", ["import", "iam"])
def test_a_pair_that_is_there_is_known_by_what_it_is(provider: str) -> None:
    options = {"type": "application", "certificate_provider": provider}
    options |= {"certificate": pair().certificate, "chain": pair().chain}
    found = settled(**options)["certificate"]
    assert found["arn"] == ""
    assert found["private_ca"] == pair().chain
    if provider == "import":
        tags = [*OURS, {"Key": "Name", "Value": found["name"]}]
        arn = client("acm").import_certificate(
            Certificate=pair().certificate, PrivateKey=pair().key, CertificateChain=pair().chain, Tags=tags
        )["CertificateArn"]
    else:
        arn = client("iam").upload_server_certificate(
            Path="/drydock-registry-eu-central-1/",
            ServerCertificateName=found["name"],
            CertificateBody=pair().certificate,
            PrivateKey=pair().key,
        )["ServerCertificateMetadata"]["Arn"]
    assert settled(**options)["certificate"]["arn"] == arn
    # With other line ends it is the same.
    options["certificate"] = "\r\n".join(pair().certificate.split("\n"))
    assert settled(**options)["certificate"]["arn"] == arn
    options["certificate"] = pair("*.example.com").certificate
    found = settled(**options)
    assert found["certificate"]["arn"] == ""
    assert [stale["arn"] for stale in found["stale_certificates"]] == [arn]


def test_who_removes_finds_what_is_ours_and_is_not_judged() -> None:
    zone()
    arn, group_arn = balancer(), group()
    ours = client("acm").request_certificate(DomainName=DOMAIN, ValidationMethod="DNS", Tags=OURS)["CertificateArn"]
    answer = ask(removing=True, type="application", zone="example.com", health_path="/v2/")
    assert answer.problems == []
    assert answer.found["load_balancer"]["arn"] == arn
    assert answer.found["target_group"]["arn"] == group_arn
    assert [stale["arn"] for stale in answer.found["stale_certificates"]] == [ours]
    assert ask(removing=True, deployment="a" * 30).problems == []


def test_a_proof_that_another_certificate_needs_stays() -> None:
    zone_id = zone()
    acm = client("acm")
    ours = acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS", Tags=OURS)["CertificateArn"]
    described = acm.describe_certificate(CertificateArn=ours)["Certificate"]
    proof = proofs(described)[0]
    record(zone_id, "CNAME", proof["name"], TTL=300, ResourceRecords=[{"Value": proof["value"]}])
    removed = ask(removing=True, zone="example.com").found["certificate"]["records"]
    assert [one["name"] for one in removed] == [proof["name"]]
    acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS")
    assert ask(removing=True, zone="example.com").found["certificate"]["records"] == []


# ----- what is refused --------------------------------------------------------------------------


def given(arn: str) -> dict[str, Any]:
    return {"type": "application", "certificate_provider": "given", "certificate_arn": arn}


def imported(*names: str) -> dict[str, Any]:
    one = pair(*names)
    arn = client("acm").import_certificate(Certificate=one.certificate, PrivateKey=one.key, CertificateChain=one.chain)[
        "CertificateArn"
    ]
    return given(arn)


def uploaded(*names: str) -> dict[str, Any]:
    one = pair(*names)
    made = client("iam").upload_server_certificate(
        ServerCertificateName="theirs", CertificateBody=one.certificate, PrivateKey=one.key
    )
    return given(made["ServerCertificateMetadata"]["Arn"])


def pending() -> dict[str, Any]:
    return given(client("acm").request_certificate(DomainName=DOMAIN, ValidationMethod="DNS")["CertificateArn"])


def one_zone() -> dict[str, Any]:
    return {"subnet_ids": subnets()[:1]}


def twice_in_a_zone() -> dict[str, Any]:
    ec2 = client("ec2")
    here = subnets()[:2]
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    zones = [subnet["AvailabilityZone"] for subnet in ec2.describe_subnets(SubnetIds=here[:1])["Subnets"]]
    more = ec2.create_subnet(VpcId=vpc, CidrBlock="172.31.128.0/20", AvailabilityZone=zones[0])["Subnet"]["SubnetId"]
    return {"subnet_ids": [*here, more]}


def of_another_vpc() -> dict[str, Any]:
    return {"subnet_ids": subnets()[:2], "vpc_id": "vpc-0123456789abcdef0"}


def foreign_balancer() -> dict[str, Any]:
    balancer(tags=[{"Key": "drydock-deployment", "Value": "staging"}])
    return {}


def foreign_group() -> dict[str, Any]:
    group(tags=[{"Key": "team", "Value": "build"}])
    return {}


def another_type() -> dict[str, Any]:
    balancer(Type="application")
    return {}


def another_scheme() -> dict[str, Any]:
    balancer()
    return {"internal_enabled": True}


def other_subnets() -> dict[str, Any]:
    balancer()
    return {"subnet_ids": subnets()[:3]}


def another_port() -> dict[str, Any]:
    group()
    return {"target_port": 8443}


def bucket(region: str, policy: bool) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        s3 = client("s3", region)
        s3.create_bucket(Bucket="access-logs", CreateBucketConfiguration={"LocationConstraint": region})
        if policy:
            s3.put_bucket_policy(Bucket="access-logs", Policy=json.dumps({"Version": "2012-10-17", "Statement": []}))
        return {**imported(DOMAIN), "log_bucket": "access-logs"}

    return make


def recorded(kind: str = "A", **more: Any) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        record(zone(), kind, DOMAIN, **more)
        return {"zone": "example.com"}

    return make


def zoned(**options: Any) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        zone()
        return {"zone": "example.com", **options}

    return make


def settings(**options: Any) -> Callable[[], dict[str, Any]]:
    return lambda: options


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "no ARN": (lambda: given(""), "aws_load_balancer_certificate_arn (empty) is no ARN of a certificate"),
    "an ARN of something else": (lambda: given("arn:aws:s3:::bucket"), "is no ARN of a certificate"),
    "another region": (lambda: given(CERTIFICATE.replace(REGION, "us-east-1")), f"write one of {REGION}."),
    "no such certificate": (lambda: given(CERTIFICATE), "ACM has no certificate"),
    "no such certificate in IAM": (
        lambda: given(f"arn:aws:iam::{ACCOUNT}:server-certificate/none"),
        "IAM has no server certificate",
    ),
    "not issued yet": (pending, "is not issued yet (PENDING_VALIDATION)"),
    "another domain": (lambda: imported("a.example.com"), "is for a.example.com, not for registry.example.com"),
    "a wildcard of another level": (lambda: imported("*.a.example.com"), "is for *.a.example.com, not for"),
    "another domain in IAM": (lambda: uploaded("a.example.com"), "is for a.example.com, not for"),
    "no domain": (lambda: {**imported(DOMAIN), "domain": ""}, "aws_load_balancer_domain (drydock_domain) is empty"),
    "one zone": (one_zone, "asks for two availability zones: write a subnet of another zone"),
    "two subnets in a zone": (twice_in_a_zone, "and AWS takes one of each zone"),
    "no such subnet": (
        settings(subnet_ids=["subnet-0123456789abcdef0"]),
        "There is no subnet subnet-0123456789abcdef0",
    ),
    "subnets of another VPC": (of_another_vpc, "(aws_load_balancer_vpc_id): write subnets of that VPC"),
    "somebody's load balancer": (foreign_balancer, "a load balancer drydock-registry that is not this deployment's"),
    "somebody's target group": (foreign_group, "a target group drydock-registry that is not this deployment's"),
    "another type": (another_type, "is of the type application, which AWS cannot change"),
    "another scheme": (another_scheme, "write aws_load_balancer_internal_enabled: false"),
    "other subnets": (other_subnets, "write these as aws_load_balancer_subnet_ids"),
    "another port": (another_port, "write aws_load_balancer_target_port as it was"),
    "a bucket elsewhere": (bucket("eu-west-1", policy=True), "is in eu-west-1"),
    "a bucket without a policy": (bucket(REGION, policy=False), "has no policy, so no load balancer may write"),
    "no bucket": (lambda: {**imported(DOMAIN), "log_bucket": "logs"}, "There is no bucket logs"),
    "logs of passed connections": (settings(log_bucket="logs"), "writes no access log: leave it out"),
    "a prefix with a slash": (settings(log_prefix="/x"), "aws_load_balancer_log_prefix is /x"),
    "an unknown policy": (
        lambda: {**imported(DOMAIN), "tls_policy": "ELBSecurityPolicy-None"},
        "has no security policy ELBSecurityPolicy-None",
    ),
    "a long wait": (settings(idle_timeout_seconds=4001), "write 1 to 4000 seconds, such as 900."),
    "no wait": (settings(idle_timeout_seconds=0), "write 1 to 4000 seconds"),
    "often asked": (settings(health_interval_seconds=4, health_timeout_seconds=2), "write 5 to 300 seconds"),
    "a slow answer": (settings(health_timeout_seconds=10), "which is not less than"),
    "one check": (settings(healthy_count=1), "write 2 to 10 checks"),
    "the API as health path": (settings(health_path="/v2/"), "write /healthz, which is open"),
    "the API without a slash": (settings(health_path="/v2"), "write /healthz, which is open"),
    "no path": (settings(health_path="healthz"), "which is no path: write /healthz."),
    "redirected to itself": (settings(https_port=80), "aws_load_balancer_redirect_enabled: false"),
    "an address elsewhere": (recorded(), "points to 192.0.2.1, which is not this deployment's"),
    "an IPv6 address elsewhere": (
        recorded("AAAA", TTL=60, ResourceRecords=[{"Value": "2001:db8::1"}]),
        "its AAAA record in the zone example.com points to 2001:db8::1",
    ),
    "another name": (
        recorded("CNAME", TTL=60, ResourceRecords=[{"Value": "x.example.net"}]),
        "its CNAME record in the zone example.com points to x.example.net",
    ),
    "somebody's load balancer as a name": (
        recorded(**alias("theirs-1.eu-central-1.elb.amazonaws.com.")),
        "points to theirs-1.eu-central-1.elb.amazonaws.com, which is not",
    ),
    "no such zone": (zoned(zone="exampel.com", domain="r.exampel.com"), "has no hosted zone exampel.com"),
    "a zone of others": (zoned(domain="registry.example.org"), "does not hold registry.example.org"),
    "a private zone": (zoned(zone_private=True), "is not private: write a private one"),
    "a zone without a domain": (zoned(domain=""), "write the name that clients use, or leave the zone out"),
    "nowhere to prove": (settings(type="application", certificate_provider="request"), "no hosted zone is named"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    prepare, words = REFUSED[name]
    problems = ask(**prepare()).problems
    assert [problem for problem in problems if words in problem] == problems
    assert len(problems) == 1
    assert "aws_load_balancer_" in problems[0]
    assert problems[0].endswith(".")


def test_a_target_group_of_others_is_used_as_it_is() -> None:
    arn = group(THEIRS, Name="theirs")
    given: dict[str, Any] = {"target_group_arn": arn}
    (problem,) = ask(**given).problems
    assert "is behind no load balancer" in problem
    balancer_arn = balancer(THEIRS, Name="theirs")
    client("elbv2").create_listener(
        LoadBalancerArn=balancer_arn,
        Protocol="TCP",
        Port=443,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
    )
    # One of our name that is somebody's, which is of no interest then.
    balancer(THEIRS)
    found = settled(**given, subnet_ids=subnets()[:2])
    assert (found["load_balancer"]["arn"], found["load_balancer"]["name"]) == (balancer_arn, "theirs")
    assert found["target_group"] == {"arn": arn, "name": "theirs", "tags": {}, "differences": []}
    assert found["certificate"]["arn"] == ""
    # It is never removed, but the record that leads there is.
    assert ask(removing=True, **given).found["load_balancer"] is None
    (described,) = client("elbv2").describe_load_balancers(LoadBalancerArns=[balancer_arn])["LoadBalancers"]
    record(zone(), **alias(described["DNSName"]))
    for removing in (False, True):
        answer = ask(removing=removing, zone="example.com", **given)
        assert (answer.problems, answer.found["zone"]["record"]["dns_name"]) == ([], described["DNSName"].lower())
    gone = ask(removing=True, zone="example.com", target_group_arn=f"{arn}0")
    assert (gone.problems, gone.found["zone"]["record"]) == ([], {})

    for options, words in (
        ({"target_group_arn": f"{arn}0"}, "There is no target group"),
        ({"target_type": "ip"}, "has the TargetType instance: write one with ip"),
        ({"target_port": 8443}, "has the Port 443: write one with 8443, where nginx listens"),
        ({"internal_enabled": True}, "is internet-facing: write aws_load_balancer_internal_enabled: false"),
        ({"subnet_ids": subnets()[1:3]}, "write these as aws_network_load_balancer_subnet_ids"),
    ):
        (problem,) = ask(**{**given, **options}).problems
        assert words in problem
    problems = ask(**given, type="application").problems
    assert [words in problem for words, problem in zip(("Protocol TCP", "of the type network"), problems, strict=True)]
    client("elbv2").modify_target_group(TargetGroupArn=arn, HealthCheckProtocol="HTTPS", HealthCheckPath="/v2/")
    (problem,) = ask(**given).problems
    assert "let it ask /healthz" in problem


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/livez", ""),
        ("/healthz", "asks /healthz, by which ECS would replace all tasks while S3 is away: let it ask /livez."),
        ("/v2/", "asks /v2/ whether hosts are well, which answers 401 to it: let it ask /livez."),
    ],
)
def test_a_target_group_of_others_asks_tasks_whether_they_live(path: str, words: str) -> None:
    arn = group(THEIRS, Name="theirs", TargetType="ip", HealthCheckProtocol="HTTPS", HealthCheckPath=path)
    balancer_arn = balancer(THEIRS, Name="theirs")
    forward = [{"Type": "forward", "TargetGroupArn": arn}]
    client("elbv2").create_listener(LoadBalancerArn=balancer_arn, Protocol="TCP", Port=443, DefaultActions=forward)
    problems = ask(target_group_arn=arn, target_type="ip").problems
    assert [words in problem for problem in problems] == ([True] if words else [])


ACCOUNT_ID = "123456789012"


@pytest.mark.parametrize(
    ("resource", "prefix", "takes"),
    [
        (f"access-logs/AWSLogs/{ACCOUNT_ID}/*", "", True),
        (f"access-logs/central/AWSLogs/{ACCOUNT_ID}/*", "central", True),
        ("access-logs/*", "central", True),
        ("access-logs/*/AWSLogs/*", "", False),
        # Another account's load balancers, and another place.
        ("access-logs/AWSLogs/444455556666/*", "", False),
        (f"access-logs/AWSLogs/{ACCOUNT_ID}/*", "central", False),
    ],
)
def test_a_bucket_that_takes_the_logs_of_this_account(resource: str, prefix: str, takes: bool) -> None:
    options = {**bucket(REGION, policy=False)(), "log_prefix": prefix}
    writer = {
        "Effect": "Allow",
        "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{resource}",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": writer})
    client("s3").put_bucket_policy(Bucket="access-logs", Policy=policy)
    problems = ask(**options).problems
    assert bool(problems) is not takes
    assert all(f"does not let load balancers of the account {ACCOUNT_ID} write below" in each for each in problems)


def test_what_is_not_refused() -> None:
    assert ask(**imported("*.example.com")).problems == []
    assert ask(**uploaded("*.example.com")).problems == []
    assert ask(subnet_ids=subnets()[:2]).problems == []


@pytest.mark.parametrize(
    ("operation", "code", "refused"),
    [
        ("get_bucket_policy", "AccessDenied", False),
        ("get_bucket_policy", "MethodNotAllowed", False),
        ("head_bucket", "403", False),
        ("get_bucket_policy", "SlowDown", True),
    ],
)
def test_a_bucket_for_logs_that_tells_nobody_about_itself_is_left_to_aws(
    operation: str, code: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = bucket(REGION, policy=True)()

    def answer(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

    monkeypatch.setattr(client("s3"), operation, answer)
    assert bool(ask(**options).problems) is refused


@pytest.mark.parametrize(
    ("deployment", "words"),
    [("a" * 24, "at most 23 characters as aws_load_balancer_name"), ("internal-x", "AWS keeps for itself")],
)
def test_names_that_are_refused(deployment: str, words: str) -> None:
    (problem,) = ask(deployment=deployment).problems
    assert words in problem


@pytest.mark.parametrize("status", ["FAILED", "EXPIRED", "REVOKED", "VALIDATION_TIMED_OUT", "INACTIVE", "NEW_TO_US"])
def test_certificates_in_other_states(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    described = {"Status": status, "DomainName": DOMAIN, "CertificateArn": CERTIFICATE}
    monkeypatch.setattr(_aws_certificates, "describe", lambda *_: described)
    (problem,) = ask(**given(CERTIFICATE)).problems
    assert CERTIFICATE in problem
    assert problem.endswith("or write another one.")


# ----- certificates -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "domain", "good"),
    [
        ([DOMAIN], DOMAIN, True),
        (["REGISTRY.example.com"], "Registry.example.com", True),
        (["*.example.com"], DOMAIN, True),
        (["*.example.com"], "example.com", False),
        (["*.example.com"], "a.b.example.com", False),
        (["*.com"], "example.com", True),
        ([], DOMAIN, False),
    ],
)
def test_names_that_cover(names: list[str], domain: str, good: bool) -> None:
    assert covers(names, domain) is good


def test_arns() -> None:
    acm = parse_arn(CERTIFICATE)
    assert acm
    assert (acm.service, acm.region, acm.account_id) == ("acm", REGION, ACCOUNT)
    iam = parse_arn(f"arn:aws-cn:iam::{ACCOUNT}:server-certificate/a/path/name")
    assert iam
    assert (iam.service, iam.resource) == ("iam", "server-certificate/a/path/name")
    for arn in ("", "x", f"arn:aws:acm::{ACCOUNT}:certificate/x", f"arn:aws:iam::{ACCOUNT}:role/x"):
        assert parse_arn(arn) is None


def judged(**changed: str) -> list[str]:
    texts = {"certificate": pair().certificate, "chain": pair().chain, "key": pair().key, "domain": DOMAIN, **changed}
    return pair_problems(now=NOW, **texts)


PAIRS = {
    "no certificate": ({"certificate": ""}, "aws_load_balancer_certificate is empty"),
    "no key": ({"key": " "}, "aws_load_balancer_certificate_key is empty"),
    "a path": ({"certificate": "tls.crt"}, "is no PEM text of a certificate"),
    "a key in place of a key": ({"key": "tls.key"}, "is no PEM text of a private key"),
    "an encrypted key": ({"key": "-----BEGIN ENCRYPTED PRIVATE KEY-----"}, "is encrypted"),
    "another key": ({"key": Pair("x.example.com").key}, "does not belong to aws_load_balancer_certificate"),
    "another domain": ({"domain": "a.example.com"}, "not for a.example.com (aws_load_balancer_domain)"),
    "no chain": ({"chain": ""}, "aws_load_balancer_certificate_chain is empty, but the certificate was issued by"),
    "another chain": ({"chain": Pair("x.example.com").chain}, "is out of order"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_are_refused(name: str) -> None:
    changed, words = PAIRS[name]
    (problem,) = judged(**changed)
    assert words in problem
    assert pair().key not in problem


def test_pairs_that_are_good() -> None:
    assert judged() == []
    assert judged(domain="REGISTRY.example.com") == []


def test_a_key_among_certificates() -> None:
    (problem,) = judged(certificate=pair().certificate + pair().key)
    assert "holds a private key" in problem


def test_the_chain_beside_the_certificate() -> None:
    (problem,) = judged(certificate=pair().certificate + pair().chain, chain="")
    assert "holds several certificates" in problem


@pytest.mark.parametrize(("days", "words"), [(-1, "is not valid before"), (1, "expired on")])
def test_dates(days: int, words: str) -> None:
    texts = {"certificate": pair().certificate, "chain": pair().chain, "key": pair().key, "domain": DOMAIN}
    start = x509.load_pem_x509_certificate(pair().certificate.encode()).not_valid_before_utc
    moment = (
        start + datetime.timedelta(days=days)
        if days < 0
        else datetime.datetime(4000, 1, 1, tzinfo=datetime.timezone.utc)
    )
    problems = pair_problems(now=moment, **texts)
    assert problems
    assert all(words in problem for problem in problems)


def test_fingerprints_and_private_cas() -> None:
    mark = fingerprint(pair().certificate, pair().chain)
    assert len(mark) == hashes.SHA256.digest_size * 2
    assert mark == fingerprint("\n" + pair().certificate, pair().chain)
    assert mark != fingerprint(pair().certificate, "")
    assert fingerprint("", "") == ""
    assert private_ca(pair().certificate, pair().chain) == pair().chain
    assert private_ca(pair().certificate, "") == ""


# ----- waiting for ACM --------------------------------------------------------------------------


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        return self.now


def waited(seconds: float, *statuses: str) -> tuple[str, float]:
    clock, left = Clock(), list(statuses)
    found = wait_for(
        lambda: {"Status": left.pop(0) if len(left) > 1 else left[0]},
        lambda seen: seen["Status"] == "ISSUED",
        seconds,
        clock.sleep,
        clock.read,
    )
    return str(found["Status"]), clock.now


def test_waiting() -> None:
    assert waited(60, "ISSUED") == ("ISSUED", 0)
    assert waited(60, "PENDING_VALIDATION", "PENDING_VALIDATION", "ISSUED") == ("ISSUED", 10)
    assert waited(60, "PENDING_VALIDATION", "FAILED") == ("FAILED", 5)
    assert waited(12, "PENDING_VALIDATION") == ("PENDING_VALIDATION", 15)


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"Status": "PENDING_VALIDATION"}, "in 60 s"),
        ({"Status": "FAILED", "FailureReason": "CAA_ERROR"}, "add one for amazon.com"),
        ({"Status": "VALIDATION_TIMED_OUT"}, "run the playbook again"),
    ],
)
def test_certificates_that_do_not_come(described: dict[str, str], words: str) -> None:
    with pytest.raises(AwsProblem, match=words):
        refuse_unissued({**described, "DomainName": DOMAIN}, 60)
    refuse_unissued({"Status": "ISSUED"}, 60)


class Acm:
    """Answers as ACM does: one ARN for each token, and what it says of each certificate."""

    def __init__(self, *certificates: dict[str, Any] | None) -> None:
        self.certificates = list(certificates)
        self.tokens: list[str] = []

    def request_certificate(self, **parameters: Any) -> dict[str, str]:
        self.tokens.append(parameters.get("IdempotencyToken", ""))
        return {"CertificateArn": str(len(self.tokens) - 1)}

    def describe_certificate(self, CertificateArn: str) -> dict[str, Any]:  # noqa: N803
        found = self.certificates[int(CertificateArn)]
        if found is None:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeCertificate")
        return {"Certificate": found}


PROOF = {"ResourceRecord": {"Name": "_a.example.com.", "Type": "CNAME", "Value": "_b.acm-validations.aws."}}
PENDING = {"Status": "PENDING_VALIDATION", "DomainValidationOptions": [PROOF]}


def requested(*certificates: dict[str, Any] | None, tags: dict[str, str] | None = None) -> tuple[str, list[str]]:
    acm, clock = Acm(*certificates), Clock()
    account = Account(lambda _service: acm, REGION, "drydock")
    arn, _ = request(account, DOMAIN, tags or {}, clock.sleep, clock.read)
    return arn, acm.tokens


def test_two_runs_request_one_certificate() -> None:
    arn, (token,) = requested(PENDING)
    assert arn == "0"
    assert re.fullmatch(r"\w{32}", token)
    assert requested(PENDING)[1] == [token]
    assert requested(PENDING, tags={"drydock-deployment": "staging"})[1] != [token]


@pytest.mark.parametrize("before", [None, {**PENDING, "Status": "FAILED"}])
def test_one_that_is_gone_or_has_failed_is_requested_anew(before: dict[str, Any] | None) -> None:
    arn, tokens = requested(before, PENDING)
    assert (arn, tokens[1]) == ("1", "")


def test_one_without_records_is_not_taken_for_requested() -> None:
    with pytest.raises(AwsProblem, match="ACM has not said in 60 s which records prove whose domain"):
        requested({"Status": "PENDING_VALIDATION"})


def test_proofs_are_made_up_a_moment_later() -> None:
    assert proofs({}) == []
    assert proofs({"DomainValidationOptions": [{"DomainName": DOMAIN}]}) == []
    option = {"ResourceRecord": {"Name": "_a.Example.com.", "Type": "CNAME", "Value": "_b.acm-validations.aws."}}
    assert proofs({"DomainValidationOptions": [option, option]}) == [
        {"name": "_a.example.com", "value": "_b.acm-validations.aws."}
    ]
