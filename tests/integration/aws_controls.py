# SPDX-License-Identifier: GPL-3.0-or-later
"""Security controls of AWS's Security Hub, asked of a deployment through the AWS API.

One function for each control that docs/aws.md says we set, by the number that AWS gave it. A function raises AssertionError with a
sentence when the control would fail. The functions read settings; what AWS makes of them, they do not see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from botocore.exceptions import ClientError

TAG = "drydock-deployment"
# EC2.18: the ports that may be open to everybody.
OPEN_PORTS = {80, 443}
# EC2.19: the ports that may not.
RISKY_PORTS = {
    *(20, 21, 22, 23, 25, 110, 135, 143, 445, 1433, 1434, 3000, 3306, 3389),
    *(4333, 5000, 5432, 5500, 5601, 8080, 8088, 8888, 9200, 9300),
}
# S3.6: what a bucket's policy may not allow to another account.
RESERVED_ACTIONS = (
    "s3:DeleteBucketPolicy",
    "s3:PutBucketAcl",
    "s3:PutBucketPolicy",
    "s3:PutEncryptionConfiguration",
    "s3:PutObjectAcl",
)
EVERYBODY = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)


@dataclass(frozen=True)
class Deployment:
    """What was made, and how to ask AWS about it: `client` takes a service's name and returns boto3's client."""

    client: Callable[[str], Any]
    bucket: str
    role: str
    instance: str
    security_group: str
    vpc: str


Subject = TypeVar("Subject")


class Controls(dict[str, Callable[[Subject], None]]):
    """Checks by the numbers of their controls."""

    def control(self, number: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
        """Register a check under the number of its control."""

        def register(check: Callable[[Subject], None]) -> Callable[[Subject], None]:
            assert number not in self, number
            self[number] = check
            return check

        return register

    def failures(self, subject: Subject, numbers: Iterable[str]) -> dict[str, str]:
        """Return the sentences of the controls that would fail."""
        said = {}
        for number in numbers:
            try:
                self[number](subject)
            except AssertionError as problem:
                said[number] = str(problem)
        return said


CONTROLS: Controls[Deployment] = Controls()
control = CONTROLS.control


def failures(deployment: Deployment, beginnings: tuple[str, ...] = ("",)) -> dict[str, str]:
    """Return the sentences of the controls that would fail, of those whose numbers begin so."""
    return CONTROLS.failures(deployment, [number for number in CONTROLS if number.startswith(beginnings)])


# --- Asking ------------------------------------------------------------------------------------------------------


def setting(ask: Callable[..., dict[str, Any]], missing: str, **arguments: Any) -> dict[str, Any]:
    """Return an answer, or nothing when AWS says with this code that the setting was never made."""
    try:
        return ask(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] != missing:
            raise
        return {}


def items(value: Any) -> list[Any]:
    """Return what a policy may write as one thing or as a list of things as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def statements(document: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a policy."""
    read = json.loads(document) if isinstance(document, str) else document
    return items(read.get("Statement"))


def allowed(document: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a policy that allow something."""
    return [statement for statement in statements(document) if statement["Effect"] == "Allow"]


def principals(statement: Mapping[str, Any]) -> list[str]:
    """Return the AWS principals of a statement; AWS's own services are none."""
    principal = statement.get("Principal", {})
    return [principal] if isinstance(principal, str) else items(principal.get("AWS"))


def bucket_policy(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the statements of the bucket's policy."""
    ask = deployment.client("s3").get_bucket_policy
    answer = setting(ask, "NoSuchBucketPolicy", Bucket=deployment.bucket)
    return statements(answer.get("Policy", "{}"))


def public_access_block(deployment: Deployment) -> dict[str, bool]:
    """Return the four switches of the bucket, off where they were never set."""
    ask = deployment.client("s3").get_public_access_block
    answer = setting(ask, "NoSuchPublicAccessBlockConfiguration", Bucket=deployment.bucket)
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    switches = answer.get("PublicAccessBlockConfiguration", {})
    return {name: bool(switches.get(name)) for name in names}


def granted_to_everybody(deployment: Deployment, permissions: set[str], actions: Iterable[str]) -> list[str]:
    """Return what the bucket's ACL and policy give to everybody, and no switch takes back."""
    switches = public_access_block(deployment)
    grants, policy = [], []
    if not switches["IgnorePublicAcls"]:
        grants = deployment.client("s3").get_bucket_acl(Bucket=deployment.bucket)["Grants"]
    if not switches["RestrictPublicBuckets"]:
        policy = [
            statement
            for statement in bucket_policy(deployment)
            if statement["Effect"] == "Allow" and "*" in principals(statement)
        ]
    return [
        f"the ACL's {grant['Permission']}"
        for grant in grants
        if grant["Grantee"].get("URI") in EVERYBODY and grant["Permission"] in {*permissions, "FULL_CONTROL"}
    ] + [f"the policy's {action}" for statement in policy for action in actions if covers(statement, action)]


def covers(statement: Mapping[str, Any], action: str) -> bool:
    """Tell whether a statement is about an action; names of actions are compared without their case."""
    if "NotAction" in statement:
        return not any(fnmatchcase(action.lower(), pattern.lower()) for pattern in items(statement["NotAction"]))
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in items(statement.get("Action")))


def instance(deployment: Deployment) -> dict[str, Any]:
    """Return the instance as EC2 describes it."""
    answer = deployment.client("ec2").describe_instances(InstanceIds=[deployment.instance])
    ((found,),) = (reservation["Instances"] for reservation in answer["Reservations"])
    return dict(found)


def tags(thing: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a thing."""
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}


def own_vpc(deployment: Deployment) -> bool:
    """Tell whether the VPC was made with the deployment; another one is its owner's to set."""
    (vpc,) = deployment.client("ec2").describe_vpcs(VpcIds=[deployment.vpc])["Vpcs"]
    return TAG in tags(vpc)


def open_to_everybody(deployment: Deployment) -> list[tuple[str, int, int]]:
    """Return protocol, first and last port of what the security group lets in from everywhere."""
    (group,) = deployment.client("ec2").describe_security_groups(GroupIds=[deployment.security_group])["SecurityGroups"]
    found = []
    for rule in group["IpPermissions"]:
        sources = [source["CidrIp"] for source in rule.get("IpRanges", [])]
        sources += [source["CidrIpv6"] for source in rule.get("Ipv6Ranges", [])]
        if any(source.endswith("/0") for source in sources):
            every = rule["IpProtocol"] == "-1"
            first, last = (0, 65535) if every else (rule["FromPort"], rule["ToPort"])
            found.append((rule["IpProtocol"], first, last))
    return found


def refuse_open_port(deployment: Deployment, port: int) -> None:
    """Fail when everybody reaches a port."""
    for protocol, first, last in open_to_everybody(deployment):
        assert not first <= port <= last, (
            f"The security group {deployment.security_group} opens port {port} to everybody ({protocol} {first} to {last})."
        )


def interfaces(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the instance's network interfaces."""
    chosen = [{"Name": "attachment.instance-id", "Values": [deployment.instance]}]
    found = deployment.client("ec2").describe_network_interfaces(Filters=chosen)["NetworkInterfaces"]
    assert found, f"The instance {deployment.instance} has no network interface."
    return list(found)


def own_policies(deployment: Deployment) -> dict[str, list[dict[str, Any]]]:
    """Return what the role's policies allow, by their names, but for those that AWS wrote."""
    iam = deployment.client("iam")
    found = {}
    for policy in iam.list_attached_role_policies(RoleName=deployment.role)["AttachedPolicies"]:
        arn = policy["PolicyArn"]
        if arn.split(":")[4] != "aws":
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
            found[policy["PolicyName"]] = allowed(document)
    for name in iam.list_role_policies(RoleName=deployment.role)["PolicyNames"]:
        found[name] = allowed(iam.get_role_policy(RoleName=deployment.role, PolicyName=name)["PolicyDocument"])
    assert found, f"The role {deployment.role} has no policy of its own."
    return found


# --- S3 ----------------------------------------------------------------------------------------------------------


@control("S3.2")
def nobody_reads_without_a_name(deployment: Deployment) -> None:
    """Buckets should block public read access."""
    found = granted_to_everybody(deployment, {"READ", "READ_ACP"}, ("s3:GetObject", "s3:ListBucket"))
    assert not found, f"Everybody may read in {deployment.bucket} by {', '.join(found)}."


@control("S3.3")
def nobody_writes_without_a_name(deployment: Deployment) -> None:
    """Buckets should block public write access."""
    found = granted_to_everybody(deployment, {"WRITE", "WRITE_ACP"}, ("s3:PutObject", "s3:DeleteObject"))
    assert not found, f"Everybody may write in {deployment.bucket} by {', '.join(found)}."


@control("S3.5")
def only_tls(deployment: Deployment) -> None:
    """Buckets should require requests to use TLS."""
    arn = f":s3:::{deployment.bucket}"
    for statement in bucket_policy(deployment):
        resources = [str(resource)[str(resource).find(":s3:::") :] for resource in items(statement.get("Resource"))]
        values = items(statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport"))
        if (
            statement["Effect"] == "Deny"
            and "*" in principals(statement)
            and any(action in {"s3:*", "*"} for action in items(statement.get("Action")))
            and {arn, f"{arn}/*"} <= set(resources)
            and [str(value).lower() for value in values] == ["false"]
        ):
            return
    raise AssertionError(f"The policy of {deployment.bucket} does not refuse all requests without TLS.")


@control("S3.6")
def no_reserved_action_for_other_accounts(deployment: Deployment) -> None:
    """Bucket policies should restrict access to other AWS accounts."""
    account = deployment.client("sts").get_caller_identity()["Account"]
    for statement in bucket_policy(deployment):
        if statement["Effect"] == "Allow":
            strangers = [name for name in principals(statement) if account not in {name, *name.split(":")[4:5]}]
            for action in RESERVED_ACTIONS:
                assert not (strangers and covers(statement, action)), (
                    f"The policy of {deployment.bucket} allows {action} to {', '.join(strangers)}."
                )


@control("S3.8")
def public_access_is_blocked(deployment: Deployment) -> None:
    """Buckets should block public access."""
    off = [name for name, switch in public_access_block(deployment).items() if not switch]
    assert not off, f"The bucket {deployment.bucket} has {', '.join(off)} off."


@control("S3.10")
def old_versions_expire(deployment: Deployment) -> None:
    """Buckets with versioning enabled should have lifecycle configurations; ours ends what versioning keeps."""
    if versioning(deployment) == "Enabled":
        ends = [rule for rule in lifecycle(deployment) if "NoncurrentVersionExpiration" in rule]
        assert ends, f"The bucket {deployment.bucket} keeps old versions for ever."


@control("S3.12")
def no_acls(deployment: Deployment) -> None:
    """ACLs should not be used to manage user access."""
    ask = deployment.client("s3").get_bucket_ownership_controls
    answer = setting(ask, "OwnershipControlsNotFoundError", Bucket=deployment.bucket)
    rules = answer.get("OwnershipControls", {}).get("Rules", [])
    owners = [rule["ObjectOwnership"] for rule in rules]
    assert owners == ["BucketOwnerEnforced"], (
        f"The bucket {deployment.bucket} has ACLs ({', '.join(owners) or 'by default'})."
    )


@control("S3.13")
def lifecycle_is_set(deployment: Deployment) -> None:
    """Buckets should have lifecycle configurations; ours ends uploads that broke off."""
    ends = [rule for rule in lifecycle(deployment) if "AbortIncompleteMultipartUpload" in rule]
    assert ends, f"The bucket {deployment.bucket} has no enabled lifecycle rule that ends broken uploads."


@control("S3.14")
def versions_are_kept(deployment: Deployment) -> None:
    """Buckets should have versioning enabled."""
    state = versioning(deployment)
    assert state == "Enabled", f"The bucket {deployment.bucket} has versioning {state or 'off'}."


def versioning(deployment: Deployment) -> str:
    """Return Enabled, Suspended or nothing."""
    return str(deployment.client("s3").get_bucket_versioning(Bucket=deployment.bucket).get("Status", ""))


def lifecycle(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the bucket's enabled lifecycle rules."""
    ask = deployment.client("s3").get_bucket_lifecycle_configuration
    answer = setting(ask, "NoSuchLifecycleConfiguration", Bucket=deployment.bucket)
    return [rule for rule in answer.get("Rules", []) if rule["Status"] == "Enabled"]


# --- EC2 ---------------------------------------------------------------------------------------------------------


@control("EC2.2")
def the_default_group_is_closed(deployment: Deployment) -> None:
    """VPC default security groups should not allow inbound or outbound traffic; asked of a VPC of our own."""
    if own_vpc(deployment):
        chosen = [{"Name": "vpc-id", "Values": [deployment.vpc]}, {"Name": "group-name", "Values": ["default"]}]
        (group,) = deployment.client("ec2").describe_security_groups(Filters=chosen)["SecurityGroups"]
        rules = group["IpPermissions"] + group["IpPermissionsEgress"]
        assert not rules, f"The default security group of {deployment.vpc} has {len(rules)} rules."


@control("EC2.3")
def volumes_are_encrypted(deployment: Deployment) -> None:
    """Attached EBS volumes should be encrypted at rest."""
    chosen = [{"Name": "attachment.instance-id", "Values": [deployment.instance]}]
    volumes = deployment.client("ec2").describe_volumes(Filters=chosen)["Volumes"]
    assert volumes, f"The instance {deployment.instance} has no volume."
    plain = [volume["VolumeId"] for volume in volumes if not volume["Encrypted"]]
    assert not plain, f"The volume {', '.join(plain)} of {deployment.instance} is not encrypted."


@control("EC2.4")
def the_instance_is_not_stopped(deployment: Deployment) -> None:
    """Stopped instances should be removed after a time; we leave none stopped."""
    state = instance(deployment)["State"]["Name"]
    assert state == "running", f"The instance {deployment.instance} is {state}."


@control("EC2.8")
def metadata_needs_a_token(deployment: Deployment) -> None:
    """Instances should use version 2 of the metadata service; ours let containers ask, and nobody further away."""
    options = instance(deployment)["MetadataOptions"]
    assert options["HttpTokens"] == "required", f"The metadata of {deployment.instance} needs no token."
    hops = options["HttpPutResponseHopLimit"]
    assert hops <= 2, f"The metadata of {deployment.instance} goes {hops} hops far."


@control("EC2.12")
def addresses_are_used(deployment: Deployment) -> None:
    """Unused Elastic IP addresses should be removed."""
    name = tags(instance(deployment)).get(TAG, "")
    chosen = [{"Name": f"tag:{TAG}", "Values": [name]}]
    for address in deployment.client("ec2").describe_addresses(Filters=chosen)["Addresses"]:
        assert address.get("AssociationId"), f"The address {address['PublicIp']} belongs to nothing."


@control("EC2.13")
def ssh_is_not_open(deployment: Deployment) -> None:
    """Security groups should not let everybody reach port 22."""
    refuse_open_port(deployment, 22)


@control("EC2.14")
def rdp_is_not_open(deployment: Deployment) -> None:
    """Security groups should not let everybody reach port 3389."""
    refuse_open_port(deployment, 3389)


@control("EC2.15")
def subnets_give_no_public_addresses(deployment: Deployment) -> None:
    """Subnets should not assign public addresses by themselves; asked of a VPC of our own."""
    if own_vpc(deployment):
        chosen = [{"Name": "vpc-id", "Values": [deployment.vpc]}]
        subnets = deployment.client("ec2").describe_subnets(Filters=chosen)["Subnets"]
        assert subnets, f"The VPC {deployment.vpc} has no subnet."
        giving = [
            subnet["SubnetId"]
            for subnet in subnets
            if subnet["MapPublicIpOnLaunch"] or subnet.get("AssignIpv6AddressOnCreation")
        ]
        assert not giving, f"The subnet {', '.join(giving)} gives each instance a public address."


@control("EC2.17")
def one_interface(deployment: Deployment) -> None:
    """Instances should not use several network interfaces."""
    count = len(interfaces(deployment))
    assert count == 1, f"The instance {deployment.instance} has {count} network interfaces."


@control("EC2.18")
def only_web_ports_are_open(deployment: Deployment) -> None:
    """Security groups should let everybody reach authorized ports only."""
    for protocol, first, last in open_to_everybody(deployment):
        fine = protocol == "tcp" and set(range(first, last + 1)) <= OPEN_PORTS
        assert fine, f"The security group {deployment.security_group} opens {protocol} {first} to {last} to everybody."


@control("EC2.19")
def no_risky_port_is_open(deployment: Deployment) -> None:
    """Security groups should not let everybody reach ports of high risk."""
    for port in sorted(RISKY_PORTS):
        refuse_open_port(deployment, port)


@control("EC2.24")
def the_instance_is_not_paravirtual(deployment: Deployment) -> None:
    """Paravirtual instance types should not be used."""
    kind = instance(deployment)["VirtualizationType"]
    assert kind == "hvm", f"The instance {deployment.instance} is {kind}."


@control("EC2.180")
def interfaces_check_addresses(deployment: Deployment) -> None:
    """Network interfaces should check source and destination."""
    for interface in interfaces(deployment):
        name = interface["NetworkInterfaceId"]
        assert interface["SourceDestCheck"], f"The interface {name} passes on what is not meant for it."


# --- IAM ---------------------------------------------------------------------------------------------------------


@control("IAM.1")
def no_policy_allows_everything(deployment: Deployment) -> None:
    """Policies should not allow everything on everything."""
    for name, found in own_policies(deployment).items():
        for statement in found:
            everything = "*" in items(statement.get("Action")) and "*" in items(statement.get("Resource"))
            assert not everything, f"The policy {name} of {deployment.role} allows everything."


@control("IAM.21")
def no_policy_allows_all_of_a_service(deployment: Deployment) -> None:
    """Customer managed policies should not allow all actions of a service."""
    for name, found in own_policies(deployment).items():
        for statement in found:
            assert "NotAction" not in statement, f"The policy {name} of {deployment.role} allows all but some actions."
            whole = [action for action in items(statement.get("Action")) if action == "*" or action.endswith(":*")]
            assert not whole, f"The policy {name} of {deployment.role} allows {', '.join(whole)}."


@control("IAM.24")
def the_role_is_tagged(deployment: Deployment) -> None:
    """Roles should be tagged."""
    role = deployment.client("iam").get_role(RoleName=deployment.role)["Role"]
    assert TAG in tags(role), f"The role {deployment.role} lacks the tag {TAG}."


@control("KMS.1")
def no_policy_decrypts_with_any_key(deployment: Deployment) -> None:
    """Customer managed policies should not allow decryption with all keys."""
    for name, found in own_policies(deployment).items():
        for statement in found:
            resources = [str(resource) for resource in items(statement.get("Resource"))]
            every = any(resource == "*" or resource.endswith((":key/*", ":alias/*")) for resource in resources)
            decrypts = covers(statement, "kms:Decrypt") or covers(statement, "kms:ReEncryptFrom")
            assert not (every and decrypts), f"The policy {name} of {deployment.role} decrypts with every key."
