# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry may do with its bucket, and that nobody reaches the bucket without TLS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.drydock.registry.plugins.filter.aws_bucket_policy import aws_bucket_policy
from ansible_collections.drydock.registry.plugins.filter.aws_registry_policy import aws_registry_policy

KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
TLS: dict[str, Any] = {
    "Sid": "DrydockDenyInsecureTransport",
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": ["arn:aws:s3:::images", "arn:aws:s3:::images/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}
OTHER: dict[str, Any] = {
    "Sid": "Theirs",
    "Effect": "Allow",
    "Principal": {"AWS": "1"},
    "Action": "s3:GetObject",
    "Resource": "x",
}


def test_the_registry_may_what_it_calls_and_nothing_else() -> None:
    assert aws_registry_policy("images") == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "List",
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
                "Resource": ["arn:aws:s3:::images"],
            },
            {
                "Sid": "ReadAndWrite",
                "Effect": "Allow",
                "Action": [
                    "s3:GetObject",
                    "s3:PutObject",
                    "s3:PutObjectAcl",
                    "s3:DeleteObject",
                    "s3:AbortMultipartUpload",
                    "s3:ListMultipartUploadParts",
                ],
                "Resource": ["arn:aws:s3:::images/docker/registry/v2/*", "arn:aws:s3:::images/scheduler-state.json"],
            },
        ],
    }


def test_a_host_reads_its_configuration_and_writes_none() -> None:
    *of_bucket, reading, key = aws_registry_policy(
        "images", configuration_bucket="settings", configuration_kms_key_arn=KEY
    )["Statement"]
    assert of_bucket == aws_registry_policy("images")["Statement"]
    assert reading == {
        "Sid": "ReadConfiguration",
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": ["arn:aws:s3:::settings/bundles/*", "arn:aws:s3:::settings/live.json"],
    }
    assert (key["Action"], key["Resource"]) == (["kms:Decrypt"], [KEY])
    assert key["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}}
    assert aws_registry_policy("images", configuration_bucket="settings")["Statement"] == [*of_bucket, reading]


def test_a_host_tells_its_own_group_and_no_other() -> None:
    *of_bucket, telling = aws_registry_policy(
        "images", partition="aws-cn", autoscaling_group="cn-north-1:123456789012:team-registry"
    )["Statement"]
    assert of_bucket == aws_registry_policy("images", partition="aws-cn")["Statement"]
    assert telling["Action"] == ["autoscaling:CompleteLifecycleAction"]
    assert telling["Resource"] == [
        "arn:aws-cn:autoscaling:cn-north-1:123456789012:autoScalingGroup:*:autoScalingGroupName/team-registry"
    ]
    for name in ("eu-central-1:123456789012:*", "team-registry"):
        with pytest.raises(AnsibleFilterError, match="names no Auto Scaling group: write its region, account and name"):
            aws_registry_policy("images", autoscaling_group=name)


def test_challenges_are_answered_in_one_zone_by_their_records_alone() -> None:
    names = ["registry.example.com", "*.registry.example.com", "Mirror.example.com."]
    *of_bucket, finding, answering = aws_registry_policy("images", acme_zone_id="Z1", acme_names=names)["Statement"]
    assert of_bucket == aws_registry_policy("images")["Statement"]
    assert (finding["Action"], finding["Resource"]) == (["route53:ListHostedZones", "route53:GetChange"], ["*"])
    assert (answering["Action"], answering["Resource"]) == (
        ["route53:ChangeResourceRecordSets"],
        ["arn:aws:route53:::hostedzone/Z1"],
    )
    key = "route53:ChangeResourceRecordSets"
    assert answering["Condition"]["ForAllValues:StringEquals"] == {
        f"{key}NormalizedRecordNames": ["_acme-challenge.mirror.example.com", "_acme-challenge.registry.example.com"],
        f"{key}RecordTypes": ["TXT"],
        f"{key}Actions": ["UPSERT", "DELETE"],
    }
    # Otherwise the condition would hold for a call that says nothing of them.
    assert answering["Condition"]["Null"] == dict.fromkeys(answering["Condition"]["ForAllValues:StringEquals"], "false")


def test_names_without_a_zone_allow_nothing() -> None:
    assert aws_registry_policy("images", acme_names=["registry.example.com"]) == aws_registry_policy("images")


def test_the_maintenance_of_the_storage_reads_versions_and_destroys_none() -> None:
    first, second, looking, bringing = aws_registry_policy("images", prefix="team", maintenance=True)["Statement"]
    assert [first, second] == aws_registry_policy("images", prefix="team")["Statement"]
    assert looking["Action"] == ["s3:GetBucketVersioning", "s3:ListBucketVersions"]
    assert looking["Resource"] == ["arn:aws:s3:::images"]
    assert bringing["Action"] == ["s3:GetObjectVersion"]
    assert bringing["Resource"] == ["arn:aws:s3:::images/team/docker/registry/v2/*"]
    assert aws_registry_policy("images", maintenance="false") == aws_registry_policy("images")


@pytest.mark.parametrize("options", [{"acme_zone_id": "Z1/*"}, {"acme_zone_id": "Z1", "acme_names": ["*"]}])
def test_challenges_that_would_widen_the_policy_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(AnsibleFilterError):
        aws_registry_policy("images", **options)


@pytest.mark.parametrize("prefix", ["team/a", "/team/a", "team/a/", "/team/a/"])
def test_a_prefix_narrows_the_objects(prefix: str) -> None:
    listing, objects = aws_registry_policy("images", prefix=prefix)["Statement"]
    assert objects["Resource"] == [
        "arn:aws:s3:::images/team/a/docker/registry/v2/*",
        "arn:aws:s3:::images/team/a/scheduler-state.json",
    ]
    # On AWS a condition on s3:prefix turns the 404 for an object that is not there into a 403.
    assert "Condition" not in listing


@pytest.mark.parametrize(
    ("arn", "service"),
    [
        (KEY, "s3.eu-central-1.amazonaws.com"),
        (KEY.replace("aws:kms:eu-central-1", "aws-cn:kms:cn-north-1"), "s3.cn-north-1.amazonaws.com.cn"),
        (KEY.replace("aws:kms:eu-central-1", "aws-us-gov:kms:us-gov-west-1"), "s3.us-gov-west-1.amazonaws.com"),
    ],
)
def test_the_key_may_be_used_through_the_bucket_alone(arn: str, service: str) -> None:
    statement = aws_registry_policy("images", kms_key_arn=arn)["Statement"][-1]
    assert statement["Resource"] == [arn]
    assert statement["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert statement["Condition"] == {"StringEquals": {"kms:ViaService": service}}


def test_the_partition_begins_each_arn() -> None:
    text = json.dumps(aws_registry_policy("images", partition="aws-cn"))
    assert "arn:aws:" not in text
    assert text.count("arn:aws-cn:s3:::images") == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bucket": "*"}, "bucket name"),
        ({"bucket": ""}, "bucket name"),
        ({"bucket": "images", "prefix": "a*"}, "prefix"),
        ({"bucket": "images", "prefix": "${aws:username}"}, "prefix"),
        ({"bucket": "images", "prefix": "a//b"}, "two slashes"),
        ({"bucket": "images", "kms_key_arn": "*"}, "no ARN of a KMS key"),
        ({"bucket": "images", "kms_key_arn": "arn:aws:kms:eu-central-1:123456789012:alias/x"}, "no ARN of a KMS key"),
    ],
)
def test_wildcards_are_refused(arguments: dict[str, str], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words.replace("*", r"\*")):
        aws_registry_policy(**arguments)


SAME = [
    TLS,
    {**TLS, "Resource": list(reversed(TLS["Resource"]))},
    {**TLS, "Principal": {"AWS": "*"}},
    {**TLS, "Principal": {"AWS": ["*"]}},
    {**TLS, "Action": ["s3:*"]},
    {**TLS, "Condition": {"Bool": {"aws:SecureTransport": ["false"]}}},
    {**TLS, "Condition": {"Bool": {"aws:securetransport": False}}},
]


@pytest.mark.parametrize("statement", SAME)
def test_a_policy_that_says_it_already_stays(statement: dict[str, Any]) -> None:
    existing = {"Version": "2008-10-17", "Id": "x", "Statement": [OTHER, statement]}
    assert aws_bucket_policy(existing, "images") == existing


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [TLS]),
        ([OTHER], [OTHER, TLS]),
        ([{**TLS, "Effect": "Allow"}, OTHER], [TLS, OTHER]),
        ([{**TLS, "Resource": "arn:aws:s3:::images"}, OTHER], [TLS, OTHER]),
        ([{**TLS, "Condition": {"Bool": {"aws:SecureTransport": "true"}}}], [TLS]),
        ([TLS, OTHER, TLS], [TLS, OTHER]),
        ([{**TLS, "Sid": "Theirs"}], [{**TLS, "Sid": "Theirs"}, TLS]),
    ],
)
def test_the_statement_is_added_or_put_right(before: list[Any], after: list[Any]) -> None:
    merged = aws_bucket_policy({"Version": "2012-10-17", "Statement": before}, "images")
    assert merged == {"Version": "2012-10-17", "Statement": after}
    assert aws_bucket_policy(merged, "images") == merged


def test_other_forms_of_a_policy() -> None:
    alone = {"Version": "2012-10-17", "Statement": [TLS]}
    assert aws_bucket_policy({}, "images") == alone
    assert aws_bucket_policy("", "images") == alone
    assert aws_bucket_policy(json.dumps({"Statement": OTHER}), "images")["Statement"] == [OTHER, TLS]
    assert "arn:aws-cn:s3:::images/*" in aws_bucket_policy({}, "images", "aws-cn")["Statement"][0]["Resource"]
    for wrong in ("{", [TLS]):
        with pytest.raises(AnsibleFilterError):
            aws_bucket_policy(wrong, "images")
    with pytest.raises(AnsibleFilterError, match="bucket name"):
        aws_bucket_policy({}, "*")
