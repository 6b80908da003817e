# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input on AWS: each kind gets one sentence that names the variable and the fix, and nothing is made.

One run stands for many: each case is a host of the inventory that provides itself, with the settings of inventories/prod and one
thing wrong, or several that a role says together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import pytest
import yaml
from aws_account import ROOT, Account, aws_account, last_failure

ZONE = "example.com"
OTHER_ACCOUNT = "111111111111"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4ZQRdfNYB1yDl+6CkuZfZQOIsD6jE4ZIkT4mXrAOpP admin"
ANOTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEfPB0kiKPTyvNQW6vXnZH3sPjZ+fxS8kUPKVgDd5gRv somebody"
PLAYBOOK = f"""\
---
- name: Provide
  hosts: all
  gather_facts: false
  environment: "{{{{ drydock_aws_environment }}}}"
  tasks:
    - name: Provide an EC2 host
      ansible.builtin.include_tasks: {ROOT}/playbooks/tasks/provide_ec2.yml
"""


class Case(NamedTuple):
    """What is set, and the words of each sentence of the refusal."""

    settings: dict[str, Any]
    sentences: list[tuple[str, ...]]


def cases(account: Account) -> dict[str, Case]:
    """All cases; those that need something in the account make it."""
    ec2, iam = account.client("ec2"), account.client("iam")
    empty_vpc = ec2.create_vpc(CidrBlock="10.9.0.0/24")["Vpc"]["VpcId"]
    image = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["arm64"]}], Owners=["136693071363"])[
        "Images"
    ][0]
    for deployment, state in (("stopped", "stop"), ("terminated", "terminate")):
        tags = [{"Key": "Name", "Value": f"{deployment}-registry"}, {"Key": "drydock-deployment", "Value": deployment}]
        (made,) = ec2.run_instances(
            ImageId=image["ImageId"],
            MinCount=1,
            MaxCount=1,
            InstanceType="t4g.small",
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )["Instances"]
        getattr(ec2, f"{state}_instances")(InstanceIds=[made["InstanceId"]])
    ec2.import_key_pair(KeyName="stopped-registry", PublicKeyMaterial=ANOTHER_KEY.encode())
    account.client("s3").create_bucket(
        Bucket="other-deployment", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    account.client("s3").put_bucket_tagging(
        Bucket="other-deployment", Tagging={"TagSet": [{"Key": "drydock-deployment", "Value": "staging"}]}
    )
    iam.create_role(
        RoleName="foreign-registry-eu-central-1",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}),
    )
    nobody = {**account.environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    return {
        "no credentials": Case({"drydock_aws_environment": nobody}, [("AWS_ACCESS_KEY_ID", "AWS_PROFILE")]),
        "unreachable": Case(
            {"drydock_aws_environment": account.environment | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}},
            [("http://127.0.0.1:9",)],
        ),
        "unknown region": Case(
            {"drydock_region": "eu-centrall-1"}, [("drydock_region", "eu-centrall-1", "eu-central-1")]
        ),
        "no region": Case(
            {
                "drydock_region": "",
                "drydock_aws_environment": {**account.environment, "AWS_REGION": "", "AWS_DEFAULT_REGION": ""},
            },
            [("drydock_region",)],
        ),
        "deployment": Case({"drydock_deployment": "My_Registry"}, [("drydock_deployment", "My_Registry")]),
        "no bucket": Case({"aws_storage_bucket": ""}, [("aws_storage_bucket",)]),
        "bucket name": Case({"aws_storage_bucket": "My_Bucket"}, [("aws_storage_bucket", "My_Bucket")]),
        "bucket taken": Case({"aws_storage_bucket": "taken-elsewhere"}, [("aws_storage_bucket", "taken-elsewhere")]),
        "bucket of another deployment": Case(
            {"aws_storage_bucket": "other-deployment"}, [("aws_storage_bucket", "staging")]
        ),
        "empty VPC": Case(
            {"aws_network_provider": "given", "aws_network_vpc_id": empty_vpc},
            [(empty_vpc, "subnet", "aws_network_subnet_ids")],
        ),
        "no VPC, and a CIDR": Case(
            {
                "aws_network_provider": "given",
                "aws_network_vpc_id": "vpc-00000000",
                "aws_network_admin_cidrs": ["10.0.0.1/8/9"],
            },
            [("aws_network_vpc_id", "vpc-00000000"), ("aws_network_admin_cidrs", "10.0.0.1/8/9")],
        ),
        "provider": Case({"aws_network_provider": "mine"}, [("aws_network_provider", "mine")]),
        "no clients": Case({"aws_network_client_cidrs": []}, [("aws_network_client_cidrs", "0.0.0.0/0")]),
        "no zone for records": Case(
            {"aws_instance_zone": ""}, [("registry_tls_acme_challenge", "dns-01", "aws_identity_acme_zone", "http-01")]
        ),
        "port 80 is closed": Case(
            {
                "registry_tls_acme_challenge": "http-01",
                "registry_server_image_provider": "pull",
                "registry_server_image_reference": "docker.io/library/registry:2.8.3",
            },
            [
                ("registry_server_image_provider", "registry:2.8.3", "IMDSv1", "registry 3"),
                ("registry_tls_acme_challenge", "aws_network_acme_cidrs", "80"),
            ],
        ),
        "type, image, key text, and no zone": Case(
            {
                "aws_instance_type": "t4g.enormous",
                "aws_instance_image_provider": "id",
                "aws_instance_image_id": "ami-00000000",
                "aws_instance_public_key": "~/.ssh/id_ed25519.pub",
                "aws_instance_zone": "example.org",
                "drydock_domain": "registry.example.org",
            },
            [
                ("aws_instance_type", "t4g.enormous"),
                ("ami-00000000",),
                ("aws_instance_public_key",),
                ("aws_instance_zone", "example.org"),
            ],
        ),
        "architecture, volume, both keys, and a zone of another domain": Case(
            {
                "aws_instance_type": "t3.small",
                "aws_instance_volume_gib": 1,
                "aws_instance_key_pair": "nobody",
                "drydock_domain": "registry.example.net",
            },
            [
                ("t3.small", "aws_instance_architecture", "amd64"),
                ("aws_instance_volume_gib",),
                ("aws_instance_key_pair", "aws_instance_public_key"),
                ("registry.example.net", ZONE),
            ],
        ),
        "image of another architecture, and no key pair": Case(
            {
                "aws_instance_type": "t3.small",
                "aws_instance_architecture": "amd64",
                "aws_instance_image_provider": "id",
                "aws_instance_image_id": image["ImageId"],
                "aws_instance_public_key": "",
                "aws_instance_key_pair": "nobody",
            },
            [(image["ImageId"], "arm64"), ("aws_instance_key_pair", "nobody")],
        ),
        "stopped, and the key of somebody": Case(
            {"drydock_deployment": "stopped"},
            [("stopped", "start-instances"), ("stopped-registry", "aws_instance_public_key")],
        ),
        "logs": Case(
            {"drydock_deployment": "logs", "drydock_logs_enabled": True, "aws_logs_retention_days": 31},
            [("aws_logs_retention_days is 31", "CloudWatch does not offer")],
        ),
        "terminated": Case({"drydock_deployment": "terminated"}, [("terminated", "aws_instance_replace")]),
        "role is somebody's, zone is private, a name of another domain, and an address": Case(
            {
                "drydock_deployment": "foreign",
                "drydock_domain": "registry.inside.example.com",
                "aws_identity_acme_zone": "inside.example.com",
                "registry_tls_names": ["registry.example.net", "192.0.2.1"],
            },
            [
                ("foreign-registry-eu-central-1",),
                ("aws_identity_acme_zone", "inside.example.com", "public"),
                ("aws_identity_acme_zone", "registry.example.net"),
                ("192.0.2.1", "is an address"),
            ],
        ),
    }


def inside(account: Account) -> dict[str, int]:
    """Return how much there is of each kind of thing that a run makes."""
    ec2, iam = account.client("ec2"), account.client("iam")
    return {
        "buckets": len(account.client("s3").list_buckets()["Buckets"]),
        "instances": sum(len(each["Instances"]) for each in ec2.describe_instances()["Reservations"]),
        "groups": len(ec2.describe_security_groups()["SecurityGroups"]),
        "roles": len(iam.list_roles()["Roles"]),
        "policies": len(iam.list_policies(Scope="Local")["Policies"]),
        "addresses": len(ec2.describe_addresses()["Addresses"]),
    }


class Outcome(NamedTuple):
    """What the run said of each case, and what the account held before and after."""

    cases: dict[str, Case]
    # The sentences of each.
    said: dict[str, list[str]]
    output: str
    before: dict[str, int]
    after: dict[str, int]


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    """One run with all cases."""
    with aws_account() as account:
        account.client("route53").create_hosted_zone(Name=ZONE, CallerReference="1")
        account.client("route53").create_hosted_zone(
            Name=f"inside.{ZONE}",
            CallerReference="2",
            HostedZoneConfig={"Comment": "", "PrivateZone": True},
            VPC={"VPCRegion": "eu-central-1", "VPCId": "vpc-00000000"},
        )
        other = account.client("sts").assume_role(
            RoleArn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/any", RoleSessionName="other"
        )
        boto3.client(
            "s3",
            endpoint_url=account.endpoint,
            region_name="eu-central-1",
            aws_access_key_id=other["Credentials"]["AccessKeyId"],
            aws_secret_access_key=other["Credentials"]["SecretAccessKey"],
            aws_session_token=other["Credentials"]["SessionToken"],
        ).create_bucket(Bucket="taken-elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        table = cases(account)
        settings = {
            **yaml.safe_load((ROOT / "inventories/prod/group_vars/all/main.yml").read_text(encoding="utf-8")),
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "drydock_aws_environment": account.environment,
            "drydock_credentials_directory": str(account.folder),
            "aws_instance_public_key": KEY,
            # A case that is not refused is not to wait for a host that nobody starts.
            "aws_instance_ssh_timeout_seconds": 1,
            "vault_drydock_users": [],
        }
        names = {name: re.sub(r"\W+", "_", name) for name in table}
        hosts = {names[name]: case.settings for name, case in table.items()}
        account.inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": settings}}), encoding="utf-8")
        before = inside(account)
        done = account.run_playbook(PLAYBOOK, "--forks=3")
        said = {name: last_failure(done, host).splitlines() for name, host in names.items()}
        yield Outcome(table, said, done.stdout + done.stderr, before, inside(account))


def test_each_case_gets_its_sentence(outcome: Outcome) -> None:
    wrong = {}
    for name, case in outcome.cases.items():
        said = outcome.said[name]
        if not all(any(all(word in line for word in words) for line in said) for words in case.sentences):
            wrong[name] = {"wanted": case.sentences, "got": said}
    assert not wrong, json.dumps(wrong, indent=2) + outcome.output[-6000:]


def test_each_mistake_is_one_sentence(outcome: Outcome) -> None:
    assert {name: said for name, said in outcome.said.items() if len(said) != len(outcome.cases[name].sentences)} == {}
    for name, said in outcome.said.items():
        for sentence in said:
            # Ansible's own words, where the argument specification says it all.
            assert sentence.endswith(".") or sentence.startswith("value of aws_"), (name, sentence)
            assert "Traceback" not in sentence, name
            assert len(re.findall(r"[.;] [A-Z]", sentence)) <= 1, (name, sentence)


def test_nothing_was_made(outcome: Outcome) -> None:
    assert outcome.after == outcome.before
