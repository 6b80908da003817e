# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for AWS in a rehearsal behaves as AWS does, and leaves nothing behind."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import dns.message
import dns.query
import dns.rcode
import pytest
import trustme
from aws_account import Account, aws_account
from aws_rehearsal import ACME_ROOT, AWS_CONFIG, REGION, STAND_INS_CA, STATE, Rehearsal, rehearsal

SECONDS = 30
METADATA = "http://169.254.169.254/latest"
TOKEN = f"$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {METADATA}/api/token)"
HTTP_STATUS = "curl -s --max-time 3 -o /dev/null -w '%{http_code}'"
TRUSTS_EC2 = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}},
    ],
}
EVERYWHERE = "0.0.0.0/0"
NAME = "stand-ins"
DOMAIN = "stand-ins.rehearsal.test"
ADDRESS = "172.31.0.1"
ACME = f"https://{ADDRESS}:5583/dir"
ACME_MANAGEMENT = f"https://{ADDRESS}:5584"
DNS_PORT = 5585


def allow(*actions: str, resource: str = "*") -> str:
    """Return a policy as IAM takes it."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def eventually(question: Callable[[], Any], seconds: float = 10 * SECONDS) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "it took too long"
        # Each question takes the server a twentieth of a second.
        time.sleep(0.5)
    return answer


@contextlib.contextmanager
def refused(code: str) -> Iterator[None]:
    """Expect an error of AWS."""
    with pytest.raises(botocore.exceptions.ClientError) as error:
        yield
    assert error.value.response["Error"]["Code"] == code, error.value


def acme_runs() -> bool:
    """Tell whether the CA's process lives; tests of other things may have one of their own."""
    return (
        subprocess.run(["pgrep", "--full", f"pebble -config {STATE}"], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture(scope="module")
def rehearsed() -> Iterator[Rehearsal]:
    """The stand-ins; afterwards nothing of them is left."""
    block = r"# BEGIN drydock rehearsal\n.*?# END drydock rehearsal\n"
    before = re.sub(block, "", Path("/etc/hosts").read_text(encoding="utf-8"), flags=re.DOTALL)
    with rehearsal() as started:
        yield started
    assert Path("/etc/hosts").read_text(encoding="utf-8") == before
    assert not AWS_CONFIG.parent.exists()
    assert started.containers() == []
    for command in (
        ["docker", "network", "ls", "--quiet", "--filter", "name=^drydock-rehearsal$"],
        ["ip", "route", "show", "198.51.100.0/24"],
        ["docker", "volume", "ls", "--quiet", "--filter", "label=drydock.rehearsal"],
        ["docker", "image", "ls", "--quiet", "--filter", "label=drydock.rehearsal"],
    ):
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
    assert not acme_runs()
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert "drydock rehearsal" not in rules
    # What was ended can be ended again.
    assert re.search(r"changed=0 .*failed=0 ", started.stop())


@pytest.fixture(scope="module")
def instance(rehearsed: Rehearsal) -> str:
    """An instance with a role and an Elastic IP, made by calls of the API alone; return its id."""
    iam, ec2 = rehearsed.administrator("iam"), rehearsed.administrator("ec2")
    iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(TRUSTS_EC2))
    iam.put_role_policy(RoleName=NAME, PolicyName=NAME, PolicyDocument=allow("ec2:DescribeVpcs"))
    iam.create_instance_profile(InstanceProfileName=NAME)
    iam.add_role_to_instance_profile(InstanceProfileName=NAME, RoleName=NAME)
    public_key = (rehearsed.credentials / "id_ed25519.pub").read_bytes()
    ec2.import_key_pair(KeyName=NAME, PublicKeyMaterial=public_key)
    (pair,) = ec2.describe_key_pairs(KeyNames=[NAME], IncludePublicKey=True)["KeyPairs"]
    assert pair["PublicKey"].split()[:2] == public_key.decode().split()[:2]
    parameter = "/aws/service/debian/release/13/latest/arm64"
    image = rehearsed.administrator("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
    made = ec2.run_instances(
        ImageId=image,
        InstanceType="t4g.small",
        MinCount=1,
        MaxCount=1,
        KeyName=NAME,
        IamInstanceProfile={"Name": NAME},
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        UserData="#!/bin/sh\necho made-by-user-data > /etc/motd\n",
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "drydock-deployment", "Value": "rehearsal"}]}],
    )["Instances"][0]
    assert made["State"]["Name"] == "pending"
    eventually(lambda: state(rehearsed, made["InstanceId"]) == "running")
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=made["InstanceId"])
    return str(made["InstanceId"])


def described(rehearsed: Rehearsal, instance_id: str) -> dict[str, Any]:
    (reservation,) = rehearsed.administrator("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"]
    (found,) = reservation["Instances"]
    return dict(found)


def state(rehearsed: Rehearsal, instance_id: str) -> str:
    return str(described(rehearsed, instance_id)["State"]["Name"])


def answers(rehearsed: Rehearsal, instance_id: str, command: str) -> str:
    """Run a command on an instance that may still boot; return its output."""
    return str(
        eventually(lambda: (done := rehearsed.ssh(instance_id, command, check=False)).returncode == 0 and done).stdout
    )


def test_a_second_start_changes_nothing(rehearsed: Rehearsal) -> None:
    keys = AWS_CONFIG.read_text(encoding="utf-8")
    assert re.search(r"changed=0 .*failed=0 ", rehearsed.start())
    assert AWS_CONFIG.read_text(encoding="utf-8") == keys


def test_console_shows_the_keys_that_ssh_answers_with(rehearsed: Rehearsal, instance: str) -> None:
    def keys() -> list[str]:
        output = rehearsed.administrator("ec2").get_console_output(InstanceId=instance, Latest=True)["Output"]
        block = re.search(
            r"-----BEGIN SSH HOST KEY KEYS-----\r?\n(.*?)-----END SSH HOST KEY KEYS-----", output, re.DOTALL
        )
        return block[1].split("\n")[:-1] if block else []

    shown = {tuple(line.split()[:2]) for line in eventually(keys)}
    address = described(rehearsed, instance)["PublicIpAddress"]
    answers(rehearsed, instance, "true")
    scan = subprocess.run(["ssh-keyscan", address], capture_output=True, text=True, check=True).stdout
    assert {tuple(line.split()[1:3]) for line in scan.splitlines()} == shown
    assert {kind for kind, _ in shown} == {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"}


def test_host_is_like_debians_image(rehearsed: Rehearsal, instance: str) -> None:
    found = described(rehearsed, instance)
    assert found["PublicIpAddress"].startswith("198.51.100.")
    assert found["PrivateIpAddress"].startswith("172.31.")
    # It waits until the first boot is over, which it is when this file is there.
    answers(rehearsed, instance, "test -e /var/lib/cloud/instance/boot-finished")
    said = answers(rehearsed, instance, "sudo id -u; hostname; cat /etc/motd; systemctl is-system-running").split()
    assert said == ["0", f"ip-{found['PrivateIpAddress'].replace('.', '-')}", "made-by-user-data", "running"]


def test_metadata(rehearsed: Rehearsal, instance: str) -> None:
    answers(rehearsed, instance, "true")
    ask = f'{HTTP_STATUS} -H "X-aws-ec2-metadata-token: {TOKEN}" {METADATA}'
    assert rehearsed.ssh(instance, f"{HTTP_STATUS} {METADATA}/meta-data/").stdout == "401"
    assert rehearsed.ssh(instance, f"{ask}/meta-data/instance-id").stdout == "200"
    assert rehearsed.ssh(instance, f"{ask}/meta-data/nothing-of-this-name").stdout == "404"
    # By way of something that passes requests on, nobody gets a token.
    forwarded = f"{HTTP_STATUS} -X PUT -H 'X-Forwarded-For: 10.0.0.1' -H 'X-aws-ec2-metadata-token-ttl-seconds: 60'"
    assert rehearsed.ssh(instance, f"{forwarded} {METADATA}/api/token").stdout == "403"
    # The session is the role's, and may do what the role may.
    identity = rehearsed.role_client(instance, "sts").get_caller_identity()["Arn"]
    assert identity == f"arn:aws:sts::123456789012:assumed-role/{NAME}/{instance}"
    ec2 = rehearsed.role_client(instance, "ec2")
    assert ec2.describe_vpcs()["Vpcs"]
    with refused("UnauthorizedOperation"):
        ec2.describe_instances()


def test_hop_limit(rehearsed: Rehearsal, instance: str) -> None:
    """A container on a bridge in the host is one hop further away: with a limit of 1 the token never reaches it."""
    answers(
        rehearsed,
        instance,
        "sudo sh -ec 'ip netns add inner; ip link add outer type veth peer name inside netns inner;"
        " ip address add 10.9.0.1/24 dev outer; ip link set outer up;"
        " ip -n inner address add 10.9.0.2/24 dev inside; ip -n inner link set inside up;"
        " ip -n inner route add default via 10.9.0.1; sysctl -qw net.ipv4.ip_forward=1;"
        " iptables -t nat -A POSTROUTING -s 10.9.0.0/24 -j MASQUERADE'",
    )
    token = f"{HTTP_STATUS} -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {METADATA}/api/token"
    for limit, here, there in ((2, "200", "200"), (1, "200", "000")):
        rehearsed.administrator("ec2").modify_instance_metadata_options(
            InstanceId=instance, HttpPutResponseHopLimit=limit
        )
        assert rehearsed.ssh(instance, token).stdout == here
        assert rehearsed.ssh(instance, f"sudo ip netns exec inner {token}", check=False).stdout == there
    # What was not named is as before.
    assert described(rehearsed, instance)["MetadataOptions"]["HttpTokens"] == "required"


def test_who_is_no_instance_gets_no_metadata(rehearsed: Rehearsal, instance: str) -> None:
    assert described(rehearsed, instance)
    command = [
        "docker",
        "run",
        "--rm",
        "--network=drydock-rehearsal",
        "--entrypoint=/bin/sh",
        "drydock-test-host:debian12",
        "-c",
    ]
    asked = f"{HTTP_STATUS} -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {METADATA}/api/token"
    assert subprocess.run([*command, asked], capture_output=True, text=True, check=False).stdout == "404"


def test_records_resolve(rehearsed: Rehearsal) -> None:
    route53 = rehearsed.administrator("route53")
    (zone,) = route53.list_hosted_zones_by_name(DNSName="rehearsal.test")["HostedZones"]
    record = {"Name": DOMAIN, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "198.51.100.99"}]}

    def change(action: str) -> None:
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        route53.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch=batch)

    change("UPSERT")
    assert socket.gethostbyname(DOMAIN) == "198.51.100.99"
    change("DELETE")
    assert DOMAIN not in Path("/etc/hosts").read_text(encoding="utf-8")


def test_machines_find_route_53_under_its_name_and_trust_it(rehearsed: Rehearsal, instance: str) -> None:
    """As old versions of botocore know it: HTTPS at its own address, which the system's bundle of CAs vouches for."""
    answers(rehearsed, instance, "cloud-init status --wait")
    # It wants to know who asks, which is as far as one gets without credentials.
    assert rehearsed.ssh(instance, f"{HTTP_STATUS} https://route53.amazonaws.com/").stdout == "403"


def ask(url: str) -> bytes:
    """Ask one of the stand-ins over HTTPS."""
    context = ssl.create_default_context(cafile=STAND_INS_CA)
    with urllib.request.urlopen(url, timeout=SECONDS, context=context) as answer:  # noqa: S310
        return bytes(answer.read())


def test_a_ca_speaks_acme(rehearsed: Rehearsal, instance: str) -> None:
    assert json.loads(ask(ACME))["newOrder"].startswith(f"https://{ADDRESS}:")
    assert ask(f"{ACME_MANAGEMENT}/roots/0") == ACME_ROOT.read_bytes()
    # Machines trust its address, and not what it signs: that is for clients to be told.
    assert rehearsed.ssh(instance, f"{HTTP_STATUS} {ACME}").stdout == "200"
    assert ACME_ROOT.read_text(encoding="utf-8") not in rehearsed.ssh(instance, "cat /etc/ssl/certs/*.crt").stdout


def test_the_ca_asks_the_zones_of_route_53(rehearsed: Rehearsal) -> None:
    route53 = rehearsed.administrator("route53")
    (zone,) = route53.list_hosted_zones_by_name(DNSName="rehearsal.test")["HostedZones"]
    name = f"_acme-challenge.{DOMAIN}"

    def change(action: str, *values: str) -> None:
        record = {"Name": name, "Type": "TXT", "TTL": 10, "ResourceRecords": [{"Value": value} for value in values]}
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        route53.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch=batch)

    def texts() -> set[bytes] | None:
        answer = dns.query.udp(dns.message.make_query(name, "TXT"), ADDRESS, port=DNS_PORT, timeout=SECONDS)
        if answer.rcode() == dns.rcode.NXDOMAIN:
            return None
        return {b"".join(value.strings) for found in answer.answer for value in found}

    assert texts() is None
    change("UPSERT", '"one"', '"two"')
    assert texts() == {b"one", b"two"}
    change("UPSERT", '"two"')
    assert texts() == {b"two"}
    change("DELETE", '"two"')
    assert texts() is None


@pytest.fixture
def limited(rehearsed: Rehearsal) -> Iterator[Callable[[str], Callable[[str], Any]]]:
    """Make a user who may do what a policy says; return this user's clients."""
    iam = rehearsed.administrator("iam")
    iam.create_user(UserName="limited")
    key = iam.create_access_key(UserName="limited")["AccessKey"]
    session = boto3.session.Session(
        aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"], region_name=REGION
    )

    def with_policy(document: str) -> Callable[[str], Any]:
        iam.put_user_policy(UserName="limited", PolicyName="only", PolicyDocument=document)
        return lambda service: session.client(service, endpoint_url=rehearsed.environment["AWS_ENDPOINT_URL"])

    yield with_policy
    iam.delete_user_policy(UserName="limited", PolicyName="only")
    iam.delete_access_key(UserName="limited", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="limited")


def test_policies_decide_about_single_records(
    rehearsed: Rehearsal, limited: Callable[[str], Callable[[str], Any]]
) -> None:
    (zone,) = rehearsed.administrator("route53").list_hosted_zones_by_name(DNSName="rehearsal.test")["HostedZones"]
    key = "route53:ChangeResourceRecordSets"
    statement = {
        "Effect": "Allow",
        "Action": key,
        "Resource": f"arn:aws:route53:::hostedzone/{zone['Id'].rpartition('/')[2]}",
        "Condition": {
            "ForAllValues:StringEquals": {
                f"{key}NormalizedRecordNames": [f"_acme-challenge.{DOMAIN}"],
                f"{key}RecordTypes": ["TXT"],
                f"{key}Actions": ["UPSERT", "DELETE"],
            },
        },
    }
    route53 = limited(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))("route53")

    def change(action: str, name: str, kind: str, value: str) -> None:
        record = {"Name": name, "Type": kind, "TTL": 10, "ResourceRecords": [{"Value": value}]}
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        route53.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch=batch)

    change("UPSERT", f"_ACME-challenge.{DOMAIN}.", "TXT", '"x"')
    for action, name, kind, value in (
        ("CREATE", f"_acme-challenge.{DOMAIN}", "TXT", '"x"'),
        ("UPSERT", f"_acme-challenge.{DOMAIN}", "CNAME", "example.com"),
        ("UPSERT", DOMAIN, "TXT", '"x"'),
        ("UPSERT", DOMAIN, "A", "198.51.100.99"),
    ):
        with refused("AccessDenied"):
            change(action, name, kind, value)
    change("DELETE", f"_ACME-challenge.{DOMAIN}.", "TXT", '"x"')


def test_keys_of_elsewhere_are_refused(rehearsed: Rehearsal) -> None:
    endpoint = rehearsed.environment["AWS_ENDPOINT_URL"]

    strange = ("AKIAIOSFODNN7EXAMPLE", "x")
    wrong = (rehearsed.environment["AWS_ACCESS_KEY_ID"], "x")
    for (key, secret), service, call, code in (
        (strange, "sts", "get_caller_identity", "InvalidClientTokenId"),
        (strange, "ec2", "describe_vpcs", "AuthFailure"),
        (strange, "kms", "list_keys", "UnrecognizedClientException"),
        (strange, "s3", "list_buckets", "InvalidAccessKeyId"),
        (wrong, "sts", "get_caller_identity", "SignatureDoesNotMatch"),
        (wrong, "ec2", "describe_vpcs", "AuthFailure"),
        (wrong, "kms", "list_keys", "InvalidSignatureException"),
        (wrong, "s3", "list_buckets", "SignatureDoesNotMatch"),
    ):
        session = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=REGION)
        with refused(code):
            getattr(session.client(service, endpoint_url=endpoint), call)()


def test_policies_decide(rehearsed: Rehearsal, instance: str, limited: Callable[[str], Callable[[str], Any]]) -> None:
    client = limited(allow("iam:GetRole", resource=f"arn:aws:iam::*:role/{NAME}"))
    assert client("iam").get_role(RoleName=NAME)["Role"]["RoleName"] == NAME
    with refused("AccessDenied"):
        client("iam").get_role(RoleName="another")
    with refused("AccessDenied"):
        client("iam").list_roles()
    with refused("AccessDeniedException"):
        client("ssm").get_parameter(Name="/aws/service/debian/release/13/latest/arm64")
    with refused("UnauthorizedOperation"):
        client("ec2").describe_vpcs()
    client = limited(allow("ssm:GetParameter", resource="arn:aws:ssm:*::parameter/aws/service/*"))
    assert client("ssm").get_parameter(Name="/aws/service/debian/release/13/latest/arm64")
    # The role is handed over with the profile, which is a permission of its own.
    found = described(rehearsed, instance)
    client = limited(allow("ec2:RunInstances"))
    request = {"ImageId": found["ImageId"], "InstanceType": "t4g.small", "MinCount": 1, "MaxCount": 1}
    with refused("UnauthorizedOperation"):
        client("ec2").run_instances(**request, IamInstanceProfile={"Name": NAME})
    # Nobody plays EC2.
    client = limited(allow("sts:AssumeRole"))
    with refused("AccessDenied"):
        client("sts").assume_role(RoleArn=f"arn:aws:iam::123456789012:role/{NAME}", RoleSessionName="test")


def test_an_image_of_a_machine_has_what_was_on_its_disk(rehearsed: Rehearsal, instance: str) -> None:
    ec2 = rehearsed.administrator("ec2")
    answers(rehearsed, instance, "echo kept | sudo tee /var/lib/kept /var/lib/docker/kept")
    image = ec2.create_image(InstanceId=instance, Name=NAME)["ImageId"]
    made = ec2.run_instances(
        ImageId=image,
        InstanceType="t4g.small",
        MinCount=1,
        MaxCount=1,
        KeyName=NAME,
        UserData="#!/bin/sh\necho made-by-its-own > /etc/motd\n",
    )["Instances"][0]["InstanceId"]
    # It boots for the first time, as itself.
    answers(rehearsed, made, "cloud-init status --wait")
    look = "sudo cat /var/lib/kept /var/lib/docker/kept /etc/motd"
    assert rehearsed.ssh(made, look).stdout.split() == ["kept", "kept", "made-by-its-own"]
    key = "cat /etc/ssh/ssh_host_ed25519_key.pub"
    # The other one was shut down for the image, and runs again.
    assert rehearsed.ssh(made, key).stdout != answers(rehearsed, instance, key)
    ec2.terminate_instances(InstanceIds=[made])
    ec2.deregister_image(ImageId=image)


@contextlib.contextmanager
def without_a_way_out(rehearsed: Rehearsal) -> Iterator[None]:
    """Take the route to the internet gateway out of the default VPC's route table for a while."""
    ec2 = rehearsed.administrator("ec2")
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "association.main", "Values": ["true"]}])["RouteTables"]
    (route,) = (route for route in table["Routes"] if route.get("DestinationCidrBlock") == EVERYWHERE)
    way = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": EVERYWHERE}
    ec2.delete_route(**way)
    try:
        yield
    finally:
        ec2.create_route(**way, GatewayId=route["GatewayId"])


def test_stop_start_reboot_and_terminate(rehearsed: Rehearsal, instance: str) -> None:
    ec2 = rehearsed.administrator("ec2")
    address = described(rehearsed, instance)["PublicIpAddress"]
    answers(rehearsed, instance, "echo kept | sudo tee /var/lib/kept")
    ec2.stop_instances(InstanceIds=[instance])
    eventually(lambda: state(rehearsed, instance) == "stopped")
    assert rehearsed.ssh(instance, "true", check=False).returncode == 255
    with without_a_way_out(rehearsed):
        ec2.start_instances(InstanceIds=[instance])
        eventually(lambda: state(rehearsed, instance) == "running")
        # It reaches its network and the metadata service, and nothing else.
        eventually(lambda: not answers(rehearsed, instance, "ip route show default").strip())
        question = f'curl -s -H "X-aws-ec2-metadata-token: {TOKEN}" {METADATA}/meta-data/instance-id'
        assert answers(rehearsed, instance, question) == instance
    assert described(rehearsed, instance)["PublicIpAddress"] == address
    assert answers(rehearsed, instance, "cat /var/lib/kept").strip() == "kept"
    boot = answers(rehearsed, instance, "stat --format %Y /proc/1")
    ec2.reboot_instances(InstanceIds=[instance])
    assert answers(rehearsed, instance, "stat --format %Y /proc/1") != boot
    assert "via 172.31.0.1" in answers(rehearsed, instance, "ip route show default")
    ec2.terminate_instances(InstanceIds=[instance])
    eventually(lambda: state(rehearsed, instance) == "terminated")
    assert rehearsed.containers() == []
    (elastic,) = ec2.describe_addresses()["Addresses"]
    assert not elastic.get("InstanceId")
    ec2.release_address(AllocationId=elastic["AllocationId"])


# A web server with a certificate of its own, which says where it runs and what it was asked with.
SERVER = """\
#!/bin/sh
cd /srv
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -subj /CN=server -days 2
cat >server.py <<'END'
import http.server, json, os, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"machine": os.uname().nodename, **{name.lower(): text for name, text in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("", 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
END
systemd-run --unit server --working-directory /srv python3 server.py
"""
BALANCED = "balanced.rehearsal.test"


@pytest.fixture(scope="module")
def group(rehearsed: Rehearsal) -> str:
    """An Auto Scaling group of two web servers behind an ALB, made by calls of the API alone; return the target group's ARN."""
    ec2, elb, scaling = (rehearsed.administrator(service) for service in ("ec2", "elbv2", "autoscaling"))
    image = rehearsed.administrator("ssm").get_parameter(Name="/aws/service/debian/release/12/latest/amd64")[
        "Parameter"
    ]
    subnets = [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]]
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    template = ec2.create_launch_template(
        LaunchTemplateName=NAME,
        LaunchTemplateData={
            "ImageId": image["Value"],
            "InstanceType": "t3.small",
            "UserData": base64.b64encode(SERVER.encode()).decode(),
            "InstanceInitiatedShutdownBehavior": "terminate",
        },
    )["LaunchTemplate"]
    ca = trustme.CA()
    certificate = ca.issue_cert(BALANCED)
    imported = rehearsed.administrator("acm").import_certificate(
        Certificate=certificate.cert_chain_pems[0].bytes(),
        PrivateKey=certificate.private_key_pem.bytes(),
        CertificateChain=ca.cert_pem.bytes(),
    )
    (balancer,) = elb.create_load_balancer(Name=NAME, Subnets=subnets)["LoadBalancers"]
    (targets,) = elb.create_target_group(
        Name=NAME,
        Protocol="HTTPS",
        Port=443,
        VpcId=vpc["VpcId"],
        HealthCheckPath="/healthz",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        UnhealthyThresholdCount=2,
    )["TargetGroups"]
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "3"}
    elb.modify_target_group_attributes(TargetGroupArn=targets["TargetGroupArn"], Attributes=[delay])
    for port, protocol, more, action in (
        (
            443,
            "HTTPS",
            {"Certificates": [{"CertificateArn": imported["CertificateArn"]}]},
            {"Type": "forward", "TargetGroupArn": targets["TargetGroupArn"]},
        ),
        (
            80,
            "HTTP",
            {},
            {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}},
        ),
    ):
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"], Protocol=protocol, Port=port, DefaultActions=[action], **more
        )
    route53 = rehearsed.administrator("route53")
    (zone,) = route53.list_hosted_zones_by_name(DNSName="rehearsal.test")["HostedZones"]
    alias = {
        "HostedZoneId": balancer["CanonicalHostedZoneId"],
        "DNSName": f"dualstack.{balancer['DNSName']}",
        "EvaluateTargetHealth": False,
    }
    record = {"Name": BALANCED, "Type": "A", "AliasTarget": alias}
    batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    route53.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch=batch)
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=NAME,
        MinSize=1,
        MaxSize=3,
        DesiredCapacity=2,
        LaunchTemplate={"LaunchTemplateId": template["LaunchTemplateId"], "Version": "1"},
        VPCZoneIdentifier=",".join(subnets),
        HealthCheckType="ELB",
        # Where much else runs, a boot takes longer: each machine would be replaced before it is up.
        HealthCheckGracePeriod=60,
        TargetGroupARNs=[targets["TargetGroupArn"]],
    )
    (STATE / "balanced.crt").write_bytes(ca.cert_pem.bytes())
    return str(targets["TargetGroupArn"])


def healthy(rehearsed: Rehearsal, group: str) -> set[str]:
    """Return the ids of the targets that the load balancer finds healthy."""
    found = rehearsed.administrator("elbv2").describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    return {each["Target"]["Id"] for each in found if each["TargetHealth"]["State"] == "healthy"}


def balanced() -> dict[str, str]:
    """Ask the load balancer; return who answered, and with what."""
    context = ssl.create_default_context(cafile=STATE / "balanced.crt")
    request = urllib.request.Request(f"https://{BALANCED}/x")
    with urllib.request.urlopen(request, timeout=SECONDS, context=context) as answer:  # noqa: S310
        found: dict[str, str] = json.loads(answer.read())
        return found


def test_a_load_balancer_shares_requests_out(rehearsed: Rehearsal, group: str) -> None:
    eventually(lambda: len(healthy(rehearsed, group)) == 2)
    # What is healthy gets requests soon afterwards.
    eventually(lambda: len({balanced()["machine"] for _ in range(4)}) == 2)
    answered = [balanced() for _ in range(4)]
    assert {(each["host"], each["x-forwarded-proto"], each["x-forwarded-port"]) for each in answered} == {
        (BALANCED, "https", "443")
    }
    connection = http.client.HTTPConnection(BALANCED, 80, timeout=SECONDS)
    connection.request("GET", "/a?b=c")
    assert connection.getresponse().headers["Location"] == f"https://{BALANCED}:443/a?b=c"
    connection.close()


def test_a_machine_that_ends_is_replaced(rehearsed: Rehearsal, group: str) -> None:
    before = eventually(lambda: (found := healthy(rehearsed, group)) and len(found) == 2 and found)
    (victim, other) = sorted(before)
    rehearsed.administrator("ec2").get_console_output(InstanceId=victim)
    subprocess.run(["docker", "exec", f"drydock-rehearsal-{victim}", "systemctl", "poweroff"], check=True)
    eventually(lambda: state(rehearsed, victim) == "terminated")
    assert described(rehearsed, victim)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    eventually(lambda: len(healthy(rehearsed, group) - {victim}) == 2)
    assert other in healthy(rehearsed, group)
    # What it wrote last can be read for a while.
    assert "Power" in rehearsed.administrator("ec2").get_console_output(InstanceId=victim)["Output"]


def test_a_refresh_replaces_one_after_the_other(rehearsed: Rehearsal, group: str) -> None:
    scaling = rehearsed.administrator("autoscaling")
    before = eventually(lambda: (found := healthy(rehearsed, group)) and len(found) == 2 and found)
    wish = {"MinHealthyPercentage": 100, "InstanceWarmup": 0}
    scaling.start_instance_refresh(AutoScalingGroupName=NAME, Preferences=wish)
    with refused("InstanceRefreshInProgress"):
        scaling.start_instance_refresh(AutoScalingGroupName=NAME, Preferences=wish)
    fewest = 2

    def over() -> bool:
        nonlocal fewest
        fewest = min(fewest, len(healthy(rehearsed, group)))
        found = scaling.describe_instance_refreshes(AutoScalingGroupName=NAME)["InstanceRefreshes"][0]
        return str(found["Status"]) == "Successful"

    eventually(over, 120)
    assert fewest == 2
    assert not before & healthy(rehearsed, group)


@pytest.mark.usefixtures("group")
def test_a_group_and_a_load_balancer_leave_nothing(rehearsed: Rehearsal) -> None:
    scaling, elb, route53 = (rehearsed.administrator(service) for service in ("autoscaling", "elbv2", "route53"))
    with refused("ResourceInUse"):
        scaling.delete_auto_scaling_group(AutoScalingGroupName=NAME)
    scaling.delete_auto_scaling_group(AutoScalingGroupName=NAME, ForceDelete=True)
    eventually(lambda: not scaling.describe_auto_scaling_groups()["AutoScalingGroups"])
    assert rehearsed.containers() == []
    (zone,) = route53.list_hosted_zones_by_name(DNSName="rehearsal.test")["HostedZones"]
    records = route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    (alias,) = (each for each in records if each["Name"].rstrip(".") == BALANCED)
    batch = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": alias}]}
    route53.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch=batch)
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    elb.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    eventually(lambda: balancer["DNSName"] not in Path("/etc/hosts").read_text(encoding="utf-8"))
    eventually(lambda: subprocess.run(["pgrep", "-f", f"haproxy .*{STATE}"], check=False).returncode == 1)


def test_a_start_after_a_crash(rehearsed: Rehearsal) -> None:
    """As after a reboot: the account is lost, and with it the sense of what was made in it."""
    old, old_root = AWS_CONFIG.read_text(encoding="utf-8"), ACME_ROOT.read_bytes()
    image = rehearsed.administrator("ssm").get_parameter(Name="/aws/service/debian/release/12/latest/amd64")[
        "Parameter"
    ]
    rehearsed.administrator("ec2").run_instances(
        ImageId=image["Value"], InstanceType="t3.small", MinCount=1, MaxCount=1
    )
    assert eventually(rehearsed.containers)
    subprocess.run(["pkill", "--signal", "KILL", "--pidfile", str(AWS_CONFIG.with_name("aws_api.pid"))], check=True)
    begun = time.monotonic()
    # What it started ends with it.
    assert eventually(lambda: not acme_runs())
    assert "aws_ec2.yml" in rehearsed.run("ansible-inventory", "--list").stderr
    assert time.monotonic() - begun < 10 * SECONDS
    rehearsed.start()
    assert AWS_CONFIG.read_text(encoding="utf-8") != old
    assert rehearsed.containers() == []
    assert rehearsed.client("sts").get_caller_identity()["Arn"].endswith(":user/deployer")
    assert old_root != ACME_ROOT.read_bytes() == ask(f"{ACME_MANAGEMENT}/roots/0")


# --- The API by itself, as the tests of roles use it ----------------------------------------------------------------


@pytest.fixture(scope="module")
def api() -> Iterator[Account]:
    """An account without machines, in which everybody may do everything."""
    with aws_account() as account:
        yield account


def test_a_bucket_of_another_account(api: Account) -> None:
    role = api.client("sts").assume_role(RoleArn="arn:aws:iam::999999999999:role/x", RoleSessionName="test")[
        "Credentials"
    ]
    session = boto3.session.Session(role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"], "eu-west-1")
    theirs = session.client("s3", endpoint_url=api.endpoint)
    theirs.create_bucket(Bucket="theirs", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    ours = api.client("s3")
    with pytest.raises(botocore.exceptions.ClientError) as error:
        ours.head_bucket(Bucket="theirs")
    answer = error.value.response["ResponseMetadata"]
    assert answer["HTTPStatusCode"] == 403
    assert answer["HTTPHeaders"]["x-amz-bucket-region"] == "eu-west-1"
    with refused("AccessDenied"):
        ours.put_object(Bucket="theirs", Key="x", Body=b"")
    with refused("BucketAlreadyExists"):
        ours.create_bucket(Bucket="theirs", CreateBucketConfiguration={"LocationConstraint": REGION})
    with refused("404"):
        ours.head_bucket(Bucket="of-nobody")


def test_a_policy_for_tls_refuses_nobody(api: Account) -> None:
    """What a condition excludes is not denied."""
    s3 = api.client("s3")
    s3.create_bucket(Bucket="tls", CreateBucketConfiguration={"LocationConstraint": REGION})
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::tls", "arn:aws:s3:::tls/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket="tls", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    s3.put_object(Bucket="tls", Key="a/b", Body=b"x")
    assert s3.get_object(Bucket="tls", Key="a/b")["Body"].read() == b"x"
    assert s3.delete_objects(Bucket="tls", Delete={"Objects": [{"Key": "a/b"}]})["Deleted"] == [{"Key": "a/b"}]


def test_a_bucket_is_emptied_page_by_page(api: Account) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="pages", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket="pages", VersioningConfiguration={"Status": "Enabled"})
    for key in "abc":
        for _ in range(3):
            s3.put_object(Bucket="pages", Key=key, Body=b"")
    s3.delete_object(Bucket="pages", Key="b")
    markers: dict[str, str] = {}
    while True:
        page = s3.list_object_versions(Bucket="pages", MaxKeys=2, **markers)
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        named = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
        s3.delete_objects(Bucket="pages", Delete={"Objects": named})
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    s3.delete_bucket(Bucket="pages")


def test_elastic_ips(api: Account) -> None:
    ec2 = api.client("ec2")
    image = api.client("ssm").get_parameter(Name="/aws/service/debian/release/12/latest/amd64")["Parameter"]["Value"]
    assert re.fullmatch("ami-[0-9a-f]{17}", image)
    (described_image,) = ec2.describe_images(ImageIds=[image])["Images"]
    assert (described_image["OwnerId"], described_image["Architecture"]) == ("136693071363", "x86_64")
    made = ec2.run_instances(ImageId=image, InstanceType="t3.small", MinCount=2, MaxCount=2)["Instances"]
    # Without a subnet, an instance goes into a default one.
    assert all(instance["PrivateIpAddress"].startswith("172.31.") and instance["SubnetId"] for instance in made)
    first, second = (instance["InstanceId"] for instance in made)
    tags = [{"ResourceType": "elastic-ip", "Tags": [{"Key": "a", "Value": "b"}]}]
    elastic = ec2.allocate_address(Domain="vpc", TagSpecifications=tags)
    allocation, address = elastic["AllocationId"], elastic["PublicIp"]

    def public(instance_id: str) -> str:
        found = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
        return str(found.get("PublicIpAddress", ""))

    ec2.associate_address(AllocationId=allocation, InstanceId=first)
    assert public(first) == address
    ec2.stop_instances(InstanceIds=[first])
    assert public(first) == address
    ec2.start_instances(InstanceIds=[first])
    assert public(first) == address
    ec2.associate_address(AllocationId=allocation, InstanceId=second, AllowReassociation=True)
    assert public(second) == address
    assert public(first) != address
    ec2.terminate_instances(InstanceIds=[second])
    (left,) = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"]
    assert "AssociationId" not in left
    assert left["Tags"] == [{"Key": "a", "Value": "b"}]
    (tag,) = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [allocation]}])["Tags"]
    assert tag["ResourceType"] == "elastic-ip"


def test_an_instance_profile_that_replaces_another(api: Account) -> None:
    ec2, iam = api.client("ec2"), api.client("iam")
    for name in ("one", "two"):
        iam.create_instance_profile(InstanceProfileName=name)
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]
    kind = "t3.small" if image["Architecture"] == "x86_64" else "t4g.small"
    (made,) = ec2.run_instances(
        ImageId=image["ImageId"], InstanceType=kind, MinCount=1, MaxCount=1, IamInstanceProfile={"Name": "one"}
    )["Instances"]
    (association,) = ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    ec2.replace_iam_instance_profile_association(
        AssociationId=association["AssociationId"], IamInstanceProfile={"Name": "two"}
    )
    (reservation,) = ec2.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"]
    assert reservation["Instances"][0]["IamInstanceProfile"]["Arn"].endswith("/two")


def test_keys_of_kms_have_several_names(api: Account) -> None:
    kms = api.client("kms")
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/a", TargetKeyId=key["KeyId"])
    kms.schedule_key_deletion(KeyId=key["Arn"], PendingWindowInDays=7)
    kms.cancel_key_deletion(KeyId=key["Arn"])
    kms.enable_key(KeyId=key["Arn"])
    assert kms.describe_key(KeyId="alias/a")["KeyMetadata"]["KeyState"] == "Enabled"
