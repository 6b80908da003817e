# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet cannot have is refused by the playbook before anything is made, in a sentence for each mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_account import ROOT, Account, aws_account, changed_tasks, changes, refusals

INVENTORY = ROOT / "inventories/fleet"


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with aws_account() as made:
        made.client("route53").create_hosted_zone(Name="example.test", CallerReference="fleet")
        yield made


def common_settings(credentials: Path) -> dict[str, Any]:
    return {
        "drydock_deployment": "team",
        "drydock_domain": "registry.example.test",
        "drydock_credentials_directory": str(credentials),
        "aws_storage_bucket": "team-images",
        "aws_load_balancer_zone": "example.test",
        "registry_auth_users": [{"name": "admin", "access": "admin"}],
    }


def made(account: Account) -> list[str]:
    """Return the names of what costs money or holds data."""
    return [
        *(each["LoadBalancerName"] for each in account.client("elbv2").describe_load_balancers()["LoadBalancers"]),
        *(each["Name"] for each in account.client("s3").list_buckets()["Buckets"]),
        *(each["RoleName"] for each in account.client("iam").list_roles()["Roles"]),
    ]


def test_a_dry_run_in_an_empty_account_makes_nothing_anywhere(account: Account, tmp_path: Path) -> None:
    done = account.run_playbook(
        ROOT / "playbooks/provision.yml",
        f"--inventory={INVENTORY}",
        f"--extra-vars={json.dumps({**common_settings(tmp_path), 'drydock_logs_enabled': True})}",
        "--check",
    )
    assert changes(done) > 0
    assert "Ensure the log group, and how long it keeps logs" in changed_tasks(done)
    assert "Report what a dry run would change, and hosts that stay outdated" in changed_tasks(done)
    assert made(account) == []
    assert list(tmp_path.iterdir()) == []


# What is set, and what the refusal says.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "for-one-host": (
        {
            "registry_proxy_client_certificates": "required",
            "registry_tls_provider": "acme",
            "registry_server_storage_provider": "filesystem",
            "registry_server_image_provider": "archive",
            "registry_maintenance_daily": ["collect"],
            "registry_mirror_upstreams": [{"name": "hub", "registry": "docker.io"}],
            "aws_autoscaling_bundle_bucket": "team-images",
            "aws_load_balancer_target_group_arn": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/x/1",
        },
        [
            "registry_proxy_client_certificates is required, but aws_load_balancer_type is application",
            "registry_tls_provider is acme",
            "registry_server_storage_provider is filesystem",
            "is archive, a file that only this machine has",
            'registry_maintenance_daily is ["collect"], which each of many would do in the one bucket',
            "registry_mirror_upstreams names registries to mirror, and what a mirror gets is kept in a folder of one host",
            "aws_autoscaling_bundle_bucket is team-images, as aws_storage_bucket is",
            "aws_network_load_balancer_security_group_ids is empty; write the security groups of that load balancer",
        ],
    ),
    # TLS that is passed through needs one certificate for all hosts.
    "network": (
        {
            "aws_load_balancer_type": "network",
            "registry_server_image_provider": "pull",
            "registry_server_image_reference": "registry:2",
        },
        [
            "registry_tls_provided is empty, but aws_load_balancer_type is network",
            "registry:2 is registry 2.8, which cannot get credentials on a host made here",
        ],
    ),
    # Hosts are not made of settings that they would refuse.
    "key": ({"registry_server_config": {"htp": {}}}, ["registry_server_config.htp"]),
    "hosts": (
        {
            "registry_server_redis": {"address": "cache.example.test"},
            "registry_server_http_secret": "short",
            "registry_proxy_realm": "a\nb",
            "registry_proxy_quotas": [{"repositories": ["**"], "quota_gib": 1}],
        },
        [
            "registry_server_redis.address is",
            "registry_server_http_secret has fewer than 32 characters",
            "registry_proxy_realm may hold",
            "registry_proxy_quotas has quotas, but",
        ],
    ),
    # The default VPC has public subnets alone, where nobody gets out without a public address.
    "hidden": (
        {"aws_autoscaling_public_ip_enabled": False},
        ["no way out for hosts without public addresses", "aws_network_way_out"],
    ),
    # Where nothing leaves the network, hosts start from a golden image by default.
    "shut-in": (
        {"aws_autoscaling_public_ip_enabled": False, "aws_network_way_out": "endpoints"},
        ["has no golden image of the deployment team"],
    ),
    "packages": (
        {
            "aws_autoscaling_public_ip_enabled": False,
            "aws_network_way_out": "endpoints",
            "aws_autoscaling_image_provider": "parameter",
        },
        ["aws_autoscaling_image_provider is parameter, on which a host installs packages"],
    ),
    "none": (
        {"aws_autoscaling_min_hosts": 0, "aws_autoscaling_max_hosts": 0},
        ["aws_autoscaling_min_hosts is 0", "aws_autoscaling_max_hosts is 0"],
    ),
}


@pytest.fixture(scope="module")
def said(account: Account, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what each case was refused with."""
    common = common_settings(tmp_path_factory.mktemp("credentials"))
    cases = {name: common | mistake for name, (mistake, _) in REFUSED.items()}
    return refusals(account, "autoscaling", INVENTORY, cases)


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_gets_its_sentence(said: dict[str, str], name: str) -> None:
    assert [sentence for sentence in REFUSED[name][1] if sentence not in said[name]] == [], said[name]


@pytest.mark.usefixtures("said")
def test_nothing_is_made_of_a_mistake(account: Account) -> None:
    assert made(account) == []
