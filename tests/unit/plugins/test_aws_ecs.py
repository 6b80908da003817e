# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry as a task of Amazon ECS: settings that lead nowhere, files as secrets, and what is compared with what ECS describes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._aws_ecs import (
    FARGATE_SIZES,
    PIECE_LIMIT,
    SECRET_LIMIT,
    FilesError,
    execution_policy,
    files_problems,
    holds,
    image_problem,
    secret_references,
    secrets_of,
    settings_problems,
    size_problem,
    variables_of,
    with_credentials,
    writing_script,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_images import ecr_repositories

SETTINGS: dict[str, Any] = {
    "launch_type": "FARGATE",
    "capacity_provider": "",
    "public_ip_enabled": False,
    "cpu": 1024,
    "memory_mib": 2048,
    "min_tasks": 2,
    "max_tasks": 6,
    "desired_tasks": 0,
    "registry_image": "docker.io/library/registry:3",
    "proxy_image": "docker.io/library/nginx:stable",
    "log_retention_days": 30,
    "cpu_target_percent": 60,
    "requests_target_per_task": 0,
    "stop_seconds": 120,
    "image_credentials": {},
}
HUB_SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:docker-hub-AbCdEf"
ACCOUNT = {"partition": "aws", "region": "eu-central-1", "account_id": "123456789012"}


# ----- settings ---------------------------------------------------------------------------------


def test_settings_that_are_right() -> None:
    assert settings_problems(SETTINGS) == []
    assert settings_problems({**SETTINGS, "launch_type": "EC2", "cpu": 700, "memory_mib": 900}) == []
    assert settings_problems({**SETTINGS, "image_credentials": {"docker.io": HUB_SECRET}}) == []
    assert settings_problems({**SETTINGS, "public_ip_enabled": True, "log_retention_days": 1096}) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"cpu": 1000},
            "aws_ecs_cpu is 1000, which Fargate does not offer: write one of 256, 512, 1024, 2048, 4096, 8192, 16384",
        ),
        (
            {"memory_mib": 9216},
            "does not offer with aws_ecs_cpu 1024: write 8192, or another of 2048 to 8192 in steps of 1024.",
        ),
        ({"min_tasks": 0}, "aws_ecs_min_tasks is 0"),
        ({"min_tasks": 0, "max_tasks": 0}, "aws_ecs_max_tasks is 0, with which nobody would serve: write 1 or more."),
        ({"min_tasks": 7}, "aws_ecs_min_tasks is 7, more than aws_ecs_max_tasks, which is 6"),
        (
            {"desired_tasks": 1},
            "aws_ecs_desired_tasks is 1: write a number from aws_ecs_min_tasks (2) to aws_ecs_max_tasks (6)",
        ),
        ({"cpu_target_percent": 101}, "aws_ecs_cpu_target_percent is 101"),
        ({"requests_target_per_task": -1}, "aws_ecs_requests_target_per_task is -1"),
        ({"stop_seconds": 121}, "aws_ecs_stop_seconds is 121: write 0 to 120"),
        ({"log_retention_days": 31}, "aws_ecs_log_retention_days is 31"),
        ({"capacity_provider": "mine"}, "aws_ecs_launch_type is FARGATE"),
        ({"launch_type": "EC2", "cpu": 64}, "write at least 128 and 256"),
        (
            {"launch_type": "EC2", "public_ip_enabled": True},
            "aws_ecs_public_ip_enabled is true, but ECS gives tasks on",
        ),
        ({"registry_image": ""}, "aws_ecs_registry_image is empty"),
        (
            {"image_credentials": {"ghcr.io": HUB_SECRET}},
            "has a secret for ghcr.io, from which no image comes: write docker.io",
        ),
        ({"image_credentials": {"docker.io": "docker-hub"}}, "'docker-hub' for docker.io, which is no ARN of a secret"),
        (
            {
                "registry_image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/registry:3",
                "image_credentials": {"123456789012.dkr.ecr.eu-central-1.amazonaws.com": HUB_SECRET},
            },
            "which takes the execution role and nothing else: leave it out.",
        ),
        ({"proxy_image": "not an image"}, "aws_ecs_proxy_image is 'not an image', which is no name of an image"),
    ],
)
def test_settings_that_lead_nowhere(change: dict[str, Any], said: str) -> None:
    (problem,) = [each for each in settings_problems({**SETTINGS, **change}) if said in each]
    assert problem.endswith(".")


@pytest.mark.parametrize(
    ("cpu", "offered", "not_offered"),
    [
        (256, (512, 1024, 2048), (256, 1536, 3072)),
        (512, (1024, 4096), (512, 5120)),
        (4096, (8192, 30720), (7168, 31744)),
        (8192, (16384, 20480, 61440), (17408, 65536)),
        (16384, (32768, 40960, 122880), (36864, 131072)),
    ],
)
def test_sizes_of_fargate(cpu: int, offered: tuple[int, ...], not_offered: tuple[int, ...]) -> None:
    assert [size_problem(cpu, size) for size in offered] == [""] * len(offered)
    assert all(size_problem(cpu, size) for size in not_offered)
    # The advice is one that Fargate offers.
    for size in not_offered:
        assert int(size_problem(cpu, size).split("write ")[1].split(",")[0]) in FARGATE_SIZES[cpu]


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "nginx:1.27",
        "library/nginx",
        "docker.io/library/registry:3",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/registry:2.8.2",
        "registry.example.com:5000/team/nginx@sha256:" + "0" * 64,
        "public.ecr.aws/nginx/nginx:stable",
    ],
)
def test_images_that_ecs_can_pull(image: str) -> None:
    assert image_problem(image, "image") == ""


@pytest.mark.parametrize(
    "image", ["drydock/registry:2.8.2_ds1-1-a731461626f8", "localhost/nginx", "127.0.0.1:5000/nginx", "Nginx", "nginx:"]
)
def test_images_that_it_cannot(image: str) -> None:
    assert image_problem(image, "image").startswith("image is ")


# ----- files ------------------------------------------------------------------------------------


def test_files_become_one_secret() -> None:
    (secret,) = secrets_of({"nginx.conf": "a\n", "tls.key": 'b"\n'})
    assert json.loads(secret.content) == {"NGINX_CONF": "a\n", "TLS_KEY": 'b"\n'}
    assert secret.variables == ("NGINX_CONF", "TLS_KEY")


def test_the_checksum_is_the_contents() -> None:
    files = {"a": "1", "b": "2"}
    (one,), (same,), (other,) = (
        secrets_of(files),
        secrets_of(dict(reversed(files.items()))),
        secrets_of({**files, "b": "3"}),
    )
    assert one.checksum == same.checksum != other.checksum


def test_large_files_are_cut_and_no_secret_is_too_large() -> None:
    # Line ends, quotes and letters beyond ASCII take more room in JSON, or in UTF-8, than there are characters.
    users = "".join(f'üser-{number}:"{number}"\n' for number in range(12_000))
    files = {"htpasswd": users, "nginx.conf": "x" * 30_000, "empty": ""}
    secrets = secrets_of(files)
    assert len(secrets) > 1
    held: dict[str, str] = {}
    for secret in secrets:
        assert len(secret.content.encode()) <= SECRET_LIMIT
        held.update(json.loads(secret.content))
    assert max(len(text.encode()) for text in held.values()) <= PIECE_LIMIT
    for name, variables in variables_of(files).items():
        assert "".join(held[variable] for variable in variables) == files[name]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.b": "1", "a-b": "2"}, "which would share a variable"),
        ({"../etc/passwd": "x"}, "names a file '../etc/passwd'"),
        ({"a": "x\0"}, "zero byte in a"),
        ({"a": {"b": 1}}, "no text for a"),
        ({"htpasswd": "x" * (1024 * 1024 + 1)}, "the largest is htpasswd with 1048577"),
    ],
)
def test_files_that_no_task_could_have(files: dict[str, Any], said: str) -> None:
    with pytest.raises(FilesError, match=said):
        secrets_of(files)


def test_the_script_writes_each_file_where_it_belongs(tmp_path: Path) -> None:
    files = {"config.yml": "a: '$HOME' `id`\n\n", "htpasswd": "x%s\\n" * 20_000, "spare": "s"}
    volumes = {"registry": ["config.yml"], "proxy": ["htpasswd", "missing"]}
    for volume in (*volumes, "scratch"):
        (tmp_path / volume).mkdir()
    variables = {name: piece for pieces in variables_of(files).values() for name, piece in pieces.items()}
    script = writing_script(files, volumes, ["scratch"], str(tmp_path))
    subprocess.run(["/bin/sh", "-euc", script], env={**os.environ, **variables}, check=True)
    assert (tmp_path / "registry/config.yml").read_text() == files["config.yml"]
    assert (tmp_path / "proxy/htpasswd").read_text() == files["htpasswd"]
    assert (tmp_path / "proxy/htpasswd").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "scratch").stat().st_mode & 0o777 == 0o770
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["config.yml", "htpasswd"]
    # What files hold stands in no command.
    assert "$HOME" not in script


def test_missing_files_and_keys_are_named() -> None:
    problems = files_problems({"config.yml": "x"}, ["config.yml", "tls.key"], "2.8", False)
    assert [problem.split(",")[0] for problem in problems] == [
        "aws_ecs_files has no tls.key",
        "aws_ecs_registry_version is 2.8",
    ]
    assert files_problems({"config.yml": "x"}, ["config.yml"], "2.8", True) == []
    assert files_problems({"config.yml": "x"}, ["config.yml"], "3", False) == []


def test_references_name_the_version() -> None:
    (secret,) = secrets_of({"a": "1"})
    packed = [{"name": "s-1", "checksum": secret.checksum, "variables": secret.variables}]
    found = {"s-1": {"arn": "arn:aws:secretsmanager:r:1:secret:s-1-abcdef", "version": "v", "content": secret.checksum}}
    assert secret_references(packed, found) == [{"name": "A", "valueFrom": f"{found['s-1']['arn']}:A::v"}]
    # Not the version of other content, and none where there is none.
    other = {"s-1": {**found["s-1"], "content": "other"}}
    assert secret_references(packed, other)[0]["valueFrom"].endswith("::not-known-yet")
    assert secret_references(packed, {})[0]["valueFrom"] == "not-known-yet:A::not-known-yet"


# ----- the execution role -----------------------------------------------------------------------


def test_the_execution_role_reads_its_secrets_and_writes_its_log() -> None:
    policy = execution_policy(ACCOUNT, ["s-1"], "/drydock/x", ["docker.io/library/nginx:stable"])
    assert policy["Statement"] == [
        {
            "Sid": "ReadFiles",
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue"],
            "Resource": ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:s-1-??????"],
        },
        {
            "Sid": "WriteLog",
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": ["arn:aws:logs:eu-central-1:123456789012:log-group:/drydock/x:log-stream:*"],
        },
    ]


def test_each_container_pulls_with_the_secret_of_its_registry() -> None:
    images = ["nginx:stable", "docker.io/library/nginx:stable", "mirror.example.com:5000/nginx", "ghcr.io/x/nginx"]
    containers = [{"name": "x", "image": image} for image in images]
    credentials = {"docker.io": HUB_SECRET, "mirror.example.com:5000": f"{HUB_SECRET}2"}
    assert [each.get("repositoryCredentials") for each in with_credentials(containers, credentials)] == [
        {"credentialsParameter": HUB_SECRET},
        {"credentialsParameter": HUB_SECRET},
        {"credentialsParameter": f"{HUB_SECRET}2"},
        None,
    ]
    assert with_credentials(containers, {}) == containers


def test_it_decrypts_through_secrets_manager_alone() -> None:
    key = "arn:aws-cn:kms:cn-north-1:123456789012:key/1"
    account = {"partition": "aws-cn", "region": "cn-north-1", "account_id": "123456789012"}
    (statement,) = [
        each for each in execution_policy(account, ["s"], "g", [], key)["Statement"] if each["Sid"] == "DecryptFiles"
    ]
    assert statement["Resource"] == [key]
    assert statement["Condition"] == {"StringEquals": {"kms:ViaService": "secretsmanager.cn-north-1.amazonaws.com.cn"}}


def test_it_pulls_from_the_repositories_of_its_images() -> None:
    host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    assert ecr_repositories(
        [f"{host}/team/nginx:1", f"{host}/team/nginx:2", "docker.io/library/registry:3"], "aws"
    ) == ["arn:aws:ecr:eu-west-1:123456789012:repository/team/nginx"]


@pytest.mark.parametrize(
    ("host", "region", "partition"),
    [
        ("dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1", "aws"),
        ("dkr.ecr-fips.us-east-1.amazonaws.com", "us-east-1", "aws"),
        ("dkr-ecr.eu-west-1.on.aws", "eu-west-1", "aws"),
        ("dkr-ecr-fips.us-gov-west-1.on.aws", "us-gov-west-1", "aws-us-gov"),
        ("dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", "aws-cn"),
        ("dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1", "aws-cn"),
        ("dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", "aws-eusc"),
        ("dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", "aws-iso"),
    ],
)
def test_it_pulls_by_each_name_that_ecr_has(host: str, region: str, partition: str) -> None:
    image = f"123456789012.{host}/team/nginx:1"
    assert image_problem(image, "image") == ""
    assert ecr_repositories([image], partition) == [f"arn:{partition}:ecr:{region}:123456789012:repository/team/nginx"]


@pytest.mark.parametrize(
    "host", ["123456789012.dkr.ecr.eu-west-1.example.com", "x.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws"]
)
def test_other_registries_need_no_rights(host: str) -> None:
    assert ecr_repositories([f"{host}/team/nginx:1"], "aws") == []


# ----- what is there already --------------------------------------------------------------------

WANTED: dict[str, Any] = {
    "cpu": "512",
    "volumes": [{"name": "a"}],
    "containerDefinitions": [
        {
            "name": "proxy",
            "command": ["-c", "x"],
            "secrets": [{"name": "A", "valueFrom": "1"}, {"name": "B", "valueFrom": "2"}],
            "readonlyRootFilesystem": True,
        }
    ],
}
FOUND: dict[str, Any] = {
    "taskDefinitionArn": "arn",
    "revision": 3,
    "cpu": "512",
    "volumes": [{"name": "a", "host": {}}],
    "containerDefinitions": [
        {
            "name": "proxy",
            "cpu": 0,
            "environment": [],
            "command": ["-c", "x"],
            "secrets": [{"name": "B", "valueFrom": "2"}, {"name": "A", "valueFrom": "1"}],
            "readonlyRootFilesystem": True,
        }
    ],
}


def changed(key: str, value: Any) -> dict[str, Any]:
    """What is found, with another value in its container."""
    return {**FOUND, "containerDefinitions": [{**FOUND["containerDefinitions"][0], key: value}]}


def test_what_ecs_adds_is_no_difference() -> None:
    assert holds(FOUND, WANTED, exact=True)


@pytest.mark.parametrize(
    "found",
    [
        {**FOUND, "cpu": "1024"},
        {key: value for key, value in FOUND.items() if key != "cpu"},
        {**FOUND, "volumes": [{"name": "b", "host": {}}]},
        {**FOUND, "volumes": [{"name": "a", "host": {"sourcePath": "/"}}]},
        {**FOUND, "containerDefinitions": []},
        changed("command", ["x", "-c"]),
        changed("command", ["-c", "y"]),
        changed("secrets", [{"name": "A", "valueFrom": "1"}, {"name": "B", "valueFrom": "3"}]),
        changed("environment", [{"name": "A", "value": "B"}]),
        changed("privileged", True),
        changed("readonlyRootFilesystem", False),
    ],
)
def test_every_other_difference_is_one(found: dict[str, Any]) -> None:
    assert not holds(found, WANTED, exact=True)


# As ECS answers, which chooses what nobody has asked for.
DEPLOYMENT: dict[str, Any] = {
    "deploymentCircuitBreaker": {
        "enable": True,
        "rollback": True,
        "resetOnHealthyTask": True,
        "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 50},
    },
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
    "strategy": "ROLLING",
    "bakeTimeInMinutes": 5,
}


def wanted_deployment(**breaker: bool) -> dict[str, Any]:
    """What the role asks of a service's deployments."""
    return {
        "deploymentConfiguration": {
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True, **breaker},
        }
    }


def test_what_ecs_chooses_for_a_service_is_no_difference() -> None:
    assert holds({"deploymentConfiguration": DEPLOYMENT}, wanted_deployment(), exact=False)
    assert not holds({"deploymentConfiguration": DEPLOYMENT}, wanted_deployment(rollback=False), exact=False)
    balancers = [{"targetGroupArn": "arn", "containerName": "proxy", "containerPort": 8443}]
    more = [{**balancers[0], "advancedConfiguration": {"roleArn": "arn"}}]
    assert holds({"loadBalancers": more}, {"loadBalancers": balancers}, exact=False)
    assert not holds({"loadBalancers": [*more, *more]}, {"loadBalancers": balancers}, exact=False)
