# SPDX-License-Identifier: GPL-3.0-or-later
"""S3 where moto's differs from AWS's."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import xmltodict
from moto.core.exceptions import ServiceException
from moto.s3 import responses
from moto.s3.exceptions import AccessDeniedByLock, S3ClientError
from moto.s3.models import OWNER, PublicAccessBlock, S3Backend, s3_backends

from .patching import instead_of

ENFORCED = "BucketOwnerEnforced"


def apply() -> None:
    """Close the gaps."""
    # HeadBucket and its relatives need the permissions that AWS documents, not ones of their own.
    actions = responses.ACTION_MAP["BUCKET"]
    actions["HEAD"]["DEFAULT"] = "ListBucket"
    settings = {
        "encryption": "EncryptionConfiguration",
        "lifecycle": "LifecycleConfiguration",
        "logging": "BucketLogging",
        "ownershipControls": "BucketOwnershipControls",
        "publicAccessBlock": "BucketPublicAccessBlock",
        "replication": "ReplicationConfiguration",
    }
    for parameter, name in settings.items():
        actions["GET"][parameter] = f"Get{name}"
        # What is deleted is written, as far as permissions go.
        actions["PUT"][parameter] = actions["DELETE"][parameter] = f"Put{name}"
    actions["GET"]["object-lock"] = "GetBucketObjectLockConfiguration"
    actions["GET"]["inventory"] = "GetInventoryConfiguration"

    # A bucket of another account: 403 with its region. moto knows the 403 but not the region, and only if it is told to
    # (MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS).
    @instead_of(responses.S3Response, "head_bucket")
    def head_bucket(original: Any, self: Any) -> Any:
        try:
            return original(self)
        except AccessDeniedByLock:
            partition, account = s3_backends.bucket_accounts[self.bucket_name]
            region = s3_backends[account][partition].buckets[self.bucket_name].region_name
            return 403, {"x-amz-bucket-region": region}, ""

    # The name of such a bucket is taken; moto, told as above, denies access to it.
    @instead_of(S3Backend, "create_bucket")
    def create_bucket(original: Any, self: Any, bucket_name: str, *args: Any, **kwargs: Any) -> Any:
        _, account = s3_backends.bucket_accounts.get(bucket_name, ("", self.account_id))
        if account != self.account_id:
            raise S3ClientError(
                "BucketAlreadyExists",
                "The requested bucket name is not available. The bucket namespace is shared by all users of the system.",
            )
        made = original(self, bucket_name, *args, **kwargs)
        # So every bucket begins since April 2023; one of before is made by deleting both.
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/create-bucket-faq.html
        made.ownership_rule = ENFORCED
        made.public_access_block = PublicAccessBlock("true", "true", "true", "true")
        return made

    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
    @instead_of(S3Backend, "put_bucket_acl")
    def put_bucket_acl(original: Any, self: Any, bucket_name: str, acl: Any) -> Any:
        grantees = [grantee for grant in acl.grants for grantee in grant.grantees] if acl else []
        if any(grantee.id != OWNER for grantee in grantees) and self.get_bucket(bucket_name).ownership_rule == ENFORCED:
            raise S3ClientError("AccessControlListNotSupported", "The bucket does not allow ACLs")
        return original(self, bucket_name, acl)

    # DeleteObjects asks permission for every key by itself. moto asks once, for the bucket.
    @instead_of(responses.S3Response, "_bucket_response_post")
    def bucket_post(original: Any, self: Any, request: Any, bucket_name: str) -> Any:
        self.path = self._get_path(request)
        if not self.is_delete_keys():
            return original(self, request, bucket_name)
        body = xmltodict.parse(self.body, strip_whitespace=False)
        objects = body["Delete"].get("Object", [])
        self.data["Action"] = "DeleteObject"
        try:
            for entry in objects if isinstance(objects, list) else [objects]:
                self._authenticate_and_authorize_s3_action(bucket_name=bucket_name, key_name=entry["Key"])
        except ServiceException as refused:
            if refused.code != "AccessDenied":
                raise
            return self._bucket_response_delete_keys(bucket_name, authenticated=False)
        return self._bucket_response_delete_keys(bucket_name)

    # What is refused on its way through S3's own dispatching is answered in S3's words.
    for name in ("bucket_response", "key_response"):

        @instead_of(responses.S3Response, name)
        def response(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(self, *args, **kwargs)
            except ServiceException as refused:
                # The answer to HEAD has no body, so there is nothing to name the error in.
                status = getattr(refused, "status", 403)
                body = "" if self.method == "HEAD" else _error(refused)
                return self._send_response((status, {"content-type": "application/xml"}, body))

    # A listing goes on behind where the last page ended, also when all of that page was deleted meanwhile; moto then finds no more.
    @instead_of(S3Backend, "list_object_versions")
    def list_object_versions(
        original: Any,
        self: Any,
        bucket_name: str,
        *,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        **kwargs: Any,
    ) -> Any:
        keys = self.get_bucket(bucket_name).keys
        if key_marker and version_id_marker not in {None, *(each.version_id for each in keys.getlist(key_marker, []))}:
            key_marker = max((name for name in keys if name < key_marker), default=None)
            version_id_marker = (
                key_marker and min(keys.getlist(key_marker), key=lambda each: each.last_modified).version_id
            )
        return original(self, bucket_name, key_marker=key_marker, version_id_marker=version_id_marker, **kwargs)

    _writing()


def _writing() -> None:
    # A copy reads its source; moto asks for the writing only.
    @instead_of(responses.S3Response, "_key_response_put")
    def key_put(original: Any, self: Any, query: dict[str, Any], key_name: str) -> Any:
        if source := self.headers.get("x-amz-copy-source"):
            bucket, _, key = unquote(source.partition("?")[0]).lstrip("/").partition("/")
            self.data["Action"] = "GetObject"
            self._authenticate_and_authorize_s3_action(bucket_name=bucket, key_name=key)
        _check_acl(self, key_name)
        return original(self, query, key_name)

    @instead_of(responses.S3Response, "_key_response_post")
    def key_post(
        original: Any, self: Any, request: Any, body: bytes, bucket_name: str, query: dict[str, Any], key_name: str
    ) -> Any:
        _check_acl(self, key_name)
        return original(self, request, body, bucket_name, query, key_name)


def _check_acl(response: Any, key_name: str) -> None:
    """Ask for the permission to give an object an ACL, and refuse one that a bucket without ACLs does not take; moto takes any.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html#API_PutObject_RequestSyntax
    `private`, which SDKs send for nothing in particular, works although that does not say so:
    https://github.com/distribution/distribution/pull/3862
    """
    acl = response.headers.get("x-amz-acl")
    if not acl or acl == "private":
        return
    response.data["Action"] = "PutObjectAcl"
    response._authenticate_and_authorize_s3_action(bucket_name=response.bucket_name, key_name=key_name)
    bucket = response.backend.get_bucket(response.bucket_name)
    if bucket.ownership_rule == ENFORCED and acl != "bucket-owner-full-control":
        raise S3ClientError("AccessControlListNotSupported", "The bucket does not allow ACLs")


def _error(refused: ServiceException) -> str:
    text: str = xmltodict.unparse({"Error": {"Code": refused.code, "Message": refused.message}})
    return text
