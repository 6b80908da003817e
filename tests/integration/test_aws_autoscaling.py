# SPDX-License-Identifier: GPL-3.0-or-later
"""The role aws_autoscaling against an API server of its own. The tests run in order: one fleet lives through all of them.

No hosts stand behind the API; what they do at boot, test_aws_autoscaling_boot.py runs.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aws_account import REGION, ROOT, aws_account
from aws_autoscaling import BUCKET, NAME, SECRET, Call, Deployment, Played, call
from botocore.exceptions import ClientError

TAGS = {"Name": NAME, "drydock-deployment": "team", "owner": "platform"}


def named(tags: list[dict[str, Any]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with aws_account() as account:
        yield Deployment(account)


# What is refused, and the beginning of each sentence. What a call says together is one call.
REFUSED: list[tuple[Call, list[str]]] = [
    (
        call(
            min_hosts=0,
            type="t3.small",
            image_provider="golden",
            warmup_seconds=0,
            boot_timeout_seconds=7200,
            drain_seconds=0,
            bundle_bucket="",
            refresh={"min_healthy_percent": 50, "max_healthy_percent": 200},
        ),
        [
            "aws_autoscaling_min_hosts is 0, and a fleet without a host serves nobody",
            "The instance type t3.small in aws_autoscaling_type has amd64, not arm64",
            "has no golden image of the deployment team for arm64",
            "aws_autoscaling_warmup_seconds is 0: write 1 to 3600",
            "aws_autoscaling_boot_timeout_seconds is 7200: write 60 to 6900",
            "aws_autoscaling_drain_seconds is 0: write 1 to 3600",
            "aws_autoscaling_bundle_bucket is empty",
            "at most 100 apart",
        ],
    ),
    (
        call(
            min_hosts=5,
            spot={"types": ["t3.medium"]},
            image_provider="id",
            image_id="ami-00000000000000000",
        ),
        [
            "aws_autoscaling_min_hosts is 5, which is above aws_autoscaling_max_hosts (4)",
            "The instance type t3.medium in aws_autoscaling_spot['types'] has amd64, not arm64",
            "has no image ami-00000000000000000 (aws_autoscaling_image_id)",
        ],
    ),
    (
        call(pull_interval_seconds=2281, session_manager_enabled=True),
        [
            "aws_autoscaling_pull_interval_seconds is 2281, with which a host that the group takes out would be ended before",
            "aws_autoscaling_session_manager_enabled is true, but aws_autoscaling_session_manager_version and",
        ],
    ),
    (call(min_hosts=0, max_hosts=0), ["aws_autoscaling_max_hosts is 0"]),
    (call(desired_hosts=9), ["aws_autoscaling_desired_hosts is 9, which is not between"]),
    (call(), [f"There is no bucket {BUCKET} (aws_autoscaling_bundle_bucket)"]),
    (
        call("golden_image", settings={"drydock_directory": "/srv", "registry_tls_directory": "/srv/tls"}),
        ["drydock_directory in aws_autoscaling_settings or aws_autoscaling_live names no folder of the registry's own"],
    ),
]


class TestEmptyAccount:
    """Before anything is there."""

    def test_a_dry_run_says_what_would_be_made(self, deployment: Deployment) -> None:
        played = deployment.play(call(subnet_ids=[], security_group_ids=[], instance_profile=""), check=True)
        assert played.changed[0]
        assert f"A fleet {NAME} would be made: 2 to 4 hosts t4g.small" in played.said
        assert deployment.ec2.describe_launch_templates()["LaunchTemplates"] == []

    def test_it_refuses_in_one_sentence(self, deployment: Deployment) -> None:
        single = (
            call(subnet_ids=deployment.subnets[:1]),
            ["All subnets in aws_autoscaling_subnet_ids lie in eu-central-1a"],
        )
        cases = [*REFUSED, single]
        said = deployment.refusals(*(each for each, _ in cases))
        for text, (_, sentences) in zip(said, cases, strict=True):
            assert [sentence for sentence in sentences if sentence not in text] == [], text
        assert deployment.ec2.describe_launch_templates()["LaunchTemplates"] == []


class TestFleet:
    """From nothing to a second run."""

    def test_it_makes_a_fleet_and_a_second_run_changes_nothing(self, deployment: Deployment) -> None:
        deployment.make_bucket()
        played = deployment.play(call(), call())
        first, second = played.changed
        assert first
        assert second == []
        said = played.steps.result(0)
        group = deployment.group()
        assert said["group_name"] == group["AutoScalingGroupName"] == NAME
        assert said["launch_template_version"] == "1"
        assert said["image_id"] == deployment.image
        assert said["bundle"] in deployment.objects()
        assert said["refreshing"] is False
        assert SECRET not in played.done.stdout + played.done.stderr
        assert deployment.refreshes() == []

    def test_its_hosts_are_as_set(self, deployment: Deployment) -> None:
        version = deployment.version()
        data = version["LaunchTemplateData"]
        assert data["ImageId"] == deployment.image
        assert data["InstanceType"] == "t4g.small"
        assert data["IamInstanceProfile"]["Arn"].endswith(":instance-profile/registry")
        assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert data["Monitoring"] == {"Enabled": True}
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
        assert data["NetworkInterfaces"][0]["Groups"] == [deployment.group_id]
        assert data["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is True
        assert data["BlockDeviceMappings"][0]["Ebs"] == {
            "Encrypted": True,
            "DeleteOnTermination": True,
            "VolumeSize": 20,
            "VolumeType": "gp3",
        }
        for specification in data["TagSpecifications"]:
            assert named(specification["Tags"]).items() >= TAGS.items()
        assert {each["ResourceType"] for each in data["TagSpecifications"]} == {"instance", "volume"}

    def test_user_data_holds_no_secret_and_compiles(self, deployment: Deployment) -> None:
        text = base64.b64decode(deployment.version()["LaunchTemplateData"]["UserData"]).decode()
        assert len(text.encode()) <= 16384
        assert SECRET not in text
        compile(text, "user-data", "exec")
        assert f"https://{BUCKET}.s3.{REGION}.amazonaws.com" in text

    def test_the_group_spans_zones_and_replaces_no_host_for_its_storage(self, deployment: Deployment) -> None:
        group = deployment.group()
        assert sorted(group["VPCZoneIdentifier"].split(",")) == sorted(deployment.subnets[:2])
        assert len(group["AvailabilityZones"]) == 2
        assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (2, 4, 2)
        # What the load balancer thinks of a host decides about requests alone.
        assert (group["HealthCheckType"], group["HealthCheckGracePeriod"]) == ("EC2", 0)
        assert (group["DefaultInstanceWarmup"], group["CapacityRebalance"]) == (180, False)
        assert group["TargetGroupARNs"] == [deployment.target_group]
        assert named(group["Tags"]).items() >= TAGS.items()
        assert group["LaunchTemplate"]["Version"] == "1"
        assert len(group["Instances"]) == 2

    def test_no_host_is_in_service_before_it_says_so(self, deployment: Deployment) -> None:
        """Those of the first run as well, which are launched when the hooks are there."""
        found = deployment.autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=NAME)["LifecycleHooks"]
        assert {
            hook["LifecycleHookName"]: (hook["LifecycleTransition"], hook["HeartbeatTimeout"], hook["DefaultResult"])
            for hook in found
        } == {
            "launch": ("autoscaling:EC2_INSTANCE_LAUNCHING", 1200, "ABANDON"),
            "terminate": ("autoscaling:EC2_INSTANCE_TERMINATING", 405, "CONTINUE"),
        }
        group = deployment.group()
        assert {host["LifecycleState"] for host in group["Instances"]} == {"Pending:Wait"}
        for host in group["Instances"]:
            word = {
                "AutoScalingGroupName": NAME,
                "LifecycleHookName": "launch",
                "InstanceId": host["InstanceId"],
                "LifecycleActionResult": "CONTINUE",
            }
            deployment.autoscaling.complete_lifecycle_action(**word)
            with pytest.raises(ClientError, match="No active Lifecycle Action found with instance ID"):
                deployment.autoscaling.complete_lifecycle_action(**word)
        assert {host["LifecycleState"] for host in deployment.group()["Instances"]} == {"InService"}

    def test_it_scales_by_cpu_and_by_requests(self, deployment: Deployment) -> None:
        found = {
            name: (
                policy["TargetTrackingConfiguration"]["PredefinedMetricSpecification"],
                policy["TargetTrackingConfiguration"]["TargetValue"],
                # That of the group.
                policy.get("EstimatedInstanceWarmup", 0),
            )
            for name, policy in deployment.policies().items()
        }
        assert found == {
            f"{NAME}-cpu": ({"PredefinedMetricType": "ASGAverageCPUUtilization"}, 60.0, 0),
            f"{NAME}-requests": (
                {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": deployment.label},
                3000.0,
                0,
            ),
        }

    def test_somebody_is_told_of_trouble(self, deployment: Deployment) -> None:
        alarms = {name: alarm for name, alarm in deployment.alarms().items() if "-fleet-" in name}
        assert {alarm["MetricName"] for alarm in alarms.values()} == {
            "UnHealthyHostCount",
            "HealthyHostCount",
            "HTTPCode_Target_5XX_Count",
            "HTTPCode_ELB_5XX_Count",
        }
        topic = deployment.settings["aws_autoscaling_alarm_topic_arn"]
        assert all(alarm["AlarmActions"] == alarm["OKActions"] == [topic] for alarm in alarms.values())
        balancer, target = (
            deployment.label.partition("/targetgroup/")[0],
            deployment.label.rpartition("/targetgroup/")[2],
        )
        both = {"LoadBalancer": balancer, "TargetGroup": f"targetgroup/{target}"}
        assert {
            name.removeprefix(f"{NAME}-fleet-"): (
                f"{alarm['Statistic']} {alarm['ComparisonOperator']} {alarm['Threshold']}",
                f"{alarm['EvaluationPeriods']} x {alarm['Period']} s, {alarm['TreatMissingData']}",
                {each["Name"]: each["Value"] for each in alarm["Dimensions"]},
            )
            for name, alarm in alarms.items()
        } == {
            "unhealthy-hosts": ("Maximum GreaterThanThreshold 0.0", "5 x 60 s, notBreaching", both),
            "no-healthy-host": ("Maximum LessThanThreshold 1.0", "2 x 60 s, breaching", both),
            "host-errors": ("Sum GreaterThanOrEqualToThreshold 50.0", "1 x 300 s, notBreaching", both),
            "balancer-errors": (
                "Sum GreaterThanOrEqualToThreshold 50.0",
                "1 x 300 s, notBreaching",
                {"LoadBalancer": balancer},
            ),
        }

    def test_the_bundle_holds_what_its_name_says(self, deployment: Deployment) -> None:
        [key] = deployment.bundles()
        content = deployment.content(key)
        assert key == f"bundles/{hashlib.sha256(content).hexdigest()}.tar.gz"
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            names = archive.getnames()
            settings = json.load(archive.extractfile("settings.json"))  # type: ignore[arg-type]
            wanted = archive.extractfile("requirements.txt").read().decode()  # type: ignore[union-attr]
            plugins = [name for name in names if re.search(r"/drydock/registry/plugins/.*\.py$", name)]
            imported = {
                module
                for name in plugins
                for module in re.findall(
                    r"module_utils(?: import |\.)(_[a-z]\w*)",
                    archive.extractfile(name).read().decode(),  # type: ignore[union-attr]
                )
            }
        # All or nothing, or pip refuses it.
        assert wanted.count("==") > 5
        assert all(each.startswith("    --hash=sha256:") or each.endswith(" \\") for each in wanted.splitlines())
        assert settings["variables"] == {"drydock_domain": "registry.example.com"}
        assert settings["boot"] == {
            "agent_url": "",
            "agent_sha256": "",
            "drain_seconds": 300,
            "group": NAME,
            "group_url": f"https://autoscaling.{REGION}.amazonaws.com/",
            "pip_index_url": "",
            "pull_interval_seconds": 15,
        }
        below = "collections/ansible_collections"
        # All that the playbook names by its file.
        playbook = (ROOT / "playbooks/configure.yml").read_text(encoding="utf-8")
        for name in ("configure.yml", *re.findall(r"\b(?:tasks|vars)/\w+\.yml", playbook)):
            assert f"{below}/drydock/registry/playbooks/{name}" in names
        # All that what is packed imports.
        assert imported
        packed = {name.rpartition("/")[2].removesuffix(".py") for name in plugins if "/module_utils/" in name}
        assert imported - packed == set()
        assert f"{below}/community/docker/plugins/modules/docker_container.py" in names
        assert not [
            name
            for name in names
            if "aws" in name.replace("_aws_errors", "").replace("_aws_partitions", "")
            or ".credentials" in name
            or "/inventories/" in name
        ]
        assert not [name for name in names if name.startswith(f"{below}/drydock/registry/tests")]

    def test_live_settings_are_apart_and_encrypted(self, deployment: Deployment) -> None:
        head = deployment.s3.head_object(Bucket=BUCKET, Key="live.json")
        assert head["ServerSideEncryption"] == "AES256"
        live = json.loads(deployment.content("live.json"))
        assert live["format"] == 1
        assert live["variables"] == deployment.settings["aws_autoscaling_live"]


class TestChanges:
    """What a run does about a difference."""

    def test_a_dry_run_says_what_it_would_do(self, deployment: Deployment) -> None:
        users = [{"name": "bob", "password_hash": "another"}]
        before = deployment.objects()
        played = deployment.play(
            call(),
            call(live={"registry_auth_users": users}),
            call(settings={"drydock_domain": "images.example.com"}),
            call("live", live={"registry_auth_users": users}),
            call("live"),
            call("golden_image"),
            check=True,
        )
        nothing, live, settings, live_alone, nothing_alone, golden = played.changed
        assert nothing == nothing_alone == []
        assert live == live_alone == ["Report what a dry run would change, and hosts that stay outdated"]
        assert settings
        assert "A run would replace the hosts" in played.said
        assert golden == ["Report what a dry run would create"]
        assert f"A golden image would be made of the AMI {deployment.image}" in played.said
        assert played.said.count("would be made of the AMI") == 1
        assert deployment.builders() == []
        assert deployment.refreshes() == []
        assert deployment.objects() == before

    def test_other_users_change_one_object_and_replace_no_host(self, deployment: Deployment) -> None:
        one = deployment.settings["aws_autoscaling_live"]
        two = {"registry_auth_users": [*one["registry_auth_users"], {"name": "bob", "password_hash": "another"}]}
        # By the whole run, and alone; both write the same.
        played = deployment.play(call(live=two), call("live"), call("live"), call())
        wrote = ["Write users and certificates, which hosts fetch again and again"]
        assert played.changed == [wrote, wrote, [], []]
        users = [live["registry_auth_users"] for live in (one, two, one)]
        assert deployment.users_so_far() == users
        assert deployment.refreshes() == []

    def test_another_setting_makes_a_bundle_a_version_and_a_refresh(self, deployment: Deployment) -> None:
        deployment.settings["aws_autoscaling_settings"] = {"drydock_domain": "images.example.com"}
        before = set(deployment.objects())
        said = deployment.play(call()).steps.result(0)
        assert said["refreshing"] is True
        assert said["launch_template_version"] == "2"
        assert deployment.group()["LaunchTemplate"]["Version"] == "2"
        assert len(set(deployment.objects()) - before) == 1
        [refresh] = deployment.refreshes()
        assert refresh["Preferences"]["MinHealthyPercentage"] == 100
        assert refresh["Preferences"]["MaxHealthyPercentage"] == 200
        assert refresh["Preferences"]["InstanceWarmup"] == 180

    def test_going_back_writes_no_new_version_and_the_bundle_before_the_last_goes(self, deployment: Deployment) -> None:
        assert len(deployment.bundles()) == 2
        played = deployment.play(call(settings={"drydock_domain": "third.example.com"}), call(), call())
        third, back = played.steps.result(0), played.steps.result(1)
        assert (third["launch_template_version"], back["launch_template_version"]) == ("3", "2")
        assert played.changed[2] == []
        assert sorted(deployment.bundles()) == sorted([third["bundle"], back["bundle"]])
        assert deployment.version()["VersionNumber"] == 3
        assert deployment.group()["LaunchTemplate"]["Version"] == "2"

    def test_it_puts_right_what_somebody_changed_but_not_what_scaling_did(self, deployment: Deployment) -> None:
        number = deployment.ec2.create_launch_template_version(
            LaunchTemplateName=NAME, LaunchTemplateData={"ImageId": deployment.image, "InstanceType": "t4g.micro"}
        )["LaunchTemplateVersion"]["VersionNumber"]
        deployment.update_group(
            MaxSize=9,
            HealthCheckType="ELB",
            HealthCheckGracePeriod=1,
            DefaultInstanceWarmup=1,
            LaunchTemplate={"LaunchTemplateName": NAME, "Version": str(number)},
        )
        deployment.autoscaling.delete_lifecycle_hook(AutoScalingGroupName=NAME, LifecycleHookName="terminate")
        deployment.autoscaling.set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=3)
        deployment.cloudwatch.delete_alarms(AlarmNames=[f"{NAME}-fleet-host-errors"])
        deployment.autoscaling.delete_policy(AutoScalingGroupName=NAME, PolicyName=f"{NAME}-cpu")
        deployment.s3.put_object(Bucket=BUCKET, Key="live.json", Body=b"{}")
        [right] = deployment.play(call()).changed
        # A host that scaling has started meanwhile is of the version of somebody else.
        assert sorted(right) == [
            "Ensure alarms watch the hosts and the load balancer",
            "Ensure hosts say when they serve and finish before they go",
            "Ensure the group has these hosts",
            "Ensure the number of hosts follows the load",
            "Replace outdated hosts one after the other",
            "Write users and certificates, which hosts fetch again and again",
        ]
        group = deployment.group()
        assert (group["MaxSize"], group["HealthCheckType"], group["HealthCheckGracePeriod"]) == (4, "EC2", 0)
        assert group["DefaultInstanceWarmup"] == 180
        assert group["LaunchTemplate"]["Version"] == "2"
        assert group["DesiredCapacity"] == 3

    def test_spot_instances_stand_in_and_there_are_as_many_hosts_as_is_said(self, deployment: Deployment) -> None:
        spot = {"on_demand_base": 1, "on_demand_percent": 25, "types": ["t4g.medium", "m7g.large"]}
        assert deployment.play(call(spot=spot, desired_hosts=2), call(spot=spot)).changed[1] == []
        policy = deployment.group()["MixedInstancesPolicy"]
        assert [each["InstanceType"] for each in policy["LaunchTemplate"]["Overrides"]] == [
            "t4g.small",
            "t4g.medium",
            "m7g.large",
        ]
        distribution = policy["InstancesDistribution"]
        assert distribution["OnDemandBaseCapacity"] == 1
        assert distribution["OnDemandPercentageAboveBaseCapacity"] == 25
        assert distribution["SpotAllocationStrategy"] == "price-capacity-optimized"
        assert (deployment.group()["DesiredCapacity"], deployment.group()["CapacityRebalance"]) == (2, True)

    def test_another_tag_replaces_no_host(self, deployment: Deployment) -> None:
        before = {host["InstanceId"] for host in deployment.group()["Instances"]}
        refreshes = deployment.refreshes()
        tags = deployment.settings["aws_autoscaling_tags"] | {"cost-center": "42"}
        deployment.settings["aws_autoscaling_tags"] = tags
        first, second = deployment.play(call(), call()).changed
        assert "Tag the hosts and their volumes" in first
        assert second == []
        assert deployment.refreshes() == refreshes
        # Without spot instances, there is one more here.
        assert before <= {host["InstanceId"] for host in deployment.group()["Instances"]}
        found = deployment.ec2.describe_instances(InstanceIds=sorted(before))["Reservations"]
        volumes = deployment.ec2.describe_volumes(
            Filters=[{"Name": "attachment.instance-id", "Values": sorted(before)}]
        )["Volumes"]
        hosts = [host for reservation in found for host in reservation["Instances"]]
        # New ones have it as well.
        specifications = deployment.version()["LaunchTemplateData"]["TagSpecifications"]
        for tagged in (*hosts, *volumes, *specifications):
            assert named(tagged["Tags"])["cost-center"] == "42"
        assert len(volumes) >= len(hosts) == len(before)

    def test_a_network_load_balancer_counts_hosts_only_and_a_higher_minimum_starts_some(
        self, deployment: Deployment
    ) -> None:
        wanted = call(request_label=deployment.label.replace("app/", "net/"), min_hosts=3)
        assert deployment.play(wanted, wanted).changed[1] == []
        alarms = [alarm for name, alarm in deployment.alarms().items() if "-fleet-" in name]
        assert {alarm["MetricName"] for alarm in alarms} == {"UnHealthyHostCount", "HealthyHostCount"}
        assert {alarm["Namespace"] for alarm in alarms} == {"AWS/NetworkELB"}
        assert list(deployment.policies()) == [f"{NAME}-cpu"]
        group = deployment.group()
        assert (group["MinSize"], group["DesiredCapacity"]) == (3, 3)
        assert not group.get("MixedInstancesPolicy")

    def test_what_is_turned_off_goes(self, deployment: Deployment) -> None:
        off = call(cpu_target_percent=0, request_label="", desired_hosts=2)
        assert deployment.play(off, off).changed[1] == []
        assert deployment.policies() == {}
        assert not [name for name in deployment.alarms() if "-fleet-" in name]
        assert (deployment.group()["MinSize"], deployment.group()["DesiredCapacity"]) == (2, 2)

    def test_hosts_stay_where_nobody_wants_them_replaced(self, deployment: Deployment) -> None:
        count = len(deployment.refreshes())
        played = deployment.play(call(type="t4g.medium", refresh={"enabled": False}))
        assert "they stay until something replaces them" in played.said
        assert len(deployment.refreshes()) == count


class TestOtherSettings:
    """What nothing above has set, from what is asked for to what AWS has."""

    KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4ZQRdfNYB1yDl+6CkuZfZQOIsD6jE4ZIkT4mXrAOpP admin"
    PARAMETER = "/aws/service/debian/release/12/latest/arm64"

    def test_they_are_taken(self, deployment: Deployment) -> None:
        kms = deployment.account.client("kms")
        volumes, bundles = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        deployment.ec2.import_key_pair(KeyName="theirs", PublicKeyMaterial=self.KEY.encode())
        other = {
            "volume_gib": 40,
            "volume_kms_key_arn": volumes,
            "bundle_kms_key_arn": bundles,
            "public_ip_enabled": False,
            "detailed_monitoring_enabled": False,
            "alarm_errors_per_5_minutes": 7,
            "alarm_topic_arn": "",
            "pip_index_url": "https://packages.example.com/simple",
            "pull_interval_seconds": 60,
            "boot_timeout_seconds": 600,
            "drain_seconds": 60,
            "session_manager_enabled": True,
            "session_manager_version": "3.3.1611.0",
            "session_manager_sha256": "0" * 64,
            # Nobody answers there.
            "pip_hashes_enabled": False,
            "warmup_seconds": 90,
            "cpu_target_percent": 40,
            "requests_target_per_host": 500,
            "endpoint": "https://bucket.example.com",
            "subnet_ids": deployment.subnets[:3],
            "refresh": {"min_healthy_percent": 50, "max_healthy_percent": 150},
        }
        first = call(**other, image_parameter=self.PARAMETER, public_key=self.KEY)
        second = call(**other, image_provider="id", image_id=deployment.image, key_pair="theirs")

        before = deployment.version()["VersionNumber"], deployment.group(), deployment.objects()
        dry = deployment.play(first, check=True)
        assert dry.changed[0]
        assert f"A run would write the scaling policy {NAME}-cpu." in dry.said
        assert (deployment.version()["VersionNumber"], deployment.group(), deployment.objects()) == before

        played = deployment.play(first, first, second)
        assert played.changed[0]
        assert played.changed[1] == []
        # Another image and another key are another version, and all else stays.
        assert played.changed[2] == [
            "Write a version of the launch template",
            "Ensure the group has these hosts",
            "Replace outdated hosts one after the other",
        ]
        self.check_versions(deployment, played, volumes)
        self.check_bundle(deployment, played, bundles)
        self.check_fleet(deployment)

    def check_versions(self, deployment: Deployment, played: Played, volume_key: str) -> None:
        """Check what hosts are made of."""
        made = [deployment.version(played.steps.result(number)["launch_template_version"]) for number in (0, 2)]
        templates = [version["LaunchTemplateData"] for version in made]
        for data in templates:
            assert data["BlockDeviceMappings"][0]["Ebs"] == {
                "Encrypted": True,
                "DeleteOnTermination": True,
                "KmsKeyId": volume_key,
                "VolumeSize": 40,
                "VolumeType": "gp3",
            }
            assert data["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is False
            assert data["Monitoring"] == {"Enabled": False}
            user_data = base64.b64decode(data["UserData"]).decode()
            assert f'"url": "https://bucket.example.com/{BUCKET}"' in user_data
            assert '"seconds": 600' in user_data
        assert [data["KeyName"] for data in templates] == [NAME, "theirs"]
        assert [data["ImageId"] for data in templates] == [deployment.parameter("12", "arm64"), deployment.image]
        [pair] = deployment.ec2.describe_key_pairs(KeyNames=[NAME])["KeyPairs"]
        assert named(pair["Tags"]).items() >= TAGS.items()

    def check_bundle(self, deployment: Deployment, played: Played, key: str) -> None:
        """Check what hosts set themselves up with, and by what it is encrypted."""
        bundle = played.steps.result(0)["bundle"]
        for name in (bundle, "live.json"):
            head = deployment.s3.head_object(Bucket=BUCKET, Key=name)
            assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
        with tarfile.open(fileobj=io.BytesIO(deployment.content(bundle))) as archive:
            settings = json.load(archive.extractfile("settings.json"))  # type: ignore[arg-type]
        assert settings["boot"] == {
            "agent_url": f"https://bucket.example.com/amazon-ssm-{REGION}/3.3.1611.0/debian_arm64/amazon-ssm-agent.deb",
            "agent_sha256": "0" * 64,
            "drain_seconds": 60,
            "group": NAME,
            "group_url": f"https://autoscaling.{REGION}.amazonaws.com/",
            "pip_index_url": "https://packages.example.com/simple",
            "pull_interval_seconds": 60,
        }

    def check_fleet(self, deployment: Deployment) -> None:
        """Check the group, and what looks after it."""
        group = deployment.group()
        assert group["DefaultInstanceWarmup"] == 90
        assert sorted(group["VPCZoneIdentifier"].split(",")) == sorted(deployment.subnets[:3])
        assert {
            name: policy["TargetTrackingConfiguration"]["TargetValue"] for name, policy in deployment.policies().items()
        } == {f"{NAME}-cpu": 40.0, f"{NAME}-requests": 500.0}
        alarms = {name: alarm for name, alarm in deployment.alarms().items() if "-fleet-" in name}
        assert {name: alarm["Threshold"] for name, alarm in alarms.items() if "errors" in name} == {
            f"{NAME}-fleet-host-errors": 7.0,
            f"{NAME}-fleet-balancer-errors": 7.0,
        }
        assert all(alarm["AlarmActions"] == alarm["OKActions"] == [] for alarm in alarms.values())
        preferences = deployment.refreshes()[0]["Preferences"]
        assert (preferences["MinHealthyPercentage"], preferences["MaxHealthyPercentage"]) == (50, 150)
        assert preferences["InstanceWarmup"] == 90


class TestLiveRefusals:
    """What hosts could not read is not written."""

    def test_for_hosts_whose_bundle_is_gone_or_of_another_version(self, deployment: Deployment) -> None:
        made = deployment.play(call(), call("live")).steps.result(0)
        key, content = made["bundle"], deployment.content(made["bundle"])
        deployment.s3.delete_object(Bucket=BUCKET, Key=key)
        [said] = deployment.refusals(call("live"))
        assert f"The bucket {BUCKET} lacks the bundle" in said
        assert "are made of drydock.registry" not in said
        deployment.s3.put_object(Bucket=BUCKET, Key=key, Body=content)

        found = deployment.version(made["launch_template_version"])["LaunchTemplateData"]
        for specification in found["TagSpecifications"]:
            for tag in specification["Tags"]:
                if tag["Key"] == "drydock-collection-version":
                    tag["Value"] = "0.0.1"
        number = deployment.ec2.create_launch_template_version(LaunchTemplateName=NAME, LaunchTemplateData=found)[
            "LaunchTemplateVersion"
        ]["VersionNumber"]
        deployment.update_group(LaunchTemplate={"LaunchTemplateName": NAME, "Version": str(number)})
        version = re.search(r"^version: (\S+)", (ROOT / "galaxy.yml").read_text(encoding="utf-8"), re.MULTILINE)
        assert version
        [said] = deployment.refusals(call("live"))
        assert f"are made of drydock.registry 0.0.1, and this is {version[1]}" in said
        assert "lacks the bundle" not in said
        assert deployment.play(call(), call("live")).changed[1] == []


class TestGoldenImage:
    """A host becomes an image; here it is somebody else who switches it off, as no machine is behind it."""

    def switch_off(self, deployment: Deployment) -> dict[str, Any]:
        """Wait for the builder, and switch it off."""
        deadline = time.monotonic() + 120
        while not (found := [each for each in deployment.builders() if each["State"]["Name"] == "running"]):
            assert time.monotonic() < deadline, "there is no builder"
            time.sleep(0.5)
        deployment.ec2.stop_instances(InstanceIds=[found[0]["InstanceId"]])
        return found[0]

    def test_a_host_that_takes_too_long_becomes_no_image(self, deployment: Deployment) -> None:
        [said] = deployment.refusals(call("golden_image", golden_timeout_seconds=10))
        [builder] = deployment.builders()
        assert f"The host {builder['InstanceId']} that was to become an image is running after 10 s" in said
        assert builder["State"]["Name"] == "terminated"
        assert deployment.ec2.describe_images(Owners=["self"])["Images"] == []

    def test_a_host_becomes_an_image_and_hosts_start_from_it(self, deployment: Deployment) -> None:
        with ThreadPoolExecutor(1) as pool:
            builder = pool.submit(self.switch_off, deployment)
            played = deployment.play(call("golden_image"), call("golden_image"), call(image_provider="golden"))
        assert played.changed[1] == []
        image_id = played.steps.result(2)["image_id"]
        instance = builder.result()
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        data = deployment.ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
        assert '"bake": true' in base64.b64decode(data["UserData"]["Value"]).decode()
        [image] = deployment.ec2.describe_images(Owners=["self"])["Images"]
        assert image["ImageId"] == image_id
        assert named(image["Tags"]).items() >= TAGS.items()
        assert named(image["Tags"])["drydock-base-image"] == deployment.image
        [after] = deployment.ec2.describe_instances(InstanceIds=[instance["InstanceId"]])["Reservations"]
        assert after["Instances"][0]["State"]["Name"] == "terminated"
        assert deployment.version()["LaunchTemplateData"]["ImageId"] == image_id
        assert deployment.group()["LaunchTemplate"]["Version"] == str(deployment.version()["VersionNumber"])


class TestRemoval:
    """Nothing of ours stays, and nothing of others goes."""

    def test_a_group_of_somebody_else_is_left_alone(self, deployment: Deployment) -> None:
        deployment.autoscaling.create_or_update_tags(
            Tags=[
                {
                    "Key": "drydock-deployment",
                    "Value": "other",
                    "ResourceId": NAME,
                    "ResourceType": "auto-scaling-group",
                    "PropagateAtLaunch": False,
                }
            ]
        )
        [said] = deployment.refusals(call())
        assert f"The Auto Scaling group {NAME} is not of this deployment" in said
        deployment.autoscaling.create_or_update_tags(
            Tags=[
                {
                    "Key": "drydock-deployment",
                    "Value": "team",
                    "ResourceId": NAME,
                    "ResourceType": "auto-scaling-group",
                    "PropagateAtLaunch": False,
                }
            ]
        )

    def test_it_removes_what_it_made(self, deployment: Deployment) -> None:
        deployment.s3.put_object(Bucket=BUCKET, Key="of-somebody-else", Body=b"x")
        assert deployment.play(call("remove"), check=True).changed[0]
        assert deployment.group()
        first, second = deployment.play(call("remove"), call("remove")).changed
        assert first
        assert second == []
        assert deployment.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"] == []
        assert deployment.ec2.describe_launch_templates()["LaunchTemplates"] == []
        assert not [name for name in deployment.alarms() if "-fleet-" in name]
        assert deployment.objects() == ["of-somebody-else"]
        assert deployment.ec2.describe_images(Owners=["self"])["Images"] == []
        assert [pair["KeyName"] for pair in deployment.ec2.describe_key_pairs()["KeyPairs"]] == ["theirs"]
