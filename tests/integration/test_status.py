# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on a registry: on a bare host, where all is well, and with one thing after another broken and mended again.

One host serves all tests, which run in the order of this file.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from deployment import ADDRESS, CRL, Deployment, deployed_hosts, results
from http_proxy import HttpProxy, http_proxy
from moto.server import ThreadedMotoServer

TLS = "/etc/drydock/tls/tls.crt"
ACCESS = "/etc/drydock/auth/access.json"
STORAGE = "/var/lib/drydock/registry"
HOUR = datetime.timedelta(hours=1)


class Status(NamedTuple):
    """What a run of the playbook says and does."""

    returncode: int
    report: dict[str, Any]
    screen: list[str]
    changed: list[str]
    failures: list[str]
    reports: dict[str, Any]

    def about(self, level: str) -> list[str]:
        """What the problems of a level are about."""
        return [problem["about"] for problem in self.report["problems"] if problem["level"] == level]

    def message(self, about: str) -> str:
        """The sentence on a problem, which is also on the screen."""
        found = [problem["message"] for problem in self.report["problems"] if problem["about"] == about]
        assert found, self.report["problems"]
        assert found[0] in " ".join(" ".join(self.screen).split()).replace("CRITICAL ", "").replace("WARNING ", "")
        return str(found[0])


def look(deployment: Deployment, *options: str) -> Status:
    """Run the playbook."""
    path = deployment.folder / "status.json"
    path.unlink(missing_ok=True)
    with deployment.start("status.yml", f"--extra-vars=drydock_status_json={path}", *options) as process:
        stdout, stderr = process.communicate(timeout=120)
    done = results(process.returncode, stdout, stderr)
    tasks = json.loads(stdout[stdout.index("{") :])["plays"][0]["tasks"]
    shown = [task["hosts"][ADDRESS]["msg"] for task in tasks if task["task"]["name"] == "Show the report"]
    assert shown, f"{done.failures}\n{stderr}"
    reports = json.loads(path.read_text(encoding="utf-8"))
    return Status(done.returncode, reports[ADDRESS], shown[0].splitlines(), done.changed, done.failures, reports)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A registry, and one client with a certificate."""
    with deployed_hosts(Deployment("status", tmp_path_factory.mktemp("status"), "debian12-deployed")) as made:
        made.play("configure.yml", "--tags=users,proxy")
        made.play("client_certificates.yml", "--extra-vars=drydock_client_issue=ci")
        yield made


@contextmanager
def different(deployment: Deployment, path: str, text: str) -> Iterator[None]:
    """Put something else into a file on the host, and back."""
    before = deployment.host("cat", path).stdout
    deployment.host("sh", "-c", f"cat >{path}", stdin=text)
    try:
        yield
    finally:
        deployment.host("sh", "-c", f"cat >{path}", stdin=before)


def begin_upload(deployment: Deployment) -> str:
    """Begin an upload as a client does; return what is said against it."""
    deployment.passwords["alice"] = (deployment.folder / "credentials/alice.password").read_text().strip()
    return deployment.host(
        *("curl", "-ks", "--request", "POST", "--config", "-", f"https://{ADDRESS}/v2/team/app/blobs/uploads/"),
        stdin=f'user = "alice:{deployment.passwords["alice"]}"\n',
    ).stdout


def test_a_bare_host_makes_a_report(tmp_path: Path) -> None:
    with deployed_hosts(Deployment("status", tmp_path, "debian12")) as bare:
        made = look(bare)
    assert made.returncode == 2
    assert made.report["status"] == "critical"
    assert {"service", "containers", "server's certificate", "users", "storage"} <= set(made.about("critical"))
    assert "docker is not installed" in made.message("containers")
    assert made.failures
    assert made.changed == []


def test_all_is_well(deployment: Deployment) -> None:
    before = deployment.containers()
    made = look(deployment)
    assert (made.returncode, made.report["problems"], made.failures) == (0, [], [])
    assert made.report["status"] == "ok"
    assert made.screen[0].startswith(f"{ADDRESS} on {ADDRESS}: all is well (")
    assert max(map(len, made.screen)) <= 94

    certificates = {one["what"]: one for one in made.report["certificates"]}
    assert set(certificates) == {"server's", "server CA's", "client CA's"}
    assert certificates["server's"]["loaded"] is True
    assert certificates["server's"]["names"] == [ADDRESS]
    assert 89 < certificates["server's"]["days_left"] <= 90
    assert [one["revoked"] for one in made.report["crls"]] == [0]
    users = {user["name"]: user for user in made.report["users"]}
    assert (users["alice"]["access"], users["alice"]["password"], users["alice"]["certificate"]) == (
        "admin",
        True,
        False,
    )
    assert (users["ci"]["repositories"], users["ci"]["password"], users["ci"]["certificate"]) == (
        ["team-a/*"],
        False,
        True,
    )
    assert [one["name"] for one in made.report["client_certificates"]] == ["ci"]
    assert {one["name"]: (one["state"], one["answer"]) for one in made.report["containers"]} == {
        "drydock-proxy": ("running", 200),
        "drydock-passwords": ("running", None),
        "drydock-registry-a": ("running", 200),
        "drydock-registry-b": ("running", 200),
    }
    assert made.report["service"]["loaded"] is True
    assert 0 < made.report["storage"]["free_percent"] <= 100
    # No hash leaves the host.
    assert "$2" not in json.dumps(made.reports)

    dry = look(deployment, "--check")
    assert (dry.returncode, dry.changed, dry.report["problems"]) == (0, [], [])
    for part in ("renewal", "users", "service", "containers"):
        assert dry.report[part] == made.report[part]
    assert deployment.containers() == before


def test_warnings_fail_only_when_asked(deployment: Deployment) -> None:
    warned = look(deployment, "--extra-vars=drydock_status_warn_days=91")
    assert (warned.returncode, warned.report["status"]) == (0, "warning")
    assert warned.about("warning") == ["server's certificate", "client certificates"]
    options = ("--extra-vars=drydock_status_warn_days=91", "--extra-vars=drydock_status_strict=true")
    strict = look(deployment, *options)
    assert (strict.returncode, strict.report["status"]) == (2, "warning")
    assert warned.message("client certificates") in strict.failures[0]


def test_a_stopped_container_and_a_host_that_is_gone(deployment: Deployment) -> None:
    gone = deployment.folder / "gone.json"
    variables = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    gone.write_text(json.dumps({"registry": {"hosts": {"gone.test": variables}}}), encoding="utf-8")
    deployment.host("docker", "stop", "drydock-registry-b")
    try:
        made = look(deployment, f"--inventory={gone}")
    finally:
        deployment.host("docker", "start", "drydock-registry-b")
    assert made.returncode == 2
    # The other registry serves on, and one of two is to be mended all the same.
    assert made.report["service"]["status"] == 200
    assert made.about("critical") == ["container drydock-registry-b"]
    assert "docker start drydock-registry-b" in made.message("container drydock-registry-b")
    assert made.reports["gone.test"]["status"] == "critical"
    assert "gone.test cannot be reached" in made.reports["gone.test"]["problems"][0]["message"]


def expired_certificate() -> str:
    """A certificate for the registry that ended an hour ago, from an authority that nobody knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ADDRESS)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 90 * 24 * HOUR)
        .not_valid_after(now - HOUR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(ADDRESS)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def expired_crl(folder: Path) -> str:
    """A revocation list of the deployment's own client CA that ended an hour ago."""
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()).subject
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateRevocationListBuilder(issuer, now - 48 * HOUR, now - HOUR).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def test_expired_and_not_loaded(deployment: Deployment) -> None:
    clients = deployment.folder / "credentials/clients"
    with different(deployment, TLS, expired_certificate()), different(deployment, CRL, expired_crl(clients)):
        made = look(deployment)
    assert made.returncode == 2
    assert made.about("critical").count("server's certificate") == 2
    assert "run playbooks/site.yml, which renews it" in made.message("server's certificate")
    assert any("nginx still shows another certificate" in problem["message"] for problem in made.report["problems"])
    assert "nginx refuses every client certificate" in made.message("client CA's revocation list")
    assert made.report["certificates"][0]["loaded"] is False
    assert made.report["service"]["loaded"] is False


def test_broken_users_and_a_full_disk(deployment: Deployment) -> None:
    deployment.host("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", STORAGE)
    try:
        # It ends when nothing is left.
        deployment.host("dd", "if=/dev/zero", f"of={STORAGE}/layer", "bs=100k", check=False)
        refused = deployment.until(lambda: begin_upload(deployment))
        health = deployment.host("curl", "-ks", "https://127.0.0.1/healthz").stdout
        assert deployment.status("/v2/team/app/tags/list", user="alice") == 404
        with different(deployment, ACCESS, '{"users": '):
            made = look(deployment)
    finally:
        deployment.host("umount", STORAGE)
    # Before the disk is full, and only for as long.
    assert "has no room for another upload, or is read-only; pulls go on. Delete images" in refused
    assert health == "pulls go on; new uploads are refused, since the disk has no room for them or is read-only\n"
    deployment.until(lambda: begin_upload(deployment) == "")
    assert made.returncode == 2
    assert "is no list of users" in made.message("users")
    assert "is full but for" in made.message("storage")
    assert "so new uploads are refused" in made.message("storage")
    assert made.report["storage"]["own_file_system"] is True
    assert made.report["storage"]["used_bytes"] == 4 * 1024**2


def test_docker_is_down(deployment: Deployment) -> None:
    deployment.host("systemctl", "stop", "docker.socket", "docker.service")
    try:
        made = look(deployment)
    finally:
        deployment.host("systemctl", "start", "docker.service")
        deployment.healthy_again()
    assert made.returncode == 2
    assert "Docker does not answer" in made.message("containers")
    assert {one["state"] for one in made.report["containers"]} == {""}
    # What lies on the disk is told all the same.
    assert 89 < made.report["certificates"][0]["days_left"] <= 90
    assert [user["name"] for user in made.report["users"]] == ["alice", "ci"]


REGISTRIES = ("drydock-registry-a", "drydock-registry-b")
# An upload of one request leaves a layer and no image, which is all that these tests pull.
LAYER = "sha256:" + hashlib.sha256(b"layer").hexdigest()


def pulled(deployment: Deployment) -> str:
    """Pull the layer from the second registry."""
    socket = "/var/lib/drydock/sockets/registry-b.sock"
    return deployment.host("curl", "-sS", "--unix-socket", socket, f"http://x/v2/team/app/blobs/{LAYER}").stdout


def test_a_registry_shows_that_its_storage_works_before_the_next_one_is_touched(deployment: Deployment) -> None:
    socket = "/var/lib/drydock/sockets/registry-a.sock"
    begin = f"curl -sS --unix-socket {socket} -o /dev/null -w '%header{{location}}' -X POST http://x/v2/team/app/blobs/uploads/"
    put = (
        f"curl -sS --fail --unix-socket {socket} -X PUT -H 'Content-Type: application/octet-stream' --data-binary layer"
    )
    deployment.host("sh", "-ec", f'{put} "$({begin})&digest={LAYER}"')
    before = deployment.containers()
    repositories = f"{STORAGE}/docker/registry/v2/repositories"
    deployment.host("find", repositories, "-type", "d", "-exec", "chmod", "0500", "{}", "+")
    try:
        refused = deployment.attempt("configure.yml", "--tags=server", "--extra-vars=registry_server_log_level=debug")
    finally:
        deployment.host("find", repositories, "-type", "d", "-exec", "chmod", "0755", "{}", "+")
    assert refused.returncode == 2
    assert "it cannot write to its storage (Permission denied)" in refused.failures[0]
    assert "It was stopped, so that no request reaches it" in refused.failures[0]
    after = deployment.containers()
    assert after[REGISTRIES[0]].pid == 0
    assert after[REGISTRIES[1]] == before[REGISTRIES[1]]
    assert all(deployment.status("/healthz") == 200 for _ in range(10))
    assert pulled(deployment) == "layer"


def test_another_folder_never_puts_images_out_of_sight(deployment: Deployment) -> None:
    moved = "/srv/moved"
    deployment.settings["registry_server_filesystem_directory"] = moved
    refused = deployment.attempt("configure.yml", "--tags=server")
    assert refused.returncode == 2
    for command in (f"`mkdir -p {moved}`", f"`cp -a {STORAGE}/. {moved}/`"):
        assert command in refused.failures[0]
    # As somebody does it who is root, and does not keep the owner. Only one file deep below is another one's.
    deployment.host(
        "sh",
        "-ec",
        f"mkdir -p {moved} && cp -a {STORAGE}/. {moved}/ && chown root {moved}/docker/registry/v2/blobs/*/*/*/data",
    )
    refused = deployment.attempt("configure.yml", "--tags=server")
    assert "registry_server_filesystem_adopt_enabled" in refused.failures[0]
    deployment.play("configure.yml", "--extra-vars={registry_server_filesystem_adopt_enabled: true}")
    for name in REGISTRIES:
        mounts = json.loads(deployment.host("docker", "inspect", "--format", "{{json .Mounts}}", name).stdout)
        assert moved in [mount["Source"] for mount in mounts]
    assert deployment.host("find", f"{moved}/docker", "!", "-user", "drydock").stdout == ""
    assert pulled(deployment) == "layer"
    assert deployment.play("configure.yml", "--tags=server").changed == []


@pytest.mark.parametrize(("address", "away"), [("127.0.0.1:1", True), ("127.0.0.1:443", False)], ids=["away", "there"])
def test_a_run_says_that_redis_is_away(deployment: Deployment, address: str, *, away: bool) -> None:
    """And a dry run, too, which says it of none that answers; nginx stands for that one."""
    redis = json.dumps({"registry_server_redis": {"address": address}})
    with deployment.start("configure.yml", "--check", "--tags=server", f"--extra-vars={redis}") as process:
        stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stdout[-3000:] + stderr
    sentence = f"registry_server_redis.address is {address}, where nothing answers to {ADDRESS}: the registry serves without that cache"
    assert (sentence in stdout) == away


@pytest.mark.parametrize(
    "setting", ["drydock_status_warn_days=soon", "drydock_status_json=-", "drydock_status_json=/dev/stdout"]
)
def test_refuses_settings_that_make_no_sense(deployment: Deployment, setting: str) -> None:
    refused = deployment.attempt("status.yml", f"--extra-vars={setting}")
    assert refused.returncode == 2
    assert setting.partition("=")[0] in refused.failures[0]


def test_all_is_well_in_the_end(deployment: Deployment) -> None:
    made = look(deployment)
    # A registry that was just started again after it failed is told; here none was.
    assert (made.returncode, made.report["problems"]) == (0, [])


# ---- a bucket, which is reached through a proxy only ----


@pytest.fixture
def bucket(deployment: Deployment) -> Iterator[HttpProxy]:
    """Keep images in a bucket from now on; yield what leads to it."""
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    store.start()
    host, port = store.get_host_and_port()
    keys = {"region_name": "eu-central-1", "aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
    client.create_bucket(Bucket="images", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    with http_proxy({"s3.nowhere.test": (host, port)}) as proxy:
        deployment.settings |= {
            "registry_server_storage_provider": "s3",
            "registry_server_s3": {
                "bucket": "images",
                "region": "eu-central-1",
                "endpoint": "http://s3.nowhere.test",
                "access_key": "tests",
                "secret_key": "tests",
            },
            "registry_server_storage_change_enabled": True,
            "registry_server_outgoing_proxy": {"http": f"http://{deployment.gateway}:{proxy.server_port}"},
        }
        deployment.play("configure.yml", "--tags=server")
        yield proxy
    store.stop()


def test_a_bucket_that_takes_nothing_is_told_from_one_that_is_away(deployment: Deployment, bucket: HttpProxy) -> None:
    # A registry that was made has shown that it reads and writes.
    assert {"GET", "POST", "PUT"} <= {one.method for one in bucket.passed}
    assert look(deployment).returncode == 0
    bucket.writable = False
    made = look(deployment)
    assert made.about("critical") == [f"container {name}" for name in REGISTRIES]
    assert "it cannot write to its storage" in made.message(f"container {REGISTRIES[0]}")
    assert deployment.status("/healthz") == 200

    bucket.opened.clear()
    # An answer counts for five seconds. nginx limits itself how long the next one takes.
    time.sleep(6)
    start = time.monotonic()
    assert deployment.status("/healthz") == 503
    print(f"the bucket is away: /healthz says so after {time.monotonic() - start:.1f} s")
    made = look(deployment)
    assert "it cannot read its storage" in made.message(f"container {REGISTRIES[0]}")
    assert made.report["service"]["status"] == 503
    bucket.opened.set()
    deployment.healthy_again()
