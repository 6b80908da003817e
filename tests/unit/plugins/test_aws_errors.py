# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS refuses, as one sentence: from exceptions of botocore and from failed results of modules."""

from __future__ import annotations

import re

import pytest
from ansible_collections.drydock.registry.plugins.filter.aws_error_sentence import aws_error_sentence
from ansible_collections.drydock.registry.plugins.module_utils import _aws_errors as errors
from botocore import exceptions

CALLER = "arn:aws:iam::123456789012:user/deployer"
DENIED = "User: {caller} is not authorized to perform: {action} on resource: {resource} because {why}"


def client_error(code: str, operation: str, message: str) -> str:
    return f"An error occurred ({code}) when calling the {operation} operation: {message}"


TEXTS = [
    # A missing permission, in the words of the services.
    (
        client_error(
            "UnauthorizedOperation",
            "RunInstances",
            "You are not authorized to perform this operation. "
            + DENIED.format(
                caller=CALLER,
                action="ec2:RunInstances",
                resource="arn:aws:ec2:eu-central-1:123456789012:instance/*",
                why="no identity-based policy allows the ec2:RunInstances action. Encoded authorization failure message: x",
            ),
        ),
        f"AWS refuses ec2:RunInstances to {CALLER} on arn:aws:ec2:eu-central-1:123456789012:instance/*: allow this action",
    ),
    (
        client_error("UnauthorizedOperation", "CreateTags", "You are not authorized to perform this operation."),
        "AWS refuses ec2:CreateTags to the user or role of these credentials: allow",
    ),
    (
        client_error(
            "AccessDenied",
            "PutBucketLifecycleConfiguration",
            DENIED.format(
                caller=CALLER,
                action="s3:PutLifecycleConfiguration",
                resource='"arn:aws:s3:::b"',
                why="no identity-based policy allows it",
            ),
        ),
        "AWS refuses s3:PutLifecycleConfiguration",
    ),
    (client_error("AccessDenied", "GetBucketEncryption", "Access Denied"), "s3:GetEncryptionConfiguration"),
    (client_error("403", "HeadBucket", "Forbidden"), "s3:ListBucket"),
    (client_error("AccessDenied", "CreateRole", "no"), "iam:CreateRole"),
    (client_error("AccessDeniedException", "DescribeKey", "no"), "kms:DescribeKey"),
    (client_error("AccessDenied", "ListHostedZonesByName", "no"), "route53:ListHostedZonesByName"),
    (
        client_error(
            "AccessDenied",
            "CreateRole",
            DENIED.format(
                caller=CALLER,
                action="iam:CreateRole",
                resource="*",
                why="x with an explicit deny in a service control policy",
            ),
        ),
        f"AWS refuses iam:CreateRole to {CALLER}, because a service control policy denies it",
    ),
    (
        client_error(
            "AccessDenied",
            "CreateRole",
            DENIED.format(
                caller=CALLER,
                action="iam:CreateRole",
                resource="*",
                why="with an explicit deny in an identity-based policy",
            ),
        ),
        "because an identity-based policy denies it",
    ),
    # Who asks.
    ("Failed to describe: Unable to locate credentials", "AWS_ACCESS_KEY_ID"),
    ("Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY", "incomplete"),
    ("Couldn't connect to AWS: The config profile (prod) could not be found", "no AWS profile 'prod'"),
    ("Error loading SSO Token: Token for x does not exist", "aws sso login"),
    (
        client_error("ExpiredToken", "GetCallerIdentity", "The security token included in the request is expired"),
        "expired",
    ),
    (client_error("ExpiredTokenException", "DescribeKey", "x"), "expired"),
    (client_error("RequestExpired", "DescribeVpcs", "Request has expired."), "expired"),
    (client_error("InvalidClientTokenId", "GetCallerIdentity", "x"), "(InvalidClientTokenId)"),
    (client_error("AuthFailure", "DescribeVpcs", "x"), "AWS_PROFILE"),
    (
        client_error("SignatureDoesNotMatch", "GetCallerIdentity", "The request signature we calculated"),
        "AWS_SECRET_ACCESS_KEY",
    ),
    (
        client_error("SignatureDoesNotMatch", "GetCallerIdentity", "Signature not yet current: 1 is later than 2"),
        "clock",
    ),
    (client_error("InvalidAccessKeyId", "ListBuckets", "x"), "AWS_ACCESS_KEY_ID"),
    (client_error("RequestTimeTooSkewed", "ListBuckets", "x"), "clock"),
    ("The ec2_key module requires a region and none was found in configuration, environment", "drydock_region"),
    # The way there.
    (
        'Could not connect to the endpoint URL: "https://sts.eu-x.amazonaws.com/"',
        "at https://sts.eu-x.amazonaws.com/: check",
    ),
    ('Connect timeout on endpoint URL: "http://127.0.0.1:9/"', "http://127.0.0.1:9/"),
    ("SSL validation failed for https://ec2.eu-central-1.amazonaws.com/ [SSL: CERTIFICATE]", "AWS_CA_BUNDLE"),
    ('Failed to connect to proxy URL: "http://proxy:3128"', "The proxy http://proxy:3128"),
    ("Invalid endpoint: localhost:5000", "AWS_ENDPOINT_URL"),
    # What is asked for.
    (client_error("BucketAlreadyExists", "CreateBucket", "x"), "another aws_storage_bucket"),
    (client_error("VcpuLimitExceeded", "RunInstances", "You have requested more vCPU capacity"), "Service Quotas"),
    (client_error("InstanceLimitExceeded", "RunInstances", "x"), "virtual CPUs"),
    (client_error("AddressLimitExceeded", "AllocateAddress", "x"), "aws_instance_elastic_ip_enabled: false"),
    (
        client_error(
            "InsufficientInstanceCapacity",
            "RunInstances",
            "We currently do not have sufficient t4g.small capacity in the Availability Zone you requested (eu-central-1a).",
        ),
        "no free machine of t4g.small",
    ),
    (
        client_error(
            "Unsupported",
            "RunInstances",
            "Your requested instance type (t4g.small) is not supported in your requested Availability Zone (us-east-1e). "
            "Please retry your request by not specifying an Availability Zone or choosing us-east-1a, us-east-1b.",
        ),
        "The zone us-east-1e has no t4g.small: choose a subnet in another zone (one in us-east-1a, us-east-1b)",
    ),
    (client_error("Throttling", "CreateRole", "Rate exceeded"), "wait a minute"),
    (
        client_error("RequestLimitExceeded", "RunInstances", "x").replace(
            "operation:", "operation (reached max retries: 4):"
        ),
        "wait",
    ),
    (client_error("InternalError", "RunInstances", "x"), "trouble of its own"),
    (client_error("DependencyViolation", "DeleteVpc", "The vpc has dependencies"), "delete that first"),
    (client_error("NoSuchHostedZone", "ChangeResourceRecordSets", "x"), "aws_load_balancer_zone"),
    (client_error("TooManyLoadBalancers", "CreateLoadBalancer", "x"), "quota of load balancers"),
    (
        client_error("InvalidConfigurationRequest", "ModifyLoadBalancerAttributes", "Access Denied for bucket: logs."),
        "aws_load_balancer_log_bucket",
    ),
    (client_error("KMSInvalidStateException", "PutObject", "x is pending deletion."), "aws_storage_kms_key"),
]


@pytest.mark.parametrize(("text", "words"), TEXTS, ids=[re.sub(r"\W+", " ", text)[:60] for text, _ in TEXTS])
def test_known_messages_become_sentences(text: str, words: str) -> None:
    sentence = aws_error_sentence({"failed": True, "msg": f"Failed to do it: {text}"})
    assert words in sentence
    assert sentence.endswith(".")
    assert "Failed to do it" not in sentence


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ({"msg": "Something else."}, "Something else."),
        ("Something else.", "Something else."),
        ({"msg": ["One.", "Two."]}, "One. Two."),
        ({}, "The task failed and did not say why."),
        ({"module_stderr": "segmentation fault"}, "segmentation fault"),
        (None, ""),
        (
            {
                "msg": "One or more items failed",
                "results": [{"failed": True, "msg": "A."}, {"msg": "ok"}, {"failed": True, "msg": "A."}],
            },
            "A.",
        ),
        ({"msg": client_error("Unheard", "RunInstances", "of")}, client_error("Unheard", "RunInstances", "of")),
    ],
)
def test_other_results_keep_their_words(result: object, sentence: str) -> None:
    assert aws_error_sentence(result) == sentence


LOST = "Unable to create security group: Failed to create security group"


@pytest.mark.parametrize(
    ("exception", "words"),
    [
        (
            "(traceback unavailable)",
            f"{LOST}, and the module does not say why: run it again with ANSIBLE_DISPLAY_TRACEBACK=error",
        ),
        (
            "Traceback (most recent call last):\nbotocore.exceptions.ClientError: "
            + client_error(
                "UnauthorizedOperation", "CreateSecurityGroup", "You are not authorized to perform this operation."
            )
            + "\nThe above exception was the direct cause of the following exception:\nmore",
            "AWS refuses ec2:CreateSecurityGroup to",
        ),
    ],
)
def test_a_lost_cause_is_looked_for(exception: str, words: str) -> None:
    assert words in aws_error_sentence({"failed": True, "msg": LOST, "exception": exception})


def test_a_code_beside_the_message_counts() -> None:
    result = {"msg": "Unable to create it", "error": {"code": "AddressLimitExceeded", "message": "x"}}
    assert "Elastic IP" in aws_error_sentence(result)


EXCEPTIONS = [
    (exceptions.NoCredentialsError(), "No AWS credentials"),
    (exceptions.ProfileNotFound(profile="prod"), "'prod'"),
    (exceptions.EndpointConnectionError(endpoint_url="https://s3.example/"), "https://s3.example/"),
    (exceptions.ConnectTimeoutError(endpoint_url="https://s3.example/"), "https://s3.example/"),
    (exceptions.SSLError(endpoint_url="https://s3.example/", error="bad"), "AWS_CA_BUNDLE"),
    (exceptions.ProxyConnectionError(proxy_url="http://proxy:3128"), "http://proxy:3128"),
    (exceptions.NoRegionError(), "drydock_region"),
    (exceptions.InvalidRegionError(region_name="a b"), "drydock_region"),
    (exceptions.ClientError({"Error": {"Code": "ExpiredToken", "Message": "x"}}, "GetCallerIdentity"), "expired"),
    (
        exceptions.ClientError({"Error": {"Code": "AccessDenied", "Message": "x"}}, "GetParameter"),
        "AWS refuses ssm:GetParameter to me: allow",
    ),
    (
        exceptions.ClientError({"Error": {"Code": "Odd", "Message": "Very"}}, "GetParameter"),
        "AWS answers Odd to ssm:GetParameter: Very.",
    ),
    (ValueError("no"), "The request to AWS failed with ValueError: no."),
]


@pytest.mark.parametrize(("error", "words"), EXCEPTIONS, ids=[type(error).__name__ for error, _ in EXCEPTIONS])
def test_exceptions_become_sentences(error: Exception, words: str) -> None:
    sentence = errors.error_sentence(error, "ssm", "me")
    assert words in sentence
    assert sentence.endswith(".")
