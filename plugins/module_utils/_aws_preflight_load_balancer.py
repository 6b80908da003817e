# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment meets where its load balancer is, or is to be: the balancer, its target group, certificates and the name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible_collections.drydock.registry.plugins.module_utils import _aws_certificates, _aws_zones
from ansible_collections.drydock.registry.plugins.module_utils._aws_account import (
    Account,
    Answer,
    AwsProblem,
    filters,
    tags_of,
)
from ansible_collections.drydock.registry.plugins.module_utils._aws_checks import domain_problem
from ansible_collections.drydock.registry.plugins.module_utils._aws_errors import code_of
from ansible_collections.drydock.registry.plugins.module_utils._aws_policy import takes_balancer_logs

# The name of a load balancer, and of a target group.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
NAME_LIMIT = 32
ZONES = 2
# What AWS takes: the first and the last value, the unit and an example.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html (idle timeout)
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html (health checks)
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html (draining)
RANGES: dict[str, tuple[int, int, str, int]] = {
    "https_port": (1, 65535, "", 443),
    "target_port": (1, 65535, "", 443),
    "idle_timeout_seconds": (1, 4000, " seconds", 900),
    "health_interval_seconds": (5, 300, " seconds", 10),
    "health_timeout_seconds": (2, 120, " seconds", 5),
    "healthy_count": (2, 10, " checks", 2),
    "unhealthy_count": (2, 10, " checks", 3),
    "drain_seconds": (0, 3600, " seconds", 300),
}
PROTOCOLS = {"application": "HTTPS", "network": "TCP"}
# Without them, ACM lists certificates with RSA keys of 2048 bits alone.
KEY_TYPES = [
    "RSA_1024",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "EC_prime256v1",
    "EC_secp384r1",
    "EC_secp521r1",
]
# What a status of ACM means for one who wants to use the certificate.
STATUSES = {
    "PENDING_VALIDATION": "is not issued yet (PENDING_VALIDATION): make the records that its page in the console of ACM shows, and wait",
    "EXPIRED": "has expired: have it renewed",
    "FAILED": "was not issued (FAILED): request another one",
    "VALIDATION_TIMED_OUT": "was not issued, since nobody proved whose domain it is (VALIDATION_TIMED_OUT): request another one",
    "REVOKED": "was revoked: request another one",
    "INACTIVE": "is not in use yet (INACTIVE): wait until it is",
}
USABLE = ("ISSUED", "PENDING_VALIDATION")
# What S3 tells those who may not ask.
FORBIDDEN = ("403", "AccessDenied", "MethodNotAllowed")
# What becomes of a header that names who asks.
FORWARDED_FOR = "routing.http.xff_header_processing.mode"
REDIRECT = {
    "Protocol": "HTTPS",
    "Host": "#{host}",
    "Path": "/#{path}",
    "Query": "#{query}",
    "StatusCode": "HTTP_301",
}


def look(account: Account, options: Mapping[str, Any]) -> dict[str, Any]:
    """Find what is there; note what is wrong with the settings or with what they meet."""
    found: dict[str, Any] = {
        "load_balancer": None,
        "target_group": None,
        "certificate": {"arn": "", "name": "", "status": "", "records": [], "private_ca": ""},
        "stale_certificates": [],
        "certificate_zone": {"id": "", "name": ""},
        "zone": {"id": "", "name": "", "record": {}},
    }
    _check(account, options)
    if options["target_group_arn"] and not account.removing:
        with account.step():
            _given_balancer(account, options, found)
        with account.step():
            _zone(account, options, found)
        return found
    with account.step():
        _check_subnets(account, options)
    # With certificates first: whether a listener is as it is to be depends on them.
    with account.step():
        _certificates(account, options, found)
    # AWS would not even look for a longer name.
    if len(account.name) <= NAME_LIMIT:
        with account.step():
            found["target_group"] = _target_group(account, options)
        with account.step():
            found["load_balancer"] = _load_balancer(account, options, found)
    with account.step():
        # The record that leads to somebody else's load balancer was made here all the same.
        given = options["target_group_arn"]
        _zone(account, options, found, _name_of_given(account, given) if given else "")
    with account.step():
        _check_logs(account, options)
    with account.step():
        _check_policy(account, options)
    return found


# ----- settings ---------------------------------------------------------------------------------


def _check(account: Account, options: Mapping[str, Any]) -> None:
    """Judge what needs no question."""
    spare = NAME_LIMIT - len(account.name) + len(account.deployment)
    if len(account.name) > NAME_LIMIT:
        account.refuse(
            f"The load balancer would be called {account.name}, which has {len(account.name)} characters, and AWS takes {NAME_LIMIT}: "
            f"write at most {spare} characters as aws_load_balancer_name (drydock_deployment)."
        )
    elif account.name.startswith("internal-"):
        account.refuse(
            "aws_load_balancer_name (drydock_deployment) begins with internal-, which AWS keeps for itself: write another name."
        )
    for name, (first, last, unit, example) in RANGES.items():
        if not first <= options[name] <= last:
            account.refuse(
                f"aws_load_balancer_{name} is {options[name]}: write {first} to {last}{unit}, such as {example}."
            )
    if options["health_timeout_seconds"] >= options["health_interval_seconds"]:
        account.refuse(
            f"aws_load_balancer_health_timeout_seconds is {options['health_timeout_seconds']}, which is not less than "
            f"aws_load_balancer_health_interval_seconds ({options['health_interval_seconds']}): write a shorter time."
        )
    path = options["health_path"]
    if not path.startswith("/") or re.search(r"[\s?#]", path):
        account.refuse(f"aws_load_balancer_health_path is {path!r}, which is no path: write /healthz.")
    elif re.match(r"/+v2(/|$)", path):
        account.refuse(
            f"aws_load_balancer_health_path is {path}, which answers 401 to whoever has no password: write /healthz, which is open and "
            "tells whether the storage works."
        )
    if options["redirect_enabled"] and options["https_port"] == 80:
        account.refuse(
            "aws_load_balancer_https_port is 80, where requests are redirected from: write another port, or "
            "aws_load_balancer_redirect_enabled: false."
        )
    domain = options["domain"]
    if domain and domain_problem(domain):
        account.refuse(f"aws_load_balancer_domain ({domain}) {domain_problem(domain)}.")
    if options["type"] == "application" and not domain:
        account.refuse("aws_load_balancer_domain (drydock_domain) is empty: write the name that clients use.")
    if options["type"] == "network" and options["log_bucket"]:
        account.refuse(
            "aws_load_balancer_log_bucket is set, but a Network Load Balancer that passes TLS through writes no access log: leave it out; "
            "nginx on the hosts writes one."
        )
    prefix = options["log_prefix"]
    if prefix.startswith("/") or prefix.endswith("/") or "AWSLogs" in prefix:
        account.refuse(
            f"aws_load_balancer_log_prefix is {prefix}: write one that neither begins nor ends with a slash, and without AWSLogs, which "
            "AWS appends."
        )


def _check_subnets(account: Account, options: Mapping[str, Any]) -> None:
    """Subnets of one VPC, one in each of two zones or more; they are not known before the network is made."""
    wanted = options["subnet_ids"]
    if not wanted or account.removing:
        return
    subnets = account.ask_all("ec2", "describe_subnets", "Subnets", Filters=filters(subnet_id=wanted))
    known = {subnet["SubnetId"]: subnet for subnet in subnets}
    for subnet_id in wanted:
        if subnet_id not in known:
            account.refuse(
                f"There is no subnet {subnet_id} in {account.region}: correct aws_load_balancer_subnet_ids or drydock_region."
            )
    vpcs = {subnet["VpcId"] for subnet in subnets} - {options["vpc_id"]}
    if options["vpc_id"] and vpcs:
        account.refuse(
            f"The subnets in aws_load_balancer_subnet_ids are in {' and '.join(sorted(vpcs))}, not all in {options['vpc_id']} "
            "(aws_load_balancer_vpc_id): write subnets of that VPC."
        )
    by_zone: dict[str, list[str]] = {}
    for subnet_id, subnet in known.items():
        by_zone.setdefault(subnet["AvailabilityZone"], []).append(subnet_id)
    for zone, ids in by_zone.items():
        if len(ids) > 1:
            account.refuse(
                f"{' and '.join(sorted(ids))} in aws_load_balancer_subnet_ids are all in {zone}, and AWS takes one of each zone: leave one "
                "there."
            )
    if len(by_zone) == 1:
        account.refuse(
            f"The subnets in aws_load_balancer_subnet_ids are in {next(iter(by_zone))} alone, but a load balancer asks for two "
            "availability zones: write a subnet of another zone as well."
        )


def _check_logs(account: Account, options: Mapping[str, Any]) -> None:
    """A bucket of this region that lets load balancers write, which takes a policy in any case."""
    bucket = options["log_bucket"]
    if not bucket or account.removing or options["type"] == "network":
        return
    try:
        _check_log_bucket(account, bucket, options["log_prefix"])
    except AwsProblem as problem:
        # It may be of an account that lets load balancers write and nobody look: AWS tests it when logs are turned on.
        if code_of(problem.__cause__ or problem) not in FORBIDDEN:
            raise


def _check_log_bucket(account: Account, bucket: str, prefix: str) -> None:
    answer = account.ask("s3", "head_bucket", missing=["404", "NoSuchBucket", "400", "BadRequest"], Bucket=bucket)
    if answer is None:
        account.refuse(
            f"There is no bucket {bucket} (aws_load_balancer_log_bucket): correct the name, or make the bucket."
        )
        return
    region = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region") or account.region
    if region != account.region:
        account.refuse(
            f"The bucket {bucket} (aws_load_balancer_log_bucket) is in {region}, and a load balancer writes to one of its own region: "
            f"write a bucket in {account.region}."
        )
        return
    policy = account.ask("s3", "get_bucket_policy", missing=["NoSuchBucketPolicy"], Bucket=bucket)
    if policy is None:
        account.refuse(
            f"The bucket {bucket} (aws_load_balancer_log_bucket) has no policy, so no load balancer may write to it: give it one that lets "
            "logdelivery.elasticloadbalancing.amazonaws.com put objects (the role's README has it)."
        )
    elif not takes_balancer_logs(json.loads(policy["Policy"]), bucket, prefix, account.account_id, account.partition):
        account.refuse(
            f"The policy of the bucket {bucket} (aws_load_balancer_log_bucket) does not let load balancers of the account "
            f"{account.account_id} write below {f'{prefix}/AWSLogs'.lstrip('/')}/{account.account_id}/: give it a statement for that "
            "(the role's README has it)."
        )


def _check_policy(account: Account, options: Mapping[str, Any]) -> None:
    """A security policy that this region knows."""
    policy = options["tls_policy"]
    if options["type"] != "application" or account.removing:
        return
    answer = account.ask("elbv2", "describe_ssl_policies", missing=["SSLPolicyNotFound"], Names=[policy])
    if not (answer or {}).get("SslPolicies"):
        account.refuse(
            f"{account.region} has no security policy {policy} (aws_load_balancer_tls_policy): write one of those that aws elbv2 "
            "describe-ssl-policies lists."
        )


# ----- load balancer and target group -----------------------------------------------------------


def _given_balancer(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    """A target group and a load balancer of somebody else's, which have to fit and are not changed."""
    arn = options["target_group_arn"]
    label = f"The target group {arn.rpartition(':')[2]} in aws_load_balancer_target_group_arn"
    group = _given_group(account, arn)
    if not group:
        account.refuse(
            f"There is no target group {arn} (aws_load_balancer_target_group_arn) in {account.region}: correct it or drydock_region."
        )
        return
    fitting = {
        "TargetType": (options["target_type"], "whose targets are of this type"),
        "Protocol": (PROTOCOLS[options["type"]], "as aws_load_balancer_type says"),
    }
    if options["target_type"] == "instance":
        fitting["Port"] = (options["target_port"], "where nginx listens (registry_proxy_https_port)")
    for key, (wanted, why) in fitting.items():
        if str(group[key]) != str(wanted):
            account.refuse(f"{label} has the {key} {group[key]}: write one with {wanted}, {why}.")
    path = group.get("HealthCheckPath") or ""
    # ECS replaces tasks that fail this check, and new ones would find S3 away, too.
    fit = "/livez" if options["target_type"] == "ip" else "/healthz"
    if re.match(r"/+v2(/|$)", path):
        account.refuse(f"{label} asks {path} whether hosts are well, which answers 401 to it: let it ask {fit}.")
    elif fit == "/livez" and path == "/healthz":
        account.refuse(
            f"{label} asks /healthz, by which ECS would replace all tasks while S3 is away: let it ask {fit}."
        )
    found["target_group"] = {"arn": arn, "name": group["TargetGroupName"], "tags": {}, "differences": []}
    facing = _balancer_of(account, group)
    if not facing:
        account.refuse(f"{label} is behind no load balancer, so no request would come: give it a listener of one.")
        return
    balancer = _described(facing, {})
    found["load_balancer"] = balancer
    if balancer["type"] != options["type"]:
        account.refuse(
            f"The load balancer {balancer['name']} is of the type {balancer['type']}: write that as aws_load_balancer_type."
        )
    if balancer["internal"] != options["internal_enabled"]:
        account.refuse(
            f"The load balancer {balancer['name']} is {'internal' if balancer['internal'] else 'internet-facing'}: write "
            f"aws_load_balancer_internal_enabled: {str(balancer['internal']).lower()}."
        )
    # nginx believes what these networks say of who asks.
    if options["subnet_ids"] and sorted(set(options["subnet_ids"])) != balancer["subnet_ids"]:
        account.refuse(
            f"The load balancer {balancer['name']} is in {' and '.join(balancer['subnet_ids'])}: write these as "
            "aws_network_load_balancer_subnet_ids, since hosts believe their networks."
        )
    if balancer["type"] == "application":
        attributes = account.ask("elbv2", "describe_load_balancer_attributes", LoadBalancerArn=balancer["arn"])
        _refuse_forged_addresses(account, balancer, tags_of((attributes or {}).get("Attributes")))


def _given_group(account: Account, arn: str) -> Answer:
    """Somebody else's target group; nothing where there is none."""
    answer = account.ask(
        "elbv2", "describe_target_groups", missing=["TargetGroupNotFound", "ValidationError"], TargetGroupArns=[arn]
    )
    return next(iter((answer or {}).get("TargetGroups", [])), {})


def _balancer_of(account: Account, group: Answer) -> Answer:
    """The load balancer that sends requests to a target group; nothing where there is none."""
    arns = group.get("LoadBalancerArns", [])[:1]
    answer = account.ask("elbv2", "describe_load_balancers", LoadBalancerArns=arns) if arns else None
    return next(iter((answer or {}).get("LoadBalancers", [])), {})


def _name_of_given(account: Account, arn: str) -> str:
    """The name that AWS gave the load balancer of somebody else's target group; empty where either is gone."""
    return str(_balancer_of(account, _given_group(account, arn)).get("DNSName", ""))


def _described(balancer: Answer, tags: Mapping[str, str]) -> dict[str, Any]:
    """A load balancer as the role has it."""
    return {
        "arn": balancer["LoadBalancerArn"],
        "name": balancer["LoadBalancerName"],
        "type": balancer["Type"],
        "dns_name": balancer["DNSName"],
        "canonical_zone_id": balancer["CanonicalHostedZoneId"],
        "vpc_id": balancer["VpcId"],
        "internal": balancer["Scheme"] == "internal",
        "subnet_ids": sorted(zone["SubnetId"] for zone in balancer["AvailabilityZones"]),
        "security_group_ids": sorted(balancer.get("SecurityGroups", [])),
        "tags": tags,
        "log_bucket": "",
        "differences": [],
    }


def _load_balancer(account: Account, options: Mapping[str, Any], found: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """The load balancer of the deployment's name, and in what it differs from the settings."""
    answer = account.ask("elbv2", "describe_load_balancers", missing=["LoadBalancerNotFound"], Names=[account.name])
    if not (answer or {}).get("LoadBalancers"):
        return None
    balancer: Answer = (answer or {})["LoadBalancers"][0]
    arn = balancer["LoadBalancerArn"]
    tags = _tags(account, arn)
    if not account.is_ours(tags):
        account.refuse(
            f"The account has a load balancer {account.name} that is not this deployment's: delete it, or write another "
            "aws_load_balancer_name."
        )
        return None
    described = _described(balancer, tags)
    if account.removing or _refuse_fixed(account, options, described):
        return described
    answer = account.ask("elbv2", "describe_load_balancer_attributes", LoadBalancerArn=arn)
    attributes = tags_of((answer or {}).get("Attributes"))
    described["log_bucket"] = attributes.get("access_logs.s3.bucket", "")
    _refuse_forged_addresses(account, described, attributes)
    listeners = account.ask_all("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=arn)
    group_arn = (found["target_group"] or {}).get("arn", "")
    described["differences"] = [
        *_different(wanted_attributes(options), attributes),
        *listener_differences(options, group_arn, found["certificate"]["arn"], listeners),
    ]
    return described


def _refuse_fixed(account: Account, options: Mapping[str, Any], balancer: Mapping[str, Any]) -> bool:
    """Refuse what AWS, or the module, cannot change on a load balancer; tell whether there was something."""
    remove = "or remove the load balancer first (entry point remove of aws_load_balancer)"
    before = len(account.problems)
    if balancer["type"] != options["type"]:
        account.refuse(
            f"The load balancer {balancer['name']} is of the type {balancer['type']}, which AWS cannot change: write that as "
            f"aws_load_balancer_type, {remove}."
        )
    elif balancer["internal"] != options["internal_enabled"]:
        account.refuse(
            f"The load balancer {balancer['name']} is {'internal' if balancer['internal'] else 'internet-facing'}, which AWS cannot "
            f"change: write aws_load_balancer_internal_enabled: {str(balancer['internal']).lower()}, {remove}."
        )
    elif options["vpc_id"] and balancer["vpc_id"] != options["vpc_id"]:
        account.refuse(
            f"The load balancer {balancer['name']} is in {balancer['vpc_id']}, which AWS cannot change: write that VPC, {remove}."
        )
    elif (
        options["type"] == "network"
        and options["subnet_ids"]
        and balancer["subnet_ids"] != sorted(set(options["subnet_ids"]))
    ):
        account.refuse(
            f"The load balancer {balancer['name']} is in {', '.join(balancer['subnet_ids'])}, and no module changes that on one of the "
            f"type network: write these as aws_load_balancer_subnet_ids, {remove}."
        )
    return len(account.problems) > before


def _refuse_forged_addresses(account: Account, balancer: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
    """Refuse what lets clients write the address themselves that hosts take for theirs; the module cannot put it right."""
    mode = attributes.get(FORWARDED_FOR, "append")
    if mode != "append":
        account.refuse(
            f"The load balancer {balancer['name']} has {FORWARDED_FOR} {mode}, with which hosts do not learn who asks, or believe whatever "
            "clients say, and no module changes that: run `aws elbv2 modify-load-balancer-attributes --load-balancer-arn "
            f"{balancer['arn']} --attributes Key={FORWARDED_FOR},Value=append`, then the playbook again."
        )


def wanted_attributes(options: Mapping[str, Any]) -> dict[str, str]:
    """The attributes of a load balancer that the role sets, as the API has them."""
    wanted = {"deletion_protection.enabled": _text(options["deletion_protection_enabled"])}
    if options["type"] == "network":
        return {**wanted, "load_balancing.cross_zone.enabled": "true"}
    logs = options["log_bucket"]
    return {
        **wanted,
        "idle_timeout.timeout_seconds": str(options["idle_timeout_seconds"]),
        "routing.http2.enabled": _text(options["http2_enabled"]),
        "routing.http.drop_invalid_header_fields.enabled": "true",
        "routing.http.desync_mitigation_mode": "defensive",
        "access_logs.s3.enabled": _text(bool(logs)),
        # Where none are written, it does not matter where to.
        **({"access_logs.s3.bucket": logs, "access_logs.s3.prefix": options["log_prefix"]} if logs else {}),
    }


def listener_differences(
    options: Mapping[str, Any], group_arn: str, certificate_arn: str, listeners: Sequence[Answer]
) -> list[str]:
    """Name the listeners that differ from what the settings ask for, those that are missing, and those that are too many."""
    by_port = {listener["Port"]: listener for listener in listeners}
    forward = {"Type": "forward", "TargetGroupArn": group_arn}
    wanted: dict[int, dict[str, Any]] = {options["https_port"]: {"Protocol": "TCP", "action": forward}}
    if options["type"] == "application":
        wanted[options["https_port"]] = {
            "Protocol": "HTTPS",
            "SslPolicy": options["tls_policy"],
            "certificate": certificate_arn,
            "action": forward,
        }
        if options["redirect_enabled"]:
            redirect = {**REDIRECT, "Port": str(options["https_port"])}
            wanted[80] = {"Protocol": "HTTP", "action": {"Type": "redirect", "RedirectConfig": redirect}}
    ports = sorted(by_port.keys() | wanted.keys())
    return [f"listener {port}" for port in ports if wanted.get(port) != _seen(by_port.get(port), wanted.get(port))]


def _seen(listener: Optional[Answer], wanted: Optional[Mapping[str, Any]]) -> Optional[dict[str, Any]]:
    """A listener in the form of `wanted`, with the parts that it has."""
    if listener is None:
        return None
    actions = listener.get("DefaultActions", [])
    action = actions[0] if len(actions) == 1 else {}
    certificates = listener.get("Certificates") or [{}]
    parts = {
        "Protocol": listener.get("Protocol"),
        "SslPolicy": listener.get("SslPolicy"),
        "certificate": certificates[0].get("CertificateArn", ""),
        "action": {key: action.get(key) for key in (wanted or {}).get("action", {})},
    }
    return {key: parts[key] for key in (wanted or parts)}


def _target_group(account: Account, options: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """The target group of the deployment's name, and in what it differs from the settings."""
    answer = account.ask("elbv2", "describe_target_groups", missing=["TargetGroupNotFound"], Names=[account.name])
    if not (answer or {}).get("TargetGroups"):
        return None
    group: Answer = (answer or {})["TargetGroups"][0]
    tags = _tags(account, group["TargetGroupArn"])
    if not account.is_ours(tags):
        account.refuse(
            f"The account has a target group {account.name} that is not this deployment's: delete it, or write another "
            "aws_load_balancer_name."
        )
        return None
    described: dict[str, Any] = {"arn": group["TargetGroupArn"], "name": account.name, "tags": tags, "differences": []}
    if account.removing:
        return described
    fixed = {
        "Protocol": (PROTOCOLS[options["type"]], "aws_load_balancer_type"),
        "Port": (options["target_port"], "aws_load_balancer_target_port"),
        "TargetType": (options["target_type"], "aws_load_balancer_target_type"),
        "VpcId": (options["vpc_id"] or group["VpcId"], "aws_load_balancer_vpc_id"),
    }
    for key, (wanted, variable) in fixed.items():
        if str(group[key]) != str(wanted):
            account.refuse(
                f"The target group {account.name} has the {key} {group[key]}, not {wanted}, and AWS cannot change it: write {variable} as "
                "it was, or remove the load balancer first (entry point remove of aws_load_balancer)."
            )
    attributes = account.ask("elbv2", "describe_target_group_attributes", TargetGroupArn=described["arn"])
    seen = {**group, "Matcher": group.get("Matcher", {}).get("HttpCode", "")}
    described["differences"] = [
        *_different(wanted_checks(options), {key: str(value) for key, value in seen.items()}),
        *_different(wanted_group_attributes(options), tags_of((attributes or {}).get("Attributes"))),
    ]
    return described


def wanted_checks(options: Mapping[str, Any]) -> dict[str, str]:
    """How hosts are asked whether they are well."""
    return {
        "HealthCheckProtocol": "HTTPS",
        "HealthCheckPath": options["health_path"],
        "HealthCheckPort": "traffic-port",
        "HealthCheckIntervalSeconds": str(options["health_interval_seconds"]),
        "HealthCheckTimeoutSeconds": str(options["health_timeout_seconds"]),
        "HealthyThresholdCount": str(options["healthy_count"]),
        "UnhealthyThresholdCount": str(options["unhealthy_count"]),
        "Matcher": "200",
    }


def wanted_group_attributes(options: Mapping[str, Any]) -> dict[str, str]:
    """The attributes of a target group that the role sets, as the API has them."""
    drain = {"deregistration_delay.timeout_seconds": str(options["drain_seconds"])}
    if options["type"] == "network":
        return {**drain, "preserve_client_ip.enabled": "true"}
    return {**drain, "load_balancing.algorithm.type": "least_outstanding_requests"}


def _different(wanted: Mapping[str, str], seen: Mapping[str, str]) -> list[str]:
    return sorted(key for key, value in wanted.items() if seen.get(key) != value)


def _tags(account: Account, arn: str) -> dict[str, str]:
    answer = account.ask("elbv2", "describe_tags", ResourceArns=[arn])
    descriptions = (answer or {}).get("TagDescriptions", [])
    return tags_of(descriptions[0].get("Tags")) if descriptions else {}


def _text(switch: bool) -> str:
    return str(switch).lower()


# ----- certificates -----------------------------------------------------------------------------


def _certificates(account: Account, options: Mapping[str, Any], found: dict[str, Any]) -> None:
    """The certificate to use, as far as it is there, and those of the deployment that are not to be used any more."""
    uses = options["type"] == "application" and not account.removing
    provider = options["certificate_provider"] if uses else ""
    if provider == "given":
        found["certificate"]["arn"] = options["certificate_arn"]
        _given(account, options)
    if not uses and not account.removing:
        return
    listed = account.ask_all("acm", "list_certificates", "CertificateSummaryList", Includes={"keyTypes": KEY_TYPES})
    ours = _ours_of_acm(account, listed)
    uploaded = _ours_of_iam(account)
    if provider == "request":
        _requested(account, options, found, ours)
    elif provider in ("import", "iam"):
        marks = _aws_certificates.fingerprint(options["certificate"], options["chain"])
        base = account.name if provider == "import" else account.iam_name
        name = f"{base}-{marks[:16]}"
        same = [one for one in (ours if provider == "import" else uploaded) if one["name"] == name]
        found["certificate"].update(
            name=name,
            arn=same[0]["arn"] if same else "",
            status="ISSUED" if same else "",
            private_ca=_aws_certificates.private_ca(options["certificate"], options["chain"]),
        )
    if account.removing:
        _proofs_to_remove(account, options, found, ours, listed)
    found["stale_certificates"] = [
        {key: one[key] for key in ("provider", "arn", "name")}
        for one in (*ours, *uploaded)
        if one["arn"] != found["certificate"]["arn"]
    ]


def _ours_of_acm(account: Account, listed: Sequence[Answer]) -> list[dict[str, Any]]:
    """The certificates in ACM with our tag, which lists of ACM do not show."""
    ours: list[dict[str, Any]] = []
    for summary in listed:
        arn = summary["CertificateArn"]
        # One that was deleted a moment ago is still listed.
        answer = account.ask(
            "acm", "list_tags_for_certificate", missing=["ResourceNotFoundException"], CertificateArn=arn
        )
        tags = tags_of((answer or {}).get("Tags"))
        if account.is_ours(tags):
            ours.append({"provider": "acm", "arn": arn, "name": tags.get("Name", ""), "domain": summary["DomainName"]})
    return ours


def _ours_of_iam(account: Account) -> list[dict[str, Any]]:
    """The server certificates in IAM below our path."""
    listed = account.ask_all(
        "iam", "list_server_certificates", "ServerCertificateMetadataList", PathPrefix=f"/{account.iam_name}/"
    )
    return [
        {"provider": "iam", "arn": one["Arn"], "name": one["ServerCertificateName"], "domain": ""} for one in listed
    ]


def _requested(
    account: Account, options: Mapping[str, Any], found: dict[str, Any], ours: Sequence[Mapping[str, Any]]
) -> None:
    """The certificate that was requested before, and the zone that proves whose domain it is."""
    variable = "aws_load_balancer_certificate_zone" if options["certificate_zone"] else "aws_load_balancer_zone"
    name = (options["certificate_zone"] or options["zone"]).rstrip(".").lower()
    if not name:
        account.refuse(
            "aws_load_balancer_certificate_provider is request, but no hosted zone is named in which the domain can be proven: write "
            "aws_load_balancer_zone, or another aws_load_balancer_certificate_provider."
        )
        return
    zone_id = _find_zone(account, name, options["domain"], private=False, variable=variable)
    found["certificate_zone"] = {"id": zone_id, "name": name}
    fitting = []
    for one in ours:
        if one["domain"].lower() == options["domain"].lower():
            described = _aws_certificates.describe(account, one["arn"])
            if described.get("Type") == "AMAZON_ISSUED" and described.get("Status") in USABLE:
                fitting.append(described)
    # An issued one first, should an interrupted run have left two.
    fitting.sort(key=lambda described: (described["Status"] != "ISSUED", described["CertificateArn"]))
    for described in fitting[:1]:
        records = _aws_certificates.proofs(described)
        for record in records:
            there = _records(account, zone_id, record["name"], "CNAME") if zone_id else []
            values = [value["Value"].rstrip(".") for one in there for value in one.get("ResourceRecords", [])]
            record["status"] = "there" if values == [record["value"].rstrip(".")] else "missing"
        found["certificate"].update(
            arn=described["CertificateArn"], name=account.name, status=described["Status"], records=records
        )


def _proofs_to_remove(
    account: Account,
    options: Mapping[str, Any],
    found: dict[str, Any],
    ours: Sequence[Mapping[str, Any]],
    listed: Sequence[Answer],
) -> None:
    """The records of certificates that were requested, unless another certificate for the same domain is renewed by them."""
    name = (options["certificate_zone"] or options["zone"]).rstrip(".").lower()
    zone_id = _find_zone(account, name, "", private=False, variable="aws_load_balancer_zone") if name else ""
    if not zone_id:
        return
    found["certificate_zone"] = {"id": zone_id, "name": name}
    mine = {one["arn"] for one in ours}
    others = {one["DomainName"] for one in listed if one["CertificateArn"] not in mine}
    records = [
        record
        for one in ours
        if one["domain"] not in others
        for record in _aws_certificates.proofs(_aws_certificates.describe(account, one["arn"]))
    ]
    by_name = {record["name"]: {**record, "status": "there"} for record in records}
    found["certificate"]["records"] = [
        record for record in by_name.values() if _records(account, zone_id, record["name"], "CNAME")
    ]


def _given(account: Account, options: Mapping[str, Any]) -> None:
    """Judge the certificate that the settings name."""
    arn, variable = options["certificate_arn"], "aws_load_balancer_certificate_arn"
    parsed = _aws_certificates.parse_arn(arn)
    if not parsed:
        account.refuse(
            f"{variable} ({arn or 'empty'}) is no ARN of a certificate: write one such as "
            f"arn:{account.partition}:acm:{account.region}:{account.account_id}:certificate/..., or another "
            "aws_load_balancer_certificate_provider."
        )
        return
    if parsed.service == "iam":
        answer = account.ask(
            "iam",
            "get_server_certificate",
            missing=["NoSuchEntity"],
            ServerCertificateName=parsed.resource.rsplit("/", 1)[-1],
        )
        if not answer:
            account.refuse(f"IAM has no server certificate {arn} ({variable}): correct the ARN.")
            return
        certificate = answer["ServerCertificate"]
        _judge_names(account, options, _aws_certificates.names_of(certificate["CertificateBody"]), arn)
        if _aws_certificates.is_over(certificate["CertificateBody"]):
            account.refuse(f"The certificate {arn} ({variable}) {STATUSES['EXPIRED']}, or write another one.")
        return
    if parsed.region != account.region:
        account.refuse(
            f"The certificate {arn} ({variable}) is in {parsed.region}, and a load balancer takes one of its own region: write one of "
            f"{account.region}."
        )
        return
    described = _aws_certificates.describe(account, arn)
    if not described:
        account.refuse(f"ACM has no certificate {arn} ({variable}): correct the ARN.")
        return
    status = described.get("Status", "")
    if status != "ISSUED":
        say = STATUSES.get(status, f"cannot be used ({status}): request another one")
        account.refuse(f"The certificate {arn} ({variable}) {say}, or write another one.")
    _judge_names(
        account, options, [described.get("DomainName", ""), *described.get("SubjectAlternativeNames", [])], arn
    )


def _judge_names(account: Account, options: Mapping[str, Any], names: Sequence[str], arn: str) -> None:
    if not options["domain"] or _aws_certificates.covers(names, options["domain"]):
        return
    shown = ", ".join(dict.fromkeys(filter(None, names))) or "no name"
    account.refuse(
        f"The certificate {arn} (aws_load_balancer_certificate_arn) is for {shown}, not for {options['domain']} "
        "(aws_load_balancer_domain): write one that covers it, or another domain."
    )


# ----- names ------------------------------------------------------------------------------------


def _zone(account: Account, options: Mapping[str, Any], found: dict[str, Any], given: str = "") -> None:
    """The hosted zone of the domain, and what its records say of it. `given` names a load balancer that is not found by its name."""
    name, domain = options["zone"].rstrip(".").lower(), options["domain"].rstrip(".").lower()
    if not name or not options["record_enabled"]:
        return
    if not domain:
        account.refuse(
            "aws_load_balancer_zone is set, but aws_load_balancer_domain (drydock_domain) is not: write the name that clients use, or "
            "leave the zone out."
        )
        return
    zone_id = _find_zone(account, name, domain, private=options["zone_private"], variable="aws_load_balancer_zone")
    if not zone_id:
        return
    found["zone"].update(id=zone_id, name=name)
    dns_name = (found["load_balancer"] or {}).get("dns_name", "") or given
    for record in _records(account, zone_id, domain, "A", "AAAA", "CNAME"):
        alias = record.get("AliasTarget", {})
        leads_to = str(alias.get("DNSName", "")).rstrip(".").lower().removeprefix("dualstack.")
        ours = bool(leads_to) and (leads_to == dns_name.lower() or was_ours(leads_to, account.name))
        if record["Type"] == "A" and ours and not record.get("SetIdentifier"):
            found["zone"]["record"] = {
                "dns_name": leads_to,
                "zone_id": alias["HostedZoneId"],
                "evaluates": bool(alias["EvaluateTargetHealth"]),
            }
            continue
        values = [str(value["Value"]) for value in record.get("ResourceRecords", [])] or [leads_to or "elsewhere"]
        account.refuse(
            f"aws_load_balancer_domain is {domain}, but its {record['Type']} record in the zone {name} points to {', '.join(values)}, "
            "which is not this deployment's: delete that record first, or write another name, or aws_load_balancer_record_enabled: false."
        )


def was_ours(dns_name: str, name: str) -> bool:
    """Tell whether a name is one that AWS gave a load balancer of this name, which may be gone since."""
    return bool(
        re.fullmatch(
            rf"(?:internal-)?{re.escape(name)}-[0-9a-f]+\.(?:[a-z0-9-]+\.elb|elb\.[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?",
            dns_name,
        )
    )


def _find_zone(account: Account, name: str, domain: str, *, private: bool, variable: str) -> str:
    """The id of the hosted zone of a name that holds the domain; empty, and refused, when there is none."""
    kind = "private" if private else "public"
    if domain and not _aws_zones.holds(name, domain.rstrip(".").lower()):
        account.refuse(
            f"The hosted zone {name} in {variable} does not hold {domain} (aws_load_balancer_domain): write the zone whose name {domain} "
            "ends with."
        )
        return ""
    zones = _aws_zones.listed_from(account, name)
    named = [zone for zone in zones if _aws_zones.name_of(zone) == name]
    fitting = [zone for zone in named if _aws_zones.is_private(zone) == private]
    if len(fitting) == 1:
        return _aws_zones.id_of(fitting[0])
    if fitting:
        account.refuse(_aws_zones.several(kind, name, fitting, variable))
    elif named:
        account.refuse(f"The hosted zone {name} in {variable} is not {kind}: write a {kind} one.")
    else:
        account.refuse(f"{_aws_zones.not_found(name, zones)}: correct {variable}.")
    return ""


def _records(account: Account, zone_id: str, name: str, *types: str) -> list[Answer]:
    """The records of a name, of some types."""
    answer = account.ask(
        "route53",
        "list_resource_record_sets",
        HostedZoneId=zone_id,
        StartRecordName=name,
        StartRecordType=types[0],
        MaxItems="20",
    )
    return [
        record
        for record in (answer or {}).get("ResourceRecordSets", [])
        if record["Name"].rstrip(".").lower() == name.lower() and record["Type"] in types
    ]
