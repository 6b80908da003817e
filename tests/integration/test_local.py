# SPDX-License-Identifier: GPL-3.0-or-later
"""What the README promises: `make up` on this machine, then docker, skopeo and podman as clients, and attempts to break in.

A registry that `make up` runs here already is tested as it is and stays; otherwise everything is removed at the end.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from deployment import MANIFEST_TYPE

ROOT = Path(__file__).parents[2]
CONTAINERS = ("drydock-proxy", "drydock-registry-a", "drydock-registry-b")


def run(
    *command: str | Path, check: bool = True, stdin: str | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout, with both outputs kept."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=options.pop("cwd", ROOT),
        capture_output=True,
        text=True,
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        check=False,
        timeout=900,
        **options,
    )
    assert not check or done.returncode == 0, f"{command} failed:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done


class Registry(NamedTuple):
    """How to reach the registry, and what `make up` printed."""

    address: str
    user: str
    password: str
    ca: Path
    output: str

    @property
    def login(self) -> str:
        return f"{self.user}:{self.password}"

    def image(self, name: str) -> str:
        return f"{self.address}/drydock-test/{name}"


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """`make up`, and afterwards nothing that was not there before."""
    was_here = run("docker", "container", "inspect", "drydock-proxy", check=False).returncode == 0
    output = run("make", "up").stdout
    assignments = shlex.split(run("make", "--silent", "credentials").stdout)
    values = dict(line.split("=", 1) for line in assignments)
    yield Registry(
        values["REGISTRY"], values["REGISTRY_USER"], values["REGISTRY_PASSWORD"], Path(values["REGISTRY_CA"]), output
    )
    # What nginx says of its processes that a signal has ended.
    logs = [run("docker", "logs", name) for name in ("drydock-proxy", "drydock-passwords")]
    if not was_here:
        run("make", "down", "DESTROY=data,users,tls")
        assert run("docker", "ps", "--all", "--quiet", "--filter", "name=drydock-registry-").stdout == ""
    assert not [log.stderr for log in logs if re.search("exited on signal|must be installed for", log.stderr)]


@pytest.fixture(scope="module")
def certificates(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as skopeo's and podman's --cert-dir wants it."""
    folder = tmp_path_factory.mktemp("certificates")
    shutil.copy(registry.ca, folder / "ca.crt")
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image that no test run has pushed before, as `docker save` writes it."""
    folder = tmp_path_factory.mktemp("archive")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        content = folder.name.encode() + bytes(2**20)
        member = tarfile.TarInfo("payload")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    done = subprocess.run(
        ["docker", "import", "-", "drydock-test/archive:1"], input=layer.getvalue(), capture_output=True, check=True
    )
    path = folder / "image.tar"
    run("docker", "save", "--output", path, "drydock-test/archive:1")
    run("docker", "rmi", done.stdout.decode().strip())
    return path


def request(
    registry: Registry, path: str, method: str = "GET", login: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str]]:
    """Status and headers of one request, with the path sent as it is written and the certificate checked."""
    call = urllib.request.Request(f"https://{registry.address}{path}", method=method, headers=headers or {})
    if login is not None:
        call.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    context = ssl.create_default_context(cafile=registry.ca)
    try:
        with urllib.request.urlopen(call, context=context, timeout=30) as answer:  # noqa: S310
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, {name.lower(): value for name, value in error.headers.items()}


def test_summary_says_all_that_a_user_needs(registry: Registry) -> None:
    for text in (
        f"https://{registry.address}",
        f"user      {registry.user}",
        "admin.password",
        str(registry.ca),
        "docker push",
    ):
        assert text in registry.output
    assert registry.password not in registry.output


def test_second_run_and_dry_run_change_nothing(registry: Registry) -> None:
    for arguments in ([], ["--check", "--diff"]):
        output = run(
            ROOT / ".venv/bin/ansible-playbook", "-i", "inventories/local", "playbooks/site.yml", *arguments
        ).stdout
        assert re.search(r"changed=0 .*failed=0 ", output), output[-2000:]
        assert registry.password not in output


def test_passwords_are_no_inventory(registry: Registry) -> None:
    """Ansible reads the files in an inventory folder as inventories, and a password would become a host's name."""
    hosts = run(ROOT / ".venv/bin/ansible-inventory", "-i", "inventories/local", "--list")
    assert registry.password not in hosts.stdout + hosts.stderr
    assert "WARNING" not in hosts.stderr


def test_image_that_cannot_be_had_is_refused(registry: Registry) -> None:
    identities = ("docker", "container", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", *CONTAINERS)
    before = run(*identities).stdout
    settings = {"registry_server_image_provider": "pull", "registry_server_image_reference": "127.0.0.1:9/none:3"}
    command = ("playbooks/configure.yml", "--tags", "server", "--extra-vars", json.dumps(settings))
    refused = run(ROOT / ".venv/bin/ansible-playbook", "-i", "inventories/local", *command, check=False)
    assert refused.returncode != 0
    assert "registry_server_image_reference: localhost cannot pull 127.0.0.1:9/none:3" in refused.stdout
    assert "set registry_server_image_provider to `archive` (a tar file) or `debian`" in " ".join(
        refused.stdout.split()
    )
    assert "changed=0" in refused.stdout
    assert run(*identities).stdout == before
    assert request(registry, "/v2/", login=registry.login)[0] == 200


def test_docker_logs_in_pushes_and_pulls(registry: Registry, archive: Path, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "DOCKER_CONFIG": str(tmp_path)}
    image = registry.image("docker:1")
    run("docker", "load", "--input", archive)
    run("docker", "tag", "drydock-test/archive:1", image)
    identity = run("docker", "image", "inspect", "--format", "{{.Id}}", image).stdout
    try:
        refused = run("docker", "push", image, check=False, env=environment)
        assert refused.returncode != 0
        assert "no basic auth credentials" in refused.stderr
        login = ("docker", "login", "--username", registry.user, "--password-stdin", registry.address)
        wrong = run(*login, stdin="wrong", check=False, env=environment)
        assert wrong.returncode != 0
        assert "401" in wrong.stderr
        run(*login, stdin=registry.password, env=environment)
        run("docker", "push", image, env=environment)
        run("docker", "rmi", image, "drydock-test/archive:1")
        run("docker", "pull", image, env=environment)
        assert run("docker", "image", "inspect", "--format", "{{.Id}}", image).stdout == identity
    finally:
        run("docker", "rmi", "--force", image, "drydock-test/archive:1", check=False)


def test_the_pipeline_of_the_examples_pushes(registry: Registry, archive: Path) -> None:
    """What CI runs, on a base that needs no other registry."""
    image = registry.image("hello")
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "IMAGE": image, "TAG": "1"}
    login = {"REGISTRY": registry.address, "REGISTRY_USER": registry.user, "REGISTRY_PASSWORD": registry.password}
    run("docker", "load", "--input", archive)
    try:
        base = ("--build-arg", "BASE=drydock-test/archive:1")
        said = run("docs/examples/hello/push", *base, env={**environment, **login}).stdout
        name, _at, digest = said.splitlines()[-1].partition("@")
        assert name == image
        path = f"/v2/drydock-test/hello/manifests/{digest}"
        assert request(registry, path, "HEAD", registry.login, {"Accept": MANIFEST_TYPE})[0] == 200
    finally:
        run("docker", "rmi", "--force", f"{image}:1", "drydock-test/archive:1", check=False)


def test_skopeo_copies_in_and_out(registry: Registry, certificates: Path, archive: Path, tmp_path: Path) -> None:
    image = f"docker://{registry.image('skopeo:1')}"
    trust = f"--src-cert-dir={certificates}"
    into = ("skopeo", "--insecure-policy", "copy", f"--dest-cert-dir={certificates}")
    auth = tmp_path / "auth.json"
    run(
        "skopeo",
        "login",
        "--authfile",
        auth,
        f"--cert-dir={certificates}",
        "--username",
        registry.user,
        "--password-stdin",
        registry.address,
        stdin=registry.password,
    )
    anonymous = run(*into, f"docker-archive:{archive}", image, check=False)
    assert anonymous.returncode != 0
    untrusting = run("skopeo", "inspect", "--authfile", auth, image, check=False)
    assert untrusting.returncode != 0
    assert "certificate" in untrusting.stderr
    run(*into, "--authfile", auth, f"docker-archive:{archive}", image)
    run("skopeo", "--insecure-policy", "copy", "--authfile", auth, trust, image, f"dir:{tmp_path / 'pulled'}")
    inspected = json.loads(run("skopeo", "inspect", "--authfile", auth, f"--cert-dir={certificates}", image).stdout)
    manifest = (tmp_path / "pulled" / "manifest.json").read_bytes()
    assert inspected["Digest"] == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    for layer in json.loads(manifest)["layers"]:
        digest = layer["digest"].removeprefix("sha256:")
        assert hashlib.sha256((tmp_path / "pulled" / digest).read_bytes()).hexdigest() == digest
    run("skopeo", "delete", "--authfile", auth, f"--cert-dir={certificates}", image)
    gone = run("skopeo", "inspect", "--authfile", auth, f"--cert-dir={certificates}", image, check=False)
    assert "manifest unknown" in gone.stderr


def test_podman_logs_in_pushes_and_pulls(registry: Registry, certificates: Path, archive: Path, tmp_path: Path) -> None:
    auth = tmp_path / "auth.json"
    # podman takes no path of over 50 characters for its sockets.
    short = Path(tempfile.mkdtemp(prefix="drydock-"))
    podman = ("podman", "--root", tmp_path / "root", "--runroot", short, "--storage-driver", "vfs")
    image = registry.image("podman:1")
    client = (f"--cert-dir={certificates}", "--authfile", auth)
    run(*podman, "load", "--input", archive)
    run(*podman, "tag", "drydock-test/archive:1", image)
    assert run(*podman, "push", f"--cert-dir={certificates}", image, check=False).returncode != 0
    login = (*podman, "login", *client, "--username", registry.user, "--password-stdin", registry.address)
    assert run(*login, stdin="wrong", check=False).returncode != 0
    run(*login, stdin=registry.password)
    run(*podman, "push", *client, image)
    run(*podman, "rmi", "--all", "--force")
    run(*podman, "pull", *client, image)
    assert image in run(*podman, "images", "--format", "{{.Repository}}:{{.Tag}}").stdout
    run(*podman, "rmi", "--all", "--force")
    shutil.rmtree(short)


LOGINS = {
    "nobody": None,
    "wrong password": "admin:wrong",
    "empty password": "admin:",
    "unknown user": "mallory:x",
    "no user": ":",
    "no colon": "admin",
    "overlong": f"admin:{'x' * 5000}",
    "hash": "admin:$2b$05$abcdefghijklmnopqrstuu",
}
PATHS = (
    "/v2/",
    "/v2/_catalog",
    "/v2/drydock-test/docker/tags/list",
    "/v2/drydock-test/docker/manifests/1",
    "/v2/drydock-test/docker/blobs/sha256:" + "0" * 64,
    "/v2/drydock-test/docker/blobs/uploads/",
    "/v2//_catalog",
    "/v2/./_catalog",
    "/healthz/../v2/_catalog",
    "//v2/_catalog",
    "/%76%32/_catalog",
    "/v2/%5fcatalog",
)


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"])
def test_nobody_gets_in_without_the_password(registry: Registry, method: str, login: str | None) -> None:
    for path in PATHS:
        status, headers = request(registry, path, method, login)
        assert status == 401, f"{method} {path} answered {status}"
        assert headers["www-authenticate"].startswith("Basic ")


def test_the_right_password_does_get_in(registry: Registry) -> None:
    status, headers = request(registry, "/v2/", login=registry.login)
    assert (status, headers["docker-distribution-api-version"]) == (200, "registry/2.0")


@pytest.mark.parametrize("path", ["/v1/", "/debug/health", "/metrics", "/V2/_catalog", "/healthz/x"])
def test_nothing_else_is_served(registry: Registry, path: str) -> None:
    for login in (None, registry.login):
        assert request(registry, path, login=login)[0] == 404


def test_upload_address_keeps_scheme_host_and_port(registry: Registry) -> None:
    claims = {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    status, headers = request(registry, "/v2/drydock-test/upload/blobs/uploads/", "POST", registry.login, claims)
    assert status == 202
    assert headers["location"].startswith(f"https://{registry.address}/v2/drydock-test/upload/blobs/uploads/")


def test_answers_carry_security_headers(registry: Registry) -> None:
    for path, login in (("/v2/", None), ("/v2/", registry.login), ("/", None)):
        _status, headers = request(registry, path, login=login)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["server"] == "nginx"
        assert "content-security-policy" in headers


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_only_modern_tls_is_spoken(registry: Registry, version: ssl.TLSVersion, accepted: bool) -> None:
    context = ssl.create_default_context(cafile=registry.ca)
    # The client's own limit must not be what refuses.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    host, port = registry.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        if accepted:
            with context.wrap_socket(plain, server_hostname=host) as secure:
                assert secure.version() == version.name.replace("_", ".")
        else:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(plain, server_hostname=host)


def test_certificate_is_for_this_name_only(registry: Registry) -> None:
    host, port = registry.address.split(":")
    context = ssl.create_default_context(cafile=registry.ca)
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match="mismatch"),
    ):
        context.wrap_socket(plain, server_hostname="registry.example.com")


def test_registries_are_out_of_reach_but_for_nginx(registry: Registry) -> None:
    for container in CONTAINERS[1:]:
        details = json.loads(run("docker", "container", "inspect", container).stdout)[0]
        assert details["HostConfig"]["NetworkMode"] == "none"
        assert not details["NetworkSettings"]["Ports"]
    sockets = Path("/var/lib/drydock/sockets")
    for name in ("registry-a.sock", "registry-b.sock"):
        ask = ("curl", "--silent", "--max-time", "5", "--unix-socket", str(sockets / name), "http://registry/v2/")
        assert run(*ask).stdout == "{}", "the question itself works, for root"
        nobody = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *ask, check=False)
        assert nobody.returncode != 0
    assert request(registry, "/healthz")[0] == 200


def test_containers_are_hardened_and_show_no_secret(registry: Registry) -> None:
    secret = Path("/etc/drydock/server/http.secret").read_text(encoding="utf-8").strip()
    hashes = [
        line.split(":", 1)[1] for line in Path("/etc/drydock/auth/htpasswd").read_text(encoding="utf-8").splitlines()
    ]
    assert len(secret) >= 32
    assert hashes
    for container in CONTAINERS:
        text = run("docker", "container", "inspect", container).stdout
        details = json.loads(text)[0]
        host = details["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
        assert int(details["Config"]["User"].split(":")[0]) > 0
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        logs = run("docker", "logs", container)
        for hidden in (secret, registry.password, base64.b64encode(registry.login.encode()).decode(), *hashes):
            assert hidden not in text
            assert hidden not in logs.stdout + logs.stderr


def test_access_log_is_json_with_user_and_timing(registry: Registry) -> None:
    request(registry, "/v2/drydock-test/log/tags/list", login=registry.login)
    request(registry, '/v2/"quoted"/tags/list', login='mal"lory:x')
    lines = [json.loads(line) for line in run("docker", "logs", "--tail", "20", "drydock-proxy").stdout.splitlines()]
    mine = [line for line in lines if line["uri"] == "/v2/drydock-test/log/tags/list"][-1]
    assert (mine["user"], mine["status"], mine["method"]) == (registry.user, 404, "GET")
    assert isinstance(mine["seconds"], float)
    assert float(mine["upstream_seconds"]) >= 0


def test_files_with_secrets_are_closed(registry: Registry) -> None:
    password = registry.ca.parent / "admin.password"
    for path, mode in (
        (password, 0o600),
        (registry.ca.parent / "registry.env", 0o600),
        (Path("/etc/drydock/tls/tls.key"), 0o640),
        (Path("/etc/drydock/ca/ca.key"), 0o600),
        (Path("/etc/drydock/auth/htpasswd"), 0o640),
        (Path("/etc/drydock/registry/config.yml"), 0o640),
        (Path("/etc/drydock/server/http.secret"), 0o600),
    ):
        assert path.stat().st_mode & 0o777 == mode, path
