# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets where its bucket and its KMS key are, or are to be."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import (
    TAG,
    Account,
    Answer,
    AwsProblem,
    tags_of,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import bucket_problem
from ansible_collections.drydock.registry.plugins.module_utils._aws_errors import code_of
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import log_statement, takes_logs

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#specifying-grantee-predefined-groups
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
GONE = ("404", "NoSuchBucket", "NotFound")
DENIED = ("403", "AccessDenied", "Forbidden")


def look(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find what is there; note what is wrong with the settings or with what they meet."""
    found: dict[str, Any] = {
        "exists": False,
        "ours": False,
        "adopted": False,
        "policy": {},
        "encryption": {"algorithm": "", "kms_key_arn": ""},
        "versioning": "",
        "lifecycle_rules": [],
        "logging": {"bucket": "", "prefix": ""},
        "public_access_block": {},
        "ownership": "",
        "objects": 0,
        "kms_key_arn": "",
        "key": {"arn": "", "ours": False, "state": ""},
        "tags": {},
    }
    bucket = options["bucket"]
    if not bucket:
        account.refuse(
            "aws_storage_bucket is not set: write the name of the bucket for the images, unique among all AWS accounts."
        )
    elif bucket_problem(bucket):
        account.refuse(f"aws_storage_bucket ({bucket}) {bucket_problem(bucket)}.")
    else:
        with account.step():
            if _is_here(account, bucket, "aws_storage_bucket"):
                _read(account, bucket, found)
                if account.removing and found["ours"]:
                    found["objects"] = _count(account, bucket)
    with account.step():
        _key(account, options, found)
    with account.step():
        _check_log_bucket(account, options)
    _check_encryption(account, options, found)
    return found


def _is_here(account: Account, bucket: str, variable: str, reason: str = "") -> bool:
    """Tell whether the bucket exists; refuse one that is not in this account and region."""
    try:
        head = account.clients("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=account.account_id)
    except AwsProblem:
        raise
    except Exception as error:  # a HEAD has no body, so its codes are bare numbers
        if code_of(error) in GONE:
            return False
        if code_of(error) in DENIED:
            _refuse_foreign(account, bucket, variable, reason)
            return False
        # Any other error is told in the words of all others.
        head = account.ask("s3", "head_bucket", Bucket=bucket, ExpectedBucketOwner=account.account_id) or {}
    headers = head.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = head.get("BucketRegion") or headers.get("x-amz-bucket-region") or account.region
    if region != account.region:
        account.refuse(
            f"The bucket {bucket} is in {region}, not in {account.region}: write another {variable}, or drydock_region: {region} for the "
            "whole deployment."
        )
        return False
    return True


def _refuse_foreign(account: Account, bucket: str, variable: str, reason: str) -> None:
    """A 403 to HEAD: the bucket is somebody else's, or ours and not to be seen."""
    try:
        listed = account.ask_all("s3", "list_buckets", "Buckets", Prefix=bucket)
    except AwsProblem:
        account.refuse(
            f"AWS does not let {account.caller_arn} see the bucket {bucket}: it belongs to another account (write another {variable}), "
            "or s3:ListBucket is missing."
        )
        return
    if any(entry["Name"] == bucket for entry in listed):
        raise AwsProblem(
            f"AWS refuses s3:ListBucket to {account.caller_arn} on the bucket {bucket} of this account: allow it in the policies of that "
            "user or role, and look for a statement in the bucket's policy that denies it."
        )
    account.refuse(
        f"The bucket name {bucket} is taken by another AWS account (all accounts share one space of names){reason}: write another "
        f"{variable}."
    )


def _read(account: Account, bucket: str, found: dict[str, Any]) -> None:
    """Read how the bucket is set up."""
    found["exists"] = True
    owner = {"Bucket": bucket, "ExpectedBucketOwner": account.account_id}
    answer: Optional[Answer]
    with account.step():
        answer = account.ask("s3", "get_bucket_tagging", missing=["NoSuchTagSet"], **owner)
        tags = tags_of((answer or {}).get("TagSet"))
        found["tags"] = tags
        found["ours"] = account.is_ours(tags)
        found["adopted"] = TAG not in tags
        if TAG in tags and not found["ours"]:
            account.refuse(
                f"The bucket {bucket} belongs to the deployment {tags[TAG]}: write another aws_storage_bucket, or take the tag "
                f"{TAG} off the bucket to share it."
            )
    with account.step():
        found["policy"] = _policy(account, bucket)
    with account.step():
        found["encryption"] = _encryption(account, bucket)
    with account.step():
        answer = account.ask("s3", "get_bucket_versioning", **owner)
        found["versioning"] = (answer or {}).get("Status", "")
    with account.step():
        answer = account.ask(
            "s3", "get_bucket_lifecycle_configuration", missing=["NoSuchLifecycleConfiguration"], **owner
        )
        found["lifecycle_rules"] = _plain((answer or {}).get("Rules", []))
    with account.step():
        answer = account.ask("s3", "get_bucket_logging", **owner)
        enabled = (answer or {}).get("LoggingEnabled", {})
        found["logging"] = {"bucket": enabled.get("TargetBucket", ""), "prefix": enabled.get("TargetPrefix", "")}
    with account.step():
        answer = account.ask("s3", "get_public_access_block", missing=["NoSuchPublicAccessBlockConfiguration"], **owner)
        found["public_access_block"] = (answer or {}).get("PublicAccessBlockConfiguration", {})
    with account.step():
        answer = account.ask("s3", "get_bucket_ownership_controls", missing=["OwnershipControlsNotFoundError"], **owner)
        rules = (answer or {}).get("OwnershipControls", {}).get("Rules", [])
        found["ownership"] = rules[0].get("ObjectOwnership", "") if rules else ""


def _policy(account: Account, bucket: str) -> dict[str, Any]:
    """What the bucket's policy says; nothing where it has none."""
    answer = account.ask(
        "s3",
        "get_bucket_policy",
        missing=["NoSuchBucketPolicy"],
        Bucket=bucket,
        ExpectedBucketOwner=account.account_id,
    )
    return dict(json.loads(answer["Policy"])) if answer else {}


def _encryption(account: Account, bucket: str) -> dict[str, str]:
    """How S3 encrypts what nobody says anything about."""
    answer = account.ask(
        "s3",
        "get_bucket_encryption",
        missing=["ServerSideEncryptionConfigurationNotFoundError"],
        Bucket=bucket,
        ExpectedBucketOwner=account.account_id,
    )
    rules = (answer or {}).get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    default = rules[0].get("ApplyServerSideEncryptionByDefault", {}) if rules else {}
    return {"algorithm": default.get("SSEAlgorithm", ""), "kms_key_arn": default.get("KMSMasterKeyID", "")}


def _count(account: Account, bucket: str) -> int:
    """How many objects, old versions too, the first page with one shows; markers of deletion fill pages and hold nothing."""
    more: dict[str, Any] = {}
    while True:
        page = (
            account.ask("s3", "list_object_versions", Bucket=bucket, ExpectedBucketOwner=account.account_id, **more)
            or {}
        )
        versions = page.get("Versions", [])
        if versions or not page.get("IsTruncated"):
            return len(versions)
        more = {"KeyMarker": page["NextKeyMarker"]}
        if page.get("NextVersionIdMarker"):
            more["VersionIdMarker"] = page["NextVersionIdMarker"]


def _plain(value: Any) -> Any:
    """Turn dates into text, which is all that JSON has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else value


def _key(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    """The KMS key that is given, by id, ARN or alias; else the one that the deployment made, by its alias."""
    given = options["kms_key"]
    if given:
        metadata = _metadata(account, given)
        if metadata:
            found["kms_key_arn"] = metadata["Arn"]
            _check_key(account, given, metadata)
        else:
            account.refuse(
                f"There is no KMS key {given} in {account.region}: correct aws_storage_kms_key, or leave it out to have one made."
            )
        return
    wanted = options["encryption"] == "kms"
    try:
        metadata = _metadata(account, f"alias/{account.name}")
        tags = {}
        if metadata:
            pairs = account.ask_all("kms", "list_resource_tags", "Tags", KeyId=metadata["Arn"])
            tags = {pair["TagKey"]: pair["TagValue"] for pair in pairs}
    except AwsProblem:
        # Who uses no key of KMS needs no permission for it.
        if wanted or found["encryption"]["algorithm"].startswith("aws:kms"):
            raise
        return
    if metadata:
        ours = account.is_ours(tags)
        found["kms_key_arn"] = metadata["Arn"]
        found["key"] = {"arn": metadata["Arn"], "ours": ours, "state": metadata.get("KeyState", "")}
        if wanted and not ours:
            account.refuse(
                f"The KMS key alias/{account.name} is not this deployment's, as it lacks the tag {TAG}: {account.deployment}: write it as "
                "aws_storage_kms_key to use it, or give the alias another name."
            )


def _metadata(account: Account, key: str) -> Answer:
    answer = account.ask(
        "kms", "describe_key", missing=["NotFoundException", "InvalidArnException", "ValidationException"], KeyId=key
    )
    metadata: Answer = (answer or {}).get("KeyMetadata", {})
    return metadata


def _check_key(account: Account, given: str, metadata: Answer) -> None:
    state = metadata.get("KeyState", "Enabled")
    advice = {
        "Disabled": "enable it (aws kms enable-key)",
        "PendingDeletion": "cancel its deletion (aws kms cancel-key-deletion, then aws kms enable-key)",
    }.get(state, "wait until it is enabled")
    if state != "Enabled":
        account.refuse(f"The KMS key {given} in aws_storage_kms_key is {state}: {advice}, or write another key.")
    if metadata.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT" or metadata.get("KeyUsage") == "SIGN_VERIFY":
        account.refuse(
            f"The KMS key {given} in aws_storage_kms_key is no symmetric encryption key, which S3 needs: write another key."
        )
    region = metadata["Arn"].split(":")[3]
    if region != account.region:
        account.refuse(
            f"The KMS key {given} in aws_storage_kms_key is in {region}, not in {account.region} as the bucket: write another key."
        )


def _check_encryption(account: Account, options: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse another encryption than the bucket has: images that it holds could not be read any more."""
    bucket, key_arn = options["bucket"], found["encryption"]["kms_key_arn"]
    if not found["encryption"]["algorithm"].startswith("aws:kms"):
        return
    if options["encryption"] == "sse_s3" and not found["adopted"]:
        account.refuse(
            f"aws_storage_encryption is sse_s3, but {bucket} is encrypted with the key {key_arn}, without which what it holds cannot be "
            "read; write `kms`."
        )
    if options["kms_key"] and found["kms_key_arn"] not in ("", key_arn):
        account.refuse(
            f"aws_storage_kms_key is {options['kms_key']}, but {bucket} is encrypted with {key_arn or 'the key that AWS manages'}, without "
            "which what it holds cannot be read; write that key, or none."
        )


def _check_log_bucket(account: Account, options: Mapping[str, Any]) -> None:
    """S3 does not say that it cannot write a log; it writes none.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerLogs.html
    """
    log_bucket, variable = options["log_bucket"], "aws_storage_log_bucket"
    if not log_bucket or account.removing:
        return
    if log_bucket == options["bucket"]:
        account.refuse(f"{variable} is the bucket itself, whose log would then log itself: write another bucket.")
        return
    if not _is_here(account, log_bucket, variable, "; S3 writes access logs to a bucket of the same account only"):
        if not account.problems:
            account.refuse(f"There is no bucket {log_bucket} ({variable}): make it, or leave the setting out.")
        return
    if _encryption(account, log_bucket)["algorithm"].startswith("aws:kms"):
        account.refuse(
            f"The bucket {log_bucket} ({variable}) is encrypted with a KMS key by default, and S3 writes no access log to such a bucket: "
            "set its default encryption to SSE-S3, or write another bucket."
        )
    prefix, partition = options["log_prefix"], account.partition
    takes = takes_logs(_policy(account, log_bucket), log_bucket, prefix, partition)
    if not (takes or _takes_logs_by_acl(account, log_bucket)):
        statement = log_statement(log_bucket, prefix, account.account_id, partition)
        account.refuse(
            f"The policy of the bucket {log_bucket} ({variable}) does not let S3 write access logs: add the statement "
            f"{json.dumps(statement)}."
        )


def _takes_logs_by_acl(account: Account, bucket: str) -> bool:
    """A bucket from before April 2023 may let them in by an ACL. One whose ACLs are disabled shows none but its owner."""
    answer = account.ask("s3", "get_bucket_acl", Bucket=bucket) or {}
    given = {grant["Permission"] for grant in answer.get("Grants", []) if grant["Grantee"].get("URI") == LOG_DELIVERY}
    return bool(given & {"WRITE", "FULL_CONTROL"})
