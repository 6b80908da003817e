# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS answers when it refuses, as one sentence that says what to do. Without Ansible and without boto3.

The text of an error is the only thing that botocore's exceptions and the failed results of other modules have in common,
so that is what is read here: `An error occurred (CODE) when calling the OPERATION operation: MESSAGE`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

CLIENT_ERROR = re.compile(
    r"An error occurred \((?P<code>[^)]+)\) when calling the (?P<operation>\w+) operation"
    r"(?: \(reached max retries: \d+\))?: ?(?P<message>.*)",
    re.DOTALL,
)
ACTION = re.compile(
    r"(?:is not authorized to perform|not authorized to perform):? (?P<action>[a-z0-9-]+:[A-Za-z0-9*]+)"
)
CALLER = re.compile(r"(?P<caller>arn:aws[\w-]*:(?:iam|sts)::\d*:[^\s]+) is not authorized")
RESOURCE = re.compile(r"on resource: (?P<resource>(?:arn:[^\s]+|\*|[\w/-]+))")
EXPLICIT_DENY = re.compile(r"with an explicit deny(?: in an? (?P<policy>[a-z -]+?policy|permissions boundary))?")
URL = re.compile(r"https?://[^\s\"'),]+")

# A module that lost the cause says only what it was about: "Unable to create security group: Failed to create security group".
CAUSELESS = re.compile(r"(?:Unable|Failed) to [^:()]*(?:: (?:Unable|Failed) to [^:()]*)*")

EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
REFUSED_KEY_CODES = {
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
CLOCK_CODES = {"RequestTimeTooSkewed", "RequestInTheFuture"}
DENIED_CODES = {"403", "AccessDenied", "AccessDeniedException", "Forbidden", "UnauthorizedOperation"}
THROTTLED_CODES = {
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
BROKEN_CODES = {"InternalError", "InternalFailure", "InternalServerError", "ServiceUnavailable", "Unavailable"}
UNREACHABLE_TEXTS = (
    "Could not connect to the endpoint URL",
    "Connect timeout on endpoint URL",
    "Read timeout on endpoint URL",
    "Connection was closed before we received a valid response",
)

# Where the permission is not called as the operation is.
S3_ACTIONS = {
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "DeleteBucketTagging": "s3:PutBucketTagging",
    "DeleteObjects": "s3:DeleteObject",
    "DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListBuckets": "s3:ListAllMyBuckets",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjects": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "UploadPart": "s3:PutObject",
}
# Which service an operation belongs to, where the message does not say it.
SERVICES = (
    (re.compile(r"Bucket|Object|PublicAccessBlock|MultipartUpload"), "s3"),
    (re.compile(r"HostedZone|ResourceRecordSets|GetChange$"), "route53"),
    (re.compile(r"Key(?:Policy|Rotation|Deletion)|^(?:Describe|Create|Enable|Disable)Key$|Alias"), "kms"),
    (re.compile(r"Role|InstanceProfile(?!Association)|Policy|Policies|User$"), "iam"),
    (re.compile(r"Parameter"), "ssm"),
    (re.compile(r"CallerIdentity"), "sts"),
)


class Failure(NamedTuple):
    """What is known of an error."""

    code: str
    operation: str
    message: str


Sentence = Callable[[Failure], str]


def failure_of(error: BaseException) -> Failure:
    """Read an exception of botocore, by its shape."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping) and isinstance(response.get("Error"), Mapping):
        details = response["Error"]
        return Failure(
            str(details.get("Code", "")), str(getattr(error, "operation_name", "")), str(details.get("Message", ""))
        )
    return Failure(type(error).__name__, "", str(error))


def failure_in(text: str) -> Failure:
    """Read the message of a failed module."""
    match = CLIENT_ERROR.search(text)
    if match:
        return Failure(match["code"], match["operation"], match["message"].strip())
    return Failure("", "", text)


def action_of(operation: str, service: str = "") -> str:
    """Name the permission that an operation needs, such as `s3:GetEncryptionConfiguration`, or nothing."""
    if not operation:
        return ""
    if not service:
        service = next((name for pattern, name in SERVICES if pattern.search(operation)), "ec2")
    return S3_ACTIONS.get(operation, f"s3:{operation}") if service == "s3" else f"{service}:{operation}"


def sentence(failure: Failure, service: str = "", caller: str = "") -> str:
    """Say what is wrong and what to do, or nothing when this error is not known."""
    for say in (_credentials, _session, _connection, _denial, _pressure):
        text = say(failure, service, caller)
        if text:
            return text
    return _known(failure)


def error_sentence(error: BaseException, service: str = "", caller: str = "") -> str:
    """Say what an exception means; one that is not known is quoted."""
    failure = failure_of(error)
    text = sentence(failure, service, caller)
    if text:
        return text
    if failure.operation:
        return f"AWS answers {failure.code} to {action_of(failure.operation, service)}: {_end(failure.message)}"
    return f"The request to AWS failed with {failure.code}: {_end(failure.message)}"


def result_sentence(result: Any) -> str:
    """Say what a failed result of a module means; one that is not known gives its own message."""
    if isinstance(result, Mapping):
        items = result.get("results")
        if isinstance(items, list):
            # A loop's own message says only that an item failed.
            failed = [item for item in items if isinstance(item, Mapping) and item.get("failed")]
            said = list(dict.fromkeys(result_sentence(item) for item in failed))
            if said:
                return " ".join(said)
        text = _text(result.get("msg"))
        details = result.get("error")
        failure = failure_in(text)
        if not failure.code and isinstance(details, Mapping) and details.get("code"):
            failure = Failure(str(details["code"]), "", str(details.get("message", "")) or text)
        if not failure.code:
            # Some modules keep the error in the traceback alone.
            said = [line for line in _text(result.get("exception")).splitlines() if "An error occurred (" in line]
            failure = failure_in(said[0]) if said else failure
        told = sentence(failure)
        if not told and CAUSELESS.fullmatch(text):
            told = (
                f"{text.rstrip('.')}, and the module does not say why: run it again with ANSIBLE_DISPLAY_TRACEBACK=error in the "
                "environment."
            )
        return told or text or _text(result.get("module_stderr")) or "The task failed and did not say why."
    text = _text(result)
    return sentence(failure_in(text)) or text


def _text(value: Any) -> str:
    """Take a message as one string."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return " ".join(str(item) for item in value)
    return str(value).strip()


def _end(message: str) -> str:
    """End a quoted message as a sentence ends."""
    message = message.strip() or "it gives no reason"
    return message if message.endswith((".", "!", "?")) else f"{message}."


def _search(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1).rstrip(".,;") if match else ""


# ----- who asks ---------------------------------------------------------------------------------


def _credentials(failure: Failure, _service: str, _caller: str) -> str:
    """Errors of the machine that asks, before AWS has answered anything."""
    code, message = failure.code, failure.message
    if code == "NoCredentialsError" or "Unable to locate credentials" in message:
        return (
            "No AWS credentials were found: log in with the AWS command line (aws sso login or aws configure) and set AWS_PROFILE, "
            "or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
        )
    if code == "PartialCredentialsError" or "Partial credentials found" in message:
        return (
            "The AWS credentials are incomplete: set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )
    profile = re.search(r"[Cc]onfig profile \((?P<name>[^)]*)\) could not be found", message)
    if profile:
        return (
            f"There is no AWS profile {profile['name']!r} on this machine: correct AWS_PROFILE, or make the profile with "
            f"aws configure --profile {profile['name']}."
        )
    if code in {"SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError"} or re.search(
        r"[Ee]rror loading SSO [Tt]oken|SSO session associated with this profile has expired|Token has expired and refresh",
        message,
    ):
        return "The AWS single sign-on session has ended: run aws sso login, then run the playbook again."
    if code == "CredentialRetrievalError" or "Error when retrieving credentials from" in message:
        return f"The AWS credentials cannot be had: {_end(message)} Log in again, or set AWS_PROFILE to a profile that works."
    if (
        code == "NoRegionError"
        or "You must specify a region" in message
        or "requires a region and none was found" in message
    ):
        return "No AWS region is set: write drydock_region, for example eu-central-1."
    if code == "InvalidRegionError" or re.search(r"Provided region_name '.*' doesn't match", message):
        return f"The AWS region is no region's name: correct drydock_region, for example to eu-central-1 ({_end(message)[:-1]})."
    return ""


def _session(failure: Failure, _service: str, _caller: str) -> str:
    """Errors about the key that signs."""
    code, message = failure.code, failure.message
    if code in EXPIRED_CODES:
        return (
            "The AWS credentials have expired: log in again (with single sign-on: aws sso login; with AWS_SESSION_TOKEN: set a new "
            "key, secret and token), then run the playbook again."
        )
    if code in CLOCK_CODES or "Signature not yet current" in message or "Signature expired" in message:
        return "AWS refuses the time of this machine: set its clock right (timedatectl set-ntp true), then run the playbook again."
    if code in REFUSED_KEY_CODES:
        return (
            f"AWS does not accept the credentials ({code}): check AWS_PROFILE, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "AWS_SESSION_TOKEN; if they work in other regions, this region is not enabled for the account."
        )
    if code in {"OptInRequired", "SubscriptionRequiredException"}:
        if "marketplace" in message.lower():
            return f"The image is a product of the AWS Marketplace whose terms the account has not accepted: {_end(message)}"
        return "The AWS account is not signed up for this service, or the region is not enabled for it: enable it in the console."
    if code in {"PendingVerification", "Blocked"}:
        return f"AWS has restricted the account ({code}): {_end(message)} Write to AWS Support."
    return ""


def _connection(failure: Failure, _service: str, _caller: str) -> str:
    """Errors of the way to the API."""
    code, message = failure.code, failure.message
    url = URL.search(message)
    endpoint = url.group() if url else "the endpoint"
    if code == "SSLError" or "SSL validation failed" in message:
        return (
            f"The certificate of {endpoint} is not trusted: set AWS_CA_BUNDLE to the CA file of your network's proxy, or correct "
            "AWS_ENDPOINT_URL."
        )
    if code == "ProxyConnectionError" or "Failed to connect to proxy URL" in message:
        return f"The proxy {endpoint} does not answer: correct HTTPS_PROXY, or list the AWS API in NO_PROXY."
    if code in {"EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"} or any(
        text in message for text in UNREACHABLE_TEXTS
    ):
        return (
            f"The AWS API does not answer at {endpoint}: check this machine's network, its proxy (HTTPS_PROXY), AWS_ENDPOINT_URL "
            "and drydock_region."
        )
    invalid = re.search(r"Invalid endpoint: (?P<endpoint>\S+)", message)
    if invalid:
        return f"AWS_ENDPOINT_URL is {invalid['endpoint']}, which is no address: correct it, or unset it to use AWS itself."
    return ""


def _denial(failure: Failure, service: str, caller: str) -> str:
    """A missing permission: what, to whom, and what forbids it."""
    if failure.code not in DENIED_CODES:
        return ""
    message = failure.message
    action = _search(ACTION, message) or action_of(failure.operation, service)
    who = _search(CALLER, message) or caller or "the user or role of these credentials"
    resource = _search(RESOURCE, message)
    what = f"AWS refuses {action or 'this'} to {who}" + (f" on {resource}" if resource and resource != "*" else "")
    deny = EXPLICIT_DENY.search(message)
    if deny:
        policy = deny["policy"] or "policy"
        article = "an" if policy[0] in "aeiou" else "a"
        return f"{what}, because {article} {policy} denies it: have that statement changed, or use other credentials."
    return f"{what}: allow this action in the policies of that user or role, or use other credentials."


def _pressure(failure: Failure, _service: str, _caller: str) -> str:
    """Errors that pass by themselves."""
    if failure.code in THROTTLED_CODES:
        return (
            f"AWS takes no more requests at the moment ({failure.code}): wait a minute, then run the playbook again; it goes on where "
            "it stopped."
        )
    if failure.code in BROKEN_CODES:
        return f"The AWS service has trouble of its own ({failure.code}): run the playbook again in a few minutes."
    return ""


# ----- what is asked for ------------------------------------------------------------------------


def _known(failure: Failure) -> str:
    say = SENTENCES.get(failure.code)
    return say(failure) if say else ""


def _bucket_exists(_failure: Failure) -> str:
    return "The bucket's name is taken by another AWS account (all accounts share one space of names): write another aws_storage_bucket."


def _bucket_ours(_failure: Failure) -> str:
    return "The bucket is there already, in this account but another region: write the region it is in, or another aws_storage_bucket."


def _unsupported(failure: Failure) -> str:
    zone = re.search(
        r"instance type \((?P<type>[^)]+)\) is not supported in your requested Availability Zone \((?P<zone>[^)]+)\)",
        failure.message,
    )
    if not zone:
        return ""
    others = re.search(r"choosing (?P<zones>[\w, -]+?)\.?$", failure.message)
    where = f" (one in {others['zones']})" if others else ""
    return f"The zone {zone['zone']} has no {zone['type']}: choose a subnet in another zone{where}, or another aws_instance_type."


def _capacity(failure: Failure) -> str:
    kind = re.search(r"\b(?P<type>[a-z][a-z0-9-]*\d[a-z0-9-]*\.[a-z0-9-]+)\b", failure.message)
    what = kind["type"] if kind else "the type"
    return (
        f"AWS has no free machine of {what} in this zone just now: run the playbook again later, choose a subnet in another zone, or "
        "another aws_instance_type."
    )


def _limit(quota: str, otherwise: str) -> Sentence:
    def say(_failure: Failure) -> str:
        return (
            f"The account's quota of {quota} in this region is used up: {otherwise}, or ask for more in Service Quotas."
        )

    return say


def _quoting(begin: str, then: str) -> Sentence:
    def say(failure: Failure) -> str:
        return f"{begin} ({_end(failure.message)[:-1]}): {then}."

    return say


_ZONE_IS_GONE = "The hosted zone is gone: correct aws_instance_zone or aws_load_balancer_zone."
_VCPU = _limit("running virtual CPUs", "choose a smaller aws_instance_type, stop other instances")
SENTENCES: dict[str, Sentence] = {
    "BucketAlreadyExists": _bucket_exists,
    "BucketAlreadyOwnedByYou": _bucket_ours,
    "AuthorizationHeaderMalformed": _quoting(
        "The bucket is in another region", "write that one as drydock_region, or another aws_storage_bucket"
    ),
    "PermanentRedirect": _quoting(
        "The bucket is in another region", "write that one as drydock_region, or another aws_storage_bucket"
    ),
    "IllegalLocationConstraintException": _quoting(
        "The bucket cannot be made in this region", "use the credentials and the region of the same AWS partition"
    ),
    "VcpuLimitExceeded": _VCPU,
    "InstanceLimitExceeded": _VCPU,
    "MaxSpotInstanceCountExceeded": _VCPU,
    "AddressLimitExceeded": _limit(
        "Elastic IP addresses", "release one that is not used, set aws_instance_elastic_ip_enabled: false"
    ),
    "VpcLimitExceeded": _limit("VPCs", "delete one that is not used, use one of them with aws_network_provider: given"),
    "InternetGatewayLimitExceeded": _limit("internet gateways", "delete one that is not used"),
    "SecurityGroupLimitExceeded": _limit("security groups", "delete one that is not used"),
    "RulesPerSecurityGroupLimitExceeded": _limit("rules of one security group", "write fewer or wider networks"),
    "VolumeLimitExceeded": _limit("EBS storage", "write a smaller aws_instance_volume_gib"),
    "TooManyBuckets": _limit("buckets", "delete one that is not used"),
    "InsufficientInstanceCapacity": _capacity,
    "InsufficientHostCapacity": _capacity,
    "InsufficientFreeAddressesInSubnet": lambda _failure: (
        "The subnet has no free private address left: choose another subnet, or one with a larger network."
    ),
    "Unsupported": _unsupported,
    "InvalidSubnet.Conflict": _quoting("The subnet's network overlaps another one's", "write another aws_network_cidr"),
    "InvalidVpc.Range": _quoting("The network is no network of a VPC", "write an aws_network_cidr from /16 to /28"),
    "InvalidKeyPair.Duplicate": lambda _failure: (
        "A key pair of that name exists with another key: write it as aws_instance_key_pair, or delete it."
    ),
    "InvalidKey.Format": lambda _failure: (
        "EC2 takes public keys of the types ED25519 and RSA only: correct aws_instance_public_key."
    ),
    "DependencyViolation": _quoting(
        "Something that this deployment did not make still uses what is to be deleted",
        "delete that first, then run the playbook again",
    ),
    "DeleteConflict": _quoting(
        "Something that this deployment did not make is still attached", "detach it first, then run the playbook again"
    ),
    "BucketNotEmpty": lambda _failure: (
        "The bucket still holds objects: write its name in aws_storage_remove_images to destroy them, or set aws_storage_remove_kept: true."
    ),
    "OperationNotPermitted": _quoting(
        "AWS protects this against the change",
        "turn the protection off (aws_instance_termination_protection_enabled, aws_load_balancer_deletion_protection_enabled: false)",
    ),
    "MalformedPolicyDocument": _quoting("AWS does not accept the policy", "correct the ARNs in the settings"),
    "MalformedPolicy": _quoting("AWS does not accept the bucket's policy", "correct the statements that it had before"),
    "HostedZoneNotFound": lambda _failure: _ZONE_IS_GONE,
    "NoSuchHostedZone": lambda _failure: _ZONE_IS_GONE,
    "InvalidConfigurationRequest": _quoting(
        "Elastic Load Balancing does not accept a setting",
        "where it names a bucket, let load balancers write access logs there, or leave aws_load_balancer_log_bucket empty",
    ),
    "TooManyLoadBalancers": _limit("load balancers", "delete one that is not used"),
    "TooManyTargetGroups": _limit("target groups", "delete one that is not used"),
    "LimitExceededException": _limit("what was to be made", "delete some that are not used"),
    "InvalidChangeBatch": _quoting(
        "Route 53 does not accept the record",
        "delete the record of that name that stands in the way, or write another drydock_domain",
    ),
    "KMSInvalidStateException": _quoting(
        "The KMS key cannot be used", "enable it, cancel its deletion, or write another aws_storage_kms_key"
    ),
    "DisabledException": lambda _failure: "The KMS key is disabled: enable it, or write another aws_storage_kms_key.",
    "KMS.DisabledException": lambda _failure: (
        "The KMS key is disabled: enable it, or write another aws_storage_kms_key."
    ),
}


def code_of(error: BaseException) -> Optional[str]:
    """Return the code of an error that AWS answered with, or None for any other."""
    return failure_of(error).code if getattr(error, "response", None) else None
