# SPDX-License-Identifier: GPL-3.0-or-later
"""The bucket and the key that the role aws_storage makes, adopts and removes, as the AWS API tells it.

One account serves all tests, which run in the order of this file. A run has several deployments, each with a bucket of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import log_statement
from aws_account import REGION, Account, Steps, aws_account, changed_tasks, changes
from botocore.exceptions import ClientError

ROLE = "aws_storage"
TLS_STATEMENT = "DrydockDenyInsecureTransport"
RULE = "drydock-registry"
BLOCKED = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}

PLAIN = {"aws_storage_name": "plain", "aws_storage_bucket": "plain-images"}
FULL = {
    "aws_storage_name": "full",
    "aws_storage_bucket": "full-images",
    "aws_storage_encryption": "kms",
    "aws_storage_versioning_enabled": False,
    "aws_storage_noncurrent_days": 3,
    "aws_storage_abort_multipart_days": 2,
    "aws_storage_log_bucket": "access-logs",
    "aws_storage_tags": {"team": "build", "Name": "images"},
}
# What the account has already: one bucket that is better protected than the role would have it, and one that is not protected.
GUARDED = {"aws_storage_name": "guarded", "aws_storage_bucket": "guarded-by-others"}
OPEN = {
    "aws_storage_name": "open",
    "aws_storage_bucket": "open-by-others",
    "aws_storage_encryption": "kms",
    "aws_storage_kms_key": "alias/theirs",
}
THEIR_STATEMENT = {
    "Sid": "Audit",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::guarded-by-others/*",
}
THEIR_RULE = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 400}}


class Buckets:
    """What the tests ask S3 and KMS."""

    def __init__(self, account: Account) -> None:
        self.s3 = account.client("s3")
        self.kms = account.client("kms")

    def names(self) -> list[str]:
        return sorted(bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"])

    def tags(self, bucket: str) -> dict[str, str]:
        try:
            found = self.s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
        except ClientError:
            return {}
        return {tag["Key"]: tag["Value"] for tag in found}

    def statements(self, bucket: str) -> dict[str, dict[str, Any]]:
        policy = json.loads(self.s3.get_bucket_policy(Bucket=bucket)["Policy"])
        return {statement["Sid"]: statement for statement in policy["Statement"]}

    def rules(self, bucket: str) -> dict[str, dict[str, Any]]:
        found = self.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        return {rule["ID"]: rule for rule in found}

    def encryption(self, bucket: str) -> dict[str, Any]:
        (rule,) = self.s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        return dict(rule)

    def versioning(self, bucket: str) -> str:
        return str(self.s3.get_bucket_versioning(Bucket=bucket).get("Status", ""))

    def logging(self, bucket: str) -> dict[str, Any]:
        return dict(self.s3.get_bucket_logging(Bucket=bucket).get("LoggingEnabled", {}))

    def public_access(self, bucket: str) -> dict[str, bool]:
        return dict(self.s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"])

    def ownership(self, bucket: str) -> str:
        (rule,) = self.s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        return str(rule["ObjectOwnership"])

    def key(self, alias: str) -> dict[str, Any]:
        """Describe a key, with its tags."""
        found = dict(self.kms.describe_key(KeyId=alias)["KeyMetadata"])
        tags = self.kms.list_resource_tags(KeyId=found["KeyId"])["Tags"]
        return {**found, "Tags": {tag["TagKey"]: tag["TagValue"] for tag in tags}}

    def make_key(self, alias: str, **tags: str) -> str:
        made = self.kms.create_key(Tags=[{"TagKey": key, "TagValue": value} for key, value in tags.items()])
        self.kms.create_alias(AliasName=alias, TargetKeyId=made["KeyMetadata"]["KeyId"])
        return str(made["KeyMetadata"]["Arn"])

    def make(self, bucket: str, **tags: str) -> None:
        self.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        if tags:
            tag_set = [{"Key": key, "Value": value} for key, value in tags.items()]
            self.s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tag_set})

    def make_old(self, bucket: str) -> None:
        """Make a bucket as all were before April 2023."""
        self.make(bucket)
        self.s3.delete_bucket_ownership_controls(Bucket=bucket)
        self.s3.delete_public_access_block(Bucket=bucket)

    def make_log(self, bucket: str) -> None:
        """Make a bucket that takes access logs, by its policy as all do that have no ACLs."""
        self.make(bucket)
        statement = log_statement(bucket, "", "123456789012")
        self.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with aws_account() as made:
        yield made


@pytest.fixture(scope="module")
def buckets(account: Account) -> Buckets:
    return Buckets(account)


class TestDeployment:
    """From an empty account to a second run."""

    results: ClassVar[dict[str, Any]] = {}
    key: ClassVar[str] = ""

    def test_a_dry_run_on_an_empty_account_says_what_it_would_do(self, account: Account, buckets: Buckets) -> None:
        steps = Steps(ROLE).run(PLAIN).run({**FULL, "aws_storage_log_bucket": ""})
        done = steps.play(account, "--check")
        changes(done)
        assert "make the bucket plain-images" in done.stdout
        assert "make the bucket full-images" in done.stdout
        assert buckets.names() == []
        assert buckets.kms.list_keys()["Keys"] == []
        result = steps.result(1)
        assert result["bucket"] == "full-images"
        assert result["kms_key_arn"] == ""

    def test_buckets_are_made_and_adopted(self, account: Account, buckets: Buckets) -> None:
        buckets.make_log("access-logs")
        theirs = buckets.make_key("alias/theirs")
        buckets.make_old("open-by-others")
        buckets.make("guarded-by-others", owner="them")
        s3 = buckets.s3
        s3.put_bucket_policy(
            Bucket="guarded-by-others",
            Policy=json.dumps({"Version": "2012-10-17", "Statement": [THEIR_STATEMENT]}),
        )
        s3.put_bucket_lifecycle_configuration(
            Bucket="guarded-by-others", LifecycleConfiguration={"Rules": [THEIR_RULE]}
        )
        s3.put_bucket_encryption(
            Bucket="guarded-by-others",
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": theirs}}]
            },
        )
        s3.put_bucket_versioning(Bucket="guarded-by-others", VersioningConfiguration={"Status": "Enabled"})
        type(self).key = theirs

        steps = Steps(ROLE).run(PLAIN).run(FULL).run(GUARDED).run(OPEN)
        assert changes(steps.play(account))
        for number, name in enumerate(("plain", "full", "guarded", "open")):
            self.results[name] = steps.result(number)

    @pytest.mark.parametrize("bucket", ["plain-images", "full-images", "guarded-by-others", "open-by-others"])
    def test_every_bucket_is_closed(self, buckets: Buckets, bucket: str) -> None:
        assert buckets.public_access(bucket) == BLOCKED
        assert buckets.ownership(bucket) == "BucketOwnerEnforced"
        statement = buckets.statements(bucket)[TLS_STATEMENT]
        assert statement["Effect"] == "Deny"
        assert statement["Principal"] in ("*", {"AWS": "*"})
        assert statement["Action"] == "s3:*"
        assert sorted(statement["Resource"]) == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    def test_the_defaults(self, buckets: Buckets) -> None:
        assert buckets.encryption("plain-images")["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        assert buckets.versioning("plain-images") == "Enabled"
        rule = buckets.rules("plain-images")[RULE]
        assert rule["Status"] == "Enabled"
        assert rule["Filter"].get("Prefix", "") == ""
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}
        assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
        assert rule["Expiration"] == {"ExpiredObjectDeleteMarker": True}
        assert buckets.logging("plain-images") == {}
        assert buckets.tags("plain-images") == {"Name": "plain-images", "drydock-deployment": "plain"}
        location = buckets.s3.get_bucket_location(Bucket="plain-images")["LocationConstraint"]
        assert location == REGION
        assert self.results["plain"] == {
            "bucket": "plain-images",
            "arn": "arn:aws:s3:::plain-images",
            "region": REGION,
            "kms_key_arn": "",
            "adopted": False,
        }

    def test_every_setting(self, buckets: Buckets) -> None:
        key = buckets.key("alias/full-registry")
        assert key["KeyState"] == "Enabled"
        assert key["Tags"] == {"Name": "images", "team": "build", "drydock-deployment": "full"}
        assert buckets.kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"]
        assert buckets.encryption("full-images") == {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["Arn"]},
            "BucketKeyEnabled": True,
        }
        assert buckets.versioning("full-images") == ""
        rule = buckets.rules("full-images")[RULE]
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 3}
        assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
        log = buckets.logging("full-images")
        assert (log["TargetBucket"], log["TargetPrefix"]) == ("access-logs", "full-images/")
        # As on AWS, nobody could have let the log in by an ACL.
        with pytest.raises(ClientError, match="AccessControlListNotSupported"):
            buckets.s3.put_bucket_acl(Bucket="access-logs", ACL="log-delivery-write")
        assert buckets.tags("full-images") == {"Name": "images", "team": "build", "drydock-deployment": "full"}
        assert self.results["full"]["kms_key_arn"] == key["Arn"]

    def test_an_adopted_bucket_keeps_what_protects_it(self, buckets: Buckets) -> None:
        bucket = "guarded-by-others"
        assert buckets.statements(bucket)["Audit"] == THEIR_STATEMENT
        assert buckets.rules(bucket)["theirs"] == THEIR_RULE
        # Who keeps old versions there for longer goes on doing so.
        assert "NoncurrentVersionExpiration" not in buckets.rules(bucket)[RULE]
        assert buckets.encryption(bucket)["ApplyServerSideEncryptionByDefault"] == {
            "SSEAlgorithm": "aws:kms",
            "KMSMasterKeyID": self.key,
        }
        assert buckets.versioning(bucket) == "Enabled"
        assert buckets.tags(bucket) == {"owner": "them"}
        assert self.results["guarded"]["adopted"]
        assert self.results["guarded"]["kms_key_arn"] == self.key

    def test_an_adopted_bucket_gets_what_it_lacks(self, buckets: Buckets) -> None:
        bucket = "open-by-others"
        assert buckets.encryption(bucket)["ApplyServerSideEncryptionByDefault"] == {
            "SSEAlgorithm": "aws:kms",
            "KMSMasterKeyID": self.key,
        }
        assert buckets.versioning(bucket) == "Enabled"
        assert buckets.rules(bucket)[RULE]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}
        assert buckets.tags(bucket) == {}
        assert self.results["open"]["adopted"]
        # The key is theirs: neither tagged nor made to rotate.
        assert buckets.key("alias/theirs")["Tags"] == {}

    def test_a_second_run_changes_nothing(self, account: Account) -> None:
        steps = Steps(ROLE).run(PLAIN).run(FULL).run(GUARDED).run(OPEN)
        done = steps.play(account)
        assert changes(done) == 0, changed_tasks(done)
        assert steps.result(1) == self.results["full"]
        assert steps.result(2) == self.results["guarded"]


class TestChange:
    """What others loosened, and what the user changes."""

    def test_drift_and_changed_settings_are_corrected(self, account: Account, buckets: Buckets) -> None:
        s3 = buckets.s3
        s3.put_public_access_block(
            Bucket="plain-images", PublicAccessBlockConfiguration={**BLOCKED, "BlockPublicPolicy": False}
        )
        s3.delete_bucket_policy(Bucket="plain-images")
        s3.put_bucket_ownership_controls(
            Bucket="plain-images", OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
        )
        s3.delete_bucket_lifecycle(Bucket="plain-images")
        s3.put_bucket_versioning(Bucket="plain-images", VersioningConfiguration={"Status": "Suspended"})
        tags = [*s3.get_bucket_tagging(Bucket="plain-images")["TagSet"], {"Key": "cost", "Value": "42"}]
        s3.put_bucket_tagging(Bucket="plain-images", Tagging={"TagSet": tags})
        s3.delete_public_access_block(Bucket="guarded-by-others")
        changed = {**FULL, "aws_storage_noncurrent_days": 5, "aws_storage_log_prefix": "registry/"}

        dry = Steps(ROLE).run(PLAIN)
        said = dry.play(account, "--check").stdout
        for what in ("block public access", "disable ACLs", "demand TLS", "enable versioning", f"rule {RULE}"):
            assert what in said
        steps = Steps(ROLE).run(PLAIN).run(GUARDED).run(changed)
        assert changes(steps.play(account))

        assert buckets.public_access("plain-images") == BLOCKED
        assert buckets.public_access("guarded-by-others") == BLOCKED
        assert TLS_STATEMENT in buckets.statements("plain-images")
        assert buckets.ownership("plain-images") == "BucketOwnerEnforced"
        assert buckets.rules("plain-images")[RULE]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}
        assert buckets.versioning("plain-images") == "Enabled"
        # A tag of somebody else's.
        assert buckets.tags("plain-images")["cost"] == "42"
        assert buckets.rules("full-images")[RULE]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 5}
        assert buckets.logging("full-images")["TargetPrefix"] == "registry/"


class TestRefusal:
    """What is refused, with one sentence each, before anything changes."""

    def test_settings_that_lead_nowhere(self, account: Account, buckets: Buckets) -> None:
        buckets.make("foreign-images", **{"drydock-deployment": "somebody-else"})
        buckets.make_key("alias/taken-registry")
        wrong = {
            "aws_storage_kms_key": "alias/theirs",
            "aws_storage_noncurrent_days": 0,
            "aws_storage_abort_multipart_days": 0,
            "aws_storage_kms_deletion_days": 31,
        }
        back = {**FULL, "aws_storage_encryption": "sse_s3"}
        other_key = {**FULL, "aws_storage_kms_key": "alias/theirs"}
        foreign = {"aws_storage_name": "mine", "aws_storage_bucket": "foreign-images"}
        taken = {"aws_storage_name": "taken", "aws_storage_bucket": "taken-images", "aws_storage_encryption": "kms"}
        log = {"aws_storage_bucket": "images-with-log", "aws_storage_log_bucket": "nowhere-at-all"}
        itself = {"aws_storage_bucket": "one-bucket", "aws_storage_log_bucket": "one-bucket"}
        steps = (
            Steps(ROLE)
            .refused(wrong)
            .refused({"aws_storage_tags": {"drydock-deployment": "2"}})
            .refused(foreign)
            .refused(back)
        )
        steps.refused(other_key).refused(taken).refused(log).refused(itself)
        before = buckets.names()
        changes(steps.play(account))

        for setting in wrong:
            assert setting in steps.refusal(0)
        assert "aws_storage_bucket" in steps.refusal(1)
        assert "aws_storage_tags" in steps.refusal(1)
        assert "foreign-images" in steps.refusal(2)
        assert "somebody-else" in steps.refusal(2)
        assert "write `kms`" in steps.refusal(3)
        assert "aws_storage_kms_key" in steps.refusal(4)
        assert "alias/taken-registry" in steps.refusal(5)
        assert "nowhere-at-all" in steps.refusal(6)
        assert "aws_storage_log_bucket" in steps.refusal(7)
        assert buckets.names() == before
        assert buckets.key("alias/taken-registry")["Tags"] == {}


class TestRemoval:
    """What goes, what stays, and what has to be asked for by name."""

    def test_images_are_kept_and_the_rest_goes(self, account: Account, buckets: Buckets) -> None:
        s3 = buckets.s3
        s3.put_object(Bucket="plain-images", Key="docker/registry/v2/a", Body=b"a layer")
        s3.delete_object(Bucket="plain-images", Key="docker/registry/v2/a")
        s3.put_object(Bucket="guarded-by-others", Key="theirs", Body=b"x")
        # Half made: a bucket without settings; a key without a bucket; only a marker of something deleted long ago.
        buckets.make("half-images", **{"drydock-deployment": "half"})
        buckets.make_key("alias/half-key-registry", **{"drydock-deployment": "half-key"})
        buckets.make("marker-images", **{"drydock-deployment": "marker"})
        s3.put_bucket_versioning(Bucket="marker-images", VersioningConfiguration={"Status": "Enabled"})
        s3.delete_object(Bucket="marker-images", Key="gone")

        steps = Steps(ROLE).refused(PLAIN, "remove").refused(PLAIN, "remove_preflight")
        steps.run({**PLAIN, "aws_storage_remove_kept": True}, "remove").run(
            {**FULL, "aws_storage_kms_deletion_days": 7}, "remove"
        )
        steps.run(GUARDED, "remove")
        steps.run({"aws_storage_name": "half", "aws_storage_bucket": "half-images"}, "remove")
        steps.run({"aws_storage_name": "half-key", "aws_storage_bucket": "half-key-images"}, "remove")
        steps.run({"aws_storage_name": "marker", "aws_storage_bucket": "marker-images"}, "remove")
        steps.run({"aws_storage_name": "taken", "aws_storage_bucket": "foreign-images"}, "remove")
        assert changes(steps.play(account))

        for number in (0, 1):
            assert "aws_storage_remove_images: plain-images" in steps.refusal(number)
        assert buckets.names() == [
            "access-logs",
            "foreign-images",
            "guarded-by-others",
            "open-by-others",
            "plain-images",
        ]
        assert buckets.key("alias/full-registry")["KeyState"] == "PendingDeletion"
        assert buckets.key("alias/half-key-registry")["KeyState"] == "PendingDeletion"
        assert buckets.key("alias/taken-registry")["KeyState"] == "Enabled"
        assert buckets.key("alias/theirs")["KeyState"] == "Enabled"
        assert set(buckets.statements("guarded-by-others")) == {"Audit", TLS_STATEMENT}
        assert s3.get_object(Bucket="guarded-by-others", Key="theirs")["Body"].read() == b"x"

    def test_a_bucket_that_is_named_goes_and_a_second_removal_changes_nothing(
        self, account: Account, buckets: Buckets
    ) -> None:
        named = {**PLAIN, "aws_storage_remove_images": "plain-images"}
        dry = Steps(ROLE).run(named, "remove").play(account, "--check")
        assert "would delete the bucket plain-images" in dry.stdout
        assert "plain-images" in buckets.names()
        done = Steps(ROLE).run(named, "remove").run(named, "remove").run(FULL, "remove").play(account)
        assert changed_tasks(done) == ["Delete the bucket with everything in it"]
        assert "plain-images" not in buckets.names()

    def test_a_key_that_waits_for_its_deletion_is_saved_by_the_next_run(
        self, account: Account, buckets: Buckets
    ) -> None:
        before = buckets.key("alias/full-registry")["Arn"]
        changes(Steps(ROLE).run(FULL).play(account))
        key = buckets.key("alias/full-registry")
        assert (key["Arn"], key["KeyState"]) == (before, "Enabled")
        assert buckets.encryption("full-images")["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == before
