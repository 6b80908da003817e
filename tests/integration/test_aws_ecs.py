# SPDX-License-Identifier: GPL-3.0-or-later
"""The role aws_ecs: what it makes, as the AWS API tells it, and the task that it defines, run with Docker.

One account serves all tests, which run in the order of this file.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import ipaddress
import json
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import aws_controls
import aws_platform_controls
import pytest
import yaml
from ansible_collections.drydock.registry.plugins.module_utils._aws_deployer import deployer_policies
from ansible_collections.drydock.registry.plugins.module_utils._registry_config import build_config
from aws_account import ACCOUNT_ID, REGION, ROOT, Account, Steps, aws_account, changed_tasks, changes, refusals
from counting import counted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from deployment import WAIT_SECONDS
from ecs_task import Network, Task, away, forwarded, running, secret_value
from networks import free_prefix

ROLE = "aws_ecs"
NAME = "drydock-registry"
SECRET = f"{NAME}-ecs-1"
LOG_GROUP = f"/drydock/{NAME}"
EXECUTION = f"{NAME}-{REGION}-exec"
RESOURCE = f"service/{NAME}/{NAME}"
TASK_ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/registry"
LABEL = "app/balancer/0123456789abcdef/targetgroup/group/0123456789abcdef"
TAGS = {"Name": NAME, "drydock-deployment": "drydock", "team": "build"}
ECR = f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com"
HUB_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:docker-hub-AbCdEf"
REGISTRY_IMAGE = f"{ECR}/team/registry:2.8.2"
PROXY_IMAGE = f"{ECR}/team/nginx:1.22"
PREFIX = free_prefix(range(100, 200))
ADDRESS, OTHER_ADDRESS = f"{PREFIX}.10", f"{PREFIX}.11"
BUCKET = "ecs-images"
S3_KEY = "the-secret-key-of-the-bucket's-user"
HTTP_SECRET = "the secret that all tasks sign uploads with"
PASSWORDS = {"alice": "the password of alice", "bob": "the password of bob"}
PLACEHOLDERS = {
    name: f"what {name} holds\n"
    for name in (
        *("nginx.conf", "loaded.conf", "passwords.conf", "passwords.js", "access.js", "access.json"),
        *("htpasswd", "tls.crt", "tls.key"),
    )
}
FILES = {**PLACEHOLDERS, "config.yml": "storage: {s3: {bucket: images, accesskey: AKIA, secretkey: hidden}}\n"}

# Stand-ins of upstream's images: their programs out of Debian's packages.
IMAGES = {
    "registry": {
        "packages": ["docker-registry", "wget"],
        "programs": ["/usr/bin/docker-registry", "/usr/bin/wget"],
        "links": {"/usr/bin/registry": "docker-registry"},
        "entrypoint": "registry",
    },
    "proxy": {
        "packages": ["nginx", "libnginx-mod-http-js", "dash", "coreutils", "curl"],
        "programs": [
            *("/usr/sbin/nginx", "/usr/lib/nginx/modules/ngx_http_js_module.so"),
            *("/usr/bin/dash", "/usr/bin/chmod", "/usr/bin/curl"),
        ],
        "links": {"/usr/bin/sh": "dash"},
        "entrypoint": "nginx",
        "stop_signal": "SIGQUIT",
    },
}


class Theirs(NamedTuple):
    """A VPC of somebody else's: a public and a private subnet in each of two zones, the latter behind NAT."""

    vpc: str
    public: list[str]
    private: list[str]

    @classmethod
    def made(cls, account: Account) -> Theirs:
        """Make it."""
        ec2 = account.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.60.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.60.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]
            for number, zone in enumerate("abab")
        ]
        ids = [subnet["SubnetId"] for subnet in subnets]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = ec2.create_nat_gateway(SubnetId=ids[0], AllocationId=address)["NatGateway"]["NatGatewayId"]
        for way, members in (({"GatewayId": gateway}, ids[:2]), ({"NatGatewayId": nat}, ids[2:])):
            table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **way)
            for member in members:
                ec2.associate_route_table(RouteTableId=table, SubnetId=member)
        return cls(vpc, ids[:2], ids[2:])

    def seen(self, account: Account) -> list[Any]:
        """Return what EC2 says of it."""
        ec2 = account.client("ec2")
        here = [{"Name": "vpc-id", "Values": [self.vpc]}]
        return [
            ec2.describe_vpcs(VpcIds=[self.vpc])["Vpcs"],
            # Addresses are free again when who had them is forgotten.
            [
                {key: value for key, value in subnet.items() if key != "AvailableIpAddressCount"}
                for subnet in ec2.describe_subnets(Filters=here)["Subnets"]
            ],
            ec2.describe_route_tables(Filters=here)["RouteTables"],
            ec2.describe_security_groups(Filters=here)["SecurityGroups"],
            ec2.describe_vpc_endpoints(Filters=here)["VpcEndpoints"],
            ec2.describe_nat_gateways(Filter=here)["NatGateways"],
        ]


class Surroundings(NamedTuple):
    """What other roles make."""

    vpc: str
    subnets: list[str]
    same_zone: list[str]
    security_group: str
    target_group: str
    instance_target_group: str

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return the settings of a service."""
        settings = {
            "files": FILES,
            "subnet_ids": self.subnets,
            "security_group_ids": [self.security_group],
            "target_group_arn": self.target_group,
            "task_role_arn": TASK_ROLE,
            "registry_image": REGISTRY_IMAGE,
            "proxy_image": PROXY_IMAGE,
            "registry_version": "2.8",
            "tags": {"team": "build"},
            "cpu": 512,
            "memory_mib": 1024,
            "max_tasks": 5,
            "requests_target_per_task": 1000,
            "request_label": LABEL,
            **more,
        }
        return {f"{ROLE}_{name}": value for name, value in settings.items()}


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    # Its tasks run as soon as they are asked for.
    with aws_account(MOTO_ECS_SERVICE_RUNNING="10") as made:
        yield made


@pytest.fixture(scope="module")
def around(account: Account) -> Surroundings:
    return surroundings(account)


def surroundings(account: Account) -> Surroundings:
    """Make what other roles make."""
    ec2, balancers = account.client("ec2"), account.client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.60.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.60.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate("aba")
    ]
    group = ec2.create_security_group(GroupName="tasks", Description="tasks", VpcId=vpc)["GroupId"]
    targets = [
        balancers.create_target_group(Name=kind, Protocol="HTTPS", Port=8443, VpcId=vpc, TargetType=kind)[
            "TargetGroups"
        ][0]["TargetGroupArn"]
        for kind in ("ip", "instance")
    ]
    return Surroundings(vpc, subnets[:2], [subnets[0], subnets[2]], group, *targets)


class Service:
    """What the tests ask the API."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.ecs = account.client("ecs")

    def clusters(self) -> list[str]:
        arns = self.ecs.list_clusters()["clusterArns"]
        found = self.ecs.describe_clusters(clusters=arns)["clusters"] if arns else []
        # One that was deleted stays in sight for a while.
        return [each["clusterName"] for each in found if each["status"] == "ACTIVE"]

    def described(self) -> dict[str, Any]:
        (service,) = self.ecs.describe_services(cluster=NAME, services=[NAME], include=["TAGS"])["services"]
        return dict(service)

    def definition(self, name: str = NAME) -> dict[str, Any]:
        return dict(self.ecs.describe_task_definition(taskDefinition=name)["taskDefinition"])

    def container(self, name: str, definition: str = NAME) -> dict[str, Any]:
        found = {each["name"]: each for each in self.definition(definition)["containerDefinitions"]}
        return dict(found[name])

    def files(self, definition: str = NAME) -> dict[str, str]:
        """Return what the task's variables hold, as ECS would resolve them."""
        secrets = self.container("configuration", definition)["secrets"]
        return {each["name"]: secret_value(self.account, each["valueFrom"]) for each in secrets}

    def policies(self) -> dict[str, dict[str, Any]]:
        found = self.account.client("application-autoscaling").describe_scaling_policies(
            ServiceNamespace="ecs", ResourceId=RESOURCE
        )["ScalingPolicies"]
        return {each["PolicyName"]: each["TargetTrackingScalingPolicyConfiguration"] for each in found}

    def limits(self) -> tuple[int, int]:
        (target,) = self.account.client("application-autoscaling").describe_scalable_targets(
            ServiceNamespace="ecs", ResourceIds=[RESOURCE]
        )["ScalableTargets"]
        return target["MinCapacity"], target["MaxCapacity"]


@pytest.fixture(scope="module")
def service(account: Account) -> Service:
    return Service(account)


def plain(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair.get("key", pair.get("Key", "")): pair.get("value", pair.get("Value", "")) for pair in pairs}


class TestDeployment:
    """From an empty account to a second run, and what others change on the way."""

    def test_a_dry_run_in_an_empty_account_makes_nothing(
        self, account: Account, around: Surroundings, service: Service
    ) -> None:
        nothing = around.settings(subnet_ids=[], security_group_ids=[], target_group_arn="", request_label="")
        done = Steps(ROLE).run(nothing).play(account, "--check")
        assert "A service drydock-registry would be made: 2 to 5 tasks on FARGATE" in " ".join(done.stdout.split())
        assert service.clusters() == []
        assert account.client("secretsmanager").list_secrets()["SecretList"] == []
        assert account.client("iam").list_policies(Scope="Local")["Policies"] == []

    def test_everything_is_made_as_set(self, account: Account, around: Surroundings, service: Service) -> None:
        steps = Steps(ROLE).run(around.settings())
        done = steps.play(account)
        assert changes(done)
        arn = account.client("secretsmanager").describe_secret(SecretId=SECRET)["ARN"]
        assert steps.result(0) == {
            "cluster": NAME,
            "service": NAME,
            "task_definition": f"{NAME}:1",
            "log_group": LOG_GROUP,
            "secret_arns": [arn],
        }
        # Nothing of the files is shown.
        assert "what htpasswd holds" not in done.stdout

        found = service.described()
        assert found["launchType"] == "FARGATE"
        assert found["desiredCount"] == 2
        assert found["taskDefinition"].endswith(f":task-definition/{NAME}:1")
        assert found["loadBalancers"] == [
            {"targetGroupArn": around.target_group, "containerName": "proxy", "containerPort": 8443}
        ]
        assert found["deploymentConfiguration"] == {
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        }
        assert found["healthCheckGracePeriodSeconds"] == 120
        assert not found.get("enableExecuteCommand", False)
        assert found["propagateTags"] == "SERVICE"
        assert found["networkConfiguration"]["awsvpcConfiguration"] == {
            "subnets": around.subnets,
            "securityGroups": [around.security_group],
            "assignPublicIp": "DISABLED",
        }
        assert plain(found["tags"]) == TAGS
        (cluster,) = service.ecs.describe_clusters(clusters=[NAME], include=["TAGS"])["clusters"]
        assert plain(cluster["tags"]) == TAGS

    def test_the_task_is_defined_as_set(self, service: Service) -> None:
        found = service.definition()
        assert (found["cpu"], found["memory"], found["networkMode"]) == ("512", "1024", "awsvpc")
        assert found["requiresCompatibilities"] == ["FARGATE"]
        assert found["runtimePlatform"] == {"operatingSystemFamily": "LINUX", "cpuArchitecture": "X86_64"}
        assert found["taskRoleArn"] == TASK_ROLE
        assert found["executionRoleArn"] == f"arn:aws:iam::{ACCOUNT_ID}:role/{EXECUTION}"
        containers = {each["name"]: each for each in found["containerDefinitions"]}
        assert list(containers) == ["configuration", "registry", "passwords", "proxy"]
        for name, container in containers.items():
            assert container["readonlyRootFilesystem"] is True
            assert container["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
            assert container["logConfiguration"] == {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": LOG_GROUP,
                    "awslogs-region": REGION,
                    "awslogs-stream-prefix": "task",
                    "mode": "non-blocking",
                    "max-buffer-size": "4m",
                },
            }
            assert container["essential"] is (name != "configuration")
            if name != "configuration":
                assert container["user"] == "10001:0"
                assert "secrets" not in container
                assert container["stopTimeout"] == 120
                # That of nginx asks the registry as well.
                assert ("healthCheck" in container) is (name != "registry")
            if "healthCheck" in container:
                # Nobody waits for a new task longer than it takes, and a task that hangs is replaced after half a minute.
                check = container["healthCheck"]
                assert (check["interval"], check["retries"], check["startPeriod"]) == (10, 3, 30)
                assert check["timeout"] == (8 if name == "proxy" else 5)
            if name != "configuration":
                assert {"containerName": "configuration", "condition": "SUCCESS"} in container["dependsOn"]
        assert containers["registry"]["image"] == REGISTRY_IMAGE
        assert {containers[name]["image"] for name in ("configuration", "passwords", "proxy")} == {PROXY_IMAGE}
        assert containers["proxy"]["portMappings"] == [{"containerPort": 8443, "hostPort": 8443, "protocol": "tcp"}]
        # Who checks passwords gets little of a CPU that is scarce, and all of them together what the task has.
        shares = {name: each["cpu"] for name, each in containers.items() if name != "configuration"}
        assert shares == {"registry": 256, "proxy": 192, "passwords": 64}

    def test_files_are_secrets_of_one_version_and_nothing_else(self, account: Account, service: Service) -> None:
        secrets = account.client("secretsmanager")
        described = secrets.describe_secret(SecretId=SECRET)
        version = secrets.get_secret_value(SecretId=SECRET)["VersionId"]
        references = {each["name"]: each["valueFrom"] for each in service.container("configuration")["secrets"]}
        assert references["HTPASSWD"] == f"{described['ARN']}:HTPASSWD::{version}"
        assert service.files() == {re.sub(r"[^A-Z]", "_", name.upper()): text for name, text in FILES.items()}
        assert plain(described["Tags"]).items() > TAGS.items()
        text = json.dumps(service.definition(), default=str)
        for content in FILES.values():
            assert content.strip() not in text
        assert "hidden" not in text

    def test_ecs_may_start_these_tasks_and_nothing_else(self, account: Account) -> None:
        iam = account.client("iam")
        arn = f"arn:aws:iam::{ACCOUNT_ID}:policy/{EXECUTION}"
        attached = iam.list_attached_role_policies(RoleName=EXECUTION)["AttachedPolicies"]
        assert [each["PolicyArn"] for each in attached] == [arn]
        assert iam.list_role_policies(RoleName=EXECUTION)["PolicyNames"] == []
        (trust,) = iam.get_role(RoleName=EXECUTION)["Role"]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT_ID}
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        allowed = {each["Sid"]: (each["Action"], each["Resource"]) for each in document["Statement"]}
        assert allowed == {
            "ReadFiles": (
                ["secretsmanager:GetSecretValue"],
                [f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:{SECRET}-??????"],
            ),
            "WriteLog": (
                ["logs:CreateLogStream", "logs:PutLogEvents"],
                [f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{LOG_GROUP}:log-stream:*"],
            ),
            "LogInToEcr": (["ecr:GetAuthorizationToken"], ["*"]),
            "Pull": (
                ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                [f"arn:aws:ecr:{REGION}:{ACCOUNT_ID}:repository/team/{name}" for name in ("nginx", "registry")],
            ),
        }

    def test_logs_are_kept_and_tasks_follow_the_load(self, account: Account, service: Service) -> None:
        (group,) = account.client("logs").describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]
        assert group["retentionInDays"] == 30
        assert service.limits() == (2, 5)
        common = {"ScaleOutCooldown": 60, "ScaleInCooldown": 300}
        assert service.policies() == {
            f"{NAME}-cpu": {
                "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
                "TargetValue": 60.0,
                **common,
            },
            f"{NAME}-requests": {
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "ALBRequestCountPerTarget",
                    "ResourceLabel": LABEL,
                },
                "TargetValue": 1000.0,
                **common,
            },
        }

    def test_a_second_run_changes_nothing_and_keeps_what_scaling_has_chosen(
        self, account: Account, around: Surroundings, service: Service
    ) -> None:
        service.ecs.update_service(cluster=NAME, service=NAME, desiredCount=4)
        done = Steps(ROLE).run(around.settings(), "preflight").run(around.settings()).play(account)
        assert changed_tasks(done) == []
        assert service.described()["desiredCount"] == 4
        assert service.definition()["revision"] == 1

    def test_another_user_makes_a_new_revision_and_the_old_one_keeps_its_files(
        self, account: Account, around: Surroundings, service: Service
    ) -> None:
        files = {**FILES, "htpasswd": "other users\n"}
        dry = Steps(ROLE).run(around.settings(files=files)).play(account, "--check")
        wanted = [
            "Write the files into Secrets Manager",
            "Register a new revision of the task definition",
            "Ensure tasks run behind the load balancer",
        ]
        assert changed_tasks(dry) == wanted
        assert service.definition()["revision"] == 1
        steps = Steps(ROLE).run(around.settings(files=files))
        assert changed_tasks(steps.play(account)) == wanted
        assert steps.result(0)["task_definition"] == f"{NAME}:2"
        assert service.described()["taskDefinition"].endswith(f"{NAME}:2")
        assert service.files()["HTPASSWD"] == "other users\n"
        # As after a rollback.
        assert service.files(f"{NAME}:1")["HTPASSWD"] == FILES["htpasswd"]

    def test_what_others_change_is_put_right(self, account: Account, around: Surroundings, service: Service) -> None:
        secrets, iam, logs = account.client("secretsmanager"), account.client("iam"), account.client("logs")
        secrets.put_secret_value(SecretId=SECRET, SecretString=json.dumps({"HTPASSWD": "an intruder"}))
        iam.attach_role_policy(RoleName=EXECUTION, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
        logs.put_retention_policy(logGroupName=LOG_GROUP, retentionInDays=1)
        service.ecs.update_service(
            cluster=NAME,
            service=NAME,
            enableExecuteCommand=True,
            deploymentConfiguration={"minimumHealthyPercent": 0, "maximumPercent": 100},
        )
        account.client("application-autoscaling").register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId=RESOURCE,
            ScalableDimension="ecs:service:DesiredCount",
            MinCapacity=0,
            MaxCapacity=100,
        )
        steps = Steps(ROLE).run(around.settings())
        steps.play(account)
        assert steps.changed[0]
        assert service.files() == {re.sub(r"[^A-Z]", "_", name.upper()): text for name, text in FILES.items()}
        attached = iam.list_attached_role_policies(RoleName=EXECUTION)["AttachedPolicies"]
        assert [each["PolicyName"] for each in attached] == [EXECUTION]
        assert logs.describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"][0]["retentionInDays"] == 30
        found = service.described()
        assert not found.get("enableExecuteCommand", False)
        assert found["deploymentConfiguration"]["minimumHealthyPercent"] == 100
        assert found["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
        assert service.limits() == (2, 5)

    def test_other_settings_are_taken(self, account: Account, around: Surroundings, service: Service) -> None:
        key = account.client("kms").create_key()["KeyMetadata"]["Arn"]
        boundary = "arn:aws:iam::aws:policy/PowerUserAccess"
        other = around.settings(
            cpu=1024,
            memory_mib=3072,
            architecture="arm64",
            public_ip_enabled=True,
            min_tasks=1,
            max_tasks=3,
            desired_tasks=3,
            cpu_target_percent=50,
            requests_target_per_task=0,
            log_retention_days=7,
            port=9443,
            stop_seconds=30,
            health_grace_seconds=60,
            kms_key_arn=key,
            permissions_boundary=boundary,
            proxy_image="docker.io/library/nginx:stable",
            image_credentials={"docker.io": HUB_SECRET},
            pull_through_prefixes=["team"],
        )
        before = service.definition(), service.described(), service.policies(), service.limits()
        dry = Steps(ROLE).run(other)
        dry.play(account, "--check")
        assert {"Register a new revision of the task definition", "Report what a dry run would change"} <= set(
            dry.changed[0]
        )
        assert (service.definition(), service.described(), service.policies(), service.limits()) == before

        steps = Steps(ROLE).run(other).run(other)
        steps.play(account)
        assert "Register a new revision of the task definition" in steps.changed[0]
        assert steps.changed[1] == []
        found = service.definition()
        assert (found["cpu"], found["memory"]) == ("1024", "3072")
        assert found["runtimePlatform"]["cpuArchitecture"] == "ARM64"
        described = service.described()
        assert described["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "ENABLED"
        assert described["desiredCount"] == 3
        assert service.limits() == (1, 3)
        (group,) = account.client("logs").describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]
        assert group["retentionInDays"] == 7
        assert {name: each["TargetValue"] for name, each in service.policies().items()} == {f"{NAME}-cpu": 50.0}
        proxy = service.container("proxy")
        assert proxy["portMappings"] == [{"containerPort": 9443, "hostPort": 9443, "protocol": "tcp"}]
        assert proxy["healthCheck"]["command"][-1].endswith(" https://127.0.0.1:9443/$path")
        assert proxy["stopTimeout"] == 30
        assert proxy["repositoryCredentials"] == {"credentialsParameter": HUB_SECRET}
        assert "repositoryCredentials" not in service.container("registry")
        assert [each["containerPort"] for each in described["loadBalancers"]] == [9443]
        assert described["healthCheckGracePeriodSeconds"] == 60
        assert account.client("secretsmanager").describe_secret(SecretId=SECRET)["KmsKeyId"] == key
        role = account.client("iam").get_role(RoleName=EXECUTION)["Role"]
        assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
        policy = account.client("iam").get_policy_version(
            PolicyArn=f"arn:aws:iam::{ACCOUNT_ID}:policy/{EXECUTION}",
            VersionId=account.client("iam").get_policy(PolicyArn=f"arn:aws:iam::{ACCOUNT_ID}:policy/{EXECUTION}")[
                "Policy"
            ]["DefaultVersionId"],
        )["PolicyVersion"]["Document"]
        (decrypting,) = [each for each in policy["Statement"] if each["Sid"] == "DecryptFiles"]
        assert (decrypting["Action"], decrypting["Resource"]) == (["kms:Decrypt"], [key])

    def test_machines_of_a_capacity_provider(self, account: Account, around: Surroundings, service: Service) -> None:
        made = service.ecs.create_capacity_provider(
            name="machines",
            autoScalingGroupProvider={
                "autoScalingGroupArn": f"arn:aws:autoscaling:{REGION}:{ACCOUNT_ID}:autoScalingGroup:1:autoScalingGroupName/x"
            },
        )
        assert made["capacityProvider"]["status"] == "ACTIVE"
        name = "machines-registry"
        machines = around.settings(
            name="machines", launch_type="EC2", capacity_provider="machines", cpu=700, memory_mib=900
        )
        steps = Steps(ROLE).run(machines).run(machines)
        steps.play(account)
        assert steps.changed[0]
        assert steps.changed[1] == []
        (cluster,) = service.ecs.describe_clusters(clusters=[name])["clusters"]
        assert cluster["capacityProviders"] == ["machines"]
        (found,) = service.ecs.describe_services(cluster=name, services=[name])["services"]
        assert found["capacityProviderStrategy"] == [{"capacityProvider": "machines", "weight": 1, "base": 0}]
        assert "launchType" not in found
        definition = service.definition(name)
        assert (definition["requiresCompatibilities"], definition["cpu"], definition["memory"]) == (
            ["EC2"],
            "700",
            "900",
        )


class TestRollout:
    """Deployments that do not come to a good end. ECS's part, the tests do: here, tasks never run."""

    @pytest.fixture(scope="class")
    @classmethod
    def elsewhere(cls) -> Iterator[Account]:
        with aws_account() as made:
            yield made

    def test_what_ecs_rolls_back_and_what_takes_too_long_is_no_success(self, elsewhere: Account) -> None:
        around, ecs = surroundings(elsewhere), elsewhere.client("ecs")
        changes(Steps(ROLE).run(around.settings(wait_enabled=False)).play(elsewhere))

        ended = threading.Event()

        def roll_back() -> bool:
            """Do as ECS does when new tasks do not become healthy; say whether there were any before the run ended."""
            while not ended.wait(0.5):
                (found,) = ecs.describe_services(cluster=NAME, services=[NAME])["services"]
                if found["taskDefinition"].endswith(f"{NAME}:2"):
                    ecs.update_service(cluster=NAME, service=NAME, taskDefinition=f"{NAME}:1")
                    return True
            return False

        following = around.settings(files={**FILES, "htpasswd": "other users\n"}, wait_seconds=120)
        steps = Steps(ROLE).refused(following).refused({**following, "aws_ecs_wait_seconds": 1})
        with ThreadPoolExecutor(1) as executor:
            rolled_back = executor.submit(roll_back)
            try:
                steps.play(elsewhere)
            finally:
                ended.set()
            assert rolled_back.result()
        said = " ".join(steps.refusal(0).split())
        assert said.startswith(f"ECS has rolled the service {NAME} back, as its new tasks did not become healthy: ")
        assert f"the log group {LOG_GROUP} say why" in said

        said = " ".join(steps.refusal(1).split())
        assert said.startswith(f"The tasks of the service {NAME} are not all healthy after 1 seconds: ")


class TestRefusals:
    """Bad input gets one sentence, before anything is made."""

    def test_each_mistake_gets_its_sentence(self, account: Account, around: Surroundings, service: Service) -> None:
        many_users = "".join(f"user-{number}:{'x' * 60}\n" for number in range(20_000))
        # What a call says together is one call.
        mistakes: list[tuple[dict[str, Any], list[str]]] = [
            (
                {
                    "cpu": 768,
                    "min_tasks": 4,
                    "max_tasks": 3,
                    "proxy_image": "drydock/proxy:1.22",
                    "registry_image": "localhost:5000/registry",
                    "log_retention_days": 2,
                    "capacity_provider": "machines",
                },
                [
                    "aws_ecs_cpu is 768, which Fargate does not offer",
                    "aws_ecs_min_tasks is 4, more than aws_ecs_max_tasks, which is 3",
                    "aws_ecs_proxy_image is drydock/proxy:1.22, which was built on a host",
                    "aws_ecs_registry_image is localhost:5000/registry, which is on this machine",
                    "aws_ecs_log_retention_days is 2, which CloudWatch does not offer",
                    "aws_ecs_capacity_provider is set, but aws_ecs_launch_type is FARGATE",
                ],
            ),
            (
                {"cpu": 1024, "memory_mib": 512, "min_tasks": 1, "max_tasks": 0},
                [
                    "aws_ecs_memory_mib is 512, which Fargate does not offer with aws_ecs_cpu 1024: write 2048",
                    "aws_ecs_max_tasks is 0, with which nobody would serve",
                ],
            ),
            (
                {"desired_tasks": 9, "launch_type": "EC2", "capacity_provider": "nobody"},
                [
                    "aws_ecs_desired_tasks is 9: write a number from aws_ecs_min_tasks (2) to",
                    "There is no capacity provider nobody",
                ],
            ),
            (
                {
                    "files": {name: text for name, text in FILES.items() if name != "tls.key"},
                    "subnet_ids": around.same_zone,
                    "target_group_arn": around.instance_target_group,
                },
                [
                    "aws_ecs_files has no tls.key",
                    f"All subnets in aws_ecs_subnet_ids are in the zone {REGION}a",
                    "has targets of the type instance",
                ],
            ),
            (
                {"files": {**FILES, "config.yml": "storage: {s3: {bucket: images}}\n", "htpasswd": many_users}},
                ["aws_ecs_registry_version is 2.8, which cannot use a task's role", "the largest is htpasswd with"],
            ),
            (
                {"target_group_arn": "", "request_label": ""},
                ["aws_ecs_target_group_arn is empty", "aws_ecs_request_label is empty"],
            ),
        ]
        before = service.clusters()
        steps = Steps(ROLE)
        for settings, _ in mistakes:
            steps.refused(around.settings(name="refused", **settings))
        steps.play(account)
        for number, (_, sentences) in enumerate(mistakes):
            said = " ".join(steps.refusal(number).split())
            assert [sentence for sentence in sentences if sentence not in said] == [], said
            assert "hidden" not in said
        assert service.clusters() == before

    def test_what_is_somebody_elses_is_left_alone(self, account: Account, around: Surroundings) -> None:
        account.client("secretsmanager").create_secret(Name="theirs-registry-ecs-1", SecretString="theirs")
        steps = Steps(ROLE).refused(around.settings(name="theirs")).run(around.settings(name="theirs"), "remove")
        changes(steps.play(account))
        assert "The account has a secret theirs-registry-ecs-1 that is not this deployment's" in steps.refusal(0)
        kept = account.client("secretsmanager").get_secret_value(SecretId="theirs-registry-ecs-1")
        assert kept["SecretString"] == "theirs"


PLAY = """\
---
- name: A registry on ECS
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Make the users
      ansible.builtin.include_role:
        name: drydock.registry.registry_auth
        tasks_from: hashed

    - name: Make the registry's configuration
      ansible.builtin.include_role:
        name: drydock.registry.registry_server
        tasks_from: rendered

    - name: Make nginx's configuration
      ansible.builtin.include_role:
        name: drydock.registry.registry_proxy
        tasks_from: rendered
      vars:
        registry_proxy_files: "{{ registry_auth_result['files'] | combine(pair) }}"

    - name: Run them
      ansible.builtin.include_role:
        name: drydock.registry.aws_ecs
      vars:
        aws_ecs_files: "{{ registry_server_result['files'] | combine(registry_proxy_result['files']) }}"
        aws_ecs_registry_version: "{{ registry_server_result['version'] }}"

    - name: Say which task definition it is
      ansible.builtin.debug:
        msg: "DEFINITION={{ aws_ecs_result['task_definition'] }}=DEFINITION"
"""
IMAGE_PLAY = """\
---
- name: Stand-ins of images
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Build it
      drydock.registry.image:
        name: "{{ item['key'] }}"
        variable: image
        provider: debian
        debian: "{{ item['value'] }}"
      loop: "{{ recipes | dict2items }}"
      register: images

    - name: Say how they are called
      ansible.builtin.debug:
        msg: "IMAGE={{ item['reference'] }}=IMAGE"
      loop: "{{ images['results'] }}"
"""


def certificate() -> tuple[str, str]:
    """Make a self-signed certificate and its key, which a load balancer does not check."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry.test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.IPAddress(ipaddress.ip_address(address)) for address in (ADDRESS, OTHER_ADDRESS)]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


class Rendered:
    """The whole way from settings to a task definition."""

    def __init__(self, account: Account, around: Surroundings, endpoint: str, folder: Path) -> None:
        self.account, self.folder = account, folder
        crt, key = certificate()
        self.secrets = [key, HTTP_SECRET, S3_KEY, *PASSWORDS.values()]
        (folder / "ca.crt").write_text(crt, encoding="utf-8")
        self.settings: dict[str, Any] = {
            **around.settings(name="task"),
            "pair": {"tls.crt": crt, "tls.key": key},
            "registry_auth_credentials_directory": str(folder),
            "registry_auth_bcrypt_cost": 4,
            "registry_auth_users": [
                {"name": name, "password": password, "access": "push"} for name, password in PASSWORDS.items()
            ],
            "registry_server_image_reference": REGISTRY_IMAGE,
            "registry_server_storage_provider": "s3",
            "registry_server_http_secret": HTTP_SECRET,
            "registry_server_s3": {
                "bucket": BUCKET,
                "region": REGION,
                "endpoint": endpoint,
                "secure": False,
                "access_key": "AKIAIOSFODNN7EXAMPLE",
                "secret_key": S3_KEY,
                "object_acl": "bucket-owner-full-control",
            },
            "registry_proxy_domain": "registry.test",
            "registry_proxy_names": [ADDRESS, OTHER_ADDRESS],
            "registry_proxy_https_port": 8443,
            "registry_proxy_immutable_tags": [{"repositories": ["team/*"], "tags": ["*"]}],
        }
        for name in ("aws_ecs_files", "aws_ecs_registry_version"):
            del self.settings[name]

    def play(self, *options: str) -> subprocess.CompletedProcess[str]:
        variables = self.folder / "settings.json"
        variables.write_text(json.dumps(self.settings), encoding="utf-8")
        return self.account.run_playbook(PLAY, f"--extra-vars=@{variables}", *options)

    def definition(self) -> dict[str, Any]:
        """Run it, and read what ECS was given back from its API."""
        done = self.play()
        changes(done)
        for secret in self.secrets:
            assert secret not in done.stdout
        (name,) = re.findall(r"DEFINITION=(\S+)=DEFINITION", done.stdout)
        return dict(self.account.client("ecs").describe_task_definition(taskDefinition=name)["taskDefinition"])


@pytest.fixture(scope="module")
def images(account: Account) -> Iterator[tuple[str, ...]]:
    """Build the stand-ins of upstream's images under the names that the task has."""
    done = account.run_playbook(IMAGE_PLAY, f"--extra-vars={json.dumps({'recipes': IMAGES})}")
    changes(done)
    built = re.findall(r"IMAGE=(\S+)=IMAGE", done.stdout)
    for image, reference in zip(built, (REGISTRY_IMAGE, PROXY_IMAGE), strict=True):
        subprocess.run(["docker", "tag", image, reference], check=True)
    yield REGISTRY_IMAGE, PROXY_IMAGE
    # The names; what was built serves the next run.
    subprocess.run(["docker", "image", "rm", REGISTRY_IMAGE, PROXY_IMAGE], stdout=subprocess.DEVNULL, check=True)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(f"{PREFIX}.0/24")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def rendered(
    account: Account, around: Surroundings, network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rendered]:
    account.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    with forwarded(network.gateway, account.endpoint) as endpoint:
        yield Rendered(account, around, endpoint, tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="module")
def definition(rendered: Rendered) -> dict[str, Any]:
    return rendered.definition()


# One class long: the last class gives its own task the address of this one.
@pytest.fixture(scope="class")
def task(account: Account, images: tuple[str, ...], network: Network, definition: dict[str, Any]) -> Iterator[Task]:
    assert {each["image"] for each in definition["containerDefinitions"]} == set(images)
    with running(account, definition, network, ADDRESS) as made:
        yield made


def started(image: str, config: Path) -> str:
    """Start a registry, and return what it says until it listens or has ended."""
    run = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        f"--volume={config}:/etc/config.yml:ro",
        image,
        "serve",
        "/etc/config.yml",
    ]
    said = ""
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as registry:
        for line in registry.stdout or []:
            said += line
            if "listening on" in line:
                registry.terminate()
    return said


def test_a_registry_starts_in_a_region_that_its_sdk_does_not_know(images: tuple[str, ...], tmp_path: Path) -> None:
    storage = {"provider": "s3", "bucket": BUCKET, "region": "mx-central-1"}
    made = build_config({"storage": storage, "socket": "/tmp/registry.sock"}, "2.8")  # noqa: S108
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump(made), encoding="utf-8")
    assert "listening on /tmp/registry.sock" in started(images[0], config)
    # As it would without our doing.
    del made["storage"]["s3"]["regionendpoint"]
    config.write_text(yaml.safe_dump(made), encoding="utf-8")
    assert "panic: invalid region provided: mx-central-1" in started(images[0], config)


def wait_for_health(wanted: int) -> None:
    """Wait until the task says so of its storage."""
    deadline = time.monotonic() + WAIT_SECONDS
    while get(ADDRESS, "/healthz")[0] != wanted:
        assert time.monotonic() < deadline, f"not {wanted} in {WAIT_SECONDS} s"
        time.sleep(1)


def get(address: str, path: str, user: str = "", password: str = "") -> tuple[int, dict[str, str]]:
    """Ask nginx, and return the status of the answer and its headers."""
    context = ssl._create_unverified_context()  # noqa: S323
    connection = http.client.HTTPSConnection(address, 8443, timeout=60, context=context)
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    connection.request("GET", path, headers={"Authorization": f"Basic {credentials}"} if user else {})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def skopeo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a real client that trusts the certificate."""
    side = "src" if arguments[1].startswith("docker://") else "dest"
    return subprocess.run(
        ["skopeo", "--insecure-policy", *arguments, f"--{side}-cert-dir={folder}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


class TestRendered:
    """What the roles of registry and nginx make without a host."""

    SERVER: ClassVar[dict[str, Any]] = {
        "registry_server_storage_provider": "s3",
        "registry_server_s3": {"bucket": BUCKET, "region": REGION},
        "registry_server_http_secret": HTTP_SECRET,
    }

    def test_registry_3_needs_no_keys_and_listens_to_its_own_task(self, account: Account, tmp_path: Path) -> None:
        write = f"""\
---
- name: Render
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Make the registry's configuration
      ansible.builtin.include_role:
        name: drydock.registry.registry_server
        tasks_from: rendered

    - name: Write it
      ansible.builtin.copy:
        content: "{{{{ registry_server_result | to_json }}}}"
        dest: {tmp_path}/result.json
        mode: "0600"
"""
        settings = {**self.SERVER, "registry_server_image_reference": "docker.io/library/registry:3.1.1"}
        settings["registry_server_s3"] = {"bucket": BUCKET, "region": REGION, "endpoint": "https://s3.example.com"}
        settings["registry_server_redis"] = {"address": "cache.example.com:6379"}
        done = account.run_playbook(write, f"--extra-vars={json.dumps(settings)}")
        changes(done)
        assert "Whether Redis answers at cache.example.com:6379 was not looked at" in " ".join(done.stdout.split())
        result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
        assert (result["version"], result["static_keys"]) == ("3", False)
        config = yaml.safe_load(result["files"]["config.yml"])
        assert (config["http"]["net"], config["http"]["addr"]) == ("tcp", "127.0.0.1:5000")
        assert config["http"]["secret"] == HTTP_SECRET
        assert config["redis"]["addrs"] == ["cache.example.com:6379"]
        # 3.x has to be told what follows from an endpoint in 2.8.
        assert config["storage"]["s3"]["forcepathstyle"] is True
        assert "accesskey" not in config["storage"]["s3"]

    def test_each_mistake_gets_its_sentence(self, account: Account) -> None:
        mistakes: dict[str, dict[str, Any]] = {
            "whose image is on a host alone": {"registry_server_image_provider": "debian"},
            "a container without a host keeps nothing": {"registry_server_storage_provider": "filesystem"},
            "does not say by its tag which line it is": {"registry_server_image_reference": "example.com/registry:new"},
            "registry_server_http_secret is empty": {"registry_server_http_secret": ""},
        }
        steps = Steps("registry_server")
        for settings in mistakes.values():
            steps.refused({**self.SERVER, **settings}, "rendered")
        changes(steps.play(account))
        for number, sentence in enumerate(mistakes):
            assert sentence in " ".join(steps.refusal(number).split())
        pair = {name: name for name in ("htpasswd", "access.json", "tls.crt", "tls.key")}
        steps = Steps("registry_proxy")
        steps.refused({"registry_proxy_files": {**pair, "tls.key": ""}}, "rendered")
        steps.refused({"registry_proxy_files": pair, "registry_proxy_image_provider": "archive"}, "rendered")
        quotas = [{"repositories": ["**"], "quota_gib": 1}]
        for_hosts = {"registry_proxy_blob_directory": "/images", "registry_proxy_quotas": quotas}
        steps.refused({"registry_proxy_files": pair, **for_hosts}, "rendered")
        changes(steps.play(account))
        assert "registry_proxy_files has no tls.key" in steps.refusal(0)
        assert "registry_proxy_image_provider is archive" in steps.refusal(1)
        assert "registry_proxy_metrics_directory are for hosts" in steps.refusal(2)


class TestTask:
    """What was registered, read back and run."""

    def test_nothing_secret_stands_in_the_definition(self, rendered: Rendered, definition: dict[str, Any]) -> None:
        text = json.dumps(definition, default=str)
        for secret in rendered.secrets:
            assert secret not in text
            assert json.dumps(secret)[1:-1] not in text

    def test_nobody_gets_in_without_a_right_password(self, task: Task) -> None:
        assert get(ADDRESS, "/healthz")[0] == 200
        status, headers = get(ADDRESS, "/v2/")
        assert (status, headers["www-authenticate"]) == (401, 'Basic realm="Registry"')
        assert get(ADDRESS, "/v2/", "alice", "a wrong one")[0] == 401
        assert get(ADDRESS, "/v2/", "nobody", PASSWORDS["alice"])[0] == 401
        assert get(ADDRESS, "/v2/", "alice", PASSWORDS["alice"])[0] == 200
        # Passwords are checked by the container that is there for it.
        assert '"status":401' in task.logs("passwords")

    @pytest.mark.usefixtures("task")
    def test_a_real_client_pushes_and_pulls(self, account: Account, rendered: Rendered, tmp_path: Path) -> None:
        there = f"docker://{ADDRESS}:8443/team/registry:1"
        login = f"alice:{PASSWORDS['alice']}"
        pushed = skopeo(rendered.folder, "copy", f"docker-daemon:{REGISTRY_IMAGE}", there, f"--dest-creds={login}")
        assert pushed.returncode == 0, pushed.stderr
        assert account.client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] > 0
        moved = skopeo(rendered.folder, "copy", f"docker-daemon:{PROXY_IMAGE}", there, f"--dest-creds={login}")
        assert "the tag team/registry:1 exists" in moved.stderr
        pulled = skopeo(rendered.folder, "copy", there, f"dir:{tmp_path}", f"--src-creds={login}")
        assert pulled.returncode == 0, pulled.stderr
        assert (tmp_path / "manifest.json").exists()
        refused = skopeo(rendered.folder, "copy", there, f"dir:{tmp_path}", "--src-creds=alice:wrong")
        assert refused.returncode != 0
        assert "unauthorized" in refused.stderr or "authentication" in refused.stderr

    def test_containers_that_serve_have_no_secret_and_no_rights(self, task: Task, rendered: Rendered) -> None:
        for name in ("registry", "passwords", "proxy"):
            found = task.inspect(name)
            text = json.dumps(found)
            for secret in rendered.secrets:
                assert secret not in text
                assert json.dumps(secret)[1:-1] not in text
            process = Path(f"/proc/{found['State']['Pid']}")
            status = dict(
                line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line
            )
            assert status["Uid"].split() == ["10001"] * 4
            assert status["CapEff"].strip() == "0000000000000000"
            assert b"SECRET" not in (process / "environ").read_bytes()
        # Each sees its own files: the registry no users and no key, nginx no keys of the bucket.
        mounts = {name: {each["Name"] for each in task.inspect(name)["Mounts"]} for name in task.containers}
        assert mounts["registry"].isdisjoint(mounts["proxy"] | mounts["passwords"])
        assert {name.removeprefix(f"{task.name}-") for name in mounts["proxy"] & mounts["passwords"]} == {
            "password-socket"
        }

    @pytest.mark.usefixtures("task")
    def test_the_registry_is_reached_through_nginx_alone(self) -> None:
        for port in (5000, 80, 443):
            connection = http.client.HTTPConnection(ADDRESS, port, timeout=5)
            with pytest.raises(ConnectionRefusedError):
                connection.request("GET", "/v2/")
            connection.close()

    def test_a_removed_user_is_refused_after_the_next_run(
        self, account: Account, task: Task, network: Network, rendered: Rendered
    ) -> None:
        assert get(ADDRESS, "/v2/", "bob", PASSWORDS["bob"])[0] == 200
        rendered.settings["registry_auth_users"] = [{"name": "alice", "password": PASSWORDS["alice"], "access": "push"}]
        following = rendered.definition()
        assert following["revision"] == task.definition["revision"] + 1
        # As in a rolling deployment, the next task runs beside the one before.
        with running(account, following, network, OTHER_ADDRESS):
            assert get(OTHER_ADDRESS, "/v2/", "bob", PASSWORDS["bob"])[0] == 401
            assert get(OTHER_ADDRESS, "/v2/", "alice", PASSWORDS["alice"])[0] == 200
            # And what was pushed through the other one is there.
            accept = get(OTHER_ADDRESS, "/v2/team/registry/tags/list", "alice", PASSWORDS["alice"])
            assert accept[0] == 200

    def test_an_outage_of_the_storage_replaces_no_task_that_has_served(self, task: Task) -> None:
        """A new one that cannot reach it is not to take the place of others, though."""
        away.set()
        try:
            wait_for_health(503)
            for checks, healthy in ((0, False), (12, True)):
                assert task.run("proxy", "sh", "-c", f"echo {checks} >/tmp/checks") == 0
                assert (task.check("proxy") == 0) is healthy, checks
            assert get(ADDRESS, "/livez")[0] == 200
        finally:
            away.clear()
        wait_for_health(200)

    def test_a_task_without_its_registry_is_unhealthy(self, task: Task) -> None:
        task.wait_until_healthy()
        assert task.lost() == set()
        assert task.check("proxy") == 0
        task.kill("registry")
        # An answer counts for some seconds.
        wait_for_health(503)
        assert get(ADDRESS, "/livez")[0] == 503
        assert task.check("proxy") != 0
        assert "registry" in task.lost()


class TestRemoval:
    """What goes, and that it goes once."""

    def test_all_of_it_goes(self, account: Account, around: Surroundings, service: Service) -> None:
        every = [around.settings(name=name) for name in ("drydock", "machines", "task")]
        dry = Steps(ROLE).run(every[0], "remove")
        steps = Steps(ROLE)
        for settings in every:
            steps.run({**settings, "aws_ecs_secret_recovery_days": 0}, "remove")
        # One of Fargate and one of a capacity provider, once more.
        for settings in every[:2]:
            steps.run(settings, "remove")
        dry.play(account, "--check")
        assert dry.changed[0]
        assert service.described()["status"] == "ACTIVE"
        steps.play(account)
        assert [bool(changed) for changed in steps.changed] == [True] * 3 + [False] * 2
        assert service.clusters() == []
        assert service.ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"] == []
        names = [each["Name"] for each in account.client("secretsmanager").list_secrets()["SecretList"]]
        assert names == ["theirs-registry-ecs-1"]
        iam = account.client("iam")
        assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == []
        assert iam.list_policies(Scope="Local")["Policies"] == []
        assert account.client("logs").describe_log_groups()["logGroups"] == []


class TestPlatform:
    """The playbooks' own way: from an empty account to tasks behind a load balancer, and back, by a user with the policies of docs/."""

    @pytest.fixture(scope="class")
    @classmethod
    def enforced(cls) -> Iterator[Account]:
        """Return an account in which IAM's policies count, and its administrator."""
        with aws_account(policies_enforced=True, MOTO_ECS_SERVICE_RUNNING="10") as made:
            yield made

    @staticmethod
    def make_user(enforced: Account, name: str, *policies: str) -> tuple[str, str]:
        """Make a user with policies, and return the keys."""
        iam = enforced.client("iam")
        iam.create_user(UserName=name)
        for number, document in enumerate(policies):
            arn = iam.create_policy(PolicyName=f"{name}-{number}", PolicyDocument=document)["Policy"]["Arn"]
            iam.attach_user_policy(UserName=name, PolicyArn=arn)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    @pytest.fixture(scope="class")
    @classmethod
    def deployer(cls, enforced: Account) -> Account:
        """Return the account as a user has it with the policies for these tasks and no other."""
        made = deployer_policies("ecs", {"images": "tasks-images"}, deployment="tasks", parts=["dns", "outputs"])
        policies = [json.dumps(policy) for policy in made.values()]
        user = Account(enforced.endpoint, enforced.folder)
        user.become(*cls.make_user(enforced, "deployer", *policies))
        return user

    @pytest.fixture(scope="class")
    @classmethod
    def theirs(cls, enforced: Account) -> tuple[Theirs, list[Any]]:
        """Return where tasks run, and how it was before."""
        made = Theirs.made(enforced)
        return made, made.seen(enforced)

    @pytest.fixture(scope="class")
    @classmethod
    def settings(
        cls,
        enforced: Account,
        network: Network,
        theirs: tuple[Theirs, list[Any]],
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Iterator[dict[str, Any]]:
        images = ["arn:aws:s3:::tasks-images", "arn:aws:s3:::tasks-images/*"]
        statement = {"Effect": "Allow", "Action": "s3:*", "Resource": images}
        access_key, secret_key = cls.make_user(
            enforced, "registry", json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        )
        enforced.client("route53").create_hosted_zone(Name="example.test", CallerReference="platform")
        with forwarded(network.gateway, enforced.endpoint) as endpoint:
            yield {
                "drydock_deployment": "tasks",
                "drydock_domain": "registry.example.test",
                "drydock_credentials_directory": str(tmp_path_factory.mktemp("platform")),
                "aws_storage_bucket": "tasks-images",
                "aws_load_balancer_zone": "example.test",
                "aws_network_provider": "given",
                "aws_network_subnet_ids": theirs[0].private,
                "aws_network_load_balancer_subnet_ids": theirs[0].public,
                "aws_ecs_public_ip_enabled": False,
                # Nobody registers targets here: that the load balancer reaches tasks, a fleet shows.
                "aws_ecs_wait_enabled": False,
                "drydock_outputs_parameters_enabled": True,
                "aws_ecs_architecture": "amd64",
                "aws_ecs_secret_recovery_days": 0,
                "registry_auth_users": [{"name": "admin", "access": "admin"}],
                "registry_proxy_names": [ADDRESS],
                "registry_server_image_reference": REGISTRY_IMAGE,
                "registry_proxy_image_reference": PROXY_IMAGE,
                "registry_server_s3": {
                    "bucket": "tasks-images",
                    "region": REGION,
                    "endpoint": endpoint,
                    "secure": False,
                    "access_key": access_key,
                    "secret_key": secret_key,
                    "object_acl": "bucket-owner-full-control",
                },
                "registry_server_config": {"http": {"headers": {"X-Own": ["yes"]}}},
            }

    @staticmethod
    def play(
        deployer: Account, settings: dict[str, Any], playbook: str, *options: str, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        return deployer.run_playbook(
            ROOT / "playbooks" / playbook,
            f"--inventory={ROOT}/inventories/ecs",
            f"--extra-vars={json.dumps({**settings, **more})}",
            *options,
        )

    def test_a_dry_run_makes_nothing_and_lists_what_a_run_would_make(
        self, enforced: Account, deployer: Account, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = deployer.folder / "plan.json"
        monkeypatch.setitem(deployer.environment, "DRYDOCK_PLAN_PATH", str(plan))
        monkeypatch.setitem(deployer.environment, "DRYDOCK_PLAN_EXIT_CODE", "10")
        done = self.play(deployer, settings, "provision.yml", "--check")
        assert done.returncode == 10, done.stdout
        planned = json.loads(plan.read_text(encoding="utf-8"))
        assert planned["complete"]
        made = {(each["role"], each["task"]) for each in planned["changes"] if each["action"] == "made"}
        for role, task in (
            ("aws_ecs", "Ensure the cluster exists"),
            ("aws_storage", "Report what a dry run would change"),
        ):
            assert any(name == role and said.startswith(task) for name, said in made), made
        assert planned["count"]["removed"] == planned["count"]["replaced"] == 0
        assert f"PLAN: {planned['count']['made']} made" in done.stdout
        assert enforced.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
        assert list(Path(settings["drydock_credentials_directory"]).iterdir()) == []

    def test_what_tasks_cannot_have_is_refused_before_anything_is_made(
        self, enforced: Account, deployer: Account, settings: dict[str, Any]
    ) -> None:
        without_keys = {key: settings["registry_server_s3"][key] for key in ("bucket", "region")}
        cases: dict[str, dict[str, Any]] = {
            "for-one-host": {
                "registry_proxy_client_certificates": "required",
                "registry_tls_provider": "acme",
                "registry_server_storage_provider": "filesystem",
            },
            "without-keys": {"registry_server_s3": without_keys},
            "cpu": {"aws_ecs_cpu": 1000},
            "addresses": {"aws_ecs_public_ip_enabled": True},
            "images": {
                "aws_network_way_out": "endpoints",
                "registry_server_image_reference": "docker.io/library/registry:2.8",
            },
        }
        said = refusals(
            deployer, "ecs", ROOT / "inventories/ecs", {name: settings | case for name, case in cases.items()}
        )
        for words in ("aws_load_balancer_type: network", "registry_tls_provider is acme", "write `s3`"):
            assert words in said["for-one-host"]
        assert "2.8" in said["without-keys"]
        assert "aws_ecs_cpu" in said["cpu"]
        assert "so that hosts with public addresses have no way out of there" in said["addresses"]
        assert "Not from there: registry_server_image_reference; write a copy in ECR" in said["images"]
        assert enforced.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
        assert "tasks-images" not in [each["Name"] for each in enforced.client("s3").list_buckets()["Buckets"]]

    def test_a_run_makes_a_service_behind_a_load_balancer(
        self,
        enforced: Account,
        deployer: Account,
        settings: dict[str, Any],
        theirs: tuple[Theirs, list[Any]],
    ) -> None:
        with counted(deployer.environment, deployer.folder) as tasks:
            changes(self.play(deployer, settings, "provision.yml"))
        # It was 157 once.
        assert tasks.total() <= 90, tasks
        balancers = enforced.client("elbv2")
        (balancer,) = balancers.describe_load_balancers()["LoadBalancers"]
        (group,) = balancers.describe_target_groups(LoadBalancerArn=balancer["LoadBalancerArn"])["TargetGroups"]
        assert (group["TargetType"], group["Port"], group["HealthCheckPath"]) == ("ip", 8443, "/livez")
        ecs = enforced.client("ecs")
        (service,) = ecs.describe_services(cluster="tasks-registry", services=["tasks-registry"])["services"]
        assert service["loadBalancers"] == [
            {"targetGroupArn": group["TargetGroupArn"], "containerName": "proxy", "containerPort": 8443}
        ]
        outputs = json.loads(
            (Path(settings["drydock_credentials_directory"]) / "outputs.json").read_text(encoding="utf-8")
        )
        assert outputs["domain"] == "registry.example.test"
        assert outputs["load_balancer"]["arn"] == balancer["LoadBalancerArn"]
        assert outputs["ecs"]["service"] == "tasks-registry"
        pages = (
            enforced.client("ssm")
            .get_paginator("get_parameters_by_path")
            .paginate(Path="/drydock/tasks", Recursive=True)
        )
        told = {each["Name"]: each["Value"] for page in pages for each in page["Parameters"]}
        assert told["/drydock/tasks/load_balancer/target_group_arn"] == group["TargetGroupArn"]
        assert told["/drydock/tasks/network/subnet_ids"].split(",") == outputs["network"]["subnet_ids"]
        facts = aws_platform_controls.of_tasks(enforced.client, "tasks-registry")
        assert aws_platform_controls.failures(facts, aws_platform_controls.SET["tasks"]) == {}
        shared = aws_controls.Deployment(enforced.client, "tasks-images", f"tasks-registry-{REGION}", "", "", "")
        assert aws_controls.failures(shared, ("S3.", "IAM.", "KMS.1")) == {}
        places = service["networkConfiguration"]["awsvpcConfiguration"]
        assert sorted(places["subnets"]) == sorted(theirs[0].private)
        assert places["assignPublicIp"] == "DISABLED"
        assert {zone["SubnetId"] for zone in balancer["AvailabilityZones"]} == set(theirs[0].public)
        # nginx believes the load balancer, and nobody beside the tasks.
        pieces = Service(enforced).files("tasks-registry").items()
        nginx = "".join(text for name, text in pieces if name.startswith("NGINX_CONF"))
        assert re.findall(r"set_real_ip_from (.*);", nginx) == ["10.60.0.0/24", "10.60.1.0/24"]
        # From the load balancer alone.
        (port,) = enforced.client("ec2").describe_security_groups(GroupIds=places["securityGroups"])["SecurityGroups"][
            0
        ]["IpPermissions"]
        assert (port["FromPort"], port["IpRanges"]) == (8443, [])
        assert [pair["GroupId"] for pair in port["UserIdGroupPairs"]] == balancer["SecurityGroups"]

    def test_a_second_run_changes_nothing(
        self, deployer: Account, settings: dict[str, Any], record_property: Callable[[str, object], None]
    ) -> None:
        start = time.monotonic()
        assert changed_tasks(self.play(deployer, settings, "provision.yml")) == []
        record_property("part: second provision of ecs", time.monotonic() - start)

    @pytest.mark.usefixtures("images")
    def test_its_task_lets_in_who_has_the_generated_password(
        self, enforced: Account, settings: dict[str, Any], network: Network
    ) -> None:
        ecs = enforced.client("ecs")
        (service,) = ecs.describe_services(cluster="tasks-registry", services=["tasks-registry"])["services"]
        definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
        password = Path(settings["drydock_credentials_directory"], "admin.password").read_text(encoding="utf-8").strip()
        assert password not in json.dumps(definition, default=str)
        with running(enforced, definition, network, ADDRESS):
            assert get(ADDRESS, "/v2/")[0] == 401
            assert get(ADDRESS, "/v2/", "admin", "a wrong one")[0] == 401
            # The registry's own answer, since it has a header of its own.
            status, headers = get(ADDRESS, "/v2/", "admin", password)
            assert (status, headers["x-own"]) == (200, "yes")

    def test_the_teardown_leaves_nothing(
        self, enforced: Account, deployer: Account, settings: dict[str, Any], theirs: tuple[Theirs, list[Any]]
    ) -> None:
        changes(self.play(deployer, settings, "teardown.yml", drydock_teardown_bucket="tasks-images"))
        assert enforced.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
        assert enforced.client("elbv2").describe_target_groups()["TargetGroups"] == []
        assert "tasks-images" not in [each["Name"] for each in enforced.client("s3").list_buckets()["Buckets"]]
        names = {role["RoleName"] for role in enforced.client("iam").list_roles()["Roles"]}
        assert not {name for name in names if name.startswith("tasks-")}
        ssm = enforced.client("ssm")
        assert ssm.get_parameters_by_path(Path="/drydock/tasks", Recursive=True)["Parameters"] == []
        assert not (Path(settings["drydock_credentials_directory"]) / "outputs.json").exists()
        assert theirs[0].seen(enforced) == theirs[1]
