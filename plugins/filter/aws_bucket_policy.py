# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_bucket_policy
short_description: Add to a bucket's policy that nobody reaches the bucket without TLS
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Returns the policy that a bucket has, with one statement more, whose C(Sid) is C(DrydockDenyInsecureTransport). It denies every
    action on the bucket and its objects to everybody who does not use TLS.
  - A statement of that C(Sid) that says something else is put right in its place. All other statements stay as they are and
    where they are.
  - A policy that says the same already comes back as it was given, whether AWS wrote lists of one as strings or not.
options:
  _input:
    description:
      - The policy that the bucket has; an empty dictionary for none.
    type: dict
    required: true
  bucket:
    description:
      - The bucket's name.
    type: str
    required: true
  partition:
    description:
      - The partition that the ARNs begin with, such as V(aws-cn).
    type: str
    default: aws
seealso:
  - name: Security best practices for Amazon S3
    description: Why AWS recommends this statement.
    link: https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
"""

EXAMPLES = r"""
- name: Demand TLS
  amazon.aws.s3_bucket:
    name: example-images
    policy: "{{ account['policy'] | drydock.registry.aws_bucket_policy('example-images') }}"
"""

RETURN = r"""
_value:
  description: The policy.
  type: dict
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def aws_bucket_policy(existing: Any, bucket: str, partition: str = "aws") -> dict[str, Any]:
    """The bucket's policy with our statement."""
    from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import PolicyError, bucket_policy

    if isinstance(existing, str) and existing.strip():
        try:
            existing = json.loads(existing)
        except ValueError as error:
            raise AnsibleFilterError(
                "drydock.registry.aws_bucket_policy takes a policy, not a text that is no JSON."
            ) from error
    existing = existing or {}
    if not isinstance(existing, Mapping):
        raise AnsibleFilterError("drydock.registry.aws_bucket_policy takes a policy as a dictionary.")
    try:
        return bucket_policy(existing, str(bucket), partition)
    except PolicyError as error:
        raise AnsibleFilterError(f"drydock.registry.aws_bucket_policy: {error}") from error


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_bucket_policy": aws_bucket_policy}
