#!/usr/bin/python
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_preflight
short_description: Look at an AWS account before anything is made in it
version_added: 0.1.0
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
  removing:
    description:
      - With V(true), only what carries the deployment's mark is looked up, and neither settings nor what they meet are judged, since
        what is to be removed need not be fit to be made. Questions that AWS does not answer are problems all the same.
    type: bool
    default: false
  problems:
    description:
      - Problems that the role has found in its settings already, one sentence each. They are reported first, together with what the
        account shows.
    type: list
    elements: str
    default: []
  tags:
    description:
      - Tags that the role gives to what it makes, only to be checked.
    type: dict
    default: {}
  zone_role_arn:
    description:
      - A role of the account that has the hosted zone. Route 53 is asked as this role.
    type: str
    default: ""
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
      load_balancer:
        description: The kind of load balancer that is to stand in the network, which asks for two zones and one subnet in each.
        type: str
        choices: [none, application, network]
        default: none
      load_balancer_subnet_ids:
        description: The subnets of the load balancer. When empty, those of the hosts.
        type: list
        elements: str
        default: []
      load_balancer_internal_enabled:
        description: Whether the load balancer has private addresses only, for which no subnet has to be public.
        type: bool
        default: false
      public_ip_enabled:
        description: Whether hosts have public addresses, for which their subnets have to be public.
        type: bool
        default: true
      security_group_ids:
        description: Security groups of the same VPC that hosts have in place of one that is made.
        type: list
        elements: str
        default: []
      load_balancer_security_group_ids:
        description: Security groups of the same VPC that the load balancer has in place of one that is made.
        type: list
        elements: str
        default: []
      way_out:
        description:
          - How hosts without public addresses reach what they need. By a route such as to a NAT gateway (V(nat)), by interface endpoints
            of O(network.services) (V(endpoints)), or within the network (V(none)), so that nothing is asked for.
        type: str
        choices: [nat, endpoints, none]
        default: nat
      services:
        description: The services of AWS that V(endpoints) have to serve, such as C(logs).
        type: list
        elements: str
        default: []
      instance_type:
        description: The instance type of hosts. Subnets in zones that lack it are left out, or refused where they are named.
        type: str
        default: ""
      fargate_architecture:
        description: The architecture of tasks of Fargate, which does not run in all zones. When empty, none are started.
        type: str
        choices: ["", arm64, amd64]
        default: ""
      s3_endpoint_enabled:
        description:
          - Whether there is to be a gateway endpoint of S3. When not set, and the VPC is not the deployment's own and has none, that is a
            problem, since one changes routes of others.
        type: bool
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
          - The encryption that the bucket is to have. Another one than it has is a problem.
          - With V(kms), a missing permission to see the KMS key is a problem even where O(storage.kms_key) is empty.
          - Who only uses the bucket leaves it out.
        type: str
        choices: [sse_s3, kms]
      kms_key:
        description: The id, ARN or alias (C(alias/NAME)) of a KMS key. When empty, the one that the deployment made is looked for.
        type: str
        default: ""
      log_bucket:
        description: A bucket of the same account and region for access logs, whose policy or ACL lets S3 write there.
        type: str
        default: ""
      log_prefix:
        description: What the keys of the access logs begin with.
        type: str
        default: ""
  logs:
    description:
      - Ask what the role C(aws_logs) has to know.
    type: dict
    suboptions:
      retention_days:
        description: How long CloudWatch is to keep logs.
        type: int
        default: 30
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
      given_role:
        description: The name or ARN of a role that is used in place of one that is made.
        type: str
        default: ""
      given_instance_profile:
        description: The name or ARN of an instance profile that is used in place of one that is made.
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
      elastic_ip_enabled:
        description:
          - Whether the instance keeps one public address. Then a public record of O(instance.domain) that holds any other address is
            somebody else's, and refused.
        type: bool
        default: true
      replace:
        description: The id of the deployment's instance that may be terminated and made anew.
        type: str
        default: ""
  ecs:
    description:
      - Ask what the role C(aws_ecs) has to know.
    type: dict
    suboptions:
      launch_type:
        description: Where tasks run.
        type: str
        choices: [FARGATE, EC2]
        default: FARGATE
      execution_role:
        description: The name or ARN of the role with which ECS starts tasks, in place of one that is made.
        type: str
        default: ""
      capacity_provider:
        description: The name of a capacity provider of V(EC2). When empty, none is looked for.
        type: str
        default: ""
      subnet_ids:
        description: The subnets of the tasks, in two zones at least. When empty, none are looked for.
        type: list
        elements: str
        default: []
      target_group_arn:
        description: The target group of the service, whose targets have to be addresses. When empty, none is looked for.
        type: str
        default: ""
  autoscaling:
    description:
      - Ask what the role C(aws_autoscaling) has to know. Options of the same name mean what they mean in O(instance).
    type: dict
    suboptions:
      subnet_ids:
        description: The subnets of the hosts, of at least two zones. When empty, they are not known yet and not looked at.
        type: list
        elements: str
        default: []
      type:
        description: The instance type.
        type: str
        default: t4g.small
      architecture:
        description: What all types and the image must have.
        type: str
        choices: [arm64, amd64]
        default: arm64
      spot_types:
        description: Further types.
        type: list
        elements: str
        default: []
      image_provider:
        description: As in O(instance), or V(golden), the newest image with the deployment's tag.
        type: str
        choices: [parameter, name, id, golden]
        default: parameter
      image_parameter:
        description: The parameter's path.
        type: str
        default: ""
      image_name:
        description: The image's name.
        type: str
        default: ""
      image_owner:
        description: The image's owner.
        type: str
        default: ""
      image_id:
        description: The image's id.
        type: str
        default: ""
      public_key:
        description: The text of an OpenSSH public key.
        type: str
        default: ""
      key_pair:
        description: The name of a key pair.
        type: str
        default: ""
      volume_gib:
        description: The size of the root volume in GiB.
        type: int
        default: 20
      min_hosts:
        description: The least number of hosts.
        type: int
        default: 2
      max_hosts:
        description: The greatest number of hosts.
        type: int
        default: 4
      desired_hosts:
        description: The number of hosts, or 0.
        type: int
        default: 0
      bucket:
        description: The bucket of the bundles. One that does not exist is no problem.
        type: str
        default: ""
  load_balancer:
    description:
      - Ask what the role C(aws_load_balancer) has to know.
    type: dict
    suboptions:
      type:
        description: The kind of load balancer.
        type: str
        choices: [application, network]
        default: application
      vpc_id:
        description: The VPC. When empty, it is not compared with what is there.
        type: str
        default: ""
      subnet_ids:
        description: The subnets. When empty, they are not judged.
        type: list
        elements: str
        default: []
      target_group_arn:
        description: A target group behind a load balancer that are used in place of those that are made.
        type: str
        default: ""
      internal_enabled:
        description: Whether it has private addresses only.
        type: bool
        default: false
      https_port:
        description: The port that clients use.
        type: int
        default: 443
      redirect_enabled:
        description: Whether port 80 leads to it.
        type: bool
        default: true
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
      record_enabled:
        description: Whether the record is wanted.
        type: bool
        default: true
      certificate_provider:
        description: Where the certificate comes from.
        type: str
        choices: [given, request, import, iam]
        default: given
      certificate_arn:
        description: The certificate of V(given).
        type: str
        default: ""
      certificate:
        description: The PEM text of the certificate of V(import) and V(iam), without its key.
        type: str
        default: ""
      chain:
        description: The PEM text of its chain.
        type: str
        default: ""
      certificate_zone:
        description: The public hosted zone in which V(request) proves whose domain it is. When empty, O(load_balancer.zone).
        type: str
        default: ""
      tls_policy:
        description: The security policy of the listener.
        type: str
        default: ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09
      target_type:
        description: How targets are named.
        type: str
        choices: [instance, ip]
        default: instance
      target_port:
        description: The port of the targets.
        type: int
        default: 443
      health_path:
        description: What the health check asks for.
        type: str
        default: /healthz
      health_interval_seconds:
        description: Time between health checks.
        type: int
        default: 10
      health_timeout_seconds:
        description: Time for an answer to a health check.
        type: int
        default: 5
      healthy_count:
        description: Health checks that have to succeed.
        type: int
        default: 2
      unhealthy_count:
        description: Health checks that have to fail.
        type: int
        default: 3
      drain_seconds:
        description: Time for requests of a target that goes.
        type: int
        default: 300
      idle_timeout_seconds:
        description: Time without a byte after which a connection is closed.
        type: int
        default: 900
      http2_enabled:
        description: Whether clients may use HTTP/2.
        type: bool
        default: false
      log_bucket:
        description: A bucket of the same region for access logs.
        type: str
        default: ""
      log_prefix:
        description: The prefix of access logs.
        type: str
        default: ""
      deletion_protection_enabled:
        description: Whether AWS refuses to delete it.
        type: bool
        default: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - drydock.registry.aws_account
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
    C(route53:ListHostedZonesByName) and C(route53:ListResourceRecordSets);
  - for O(load_balancer) C(elasticloadbalancing:DescribeLoadBalancers), C(elasticloadbalancing:DescribeLoadBalancerAttributes),
    C(elasticloadbalancing:DescribeListeners), C(elasticloadbalancing:DescribeTargetGroups),
    C(elasticloadbalancing:DescribeTargetGroupAttributes), C(elasticloadbalancing:DescribeTags),
    C(elasticloadbalancing:DescribeSSLPolicies), C(ec2:DescribeSubnets), C(acm:ListCertificates), C(acm:ListTagsForCertificate),
    C(iam:ListServerCertificates), and where they are used C(acm:DescribeCertificate), C(iam:GetServerCertificate),
    C(s3:ListBucket) and C(s3:GetBucketPolicy) of the bucket for logs, C(route53:ListHostedZonesByName) and
    C(route53:ListResourceRecordSets);
  - for O(ecs) C(ecs:DescribeClusters), C(ecs:DescribeServices), C(ecs:DescribeTaskDefinition), C(secretsmanager:DescribeSecret),
    C(logs:DescribeLogGroups), C(logs:ListTagsForResource), C(iam:GetRole), C(iam:ListAttachedRolePolicies), C(iam:GetPolicy),
    C(iam:GetPolicyVersion), C(application-autoscaling:DescribeScalableTargets), C(application-autoscaling:DescribeScalingPolicies),
    and where they are used C(ec2:DescribeSubnets), C(elasticloadbalancing:DescribeTargetGroups), C(ecs:DescribeCapacityProviders), and
    with O(removing=true) C(ecs:ListTaskDefinitions).
  - for O(autoscaling) C(ec2:DescribeSubnets), C(ec2:DescribeInstanceTypes), C(ec2:DescribeImages), C(ec2:DescribeKeyPairs),
    C(ec2:DescribeLaunchTemplates), C(ec2:DescribeLaunchTemplateVersions), C(autoscaling:DescribeAutoScalingGroups),
    C(autoscaling:DescribeInstanceRefreshes), C(autoscaling:DescribeLifecycleHooks), C(autoscaling:DescribePolicies),
    C(cloudwatch:DescribeAlarms), C(ec2:DescribeInstances), C(s3:ListBucket), C(s3:GetObject),
    C(s3:GetEncryptionConfiguration), and where it is used C(ssm:GetParameter).
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
vpc_cidrs:
  description: All of its IPv4 networks.
  returned: with O(network)
  type: list
  elements: str
  sample: [10.60.0.0/16]
subnets:
  description:
    - The subnets of hosts, in the order of O(network.subnet_ids), else by zone. Each has C(id), C(zone), C(cidr) and C(public), which
      says whether its default route leads to an internet gateway. Of an own VPC, all subnets of the deployment.
  returned: with O(network)
  type: list
  elements: dict
  sample: [{id: subnet-0123456789abcdef0, zone: eu-central-1a, cidr: 10.60.0.0/24, public: true}]
load_balancer_subnets:
  description: The subnets of the load balancer, likewise. Empty for an own VPC, where they are some of RV(plan).
  returned: with O(network)
  type: list
  elements: dict
plan:
  description:
    - For an own VPC, one subnet of each kind for each of RV(zones), each with C(id), C(zone), C(cidr) and C(public). One that is there
      keeps its network. One that is to be made has an empty C(id) and the next free sixteenth of the VPC's network.
  returned: with O(network)
  type: list
  elements: dict
route_table_ids:
  description: The route tables of these subnets; of an own VPC, those of the deployment.
  returned: with O(network)
  type: list
  elements: str
private_route_table_id:
  description: The route table of an own VPC's private subnets, or nothing.
  returned: with O(network)
  type: str
nat_gateway_ids:
  description: The deployment's NAT gateways.
  returned: with O(network)
  type: list
  elements: str
nat_addresses:
  description: The Elastic IPs that the deployment has for a NAT gateway, each with C(allocation_id), C(public_ip) and C(tags).
  returned: with O(network)
  type: list
  elements: dict
endpoints_security_group_id:
  description: The security group of the deployment's interface endpoints.
  returned: with O(network)
  type: str
services:
  description: The services of O(network.services), and what Fargate needs besides in the region.
  returned: with O(network)
  type: list
  elements: str
service_names:
  description: What endpoints of services are called, of those that are to be made.
  returned: with O(network)
  type: dict
  sample: {logs: com.amazonaws.eu-central-1.logs}
endpoints:
  description: The VPC's interface endpoints by their service, each with C(id) and C(ours).
  returned: with O(network)
  type: dict
  sample: {logs: {id: vpce-0123456789abcdef0, ours: true}}
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
  description: The deployment's security groups in all VPCs of the region, in an order in which they can be deleted.
  returned: with O(network)
  type: list
  elements: str
load_balancer_security_group_id:
  description: The security group of the deployment's load balancer in this VPC, or nothing.
  returned: with O(network)
  type: str
default_security_group_id:
  description: The VPC's default security group.
  returned: with O(network)
  type: str
internet_gateway_id:
  description: The VPC's internet gateway, or nothing.
  returned: with O(network)
  type: str
s3_endpoint:
  description: The VPC's gateway endpoint for S3, with C(id) (empty when there is none), C(ours), C(tags), and C(route_table_ids), those
    that have any such endpoint.
  returned: with O(network)
  type: dict
  sample: {id: "", ours: false, tags: {}, route_table_ids: []}
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
    - With O(load_balancer), C(record) is an alias of this deployment, with C(dns_name), C(zone_id) and C(evaluates).
  returned: with O(instance) and O(load_balancer)
  type: dict
load_balancer:
  description:
    - The deployment's load balancer, or V(null). It has C(arn), C(name), C(type), C(dns_name), C(canonical_zone_id), C(vpc_id),
      C(internal), C(subnet_ids), C(security_group_ids), C(tags), and C(differences), the attributes and listeners that are not as set.
  returned: with O(load_balancer)
  type: dict
target_group:
  description: Its target group, or V(null), with C(arn), C(name), C(tags), and C(differences), what is not as set.
  returned: with O(load_balancer)
  type: dict
certificate:
  description:
    - The certificate that is to be used, with C(arn) (empty when it is still to be made), C(name), C(status), and C(private_ca), the CA
      that clients have to be told to trust.
    - With V(request), C(records) are those that prove whose domain it is, each with C(name), C(value) and C(status), V(there) or
      V(missing).
  returned: with O(load_balancer)
  type: dict
stale_certificates:
  description:
    - Certificates of the deployment that are not to be used any more, each with C(provider) (V(acm) or V(iam)), C(arn) and C(name).
  returned: with O(load_balancer)
  type: list
  elements: dict
certificate_zone:
  description: The hosted zone for C(records), with C(id) and C(name), both empty when there is none.
  returned: with O(load_balancer)
  type: dict
elastic_ip:
  description: The deployment's address, with C(allocation_id), C(public_ip), C(association_id), C(instance_id) and C(tags), or V(null).
  returned: with O(instance)
  type: dict
cluster:
  description:
    - The cluster of RV(name) as ECS describes it, or an empty dictionary. Its C(tags) are a dictionary.
  returned: with O(ecs)
  type: dict
service:
  description:
    - The service of RV(name) as ECS describes it, or an empty dictionary. Its C(tags) are a dictionary, its C(taskDefinition) is
      C(FAMILY:REVISION), and events and deployments are left out.
  returned: with O(ecs)
  type: dict
task_definition:
  description:
    - The task definition that the service has, else the newest of the family RV(name), as ECS describes it, or an empty dictionary.
  returned: with O(ecs)
  type: dict
task_definition_arns:
  description: With O(removing=true), the ARNs of all active task definitions of the family.
  returned: with O(ecs)
  type: list
  elements: str
secrets:
  description:
    - The secrets with the tasks' files by name, each with C(name), C(arn), C(ours), C(content) (a checksum that a tag holds),
      C(version), C(deleted), C(kms_key) and C(tags). What they hold is not read.
  returned: with O(ecs)
  type: dict
log_group:
  description: The log group, with C(name) (empty when there is none), C(ours), C(retention_days) and C(tags).
  returned: with O(ecs) and O(logs)
  type: dict
execution_role:
  description:
    - The role with which ECS starts tasks, with C(name), C(arn) (both empty when there is none), C(ours), C(policies), C(trust) and
      C(tags).
  returned: with O(ecs)
  type: dict
execution_policy:
  description: Its policy, with C(arn) (empty when there is none), C(ours) and C(document).
  returned: with O(ecs)
  type: dict
scaling:
  description: How the service scales, with C(min), C(max) and C(policies), by name the configuration of each.
  returned: with O(ecs)
  type: dict
bucket:
  description:
    - The bucket of the bundles, with C(exists), C(encryption) as RV(encryption), C(bundles), the hashes of those that it holds (the
      newest last), and C(live), with C(sha256), C(algorithm) and C(kms_key_arn) of C(live.json), or an empty dictionary.
  returned: with O(autoscaling)
  type: dict
template:
  description:
    - The launch template of RV(name), with C(id), C(ours), C(tags), C(default_version) and C(versions), each with C(number),
      C(description), C(image_id), C(bundle) and C(collection_version), or V(null).
  returned: with O(autoscaling)
  type: dict
group:
  description:
    - The Auto Scaling group of RV(name), with C(ours), C(deleting), C(desired_hosts), C(template_version), C(settings) as the role
      writes them, and C(instances), each with C(id), C(state), C(health) and C(template_version), or V(null).
  returned: with O(autoscaling)
  type: dict
golden_images:
  description: The images with the deployment's tag, the newest last, each with C(id), C(architecture), C(state), C(bundle) and
    C(base_image).
  returned: with O(autoscaling)
  type: list
  elements: dict
refresh:
  description: The id of an instance refresh that goes on, or nothing.
  returned: with O(autoscaling)
  type: str
policies:
  description: The group's scaling policies, by name, as the role writes them.
  returned: with O(autoscaling)
  type: dict
alarms:
  description: The deployment's alarms, by name, as the role writes them.
  returned: with O(autoscaling)
  type: dict
"""

from typing import Any

from ansible_collections.drydock.registry.plugins.module_utils._aws_account import AwsProblem
from ansible_collections.drydock.registry.plugins.module_utils._aws_module import account_of, aws_module
from ansible_collections.drydock.registry.plugins.module_utils._aws_preflight import SECTIONS, look

STRINGS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
TEXT: dict[str, Any] = {"type": "str", "default": ""}

ARGUMENTS: dict[str, Any] = {
    "deployment": {"type": "str", "required": True},
    "removing": {"type": "bool", "default": False},
    "problems": STRINGS,
    "zone_role_arn": TEXT,
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
            "load_balancer": {"type": "str", "choices": ["none", "application", "network"], "default": "none"},
            "load_balancer_subnet_ids": STRINGS,
            "load_balancer_internal_enabled": {"type": "bool", "default": False},
            "public_ip_enabled": {"type": "bool", "default": True},
            "security_group_ids": STRINGS,
            "load_balancer_security_group_ids": STRINGS,
            "way_out": {"type": "str", "choices": ["nat", "endpoints", "none"], "default": "nat"},
            "services": STRINGS,
            "instance_type": TEXT,
            "fargate_architecture": {"type": "str", "choices": ["", "arm64", "amd64"], "default": ""},
            "s3_endpoint_enabled": {"type": "bool"},
        },
    },
    "storage": {
        "type": "dict",
        "options": {
            "bucket": TEXT,
            "encryption": {"type": "str", "choices": ["sse_s3", "kms"]},
            # An id, no secret.
            "kms_key": {**TEXT, "no_log": False},
            "log_bucket": TEXT,
            "log_prefix": TEXT,
        },
    },
    "logs": {
        "type": "dict",
        "options": {"retention_days": {"type": "int", "default": 30}},
    },
    "identity": {
        "type": "dict",
        "options": {
            "path": {"type": "str", "default": "/"},
            "permissions_boundary": TEXT,
            "given_role": TEXT,
            "given_instance_profile": TEXT,
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
            "elastic_ip_enabled": {"type": "bool", "default": True},
            "replace": TEXT,
        },
    },
    "load_balancer": {
        "type": "dict",
        "options": {
            "type": {"type": "str", "choices": ["application", "network"], "default": "application"},
            "vpc_id": TEXT,
            "subnet_ids": STRINGS,
            "target_group_arn": TEXT,
            "internal_enabled": {"type": "bool", "default": False},
            "https_port": {"type": "int", "default": 443},
            "redirect_enabled": {"type": "bool", "default": True},
            "domain": TEXT,
            "zone": TEXT,
            "zone_private": {"type": "bool", "default": False},
            "record_enabled": {"type": "bool", "default": True},
            "certificate_provider": {
                "type": "str",
                "choices": ["given", "request", "import", "iam"],
                "default": "given",
            },
            "certificate_arn": TEXT,
            "certificate": TEXT,
            "chain": TEXT,
            "certificate_zone": TEXT,
            "tls_policy": {"type": "str", "default": "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"},
            "target_type": {"type": "str", "choices": ["instance", "ip"], "default": "instance"},
            "target_port": {"type": "int", "default": 443},
            "health_path": {"type": "str", "default": "/healthz"},
            "health_interval_seconds": {"type": "int", "default": 10},
            "health_timeout_seconds": {"type": "int", "default": 5},
            "healthy_count": {"type": "int", "default": 2},
            "unhealthy_count": {"type": "int", "default": 3},
            "drain_seconds": {"type": "int", "default": 300},
            "idle_timeout_seconds": {"type": "int", "default": 900},
            "http2_enabled": {"type": "bool", "default": False},
            "log_bucket": TEXT,
            "log_prefix": TEXT,
            "deletion_protection_enabled": {"type": "bool", "default": True},
        },
    },
    "ecs": {
        "type": "dict",
        "options": {
            "launch_type": {"type": "str", "choices": ["FARGATE", "EC2"], "default": "FARGATE"},
            "capacity_provider": TEXT,
            "execution_role": TEXT,
            "subnet_ids": STRINGS,
            "target_group_arn": TEXT,
        },
    },
    "autoscaling": {
        "type": "dict",
        "options": {
            "subnet_ids": STRINGS,
            "type": {"type": "str", "default": "t4g.small"},
            "architecture": {"type": "str", "choices": ["arm64", "amd64"], "default": "arm64"},
            "spot_types": STRINGS,
            "image_provider": {"type": "str", "choices": ["parameter", "name", "id", "golden"], "default": "parameter"},
            "image_parameter": TEXT,
            "image_name": TEXT,
            "image_owner": TEXT,
            "image_id": TEXT,
            "public_key": {**TEXT, "no_log": False},
            "key_pair": {**TEXT, "no_log": False},
            "volume_gib": {"type": "int", "default": 20},
            "min_hosts": {"type": "int", "default": 2},
            "max_hosts": {"type": "int", "default": 4},
            "desired_hosts": {"type": "int", "default": 0},
            "bucket": TEXT,
        },
    },
}


def main() -> None:
    module = aws_module(ARGUMENTS, mutually_exclusive=[list(SECTIONS)], required_one_of=[list(SECTIONS)])
    parameters = module.params
    section = next(name for name in SECTIONS if parameters[name] is not None)
    try:
        account = account_of(module)
        account.removing = parameters["removing"]
        result = look(account, section, parameters[section], parameters["tags"])
        problems = account.problems
    except AwsProblem as problem:
        problems = [str(problem)]
    problems = parameters["problems"] + problems
    if problems:
        module.fail_json(msg="\n".join(problems), problems=problems)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
