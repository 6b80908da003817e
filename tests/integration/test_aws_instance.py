# SPDX-License-Identifier: GPL-3.0-or-later
"""The role aws_instance against an API server of its own. The tests run in order: one host lives through all of them.

No host stands behind the API, so nothing answers SSH, and no console shows host keys: those belong to the rehearsal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from aws_account import REGION, Account, Steps, aws_account

NAME = "team-registry"
TAGS = {"Name": NAME, "drydock-deployment": "team", "owner": "platform"}
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILkTDFjPhSGlGVgCjxT2Y5zSCjWMRwnSCFQtwCyXm5mI somebody@example.com"


class Deployment:
    """The account, what the other roles would have made in it, and the role's settings."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.ec2 = account.client("ec2")
        self.route53 = account.client("route53")
        self.known_hosts = account.folder / "known_hosts"
        self.debian_13, self.debian_12 = (
            account.client("ssm").get_parameter(Name=f"/aws/service/debian/release/{release}/latest/arm64")[
                "Parameter"
            ]["Value"]
            for release in (13, 12)
        )
        self.surroundings()

    def surroundings(self) -> None:
        """Make a network's groups, an instance profile and hosted zones."""
        subnets = self.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        self.subnets = sorted(subnet["SubnetId"] for subnet in subnets)
        vpc = subnets[0]["VpcId"]
        self.groups = [
            self.ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
            for name in ("registry", "other")
        ]
        iam = self.account.client("iam")
        for profile in ("registry", "other"):
            iam.create_role(RoleName=profile, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=profile)
            iam.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=profile)
        self.zones = {
            private: self.route53.create_hosted_zone(
                Name="example.com",
                CallerReference=str(private),
                HostedZoneConfig={"PrivateZone": private},
                **({"VPC": {"VPCRegion": REGION, "VPCId": vpc}} if private else {}),
            )["HostedZone"]["Id"]
            for private in (False, True)
        }
        self.settings: dict[str, Any] = {
            "aws_instance_name": "team",
            "aws_instance_region": REGION,
            "aws_instance_tags": {"owner": "platform"},
            "aws_instance_subnet_id": self.subnets[0],
            "aws_instance_security_group_ids": [self.groups[0]],
            "aws_instance_instance_profile": "registry",
            "aws_instance_public_key": PUBLIC_KEY,
            "aws_instance_user_data": "#cloud-config\n{}\n",
            "aws_instance_domain": "registry.example.com",
            "aws_instance_zone": "example.com",
            "aws_instance_host_key_provider": "first_use",
            "aws_instance_known_hosts": str(self.known_hosts),
            # Nobody is there to answer.
            "aws_instance_wait_enabled": False,
        }

    def run(self, entry: str = "main", *arguments: str, **settings: Any) -> Steps:
        """Call an entry point of the role with the settings and others."""
        steps = Steps("aws_instance").run(self.all_settings(settings), entry)
        steps.play(self.account, *arguments)
        return steps

    def changed(self, entry: str = "main", *arguments: str, **settings: Any) -> list[str]:
        """Return the tasks of such a call that changed something."""
        return self.run(entry, *arguments, **settings).changed[0]

    def refused(self, entry: str = "main", **settings: Any) -> str:
        """Return what such a call is refused with, on one line."""
        steps = Steps("aws_instance").refused(self.all_settings(settings), entry)
        steps.play(self.account)
        return " ".join(steps.refusal(0).split())

    def all_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings with others in their place."""
        return self.settings | {f"aws_instance_{key}": value for key, value in settings.items()}

    def instances(self) -> list[dict[str, Any]]:
        """Return the instances that live, ours and others."""
        found = self.ec2.describe_instances(
            Filters=[{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        )
        return [instance for reservation in found["Reservations"] for instance in reservation["Instances"]]

    def instance(self) -> dict[str, Any]:
        """Return the one instance that lives."""
        [found] = self.instances()
        return found

    def volume(self) -> dict[str, Any]:
        """Return its root volume."""
        volume = self.instance()["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        found: dict[str, Any] = self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
        return found

    def addresses(self) -> list[dict[str, Any]]:
        """Return all Elastic IPs."""
        found: list[dict[str, Any]] = self.ec2.describe_addresses()["Addresses"]
        return found

    def attribute(self, name: str) -> Any:
        """Return one attribute of the instance."""
        answer = self.ec2.describe_instance_attribute(InstanceId=self.instance()["InstanceId"], Attribute=name)
        return answer[name[0].upper() + name[1:]]["Value"]

    def record(self, private: bool = False) -> list[str]:
        """Return what the name leads to."""
        sets = self.route53.list_resource_record_sets(HostedZoneId=self.zones[private])["ResourceRecordSets"]
        return [
            value["Value"]
            for found in sets
            if (found["Name"], found["Type"]) == ("registry.example.com.", "A")
            for value in found["ResourceRecords"]
        ]

    def write_record(self, action: str, address: str, private: bool = False) -> None:
        """Write a record as somebody else would."""
        record = {"Name": "registry.example.com", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": address}]}
        self.route53.change_resource_record_sets(
            HostedZoneId=self.zones[private], ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        )


def named(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


@pytest.fixture(scope="module")
def here() -> Iterator[Deployment]:
    with aws_account() as account:
        # What the role's own setting says has to be enough.
        for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            del account.environment[variable]
        yield Deployment(account)


def test_a_dry_run_in_an_empty_account_says_what_it_would_make(here: Deployment) -> None:
    # As in a dry run of the whole deployment: network and identity do not exist yet either.
    done = here.run("main", "--check", subnet_id="", security_group_ids=[], instance_profile="not-yet")
    assert done.changed[0] == ["Import the public key", "Report what changes, and what AWS cannot change"]
    assert all(word in done.said for word in ("t4g.small", here.debian_13, "20 GiB", "registry.example.com"))
    assert done.result(0)["name"] == NAME
    assert done.result(0)["instance_id"] == ""
    assert (here.instances(), here.addresses()) == ([], [])


def test_what_a_new_host_needs_is_asked_for(here: Deployment) -> None:
    said = here.refused(subnet_id="", security_group_ids=[], instance_profile="")
    assert all(
        f"aws_instance_{word} is empty" in said for word in ("subnet_id", "security_group_ids", "instance_profile")
    )
    assert here.instances() == []


def test_a_record_of_somebody_else_is_not_overwritten(here: Deployment) -> None:
    here.write_record("CREATE", "192.0.2.7")
    assert "points to 192.0.2.7, which is not this deployment's" in here.refused()
    assert here.instances() == []
    here.write_record("DELETE", "192.0.2.7")


def test_a_host_is_made_as_promised(here: Deployment) -> None:
    made = here.run().result(0)

    instance = here.instance()
    assert instance["State"]["Name"] == "running"
    assert (instance["InstanceType"], instance["ImageId"]) == ("t4g.small", here.debian_13)
    assert instance["SubnetId"] == here.subnets[0]
    options = instance["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 2)
    assert options["InstanceMetadataTags"] == "disabled"
    assert [group["GroupId"] for group in instance["SecurityGroups"]] == [here.groups[0]]
    assert instance["IamInstanceProfile"]["Arn"].endswith("instance-profile/registry")
    assert here.attribute("disableApiTermination") is True
    assert named(instance["Tags"]) == TAGS
    # With `standard`, the first run would have a fifth of each processor.
    [credit] = here.ec2.describe_instance_credit_specifications(InstanceIds=[instance["InstanceId"]])[
        "InstanceCreditSpecifications"
    ]
    assert credit["CpuCredits"] == "unlimited"

    volume = here.volume()
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (20, "gp3", True)
    assert named(volume["Tags"]) == TAGS
    assert instance["BlockDeviceMappings"][0]["DeviceName"] == instance["RootDeviceName"]
    assert instance["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True

    [key] = here.ec2.describe_key_pairs()["KeyPairs"]
    assert (key["KeyName"], named(key["Tags"]), instance["KeyName"]) == (NAME, TAGS, NAME)

    # One public address, which outlives the host, and none that the subnet gave out.
    [address] = here.addresses()
    assert (address["InstanceId"], named(address["Tags"])) == (instance["InstanceId"], TAGS)
    assert instance["PublicIpAddress"] == address["PublicIp"]
    assert here.record() == [address["PublicIp"]]

    assert made == {
        "instance_id": instance["InstanceId"],
        "name": NAME,
        "private_ip": instance["PrivateIpAddress"],
        "public_ip": address["PublicIp"],
        "address": address["PublicIp"],
        "user": "admin",
        "architecture": "arm64",
        "image_id": here.debian_13,
        "zone": instance["Placement"]["AvailabilityZone"],
        "domain": "registry.example.com",
        "known_hosts": str(here.known_hosts),
    }


def test_a_second_run_changes_nothing(here: Deployment) -> None:
    # Keys that are known are not asked for again: the console of this API has none and the run would fail.
    here.known_hosts.write_text(f"{here.instance()['InstanceId']} ssh-ed25519 AAAA\n", encoding="utf-8")
    done = here.run(host_key_provider="console")
    assert done.changed[0] == []
    assert done.result(0)["public_ip"] == here.addresses()[0]["PublicIp"]


def test_ssh_that_does_not_answer_is_said(here: Deployment) -> None:
    said = here.refused(wait_enabled=True, ssh_timeout_seconds=1)
    assert f"SSH does not answer at {here.addresses()[0]['PublicIp']} within 1 s" in said


def test_what_others_changed_is_put_right(here: Deployment) -> None:
    ec2, instance = here.ec2, here.instance()
    host = instance["InstanceId"]
    ec2.modify_instance_metadata_options(InstanceId=host, HttpTokens="optional", HttpPutResponseHopLimit=1)
    ec2.modify_instance_attribute(InstanceId=host, DisableApiTermination={"Value": False})
    ec2.modify_instance_attribute(InstanceId=host, Groups=here.groups)
    ec2.create_tags(Resources=[host], Tags=[{"Key": "Name", "Value": "x"}, {"Key": "cost-centre", "Value": "7"}])
    [association] = ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    ec2.disassociate_iam_instance_profile(AssociationId=association["AssociationId"])
    ec2.disassociate_address(AssociationId=here.addresses()[0]["AssociationId"])
    here.write_record("UPSERT", instance["PrivateIpAddress"])

    def drift() -> list[Any]:
        found = here.instance()
        options = found["MetadataOptions"]
        return [
            (options["HttpTokens"], options["HttpPutResponseHopLimit"]),
            here.attribute("disableApiTermination"),
            {group["GroupId"] for group in found["SecurityGroups"]},
            found.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2],
            named(found["Tags"]),
            here.addresses()[0].get("InstanceId", ""),
            here.record(),
        ]

    before = drift()
    done = here.run("main", "--check")
    assert drift() == before, "a dry run changed something"
    assert done.changed[0] == [
        "Report what changes, and what AWS cannot change",
        "Ensure the instance runs",
        "Associate the Elastic IP with the instance",
        "Ensure the DNS record points to the host",
    ]
    assert len(here.changed()) == 3
    assert drift() == [
        ("required", 2),
        True,
        {here.groups[0]},
        "registry",
        TAGS | {"cost-centre": "7"},
        host,
        [here.addresses()[0]["PublicIp"]],
    ]


def test_another_type_and_a_larger_volume_keep_the_host(here: Deployment) -> None:
    before = here.instance()
    done = here.run(type="t4g.medium", volume_gib=30)
    after = here.instance()
    assert "turns from t4g.small into t4g.medium" in done.said
    assert "grows from 20 to 30 GiB" in done.said
    assert after["InstanceType"] == "t4g.medium"
    assert after["State"]["Name"] == "running"
    kept = ("InstanceId", "PrivateIpAddress", "SubnetId")
    assert [after[key] for key in kept] == [before[key] for key in kept]
    assert [(each["InstanceId"], each["PublicIp"]) for each in here.addresses()] == [
        (before["InstanceId"], before["PublicIpAddress"])
    ]
    assert (here.volume()["Size"], here.volume()["VolumeType"]) == (30, "gp3")
    here.settings |= {"aws_instance_type": "t4g.medium", "aws_instance_volume_gib": 30}
    assert "aws_instance_volume_gib" in here.refused(volume_gib=20)


def test_what_a_host_cannot_become_is_said_and_left(here: Deployment) -> None:
    host = here.instance()["InstanceId"]
    done = here.run(
        image_provider="id",
        image_id=here.debian_12,
        subnet_id=here.subnets[1],
        public_key="",
        host_key_provider="console",
    )
    assert done.changed[0] == []
    said = done.said
    assert f"It runs the AMI {here.debian_13}; the settings name {here.debian_12}" in said
    assert f"not in {here.subnets[1]}" in said
    assert f"It was made with the key pair {NAME}, not with none" in said
    assert f"aws_instance_replace={host}" in said
    assert here.instance()["InstanceId"] == host


def test_a_host_of_another_architecture_has_to_be_replaced(here: Deployment) -> None:
    said = here.refused(type="t3.small", architecture="amd64")
    assert f"aws_instance_replace: {here.instance()['InstanceId']}" in said


def test_a_host_is_replaced_on_demand_only(here: Deployment) -> None:
    old, [address] = here.instance(), here.addresses()
    assert "aws_instance_replace" in here.refused(replace="i-0123456789abcdef0")
    done = here.run(replace=old["InstanceId"], image_provider="id", image_id=here.debian_12)
    assert done.changed[0]
    assert "its CA" in done.said

    new = here.instance()
    assert new["InstanceId"] != old["InstanceId"]
    assert new["ImageId"] == here.debian_12
    assert [found["PublicIp"] for found in here.addresses()] == [address["PublicIp"]]
    assert here.addresses()[0]["InstanceId"] == new["InstanceId"]
    assert here.record() == [address["PublicIp"]]
    assert here.known_hosts.read_text(encoding="utf-8") == ""
    assert here.changed(image_provider="id", image_id=here.debian_12) == []


def test_removal_takes_what_is_ours(here: Deployment) -> None:
    ec2 = here.ec2
    [foreign] = ec2.run_instances(ImageId=here.debian_12, InstanceType="t4g.micro", MinCount=1, MaxCount=1)["Instances"]
    ec2.allocate_address(Domain="vpc")
    ec2.import_key_pair(KeyName="theirs", PublicKeyMaterial=PUBLIC_KEY.encode())

    here.run("remove", "--check")
    assert len(here.instances()) == 2
    assert len(here.changed("remove")) == 6
    assert here.instance()["InstanceId"] == foreign["InstanceId"]
    assert [named(address.get("Tags", [])) for address in here.addresses()] == [{}]
    assert [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]] == ["theirs"]
    assert here.record() == []
    assert here.changed("remove") == []

    ec2.terminate_instances(InstanceIds=[foreign["InstanceId"]])
    ec2.release_address(AllocationId=here.addresses()[0]["AllocationId"])


def test_a_private_host_without_ssh(here: Deployment) -> None:
    settings: dict[str, Any] = {
        "type": "m7g.large",
        "public_key": "",
        "elastic_ip_enabled": False,
        "zone_private": True,
        "termination_protection_enabled": False,
        # Neither is asked without a key.
        "wait_enabled": True,
        "host_key_provider": "console",
    }
    made = here.run(**settings).result(0)
    instance = here.instance()
    assert "KeyName" not in instance
    assert here.addresses() == []
    assert (here.record(private=True), here.record()) == ([instance["PrivateIpAddress"]], [])
    assert made["public_ip"] == instance.get("PublicIpAddress", "")
    assert here.attribute("disableApiTermination") is False

    # An Elastic IP later, and no longer.
    here.run(**settings | {"elastic_ip_enabled": True})
    assert here.instance()["PublicIpAddress"] == here.addresses()[0]["PublicIp"]
    here.run(**settings)
    assert here.addresses() == []


def test_the_address_of_a_nat_gateway_is_left_alone(here: Deployment) -> None:
    # The network's, with the deployment's tag, and in use or not.
    tags = [{"Key": "drydock-deployment", "Value": "team"}, {"Key": "drydock-address", "Value": "nat"}]
    of_nat = here.ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}])[
        "AllocationId"
    ]
    settings: dict[str, Any] = {"type": "m7g.large", "public_key": "", "zone_private": True}
    settings["termination_protection_enabled"] = False
    made = here.run(**settings, elastic_ip_enabled=True).result(0)
    assert len(here.addresses()) == 2
    [left] = [address for address in here.addresses() if address["AllocationId"] == of_nat]
    assert left["PublicIp"] != made["public_ip"]
    assert not left.get("AssociationId")
    here.run(**settings, elastic_ip_enabled=False)
    assert [address["AllocationId"] for address in here.addresses()] == [of_nat]
    here.ec2.release_address(AllocationId=of_nat)


def test_a_zone_of_another_account_is_changed_by_a_role_there(here: Deployment) -> None:
    role = "arn:aws:iam::444455556666:role/dns-registry"
    keys = here.account.client("sts").assume_role(RoleArn=role, RoleSessionName="theirs")["Credentials"]
    theirs = boto3.client(
        "route53",
        endpoint_url=here.account.endpoint,
        region_name=REGION,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    zone = theirs.create_hosted_zone(Name="example.com", CallerReference="theirs")["HostedZone"]["Id"]
    settings: dict[str, Any] = {"type": "m7g.large", "public_key": "", "elastic_ip_enabled": False}
    settings |= {"termination_protection_enabled": False, "zone_role_arn": role}
    assert here.changed("main", "--check", **settings) == ["Ensure the DNS record points to the host"]
    steps = here.run(**settings)
    assert here.record() == []
    sets = theirs.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert [found["Name"] for found in sets if found["Type"] == "A"] == ["registry.example.com."]
    assert keys["SecretAccessKey"] not in str(steps.result(0))
    assert here.changed(**settings) == []
    # Away again, as what follows looks at this account's.
    theirs.change_resource_record_sets(
        HostedZoneId=zone,
        ChangeBatch={
            "Changes": [{"Action": "DELETE", "ResourceRecordSet": found} for found in sets if found["Type"] == "A"]
        },
    )


def test_a_host_that_somebody_terminated(here: Deployment) -> None:
    host = here.instance()["InstanceId"]
    here.ec2.terminate_instances(InstanceIds=[host])
    assert f"aws_instance_replace: {host}" in here.refused()
    # A record that somebody has sent elsewhere is not ours any more.
    here.write_record("UPSERT", "192.0.2.9", private=True)
    done = here.run("remove", zone_private=True)
    assert "points to 192.0.2.9" in done.said
    assert here.record(private=True) == ["192.0.2.9"]
    assert here.changed("remove", zone_private=True) == []


def test_half_of_a_deployment_is_completed_and_removed(here: Deployment) -> None:
    # A replacement that ended between the old instance, which AWS has forgotten, and the new one.
    here.ec2.allocate_address(
        Domain="vpc",
        TagSpecifications=[
            {"ResourceType": "elastic-ip", "Tags": [{"Key": "drydock-deployment", "Value": "team"}]},
        ],
    )
    [address] = here.addresses()
    assert "has lost its instance" in here.refused("preflight", public_key="", key_pair="theirs")
    here.run(public_key="", key_pair="theirs", replace="i-0123456789abcdef0")
    assert here.instance()["KeyName"] == "theirs"
    assert [found["PublicIp"] for found in here.addresses()] == [address["PublicIp"]]

    # A removal that ended after the instance, or somebody's own hands.
    here.ec2.modify_instance_attribute(InstanceId=here.instance()["InstanceId"], DisableApiTermination={"Value": False})
    here.ec2.terminate_instances(InstanceIds=[here.instance()["InstanceId"]])
    here.run("remove")
    assert (here.addresses(), here.record()) == ([], [])
    assert [key["KeyName"] for key in here.ec2.describe_key_pairs()["KeyPairs"]] == ["theirs"]
    assert here.changed("remove") == []


def test_what_cannot_be_is_refused_at_once(here: Deployment) -> None:
    said = here.refused("preflight", user_data="#" * 16385, record_ttl_seconds=0, ssh_timeout_seconds=0)
    assert all(f"aws_instance_{word}" in said for word in ("user_data", "record_ttl_seconds", "ssh_timeout_seconds"))
