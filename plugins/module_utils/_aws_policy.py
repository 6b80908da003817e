# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies of a deployment: what a registry's host may do, and that nobody reaches the bucket without TLS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import (
    bucket_problem,
    domain_problem,
    prefix_problem,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_images import pull_statements
from ansible_collections.drydock.registry.plugins.module_utils._aws_partitions import suffix_of

Policy = dict[str, Any]

VERSION = "2012-10-17"
TLS_SID = "DrydockDenyInsecureTransport"
# The same in every partition.
LOG_SERVICE = "logging.s3.amazonaws.com"
KMS_ARN = re.compile(r"arn:(?P<partition>aws[\w-]*):kms:(?P<region>[a-z0-9-]+):\d{12}:key/[A-Za-z0-9-]+")
# One group in one region of one account, without a wildcard.
GROUP = re.compile(r"[a-z0-9-]+:\d{12}:[A-Za-z0-9._-]+")
LOG_GROUP = re.compile(r"[a-z0-9-]+:\d{12}:[A-Za-z0-9._/#-]{1,512}")
ZONE_ID = re.compile(r"[A-Z0-9]{1,32}")
# What Route 53 tells conditions about a change of records.
CHANGE = "route53:ChangeResourceRecordSets"
# Where the registry keeps images, and where a pull-through one keeps what it will delete and when.
OBJECTS = ("docker/registry/v2/*", "scheduler-state.json")
# What a host reads that sets itself up: what it is made of, and what changes while it runs.
CONFIGURATION = ("bundles/*", "live.json")
# Elements whose value may be one string or a list of them; AWS gives back one where one was in the list.
LISTS = {"Action", "NotAction", "Resource", "NotResource"}


class PolicyError(ValueError):
    """Something that no policy can be made of; the text is a sentence for the user."""


def registry_policy(
    bucket: str,
    prefix: str = "",
    kms_key_arn: str = "",
    partition: str = "aws",
    acme_zone_id: str = "",
    acme_names: Iterable[str] = (),
    configuration_bucket: str = "",
    configuration_kms_key_arn: str = "",
    autoscaling_group: str = "",
    maintenance: bool = False,
    images: Iterable[str] = (),
    pull_through_prefixes: Iterable[str] = (),
    log_group: str = "",
) -> Policy:
    """What a registry and its storage's maintenance call, its host to set itself up and tell its group, certbot for ACME's challenges."""
    _check_bucket(bucket)
    prefix = prefix.strip("/")
    if prefix_problem(prefix):
        raise PolicyError(f"The prefix {prefix!r} {prefix_problem(prefix)}.")
    arn = f"arn:{partition}:s3:::{bucket}"
    root = f"{arn}/{prefix}/" if prefix else f"{arn}/"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "List",
            "Effect": "Allow",
            # Without a condition on s3:prefix: S3 knows that key for ListBucket alone, and a GET of an object that is not there
            # carries no prefix, would be answered 403 in place of 404, and fail pushes.
            "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
            "Resource": [arn],
        },
        {
            "Sid": "ReadAndWrite",
            "Effect": "Allow",
            "Action": [
                "s3:GetObject",
                "s3:PutObject",
                # To say of an object that the bucket's owner owns it, which is all that a bucket without ACLs takes.
                "s3:PutObjectAcl",
                "s3:DeleteObject",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            ],
            "Resource": [root + name for name in OBJECTS],
        },
    ]
    if maintenance:
        # What goes gets a delete marker, and is brought back from the version under it. Nothing may destroy a version.
        statements += [
            {
                "Sid": "LookForVersions",
                "Effect": "Allow",
                "Action": ["s3:GetBucketVersioning", "s3:ListBucketVersions"],
                "Resource": [arn],
            },
            {
                "Sid": "BringBack",
                "Effect": "Allow",
                "Action": ["s3:GetObjectVersion"],
                "Resource": [f"{root}docker/registry/v2/*"],
            },
        ]
    if kms_key_arn:
        statements.append(_use_of_key("UseKeyThroughBucket", ["kms:GenerateDataKey", "kms:Decrypt"], kms_key_arn))
    if configuration_bucket:
        _check_bucket(configuration_bucket)
        configuration = f"arn:{partition}:s3:::{configuration_bucket}/"
        statements.append(
            {
                "Sid": "ReadConfiguration",
                "Effect": "Allow",
                "Action": ["s3:GetObject"],
                "Resource": [configuration + name for name in CONFIGURATION],
            }
        )
        if configuration_kms_key_arn:
            statements.append(_use_of_key("UseKeyOfConfiguration", ["kms:Decrypt"], configuration_kms_key_arn))
    if autoscaling_group:
        statements.append(_word_to_group(autoscaling_group, partition))
    statements += pull_statements(images, partition, pull_through_prefixes)
    if log_group:
        statements.append(_word_to_log(log_group, partition))
    if acme_zone_id:
        statements += _challenges(acme_zone_id, acme_names, partition)
    return {"Version": VERSION, "Statement": statements}


def _word_to_log(group: str, partition: str) -> dict[str, Any]:
    """Allow Docker on a host to write what containers say into one log group, and to read none."""
    if not LOG_GROUP.fullmatch(group):
        raise PolicyError(
            f"{group} names no log group: write its region, account and name, such as eu-central-1:123456789012:/drydock/team-registry."
        )
    region, account, name = group.split(":")
    return {
        "Sid": "WriteLog",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": [f"arn:{partition}:logs:{region}:{account}:log-group:{name}:log-stream:*"],
    }


def _word_to_group(group: str, partition: str) -> dict[str, Any]:
    """Allow a host to tell its group that it serves, or has finished. The id in the ARN, AWS makes up with the group."""
    if not GROUP.fullmatch(group):
        raise PolicyError(
            f"{group} names no Auto Scaling group: write its region, account and name, such as eu-central-1:123456789012:team-registry."
        )
    region, account, name = group.split(":")
    return {
        "Sid": "TellGroup",
        "Effect": "Allow",
        "Action": ["autoscaling:CompleteLifecycleAction"],
        "Resource": [f"arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{name}"],
    }


def _use_of_key(sid: str, actions: list[str], key_arn: str) -> dict[str, Any]:
    """Allow what S3 does with a key on somebody's behalf."""
    key = KMS_ARN.fullmatch(key_arn)
    if not key:
        raise PolicyError(
            f"{key_arn} is no ARN of a KMS key: write one such as "
            "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab."
        )
    suffix = suffix_of(key["partition"])
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": actions,
        "Resource": [key_arn],
        "Condition": {"StringEquals": {"kms:ViaService": f"s3.{key['region']}.{suffix}"}},
    }


def challenge_name(domain: str) -> str:
    """The record that answers a challenge for a domain (RFC 8555, 8.4); that of a wildcard is its domain's."""
    return f"_acme-challenge.{domain.removeprefix('*.').rstrip('.').lower()}"


def _challenges(zone_id: str, names: Iterable[str], partition: str) -> list[dict[str, Any]]:
    """Allow the records of challenges for these domains, and no other record of the zone."""
    if not ZONE_ID.fullmatch(zone_id):
        raise PolicyError(f"{zone_id} is no id of a hosted zone: write one such as Z0123456789ABCDEFGHIJ.")
    for name in names:
        if domain_problem(name.removeprefix("*.").rstrip(".")):
            raise PolicyError(f"The name {name!r} {domain_problem(name.removeprefix('*.').rstrip('.'))}.")
    wanted = {
        f"{CHANGE}NormalizedRecordNames": sorted({challenge_name(name) for name in names}),
        f"{CHANGE}RecordTypes": ["TXT"],
        f"{CHANGE}Actions": ["UPSERT", "DELETE"],
    }
    return [
        # certbot looks for the zone itself, and waits until all of Route 53's servers have the record. Neither knows conditions.
        {
            "Sid": "FindZone",
            "Effect": "Allow",
            "Action": ["route53:ListHostedZones", "route53:GetChange"],
            "Resource": ["*"],
        },
        {
            "Sid": "AnswerChallenges",
            "Effect": "Allow",
            "Action": [CHANGE],
            "Resource": [f"arn:{partition}:route53:::hostedzone/{zone_id}"],
            "Condition": {
                "ForAllValues:StringEquals": wanted,
                # All of none are equal to anything.
                "Null": dict.fromkeys(wanted, "false"),
            },
        },
    ]


def bucket_policy(existing: Mapping[str, Any], bucket: str, partition: str = "aws") -> Policy:
    """The policy that the bucket has, with our statement in it. One that says the same already is kept letter by letter."""
    _check_bucket(bucket)
    arn = f"arn:{partition}:s3:::{bucket}"
    wanted = {
        "Sid": TLS_SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    found = existing.get("Statement", [])
    # One statement need not stand in a list.
    statements = [found] if isinstance(found, Mapping) else list(found)
    merged: list[Any] = []
    placed = False
    for statement in statements:
        if statement.get("Sid") != TLS_SID:
            merged.append(statement)
        elif not placed:
            placed = True
            merged.append(statement if canonical(statement) == canonical(wanted) else wanted)
    if not placed:
        merged.append(wanted)
    return {
        "Version": VERSION,
        **{key: value for key, value in existing.items() if key != "Statement"},
        "Statement": merged,
    }


def log_statement(bucket: str, prefix: str, account_id: str, partition: str = "aws") -> dict[str, Any]:
    """The statement by which a bucket takes S3's access logs.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
    """
    return {
        "Effect": "Allow",
        "Principal": {"Service": LOG_SERVICE},
        "Action": "s3:PutObject",
        "Resource": f"arn:{partition}:s3:::{bucket}/{prefix}*",
        "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
    }


def takes_logs(policy: Mapping[str, Any], bucket: str, prefix: str, partition: str = "aws") -> bool:
    """Tell whether a bucket's policy lets S3 write access logs below a prefix; conditions are not judged."""
    key = f"arn:{partition}:s3:::{bucket}/{prefix}2026-01-01-00-00-00-0123456789ABCDEF"
    return any(_names_log_service(statement.get("Principal")) for statement in _letting_write(policy, key))


def takes_balancer_logs(
    policy: Mapping[str, Any], bucket: str, prefix: str, account_id: str, partition: str = "aws"
) -> bool:
    """Tell whether a bucket's policy lets load balancers of an account write; who that is in a region, and conditions, are not judged.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
    """
    key = f"{prefix.strip('/')}/AWSLogs/{account_id}/elasticloadbalancing/log.gz".lstrip("/")
    return bool(_letting_write(policy, f"arn:{partition}:s3:::{bucket}/{key}"))


def _letting_write(policy: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The statements by which somebody may put an object under a key."""
    found = policy.get("Statement", [])
    return [
        statement
        for statement in ([found] if isinstance(found, Mapping) else found)
        if statement.get("Effect") == "Allow"
        and any(_matches(pattern.lower(), "s3:putobject") for pattern in _sorted(statement.get("Action", [])))
        and any(_matches(pattern, key) for pattern in _sorted(statement.get("Resource", [])))
    ]


def _names_log_service(principal: Any) -> bool:
    return isinstance(principal, Mapping) and LOG_SERVICE in _sorted(principal.get("Service", []))


def _matches(pattern: str, text: str) -> bool:
    """Compare as IAM does, whose wildcards are * and ? alone."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None


def canonical(statement: Mapping[str, Any]) -> dict[str, Any]:
    """Write a statement in the one way that compares: AWS turns lists of one into strings, and changes their order."""
    result: dict[str, Any] = {}
    for key, value in statement.items():
        if key in LISTS:
            result[key] = _sorted(value)
        elif key in {"Principal", "NotPrincipal"}:
            # "*" and {"AWS": "*"} name the same.
            names = {"AWS": value} if isinstance(value, str) else value
            result[key] = {kind: _sorted(name) for kind, name in names.items()}
        elif key == "Condition":
            result[key] = {
                operator: {name.lower(): _sorted(values) for name, values in tests.items()}
                for operator, tests in value.items()
            }
        else:
            result[key] = value
    return result


def _sorted(value: Any) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    # A condition's true and "true" are one.
    return sorted(str(item).lower() if isinstance(item, bool) else str(item) for item in values)


def _check_bucket(bucket: str) -> None:
    if bucket_problem(bucket):
        raise PolicyError(f"The bucket name {bucket!r} {bucket_problem(bucket)}.")
