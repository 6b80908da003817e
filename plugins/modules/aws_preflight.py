#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_preflight
short_description: Look at an AWS account before anything is made in it
version_added: 0.2.0
author:
  - The drydock authors (@drydock)
description:
  - Answers, in one process, everything that one role for AWS has to know of the account. What a deployment has already, what its
    settings name, and who asks.
  - Fails with all problems at once, one sentence a line. Each names the role's variable, what is wrong and what to write.
  - Reads only. It changes nothing, and always reports C(changed=false).
  - Things of a deployment are found by their tag C(drydock-deployment), whose value is O(deployment). IAM things, key pairs and
    the alias of the KMS key are found by their names, RV(name) and RV(iam_name).
  - Credentials, the API's address and a proxy come from the environment alone, as boto3 reads it. C(AWS_PROFILE),
    C(AWS_ACCESS_KEY_ID), C(AWS_SECRET_ACCESS_KEY), C(AWS_SESSION_TOKEN), C(AWS_ENDPOINT_URL), C(AWS_CA_BUNDLE), C(HTTPS_PROXY).
options:
  deployment:
    description:
      - The deployment's name, at most 32 of lower-case letters, digits and hyphens.
    type: str
    required: true
  region:
    description:
      - The AWS region. When empty or not set, what C(AWS_REGION), C(AWS_DEFAULT_REGION) or the profile say.
    type: str
    aliases: [aws_region]
  removing:
    description:
      - With V(true), only what carries the deployment's mark is looked up, and neither settings nor what they meet are judged, since
        what is to be removed need not be fit to be made. Questions that AWS does not answer are problems all the same.
    type: bool
    default: false
  tags:
    description:
      - Tags that the role gives to what it makes, only to be checked.
    type: dict
    default: {}
  network:
    description:
      - Ask what the role C(aws_network) has to know.
    type: dict
    suboptions:
      provider:
        description:
          - V(default) is the region's default VPC, V(given) the one that is named, V(own) one that the deployment makes.
        type: str
        choices: [default, given, own]
        default: default
      vpc_id:
        description: The VPC of V(given). When empty, that of O(network.subnet_ids).
        type: str
        default: ""
      subnet_ids:
        description: The subnets to use. When empty, all of the VPC (of the default VPC, those that are each zone's default).
        type: list
        elements: str
        default: []
      cidr:
        description: The IPv4 network of an own VPC, from /16 to /28.
        type: str
        default: 10.60.0.0/16
      zones:
        description: The availability zones of an own VPC. When empty, the first two.
        type: list
        elements: str
        default: []
      admin_security_group_id:
        description: A security group of the same VPC that is let in for administration.
        type: str
        default: ""
      client_cidrs:
        description: Networks, only to be checked.
        type: list
        elements: str
        default: []
      acme_cidrs:
        description: Networks, only to be checked.
        type: list
        elements: str
        default: []
      admin_cidrs:
        description: Networks, only to be checked.
        type: list
        elements: str
        default: []
  storage:
    description:
      - Ask what the role C(aws_storage) has to know.
    type: dict
    suboptions:
      bucket:
        description:
          - The bucket's name, 3 to 63 lower-case letters, digits and hyphens. Dots are refused, since S3's certificate does not
            cover such names.
        type: str
        default: ""
      encryption:
        description:
          - With V(kms), a missing permission to see the KMS key is a problem even where O(storage.kms_key) is empty.
        type: str
        choices: [sse_s3, kms]
        default: sse_s3
      kms_key:
        description: The id, ARN or alias (C(alias/NAME)) of a KMS key. When empty, the one that the deployment made is looked for.
        type: str
        default: ""
      log_bucket:
        description: A bucket of the same account and region for access logs.
        type: str
        default: ""
  identity:
    description:
      - Ask what the role C(aws_identity) has to know.
    type: dict
    suboptions:
      path:
        description: The IAM path of role, policy and instance profile.
        type: str
        default: /
      permissions_boundary:
        description: The ARN of a policy.
        type: str
        default: ""
      acme_names:
        description: The domains of a certificate whose challenges (ACME's dns-01) the role may answer.
        type: list
        elements: str
        default: []
      acme_zone:
        description:
          - The name of the public hosted zone of Route 53 in which it answers them. Without O(identity.acme_names) none is looked for.
        type: str
        default: ""
  instance:
    description:
      - Ask what the role C(aws_instance) has to know.
    type: dict
    suboptions:
      type:
        description: The instance type.
        type: str
        default: t4g.small
      architecture:
        description: What the type and the image must have.
        type: str
        choices: [arm64, amd64]
        default: arm64
      image_provider:
        description:
          - Where the image comes from. A V(parameter) of Systems Manager that holds its id, the newest of a V(name), or an V(id).
        type: str
        choices: [parameter, name, id]
        default: parameter
      image_parameter:
        description: The parameter's path.
        type: str
        default: ""
      image_name:
        description: The image's name, with C(*) for what changes.
        type: str
        default: ""
      image_owner:
        description: The image's owner, an account's number or V(amazon) or V(self). Needed where several have images of that name.
        type: str
        default: ""
      image_id:
        description: The image's id.
        type: str
        default: ""
      public_key:
        description: The text of an OpenSSH public key, ED25519 or RSA, of which a key pair is made.
        type: str
        default: ""
      key_pair:
        description: The name of a key pair that exists. Not together with O(instance.public_key).
        type: str
        default: ""
      volume_gib:
        description: The size of the root volume in GiB. Not less than the image's, or than the volume has.
        type: int
        default: 20
      domain:
        description: The registry's name.
        type: str
        default: ""
      zone:
        description: The name of the hosted zone for its record. When empty, none is looked for.
        type: str
        default: ""
      zone_private:
        description: Whether it is a private hosted zone.
        type: bool
        default: false
      replace:
        description: The id of the deployment's instance that may be terminated and made anew.
        type: str
        default: ""
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix
requirements:
  - boto3 1.34 or newer
notes:
  - The permissions for it, all of which AWS counts as reading, are for every section C(sts:GetCallerIdentity) (nobody needs to be
    granted it), and
  - for O(network) C(ec2:DescribeVpcs), C(ec2:DescribeSubnets), C(ec2:DescribeRouteTables), C(ec2:DescribeSecurityGroups),
    C(ec2:DescribeVpcEndpoints), C(ec2:DescribeInternetGateways), C(ec2:DescribeAvailabilityZones);
  - for O(storage) C(s3:ListBucket), C(s3:GetBucketTagging), C(s3:GetBucketPolicy), C(s3:GetEncryptionConfiguration),
    C(s3:GetBucketVersioning), C(s3:GetLifecycleConfiguration), C(s3:GetBucketLogging), C(s3:GetBucketPublicAccessBlock),
    C(s3:GetBucketOwnershipControls), with KMS C(kms:DescribeKey) and C(kms:ListResourceTags), with O(removing=true)
    C(s3:ListBucketVersions), and to tell a foreign bucket from one that may not be seen C(s3:ListAllMyBuckets);
  - for O(identity) C(iam:GetRole), C(iam:GetPolicy), C(iam:GetInstanceProfile), and with
    O(identity.acme_names) C(route53:ListHostedZonesByName);
  - for O(instance) C(ec2:DescribeInstances), C(ec2:DescribeVolumes), C(ec2:DescribeInstanceTypes), C(ec2:DescribeImages),
    C(ec2:DescribeKeyPairs), C(ec2:DescribeAddresses), and where they are used C(ssm:GetParameter) and
    C(route53:ListHostedZonesByName) and C(route53:ListResourceRecordSets).
seealso:
  - name: Rules for the names of buckets
    description: What O(storage.bucket) may be.
    link: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
  - name: Fingerprints of key pairs
    description: How a public key is compared with a key pair.
    link: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html
  - plugin: drydock.registry.aws_error_sentence
    plugin_type: filter
    description: Says the same sentences of other modules' failures.
"""

EXAMPLES = r"""
- name: See what the network is
  drydock.registry.aws_preflight:
    deployment: drydock
    region: eu-central-1
    network:
      provider: default
  register: account

- name: See what there is to remove
  drydock.registry.aws_preflight:
    deployment: drydock
    removing: true
    storage:
      bucket: example-images
  register: account
"""

RETURN = r"""
account_id:
  description: The account's number.
  returned: always
  type: str
  sample: "123456789012"
partition:
  description: The partition, which begins each ARN.
  returned: always
  type: str
  sample: aws
region:
  description: The region that was asked.
  returned: always
  type: str
  sample: eu-central-1
caller_arn:
  description: Who asked.
  returned: always
  type: str
  sample: arn:aws:iam::123456789012:user/deployer
name:
  description: What the deployment's things are called, C(DEPLOYMENT-registry).
  returned: always
  type: str
  sample: drydock-registry
iam_name:
  description: What its IAM things are called, C(DEPLOYMENT-registry-REGION), since IAM knows no regions.
  returned: always
  type: str
  sample: drydock-registry-eu-central-1
problems:
  description: The sentences of C(msg), as a list.
  returned: failure
  type: list
  elements: str
vpc_id:
  description: The VPC; empty when an own one is not made yet.
  returned: with O(network)
  type: str
  sample: vpc-0123456789abcdef0
vpc_cidr:
  description: Its first IPv4 network.
  returned: with O(network)
  type: str
  sample: 10.60.0.0/16
subnets:
  description:
    - The subnets, in the order of O(network.subnet_ids), else by zone. Each has C(id), C(zone) and C(cidr).
  returned: with O(network)
  type: list
  elements: dict
  sample: [{id: subnet-0123456789abcdef0, zone: eu-central-1a, cidr: 10.60.0.0/24}]
plan:
  description:
    - For an own VPC, one subnet for each of RV(zones), each with C(id), C(zone) and C(cidr). One that is there keeps its network. One
      that is to be made has an empty C(id) and the next free sixteenth of the VPC's network.
  returned: with O(network)
  type: list
  elements: dict
route_table_ids:
  description: The route tables of these subnets; of an own VPC, those of the deployment.
  returned: with O(network)
  type: list
  elements: str
zones:
  description: The zones in which an own VPC has or is to have a subnet; of another, those of the subnets.
  returned: with O(network)
  type: list
  elements: str
  sample: [eu-central-1a, eu-central-1b]
security_group_id:
  description: The deployment's security group in this VPC, or nothing.
  returned: with O(network)
  type: str
security_group_ids:
  description: The deployment's security groups in all VPCs of the region.
  returned: with O(network)
  type: list
  elements: str
default_security_group_id:
  description: The VPC's default security group.
  returned: with O(network)
  type: str
internet_gateway_id:
  description: The VPC's internet gateway, or nothing.
  returned: with O(network)
  type: str
s3_endpoint:
  description: The VPC's gateway endpoint for S3, with C(id) (empty when there is none), C(ours) and C(tags).
  returned: with O(network)
  type: dict
  sample: {id: "", ours: false, tags: {}}
exists:
  description: Whether the bucket exists in this account and region.
  returned: with O(storage)
  type: bool
ours:
  description: Whether it has the deployment's tag.
  returned: with O(storage)
  type: bool
adopted:
  description: Whether it exists and has no deployment's tag.
  returned: with O(storage)
  type: bool
policy:
  description:
    - With O(storage), the bucket's policy, or an empty dictionary.
    - With O(identity), the policy of RV(iam_name), with C(name), C(arn) (both empty when there is none) and C(ours).
  returned: with O(storage) and O(identity)
  type: dict
encryption:
  description: Its default encryption, with C(algorithm) (V(AES256), V(aws:kms)) and C(kms_key_arn), as AWS stores them.
  returned: with O(storage)
  type: dict
  sample: {algorithm: AES256, kms_key_arn: ""}
versioning:
  description: V(Enabled), V(Suspended) or nothing.
  returned: with O(storage)
  type: str
lifecycle_rules:
  description: Its lifecycle rules as the API has them, with dates as text.
  returned: with O(storage)
  type: list
  elements: dict
logging:
  description: Where its access log goes, with C(bucket) and C(prefix), both empty when there is none.
  returned: with O(storage)
  type: dict
  sample: {bucket: "", prefix: ""}
kms_key_arn:
  description: The ARN of O(storage.kms_key), else of the key that the deployment made, or nothing.
  returned: with O(storage)
  type: str
key:
  description:
    - The key that the deployment made, found by its alias, with C(arn), C(ours) and C(state), such as V(Enabled) or
      V(PendingDeletion). All are empty when there is none or O(storage.kms_key) is set.
  returned: with O(storage)
  type: dict
  sample: {arn: "", ours: false, state: ""}
public_access_block:
  description: Its public access block as the API has it, or an empty dictionary.
  returned: with O(storage)
  type: dict
ownership:
  description: Who owns its objects, such as V(BucketOwnerEnforced), or nothing.
  returned: with O(storage)
  type: str
objects:
  description: With O(removing=true), how many versions of objects the first page of a list shows; else 0.
  returned: with O(storage)
  type: int
tags:
  description: The bucket's tags.
  returned: with O(storage)
  type: dict
role:
  description: The role of RV(iam_name), with C(name), C(arn) (both empty when there is none) and C(ours).
  returned: with O(identity)
  type: dict
policy_arn:
  description: The ARN of that policy, or nothing.
  returned: with O(identity)
  type: str
instance_profile:
  description: The instance profile of that name, as RV(role).
  returned: with O(identity)
  type: dict
acme_zone:
  description: The hosted zone for ACME's challenges, with C(id) and C(name), both empty without O(identity.acme_names).
  returned: with O(identity)
  type: dict
  sample: {id: Z0123456789ABCDEFGHIJ, name: example.com}
instance:
  description:
    - The deployment's instance, or V(null). With O(removing=true), one that has ended counts as none.
    - It has C(id), C(state), C(type), C(image_id), C(architecture), C(private_ip), C(public_ip), C(subnet_id), C(zone), C(key_pair),
      C(security_group_ids), C(instance_profile), C(launch_time), C(tags), and C(root_volume) with C(id), C(size_gib), C(type),
      C(encrypted), C(iops) and C(throughput).
  returned: with O(instance)
  type: dict
instances:
  description: All instances with the deployment's tag, ended ones too, each with C(id), C(state),
    C(private_ip) and C(public_ip), the newest last.
  returned: with O(instance)
  type: list
  elements: dict
image:
  description:
    - The image of a new instance, with C(id), C(name), C(architecture) (V(arm64) or V(amd64)), C(root_device), C(owner) and
      C(size_gib). All are empty with O(removing=true).
  returned: with O(instance)
  type: dict
supported_architectures:
  description: What the type has, of V(amd64) and V(arm64).
  returned: with O(instance)
  type: list
  elements: str
key_pair:
  description:
    - O(instance.key_pair), else the key pair of RV(name), with C(name) and C(ours), or V(null) when there is none.
  returned: with O(instance)
  type: dict
zone:
  description:
    - The hosted zone, with C(id) and C(name), both empty when there is none, and C(record), the A record of O(instance.domain) with
      C(values) and C(ttl), or an empty dictionary.
  returned: with O(instance)
  type: dict
elastic_ip:
  description: The deployment's address, with C(allocation_id), C(public_ip), C(association_id), C(instance_id) and C(tags), or V(null).
  returned: with O(instance)
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import env_fallback
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import AwsProblem, open_account
from ansible_collections.drydock.registry.plugins.module_utils._aws_preflight import SECTIONS, look

STRINGS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
TEXT: dict[str, Any] = {"type": "str", "default": ""}

ARGUMENTS: dict[str, Any] = {
    "deployment": {"type": "str", "required": True},
    "region": {
        "type": "str",
        "aliases": ["aws_region"],
        "fallback": (env_fallback, ["AWS_REGION", "AWS_DEFAULT_REGION"]),
    },
    "removing": {"type": "bool", "default": False},
    "tags": {"type": "dict", "default": {}},
    "network": {
        "type": "dict",
        "options": {
            "provider": {"type": "str", "choices": ["default", "given", "own"], "default": "default"},
            "vpc_id": TEXT,
            "subnet_ids": STRINGS,
            "cidr": {"type": "str", "default": "10.60.0.0/16"},
            "zones": STRINGS,
            "admin_security_group_id": TEXT,
            "client_cidrs": STRINGS,
            "acme_cidrs": STRINGS,
            "admin_cidrs": STRINGS,
        },
    },
    "storage": {
        "type": "dict",
        "options": {
            "bucket": TEXT,
            "encryption": {"type": "str", "choices": ["sse_s3", "kms"], "default": "sse_s3"},
            # An id, no secret.
            "kms_key": {**TEXT, "no_log": False},
            "log_bucket": TEXT,
        },
    },
    "identity": {
        "type": "dict",
        "options": {
            "path": {"type": "str", "default": "/"},
            "permissions_boundary": TEXT,
            "acme_names": STRINGS,
            "acme_zone": TEXT,
        },
    },
    "instance": {
        "type": "dict",
        "options": {
            "type": {"type": "str", "default": "t4g.small"},
            "architecture": {"type": "str", "choices": ["arm64", "amd64"], "default": "arm64"},
            "image_provider": {"type": "str", "choices": ["parameter", "name", "id"], "default": "parameter"},
            "image_parameter": TEXT,
            "image_name": TEXT,
            "image_owner": TEXT,
            "image_id": TEXT,
            "public_key": {**TEXT, "no_log": False},
            "key_pair": {**TEXT, "no_log": False},
            "volume_gib": {"type": "int", "default": 20},
            "domain": TEXT,
            "zone": TEXT,
            "zone_private": {"type": "bool", "default": False},
            "replace": TEXT,
        },
    },
}


def main() -> None:
    module = AnsibleAWSModule(
        # Credentials come from the environment alone.
        default_args=False,
        argument_spec=ARGUMENTS,
        mutually_exclusive=[list(SECTIONS)],
        required_one_of=[list(SECTIONS)],
        supports_check_mode=True,
    )
    parameters = module.params
    section = next(name for name in SECTIONS if parameters[name] is not None)
    try:
        account = open_account(parameters["region"] or "", parameters["deployment"])
        account.removing = parameters["removing"]
        result = look(account, section, parameters[section], parameters["tags"])
    except AwsProblem as problem:
        module.fail_json(msg=str(problem), problems=[str(problem)])
    if account.problems:
        module.fail_json(msg="\n".join(account.problems), problems=account.problems)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
