# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: each kind gets one sentence that names the variable and the fix, and nothing is changed.

One bare host, without Docker and without Python libraries, stands for many in one run of site.yml; each has other things wrong.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from into_host import into

ROOT = Path(__file__).parents[2]
CONTAINER = f"drydock-refusals-{os.getpid()}"


class Case(NamedTuple):
    """What is set, and words of each sentence that the refusal has."""

    settings: dict[str, Any]
    sentences: list[tuple[str, ...]]


def certificate(name: str, days: int) -> dict[str, str]:
    """A certificate for one name, signed by itself, that began 60 days ago and ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"crt": made.public_bytes(serialization.Encoding.PEM).decode(), "key": text.decode()}


def provided(pair: dict[str, str], key: str | None = None) -> dict[str, Any]:
    return {
        "registry_tls_provider": "provided",
        "registry_tls_provided": {"certificate": pair["crt"], "private_key": key or pair["key"]},
    }


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    good = certificate("registry.example.com", 30)
    other = certificate("other.example.com", 30)
    expired = certificate("registry.example.com", -1)

    def users(*entries: dict[str, Any]) -> dict[str, Any]:
        return {"registry_auth_users": list(entries)}

    def config(**keys: Any) -> dict[str, Any]:
        return {"registry_server_config": keys, "registry_server_version": "2.8"}

    # Mistakes of several roles on one host, since all of them are said together.
    return {
        "choices": Case(
            {
                "registry_tls_provider": "acme2",
                "registry_server_storage_provider": "azure",
                "registry_proxy_image_provider": "build",
            },
            [
                ("registry_tls_provider", "self_signed", "provided"),
                ("registry_server_storage_provider", "filesystem", "s3"),
                ("registry_proxy_image_provider", "archive"),
            ],
        ),
        "several-roles": Case(
            {"docker_engine_provider": "podman", "registry_tls_valid_days": 0, "registry_auth_bcrypt_cost": 3},
            [
                ("docker_engine_provider", "distribution"),
                ("registry_tls_valid_days",),
                ("registry_auth_bcrypt_cost is 3",),
            ],
        ),
        "users": Case(
            {
                **users(
                    {"name": "ann"},
                    {"name": "ann"},
                    {"name": "ann:bob"},
                    {"name": "eve", "password": ""},
                    {"name": "lou", "password": "ä" * 37},
                    {"name": "wim", "access": "write"},
                    {"name": "pat", "repositories": ["Team/*"]},
                ),
                "drydock_domain": "https://registry.example.com",
                "registry_proxy_https_port": 70000,
                # Nobody says how much there is.
                "registry_proxy_quotas": [{"repositories": ["**"], "quota_gib": 1}],
                "registry_maintenance_daily": [],
                "registry_server_filesystem_reserve_percent": 51,
            },
            [
                ("registry_server_filesystem_reserve_percent is 51",),
                ("registry_auth_users", "'ann'", "2 times"),
                ("registry_auth_users", "ann:bob", "colon"),
                ("registry_auth_users", "eve", "empty"),
                ("registry_auth_users", "lou", "72"),
                ("wim", "write", "pull, create, push, admin or metrics"),
                ("pat", "Team/*", "upper-case"),
                ("registry_tls_domain", "https"),
                ("registry_proxy_https_port", "65535"),
                ("registry_proxy_quotas", "registry_proxy_storage_report is empty"),
            ],
        ),
        "no-users": Case(
            {"registry_auth_users": [], "drydock_domain": "", "registry_proxy_https_port": 8443},
            [
                ("registry_auth_users",),
                ("registry_tls_domain",),
                ("registry_proxy_https_port", "8443", "another program"),
            ],
        ),
        "misspelt-user": Case(
            {
                **users({"name": "ann", "pasword": "hidden-in-messages"}),
                "drydock_domain": "my_registry.example.com",
                "registry_proxy_listen_address": "eth0",
                # The look at the host asks for this folder, before anything is validated.
                "registry_server_filesystem_directory": {"path": "/srv"},
            },
            [
                ("registry_server_filesystem_directory is a mapping; write a text",),
                ("pasword",),
                ("registry_tls_domain", "_"),
                ("registry_proxy_listen_address", "IPv4 or IPv6 address"),
            ],
        ),
        "acme-for-localhost": Case(
            {
                "registry_tls_provider": "acme",
                "registry_tls_acme_email": "a@example.com",
                "drydock_domain": "localhost",
                # As YAML reads a bare `off`.
                "registry_proxy_client_certificates": False,
                "registry_server_filesystem_directory": "data",
            },
            [
                ("localhost",),
                ("registry_proxy_client_certificates", '"off" in quotes'),
                ("registry_server_filesystem_directory", "absolute"),
            ],
        ),
        "acme-without-email": Case(
            {
                "registry_tls_provider": "acme",
                **config(
                    storag={},
                    redis={"addrs": ["x:1"]},
                    storage={"tag": {"concurrencylimit": 8}, "filesystem": {"rootdirectory": "/data"}},
                    auth={"htpasswd": {}},
                    notifications={"endpoints": []},
                ),
                "registry_server_network_enabled": False,
            },
            [
                ("registry_tls_acme_email",),
                ("registry_server_config.storag:", "storage"),
                ("registry_server_config.redis", "2.8"),
                ("registry_server_config.storage.tag", "2.8"),
                (
                    "registry_server_config.storage.filesystem.rootdirectory",
                    "registry_server_filesystem_directory",
                ),
                ("registry_server_config.auth", "registry_auth_users"),
                ("registry_server_config.notifications", "registry_server_network_enabled"),
            ],
        ),
        "no-bucket": Case(
            {
                "registry_server_storage_provider": "s3",
                "registry_server_s3": {"region": "eu-west-1"},
                "registry_server_image_provider": "archive",
                "registry_server_image_archive": "/nowhere/registry.tar",
                "registry_mirror_upstreams": [
                    {"name": "Hub", "registry": "docker.io"},
                    {"name": "ghcr", "registry": "ghcr.io", "password": "hidden-in-messages"},
                ],
            },
            [
                ("registry_server_s3.bucket",),
                ("registry_server_image_archive", "/nowhere/registry.tar"),
                ("Entry 1 in registry_mirror_upstreams", "'Hub'"),
                ("Entry 2 in registry_mirror_upstreams", "a password alone"),
                ("registry_mirror_upstreams", "in a bucket"),
            ],
        ),
        "key-of-another": Case(
            {**provided(good, other["key"]), "registry_server_filesystem_directory": "/mnt/read-only/registry"},
            [("registry_tls_provided", "private_key"), ("registry_server_filesystem_directory", "read-only")],
        ),
        "name-of-another": Case(
            {**provided(other), "registry_server_filesystem_directory": "/srv/old"},
            [
                ("registry_tls_provided", "registry.example.com"),
                (
                    "registry_server_filesystem_directory",
                    "/srv/old/docker",
                    "registry_server_filesystem_adopt_enabled",
                ),
            ],
        ),
        "expired": Case(
            {
                **provided(expired),
                **config(storage={"filesystem": None, "gcs": {"bucket": "b"}}),
                "registry_server_image_provider": "debian",
            },
            [
                ("registry_tls_provided", "expired"),
                ("registry_server_config.storage.gcs", "registry_server_image_provider", "pull"),
            ],
        ),
        "no-pem": Case(
            {
                **provided({"crt": "/etc/ssl/my.crt", "key": good["key"]}),
                "registry_maintenance_retention": [{"keep_newest": 1}],
                "registry_maintenance_wait_hours": -1,
            },
            [
                ("registry_tls_provided", "certificate"),
                ("Rule 1 of registry_maintenance_retention has no `repositories`",),
                ("registry_maintenance_wait_hours is -1",),
            ],
        ),
        "python-library": Case(
            {"ansible_python_interpreter": "/opt/bare/bin/python"},
            [("/opt/bare/bin/python -m pip install", "cryptography")],
        ),
    }


def playbook(inventory: dict[str, Any], folder: Path, *options: str) -> dict[str, Any]:
    """Run site.yml; return Ansible's own record of it."""
    path = folder / "hosts.json"
    path.write_text(json.dumps(inventory))
    environment = {
        **os.environ,
        "ANSIBLE_CONNECTION_PLUGINS": str(ROOT / "tests/hosts/connection"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_HOME": str(ROOT / ".ansible"),
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", path, "playbooks/site.yml", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert "{" in done.stdout, done.stdout + done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])  # type: ignore[no-any-return]


def failures(record: dict[str, Any]) -> dict[str, list[str]]:
    """The message of each failed task, by host."""
    found: dict[str, list[str]] = {}
    for play in record["plays"]:
        for task in play["tasks"]:
            for host, result in task["hosts"].items():
                if result.get("failed"):
                    errors = result.get("argument_errors") or [result.get("msg") or repr(result)]
                    found.setdefault(host, []).append(" ".join(errors))
    return found


def in_host(script: str) -> str:
    return subprocess.run(
        [*into(CONTAINER), "sh", "-ec", script], input="", capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def bare_host() -> Iterator[None]:
    """A host without Docker, on which a few things are as they should not be."""
    subprocess.run([ROOT / "tests/hosts/build", "debian12"], check=True, capture_output=True)
    subprocess.run(
        [
            *("docker", "run", "--detach", "--name", CONTAINER, "--init", "--cap-add", "SYS_ADMIN"),
            *("--security-opt", "apparmor=unconfined", "drydock-test-host:debian12", "sleep", "1800"),
        ],
        check=True,
        capture_output=True,
    )
    try:
        in_host("mkdir -p /mnt/read-only && mount -t tmpfs -o ro none /mnt/read-only")
        in_host("mkdir -p /srv/old/docker/registry")
        in_host("python3 -m venv --without-pip /opt/bare")
        in_host("setsid python3 -m http.server 8443 >/dev/null 2>&1 &")
        yield
    finally:
        subprocess.run(["docker", "rm", "--force", CONTAINER], check=True, capture_output=True)


@pytest.fixture(scope="module")
def record(bare_host: None, cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    del bare_host
    common = {
        "ansible_connection": "test_host",
        "ansible_host": CONTAINER,
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "drydock_domain": "registry.example.com",
        "registry_auth_users": [{"name": "admin", "password": "correct", "access": "admin"}],
    }
    hosts = {name: case.settings for name, case in cases.items()}
    before = in_host("find /etc /var/lib /srv /usr -newer /proc/1 -type f | sort; cat /etc/passwd")
    found = playbook({"registry": {"hosts": hosts, "vars": common}}, tmp_path_factory.mktemp("inventory"))
    assert in_host("find /etc /var/lib /srv /usr -newer /proc/1 -type f | sort; cat /etc/passwd") == before
    return found


def test_each_is_refused_once_and_in_words_that_help(record: dict[str, Any], cases: dict[str, Case]) -> None:
    found = failures(record)
    for name, case in cases.items():
        assert len(found.get(name, [])) == 1, f"{name}: {found.get(name)}"
        for words in case.sentences:
            assert any(all(word in line for word in words) for line in found[name][0].splitlines()), (
                f"{name}: no sentence has {words}: {found[name][0]}"
            )


def test_nothing_was_changed(record: dict[str, Any], cases: dict[str, Case]) -> None:
    for name in cases:
        counts = record["stats"][name]
        assert (counts["changed"], counts["failures"]) == (0, 1), f"{name}: {counts}"


def test_no_secret_is_shown(record: dict[str, Any]) -> None:
    text = json.dumps(record)
    for secret in ("PRIVATE KEY", "ä" * 37, "\\u00e4" * 37, "hidden-in-messages"):
        assert secret not in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"drydock_platform": "moon"}, ("drydock_platform is moon", "`host`")),
        ({"__common_ansible_core_minimum": "99.0"}, ("ansible-core", "too old", "pip install --upgrade ansible-core")),
        ({"__common_supported_distributions": ["Plan 9"]}, ("runs Debian 12", "use one of Plan 9")),
    ],
    ids=["platform", "ansible-core", "system"],
)
@pytest.mark.usefixtures("bare_host")
def test_run_is_refused(settings: dict[str, Any], words: tuple[str, ...], tmp_path: Path) -> None:
    host = {"ansible_connection": "test_host", "ansible_host": CONTAINER, "ansible_user": "root"}
    found = playbook({"registry": {"hosts": {"bare": host}}}, tmp_path, "--extra-vars", json.dumps(settings))
    messages = [message for each in failures(found).values() for message in each]
    assert len(messages) == 1
    assert all(word in messages[0] for word in words), messages[0]


def test_inventory_without_a_registry_is_refused(tmp_path: Path) -> None:
    found = playbook({"web": {"hosts": {"one": {}}}}, tmp_path)
    assert "no host in the group `registry`" in failures(found)["localhost"][0]
