# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry as a task of Amazon ECS: what settings lead nowhere, how files become secrets, what its execution role may do."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.drydock.registry.plugins.module_utils._aws_images import ECR, IMAGE, host_of, pull_statements
from ansible_collections.drydock.registry.plugins.module_utils._aws_partitions import suffix_of

Policy = dict[str, Any]

GIB = 1024

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
FARGATE_SIZES: Mapping[int, tuple[int, ...]] = {
    256: (512, GIB, 2 * GIB),
    512: tuple(range(GIB, 4 * GIB + 1, GIB)),
    1024: tuple(range(2 * GIB, 8 * GIB + 1, GIB)),
    2048: tuple(range(4 * GIB, 16 * GIB + 1, GIB)),
    4096: tuple(range(8 * GIB, 30 * GIB + 1, GIB)),
    8192: tuple(range(16 * GIB, 60 * GIB + 1, 4 * GIB)),
    16384: tuple(range(32 * GIB, 120 * GIB + 1, 8 * GIB)),
}

# https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
SECRET_LIMIT = 65536
# The kernel lets one variable have 128 KiB. Pieces are smaller than that, so that several fit into each secret.
PIECE_LIMIT = 24 * 1024
# All variables of a process have to fit into a quarter of its stack, which is 8 MiB; this leaves room for what else is there.
FILES_LIMIT = 1024 * 1024

# The log group's retention: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180),
    *(365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SECRET_ARN = re.compile(r"arn:aws[\w-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@-]+")


class FilesError(ValueError):
    """Files that no task could have; the text is a sentence for the user."""


class Secret(NamedTuple):
    """What one secret holds: a JSON object of variables."""

    content: str
    variables: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """Tell whether two are the same. Everything in them is random or hashed with something random, so it tells nothing else."""
        return hashlib.sha256(self.content.encode()).hexdigest()


# ----- settings ---------------------------------------------------------------------------------


def size_problem(cpu: int, memory_mib: int) -> str:
    """Fargate offers some sizes and no others."""
    if cpu not in FARGATE_SIZES:
        offered = ", ".join(map(str, FARGATE_SIZES))
        return f"aws_ecs_cpu is {cpu}, which Fargate does not offer: write one of {offered} (1024 is one virtual CPU)."
    sizes = FARGATE_SIZES[cpu]
    if memory_mib in sizes:
        return ""
    nearest = min(sizes, key=lambda size: (abs(size - memory_mib), size))
    return (
        f"aws_ecs_memory_mib is {memory_mib}, which Fargate does not offer with aws_ecs_cpu {cpu}: write {nearest}, or another of "
        f"{_sizes(sizes)}."
    )


def _sizes(sizes: Sequence[int]) -> str:
    if len(sizes) <= 4:
        return ", ".join(map(str, sizes))
    return f"{sizes[0]} to {sizes[-1]} in steps of {sizes[1] - sizes[0]}"


def tasks_problems(minimum: int, maximum: int, desired: int) -> list[str]:
    """How many tasks there may be; a desired number of 0 leaves it to scaling."""
    problems = []
    if minimum < 1:
        problems.append(f"aws_ecs_min_tasks is {minimum}, with which nobody might serve: write 1 or more.")
    if maximum < 1:
        problems.append(f"aws_ecs_max_tasks is {maximum}, with which nobody would serve: write 1 or more.")
    elif minimum > maximum:
        problems.append(
            f"aws_ecs_min_tasks is {minimum}, more than aws_ecs_max_tasks, which is {maximum}: write a smaller minimum or a larger maximum."
        )
    elif desired and not minimum <= desired <= maximum:
        problems.append(
            f"aws_ecs_desired_tasks is {desired}: write a number from aws_ecs_min_tasks ({minimum}) to aws_ecs_max_tasks ({maximum}), or 0 "
            "to leave it to scaling."
        )
    return problems


def image_problem(image: str, variable: str) -> str:
    """ECS pulls images; what was built on a host or loaded from a file, no registry has."""
    parts = IMAGE.fullmatch(image)
    if not image:
        return f"{variable} is empty: write an image that ECS can pull, such as one in your ECR."
    if not parts:
        return (
            f"{variable} is {image!r}, which is no name of an image: write one such as docker.io/library/nginx:stable."
        )
    if parts["host"] == "localhost" or (parts["host"] or "").startswith("127."):
        return (
            f"{variable} is {image}, which is on this machine alone: push it to ECR or another registry that ECS reaches, and write that "
            "name."
        )
    if not parts["host"] and parts["path"].startswith("drydock/"):
        return (
            f"{variable} is {image}, which was built on a host and is in no registry: push it to ECR or another registry that ECS reaches, "
            "and write that name."
        )
    return ""


def settings_problems(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with the role's settings, whatever the account holds: one sentence each."""
    problems = [
        image_problem(str(settings["registry_image"]), "aws_ecs_registry_image"),
        image_problem(str(settings["proxy_image"]), "aws_ecs_proxy_image"),
    ]
    if settings["launch_type"] == "FARGATE":
        problems.append(size_problem(int(settings["cpu"]), int(settings["memory_mib"])))
    elif int(settings["cpu"]) < 128 or int(settings["memory_mib"]) < 256:
        problems.append(
            f"aws_ecs_cpu and aws_ecs_memory_mib are {settings['cpu']} and {settings['memory_mib']}: write at least 128 and 256."
        )
    problems += tasks_problems(int(settings["min_tasks"]), int(settings["max_tasks"]), int(settings["desired_tasks"]))
    days = int(settings["log_retention_days"])
    if days not in RETENTION_DAYS:
        problems.append(
            f"aws_ecs_log_retention_days is {days}, which CloudWatch does not offer: write one of {', '.join(map(str, RETENTION_DAYS))}."
        )
    if not 0 <= int(settings["cpu_target_percent"]) <= 100:
        problems.append(
            f"aws_ecs_cpu_target_percent is {settings['cpu_target_percent']}: write 1 to 100, or 0 not to scale by it."
        )
    if int(settings["requests_target_per_task"]) < 0:
        problems.append(
            f"aws_ecs_requests_target_per_task is {settings['requests_target_per_task']}: write 1 or more, or 0 not to scale by it."
        )
    if not 0 <= int(settings["stop_seconds"]) <= 120:
        problems.append(f"aws_ecs_stop_seconds is {settings['stop_seconds']}: write 0 to 120, the most that ECS waits.")
    if settings["launch_type"] == "FARGATE" and settings["capacity_provider"]:
        problems.append(
            "aws_ecs_capacity_provider is set, but aws_ecs_launch_type is FARGATE, which brings its own machines: leave it out, or write "
            "EC2."
        )
    if settings["launch_type"] == "EC2" and settings["public_ip_enabled"]:
        problems.append(
            "aws_ecs_public_ip_enabled is true, but ECS gives tasks on machines of your own (aws_ecs_launch_type: EC2) no public address: "
            "write false, and take subnets with a NAT gateway."
        )
    images = [str(settings[name]) for name in ("registry_image", "proxy_image")]
    problems += credentials_problems(settings["image_credentials"], images)
    return [problem for problem in problems if problem]


def files_problems(
    files: Mapping[str, Any], required: Iterable[str], registry_version: str, static_keys: bool
) -> list[str]:
    """What is wrong with the files; no sentence quotes what they hold."""
    problems = [
        f"aws_ecs_files has no {name}, without which the task could not serve: hand over what the roles render."
        for name in required
        if not files.get(name)
    ]
    if registry_version == "2.8" and files.get("config.yml") and not static_keys:
        problems.append(
            "aws_ecs_registry_version is 2.8, which cannot use a task's role, and its config.yml has no keys for S3: write access_key and "
            "secret_key of a user who may use the bucket alone, or take registry 3, which needs none."
        )
    try:
        secrets_of(files)
    except FilesError as error:
        problems.append(str(error))
    return problems


# ----- files ------------------------------------------------------------------------------------


def variable_of(name: str) -> str:
    """The variable that brings a file into a container."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def pieces_of(text: str) -> list[str]:
    """Cut a text into pieces that fit into one variable each; an empty one is one piece."""
    pieces: list[str] = []
    piece: list[str] = []
    size = 0
    for character in text:
        # As it counts in JSON, where quotes and line ends take two.
        width = len(json.dumps(character, ensure_ascii=False).encode()) - 2
        if size + width > PIECE_LIMIT:
            pieces.append("".join(piece))
            piece, size = [], 0
        piece.append(character)
        size += width
    return [*pieces, "".join(piece)]


def variables_of(files: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """For each file its variables with what they hold, in order."""
    found: dict[str, dict[str, str]] = {}
    taken: dict[str, str] = {}
    for name in sorted(files):
        text = files[name]
        if not FILE_NAME.fullmatch(name):
            raise FilesError(
                f"aws_ecs_files names a file {name!r}: write a name of letters, digits, dots, hyphens and underscores."
            )
        if not isinstance(text, str):
            raise FilesError(f"aws_ecs_files has no text for {name}: write it in quotes.")
        if "\0" in text:
            raise FilesError(f"aws_ecs_files has a zero byte in {name}, which no variable can hold: hand over a text.")
        variable = variable_of(name)
        if variable in taken:
            raise FilesError(
                f"aws_ecs_files has {taken[variable]} and {name}, which would share a variable: rename one of them."
            )
        taken[variable] = name
        pieces = pieces_of(text)
        names = [variable] if len(pieces) == 1 else [f"{variable}__{number}" for number in range(1, len(pieces) + 1)]
        found[name] = dict(zip(names, pieces))
    size = sum(len(str(text).encode()) for text in files.values())
    if size > FILES_LIMIT:
        largest = max(files, key=lambda name: len(str(files[name]).encode()))
        raise FilesError(
            f"aws_ecs_files holds {size} bytes, and a task takes no more than {FILES_LIMIT}; the largest is {largest} with "
            f"{len(str(files[largest]).encode())}: shorten that, for example by fewer users."
        )
    return found


def secrets_of(files: Mapping[str, Any]) -> list[Secret]:
    """Pack all files into as few secrets as hold them."""
    packed: list[dict[str, str]] = []
    for variables in variables_of(files).values():
        for variable, piece in variables.items():
            place = next(
                (each for each in packed if len(_json({**each, variable: piece}).encode()) <= SECRET_LIMIT), None
            )
            if place is None:
                place = {}
                packed.append(place)
            place[variable] = piece
    return [Secret(_json(each), tuple(each)) for each in packed]


def _json(variables: Mapping[str, str]) -> str:
    return json.dumps(variables, ensure_ascii=False, sort_keys=True)


def writing_script(
    files: Mapping[str, Any], volumes: Mapping[str, Iterable[str]], writable: Iterable[str], root: str
) -> str:
    """The script that puts files into volumes, from variables, by the shell's own commands: what they hold is in no command line.

    A volume of ECS is root's own. The containers that read it belong to root's group, so that nobody has to give files away.
    """
    variables = variables_of(files)
    lines = ["umask 027"]
    for volume, names in volumes.items():
        for name in names:
            if name in variables:
                pieces = " ".join(f'"${variable}"' for variable in variables[name])
                lines.append(f"printf %s {pieces} >{root}/{volume}/{name}")
    folders = " ".join(f"{root}/{volume}" for volume in writable)
    return "\n".join([*lines, f"chmod 0770 {folders}"])


def secret_references(
    secrets: Sequence[Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str]]:
    """What `secrets` of a container says: for each variable its secret, the version of that, and the key in it.

    With the version, the tasks of one revision have the same files whenever they start, also after a rollback. A dry run does not know
    what is to be made.
    """
    references = []
    for secret in secrets:
        there = found.get(str(secret["name"]), {})
        arn, version = there.get("arn", "not-known-yet"), there.get("version", "")
        if there.get("content") != secret["checksum"]:
            version = "not-known-yet"
        references += [
            {"name": variable, "valueFrom": f"{arn}:{variable}::{version}"} for variable in secret["variables"]
        ]
    return references


def credentials_problems(credentials: Mapping[str, Any], images: Iterable[str]) -> list[str]:
    """A secret for each registry that asks who pulls, and none for another."""
    hosts = sorted({host_of(image) for image in images})
    problems = []
    for host, secret in credentials.items():
        if host not in hosts:
            problems.append(
                f"aws_ecs_image_credentials has a secret for {host}, from which no image comes: write "
                f"{' or '.join(hosts)}, or leave it out."
            )
        elif ECR.fullmatch(host):
            problems.append(
                f"aws_ecs_image_credentials has a secret for {host}, which takes the execution role and nothing else: leave it out."
            )
        elif not SECRET_ARN.fullmatch(str(secret)):
            problems.append(
                f"aws_ecs_image_credentials has {secret!r} for {host}, which is no ARN of a secret: write one such as "
                "arn:aws:secretsmanager:eu-central-1:123456789012:secret:docker-hub-AbCdEf."
            )
    return problems


def with_credentials(containers: Sequence[Mapping[str, Any]], credentials: Mapping[str, str]) -> list[dict[str, Any]]:
    """Say to ECS with which secret it pulls an image, where a registry asks."""
    return [
        {**container, "repositoryCredentials": {"credentialsParameter": credentials[host]}}
        if (host := host_of(container["image"])) in credentials
        else dict(container)
        for container in containers
    ]


# ----- the execution role -----------------------------------------------------------------------


def execution_policy(
    where: Mapping[str, str],
    secrets: Iterable[str],
    log_group: str,
    images: Iterable[str],
    kms_key_arn: str = "",
    image_secrets: Iterable[str] = (),
    pull_through_prefixes: Iterable[str] = (),
) -> Policy:
    """What ECS does before a task runs: read its secrets, write its log, pull from ECR where an image is there."""
    partition, region, account = where["partition"], where["region"], where["account_id"]
    arn = f"arn:{partition}:{{service}}:{region}:{account}:"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "ReadFiles",
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue"],
            # Secrets Manager ends each ARN with six characters of its own.
            "Resource": [f"{arn.format(service='secretsmanager')}secret:{name}-??????" for name in secrets],
        },
        {
            "Sid": "WriteLog",
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": [f"{arn.format(service='logs')}log-group:{log_group}:log-stream:*"],
        },
    ]
    suffix = suffix_of(partition)
    if image_secrets:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/private-auth.html
        statements.append(
            {
                "Sid": "ReadImageCredentials",
                "Effect": "Allow",
                "Action": ["secretsmanager:GetSecretValue"],
                "Resource": sorted(set(image_secrets)),
            }
        )
    if kms_key_arn:
        statements.append(
            {
                "Sid": "DecryptFiles",
                "Effect": "Allow",
                "Action": ["kms:Decrypt"],
                "Resource": [kms_key_arn],
                "Condition": {"StringEquals": {"kms:ViaService": f"secretsmanager.{region}.{suffix}"}},
            }
        )
    statements += pull_statements(images, partition, pull_through_prefixes)
    return {"Version": "2012-10-17", "Statement": statements}


# ----- what is there already --------------------------------------------------------------------


def holds(found: Mapping[str, Any], wanted: Mapping[str, Any], exact: bool) -> bool:
    """Tell whether what ECS describes is what is wanted, where ECS adds keys of its own at the top.

    Below that it adds what is empty, and to a service also what it chooses itself. With exact, the latter counts as a difference: a task
    definition is kept as it was registered, so what is more there, somebody has written.
    """
    return all(_same(found.get(key), value, exact) for key, value in wanted.items())


def _same(found: Any, wanted: Any, exact: bool) -> bool:
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return not wanted and not found
        if exact and any(value for key, value in found.items() if key not in wanted):
            return False
        return all(_same(found.get(key), value, exact) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(wanted):
            return not found and not wanted
        if any(isinstance(each, Mapping) for each in wanted):
            # ECS gives variables, secrets and volumes back in an order of its own.
            left = list(found)
            for each in wanted:
                place = next((number for number, other in enumerate(left) if _same(other, each, exact)), None)
                if place is None:
                    return False
                del left[place]
            return True
        return all(_same(one, other, exact) for one, other in zip(found, wanted))
    if found is None:
        return not wanted
    return bool(found == wanted)
