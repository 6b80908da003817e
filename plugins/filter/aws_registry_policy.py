# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_registry_policy
short_description: Write the IAM policy of the host of a registry that stores images in a bucket
version_added: 0.1.0
author:
  - The drydock authors (@drydock)
description:
  - Allows what the S3 driver of the registry calls, and nothing else.
  - Read and written may be the objects under C(docker/registry/v2/), where the registry keeps everything, and C(scheduler-state.json),
    which a pull-through registry keeps beside it, both below O(prefix).
  - The names of all objects of the bucket may be listed, also those outside O(prefix). A condition on C(s3:prefix) would be the way
    to narrow that, but Amazon S3 knows this key for C(s3:ListBucket) only and not for C(s3:ListBucketMultipartUploads), and answers
    a request for an object that is not there with 403 in place of 404 to who may not list everything, which fails pushes. Share a
    bucket with nobody who may not know its names.
  - With O(acme_zone_id), certbot on the same host may answer ACME's challenges of the kind dns-01 for O(acme_names). It may write and
    delete their TXT records C(_acme-challenge.NAME), no other record of that zone and none of other zones. The names of all zones of
    the account may be listed, which certbot does to find this one.
options:
  _input:
    description:
      - The bucket's name.
    type: str
    required: true
  prefix:
    description:
      - The registry's root directory in the bucket (C(rootdirectory) of its S3 driver), without or with slashes around it.
    type: str
    default: ""
  kms_key_arn:
    description:
      - The ARN of the KMS key that encrypts the bucket. The registry may use it through S3 in the key's region alone.
    type: str
    default: ""
  partition:
    description:
      - The partition that the ARNs begin with, such as V(aws-cn).
    type: str
    default: aws
  acme_zone_id:
    description:
      - The id of the hosted zone of Route 53 in which challenges are answered. Empty when there are none.
    type: str
    default: ""
  acme_names:
    description:
      - The domains of the certificate; a wildcard counts as its domain.
    type: list
    elements: str
    default: []
  configuration_bucket:
    description:
      - The bucket with what a host reads that sets itself up, the objects under C(bundles/) and C(live.json). Empty when there is none.
    type: str
    default: ""
  configuration_kms_key_arn:
    description:
      - The ARN of the KMS key that encrypts O(configuration_bucket).
    type: str
    default: ""
  autoscaling_group:
    description:
      - The region, account and name of the Auto Scaling group that the host is of, as V(eu-central-1:123456789012:team-registry). The host
        may complete its lifecycle actions, and no other group's. Empty when there is none.
    type: str
    default: ""
  maintenance:
    description:
      - Whether it may also keep the storage in order, which takes looking for old versions of objects and reading them. Destroying them
        is never allowed.
    type: bool
    default: false
  images:
    description:
      - The images that the host pulls. Of those in Amazon ECR it may pull their repositories, and no others.
    type: list
    elements: str
    default: []
  pull_through_prefixes:
    description:
      - What repositories in ECR begin with that are pull-through caches. The first pull makes the repository.
    type: list
    elements: str
    default: []
  log_group:
    description:
      - The region, account and name of the log group in CloudWatch that containers write into, as
        V(eu-central-1:123456789012:/drydock/team-registry). Empty when there is none.
    type: str
    default: ""
seealso:
  - name: Actions and condition keys of Amazon S3
    description: Which condition keys an action knows.
    link: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
  - name: Conditions for records
    description: What Route 53 tells a policy about a change of records.
    link: https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html
  - name: The S3 storage driver
    description: What the registry needs.
    link: https://distribution.github.io/distribution/storage-drivers/s3/
"""

EXAMPLES = r"""
- name: Let the registry use its bucket
  amazon.aws.iam_managed_policy:
    name: drydock-registry-eu-central-1
    policy: "{{ 'example-images' | drydock.registry.aws_registry_policy(prefix='team') }}"
"""

RETURN = r"""
_value:
  description: The policy.
  type: dict
"""

from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def aws_registry_policy(
    bucket: Any,
    prefix: str = "",
    kms_key_arn: str = "",
    partition: str = "aws",
    acme_zone_id: str = "",
    acme_names: Sequence[str] = (),
    configuration_bucket: str = "",
    configuration_kms_key_arn: str = "",
    autoscaling_group: str = "",
    maintenance: object = False,
    images: Sequence[str] = (),
    pull_through_prefixes: Sequence[str] = (),
    log_group: str = "",
) -> dict[str, Any]:
    """The policy of the registry's role."""
    from ansible_collections.drydock.registry.plugins.module_utils._access import is_true
    from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import PolicyError, registry_policy

    names = [str(name) for name in acme_names]
    try:
        return registry_policy(
            str(bucket),
            str(prefix or ""),
            str(kms_key_arn or ""),
            partition,
            str(acme_zone_id or ""),
            names,
            str(configuration_bucket or ""),
            str(configuration_kms_key_arn or ""),
            str(autoscaling_group or ""),
            is_true(maintenance),
            [str(image) for image in images],
            [str(prefix) for prefix in pull_through_prefixes],
            str(log_group or ""),
        )
    except PolicyError as error:
        raise AnsibleFilterError(f"drydock.registry.aws_registry_policy: {error}") from error


class FilterModule:
    """The filter as Ansible finds it."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aws_registry_policy": aws_registry_policy}
