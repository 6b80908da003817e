# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment of the role aws_autoscaling in an account of the tests: what the other roles would have made, and what there is of it."""

from __future__ import annotations

import json
import subprocess
from typing import Any, NamedTuple

from aws_account import ACCOUNT_ID, REGION, Account, Steps

NAME = "team-registry"
BUCKET = "team-configuration"
SECRET = "of-the-first-user-only"
ROLE = "aws_autoscaling"
Call = tuple[str, dict[str, Any]]


def call(entry: str = "main", **settings: Any) -> Call:
    """Name an entry point of the role, and what its settings have beside those of the deployment."""
    return entry, {f"{ROLE}_{key}": value for key, value in settings.items()}


class Played(NamedTuple):
    """Calls of the role in one run of Ansible, counted from 0."""

    done: subprocess.CompletedProcess[str]
    steps: Steps

    @property
    def changed(self) -> list[list[str]]:
        """Return for each call the names of the tasks that changed something."""
        return self.steps.changed

    @property
    def said(self) -> str:
        """Return all that was said, on one line."""
        return " ".join(self.done.stdout.split())


class Deployment:
    """The account, what the other roles would have made in it, and the role's settings."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.ec2, self.s3 = account.client("ec2"), account.client("s3")
        self.autoscaling, self.cloudwatch = account.client("autoscaling"), account.client("cloudwatch")
        self.balancers = account.client("elbv2")
        self.image = self.parameter("13", "arm64")
        self.surroundings()

    def parameter(self, release: str, architecture: str) -> str:
        """Return an AMI of Debian."""
        name = f"/aws/service/debian/release/{release}/latest/{architecture}"
        return str(self.account.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])

    def surroundings(self) -> None:
        """Make a network's group, an instance profile, a target group behind a load balancer and the bucket."""
        subnets = self.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        self.subnets = [subnet["SubnetId"] for subnet in sorted(subnets, key=lambda subnet: subnet["AvailabilityZone"])]
        vpc = subnets[0]["VpcId"]
        self.group_id = self.ec2.create_security_group(GroupName="registry", Description="registry", VpcId=vpc)[
            "GroupId"
        ]
        iam = self.account.client("iam")
        iam.create_role(RoleName="registry", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="registry")
        iam.add_role_to_instance_profile(InstanceProfileName="registry", RoleName="registry")
        balancer = self.balancers.create_load_balancer(Name="team", Subnets=self.subnets[:2])["LoadBalancers"][0]
        target = self.balancers.create_target_group(Name="team", Protocol="HTTPS", Port=443, VpcId=vpc)
        self.target_group = target["TargetGroups"][0]["TargetGroupArn"]
        self.balancers.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"],
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.target_group}],
        )
        self.label = "/".join(
            (
                balancer["LoadBalancerArn"].partition("loadbalancer/")[2],
                "targetgroup/" + self.target_group.partition("targetgroup/")[2],
            )
        )
        self.settings: dict[str, Any] = {
            "aws_autoscaling_name": "team",
            "aws_autoscaling_region": REGION,
            "aws_autoscaling_tags": {"owner": "platform"},
            "aws_autoscaling_subnet_ids": self.subnets[:2],
            "aws_autoscaling_security_group_ids": [self.group_id],
            "aws_autoscaling_instance_profile": "registry",
            "aws_autoscaling_target_group_arns": [self.target_group],
            "aws_autoscaling_request_label": self.label,
            "aws_autoscaling_requests_target_per_host": 3000,
            "aws_autoscaling_alarm_topic_arn": f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:operations",
            "aws_autoscaling_bundle_bucket": BUCKET,
            "aws_autoscaling_bundle_path": str(self.account.folder / "bundle.tar.gz"),
            "aws_autoscaling_settings": {"drydock_domain": "registry.example.com"},
            "aws_autoscaling_live": {"registry_auth_users": [{"name": "alice", "password_hash": SECRET}]},
        }

    def make_bucket(self) -> None:
        """Make the bucket, encrypted by S3's own key, which keeps what was overwritten."""
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    def play(self, *calls: Call, check: bool = False) -> Played:
        """Call entry points of the role one after the other."""
        steps = Steps(ROLE)
        for entry, settings in calls:
            steps.run(self.settings | settings, entry)
        return Played(steps.play(self.account, *(["--check"] if check else [])), steps)

    def refusals(self, *calls: Call) -> list[str]:
        """Return what calls that are refused say."""
        steps = Steps(ROLE)
        for entry, settings in calls:
            steps.refused(self.settings | settings, entry)
        steps.play(self.account)
        return [steps.refusal(number) for number in range(len(calls))]

    def group(self) -> dict[str, Any]:
        """Return the group."""
        [found] = self.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        return dict(found)

    def version(self, number: str = "$Latest") -> dict[str, Any]:
        """Return a version of the launch template."""
        [found] = self.ec2.describe_launch_template_versions(LaunchTemplateName=NAME, Versions=[number])[
            "LaunchTemplateVersions"
        ]
        return dict(found)

    def policies(self) -> dict[str, dict[str, Any]]:
        """Return the scaling policies by name."""
        found = self.autoscaling.describe_policies(AutoScalingGroupName=NAME)["ScalingPolicies"]
        return {policy["PolicyName"]: policy for policy in found}

    def alarms(self) -> dict[str, dict[str, Any]]:
        """Return the role's alarms by name; those of the scaling policies are AWS's own."""
        found = self.cloudwatch.describe_alarms(AlarmNamePrefix=NAME)["MetricAlarms"]
        return {alarm["AlarmName"]: alarm for alarm in found}

    def refreshes(self) -> list[dict[str, Any]]:
        """Return the instance refreshes, the newest first."""
        found = self.autoscaling.describe_instance_refreshes(AutoScalingGroupName=NAME)
        return list(found["InstanceRefreshes"])

    def builders(self) -> list[dict[str, Any]]:
        """Return the instances that were to become golden images."""
        found = self.ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": [f"{NAME}-golden"]}])
        return [instance for reservation in found["Reservations"] for instance in reservation["Instances"]]

    def objects(self) -> list[str]:
        """Return the keys in the bucket."""
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def content(self, key: str) -> bytes:
        """Return an object of the bucket."""
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def bundles(self) -> list[str]:
        """Return the keys of the bundles."""
        return [key for key in self.objects() if key.startswith("bundles/")]

    def users_so_far(self) -> list[Any]:
        """Return the users of all versions of live.json, the newest first."""
        versions = self.s3.list_object_versions(Bucket=BUCKET, Prefix="live.json")["Versions"]
        bodies = [self.s3.get_object(Bucket=BUCKET, Key="live.json", VersionId=each["VersionId"]) for each in versions]
        return [json.loads(body["Body"].read())["variables"]["registry_auth_users"] for body in bodies]

    def update_group(self, **values: Any) -> None:
        """Change the group as somebody else would."""
        self.autoscaling.update_auto_scaling_group(AutoScalingGroupName=NAME, **values)
