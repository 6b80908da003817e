# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet meets in an account, and what is refused. The account is moto's, in this process."""

from __future__ import annotations

import functools
import json
from datetime import timedelta
from typing import Any, NamedTuple

import boto3
import pytest
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account
from ansible_collections.drydock.registry.plugins.module_utils._aws_preflight import look
from ansible_collections.drydock.registry.plugins.modules.aws_preflight import ARGUMENTS
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends, instance_types

REGION = "eu-central-1"
NAME = "drydock-registry"
BUCKET = "drydock-configuration"
OURS = [{"Key": "Name", "Value": NAME}, {"Key": "drydock-deployment", "Value": "drydock"}]
THEIRS = [{"Key": "drydock-deployment", "Value": "staging"}]
DEBIAN, AMD64 = "ami-00000000000000001", "ami-00000000000000002"
HASHES = ["a" * 64, "b" * 64]


def ami(image_id: str, architecture: str) -> dict[str, Any]:
    """An image as moto has it in its list."""
    return {
        "ami_id": image_id,
        "name": f"debian-13-{architecture}",
        "owner_id": "136693071363",
        "public": True,
        "architecture": architecture,
        "state": "available",
        "root_device_name": "/dev/xvda",
        "root_device_type": "ebs",
        "creation_date": "2026-02-01T00:00:00.000Z",
    }


class Answer(NamedTuple):
    """What a look brought."""

    found: dict[str, Any]
    problems: list[str]


pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def aws_images() -> list[dict[str, Any]]:
    return [ami(DEBIAN, "arm64"), ami(AMD64, "x86_64")]


@pytest.fixture(autouse=True)
def no_refreshes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which moto knows nothing."""
    none = ActionResult({"InstanceRefreshes": []})
    monkeypatch.setattr(AutoScalingResponse, "describe_instance_refreshes", lambda _self: none, raising=False)


# One session and one client a service read boto3's data once.
SESSION = boto3.session.Session(aws_access_key_id="key", aws_secret_access_key="secret")


@functools.cache
def client(service: str) -> Any:
    return SESSION.client(service, region_name=REGION)


def ask(removing: bool = False, **options: Any) -> Answer:
    account = Account(client, REGION, "drydock", removing=removing)
    defaults = {name: option.get("default") for name, option in ARGUMENTS["autoscaling"]["options"].items()}
    given = {"image_provider": "id", "image_id": DEBIAN, **options}
    assert set(given) <= set(defaults)
    found = look(account, "autoscaling", {**defaults, **given}, {})
    return Answer(found, account.problems)


def refusal(**options: Any) -> str:
    """Return the one sentence that a look brought."""
    [problem] = ask(**options).problems
    return problem


def subnets() -> list[str]:
    found = client("ec2").describe_subnets()["Subnets"]
    return [subnet["SubnetId"] for subnet in sorted(found, key=lambda subnet: subnet["AvailabilityZone"])]


def template(tags: list[dict[str, str]], description: str = "digest") -> str:
    host = [*OURS, {"Key": "drydock-bundle", "Value": HASHES[0]}, {"Key": "drydock-collection-version", "Value": "1.0"}]
    made = client("ec2").create_launch_template(
        LaunchTemplateName=NAME,
        VersionDescription=description,
        LaunchTemplateData={
            "ImageId": DEBIAN,
            "InstanceType": "t4g.small",
            "TagSpecifications": [{"ResourceType": "instance", "Tags": host}],
        },
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
    )
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def group(tags: list[dict[str, str]], **more: Any) -> None:
    client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName=NAME,
        MinSize=1,
        MaxSize=3,
        DesiredCapacity=2,
        VPCZoneIdentifier=",".join(subnets()[:2]),
        HealthCheckGracePeriod=600,
        HealthCheckType="ELB",
        Tags=[{**tag, "PropagateAtLaunch": False} for tag in tags],
        **more,
    )


def test_an_empty_account_is_no_problem() -> None:
    answer = ask(bucket=BUCKET)
    assert answer.problems == []
    found = answer.found
    assert (found["template"], found["group"], found["refresh"]) == (None, None, "")
    assert (found["policies"], found["alarms"], found["golden_images"], found["zones"]) == ({}, {}, [], [])
    assert found["bucket"]["exists"] is False
    assert found["image"]["id"] == DEBIAN
    assert "instance" not in found


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"min_hosts": 0}, "aws_autoscaling_min_hosts is 0, and a fleet without a host serves nobody"),
        ({"min_hosts": -1}, "aws_autoscaling_min_hosts is -1"),
        (
            {"min_hosts": 3, "max_hosts": 2},
            "aws_autoscaling_min_hosts is 3, which is above aws_autoscaling_max_hosts (2)",
        ),
        (
            {"desired_hosts": 1},
            "aws_autoscaling_desired_hosts is 1, which is not between aws_autoscaling_min_hosts (2)",
        ),
        ({"desired_hosts": 5}, "and aws_autoscaling_max_hosts (4): correct it, or write 0"),
        ({"type": "t3.small"}, "The instance type t3.small in aws_autoscaling_type has amd64, not arm64"),
        ({"type": "t9.huge"}, "write another aws_autoscaling_type"),
        (
            {"spot_types": ["t3.small"]},
            "The instance type t3.small in aws_autoscaling_spot['types'] has amd64, not arm64",
        ),
        ({"spot_types": ["t9.huge"]}, "no instance type t9.huge: take it out of aws_autoscaling_spot['types']"),
        ({"image_id": AMD64}, "is for amd64, but aws_autoscaling_architecture is arm64"),
        ({"image_id": "ami-0123456789abcdef0"}, "no image ami-0123456789abcdef0 (aws_autoscaling_image_id)"),
        ({"image_provider": "golden"}, "has no golden image of the deployment drydock for arm64: make one with"),
        ({"volume_gib": 0}, "aws_autoscaling_volume_gib is 0"),
        ({"key_pair": "mine"}, "no key pair mine (aws_autoscaling_key_pair)"),
        ({"subnet_ids": ["subnet-00000000"]}, "no subnet subnet-00000000: correct aws_autoscaling_subnet_ids"),
    ],
)
def test_bad_settings_are_one_sentence(options: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(**options)


def test_capacity_of_nothing_names_both_limits() -> None:
    assert [problem.partition(" is ")[0] for problem in ask(min_hosts=0, max_hosts=0).problems] == [
        "aws_autoscaling_min_hosts",
        "aws_autoscaling_max_hosts",
    ]


def test_one_zone_is_not_enough() -> None:
    assert "All subnets in aws_autoscaling_subnet_ids lie in eu-central-1a" in refusal(subnet_ids=subnets()[:1])
    assert ask(subnet_ids=subnets()[:2]).found["zones"] == ["eu-central-1a", "eu-central-1b"]


def test_a_zone_that_lacks_the_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    offerings = instance_types.INSTANCE_TYPE_OFFERINGS["availability-zone"]
    left = [
        each for each in offerings[REGION] if (each["InstanceType"], each["Location"]) != ("t4g.small", f"{REGION}a")
    ]
    monkeypatch.setitem(offerings, REGION, left)
    ids = subnets()
    sentence = refusal(subnet_ids=ids)
    assert sentence.startswith("The zone of subnet-")
    assert "has no t4g.small" in sentence


def test_the_newest_golden_image_is_taken() -> None:
    ec2 = client("ec2")
    instance = ec2.run_instances(ImageId=DEBIAN, InstanceType="t4g.small", MinCount=1, MaxCount=1)["Instances"][0]
    images = []
    for name, tags in (
        ("first", OURS),
        ("second", [*OURS, {"Key": "drydock-bundle", "Value": HASHES[1]}]),
        ("third", THEIRS),
    ):
        specification = [{"ResourceType": "image", "Tags": tags}]
        made = ec2.create_image(InstanceId=instance["InstanceId"], Name=name, TagSpecifications=specification)
        images.append(made["ImageId"])
    # moto's clock of images knows seconds only, and all three are of one.
    ec2_backends[DEFAULT_ACCOUNT_ID][REGION].amis[images[0]].creation_date -= timedelta(days=1)
    answer = ask(image_provider="golden")
    ours = {image["id"]: image["bundle"] for image in answer.found["golden_images"]}
    assert ours == {images[0]: "", images[1]: HASHES[1]}
    assert answer.found["image"]["id"] == answer.found["golden_images"][-1]["id"]
    # moto's images have no volume.
    [problem] = answer.problems
    assert problem.startswith(f"The image {images[1]} of aws_autoscaling_image_provider: golden has no EBS root volume")


def test_what_lies_in_the_bucket() -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    for key in (f"bundles/{HASHES[0]}.tar.gz", f"bundles/{HASHES[1]}.tar.gz", "bundles/note.txt", "other"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    found = ask(bucket=BUCKET).found["bucket"]
    assert found["exists"]
    assert sorted(found["bundles"]) == HASHES
    assert found["live"] == {}
    s3.put_object(Bucket=BUCKET, Key="live.json", Body=b"x", Metadata={"sha256": "abc"})
    assert ask(bucket=BUCKET).found["bucket"]["live"]["sha256"] == "abc"


def test_the_fleet_that_is_there() -> None:
    template_id = template(OURS)
    group(OURS, LaunchTemplate={"LaunchTemplateId": template_id, "Version": "1"})
    client("autoscaling").put_scaling_policy(
        AutoScalingGroupName=NAME,
        PolicyName="cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration={
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
            "TargetValue": 60,
        },
        EstimatedInstanceWarmup=180,
    )
    client("cloudwatch").put_metric_alarm(
        AlarmName=f"{NAME}-fleet-x",
        Namespace="AWS/ApplicationELB",
        MetricName="HealthyHostCount",
        Statistic="Minimum",
        ComparisonOperator="LessThanThreshold",
        Threshold=1,
        Period=60,
        EvaluationPeriods=2,
        TreatMissingData="breaching",
        Dimensions=[{"Name": "LoadBalancer", "Value": "app/x/1"}],
    )
    answer = ask()
    assert answer.problems == []
    found = answer.found
    [version] = found["template"]["versions"]
    assert version == {
        "number": 1,
        "description": "digest",
        "image_id": DEBIAN,
        "bundle": HASHES[0],
        "collection_version": "1.0",
    }
    assert found["group"]["template_version"] == "1"
    assert found["group"]["desired_hosts"] == len(found["group"]["instances"]) == 2
    settings = found["group"]["settings"]
    assert (settings["min_hosts"], settings["max_hosts"], settings["grace_seconds"]) == (1, 3, 600)
    assert settings["subnet_ids"] == sorted(subnets()[:2])
    assert settings["spot"] == {}
    assert found["policies"]["cpu"] == {
        "metric": "ASGAverageCPUUtilization",
        "label": "",
        "target": 60.0,
        "scale_in": True,
        "warmup_seconds": 180,
    }
    alarm = found["alarms"][f"{NAME}-fleet-x"]
    assert (alarm["threshold"], alarm["missing"], alarm["dimensions"]) == (
        1.0,
        "breaching",
        {"LoadBalancer": "app/x/1"},
    )


@pytest.mark.parametrize("what", ["launch template", "Auto Scaling group"])
def test_what_is_somebody_elses_is_refused_and_never_removed(what: str) -> None:
    template_id = template(THEIRS if what == "launch template" else OURS)
    if what == "Auto Scaling group":
        group(THEIRS, LaunchTemplate={"LaunchTemplateId": template_id, "Version": "1"})
    assert f"The {what} {NAME} is not of this deployment" in refusal()
    answer = ask(removing=True)
    assert answer.problems == []
    assert not answer.found["template" if what == "launch template" else "group"]["ours"]


def test_what_is_removed_need_not_be_fit_to_be_made() -> None:
    answer = ask(removing=True, min_hosts=0, image_id="nonsense", type="nonsense")
    assert answer.problems == []
    assert json.loads(json.dumps(answer.found)) == answer.found
