# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet behind a Network Load Balancer: TLS and client certificates end at nginx of the host, which sets itself up at boot.

haproxy plays the load balancer, and passes connections on without looking into them.
"""

from __future__ import annotations

import shutil
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aws_account import changes
from aws_rehearsal import STATE, finished, rehearsal
from fleet import BUCKET, DOMAIN, INVENTORY, MIB, Fleet, round_trip, until
from load import Connection

USERS = ("admin", "build")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where clients keep their certificates, as they do when these are revoked."""
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """One host, which asks for a password and a certificate."""
    with rehearsal(INVENTORY) as started:
        made = Fleet(started)
        made.settings = {
            "aws_load_balancer_type": "network",
            "aws_autoscaling_min_hosts": 1,
            "registry_proxy_client_certificates": "both",
            "registry_tls_provided": {
                "certificate": (STATE / "domain.crt").read_text(encoding="utf-8"),
                "private_key": (STATE / "domain.key").read_text(encoding="utf-8"),
                "ca_certificate": (STATE / "ca.crt").read_text(encoding="utf-8"),
            },
            "registry_auth_users": [{"name": name, "access": "admin"} for name in USERS],
        }
        yield made


def status(fleet: Fleet, user: str, pair: Path | None = None, password: str = "") -> int:
    """Ask for the registry's door as a user, with a certificate or none."""
    context = fleet.context()
    if pair:
        context.load_cert_chain(pair / "client.cert", pair / "client.key")
    login = f"{user}:{password}" if password else fleet.login(user)
    with closing(Connection(fleet.balancer, DOMAIN, context)) as connection:
        connection.request("GET", "/v2/", headers={"Authorization": f"Basic {b64encode(login.encode()).decode()}"})
        return connection.getresponse().status


def test_one_run_makes_a_host_that_asks_for_certificates(fleet: Fleet, pairs: Path) -> None:
    done = fleet.play("site.yml")
    assert changes(done) > 5
    # Its client had a certificate of an hour.
    assert "The registry works" in " ".join(done.stdout.split())
    finished(fleet.play("client_certificates.yml", "-e", f"drydock_client_issue={','.join(USERS)}"))
    shutil.copytree(fleet.credentials / "clients", pairs, dirs_exist_ok=True)


def test_the_hosts_own_certificate_reaches_clients(fleet: Fleet) -> None:
    shown = ssl.get_server_certificate((fleet.balancer, 443))
    assert shown.strip() == fleet.settings["registry_tls_provided"]["certificate"].strip()


def test_who_has_both_gets_in(fleet: Fleet, pairs: Path, tmp_path: Path) -> None:
    assert [status(fleet, user, pairs / user) for user in USERS] == [200, 200]
    # As docker and skopeo find a registry's certificates.
    certificates = tmp_path / "certificates"
    shutil.copytree(pairs / "build", certificates)
    shutil.copy(STATE / "ca.crt", certificates / "ca.crt")
    round_trip(tmp_path, certificates, fleet.login("build"), f"{DOMAIN}/network/skopeo:1", MIB)


@pytest.mark.parametrize(
    ("user", "certificate", "password", "expected"),
    [
        ("build", "", "", 403),
        ("build", "admin", "", 403),
        ("build", "build", "wrong", 401),
        ("nobody", "build", "wrong", 401),
    ],
    ids=["no certificate", "somebody else's certificate", "wrong password", "unknown user"],
)
def test_who_lacks_one_does_not(
    fleet: Fleet, pairs: Path, user: str, certificate: str, password: str, expected: int
) -> None:
    assert status(fleet, user, pairs / certificate if certificate else None, password) == expected


def test_a_revoked_certificate_opens_nothing_a_minute_later(fleet: Fleet, pairs: Path) -> None:
    (before,) = fleet.healthy(1)
    finished(fleet.play("client_certificates.yml", "-e", "drydock_client_revoke=build"))
    assert changes(fleet.play("fleet_users.yml")) > 0
    until(lambda: status(fleet, "build", pairs / "build") == 403, "the certificate is refused")
    assert status(fleet, "admin", pairs / "admin") == 200
    assert fleet.healthy(1) == [before]


def test_teardown_takes_all_of_it_down(fleet: Fleet) -> None:
    finished(fleet.play("teardown.yml", "-e", f"drydock_teardown_bucket={BUCKET}"))
    get = fleet.client
    assert get("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert get("elbv2").describe_target_groups()["TargetGroups"] == []
    assert get("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert get("s3").list_buckets()["Buckets"] == []
