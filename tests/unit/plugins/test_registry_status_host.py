# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of a host: files of all conditions, the texts of docker and systemctl, servers that answer and that do not."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.drydock.registry.plugins.module_utils import _registry_status_host as host
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BLOCK = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"


class Programs:
    """Answers as a program would, by the words of its command line."""

    def __init__(self, **answers: tuple[int, str, str]) -> None:
        self.answers = answers
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        self.commands.append(list(command))
        return next((answer for word, answer in self.answers.items() if word in " ".join(command)), (127, "", "what?"))


# ---- files ----


def test_reads_certificates_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "tls.crt"
    path.write_text(f"a comment\n{BLOCK}{KEY}{BLOCK}")
    os.utime(path, (0, 86400))
    found = host.read_pem(str(path), host.CERTIFICATE)
    assert found == {"path": str(path), "pem": BLOCK * 2, "modified": "1970-01-02T00:00:00Z", "problem": ""}


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    problems = {
        "empty": "holds no certificate",
        "bytes": "holds no certificate",
        "key": "holds no certificate",
        "link": "is a link to nothing",
        "folder": "is no file",
        "pipe": "is no file",
        "missing": "does not exist",
        "empty/below": "does not exist",
    }
    for name, problem in problems.items():
        found = host.read_pem(str(tmp_path / name), host.CERTIFICATE)
        assert (found["problem"], found["pem"]) == (problem, ""), name
    assert host.read_pem(str(tmp_path / "empty"), host.CRL)["problem"] == "holds no revocation list"


def test_a_file_that_cannot_be_read() -> None:
    # Also root cannot read the memory of a process at address 0.
    found = host.read_pem("/proc/self/mem", host.CERTIFICATE)
    assert found["problem"].startswith("cannot be read (")


def test_users(tmp_path: Path) -> None:
    access = {"anonymous": None, "users": {"alice": {"access": "push", "repositories": ["**"]}}}
    (tmp_path / "access.json").write_text(json.dumps(access))
    (tmp_path / "htpasswd").write_bytes(b"# comment\nalice:$2y$hash\n\nb\xff:$2y$hash\nmalformed\n")
    found = host.read_users(str(tmp_path))
    assert found == {
        "access": access,
        "access_problem": "",
        "password_names": ["alice", "b\ufffd"],
        "password_problem": "",
    }


@pytest.mark.parametrize("text", ["", "{", "[]", '{"users": []}', "null", "[" * 100_000])
def test_rights_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "access.json").write_text(text)
    found = host.read_users(str(tmp_path))
    assert (found["access"], found["access_problem"]) == (None, "is no list of users")
    assert found["password_problem"] == "does not exist"


# ---- containers ----

RUNNING = {
    "Name": "/drydock-proxy",
    "RestartCount": 2,
    "Config": {
        "Image": "drydock/proxy:1",
        "Env": ["SECRET=1"],
        "Labels": {"drydock.image.because": "nginx cannot be pulled (no such host)"},
    },
    "State": {
        "Status": "running",
        "ExitCode": 0,
        "StartedAt": "2030-01-01T11:00:00.123456789Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
        "Health": {"Status": "unhealthy", "Log": []},
    },
}


@pytest.mark.parametrize(
    "complaint", ["Error: No such container: x", "Error response from daemon: No such container: x"]
)
def test_containers(complaint: str) -> None:
    found = host.read_containers(["drydock-proxy", "x"], Programs(docker=(1, json.dumps([RUNNING]), complaint)))
    assert found["problem"] == ""
    there, missing = found["containers"]
    assert there == {
        "name": "drydock-proxy",
        "image": "drydock/proxy:1",
        "because": "nginx cannot be pulled (no such host)",
        "state": "running",
        "health": "unhealthy",
        "exit_code": 0,
        "restarts": 2,
        "started": "2030-01-01T11:00:00Z",
        "finished": "",
        "socket": "",
        "answer": None,
    }
    assert (missing["name"], missing["state"]) == ("x", "missing")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (
            (1, "[]\n", "Cannot connect to the Docker daemon at unix:///x. Is it running?\n"),
            "Cannot connect to the Docker daemon at",
        ),
        ((127, "", "docker is not installed"), "docker is not installed"),
        ((124, "", "docker does not answer within 10 seconds"), "docker does not answer within"),
        ((1, "", ""), "docker ended with 1"),
        ((0, "not json", ""), "docker's answer cannot be read"),
        ((0, '[{"Id": 1}]', ""), "docker's answer cannot be read"),
    ],
)
def test_docker_does_not_answer(answer: tuple[int, str, str], problem: str) -> None:
    found = host.read_containers(["a"], Programs(docker=answer))
    assert found["problem"].startswith(problem)
    assert [one["state"] for one in found["containers"]] == [""]


def test_none_of_the_containers_exists() -> None:
    found = host.read_containers(
        ["a", "b"], Programs(docker=(1, "[]\n", "Error: No such container: a\nError: No such container: b\n"))
    )
    assert found["problem"] == ""
    assert [one["state"] for one in found["containers"]] == ["missing", "missing"]


# ---- timer ----


def test_timer() -> None:
    timer = (
        "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nUnit=certbot.service\n"
        "NextElapseUSecRealtime=Tue 2030-01-01 18:00:00 UTC\nLastTriggerUSec=n/a\n"
    )
    service = "Result=exit-code\nExecMainExitTimestamp=Tue 2030-01-01 06:00:01 UTC\n"
    run = Programs(**{"certbot.timer": (0, timer, ""), "certbot.service": (0, service, "")})
    assert host.read_timer("certbot.timer", run) == {
        "name": "certbot.timer",
        "problem": "",
        "state": "active",
        "enabled": "enabled",
        "next": "2030-01-01T18:00:00Z",
        "last": "",
        "service": "certbot.service",
        "service_result": "exit-code",
        "service_ended": "2030-01-01T06:00:01Z",
    }


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((0, "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n", ""), "does not exist"),
        ((1, "", "System has not been booted with systemd"), "cannot be asked for, since systemd does not answer"),
        ((127, "", "env is not installed"), "cannot be asked for, since systemd does not answer"),
    ],
)
def test_no_timer(answer: tuple[int, str, str], problem: str) -> None:
    assert host.read_timer("certbot.timer", Programs(systemctl=answer))["problem"] == problem


@pytest.mark.parametrize(
    ("answer", "state"), [((0, "ActiveState=failed\n", ""), "failed"), ((1, "", "no systemd"), "")]
)
def test_service(answer: tuple[int, str, str], state: str) -> None:
    assert host.read_service("drydock-watch.service", Programs(systemctl=answer)) == state


# ---- what nginx has loaded ----


@pytest.mark.parametrize(
    ("answer", "word"),
    [((0, "loaded\n", ""), "loaded"), ((0, "pending\n", ""), "pending"), ((0, "x", ""), ""), ((1, "loaded", ""), "")],
)
def test_loaded(tmp_path: Path, answer: tuple[int, str, str], word: str) -> None:
    program = tmp_path / "reload"
    program.touch(0o755)
    run = Programs(reload=answer)
    assert host.read_loaded(str(program), run) == word
    assert run.commands == [[str(program), "--check"]]


def test_loaded_is_not_known_without_the_program(tmp_path: Path) -> None:
    run = Programs()
    assert host.read_loaded("", run) == host.read_loaded(str(tmp_path / "missing"), run) == ""
    assert run.commands == []


# ---- servers ----


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the server that it is part of was told."""

    def do_GET(self) -> None:
        self.send_response(getattr(self.server, "status", 200) if self.path in {"/", "/healthz"} else 404)
        self.send_header("Drydock-Configuration", "abc")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        return ""


class UnixServer(http.server.HTTPServer):
    """A server behind a unix socket."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)


@contextmanager
def serving(server: http.server.HTTPServer, status: int = 200) -> Iterator[None]:
    server.status = status  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A certificate that expired long ago, and a file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "expired")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2020, 1, 2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_text(pem + text.decode())
    return pem, path


@pytest.mark.parametrize("name", ["registry.example.com", "127.0.0.1", "", "bücher.example"])
@pytest.mark.parametrize("status", [200, 503])
def test_asks_nginx(pair: tuple[str, Path], name: str, status: int) -> None:
    pem, path = pair
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server, status):
        found = host.ask_proxy("127.0.0.1", server.server_port, name, 5)
    assert found == {"status": status, "problem": "", "certificate": pem, "configuration": "abc"}


def test_nobody_answers_or_speaks_something_else() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert host.ask_proxy("127.0.0.1", port, "x", 5)["problem"] == "Connection refused"
        silent.listen()
        assert "timed out" in host.ask_proxy("127.0.0.1", port, "x", 0.05)["problem"]
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        found = host.ask_proxy("127.0.0.1", server.server_port, "x", 5)
    assert (found["status"], found["certificate"]) == (0, "")
    assert found["problem"]


def test_asks_a_registry() -> None:
    # A path of a unix socket may be 108 characters long at most.
    folder = tempfile.mkdtemp()
    path = f"{folder}/a.sock"
    try:
        nothing = {"status": 0, "storage_problem": ""}
        assert host.ask_socket(path, 5, writes=False) == {**nothing, "problem": "No such file or directory"}
        for status in (200, 503):
            with serving(UnixServer(path, Handler), status):  # type: ignore[arg-type]
                assert host.ask_socket(path, 5, writes=False) == {
                    "status": status,
                    "problem": "",
                    "storage_problem": "",
                }
            assert host.ask_socket(path, 5, writes=False) == {**nothing, "problem": "Connection refused"}
            Path(path).unlink()
    finally:
        shutil.rmtree(folder)
    assert "too long" in host.ask_socket("/x" * 100, 5, writes=False)["problem"]


# ---- storage ----


def test_size_of_a_folder_is_what_du_says(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / f"blobs/{number}"
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(b"x" * number * 1000)
    (tmp_path / "link").symlink_to("/")
    du = subprocess.run(["du", "--summarize", "--block-size=1", tmp_path], capture_output=True, text=True, check=True)
    own = tmp_path.stat().st_blocks * 512
    assert host.folder_bytes(str(tmp_path), 60) == (int(du.stdout.split()[0]) - own, True)


def test_counting_ends_with_its_time(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/data").write_bytes(b"x" * 5000)
    whole, _ = host.folder_bytes(str(tmp_path), 60)
    ticks = iter(range(100))
    some, complete = host.folder_bytes(str(tmp_path), 5, clock=lambda: float(next(ticks)))
    assert not complete
    assert 0 < some < whole


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        (
            '{"time": "2030-01-01T03:20:00Z", "since": null, "totals": {"tags": 9}, "repositories": {}}',
            ("2030-01-01T03:20:00Z", "", {"tags": 9}),
        ),
        ('{"time": "2030-01-01T03:20:00Z", "since": "2029-12-31T03:20:00Z"}', ("", "", None)),
        ("[]", ("", "", None)),
        ("half of a f", ("", "", None)),
        (None, ("", "", None)),
    ],
)
def test_figures_of_the_last_report(tmp_path: Path, text: str | None, figures: tuple[str, str, Any]) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert host.read_figures(str(path)) == figures


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            '{"backup": {"time": "2030-01-01T03:20:00Z"}, "failed": null}',
            ({"time": "2030-01-01T03:20:00Z"}, None, None, ""),
        ),
        ('{"drill": {"time": "x"}, "failed": {"error": "y"}}', (None, {"time": "x"}, {"error": "y"}, "")),
        ('{"restoring": "1a2b3c4d"}', (None, None, None, "1a2b3c4d")),
        ("[]", (None, None, None, "")),
        ('{"backup": 7}', (None, None, None, "")),
        ("half of a f", (None, None, None, "")),
        (None, (None, None, None, "")),
    ],
)
def test_what_backups_have_noted(tmp_path: Path, text: str | None, parts: tuple[Any, Any, Any, str]) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert host.read_backup(str(path)) == dict(zip(("backup", "drill", "failed", "restoring"), parts))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("{", []),
        ("[1]", []),
        ('{"quay": {}, "hub": {"limit": 100, "remaining": 76, "window_seconds": 60, "limit_at": 0}}', ["hub", "quay"]),
    ],
)
def test_what_other_registries_said(tmp_path: Path, text: str, names: list[str]) -> None:
    path = tmp_path / "state.json"
    assert host.read_mirrors(str(path)) == []
    path.write_text(text)
    found = host.read_mirrors(str(path))
    assert [one["name"] for one in found] == names
    if found:
        assert (found[0]["limit"], found[0]["remaining"], found[0]["told"]) == (100, 76, "1970-01-01T00:00:00Z")
        assert (found[1]["limit"], found[1]["told"], found[1]["problem"]) == (None, "", "")


@pytest.mark.parametrize(
    ("flags", "read_only"), [(0, False), (os.ST_RDONLY, True), (os.ST_RDONLY | os.ST_NOSUID, True)]
)
def test_a_file_system_that_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, read_only: bool
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=flags))
    assert host.is_read_only(str(tmp_path)) is read_only
    assert not any(host.is_read_only(path) for path in (str(tmp_path / "file"), str(tmp_path / "missing"), ""))


def test_storage(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 10000)
    found = host.read_storage(str(tmp_path), 60)
    usage = shutil.disk_usage(tmp_path)
    assert found["problem"] == ""
    assert found["used_bytes"] >= 10000
    assert found["used_is_complete"]
    assert not found["own_file_system"]
    assert not found["read_only"]
    assert 0 < found["free_bytes"] <= found["total_bytes"] <= usage.total


def test_a_file_system_of_its_own_needs_no_counting() -> None:
    found = host.read_storage("/dev/shm", 0)  # noqa: S108 (it is looked at, not written to)
    assert found["own_file_system"]
    assert found["used_is_complete"]


def test_no_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert host.read_storage(str(tmp_path / "missing"), 1)["problem"] == "does not exist"
    assert host.read_storage(str(tmp_path / "file"), 1)["problem"] == "is no folder"


def test_a_read_only_file_system_is_told() -> None:
    places = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    read_only = [place[1] for place in places if "ro" in place[3].split(",") and Path(place[1]).is_dir()]
    if not read_only:
        pytest.skip("nothing is mounted read-only here")
    assert host.read_storage(read_only[0], 0)["read_only"]
