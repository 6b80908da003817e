# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The IAM policies of whoever deploys: one source for all platforms and partitions.

A role that makes another call has to find its permission here. `where` says which platforms need a statement, and, behind a plus sign, the
part without which it may be left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from ansible_collections.drydock.registry.plugins.module_utils._aws_partitions import SUFFIXES

PLATFORMS = ("ec2", "autoscaling", "ecs")
# What not every deployment has.
PARTS = {
    "own_vpc": "a VPC that is made (aws_network_provider: own)",
    "kms": "a KMS key for the images (aws_storage_encryption: kms)",
    "log_bucket": "an access log of the bucket (aws_storage_log_bucket)",
    "balancer_log": "an access log of the load balancer (aws_load_balancer_log_bucket)",
    "dns": "records in Route 53 (aws_instance_zone, aws_load_balancer_zone)",
    "zone_role": "a hosted zone of another account (aws_instance_zone_role_arn, aws_load_balancer_zone_role_arn)",
    "clients": "clients on AWS (playbooks/aws_clients.yml)",
    "given_roles": "roles of others (aws_identity_instance_profile, aws_identity_role, aws_ecs_execution_role)",
    "outputs": "what others need to know, in parameters of SSM (drydock_outputs_parameters_enabled)",
    "host_logs": "logs of hosts in CloudWatch (drydock_logs_enabled)",
    "golden_image": "a golden image for the hosts of a fleet (playbooks/golden_image.yml)",
}

Policy = dict[str, Any]


class DeployerError(ValueError):
    """Something that no policy can be made of; the text is a sentence for the user."""


class Statement(NamedTuple):
    """What a policy allows on which things, and who needs it."""

    policy: str
    sid: str
    where: str
    # The names of a service's actions, by service.
    actions: Mapping[str, str]
    # Below `arn:PARTITION:`, with {thing} for the deployment's name, and the names of buckets.
    resources: tuple[str, ...] = ("*",)
    # With {suffix} for each of what names of services end with.
    condition: Mapping[str, Mapping[str, str]] = {}


# What carries the tag of this deployment, or gets it by the call: nobody else's thing can be made ours.
OURS = {"StringLike": {"aws:ResourceTag/drydock-deployment": "{deployment}"}}
BECOMES_OURS = {"StringLike": {"aws:RequestTag/drydock-deployment": "{deployment}"}}
# Keys go by the names of the buckets that they encrypt.
_KEYS = "{deployment} {deployment}-configuration {clients_name}"
OUR_KEY = {"StringLike": {"aws:ResourceTag/drydock-deployment": _KEYS}}
NEW_KEY = {"StringLike": {"aws:RequestTag/drydock-deployment": _KEYS}}
# What EC2 tags while it makes it.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
MAKING = (
    "AllocateAddress CreateImage CreateInternetGateway CreateLaunchTemplate CreateNatGateway CreateRouteTable CreateSecurityGroup "
    "CreateSubnet CreateVpc CreateVpcEndpoint ImportKeyPair RunInstances"
)
# The settings of a bucket, and what amazon.aws reads besides.
BUCKET = (
    "CreateBucket DeleteBucket ListBucket ListBucketVersions GetBucketTagging PutBucketTagging GetBucketPolicy PutBucketPolicy "
    "GetEncryptionConfiguration PutEncryptionConfiguration GetBucketVersioning PutBucketVersioning GetLifecycleConfiguration "
    "PutLifecycleConfiguration GetBucketLogging PutBucketLogging GetBucketPublicAccessBlock PutBucketPublicAccessBlock "
    "GetBucketOwnershipControls PutBucketOwnershipControls GetBucketAcl GetBucketRequestPayment GetAccelerateConfiguration "
    "GetBucketObjectLockConfiguration GetInventoryConfiguration"
)
# A role, its policies and its instance profile.
ROLE = (
    "GetRole CreateRole DeleteRole TagRole UntagRole UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy PutRolePermissionsBoundary "
    "ListAttachedRolePolicies AttachRolePolicy DetachRolePolicy ListRolePolicies DeleteRolePolicy ListRoleTags ListInstanceProfilesForRole "
    "GetPolicyVersion ListPolicyVersions CreatePolicy CreatePolicyVersion SetDefaultPolicyVersion DeletePolicyVersion DeletePolicy "
    "TagPolicy UntagPolicy ListPolicyTags ListEntitiesForPolicy GetInstanceProfile CreateInstanceProfile DeleteInstanceProfile "
    "AddRoleToInstanceProfile RemoveRoleFromInstanceProfile TagInstanceProfile UntagInstanceProfile ListInstanceProfileTags"
)
# What makes somebody an administrator, unless a boundary is demanded.
BOUNDED = ("CreateRole", "PutRolePermissionsBoundary", "AttachRolePolicy", "DetachRolePolicy")
CLIENTS = "ec2+clients autoscaling+clients ecs+clients"


def _via(*services: str) -> Mapping[str, Mapping[str, str]]:
    """Only through a service, in any region."""
    return {"StringLike": {"kms:ViaService": " ".join(f"{service}.*.{{suffix}}" for service in services)}}


def _passed_to(*services: str) -> Mapping[str, Mapping[str, str]]:
    return {"StringEquals": {"iam:PassedToService": " ".join(f"{service}.{{suffix}}" for service in services)}}


STATEMENTS = (
    # ----- where it stands, and its name --------------------------------------------------------
    Statement(
        "network",
        "LookAtNetwork",
        "ec2 autoscaling ecs",
        {
            "ec2": "DescribeAddresses DescribeAvailabilityZones DescribeInstanceTypeOfferings DescribeInternetGateways DescribeNatGateways "
            "DescribeNetworkInterfaces DescribeRouteTables DescribeSecurityGroups DescribeSubnets DescribeTags DescribeVpcAttribute "
            "DescribeVpcEndpointServices DescribeVpcEndpoints DescribeVpcs"
        },
    ),
    Statement(
        "network",
        "Network",
        "ec2 autoscaling ecs",
        {
            "ec2": "CreateSecurityGroup DeleteSecurityGroup AuthorizeSecurityGroupIngress AuthorizeSecurityGroupEgress "
            "RevokeSecurityGroupIngress RevokeSecurityGroupEgress UpdateSecurityGroupRuleDescriptionsIngress CreateVpcEndpoint "
            "DeleteVpcEndpoints"
        },
    ),
    Statement(
        "network",
        "TagNew",
        "ec2 autoscaling ecs",
        {"ec2": "CreateTags"},
        ("ec2:*:*:*/*",),
        {"StringEquals": {"ec2:CreateAction": MAKING}, **BECOMES_OURS},
    ),
    Statement(
        "network",
        "TagOwn",
        "ec2 autoscaling ecs",
        {"ec2": "CreateTags DeleteTags"},
        ("ec2:*:*:*/*",),
        OURS,
    ),
    # Modules of amazon.aws make these first and tag them then.
    Statement(
        "network",
        "TagUntagged",
        "ec2+own_vpc autoscaling+own_vpc ecs+own_vpc",
        {"ec2": "CreateTags"},
        ("ec2:*:*:internet-gateway/*", "ec2:*:*:route-table/*"),
        {"Null": {"aws:ResourceTag/drydock-deployment": "true"}, **BECOMES_OURS},
    ),
    Statement(
        "network",
        "OwnVpc",
        "ec2+own_vpc autoscaling+own_vpc ecs+own_vpc",
        {
            "ec2": "CreateVpc ModifyVpcAttribute DeleteVpc CreateInternetGateway AttachInternetGateway DetachInternetGateway "
            "DeleteInternetGateway CreateSubnet ModifySubnetAttribute DeleteSubnet CreateRouteTable CreateRoute ReplaceRoute "
            "AssociateRouteTable DisassociateRouteTable DeleteRouteTable"
        },
    ),
    # A NAT gateway with its address, or interface endpoints under the services' usual names.
    Statement(
        "network",
        "OwnWayOut",
        "ec2+own_vpc autoscaling+own_vpc ecs+own_vpc",
        {
            "ec2": "CreateNatGateway DeleteNatGateway AllocateAddress ReleaseAddress",
            "route53": "AssociateVPCWithHostedZone",
        },
    ),
    Statement(
        "network",
        "FindZone",
        "ec2+dns autoscaling+dns ecs+dns",
        {"route53": "ListHostedZonesByName"},
    ),
    Statement(
        "network",
        "Name",
        "ec2+dns autoscaling+dns ecs+dns",
        {"route53": "ListResourceRecordSets ChangeResourceRecordSets"},
        ("route53:::hostedzone/*",),
    ),
    Statement(
        "network",
        "Change",
        "ec2+dns autoscaling+dns ecs+dns",
        {"route53": "GetChange"},
        ("route53:::change/*",),
    ),
    Statement(
        "network",
        "TakeZoneRole",
        "ec2+zone_role autoscaling+zone_role ecs+zone_role",
        {"sts": "AssumeRole"},
        ("{zone_role}",),
    ),
    Statement(
        "network",
        "Outputs",
        "ec2+outputs autoscaling+outputs ecs+outputs",
        {"ssm": "GetParametersByPath PutParameter AddTagsToResource DeleteParameters"},
        ("ssm:*:*:parameter/drydock/{deployment}", "ssm:*:*:parameter/drydock/{deployment}/*"),
    ),
    # ----- images, and who may use them ---------------------------------------------------------
    Statement(
        "storage",
        "LookAtStorage",
        "ec2 autoscaling ecs",
        {"iam": "GetPolicy ListPolicies", "s3": "ListAllMyBuckets"},
    ),
    Statement("storage", "Bucket", "ec2 autoscaling ecs", {"s3": BUCKET}, ("s3:::{images}",)),
    Statement(
        "storage",
        "EmptyBucket",
        "ec2 autoscaling ecs",
        {"s3": "DeleteObject DeleteObjectVersion"},
        ("s3:::{images}/*",),
    ),
    Statement(
        "storage",
        "LogBucket",
        "ec2+log_bucket autoscaling+log_bucket ecs+log_bucket",
        {"s3": "ListBucket GetBucketAcl GetBucketPolicy GetEncryptionConfiguration"},
        ("s3:::{log}",),
    ),
    Statement(
        "storage",
        "Key",
        # The bucket that hosts of a fleet set themselves up from always has a key.
        "ec2+kms autoscaling ecs+kms",
        {
            "kms": "CreateKey ListAliases DescribeKey ListResourceTags GetKeyRotationStatus GetKeyPolicy ListKeyPolicies "
            "ListGrants CreateAlias EnableKeyRotation"
        },
    ),
    Statement(
        "storage",
        "OwnKey",
        "ec2+kms autoscaling ecs+kms",
        {"kms": "ScheduleKeyDeletion CancelKeyDeletion EnableKey UpdateKeyDescription TagResource"},
        condition=OUR_KEY,
    ),
    # With the call that makes it.
    Statement("storage", "TagNewKey", "ec2+kms autoscaling ecs+kms", {"kms": "TagResource"}, condition=NEW_KEY),
    Statement(
        "storage",
        "Role",
        "ec2 autoscaling ecs",
        {"iam": ROLE},
        ("iam::*:role/{thing}-*", "iam::*:policy/{thing}-*", "iam::*:instance-profile/{thing}-*"),
    ),
    Statement(
        "storage",
        "PassRoleToHosts",
        "ec2 autoscaling",
        {"iam": "PassRole"},
        ("iam::*:role/{thing}-*",),
        _passed_to("ec2"),
    ),
    Statement(
        "storage",
        "PassRoleToTasks",
        "ecs",
        {"iam": "PassRole"},
        ("iam::*:role/{thing}-*",),
        _passed_to("ecs-tasks"),
    ),
    # Roles that are used as they are, under any path.
    Statement(
        "storage",
        "LookAtGivenRoles",
        "ec2+given_roles autoscaling+given_roles ecs+given_roles",
        {"iam": "GetInstanceProfile GetRole"},
        ("iam::*:instance-profile/*", "iam::*:role/*"),
    ),
    Statement(
        "storage",
        "PassGivenRoles",
        "ec2+given_roles autoscaling+given_roles ecs+given_roles",
        {"iam": "PassRole"},
        (
            "iam::*:role/{given_role}",
            "iam::*:role/*/{given_role}",
            "iam::*:role/{given_execution_role}",
            "iam::*:role/*/{given_execution_role}",
        ),
        _passed_to("ec2", "ecs-tasks"),
    ),
    # ----- the script for clients on AWS --------------------------------------------------------
    # They have a name of their own, since no teardown of the registry touches them.
    Statement(
        "clients",
        "ClientsRole",
        CLIENTS,
        {"iam": ROLE},
        (
            "iam::*:role/{clients_thing}-*",
            "iam::*:policy/{clients_thing}-*",
            "iam::*:instance-profile/{clients_thing}-*",
        ),
    ),
    Statement(
        "clients",
        "PassRoleToClients",
        CLIENTS,
        {"iam": "PassRole"},
        ("iam::*:role/{clients_thing}-*",),
        _passed_to("ec2"),
    ),
    Statement("clients", "ClientsBucket", CLIENTS, {"s3": BUCKET}, ("s3:::{clients}",)),
    Statement(
        "clients",
        "ClientsObject",
        CLIENTS,
        {"s3": "DeleteObject DeleteObjectVersion GetObject PutObject GetObjectTagging"},
        ("s3:::{clients}/*",),
    ),
    Statement("clients", "ClientsKey", CLIENTS, {"kms": "GenerateDataKey Decrypt"}, condition=_via("s3")),
    # ----- hosts --------------------------------------------------------------------------------
    Statement(
        "hosts",
        "LookAtHosts",
        "ec2 autoscaling",
        {
            "ec2": "DescribeAddresses DescribeIamInstanceProfileAssociations DescribeImages DescribeInstanceAttribute "
            "DescribeInstanceCreditSpecifications DescribeInstanceStatus DescribeInstanceTypes DescribeInstances DescribeKeyPairs "
            "DescribeVolumes DescribeVolumesModifications GetConsoleOutput"
        },
    ),
    Statement("hosts", "Image", "ec2 autoscaling", {"ssm": "GetParameter"}, ("ssm:*::parameter/aws/service/*",)),
    Statement(
        "hosts",
        "Launch",
        "ec2 autoscaling",
        {"ec2": "RunInstances ImportKeyPair DeleteKeyPair"},
    ),
    Statement(
        "hosts",
        "Host",
        "ec2",
        {
            "ec2": "ModifyInstanceAttribute ModifyInstanceMetadataOptions ModifyVolume AssociateIamInstanceProfile "
            "DisassociateIamInstanceProfile ReplaceIamInstanceProfileAssociation AllocateAddress AssociateAddress DisassociateAddress "
            "ReleaseAddress"
        },
    ),
    Statement(
        "hosts",
        "OwnHost",
        "ec2",
        {"ec2": "StartInstances StopInstances TerminateInstances"},
        ("ec2:*:*:instance/*",),
        {"StringLike": {"aws:ResourceTag/Name": "{thing}"}},
    ),
    # A host whose termination was refused gets back the tag that was taken from it before, and a fleet's those that somebody took.
    Statement(
        "hosts",
        "TagHost",
        "ec2 autoscaling",
        {"ec2": "CreateTags"},
        ("ec2:*:*:instance/*", "ec2:*:*:volume/*"),
        {"StringLike": {"aws:ResourceTag/Name": "{thing}", **BECOMES_OURS["StringLike"]}},
    ),
    Statement("hosts", "LookAtHostLog", "ec2+host_logs autoscaling+host_logs", {"logs": "DescribeLogGroups"}),
    Statement(
        "hosts",
        "HostLog",
        "ec2+host_logs autoscaling+host_logs",
        {
            "logs": "CreateLogGroup DeleteLogGroup ListTagsForResource ListTagsLogGroup PutRetentionPolicy TagLogGroup TagResource"
        },
        ("logs:*:*:log-group:/drydock/{thing}", "logs:*:*:log-group:/drydock/{thing}:*"),
    ),
    # ----- a load balancer ----------------------------------------------------------------------
    Statement(
        "balancer",
        "LookAtBalancer",
        "autoscaling ecs",
        {
            "acm": "ListCertificates",
            "elasticloadbalancing": "DescribeListenerAttributes DescribeListenerCertificates DescribeListeners "
            "DescribeLoadBalancerAttributes DescribeLoadBalancers DescribeRules DescribeSSLPolicies DescribeTags "
            "DescribeTargetGroupAttributes DescribeTargetGroups DescribeTargetHealth",
            "iam": "GetServerCertificate ListServerCertificates",
        },
    ),
    Statement(
        "balancer",
        "Balancer",
        "autoscaling ecs",
        {
            "elasticloadbalancing": "AddTags CreateListener CreateLoadBalancer CreateTargetGroup DeleteListener DeleteLoadBalancer "
            "DeleteTargetGroup ModifyListener ModifyLoadBalancerAttributes ModifyTargetGroup ModifyTargetGroupAttributes RemoveTags "
            "SetSecurityGroups SetSubnets"
        },
        (
            "elasticloadbalancing:*:*:loadbalancer/*/{thing}/*",
            "elasticloadbalancing:*:*:targetgroup/{thing}/*",
            "elasticloadbalancing:*:*:listener/*/{thing}/*",
        ),
    ),
    Statement(
        "balancer",
        "NewCertificate",
        "autoscaling ecs",
        {"acm": "RequestCertificate"},
        condition=BECOMES_OURS,
    ),
    Statement(
        "balancer",
        "TagNewCertificate",
        "autoscaling ecs",
        {"acm": "AddTagsToCertificate"},
        ("acm:*:*:certificate/*",),
        BECOMES_OURS,
    ),
    Statement(
        "balancer",
        "Certificate",
        "autoscaling ecs",
        {"acm": "DescribeCertificate GetCertificate ImportCertificate ListTagsForCertificate"},
        ("acm:*:*:certificate/*",),
    ),
    Statement(
        "balancer",
        "OwnCertificate",
        "autoscaling ecs",
        {"acm": "AddTagsToCertificate DeleteCertificate RemoveTagsFromCertificate"},
        ("acm:*:*:certificate/*",),
        OURS,
    ),
    Statement(
        "balancer",
        "OwnServerCertificate",
        "autoscaling ecs",
        {"iam": "DeleteServerCertificate TagServerCertificate UpdateServerCertificate UploadServerCertificate"},
        ("iam::*:server-certificate/{thing}-*/*",),
    ),
    Statement(
        "balancer",
        "BalancerLog",
        "autoscaling+balancer_log ecs+balancer_log",
        {"s3": "ListBucket GetBucketPolicy"},
        ("s3:::{balancer_log}",),
    ),
    Statement(
        "balancer",
        "BalancerServiceRole",
        "autoscaling ecs",
        {"iam": "CreateServiceLinkedRole"},
        ("iam::*:role/aws-service-role/elasticloadbalancing.amazonaws.com/*",),
    ),
    # ----- a group of hosts ---------------------------------------------------------------------
    Statement(
        "fleet",
        "LookAtFleet",
        "autoscaling",
        {
            "autoscaling": "DescribeAutoScalingGroups DescribeInstanceRefreshes DescribeLifecycleHooks "
            "DescribeLoadBalancerTargetGroups DescribePolicies DescribeTags",
            "cloudwatch": "DescribeAlarms",
            "ec2": "DescribeAccountAttributes DescribeImageAttribute DescribeLaunchTemplateVersions DescribeLaunchTemplates",
        },
    ),
    Statement(
        "fleet",
        "Template",
        "autoscaling",
        {"ec2": "CreateLaunchTemplate"},
        ("ec2:*:*:launch-template/*",),
    ),
    # The module makes it first and tags it then.
    Statement(
        "fleet",
        "TagTemplate",
        "autoscaling",
        {"ec2": "CreateTags"},
        ("ec2:*:*:launch-template/*",),
        {"Null": {"aws:ResourceTag/drydock-deployment": "true"}, **BECOMES_OURS},
    ),
    Statement(
        "fleet",
        "OwnTemplate",
        "autoscaling",
        {"ec2": "CreateLaunchTemplateVersion DeleteLaunchTemplate DeleteLaunchTemplateVersions ModifyLaunchTemplate"},
        ("ec2:*:*:launch-template/*",),
        OURS,
    ),
    Statement(
        "fleet",
        "Group",
        "autoscaling",
        {
            "autoscaling": "AttachLoadBalancerTargetGroups CancelInstanceRefresh CreateAutoScalingGroup CreateOrUpdateTags "
            "DeleteAutoScalingGroup DeletePolicy DeleteTags DetachLoadBalancerTargetGroups DisableMetricsCollection "
            "EnableMetricsCollection PutLifecycleHook PutScalingPolicy ResumeProcesses SetDesiredCapacity StartInstanceRefresh "
            "SuspendProcesses UpdateAutoScalingGroup"
        },
        ("autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{thing}",),
    ),
    Statement(
        "fleet",
        "Alarm",
        "autoscaling",
        {"cloudwatch": "DeleteAlarms ListTagsForResource PutMetricAlarm TagResource"},
        ("cloudwatch:*:*:alarm:{thing}*",),
    ),
    Statement(
        "fleet",
        "FleetServiceRoles",
        "autoscaling",
        {"iam": "CreateServiceLinkedRole"},
        (
            "iam::*:role/aws-service-role/autoscaling.amazonaws.com/*",
            "iam::*:role/aws-service-role/spot.amazonaws.com/*",
        ),
    ),
    Statement("fleet", "Configuration", "autoscaling", {"s3": BUCKET}, ("s3:::{configuration}",)),
    Statement(
        "fleet",
        "ConfigurationObjects",
        "autoscaling",
        {"s3": "DeleteObject DeleteObjectVersion GetObject GetObjectTagging PutObject"},
        ("s3:::{configuration}/*",),
    ),
    Statement("fleet", "ConfigurationKey", "autoscaling", {"kms": "GenerateDataKey Decrypt"}, condition=_via("s3")),
    Statement(
        "fleet",
        "GoldenImage",
        "autoscaling+golden_image",
        {"ec2": "CreateImage"},
        ("ec2:*:*:instance/*", "ec2:*::image/*", "ec2:*::snapshot/*"),
    ),
    Statement(
        "fleet",
        "GoldenImageBuilder",
        "autoscaling+golden_image",
        {"ec2": "TerminateInstances"},
        ("ec2:*:*:instance/*",),
        {"StringLike": {"aws:ResourceTag/Name": "{thing}-golden"}},
    ),
    # The module sets the security groups of a host that it has just started once more; they are not ours alone.
    Statement("fleet", "GoldenImageHost", "autoscaling+golden_image", {"ec2": "ModifyInstanceAttribute"}),
    Statement(
        "fleet",
        "VolumeKey",
        "autoscaling",
        {"kms": "CreateGrant Decrypt GenerateDataKeyWithoutPlaintext ReEncryptFrom ReEncryptTo"},
        condition=_via("ec2"),
    ),
    Statement(
        "fleet",
        "OwnImage",
        # The teardown deletes what was baked.
        "autoscaling",
        {"ec2": "DeleteSnapshot DeregisterImage"},
        ("ec2:*::image/*", "ec2:*::snapshot/*"),
        OURS,
    ),
    # ----- tasks --------------------------------------------------------------------------------
    Statement(
        "tasks",
        "LookAtTasks",
        "ecs",
        {
            "application-autoscaling": "DescribeScalableTargets DescribeScalingPolicies",
            "ecs": "DescribeCapacityProviders DescribeTaskDefinition ListTaskDefinitions",
            "logs": "DescribeLogGroups",
        },
    ),
    Statement(
        "tasks",
        "Service",
        "ecs",
        {
            "ecs": "CreateService DeleteCluster DeleteService DescribeClusters DescribeServices ListTagsForResource "
            "PutClusterCapacityProviders TagResource UntagResource UpdateService"
        },
        ("ecs:*:*:cluster/{thing}", "ecs:*:*:service/{thing}/{thing}", "ecs:*:*:task-definition/{thing}:*"),
    ),
    # Nothing comes to be without the tag, not even for a moment.
    Statement(
        "tasks",
        "NewCluster",
        "ecs",
        {"ecs": "CreateCluster"},
        ("ecs:*:*:cluster/{thing}",),
        BECOMES_OURS,
    ),
    Statement("tasks", "Task", "ecs", {"ecs": "DeregisterTaskDefinition RegisterTaskDefinition"}),
    Statement(
        "tasks",
        "Secret",
        "ecs",
        {
            "secretsmanager": "CreateSecret DeleteSecret DescribeSecret GetResourcePolicy GetSecretValue PutSecretValue RestoreSecret "
            "TagResource UntagResource UpdateSecret"
        },
        ("secretsmanager:*:*:secret:{thing}-ecs-*",),
    ),
    Statement(
        "tasks",
        "SecretKey",
        "ecs",
        {"kms": "Decrypt Encrypt GenerateDataKey"},
        condition=_via("secretsmanager"),
    ),
    Statement(
        "tasks",
        "Log",
        "ecs",
        {
            "logs": "CreateLogGroup DeleteLogGroup ListTagsForResource ListTagsLogGroup PutRetentionPolicy TagLogGroup TagResource"
        },
        ("logs:*:*:log-group:/drydock/{thing}", "logs:*:*:log-group:/drydock/{thing}:*"),
    ),
    Statement(
        "tasks",
        "Scaling",
        "ecs",
        {
            "application-autoscaling": "DeleteScalingPolicy DeregisterScalableTarget PutScalingPolicy RegisterScalableTarget"
        },
        condition={"StringEquals": {"application-autoscaling:service-namespace": "ecs"}},
    ),
    Statement(
        "tasks",
        "ScalingTags",
        "ecs",
        {"application-autoscaling": "ListTagsForResource"},
        ("application-autoscaling:*:*:scalable-target/*",),
    ),
    Statement(
        "tasks",
        "TagScaling",
        "ecs",
        {"application-autoscaling": "TagResource"},
        ("application-autoscaling:*:*:scalable-target/*",),
        BECOMES_OURS,
    ),
    Statement(
        "tasks",
        "ScalingAlarms",
        "ecs",
        {"cloudwatch": "DeleteAlarms DescribeAlarms PutMetricAlarm"},
        ("cloudwatch:*:*:alarm:TargetTracking-service/{thing}/*",),
    ),
    Statement(
        "tasks",
        "TasksServiceRoles",
        "ecs",
        {"iam": "CreateServiceLinkedRole"},
        (
            "iam::*:role/aws-service-role/ecs.amazonaws.com/*",
            "iam::*:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/*",
        ),
    ),
)


def deployer_policies(
    platform: str,
    buckets: Mapping[str, str],
    partition: str = "aws",
    deployment: str = "",
    parts: Collection[str] = (),
    permissions_boundary: str = "",
) -> dict[str, Policy]:
    """What the caller of provision.yml and teardown.yml needs for a platform, as policies by name. `buckets` has their names by their use.

    Without a deployment's name, they are for all deployments of the account.
    """
    for what, value, known in (
        ("platform", [platform], PLATFORMS),
        ("partition", [partition], SUFFIXES),
        ("parts", parts, PARTS),
    ):
        unknown = sorted(set(value) - set(known))
        if unknown:
            raise DeployerError(f"The {what} {', '.join(unknown)} is not known: write {', '.join(known)}.")
    names = {
        "thing": f"{deployment or '*'}-registry",
        "deployment": deployment or "*",
        "clients_name": f"{deployment}-clients" if deployment else "*",
        "clients_thing": f"{deployment or '*'}{'-clients' if deployment else ''}-registry",
        **{use: name for use, name in buckets.items() if name},
    }
    policies: dict[str, Policy] = {}
    for statement in STATEMENTS:
        if _is_needed(statement, platform, parts):
            policy = policies.setdefault(statement.policy, {"Version": "2012-10-17", "Statement": []})
            written = _written(statement, names, partition)
            bounded = permissions_boundary if BOUNDED[0] in statement.actions.get("iam", "").split() else ""
            policy["Statement"] += _bounded(written, bounded) if bounded else [written]
    return policies


def _is_needed(statement: Statement, platform: str, parts: Collection[str]) -> bool:
    places = (place.partition("+") for place in statement.where.split())
    return any(name == platform and (not part or part in parts) for name, _plus, part in places)


def _written(statement: Statement, names: Mapping[str, str], partition: str) -> dict[str, Any]:
    try:
        resources = [each.format(**names) for each in statement.resources]
    except KeyError as missing:
        raise DeployerError(f"The bucket for {missing.args[0]} has no name: write it.") from missing
    written: dict[str, Any] = {
        "Sid": statement.sid,
        "Effect": "Allow",
        "Action": [f"{service}:{name}" for service, listed in statement.actions.items() for name in listed.split()],
        "Resource": _short(
            [each if each.startswith(("*", "arn:")) else f"arn:{partition}:{each}" for each in resources]
        ),
    }
    if statement.condition:
        written["Condition"] = {
            operator: {key: _short(list(_values(value, names, partition))) for key, value in tests.items()}
            for operator, tests in statement.condition.items()
        }
    return written


def _values(value: str, names: Mapping[str, str], partition: str) -> Iterator[str]:
    for each in value.split():
        if "{suffix}" in each:
            # Services go by their commercial name in some places of every partition, and by the partition's own in others.
            suffixes = dict.fromkeys((SUFFIXES["aws"], SUFFIXES[partition]))
            yield from (each.format(suffix=suffix, **names) for suffix in suffixes)
        else:
            yield each.format(**names)


def _short(values: list[str]) -> Any:
    # What stands for anything stands for all of them.
    values = ["*"] if "*" in values else list(dict.fromkeys(values))
    return values[0] if len(values) == 1 else values


def _bounded(written: dict[str, Any], boundary: str) -> list[dict[str, Any]]:
    """What makes roles powerful stands by itself, for roles with a boundary only."""
    bounded = [f"iam:{name}" for name in BOUNDED]
    condition = {"StringEquals": {"iam:PermissionsBoundary": boundary}}
    return [
        {**written, "Action": [action for action in written["Action"] if action not in bounded]},
        {**written, "Sid": f"Bounded{written['Sid']}", "Action": bounded, "Condition": condition},
    ]
