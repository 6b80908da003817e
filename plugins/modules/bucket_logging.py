#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bucket_logging
short_description: Ensure that S3 logs the requests to a bucket in another one
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Sets where the access log of a bucket goes, and leaves the other bucket alone, which has to let S3 write there by its policy.
  - M(community.aws.s3_logging) writes an ACL of the other bucket in any case, which every bucket made since April 2023 refuses.
  - Credentials, the API's address and a proxy come from the environment alone, as boto3 reads it.
options:
  name:
    description: The bucket whose requests are logged.
    type: str
    required: true
  target_bucket:
    description: The bucket that takes the log. S3 wants it in the same account and region.
    type: str
    required: true
  target_prefix:
    description: What the keys of the log begin with.
    type: str
    default: ""
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - drydock.registry.aws_account
notes:
  - The permissions for it are C(s3:GetBucketLogging) and C(s3:PutBucketLogging).
seealso:
  - name: Permissions for log delivery
    description: What the policy of the other bucket has to say.
    link: https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
  - module: community.aws.s3_logging
"""

EXAMPLES = r"""
- name: Log requests in another bucket
  drydock.registry.bucket_logging:
    name: images
    target_bucket: access-logs
    target_prefix: images/
"""

RETURN = r"""
target:
  description: Where the log goes, or would after a dry run, as an address of S3.
  returned: success
  type: str
  sample: s3://access-logs/images/
"""

from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import Account
from ansible_collections.drydock.registry.plugins.module_utils._aws_module import account_of, aws_module, finish


def ensure(account: Account, name: str, wanted: dict[str, str], check_mode: bool) -> bool:
    """Set where the log goes, and tell whether it went elsewhere. A bucket that a dry run did not make has no log."""
    answer = account.ask("s3", "get_bucket_logging", missing=["NoSuchBucket"] if check_mode else [], Bucket=name)
    enabled: dict[str, Any] = (answer or {}).get("LoggingEnabled", {})
    if {key: enabled.get(key) for key in wanted} == wanted:
        return False
    if not check_mode:
        # Grants are an ACL's, and not for a bucket without them; how keys are dated stays as somebody chose it.
        kept = {key: value for key, value in enabled.items() if key == "TargetObjectKeyFormat"}
        status = {"LoggingEnabled": {**kept, **wanted}}
        account.ask("s3", "put_bucket_logging", Bucket=name, BucketLoggingStatus=status)
    return True


def main() -> None:
    module = aws_module(
        {
            "name": {"type": "str", "required": True},
            "target_bucket": {"type": "str", "required": True},
            "target_prefix": {"type": "str", "default": ""},
        },
    )
    parameters = module.params
    wanted = {"TargetBucket": parameters["target_bucket"], "TargetPrefix": parameters["target_prefix"]}
    target = f"s3://{parameters['target_bucket']}/{parameters['target_prefix']}"
    finish(
        module,
        lambda: {
            "changed": ensure(account_of(module), parameters["name"], wanted, module.check_mode),
            "target": target,
        },
    )


if __name__ == "__main__":
    main()
