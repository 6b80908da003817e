# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that most other tests start from: they serve when they have started, and two of them are no twins."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from deployment import ADDRESS, Deployment, deployed_hosts
from into_host import into

# What tells hosts apart, and what only one of them may know.
OWN = (
    "/etc/machine-id",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/drydock/ca/ca.crt",
    "/etc/drydock/ca/ca.key",
    "/etc/drydock/tls/ca.crt",
    "/etc/drydock/tls/tls.crt",
    "/etc/drydock/tls/tls.key",
    "/etc/drydock/server/http.secret",
    "/etc/drydock/registry/config.yml",
)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed_hosts(Deployment("deployed_hosts", tmp_path_factory.mktemp("hosts"))) as made:
        yield made


def identity(container: str) -> dict[str, str]:
    """Return the checksums of what is a host's own."""
    done = subprocess.run([*into(container), "sha256sum", *OWN], capture_output=True, text=True, check=True)
    return {path: checksum for checksum, path in (line.split() for line in done.stdout.splitlines())}


def serving(deployment: Deployment) -> None:
    """See that the registry answers by the certificate of the host's own CA, and lets nobody in."""
    deployment.healthy_again()
    assert deployment.status("/v2/") == 401
    names = deployment.host("openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", "/etc/drydock/tls/tls.crt")
    assert f"DNS:{ADDRESS}" in names.stdout


def test_it_serves_when_it_has_started(deployment: Deployment) -> None:
    start = time.monotonic()
    serving(deployment)
    print(f"after {time.monotonic() - start:.1f} s more")
    # Nobody knows a password of the image's users.
    assert deployment.host("cat", "/etc/drydock/auth/htpasswd").stdout == ""


def test_two_hosts_share_no_key_and_no_name(deployment: Deployment) -> None:
    one, other = (identity(container) for container in deployment.names.values())
    assert {path for path in OWN if one[path] == other[path]} == set()
    secret = deployment.host("cat", "/etc/drydock/server/http.secret").stdout
    assert secret in deployment.host("cat", "/etc/drydock/registry/config.yml").stdout


def test_another_start_changes_nothing(deployment: Deployment) -> None:
    container = deployment.names[ADDRESS]
    before = identity(container)
    images = deployment.host("docker", "images", "--quiet").stdout
    subprocess.run(["docker", "restart", container], check=True, capture_output=True)
    serving(deployment)
    assert identity(container) == before
    assert deployment.host("docker", "images", "--quiet").stdout == images
