# SPDX-License-Identifier: GPL-3.0-or-later
"""The load balancer that the role aws_load_balancer makes, changes and removes, as the AWS API tells it.

One account serves all tests, which run in the order of this file. Its deployments are one for each kind of load balancer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import trustme
from aws_account import ACCOUNT_ID, REGION, Account, Steps, aws_account, changed_tasks, changes

ROLE = "aws_load_balancer"
DOMAIN = "registry.example.com"
POLICY = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"
LOGS = "logs-of-balancers"


class Pair:
    """A certificate of a private CA, as somebody has it in files."""

    def __init__(self, *names: str) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(*names)
        self.chain = authority.cert_pem.bytes().decode()
        self.certificate = issued.cert_chain_pems[0].bytes().decode()
        self.key = issued.private_key_pem.bytes().decode()

    def settings(self, provider: str) -> dict[str, Any]:
        return {
            "aws_load_balancer_certificate_provider": provider,
            "aws_load_balancer_certificate": self.certificate,
            "aws_load_balancer_certificate_chain": self.chain,
            "aws_load_balancer_certificate_key": self.key,
        }


class Balancers:
    """What the tests ask AWS, and what they prepare there."""

    def __init__(self, account: Account) -> None:
        self.elb, self.acm, self.iam = account.client("elbv2"), account.client("acm"), account.client("iam")
        self.ec2, self.route53, self.s3 = account.client("ec2"), account.client("route53"), account.client("s3")
        vpcs = self.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        self.vpc = str(vpcs[0]["VpcId"])
        found = self.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["Subnets"]
        found.sort(key=lambda subnet: subnet["AvailabilityZone"])
        self.subnets = [str(subnet["SubnetId"]) for subnet in found]
        self.zone = self.make_zone("example.com")
        self.group = self.make_group("balancer")

    def make_zone(self, name: str, *, private: bool = False) -> str:
        place: dict[str, Any] = {"VPC": {"VPCRegion": REGION, "VPCId": self.vpc}} if private else {}
        made = self.route53.create_hosted_zone(
            Name=name, CallerReference=f"{name}-{private}", HostedZoneConfig={"PrivateZone": private}, **place
        )
        return str(made["HostedZone"]["Id"]).rsplit("/", 1)[-1]

    def make_group(self, name: str) -> str:
        return str(self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"])

    def make_bucket(self, name: str, *, with_policy: bool = True) -> None:
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        writer = {
            "Effect": "Allow",
            "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": [f"arn:aws:s3:::{name}/{prefix}AWSLogs/{ACCOUNT_ID}/*" for prefix in ("", "registry/")],
        }
        if with_policy:
            self.s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [writer]}))

    @property
    def place(self) -> dict[str, Any]:
        return {
            "aws_load_balancer_vpc_id": self.vpc,
            "aws_load_balancer_subnet_ids": self.subnets[:2],
            "aws_load_balancer_security_group_ids": [self.group],
        }

    # What is there.

    def names(self) -> list[str]:
        found = self.elb.describe_load_balancers()["LoadBalancers"]
        found += self.elb.describe_target_groups()["TargetGroups"]
        return sorted(str(one.get("LoadBalancerName") or one["TargetGroupName"]) for one in found)

    def balancer(self, name: str) -> dict[str, Any]:
        (found,) = self.elb.describe_load_balancers(Names=[f"{name}-registry"])["LoadBalancers"]
        return dict(found)

    def attributes(self, arn: str) -> dict[str, str]:
        found = self.elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
        return {one["Key"]: one["Value"] for one in found}

    def listeners(self, arn: str) -> dict[int, dict[str, Any]]:
        found = self.elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]
        return {one["Port"]: one for one in found}

    def target_group(self, name: str) -> dict[str, Any]:
        (found,) = self.elb.describe_target_groups(Names=[f"{name}-registry"])["TargetGroups"]
        return dict(found)

    def group_attributes(self, name: str) -> dict[str, str]:
        arn = self.target_group(name)["TargetGroupArn"]
        found = self.elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
        return {one["Key"]: one["Value"] for one in found}

    def tags(self, arn: str) -> dict[str, str]:
        (found,) = self.elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
        return {tag["Key"]: tag["Value"] for tag in found["Tags"]}

    def certificates(self) -> list[str]:
        every = ["RSA_2048", "RSA_4096", "EC_prime256v1"]
        found = self.acm.list_certificates(Includes={"keyTypes": every})["CertificateSummaryList"]
        return sorted(str(one["CertificateArn"]) for one in found)

    def uploaded(self) -> list[str]:
        found = self.iam.list_server_certificates()["ServerCertificateMetadataList"]
        return sorted(str(one["Arn"]) for one in found)

    def records(self, *types: str, zone: str = "") -> dict[str, dict[str, Any]]:
        found = self.route53.list_resource_record_sets(HostedZoneId=zone or self.zone)["ResourceRecordSets"]
        return {one["Name"].rstrip("."): one for one in found if one["Type"] in types}

    def write(self, action: str, record: dict[str, Any]) -> None:
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        self.route53.change_resource_record_sets(HostedZoneId=self.zone, ChangeBatch=batch)


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with aws_account() as made:
        yield made


@pytest.fixture(scope="module")
def balancers(account: Account) -> Balancers:
    return Balancers(account)


def application(balancers: Balancers, **more: Any) -> dict[str, Any]:
    return {
        "aws_load_balancer_name": "web",
        "aws_load_balancer_tags": {"team": "build"},
        "aws_load_balancer_domain": DOMAIN,
        "aws_load_balancer_zone": "example.com",
        "aws_load_balancer_certificate_provider": "request",
        "aws_load_balancer_certificate_timeout_seconds": 60,
        **balancers.place,
        **more,
    }


class TestApplication:
    """One that ends TLS, from an empty account to a second run, with a certificate that ACM issues."""

    result: ClassVar[dict[str, Any]] = {}

    def test_a_dry_run_on_an_empty_account_says_what_it_would_do(self, account: Account, balancers: Balancers) -> None:
        nowhere = {"aws_load_balancer_vpc_id": "", "aws_load_balancer_subnet_ids": []}
        steps = Steps(ROLE).run(application(balancers)).run({**application(balancers), **nowhere})
        done = steps.play(account, "--check")
        assert changes(done)
        assert "The target group web-registry would be made." in done.stdout
        assert "The load balancer web-registry would be made." in done.stdout
        assert balancers.names() == []
        assert balancers.certificates() == []
        assert steps.result(0)["arn"] == steps.result(1)["arn"] == ""

    def test_a_run(self, account: Account, balancers: Balancers) -> None:
        steps = Steps(ROLE).run(application(balancers), "preflight").run(application(balancers))
        assert changes(steps.play(account))
        self.result.update(steps.result(1))
        balancer, group = balancers.balancer("web"), balancers.target_group("web")
        (certificate,) = balancers.certificates()
        assert self.result == {
            "arn": balancer["LoadBalancerArn"],
            "arn_suffix": balancer["LoadBalancerArn"].partition(":loadbalancer/")[2],
            "name": "web-registry",
            "dns_name": balancer["DNSName"],
            "canonical_zone_id": balancer["CanonicalHostedZoneId"],
            "type": "application",
            "target_group_arn": group["TargetGroupArn"],
            "target_group_arn_suffix": group["TargetGroupArn"].rpartition(":")[2],
            "certificate_arn": certificate,
            "domain": DOMAIN,
            "idle_timeout_seconds": 900,
            "client_ca_certificate": "",
        }
        assert self.result["arn_suffix"].startswith("app/web-registry/")
        assert self.result["target_group_arn_suffix"].startswith("targetgroup/web-registry/")

    def test_the_load_balancer(self, balancers: Balancers) -> None:
        balancer = balancers.balancer("web")
        assert (balancer["Type"], balancer["Scheme"]) == ("application", "internet-facing")
        assert balancer["SecurityGroups"] == [balancers.group]
        assert {zone["SubnetId"] for zone in balancer["AvailabilityZones"]} == set(balancers.subnets[:2])
        attributes = balancers.attributes(self.result["arn"])
        expected = {
            "idle_timeout.timeout_seconds": "900",
            "routing.http2.enabled": "false",
            "routing.http.drop_invalid_header_fields.enabled": "true",
            "routing.http.desync_mitigation_mode": "defensive",
            "deletion_protection.enabled": "true",
            "access_logs.s3.enabled": "false",
        }
        assert {key: attributes[key] for key in expected} == expected
        for arn in (self.result["arn"], self.result["target_group_arn"]):
            assert balancers.tags(arn) == {"Name": "web-registry", "team": "build", "drydock-deployment": "web"}

    def test_the_listeners(self, balancers: Balancers) -> None:
        listeners = balancers.listeners(self.result["arn"])
        assert sorted(listeners) == [80, 443]
        https, http = listeners[443], listeners[80]
        assert (https["Protocol"], https["SslPolicy"]) == ("HTTPS", POLICY)
        assert [one["CertificateArn"] for one in https["Certificates"]] == [self.result["certificate_arn"]]
        assert [one["TargetGroupArn"] for one in https["DefaultActions"]] == [self.result["target_group_arn"]]
        assert http["Protocol"] == "HTTP"
        (action,) = http["DefaultActions"]
        assert action["Type"] == "redirect"
        redirect = action["RedirectConfig"]
        assert (redirect["Protocol"], redirect["Port"], redirect["StatusCode"]) == ("HTTPS", "443", "HTTP_301")

    def test_how_hosts_are_asked_and_drained(self, balancers: Balancers) -> None:
        group = balancers.target_group("web")
        assert (group["Protocol"], group["Port"], group["TargetType"]) == ("HTTPS", 443, "instance")
        assert (group["HealthCheckProtocol"], group["HealthCheckPath"]) == ("HTTPS", "/healthz")
        assert group["Matcher"] == {"HttpCode": "200"}
        assert (group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"]) == (10, 5)
        assert (group["HealthyThresholdCount"], group["UnhealthyThresholdCount"]) == (2, 3)
        attributes = balancers.group_attributes("web")
        assert attributes["deregistration_delay.timeout_seconds"] == "300"
        assert attributes["load_balancing.algorithm.type"] == "least_outstanding_requests"

    def test_the_names(self, balancers: Balancers) -> None:
        alias = balancers.records("A")[DOMAIN]["AliasTarget"]
        assert alias["DNSName"].rstrip(".") == self.result["dns_name"]
        assert alias["HostedZoneId"] == self.result["canonical_zone_id"]
        assert alias["EvaluateTargetHealth"] is True
        certificate = balancers.acm.describe_certificate(CertificateArn=self.result["certificate_arn"])["Certificate"]
        assert (certificate["DomainName"], certificate["Status"]) == (DOMAIN, "ISSUED")
        (proof,) = certificate["DomainValidationOptions"]
        record = balancers.records("CNAME")[proof["ResourceRecord"]["Name"].rstrip(".")]
        assert record["ResourceRecords"] == [{"Value": proof["ResourceRecord"]["Value"]}]

    def test_a_second_run_changes_nothing(self, account: Account, balancers: Balancers) -> None:
        # Another deployment takes what this one made, as if it were somebody's.
        guest = {
            **application(balancers, aws_load_balancer_name="guest", aws_load_balancer_zone=""),
            "aws_load_balancer_target_group_arn": self.result["target_group_arn"],
        }
        steps = Steps(ROLE).run(application(balancers), "preflight").run(application(balancers)).run(guest)
        done = steps.play(account)
        assert changes(done) == 0, changed_tasks(done)
        assert steps.result(1) == self.result
        assert steps.result(2) == {**self.result, "certificate_arn": ""}
        assert changes(Steps(ROLE).run(application(balancers)).play(account, "--check")) == 0

    def test_drift_is_put_right(self, account: Account, balancers: Balancers) -> None:
        elb, arn, group = balancers.elb, self.result["arn"], self.result["target_group_arn"]
        attributes = {
            "idle_timeout.timeout_seconds": "60",
            "deletion_protection.enabled": "false",
            "routing.http.desync_mitigation_mode": "monitor",
            "routing.http.drop_invalid_header_fields.enabled": "false",
        }
        elb.modify_load_balancer_attributes(
            LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value} for key, value in attributes.items()]
        )
        listeners = balancers.listeners(arn)
        elb.modify_listener(
            ListenerArn=listeners[443]["ListenerArn"],
            SslPolicy="ELBSecurityPolicy-2016-08",
            DefaultActions=listeners[443]["DefaultActions"],
        )
        elb.delete_listener(ListenerArn=listeners[80]["ListenerArn"])
        forward = [{"Type": "forward", "TargetGroupArn": group}]
        elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=8080, DefaultActions=forward)
        elb.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[balancers.make_group("somebodys")])
        elb.modify_target_group(TargetGroupArn=group, HealthCheckPath="/", Matcher={"HttpCode": "200-499"})
        drain = [{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
        elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=drain)
        elb.remove_tags(ResourceArns=[arn], TagKeys=["team"])
        elb.add_tags(ResourceArns=[arn], Tags=[{"Key": "theirs", "Value": "kept"}])
        proof = next(iter(balancers.records("CNAME").values()))
        balancers.write("UPSERT", {**proof, "ResourceRecords": [{"Value": "elsewhere.example.net."}]})
        alias = balancers.records("A")[DOMAIN]
        balancers.write("UPSERT", {**alias, "AliasTarget": {**alias["AliasTarget"], "EvaluateTargetHealth": False}})

        dry = Steps(ROLE).run(application(balancers)).play(account, "--check")
        assert changes(dry)
        assert balancers.attributes(arn)["idle_timeout.timeout_seconds"] == "60"
        assert balancers.target_group("web")["HealthCheckPath"] == "/"
        steps = Steps(ROLE).run(application(balancers))
        steps.play(account)
        assert steps.changed[0]
        assert steps.result(0) == self.result

        self.test_the_listeners(balancers)
        self.test_how_hosts_are_asked_and_drained(balancers)
        self.test_the_names(balancers)
        assert balancers.tags(arn) == {
            "Name": "web-registry",
            "team": "build",
            "theirs": "kept",
            "drydock-deployment": "web",
        }
        elb.remove_tags(ResourceArns=[arn], TagKeys=["theirs"])
        self.test_the_load_balancer(balancers)


class TestSettings:
    """What a user changes."""

    def test_other_settings_and_back(self, account: Account, balancers: Balancers) -> None:
        balancers.make_bucket(LOGS)
        other = application(
            balancers,
            aws_load_balancer_subnet_ids=balancers.subnets[:3],
            aws_load_balancer_https_port=8443,
            aws_load_balancer_idle_timeout_seconds=4000,
            aws_load_balancer_http2_enabled=True,
            aws_load_balancer_redirect_enabled=False,
            aws_load_balancer_tls_policy="ELBSecurityPolicy-TLS13-1-3-2021-06",
            aws_load_balancer_deletion_protection_enabled=False,
            aws_load_balancer_log_bucket=LOGS,
            aws_load_balancer_log_prefix="registry",
            aws_load_balancer_health_path="/",
            aws_load_balancer_health_interval_seconds=30,
            aws_load_balancer_health_timeout_seconds=20,
            aws_load_balancer_healthy_count=5,
            aws_load_balancer_unhealthy_count=4,
            aws_load_balancer_drain_seconds=60,
        )
        steps = Steps(ROLE).run(other).run(other)
        steps.play(account)
        assert steps.changed[0]
        assert steps.changed[1] == []
        arn = steps.result(0)["arn"]
        assert steps.result(0)["idle_timeout_seconds"] == 4000
        attributes = balancers.attributes(arn)
        expected = {
            "idle_timeout.timeout_seconds": "4000",
            "routing.http2.enabled": "true",
            "deletion_protection.enabled": "false",
            "access_logs.s3.enabled": "true",
            "access_logs.s3.bucket": LOGS,
            "access_logs.s3.prefix": "registry",
        }
        assert {key: attributes[key] for key in expected} == expected
        listeners = balancers.listeners(arn)
        assert list(listeners) == [8443]
        assert listeners[8443]["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-3-2021-06"
        assert len(balancers.balancer("web")["AvailabilityZones"]) == 3
        group = balancers.target_group("web")
        assert group["HealthCheckPath"] == "/"
        assert (group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"]) == (30, 20)
        assert (group["HealthyThresholdCount"], group["UnhealthyThresholdCount"]) == (5, 4)
        assert balancers.group_attributes("web")["deregistration_delay.timeout_seconds"] == "60"

        steps = Steps(ROLE).run(application(balancers)).run(application(balancers))
        steps.play(account)
        assert steps.changed[0]
        assert steps.changed[1] == []
        assert balancers.attributes(arn)["access_logs.s3.enabled"] == "false"

    def test_a_private_zone_has_the_name_and_a_public_one_the_proof(
        self, account: Account, balancers: Balancers
    ) -> None:
        private = balancers.make_zone("example.com", private=True)
        inner = application(
            balancers,
            aws_load_balancer_name="inner",
            aws_load_balancer_domain="inner.example.com",
            aws_load_balancer_internal_enabled=True,
            aws_load_balancer_zone_private=True,
            aws_load_balancer_certificate_zone="example.com",
            aws_load_balancer_record_enabled=False,
        )
        changes(Steps(ROLE).run(inner).play(account))
        assert "inner.example.com" not in balancers.records("A", zone=private)
        assert [name for name in balancers.records("CNAME") if name.endswith(".inner.example.com")]
        inner["aws_load_balancer_record_enabled"] = True
        steps = Steps(ROLE).run(inner).run(inner)
        steps.play(account)
        assert steps.changed == [["Ensure the DNS record points to the load balancer"], []]
        alias = balancers.records("A", zone=private)["inner.example.com"]["AliasTarget"]
        assert alias["DNSName"].rstrip(".") == steps.result(0)["dns_name"]
        assert "inner.example.com" not in balancers.records("A")
        changes(Steps(ROLE).run(inner, "remove").play(account))
        assert "inner.example.com" not in balancers.records("A", zone=private)
        assert not [name for name in balancers.records("CNAME") if name.endswith(".inner.example.com")]

    def test_certificates_of_each_provider_take_each_others_place(self, account: Account, balancers: Balancers) -> None:
        pairs = [Pair(DOMAIN), Pair("*.example.com")]
        theirs = balancers.acm.request_certificate(DomainName="other.example.com", ValidationMethod="DNS")
        expected = []
        for provider, pair, again in (
            ("import", pairs[0], False),
            ("import", pairs[1], True),
            ("iam", pairs[1], False),
            ("iam", pairs[0], True),
        ):
            settings = application(balancers, **pair.settings(provider))
            steps = Steps(ROLE).run(settings)
            if again:
                steps.run(settings)
            done = steps.play(account)
            assert steps.changed[0]
            assert steps.changed[1:] == [[]] * again
            assert pair.key not in done.stdout
            result = steps.result(0)
            assert not again or steps.result(1) == result
            assert result["client_ca_certificate"].strip() == pair.chain.strip()
            listener = balancers.listeners(result["arn"])[443]
            assert [one["CertificateArn"] for one in listener["Certificates"]] == [result["certificate_arn"]]
            # What was used before is gone, and what is not ours stays.
            ours = [arn for arn in balancers.certificates() if arn != theirs["CertificateArn"]]
            assert ours + balancers.uploaded() == [result["certificate_arn"]]
            expected.append(result["certificate_arn"])
        assert len(set(expected)) == 4
        assert expected[2].split(":server-certificate/")[1].startswith(f"web-registry-{REGION}/web-registry-{REGION}-")

        given = balancers.acm.import_certificate(
            Certificate=pairs[1].certificate, PrivateKey=pairs[1].key, CertificateChain=pairs[1].chain
        )["CertificateArn"]
        settings = application(
            balancers, aws_load_balancer_certificate_provider="given", aws_load_balancer_certificate_arn=given
        )
        steps = Steps(ROLE).run(settings)
        assert changes(steps.play(account))
        assert steps.result(0)["certificate_arn"] == given
        assert balancers.uploaded() == []
        assert balancers.certificates() == sorted([given, theirs["CertificateArn"]])

    def test_an_interrupted_request_goes_on(self, account: Account, balancers: Balancers) -> None:
        tags = [{"Key": "drydock-deployment", "Value": "web"}]
        before = balancers.acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS", Tags=tags)
        steps = Steps(ROLE).run(application(balancers))
        assert changes(steps.play(account))
        assert steps.result(0)["certificate_arn"] == before["CertificateArn"]


class TestNetwork:
    """One that passes TLS through."""

    result: ClassVar[dict[str, Any]] = {}

    def settings(self, balancers: Balancers) -> dict[str, Any]:
        return {
            "aws_load_balancer_name": "mtls",
            "aws_load_balancer_type": "network",
            "aws_load_balancer_internal_enabled": True,
            "aws_load_balancer_domain": "mtls.example.com",
            "aws_load_balancer_zone": "example.com",
            "aws_load_balancer_target_type": "ip",
            "aws_load_balancer_target_port": 8443,
            "aws_load_balancer_vpc_id": balancers.vpc,
            "aws_load_balancer_subnet_ids": balancers.subnets[:2],
        }

    def test_from_a_dry_run_to_a_second_run(self, account: Account, balancers: Balancers) -> None:
        settings = self.settings(balancers)
        dry = Steps(ROLE).run(settings).play(account, "--check")
        assert changes(dry)
        assert "The load balancer mtls-registry would be made." in dry.stdout
        assert "mtls-registry" not in balancers.names()

        steps = Steps(ROLE).run(settings).run(settings)
        steps.play(account)
        assert steps.changed[0]
        assert steps.changed[1] == []
        result = steps.result(0)
        self.result.update(result)
        assert steps.result(1) == result
        assert (result["type"], result["certificate_arn"], result["client_ca_certificate"]) == ("network", "", "")

    def test_what_was_made(self, balancers: Balancers) -> None:
        balancer = balancers.balancer("mtls")
        assert (balancer["Type"], balancer["Scheme"]) == ("network", "internal")
        attributes = balancers.attributes(self.result["arn"])
        assert attributes["load_balancing.cross_zone.enabled"] == "true"
        assert attributes["deletion_protection.enabled"] == "true"
        listeners = balancers.listeners(self.result["arn"])
        assert list(listeners) == [443]
        assert listeners[443]["Protocol"] == "TCP"
        assert not listeners[443].get("Certificates")
        assert [one["TargetGroupArn"] for one in listeners[443]["DefaultActions"]] == [self.result["target_group_arn"]]
        group = balancers.target_group("mtls")
        assert (group["Protocol"], group["Port"], group["TargetType"]) == ("TCP", 8443, "ip")
        assert (group["HealthCheckProtocol"], group["HealthCheckPath"]) == ("HTTPS", "/livez")
        assert group["Matcher"] == {"HttpCode": "200"}
        assert (group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"]) == (10, 5)
        assert (group["HealthyThresholdCount"], group["UnhealthyThresholdCount"]) == (2, 3)
        attributes = balancers.group_attributes("mtls")
        assert attributes["preserve_client_ip.enabled"] == "true"
        assert attributes["deregistration_delay.timeout_seconds"] == "300"
        assert {zone["SubnetId"] for zone in balancer["AvailabilityZones"]} == set(balancers.subnets[:2])
        alias = balancers.records("A")["mtls.example.com"]["AliasTarget"]
        assert alias["DNSName"].rstrip(".") == self.result["dns_name"]
        assert alias["EvaluateTargetHealth"] is True

    def test_other_settings(self, account: Account, balancers: Balancers) -> None:
        other = {
            **self.settings(balancers),
            "aws_load_balancer_https_port": 8443,
            "aws_load_balancer_deletion_protection_enabled": False,
            "aws_load_balancer_health_path": "/",
            "aws_load_balancer_health_interval_seconds": 30,
            "aws_load_balancer_health_timeout_seconds": 20,
            "aws_load_balancer_healthy_count": 5,
            "aws_load_balancer_unhealthy_count": 4,
            "aws_load_balancer_drain_seconds": 60,
        }
        dry = Steps(ROLE).run(other).refused({**other, "aws_load_balancer_subnet_ids": balancers.subnets[:3]})
        dry.play(account, "--check")
        assert dry.changed == [["Report what a dry run would change"], []]
        assert "no module changes that on one of the type network" in dry.refusal(1)
        self.test_what_was_made(balancers)

        steps = Steps(ROLE).run(other).run(other)
        steps.play(account)
        assert steps.changed[0]
        assert steps.changed[1] == []
        assert list(balancers.listeners(self.result["arn"])) == [8443]
        assert balancers.attributes(self.result["arn"])["deletion_protection.enabled"] == "false"
        group = balancers.target_group("mtls")
        assert group["HealthCheckPath"] == "/"
        assert (group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"]) == (30, 20)
        assert (group["HealthyThresholdCount"], group["UnhealthyThresholdCount"]) == (5, 4)
        assert balancers.group_attributes("mtls")["deregistration_delay.timeout_seconds"] == "60"

    def test_these_settings_and_drift_are_put_right(self, account: Account, balancers: Balancers) -> None:
        elb, arn = balancers.elb, self.result["arn"]
        elb.modify_load_balancer_attributes(
            LoadBalancerArn=arn,
            Attributes=[
                {"Key": "load_balancing.cross_zone.enabled", "Value": "false"},
                {"Key": "deletion_protection.enabled", "Value": "false"},
            ],
        )
        elb.modify_target_group_attributes(
            TargetGroupArn=self.result["target_group_arn"],
            Attributes=[{"Key": "preserve_client_ip.enabled", "Value": "false"}],
        )
        elb.delete_listener(ListenerArn=balancers.listeners(arn)[8443]["ListenerArn"])
        assert changes(Steps(ROLE).run(self.settings(balancers)).play(account))
        self.test_what_was_made(balancers)


class TestRefusal:
    """What is refused, with one sentence each, before anything changes."""

    def test_settings_and_what_they_meet(self, account: Account, balancers: Balancers) -> None:
        web = application(balancers)
        fresh = {**web, "aws_load_balancer_name": "fresh", "aws_load_balancer_domain": "fresh.example.com"}
        given = {**fresh, "aws_load_balancer_certificate_provider": "given"}
        fitting, another = Pair("fresh.example.com"), Pair("fresh.example.com")
        pending = balancers.acm.request_certificate(DomainName="fresh.example.com", ValidationMethod="DNS")
        other = balancers.acm.import_certificate(
            Certificate=Pair("*.a.example.com").certificate, PrivateKey=another.key, CertificateChain=another.chain
        )
        elsewhere = f"arn:aws:acm:us-east-1:{ACCOUNT_ID}:certificate/12345678-1234-1234-1234-123456789012"
        imported = {**fresh, **fitting.settings("import")}
        balancers.make_bucket("without-policy", with_policy=False)
        address = {"Name": "taken.example.com", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]}
        balancers.write("CREATE", address)
        cases: list[tuple[dict[str, Any], str]] = [
            ({**given, "aws_load_balancer_certificate_arn": pending["CertificateArn"]}, "PENDING_VALIDATION"),
            (
                {**given, "aws_load_balancer_certificate_arn": other["CertificateArn"]},
                "is for *.a.example.com, not for",
            ),
            ({**given, "aws_load_balancer_certificate_arn": elsewhere}, f"write one of {REGION}."),
            (given, "aws_load_balancer_certificate_arn (empty) is no ARN"),
            ({**imported, "aws_load_balancer_certificate_key": another.key}, "does not belong to"),
            ({**imported, "aws_load_balancer_domain": "other.example.com"}, "is for fresh.example.com, not for other"),
            ({**fresh, "aws_load_balancer_subnet_ids": balancers.subnets[:1]}, "asks for two availability zones"),
            ({**fresh, "aws_load_balancer_idle_timeout_seconds": 4001}, "write 1 to 4000 seconds"),
            ({**fresh, "aws_load_balancer_health_path": "/v2/"}, "write /healthz, which is open"),
            ({**fresh, "aws_load_balancer_log_bucket": "nowhere-at-all"}, "There is no bucket nowhere-at-all"),
            ({**fresh, "aws_load_balancer_log_bucket": "without-policy"}, "without-policy"),
            (
                {**fresh, "aws_load_balancer_log_bucket": LOGS, "aws_load_balancer_log_prefix": "elsewhere"},
                f"does not let load balancers of the account {ACCOUNT_ID} write below elsewhere/AWSLogs/{ACCOUNT_ID}/",
            ),
            (
                {**fresh, "aws_load_balancer_type": "network", "aws_load_balancer_log_bucket": LOGS},
                "aws_load_balancer_log_bucket is set, but a Network Load Balancer",
            ),
            ({**fresh, "aws_load_balancer_name": "a" * 24}, "write at most 23 characters as aws_load_balancer_name"),
            ({**fresh, "aws_load_balancer_domain": "taken.example.com"}, "points to 192.0.2.1, which is not this"),
            ({**fresh, "aws_load_balancer_tls_policy": "ELBSecurityPolicy-None"}, "aws_load_balancer_tls_policy"),
            ({**fresh, "aws_load_balancer_zone": ""}, "no hosted zone is named"),
            ({**fresh, "aws_load_balancer_zone": "example.org"}, "does not hold fresh.example.com"),
            ({**web, "aws_load_balancer_internal_enabled": True}, "aws_load_balancer_internal_enabled: false"),
            ({**web, "aws_load_balancer_target_port": 8443}, "write aws_load_balancer_target_port as it was"),
        ]
        before = (balancers.names(), balancers.certificates(), balancers.records("A", "CNAME"))
        steps = Steps(ROLE)
        for settings, _ in cases:
            steps.refused(settings)
        done = steps.play(account)
        for number, (_, words) in enumerate(cases):
            assert words in steps.refusal(number)
            assert "\n" not in steps.refusal(number).strip()
            assert "aws_load_balancer_" in steps.refusal(number)
        assert "PRIVATE KEY" not in done.stdout
        assert (balancers.names(), balancers.certificates(), balancers.records("A", "CNAME")) == before

    def test_one_that_believes_clients_is_not_put_before_hosts(self, account: Account, balancers: Balancers) -> None:
        arn = balancers.balancer("web")["LoadBalancerArn"]
        mode = {"Key": "routing.http.xff_header_processing.mode"}
        change = balancers.elb.modify_load_balancer_attributes
        change(LoadBalancerArn=arn, Attributes=[{**mode, "Value": "preserve"}])
        steps = Steps(ROLE).refused(application(balancers))
        changes(steps.play(account))
        assert "hosts do not learn who asks, or believe whatever clients say" in steps.refusal(0)
        assert f"--load-balancer-arn {arn} --attributes Key={mode['Key']},Value=append`" in steps.refusal(0)
        # As it says.
        change(LoadBalancerArn=arn, Attributes=[{**mode, "Value": "append"}])
        assert changes(Steps(ROLE).run(application(balancers)).play(account)) == 0

    def test_a_place_is_needed_in_the_end(self, account: Account, balancers: Balancers) -> None:
        nowhere = {"aws_load_balancer_subnet_ids": [], "aws_load_balancer_vpc_id": ""}
        settings = {**application(balancers), "aws_load_balancer_security_group_ids": [], **nowhere}
        steps = Steps(ROLE).run(settings, "preflight").refused(settings)
        changes(steps.play(account))
        for variable in ("vpc_id", "subnet_ids", "security_group_ids"):
            assert f"aws_load_balancer_{variable} is empty" in steps.refusal(1)


class TestRemoval:
    """What goes and what stays."""

    REMOVED: ClassVar[dict[str, Any]] = {"aws_load_balancer_zone": "example.com"}

    def test_what_was_made_goes(self, account: Account, balancers: Balancers) -> None:
        web = {**self.REMOVED, "aws_load_balancer_name": "web", "aws_load_balancer_domain": DOMAIN}
        mtls = {**self.REMOVED, "aws_load_balancer_name": "mtls", "aws_load_balancer_domain": "mtls.example.com"}
        ours = balancers.listeners(balancers.balancer("web")["LoadBalancerArn"])[443]["Certificates"][0][
            "CertificateArn"
        ]
        theirs = [arn for arn in balancers.certificates() if arn != ours]
        proofs = set(balancers.records("CNAME"))

        dry = Steps(ROLE).run(web, "remove").run(mtls, "remove")
        dry.play(account, "--check")
        assert [bool(changed) for changed in dry.changed] == [True, True]
        assert len(balancers.names()) == 4
        steps = Steps(ROLE)
        for settings in (web, mtls, web, mtls):
            steps.run(settings, "remove")
        steps.play(account)
        assert [bool(changed) for changed in steps.changed] == [True, True, False, False]

        assert balancers.names() == []
        assert balancers.certificates() == theirs
        assert list(balancers.records("A")) == ["taken.example.com"]
        assert balancers.records("CNAME") == {}
        assert len(proofs) == 1

    def test_the_record_of_one_that_is_gone_goes_too(self, account: Account, balancers: Balancers) -> None:
        lost = {
            "HostedZoneId": "Z215JYRZR1TBD5",
            "DNSName": f"lost-registry-1234567890.{REGION}.elb.amazonaws.com.",
            "EvaluateTargetHealth": True,
        }
        balancers.write("CREATE", {"Name": "lost.example.com", "Type": "A", "AliasTarget": lost})
        settings = {**self.REMOVED, "aws_load_balancer_name": "lost", "aws_load_balancer_domain": "lost.example.com"}
        assert changes(Steps(ROLE).run(settings, "remove").play(account))
        assert "lost.example.com" not in balancers.records("A")
